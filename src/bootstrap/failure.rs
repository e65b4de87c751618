//! A failure as news: who failed, how, and who says so.

use super::wire::{Decoder, Encoder, Nonsense, TEXT_MAX};
use crate::error::{Cause, Error, Operation};
use std::time::Duration;

/// What broke a communicator. The first one that a rank hears of is its verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The rank that failed.
    pub peer: u32,
    /// What happened to it.
    pub cause: Cause,
    /// The rank that noticed.
    pub reporter: u32,
}

const DIED: u8 = 0;
const SILENT: u8 = 1;
const LEFT: u8 = 2;
const LINK: u8 = 3;
const REPORTED: u8 = 4;

impl Failure {
    /// The failure as the error of what `rank` was doing.
    pub fn error(&self, rank: u32, operation: Operation) -> Error {
        Error::Peer { rank, peer: self.peer, operation, cause: self.cause.clone() }
    }

    pub(super) fn encode(&self, encoder: Encoder) -> Encoder {
        encode_cause(&self.cause, encoder.u32(self.peer).u32(self.reporter))
    }

    pub(super) fn decode(decoder: &mut Decoder<'_>) -> Result<Self, Nonsense> {
        let (peer, reporter) = (decoder.u32()?, decoder.u32()?);
        Ok(Self { peer, reporter, cause: decode_cause(decoder)? })
    }
}

fn encode_cause(cause: &Cause, encoder: Encoder) -> Encoder {
    match cause {
        Cause::Died => encoder.u8(DIED),
        Cause::Silent(time) => encoder.u8(SILENT).u64(milliseconds(*time)),
        Cause::Left => encoder.u8(LEFT),
        Cause::Link { with, transport, reason } => encoder.u8(LINK).u32(*with).text(transport).text(reason),
        Cause::Reported(what) => encoder.u8(REPORTED).text(what),
    }
}

fn decode_cause(decoder: &mut Decoder<'_>) -> Result<Cause, Nonsense> {
    Ok(match decoder.u8()? {
        DIED => Cause::Died,
        SILENT => Cause::Silent(Duration::from_millis(decoder.u64()?)),
        LEFT => Cause::Left,
        LINK => Cause::Link {
            with: decoder.u32()?,
            transport: printable(decoder.text()?),
            reason: printable(decoder.text()?),
        },
        REPORTED => Cause::Reported(printable(decoder.text()?)),
        _ => return Err(Nonsense("an unknown cause of failure")),
    })
}

pub(super) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Texts of peers end in logs and terminals: control characters stay out.
fn printable(text: String) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).take(TEXT_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_go_there_and_back() {
        let link = Cause::Link { with: 4, transport: "tcp".into(), reason: "reset".into() };
        let causes =
            [Cause::Died, Cause::Silent(Duration::from_millis(1500)), Cause::Left, link, Cause::Reported("x".into())];
        for cause in causes {
            let failure = Failure { peer: 1, reporter: 2, cause };
            let fields = failure.encode(Encoder::fields()).into_fields();
            assert_eq!(Failure::decode(&mut Decoder::new(&fields)), Ok(failure.clone()));
            for cut in 0..fields.len() {
                assert!(Failure::decode(&mut Decoder::new(&fields[..cut])).is_err());
            }
        }
        assert!(Failure::decode(&mut Decoder::new(&[0, 0, 0, 0, 0, 0, 0, 0, 99])).is_err());
    }

    #[test]
    fn no_text_of_a_peer_reaches_a_terminal_raw() {
        let failure = Failure { peer: 0, reporter: 0, cause: Cause::Reported("a\x1b[31m\nb".into()) };
        let fields = failure.encode(Encoder::fields()).into_fields();
        let got = Failure::decode(&mut Decoder::new(&fields)).expect("a failure");
        assert_eq!(got.cause, Cause::Reported("a?[31m?b".into()));
    }
}

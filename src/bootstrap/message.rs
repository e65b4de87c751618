//! What members of the control tree say to each other.

use super::endpoint::Endpoint;
use super::failure::Failure;
use super::statements::Statement;
use super::wire::{Decoder, Encoder, Nonsense};
use crate::topology::ProcessId;

/// One message over an edge of the tree.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// I am here.
    Heartbeat,
    /// The first message over an edge, both ways: where I listen, and what I know that the other may not.
    State {
        /// Where the sender listens.
        endpoint: Endpoint,
        /// Which process the sender is on that endpoint's host, if it knows.
        process: Option<ProcessId>,
        /// Who has left.
        left: Vec<u32>,
        /// The verdict, if one fell.
        verdict: Option<Failure>,
    },
    /// The contributions to an exchange of the sender and all below it.
    Gather {
        /// Which exchange.
        round: u32,
        /// Contributions, as [`super::exchange`] writes them.
        entries: Vec<u8>,
    },
    /// The contributions of all ranks.
    Spread {
        /// Which exchange.
        round: u32,
        /// Contributions of all ranks.
        entries: Vec<u8>,
    },
    /// A rank failed.
    Failed(Failure),
    /// A rank's call takes long.
    Stated(Statement),
    /// These ranks have left.
    Left(Vec<u32>),
    /// The sender leaves. Those below it attach to `heir`, if it names one; the heir itself then has nobody above it.
    Goodbye {
        /// Who takes the sender's place, and where it listens.
        heir: Option<(u32, Endpoint)>,
    },
    /// The sender has found its place elsewhere and needs the receiver no more.
    Released,
}

const HEARTBEAT: u8 = 1;
const STATE: u8 = 2;
const GATHER: u8 = 3;
const SPREAD: u8 = 4;
const FAILED: u8 = 5;
const LEFT: u8 = 6;
const GOODBYE: u8 = 7;
const RELEASED: u8 = 8;
const STATED: u8 = 9;

/// Kind and round in front of an exchange's entries.
pub(super) const ROUND_HEAD: usize = 1 + 4;

impl Message {
    /// The message as a frame.
    pub(super) fn frame(&self) -> Vec<u8> {
        match self {
            Self::Heartbeat => Encoder::frame(HEARTBEAT),
            Self::State { endpoint, process, left, verdict } => {
                let encoder = endpoint.encode(Encoder::frame(STATE));
                let encoder = match process {
                    Some(process) => encoder.u8(1).u64(process.namespace).u64(process.started).u32(process.number),
                    None => encoder.u8(0),
                };
                let encoder = encoder.ranks(left);
                match verdict {
                    Some(verdict) => verdict.encode(encoder.u8(1)),
                    None => encoder.u8(0),
                }
            }
            Self::Gather { round, entries } => Encoder::frame(GATHER).u32(*round).raw(entries),
            Self::Spread { round, entries } => Encoder::frame(SPREAD).u32(*round).raw(entries),
            Self::Failed(failure) => failure.encode(Encoder::frame(FAILED)),
            Self::Stated(statement) => statement.encode(Encoder::frame(STATED)),
            Self::Left(ranks) => Encoder::frame(LEFT).ranks(ranks),
            Self::Goodbye { heir: None } => Encoder::frame(GOODBYE).u8(0),
            Self::Goodbye { heir: Some((rank, endpoint)) } => endpoint.encode(Encoder::frame(GOODBYE).u8(1).u32(*rank)),
            Self::Released => Encoder::frame(RELEASED),
        }
        .finish()
    }

    /// The message that a frame's body is.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Nonsense> {
        let mut fields = Decoder::new(body);
        let message = match fields.u8()? {
            HEARTBEAT => Self::Heartbeat,
            STATE => Self::State {
                endpoint: Endpoint::decode(&mut fields)?,
                process: match fields.u8()? {
                    0 => None,
                    _ => Some(ProcessId { namespace: fields.u64()?, started: fields.u64()?, number: fields.u32()? }),
                },
                left: fields.ranks()?,
                verdict: if fields.u8()? == 0 { None } else { Some(Failure::decode(&mut fields)?) },
            },
            GATHER => Self::Gather { round: fields.u32()?, entries: fields.rest().to_vec() },
            SPREAD => Self::Spread { round: fields.u32()?, entries: fields.rest().to_vec() },
            FAILED => Self::Failed(Failure::decode(&mut fields)?),
            STATED => Self::Stated(Statement::decode(&mut fields)?),
            LEFT => Self::Left(fields.ranks()?),
            GOODBYE if fields.u8()? == 0 => Self::Goodbye { heir: None },
            GOODBYE => Self::Goodbye { heir: Some((fields.u32()?, Endpoint::decode(&mut fields)?)) },
            RELEASED => Self::Released,
            _ => return Err(Nonsense("an unknown message")),
        };
        fields.end()?;
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use super::super::rank_set::RankSet;
    use super::*;
    use crate::error::Cause;
    use proptest::prelude::*;

    #[test]
    fn messages_go_there_and_back() {
        let endpoint = Endpoint::here(vec!["127.0.0.1:9".parse().expect("an address")]);
        let failure = Failure { peer: 3, cause: Cause::Died, reporter: 1 };
        let messages = [
            Message::Heartbeat,
            Message::State {
                endpoint: endpoint.clone(),
                process: ProcessId::here(),
                left: vec![1],
                verdict: Some(failure.clone()),
            },
            Message::State { endpoint: endpoint.clone(), process: None, left: vec![], verdict: None },
            Message::Gather { round: 7, entries: vec![1, 2] },
            Message::Spread { round: 8, entries: vec![3] },
            Message::Failed(failure),
            Message::Stated(Statement { ranks: RankSet::of(2), sequence: 9, what: vec![1, 2, 3] }),
            Message::Left(vec![1, 2, 3]),
            Message::Goodbye { heir: None },
            Message::Goodbye { heir: Some((4, endpoint)) },
            Message::Released,
        ];
        for message in messages {
            assert_eq!(Message::parse(&message.frame()[4..]).as_ref(), Ok(&message));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(body in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Message::parse(&body);
        }
    }
}

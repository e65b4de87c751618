//! What a rank and the rendezvous say to each other.

use super::endpoint::Endpoint;
use super::failure::{Failure, milliseconds};
use super::site::Site;
use super::unique_id::{Secret, UniqueId};
use super::wire::{Decoder, Encoder, Nonsense};
use crate::error::{Error, Operation};
use std::time::Duration;

/// Where the ranks of a communicator meet, and what they know each other by.
#[derive(Clone, Debug)]
pub(super) struct Meeting {
    pub(super) secret: Secret,
    pub(super) site: Site,
}

impl From<&UniqueId> for Meeting {
    fn from(id: &UniqueId) -> Self {
        Self { secret: id.secret.clone(), site: Site::Endpoint(id.endpoint.clone()) }
    }
}

/// From a rank to the rendezvous.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// I have come.
    Register {
        /// How many ranks I think there are.
        size: u32,
        /// How much longer I wait for all to come, and how long in all.
        patience: Duration,
        timeout: Duration,
        /// Where I listen.
        endpoint: Endpoint,
    },
    /// My neighbours in the tree and I are connected.
    Ready,
    /// We cannot be.
    Trouble(Failure),
}

/// From the rendezvous to a rank.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// All have come. What the members' key is made of, and where the rank above listens.
    Welcome { session: [u8; 32], above: Option<Endpoint> },
    /// All are connected.
    Go,
    /// It comes to nothing.
    Refused(Reason),
}

/// Why a rendezvous comes to nothing, for a rank or for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// These did not come in time.
    Missing { missing: Vec<u32>, after: Duration },
    /// A rank failed in joining.
    Failed(Failure),
    /// Ranks that contradict each other.
    Contradiction(String),
}

impl Reason {
    /// The reason as the error of a rank.
    pub(super) fn error(self, rank: u32, size: u32) -> Error {
        match self {
            Self::Missing { missing, after } => Error::Missing { rank, size, missing, after },
            Self::Failed(failure) => failure.error(rank, Operation::Init),
            Self::Contradiction(what) => Error::InvalidArgument { what },
        }
    }
}

const REGISTER: u8 = 1;
const READY: u8 = 2;
const TROUBLE: u8 = 3;

impl Report {
    pub(super) fn frame(&self) -> Vec<u8> {
        match self {
            Self::Register { size, patience, timeout, endpoint } => {
                let encoder =
                    Encoder::frame(REGISTER).u32(*size).u64(milliseconds(*patience)).u64(milliseconds(*timeout));
                endpoint.encode(encoder)
            }
            Self::Ready => Encoder::frame(READY),
            Self::Trouble(failure) => failure.encode(Encoder::frame(TROUBLE)),
        }
        .finish()
    }

    pub(super) fn parse(body: &[u8]) -> Result<Self, Nonsense> {
        let mut fields = Decoder::new(body);
        let report = match fields.u8()? {
            REGISTER => Self::Register {
                size: fields.u32()?,
                patience: Duration::from_millis(fields.u64()?),
                timeout: Duration::from_millis(fields.u64()?),
                endpoint: Endpoint::decode(&mut fields)?,
            },
            READY => Self::Ready,
            TROUBLE => Self::Trouble(Failure::decode(&mut fields)?),
            _ => return Err(Nonsense("an unknown report")),
        };
        fields.end()?;
        Ok(report)
    }
}

const WELCOME_TOP: u8 = 1;
const WELCOME: u8 = 2;
const GO: u8 = 3;
const MISSING: u8 = 4;
const FAILED: u8 = 5;
const CONTRADICTION: u8 = 6;

impl Answer {
    pub(super) fn frame(&self) -> Vec<u8> {
        match self {
            Self::Welcome { session, above: None } => Encoder::frame(WELCOME_TOP).raw(session),
            Self::Welcome { session, above: Some(above) } => above.encode(Encoder::frame(WELCOME).raw(session)),
            Self::Go => Encoder::frame(GO),
            Self::Refused(Reason::Missing { missing, after }) => {
                Encoder::frame(MISSING).u64(milliseconds(*after)).ranks(missing)
            }
            Self::Refused(Reason::Failed(failure)) => failure.encode(Encoder::frame(FAILED)),
            Self::Refused(Reason::Contradiction(what)) => Encoder::frame(CONTRADICTION).text(what),
        }
        .finish()
    }

    pub(super) fn parse(body: &[u8]) -> Result<Self, Nonsense> {
        let mut fields = Decoder::new(body);
        let answer = match fields.u8()? {
            WELCOME_TOP => Self::Welcome { session: fields.array()?, above: None },
            WELCOME => Self::Welcome { session: fields.array()?, above: Some(Endpoint::decode(&mut fields)?) },
            GO => Self::Go,
            MISSING => {
                let after = Duration::from_millis(fields.u64()?);
                Self::Refused(Reason::Missing { after, missing: fields.ranks()? })
            }
            FAILED => Self::Refused(Reason::Failed(Failure::decode(&mut fields)?)),
            CONTRADICTION => Self::Refused(Reason::Contradiction(fields.text()?)),
            _ => return Err(Nonsense("an unknown answer")),
        };
        fields.end()?;
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cause;

    #[test]
    fn reports_and_answers_go_there_and_back() {
        let endpoint = Endpoint::here(vec!["127.0.0.1:9".parse().expect("an address")]);
        let failure = Failure { peer: 3, cause: Cause::Died, reporter: 1 };
        let (patience, timeout) = (Duration::from_millis(1), Duration::from_millis(2));
        let register = Report::Register { size: 4, patience, timeout, endpoint: endpoint.clone() };
        for report in [register, Report::Ready, Report::Trouble(failure.clone())] {
            assert_eq!(Report::parse(&report.frame()[4..]).as_ref(), Ok(&report));
        }
        for answer in [
            Answer::Welcome { session: [7; 32], above: None },
            Answer::Welcome { session: [7; 32], above: Some(endpoint) },
            Answer::Go,
            Answer::Refused(Reason::Missing { missing: vec![1, 2], after: timeout }),
            Answer::Refused(Reason::Failed(failure)),
            Answer::Refused(Reason::Contradiction("x".into())),
        ] {
            assert_eq!(Answer::parse(&answer.frame()[4..]).as_ref(), Ok(&answer));
        }
        assert!(Report::parse(&[9]).is_err() && Answer::parse(&[9]).is_err() && Report::parse(&[]).is_err());
    }
}

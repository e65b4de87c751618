//! Joining: from a meeting place to a member of the control tree.
//!
//! A rank listens, reports at the rendezvous, and is told where the rank above listens once all have come; it attaches there, waits for
//! those below, and says that it is ready. When all are, the rendezvous says go, so no rank returns from joining before all can.

use super::auth::{Membership, Purpose, RENDEZVOUS, Role};
use super::claims::Claims;
use super::control::Control;
use super::dial::{self, Unreached};
use super::failure::Failure;
use super::listener::Listener;
use super::member::{self, Place};
use super::news::News;
use super::rendezvous::{Answer, Meeting, Report};
use super::settings::Settings;
use super::tree;
use super::wire::{self, RENDEZVOUS_FRAME_MAX};
use crate::error::{Cause, Error, Result};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

/// How much longer than its own deadline a rank waits for the word of the rendezvous, which knows who is missing.
const LAST_WORD: Duration = Duration::from_secs(2);

/// More ranks than this are a mistake, and the tables for them would be large.
const SIZE_MAX: u32 = 1 << 24;

/// Joins as `rank` of `size`. Runs on the runtime that it is called in, and leaves the member's task there.
pub(super) async fn join(meeting: Meeting, rank: u32, size: u32, settings: Settings) -> Result<Control> {
    settings.check()?;
    let deadline = Instant::now() + settings.init_timeout;
    join_by(deadline, meeting, rank, size, settings).await
}

/// The same with settings that have been checked, by a deadline of which a part may have passed.
pub(super) async fn join_by(
    deadline: Instant,
    meeting: Meeting,
    rank: u32,
    size: u32,
    settings: Settings,
) -> Result<Control> {
    if size == 0 || size > SIZE_MAX || rank >= size {
        let what =
            format!("rank {rank} of {size}: ranks are numbered from 0 to size - 1, and there are 1 to {SIZE_MAX}");
        return Err(Error::InvalidArgument { what });
    }
    let after = settings.init_timeout;
    let addresses = settings.listening_addresses()?;
    let listener = Listener::bind(&addresses, settings.ports.as_ref())?;
    let mut desk = Desk::reach(&meeting, rank, size, after, deadline).await?;
    let (patience, endpoint) = (deadline.saturating_duration_since(Instant::now()), listener.endpoint());
    desk.report(&Report::Register { size, patience, timeout: after, endpoint: endpoint.clone() }).await;
    let (session, above) = match desk.answer(deadline + LAST_WORD).await? {
        Answer::Welcome { session, above } => (session, above),
        Answer::Go | Answer::Refused(_) => return Err(desk.unreachable("it answered out of order".into())),
    };
    let place = Place {
        rank,
        size,
        endpoint,
        membership: Membership::of_session(&meeting.secret, &session),
        news: Arc::new(News::new(size)),
        claims: Arc::new(Claims::default()),
        connect_timeout: settings.connect_timeout,
        silence: settings.silence,
    };
    let (visit, visitors) = mpsc::channel(64);
    let (command, commands) = mpsc::unbounded_channel();
    let (form, formed) = oneshot::channel();
    let control = Control::new(&place, command);
    let serving = listener.serve(place.membership.clone(), rank, visit);
    // Half of what is left for the way up, so that the rendezvous can still tell all others if there is none.
    let climbing = Instant::now() + deadline.saturating_duration_since(Instant::now()) / 2;
    let above = tree::parent(rank).zip(above);
    tokio::spawn(async move {
        tokio::select! {
            () = member::run(place, above, climbing, form, visitors, commands) => {}
            () = serving => {}
        }
    });
    // Dropping `control` on the way out makes the member leave.
    desk.agree(formed, deadline).await.map(|()| control)
}

/// The connection to the rendezvous.
struct Desk<'a> {
    stream: BufReader<TcpStream>,
    meeting: &'a Meeting,
    rank: u32,
    size: u32,
    after: Duration,
}

impl<'a> Desk<'a> {
    async fn reach(meeting: &'a Meeting, rank: u32, size: u32, after: Duration, deadline: Instant) -> Result<Self> {
        let member = Membership::of_rendezvous(&meeting.secret);
        let purpose = Purpose { role: Role::Register, from: rank, to: RENDEZVOUS, tag: 0 };
        let reached = dial::dial(&member, purpose, &meeting.site, &[], deadline).await;
        let stream = reached.map_err(|unreached| match unreached {
            Unreached::Refused(why) => {
                Error::InvalidArgument { what: format!("the rendezvous refused rank {rank}: {why}") }
            }
            Unreached::Deadline(reason) => {
                Error::Unreachable { rank, address: meeting.site.to_string(), after, reason }
            }
        })?;
        Ok(Self { stream: BufReader::new(stream), meeting, rank, size, after })
    }

    async fn report(&mut self, report: &Report) {
        // What is wrong with the connection shows when the answer is read.
        let _ = timeout(LAST_WORD, self.stream.write_all(&report.frame())).await;
    }

    /// The next answer; a refusal is an error.
    async fn answer(&mut self, deadline: Instant) -> Result<Answer> {
        let reason = match timeout_at(deadline, wire::read_frame(&mut self.stream, RENDEZVOUS_FRAME_MAX, || ())).await {
            Ok(Ok(Some(body))) => match Answer::parse(&body) {
                Ok(Answer::Refused(reason)) => return Err(reason.error(self.rank, self.size)),
                Ok(answer) => return Ok(answer),
                Err(nonsense) => nonsense.to_string(),
            },
            Ok(Ok(None)) => "its process ended before all ranks had joined".into(),
            Ok(Err(error)) => format!("the connection broke before all ranks had joined: {error}"),
            Err(_) => "it fell silent".into(),
        };
        Err(self.unreachable(reason))
    }

    fn unreachable(&self, reason: String) -> Error {
        Error::Unreachable { rank: self.rank, address: self.meeting.site.to_string(), after: self.after, reason }
    }

    /// Waits until this rank has formed its place in the tree, then until all have. Whatever goes wrong, the word of the
    /// rendezvous counts for more than this rank's own view.
    async fn agree(mut self, mut formed: oneshot::Receiver<Result<(), Failure>>, deadline: Instant) -> Result<()> {
        let until = deadline + LAST_WORD;
        let own = tokio::select! {
            formed = &mut formed => formed,
            answer = self.answer(until) => {
                answer?;
                return Err(self.unreachable("it answered out of order".into()));
            }
        };
        match own {
            Ok(Ok(())) => {
                self.report(&Report::Ready).await;
                match self.answer(until).await? {
                    Answer::Go => Ok(()),
                    _ => Err(self.unreachable("it answered out of order".into())),
                }
            }
            Ok(Err(failure)) => {
                // Who left had heard of the failure before, and so has the rendezvous.
                if failure.cause != Cause::Left {
                    self.report(&Report::Trouble(failure.clone())).await;
                }
                let own = failure.error(self.rank, crate::Operation::Init);
                Err(match self.answer(Instant::now() + LAST_WORD).await {
                    Ok(_) | Err(Error::Unreachable { .. }) => own,
                    Err(error) => error,
                })
            }
            Err(_) => Err(self.unreachable("this rank's own member ended".into())),
        }
    }
}

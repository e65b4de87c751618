//! How a member comes by its edges: it dials the rank above, and lets those below in at its listener.
//!
//! An edge counts once its peer has said its first word. One that ends before that is a dial given up after the handshake, no death.

use super::auth::{Purpose, Refusal, Role, Visitor};
use super::dial::{self, Unreached};
use super::edge::Edge;
use super::failure::Failure;
use super::member::{Member, Place};
use super::message::Message;
use super::site::Site;
use super::tree;
use crate::error::Cause;
use crate::topology::ProcessId;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::time::Instant;

impl Member {
    /// Somebody proved itself at this rank's listener.
    pub(super) fn receive(&mut self, visitor: Visitor) {
        let Purpose { role, from, tag, .. } = visitor.purpose;
        match self.expectation(role, from, tag) {
            Err(why) => drop(self.errands.spawn(async move {
                visitor.refuse(why).await;
                None
            })),
            Ok(()) => {
                let claims = Arc::clone(&self.place.claims);
                self.errands.spawn(async move {
                    let stream = visitor.admit().await.ok()?;
                    if role == Role::Tree {
                        return Some((from, stream));
                    }
                    claims.put(from, tag, stream);
                    None
                });
            }
        }
    }

    fn expectation(&self, role: Role, from: u32, tag: u32) -> Result<(), Refusal> {
        let Place { rank, size, ref news, ref claims, .. } = self.place;
        let parent = tree::parent(from);
        // An edge that has not said a word may be a dial that was given up, whose end is still to be heard.
        let attached =
            self.edges.get(&from).map(|edge| if edge.endpoint.is_some() { Refusal::Taken } else { Refusal::Busy });
        match role {
            _ if from >= size || from == rank || news.left(from) => Err(Refusal::Unexpected),
            Role::Register => Err(Refusal::Unexpected),
            Role::Data if claims.has_room(from, tag) => Ok(()),
            Role::Data => Err(Refusal::Busy),
            Role::Tree if attached.is_some() => attached.map_or(Ok(()), Err),
            // One of its own, or an orphan whose parent has left.
            Role::Tree if parent == Some(rank) || parent.is_some_and(|parent| news.left(parent)) => Ok(()),
            // The news that its parent left may be on its way: it will ask again.
            Role::Tree if self.formed.is_none() => Err(Refusal::Busy),
            Role::Tree => Err(Refusal::Unexpected),
        }
    }

    /// A connection to a neighbour in the tree stands.
    pub(super) fn attach(&mut self, peer: u32, stream: TcpStream) {
        if self.edges.contains_key(&peer) {
            return;
        }
        self.generation += 1;
        let edge = Edge::start(stream, peer, self.generation, self.events.clone());
        let left = self.place.news.all_left();
        let (endpoint, verdict) = (self.place.endpoint.clone(), self.fallen.clone());
        edge.say(&Message::State { endpoint, process: ProcessId::here(), left, verdict });
        self.edges.insert(peer, edge);
        if self.farewell.as_ref().is_some_and(|farewell| farewell.handing_over) {
            self.hand_over();
        }
    }

    /// Dials the rank above, if there is one.
    pub(super) fn climb(&mut self, deadline: Instant) {
        self.climbing.abort_all();
        let Some((to, endpoint)) = self.above.clone() else { return };
        let purpose = Purpose { role: Role::Tree, from: self.place.rank, to, tag: 0 };
        let (membership, own) = (self.place.membership.clone(), self.place.endpoint.clone());
        self.climbing.spawn(async move {
            (to, dial::dial(&membership, purpose, &Site::Endpoint(endpoint), own.addresses(), deadline).await)
        });
    }

    pub(super) fn arrive(&mut self, rank: u32, reached: Result<TcpStream, Unreached>) {
        if self.above.as_ref().is_none_or(|(above, _)| *above != rank) {
            return;
        }
        match (reached, self.formed.take()) {
            (Ok(stream), formed) => {
                self.formed = formed;
                self.attach(rank, stream);
                self.release_former();
            }
            (Err(unreached), Some(formed)) => {
                let cause = Cause::Link { with: rank, transport: "tcp".into(), reason: unreached.to_string() };
                // Nobody listens any more if joining failed otherwise.
                let _ = formed.send(Err(Failure { peer: self.place.rank, cause, reporter: self.place.rank }));
            }
            // The heir is gone too: all are on their way out, and nobody above is left to hear from.
            (Err(unreached), None) => {
                tracing::debug!(rank = self.place.rank, above = rank, %unreached, "found nobody above any more");
                self.above = None;
                self.release_former();
            }
        }
    }

    pub(super) fn check_formed(&mut self) {
        let mut around =
            tree::children(self.place.rank, self.place.size).chain(self.above.iter().map(|(rank, _)| *rank));
        if around.all(|peer| self.edges.get(&peer).is_some_and(|edge| edge.endpoint.is_some()))
            && let Some(formed) = self.formed.take()
        {
            let _ = formed.send(Ok(()));
        }
    }
}

//! A listener of the job: it lets members in and keeps strangers from disturbing them.
//!
//! Whoever connects gets [`HANDSHAKE_TIMEOUT`] to prove itself, in a waiting room of bounded size; what comes out at the other end are
//! [`Visitor`]s alone. A stranger costs one descriptor for a bounded time and nothing else.

use super::auth::{self, HANDSHAKE_TIMEOUT, Membership, Visitor};
use super::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::topology::interface::PortRange;
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};

/// Connections that may be unproved at one time: far below the usual limit of 1,024 descriptors.
const ROOM: usize = 128;

/// In a full room, who has not proved itself after this long gives its place to the next; a member needs a few milliseconds, and
/// one that was put out all the same dials again.
const GRACE: Duration = Duration::from_millis(250);

/// Connections that the system may hold for us: all ranks dial the rendezvous at once. (The system cuts it to its own limit.)
const BACKLOG: u32 = 4096;

/// How long to wait when the system has no descriptor left for a connection.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// Sockets that listen, one for each address.
pub(super) struct Listener {
    sockets: Vec<TcpListener>,
    endpoint: Endpoint,
}

impl Listener {
    /// Listens on these addresses, in the range of ports if there is one. Addresses that cannot be had are left out as long as one
    /// remains. Must run inside the control thread's runtime.
    pub(super) fn bind(addresses: &[IpAddr], ports: Option<&PortRange>) -> Result<Self> {
        let mut failure = None;
        let mut sockets = Vec::new();
        for address in addresses {
            let mut candidates = ports.map_or(0..=0, PortRange::ports);
            let bound = candidates.find_map(|port| match listen((*address, port).into()) {
                Ok(socket) => Some(socket),
                Err(e) => {
                    failure = Some(format!("{address}: {e}"));
                    None
                }
            });
            sockets.extend(bound);
        }
        Self::of(sockets).ok_or_else(|| {
            let range =
                ports.map(|p| format!(" in ports {}-{}", p.ports().start(), p.ports().end())).unwrap_or_default();
            let reason = failure.unwrap_or_else(|| "there is no address".into());
            Error::System { what: format!("listening{range}"), reason }
        })
    }

    /// Listens as rank 0, with whom a launch meets, on the first of `ports` that is free on all of `addresses`. Those that this host does not have, or does not let this process have, are left out as long as one
    /// remains; a port that somebody else has in one of them is not free.
    pub(super) fn bind_first(addresses: &[IpAddr], ports: &[u16]) -> Result<Self> {
        let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for port in ports {
            let tries = addresses.iter().map(|address| listen((*address, *port).into()));
            let (sockets, failures): (Vec<_>, Vec<_>) = tries.partition(io::Result::is_ok);
            let is_free =
                failures.iter().flat_map(|tried| tried.as_ref().err()).all(|e| e.kind() != io::ErrorKind::AddrInUse);
            failure = failures.into_iter().find_map(Result::err).unwrap_or(failure);
            if is_free && let Some(listener) = Self::of(sockets.into_iter().flatten().collect()) {
                return Ok(listener);
            }
        }
        let what = format!("rank 0: joining: listening on {addresses:?}, on one of the ports {ports:?}");
        Err(Error::System { what, reason: failure.to_string() })
    }

    fn of(sockets: Vec<TcpListener>) -> Option<Self> {
        let addresses: Vec<_> = sockets.iter().filter_map(|s| s.local_addr().ok()).collect();
        (!addresses.is_empty()).then(|| Self { sockets, endpoint: Endpoint::here(addresses) })
    }

    /// Where it listens.
    pub(super) fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    /// Accepts for ever (until dropped), and hands those over who prove that they are members and look for rank `me`.
    pub(super) async fn serve(self, member: Membership, me: u32, visitors: mpsc::Sender<Visitor>) {
        let mut loops = self.open(member, me, visitors);
        while loops.join_next().await.is_some() {}
    }

    /// The same as tasks that run until the set is dropped. Once it has been shut down, the ports are free.
    pub(super) fn open(self, member: Membership, me: u32, visitors: mpsc::Sender<Visitor>) -> JoinSet<()> {
        let room = Arc::new(Room { guests: Mutex::default(), left: Notify::new() });
        let member = Arc::new(member);
        let mut loops = JoinSet::new();
        for socket in self.sockets {
            loops.spawn(accept(socket, Arc::clone(&room), Arc::clone(&member), me, visitors.clone()));
        }
        loops
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    if address.is_ipv6() {
        // An IPv6 socket that also took IPv4 would collide with the one for IPv4.
        socket2::SockRef::from(&socket).set_only_v6(true)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn accept(
    socket: TcpListener,
    room: Arc<Room>,
    member: Arc<Membership>,
    me: u32,
    visitors: mpsc::Sender<Visitor>,
) {
    // Dropped with this loop, so no guest outlives the listener.
    let mut guests = JoinSet::new();
    loop {
        while guests.try_join_next().is_some() {}
        match socket.accept().await {
            Ok((stream, from)) => {
                room.make_place().await;
                let (member, visitors, within) = (Arc::clone(&member), visitors.clone(), Arc::clone(&room));
                let guest = guests.spawn(async move {
                    let _leaving = Leaving(&within);
                    receive(stream, from, &member, me, visitors).await;
                });
                room.enter(guest);
            }
            // Out of descriptors or memory, or the connection went before it was accepted: nothing that ends a listener.
            Err(error) => {
                tracing::debug!(%error, "accepting a connection failed");
                sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
}

async fn receive(stream: TcpStream, from: SocketAddr, member: &Membership, me: u32, visitors: mpsc::Sender<Visitor>) {
    // Not to be waited for by Nagle's algorithm; a socket that refuses this is as good.
    let _ = stream.set_nodelay(true);
    match timeout(HANDSHAKE_TIMEOUT, auth::answer(stream, member, me)).await {
        Ok(Ok(visitor)) => {
            // The receiver ends only when the listener does.
            let _ = visitors.send(visitor).await;
        }
        Ok(Err(error)) => tracing::debug!(%from, %error, "turned a connection away"),
        Err(_) => tracing::debug!(%from, "turned a connection away: it did not prove itself in time"),
    }
}

/// Where connections wait until they have proved themselves.
struct Room {
    guests: Mutex<VecDeque<(Instant, AbortHandle)>>,
    left: Notify,
}

/// Tells the room, when dropped, that a guest has left.
struct Leaving<'a>(&'a Room);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.left.notify_one();
    }
}

impl Room {
    /// Returns once there is a place, putting the longest guest out if it has had its [`GRACE`].
    async fn make_place(&self) {
        loop {
            let patience = {
                let mut guests = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
                if guests.len() >= ROOM {
                    guests.retain(|(_, guest)| !guest.is_finished());
                }
                if guests.len() < ROOM {
                    return;
                }
                let age = guests[0].0.elapsed();
                if age >= GRACE {
                    let (_, longest) = guests.pop_front().expect("the room is full");
                    longest.abort();
                    return;
                }
                GRACE - age
            };
            // Either a guest leaves or the oldest has been here long enough: look again.
            let _ = timeout(patience, self.left.notified()).await;
        }
    }

    fn enter(&self, guest: AbortHandle) {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner).push_back((Instant::now(), guest));
    }
}

//! Dialling a member: several addresses raced, retried until a deadline, the handshake included.

use super::auth::{self, Denied, Greeted, HANDSHAKE_TIMEOUT, Membership, Purpose, Refusal};
use super::site::Site;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

/// How much later than the one before it an address is tried, as long as that neither succeeds nor fails.
const HEAD_START: Duration = Duration::from_millis(100);

/// The pause between two rounds over all addresses: it doubles from the first to the last.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));

/// Why nobody was reached.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreached {
    /// The one looked for says no, and will say no again.
    #[error("it refused: {0}")]
    Refused(Refusal),
    /// The deadline passed; the last thing that went wrong.
    #[error("{0}")]
    Deadline(String),
}

/// Dials until a member answers as the one looked for, or the deadline passes. A name is looked up
/// anew each round, since it may come to mean something only later. `listening` is where this process listens: what it dials
/// comes from there, too.
pub(super) async fn dial(
    member: &Membership,
    purpose: Purpose,
    site: &Site,
    listening: &[SocketAddr],
    deadline: Instant,
) -> Result<TcpStream, Unreached> {
    let mut backoff = BACKOFF.0;
    let mut reason = String::from("the time was up before the first try");
    loop {
        let round = async {
            let greeted =
                race(member, purpose, &site.addresses().await.map_err(|e| (e.to_string(), None))?, listening).await;
            let proved = timeout(HANDSHAKE_TIMEOUT, greeted.map_err(|e| (e, None))?.prove()).await;
            match proved {
                Ok(Ok(stream)) => Ok(stream),
                Ok(Err(Denied::Refused(why))) => Err((why.to_string(), Some(why))),
                Ok(Err(e)) => Err((e.to_string(), None)),
                Err(_) => Err(("it fell silent in the handshake".into(), None)),
            }
        };
        match timeout_at(deadline, round).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err((_, Some(why)))) if why != Refusal::Busy => return Err(Unreached::Refused(why)),
            Ok(Err((why, _))) => reason = why,
            Err(_) => return Err(Unreached::Deadline(reason)),
        }
        let pause = Instant::now() + jittered(backoff);
        if pause >= deadline {
            return Err(Unreached::Deadline(reason));
        }
        sleep_until(pause).await;
        backoff = (backoff * 2).min(BACKOFF.1);
    }
}

/// The first of these addresses at which the member answers. Nothing is claimed there yet, so the losers of the race leave no trace.
async fn race(
    member: &Membership,
    purpose: Purpose,
    addresses: &[SocketAddr],
    listening: &[SocketAddr],
) -> Result<Greeted, String> {
    let mut tries = JoinSet::new();
    let mut reason = String::from("there is no address to try");
    let mut rest = addresses.iter();
    let mut next = rest.next();
    while next.is_some() || !tries.is_empty() {
        if let Some(address) = next.take() {
            tries.spawn(attempt(member.clone(), purpose, *address, source(*address, listening)));
        }
        // Until one of the tries ends; the next address gets its turn when that failed, or after the head start.
        let ended = match rest.len() {
            0 => tries.join_next().await,
            _ => timeout(HEAD_START, tries.join_next()).await.unwrap_or(None),
        };
        match ended {
            Some(Ok(Ok(greeted))) => return Ok(greeted),
            Some(Ok(Err(why))) => reason = why,
            Some(Err(_)) | None => {}
        }
        next = rest.next();
    }
    Err(reason)
}

async fn attempt(
    member: Membership,
    purpose: Purpose,
    address: SocketAddr,
    source: Option<IpAddr>,
) -> Result<Greeted, String> {
    let attempt = async { auth::greet(connect(address, source).await?, &member, purpose).await };
    match timeout(HANDSHAKE_TIMEOUT, attempt).await {
        Ok(Ok(greeted)) => Ok(greeted),
        Ok(Err(e)) => Err(format!("{address}: {e}")),
        Err(_) => Err(format!("{address}: no answer within {HANDSHAKE_TIMEOUT:?}")),
    }
}

async fn connect(address: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = source {
        socket.bind((source, 0).into())?;
    }
    socket.set_nodelay(true)?;
    let stream = socket.connect(address).await?;
    // On loopback a socket that dials a port nobody listens on may meet itself.
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}

/// The address to dial this one from: of those that this process listens on, the one that the system would take by itself, for that
/// one leads there; otherwise the first. None if no one fits.
fn source(address: SocketAddr, listening: &[SocketAddr]) -> Option<IpAddr> {
    // A source of the other family, or one that cannot reach loopback, says nothing about this address.
    let fits =
        |source: &IpAddr| source.is_ipv4() == address.is_ipv4() && source.is_loopback() == address.ip().is_loopback();
    let fitting = || listening.iter().map(SocketAddr::ip).filter(fits);
    let usual = usual_source(address).ok().filter(|usual| fitting().any(|source| source == *usual));
    usual.or_else(|| fitting().next())
}

/// The address that the system would dial this one from. Connecting a datagram socket asks it, and sends nothing.
fn usual_source(address: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(address)?;
    Ok(socket.local_addr()?.ip())
}

/// Between half of `pause` and all of it, so that ranks that failed together do not come again together.
fn jittered(pause: Duration) -> Duration {
    let mut random = [0; 1];
    // Without randomness the pause is merely the same for all.
    let _ = getrandom::fill(&mut random);
    pause / 2 + pause / 2 * u32::from(random[0]) / 255
}

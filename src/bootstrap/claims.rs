//! Data connections that have come in, until somebody claims them, and those who wait for one that has not come.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// Unclaimed connections a rank holds. A peer may dial long before this rank accepts, but each costs a descriptor.
const UNCLAIMED_MAX: usize = 4096;

/// Whose connection, and which.
type Key = (u32, u32);

/// The data connections of one rank's listener.
#[derive(Default)]
pub(super) struct Claims(Mutex<State>);

#[derive(Default)]
struct State {
    unclaimed: HashMap<Key, TcpStream>,
    waiting: HashMap<Key, oneshot::Sender<TcpStream>>,
    closed: bool,
}

impl Claims {
    /// Whether one more connection can be held.
    pub(super) fn has_room(&self, peer: u32, tag: u32) -> bool {
        let state = self.state();
        !state.closed && (state.unclaimed.len() < UNCLAIMED_MAX || state.waiting.contains_key(&(peer, tag)))
    }

    /// A connection came. The newest counts: its dialler has given up an older one.
    pub(super) fn put(&self, peer: u32, tag: u32, stream: TcpStream) {
        let mut state = self.state();
        if state.closed {
            return;
        }
        let unclaimed = match state.waiting.remove(&(peer, tag)) {
            // Whoever waited may have given up.
            Some(waiting) => waiting.send(stream).err(),
            None => Some(stream),
        };
        if let Some(stream) = unclaimed {
            state.unclaimed.insert((peer, tag), stream);
        }
    }

    /// Claims a connection; it comes at once or later.
    pub(super) fn claim(&self, peer: u32, tag: u32) -> oneshot::Receiver<TcpStream> {
        let (give, take) = oneshot::channel();
        let mut state = self.state();
        if state.closed {
            return take;
        }
        match state.unclaimed.remove(&(peer, tag)) {
            Some(stream) => drop(give.send(stream)),
            None => drop(state.waiting.insert((peer, tag), give)),
        }
        take
    }

    /// Drops all connections, and ends every wait.
    pub(super) fn close(&self) {
        *self.state() = State { closed: true, ..State::default() };
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn stream() -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        TcpStream::connect(listener.local_addr().expect("its address")).await.expect("a connection")
    }

    #[tokio::test]
    async fn connections_meet_their_claims() {
        let claims = Claims::default();
        let (one, two) = (stream().await, stream().await);
        let newest = two.local_addr().expect("its address");
        claims.put(3, 7, one);
        claims.put(3, 7, two);
        let got = claims.claim(3, 7).await.expect("the newest");
        assert_eq!(got.local_addr().expect("its address"), newest);
        // Who waits gets it, but not who waits for another; who gave up loses nothing for the next.
        let (other, mine) = (claims.claim(3, 8), claims.claim(4, 7));
        claims.put(4, 7, stream().await);
        mine.await.expect("a connection");
        drop(other);
        claims.put(3, 8, stream().await);
        claims.claim(3, 8).await.expect("it was kept");
        let waiting = claims.claim(1, 1);
        claims.close();
        assert!(waiting.await.is_err() && claims.claim(1, 1).await.is_err() && !claims.has_room(1, 1));
    }
}

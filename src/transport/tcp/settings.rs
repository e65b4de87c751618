//! What can be set about TCP links. Knows nothing of sockets.

use super::frame::STREAM_BYTES_PER_MESSAGE_MAX;
use crate::error::{Error, Result};
use std::time::Duration;

/// The most sockets that one link may have; more than any host has paths to another.
pub const SOCKETS_MAX: usize = 16;

/// A window must fit the 32 bits in which credit travels with room to tell old from new.
const WINDOW_BYTES_MAX: u64 = 1 << 30;

/// The default slots. Over loopback, with messages of one slot on two or four lanes, these come closest to a bare socket: 0.9 to 1.3 of its
/// time from 128 KiB to 16 MiB, worst at 1 MiB, where 256 KiB come to 1.5 and 128 KiB to 2. Untouched slots take no memory.
const SLOT_BYTES: usize = 512 << 10;
const CREDITS: u32 = 2;

/// How TCP links are set up. Both ends of a link must have the same slots and credits; they tell each other and compare.
#[derive(Clone, Debug)]
pub struct TcpSettings {
    /// The largest payload of one message, in bytes; a multiple of 8.
    pub slot_bytes: usize,
    /// How many slots a lane's sender may be ahead of its receiver.
    pub credits: u32,
    /// The kernel's send buffer of each socket, in bytes; `None` leaves it to the kernel, which adapts it.
    pub send_buffer: Option<usize>,
    /// The kernel's receive buffer of each socket, in bytes; `None` leaves it to the kernel, which adapts it.
    pub receive_buffer: Option<usize>,
    /// How long an idle connection stays unprobed before the kernel asks whether the other host still lives.
    pub keepalive: Option<Duration>,
    /// After how long without an acknowledgement of sent bytes the kernel gives a connection up (`TCP_USER_TIMEOUT`).
    ///
    /// `None`, the default, leaves it to the kernel's retries. The kernel counts a receiver whose buffer is full as one that does not
    /// answer, though it does: a limit here is a limit on how late a rank may come to a call. Liveness is the control
    /// plane's to watch.
    pub user_timeout: Option<Duration>,
}

impl Default for TcpSettings {
    fn default() -> Self {
        Self {
            slot_bytes: SLOT_BYTES,
            credits: CREDITS,
            send_buffer: None,
            receive_buffer: None,
            keepalive: Some(Duration::from_secs(15)),
            user_timeout: None,
        }
    }
}

impl TcpSettings {
    /// Bytes of a lane's stream that its sender may be ahead of its receiver: `credits` messages of the largest kind.
    pub(super) fn window_bytes(&self) -> u64 {
        u64::from(self.credits) * (self.slot_bytes as u64 + STREAM_BYTES_PER_MESSAGE_MAX as u64)
    }

    /// Refuses settings that no link can have.
    pub(super) fn check(&self, sockets: usize) -> Result<()> {
        let refuse = |what: String| Err(Error::InvalidArgument { what });
        if sockets == 0 || sockets > SOCKETS_MAX {
            return refuse(format!("a TCP link needs 1 to {SOCKETS_MAX} sockets, not {sockets}"));
        }
        if self.slot_bytes == 0 || !self.slot_bytes.is_multiple_of(8) {
            return refuse(format!("TCP slots of {} bytes: must be a positive multiple of 8", self.slot_bytes));
        }
        if self.credits == 0 || self.slot_bytes as u64 > WINDOW_BYTES_MAX || self.window_bytes() > WINDOW_BYTES_MAX {
            let (credits, slot_bytes) = (self.credits, self.slot_bytes);
            return refuse(format!(
                "{credits} TCP slots of {slot_bytes} bytes: there must be at least one, and together they may take {WINDOW_BYTES_MAX} bytes"
            ));
        }
        Ok(())
    }
}

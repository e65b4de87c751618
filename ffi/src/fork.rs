//! Forks: a child has its parent's memory but none of its threads, so what the parent held cannot go on there, and is refused.

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

/// How many forks lie between this process and the one that loaded the library.
static FORKS: AtomicU32 = AtomicU32::new(0);

extern "C" fn count() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// The same number for as long as this is the same process: a load.
#[inline]
pub(crate) fn generation() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

/// Counts the forks from now on.
pub(crate) fn watch() {
    static WATCHED: Once = Once::new();
    WATCHED.call_once(|| {
        // SAFETY: the function stays, since the library is never unloaded, and does nothing that a child must not do.
        let refused = unsafe { libc::pthread_atfork(None, None, Some(count)) };
        if refused != 0 {
            tracing::warn!(refused, "forks are not noticed");
        }
    });
}

//! Heartbeats: when a member shows its peers that it lives, and when it gives up one of them.
//!
//! Silence is counted in this member's own beats, never measured by the clock: a process that was stopped, or starved of the
//! processor, has beaten as little as it has listened, and accuses nobody when it goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// Heartbeats within the time after which a peer counts as silent: three may be late.
const BEATS_PER_SILENCE: u32 = 4;

/// The longest time between two heartbeats, however patient the settings: it also bounds how late a deadline is noticed.
const PERIOD_MAX: Duration = Duration::from_secs(1);

/// The shortest, which settings that are allowed do not reach.
const PERIOD_MIN: Duration = Duration::from_millis(1);

/// The beat of one member.
pub(super) struct Pulse {
    interval: Interval,
    /// A peer from which nothing came for so many beats is silent.
    patience: u32,
}

impl Pulse {
    /// A pulse that gives peers up after `silence`.
    pub(super) fn new(silence: Duration) -> Self {
        let period = (silence / BEATS_PER_SILENCE).clamp(PERIOD_MIN, PERIOD_MAX);
        let mut interval = interval_at(Instant::now() + period, period);
        // Beats that a stopped process missed are not made up for.
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let beats = silence.as_nanos().div_ceil(period.as_nanos());
        Self { interval, patience: u32::try_from(beats).unwrap_or(u32::MAX) }
    }

    /// Ends at the next beat.
    pub(super) async fn next(&mut self) {
        self.interval.tick().await;
    }

    /// Whether a peer is to be given up at this beat.
    pub(super) fn gives_up(&self, attention: &mut Attention) -> bool {
        if attention.heard.swap(false, Ordering::Relaxed) {
            attention.unheard = 0;
        } else {
            attention.unheard += 1;
        }
        attention.unheard >= self.patience
    }
}

/// The attention that a member pays to one peer.
pub(super) struct Attention {
    heard: Arc<AtomicBool>,
    /// Beats since something was heard.
    unheard: u32,
}

impl Attention {
    /// Begins as if something had just been heard. Who hears something says so in the other part.
    pub(super) fn new() -> (Self, Arc<AtomicBool>) {
        let heard = Arc::new(AtomicBool::new(true));
        (Self { heard: Arc::clone(&heard), unheard: 0 }, heard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn silence_is_given_up_after_its_time_in_beats() {
        for (milliseconds, beats) in [(400, 4), (4000, 4), (10_000, 10), (10_500, 11)] {
            let pulse = Pulse::new(Duration::from_millis(milliseconds));
            assert!(pulse.interval.period() * beats >= Duration::from_millis(milliseconds));
            let (mut attention, heard) = Attention::new();
            assert!(!pulse.gives_up(&mut attention), "just attached");
            for _ in 0..3 {
                assert!((1..beats).all(|_| !pulse.gives_up(&mut attention)));
                heard.store(true, Ordering::Relaxed);
                assert!(!pulse.gives_up(&mut attention), "heard in time");
            }
            assert!((1..beats).all(|_| !pulse.gives_up(&mut attention)));
            assert!(pulse.gives_up(&mut attention));
        }
    }

    #[tokio::test]
    async fn heartbeats_come_at_least_every_second() {
        assert_eq!(Pulse::new(Duration::from_secs(3600)).interval.period(), PERIOD_MAX);
    }
}

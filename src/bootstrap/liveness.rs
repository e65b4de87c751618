//! The pulse of a member: how often it shows its peers that it lives, and whether its own clock can be trusted to judge theirs.

use std::time::Duration;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// Heartbeats within the time after which a peer counts as silent: three may be late.
const BEATS_PER_SILENCE: u32 = 4;

/// The longest time between two heartbeats, however patient the settings: it also bounds how late a deadline is noticed.
const PERIOD_MAX: Duration = Duration::from_secs(1);

/// The beat of one member.
pub(super) struct Pulse {
    interval: Interval,
    silence: Duration,
    last: Instant,
}

impl Pulse {
    /// A pulse for peers that call this rank lost after `silence`.
    pub(super) fn new(silence: Duration) -> Self {
        let period = (silence / BEATS_PER_SILENCE).clamp(Duration::from_millis(1), PERIOD_MAX);
        let mut interval = interval_at(Instant::now() + period, period);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { interval, silence, last: Instant::now() }
    }

    /// Ends at the next beat.
    pub(super) async fn next(&mut self) {
        self.interval.tick().await;
    }

    /// Whether so much time has passed since the last beat that this process itself must have stood still (stopped, or starved).
    pub(super) fn overslept(&mut self) -> bool {
        self.overslept_at(Instant::now())
    }

    fn overslept_at(&mut self, now: Instant) -> bool {
        let gap = now - std::mem::replace(&mut self.last, now);
        gap >= self.interval.period() + self.silence / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stopped_process_knows_that_it_overslept() {
        let mut pulse = Pulse::new(Duration::from_secs(2));
        assert_eq!(pulse.interval.period(), Duration::from_millis(500));
        let start = pulse.last;
        let mut at = |milliseconds| pulse.overslept_at(start + Duration::from_millis(milliseconds));
        assert!(!at(500) && !at(1000) && !at(1700));
        assert!(at(60_000));
        assert!(!at(60_500) && !at(61_999));
        assert!(at(63_499));
    }

    #[tokio::test]
    async fn heartbeats_come_at_least_every_second() {
        assert_eq!(Pulse::new(Duration::from_secs(3600)).interval.period(), PERIOD_MAX);
    }
}

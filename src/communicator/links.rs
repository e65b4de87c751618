//! What is known of a link besides the link itself: the way that two ranks took, and why not one that comes before it.

/// Names of transports, as their capabilities have them.
pub(super) const SHM: &str = "shm";
pub(super) const TCP: &str = "tcp";
pub(super) const VERBS: &str = "verbs";

/// How this rank and a peer talk.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkReport {
    /// The rank at the other end.
    pub peer: u32,
    /// The transport's name: `shm`, `verbs` or `tcp`.
    pub transport: &'static str,
    /// What carries the link at this end: an address, or a device and its port. Empty for shared memory.
    pub here: String,
    /// The same of the peer's end.
    pub there: String,
    /// The ways that come before it and did not work, in the order in which they were tried. A way that was not wanted was not tried.
    pub refused: Vec<Refusal>,
}

/// A way between two ranks that does not work.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// The transport's name.
    pub transport: &'static str,
    /// What this rank has against it, if it has.
    pub here: Option<String>,
    /// What the peer has against it, as far as it said.
    pub there: Option<String>,
}

impl LinkReport {
    pub(super) fn of(peer: u32) -> Self {
        Self { peer, transport: "", here: String::new(), there: String::new(), refused: Vec::new() }
    }

    /// With the way that was found.
    pub(super) fn by(self, transport: &'static str, here: String, there: String) -> Self {
        Self { transport, here, there, ..self }
    }
}

impl Refusal {
    #[cfg(test)]
    fn here(transport: &'static str, why: String) -> Self {
        Self { transport, here: Some(why), there: None }
    }

    /// Both sides' reasons in one line, for the rank whose peer this is.
    pub(super) fn words(&self, peer: u32) -> String {
        let there = self
            .there
            .as_ref()
            .filter(|there| self.here.as_ref() != Some(there))
            .map(|why| format!("rank {peer}: {why}"));
        let reasons: Vec<_> = self.here.iter().cloned().chain(there).collect();
        let what = if self.transport == SHM { "share memory".to_owned() } else { format!("use {}", self.transport) };
        format!("cannot {what}: {}", reasons.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_are_heard() {
        let mut refusal = Refusal::here("shm", "no room".into());
        assert_eq!(refusal.words(3), "cannot share memory: no room");
        refusal.there = Some("too late".into());
        assert_eq!(refusal.words(3), "cannot share memory: no room; rank 3: too late");
        refusal.there = refusal.here.clone();
        assert_eq!(refusal.words(3), "cannot share memory: no room", "both say the same");
        let refusal = Refusal { transport: "verbs", here: None, there: Some("no port".into()) };
        assert_eq!(refusal.words(7), "cannot use verbs: rank 7: no port");
    }
}

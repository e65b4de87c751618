//! What a line of the log says: the library's events in the words that people grep for in NCCL's.

use crate::log::SUBSYSTEMS;
use std::fmt::{Debug, Display, Formatter, Write};
use tracing::Event;
use tracing::field::{Field, Visit};

/// The subsystem of an event, by where it comes from: its own word for it, or a module.
pub(crate) fn subsystem(target: &str) -> &str {
    if SUBSYSTEMS.contains(&target) {
        return target;
    }
    match target.split("::").nth(1) {
        Some("bootstrap") => "BOOTSTRAP",
        Some("transport") => "NET",
        Some("tune") => "TUNING",
        _ => "INIT",
    }
}

/// One event, taken apart.
#[derive(Default)]
pub(crate) struct Line {
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Line {
    pub(crate) fn of(event: &Event<'_>) -> Self {
        let mut line = Self::default();
        event.record(&mut line);
        line
    }

    fn field(&self, name: &str) -> &str {
        self.fields.iter().find(|(of, _)| *of == name).map_or("", |(_, value)| value)
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        // A string takes everything.
        let _ = write!(text, "{value:?}");
        match field.name() {
            "message" => self.message = text,
            name => self.fields.push((name, text)),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            name => self.fields.push((name, value.to_owned())),
        }
    }
}

impl Display for Line {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let of = |name| self.field(name);
        match self.message.as_str() {
            "linked" => {
                let way = match of("transport") {
                    "shm" => "SHM",
                    "verbs" => "NET/IB/0",
                    "tcp" => "NET/Socket/0",
                    other => other,
                };
                write!(f, "Channel 00/0 : {}[0] -> {}[0] via {way}", of("rank"), of("peer"))?;
                if !of("here").is_empty() {
                    write!(f, " from {} to {}", of("here"), of("there"))?;
                }
                Ok(())
            }
            "chosen" => {
                let algorithm = of("algorithm").to_ascii_uppercase();
                write!(f, "{}: {} to {} Bytes -> Algo {algorithm}", of("collective"), of("from"), of("to"))
            }
            "RDMA by this port" => write!(f, "NET/IB : Using [0]{} ; address {}", of("rail"), of("address")),
            "no RDMA" => write!(f, "NET/IB : No device found. {}", of("why")),
            message => {
                f.write_str(message)?;
                self.fields.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(message: &str, fields: &[(&'static str, &str)]) -> String {
        let fields = fields.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Line { message: message.to_owned(), fields }.to_string()
    }

    #[test]
    fn lines_are_found_by_nccls_words() {
        let link = [("rank", "0"), ("peer", "3"), ("transport", "tcp"), ("here", "10.0.0.1"), ("there", "10.0.0.2")];
        assert_eq!(line("linked", &link), "Channel 00/0 : 0[0] -> 3[0] via NET/Socket/0 from 10.0.0.1 to 10.0.0.2");
        let choice = [("collective", "allreduce"), ("from", "0"), ("to", "1023"), ("algorithm", "nhr")];
        assert_eq!(line("chosen", &choice), "allreduce: 0 to 1023 Bytes -> Algo NHR");
        assert_eq!(line("failed", &[("peer", "3")]), "failed peer=3");
        assert_eq!(subsystem("serried::bootstrap::member"), "BOOTSTRAP");
        assert_eq!(subsystem("COLL"), "COLL");
        assert_eq!(subsystem("serried::communicator::meet"), "INIT");
    }
}

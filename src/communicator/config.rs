//! What a user may set about a communicator, in code or by the environment.

use crate::bootstrap::Settings;
use crate::error::{Error, Result};
use crate::transport::verbs::VerbsSettings;
use crate::tune::Allowed;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// How long a call may wait for ranks that are alive but do not come: longer than a checkpoint or a slow step of training takes.
const TIMEOUT: Duration = Duration::from_secs(600);

/// A measured network serves for a day: jobs that start often need not measure, and yesterday's network may have been another.
const PROBE_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// How ranks may talk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TransportChoice {
    /// Shared memory where two ranks can share it, RDMA verbs elsewhere if both have a device and it works, TCP otherwise.
    #[default]
    Auto,
    /// Shared memory only; an error where it cannot be.
    Shm,
    /// TCP only, even inside a host.
    Tcp,
    /// RDMA verbs only, even inside a host; an error where they cannot be.
    Verbs,
    /// As `Auto`, and never TCP: an error on a rank without an RDMA device that works, and where two ranks can use neither way.
    ShmAndVerbs,
}

impl TransportChoice {
    /// By which name settings give it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Shm => "shm",
            Self::Tcp => "tcp",
            Self::Verbs => "verbs",
            Self::ShmAndVerbs => "shm+verbs",
        }
    }

    /// Whether two ranks may share memory.
    pub(super) fn has_shm(self) -> bool {
        matches!(self, Self::Auto | Self::Shm | Self::ShmAndVerbs)
    }

    /// Whether two ranks may use verbs.
    pub(super) fn has_verbs(self) -> bool {
        matches!(self, Self::Auto | Self::Verbs | Self::ShmAndVerbs)
    }

    /// Whether two ranks may use TCP.
    pub(super) fn has_tcp(self) -> bool {
        matches!(self, Self::Auto | Self::Tcp)
    }
}

/// Whether the network between the ranks is measured, to choose algorithms by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Probe {
    /// If it was not lately: what rank 0 finds on its disk serves for [`Config::probe_age`].
    #[default]
    Auto,
    /// When a communicator begins, whatever is on the disk; what is measured is kept there.
    Anew,
    /// Never: algorithms are chosen by fixed crossovers, and the same in every run.
    Off,
}

/// Settings of a communicator. All ranks must have `transport`, `algorithms`, `probe` and `sockets` in common, which is checked when they meet.
#[derive(Clone, Debug)]
pub struct Config {
    /// How ranks may talk (`SERRIED_TRANSPORT`: `auto`, `shm`, `tcp`, `verbs`, `shm+verbs`).
    pub transport: TransportChoice,
    /// The algorithms that may run, of which one is chosen per size (`SERRIED_ALGO`: `auto`, `ring`, `^tree` or such; see [`Allowed`]).
    pub algorithms: Allowed,
    /// Whether the network is measured (`SERRIED_PROBE`: `auto`, `anew`, `off`).
    pub probe: Probe,
    /// How long what was measured serves (`SERRIED_PROBE_AGE`, seconds).
    pub probe_age: Duration,
    /// Where rank 0 keeps what was measured (`SERRIED_PROBE_DIR`); `None` is `serried` in the user's cache directory.
    pub probe_dir: Option<PathBuf>,
    /// How long a call may take while all ranks are alive (`SERRIED_TIMEOUT`, seconds).
    pub timeout: Duration,
    /// TCP sockets per pair of ranks; pieces of a message are taken by whichever is free (`SERRIED_SOCKETS`). `None` is one for each interface, of those
    /// as fast as the fastest, that both hosts have; networks that spread load by connection want more. They take turns at the interfaces.
    pub sockets: Option<u32>,
    /// RDMA devices, and how their connections run (`SERRIED_IB_…`).
    pub verbs: VerbsSettings,
    /// The host that this rank claims to be on, so that one machine can play several (`SERRIED_HOST_ID`).
    pub host_id: Option<String>,
    /// Joining, liveness and interfaces.
    pub control: Settings,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            transport: TransportChoice::Auto,
            algorithms: Allowed::default(),
            probe: Probe::Auto,
            probe_age: PROBE_AGE,
            probe_dir: None,
            timeout: TIMEOUT,
            sockets: None,
            verbs: VerbsSettings::default(),
            host_id: None,
            control: Settings::default(),
        }
    }
}

impl Config {
    /// More sockets a pair than this only cost memory.
    pub const SOCKETS_MAX: u32 = crate::transport::tcp::SOCKETS_MAX as u32;

    /// Refuses what the environment could not have set either.
    pub(super) fn check(&self) -> Result<()> {
        match self.sockets.filter(|sockets| !(1..=Self::SOCKETS_MAX).contains(sockets)) {
            None => self.verbs.check(),
            Some(odd) => {
                let why = format!("expected a number from 1 to {}", Self::SOCKETS_MAX);
                Err(setting("sockets", &odd.to_string(), why))
            }
        }
    }

    /// What all ranks must have in common, in words.
    pub(super) fn common(&self) -> String {
        format!("{}, probe {:?}", self.ways(), self.probe).to_lowercase()
    }

    /// What decides how ranks talk, in words.
    pub(super) fn ways(&self) -> String {
        let (transport, algorithms) = (self.transport.name(), self.algorithms);
        let sockets = self.sockets.map_or_else(|| "by rails".to_owned(), |sockets| sockets.to_string());
        let pairs = self.verbs.queue_pairs;
        format!("algorithm {algorithms}, transport {transport}, sockets {sockets}, queue pairs {pairs}")
    }

    /// The default, changed by this process' environment.
    ///
    /// # Errors
    /// [`Error::Setting`] names the variable that cannot be understood.
    pub fn from_env() -> Result<Self> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// The default, changed by these variables; an empty one counts as unset.
    ///
    /// # Errors
    /// As [`from_env`](Self::from_env).
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let mut config = Self {
            control: Settings::from_variables(&variable)?,
            verbs: VerbsSettings::from_variables(&variable)?,
            ..Self::default()
        };
        if let Some(text) = set("SERRIED_TRANSPORT") {
            config.transport = text.parse()?;
        }
        if let Some(text) = set("SERRIED_ALGO") {
            config.algorithms = Allowed::parse(&text).map_err(|why| setting("SERRIED_ALGO", &text, why))?;
        }
        if let Some(text) = set("SERRIED_PROBE") {
            config.probe = text.parse()?;
        }
        for (name, time) in [("SERRIED_TIMEOUT", &mut config.timeout), ("SERRIED_PROBE_AGE", &mut config.probe_age)] {
            let Some(text) = set(name) else { continue };
            let seconds = text.trim().parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            let wrong = || setting(name, &text, "expected seconds, as in 600 or 0.5".into());
            *time = seconds.filter(|time| !time.is_zero()).ok_or_else(wrong)?;
        }
        if let Some(text) = set("SERRIED_SOCKETS") {
            let wrong =
                || setting("SERRIED_SOCKETS", &text, format!("expected a number from 1 to {}", Self::SOCKETS_MAX));
            let number = text.trim().parse().ok().filter(|n| (1..=Self::SOCKETS_MAX).contains(n));
            config.sockets = Some(number.ok_or_else(wrong)?);
        }
        config.probe_dir = set("SERRIED_PROBE_DIR").map(PathBuf::from);
        config.host_id = set("SERRIED_HOST_ID").map(|text| text.trim().to_owned());
        Ok(config)
    }
}

impl FromStr for TransportChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.trim() {
            "auto" => Ok(Self::Auto),
            "shm" => Ok(Self::Shm),
            "tcp" => Ok(Self::Tcp),
            "verbs" => Ok(Self::Verbs),
            "shm+verbs" => Ok(Self::ShmAndVerbs),
            _ => Err(setting("SERRIED_TRANSPORT", text, "expected auto, shm, tcp, verbs or shm+verbs".into())),
        }
    }
}

impl FromStr for Probe {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.trim() {
            "auto" => Ok(Self::Auto),
            "anew" => Ok(Self::Anew),
            "off" => Ok(Self::Off),
            _ => Err(setting("SERRIED_PROBE", text, "expected auto, anew or off".into())),
        }
    }
}

fn setting(name: &str, value: &str, why: String) -> Error {
    Error::Setting { name: name.into(), value: value.into(), why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Algorithm;

    fn from(variables: &[(&str, &str)]) -> Result<Config> {
        Config::from_variables(|name| variables.iter().find(|v| v.0 == name).map(|v| v.1.to_owned()))
    }

    #[test]
    fn variables_become_settings() {
        let config = from(&[
            ("SERRIED_TRANSPORT", "tcp"),
            ("SERRIED_ALGO", "nhr"),
            ("SERRIED_TIMEOUT", "1.5"),
            ("SERRIED_PROBE", "anew"),
            ("SERRIED_PROBE_AGE", "60"),
            ("SERRIED_SOCKETS", "4"),
            ("SERRIED_HOST_ID", "a"),
        ])
        .expect("sound settings");
        assert_eq!((config.transport, config.algorithms), (TransportChoice::Tcp, Algorithm::Nhr.into()));
        assert_eq!((config.probe, config.probe_age), (Probe::Anew, Duration::from_secs(60)));
        assert_eq!((config.timeout, config.sockets), (Duration::from_millis(1500), Some(4)));
        assert_eq!(config.host_id.as_deref(), Some("a"));
        let plain = from(&[("SERRIED_ALGO", "auto"), ("SERRIED_TRANSPORT", "")]).expect("sound");
        assert_eq!((plain.algorithms, plain.probe), (Allowed::default(), Probe::Auto));
    }

    #[test]
    fn a_choice_is_set_by_its_name() {
        use TransportChoice::{Auto, Shm, ShmAndVerbs, Tcp, Verbs};
        for choice in [Auto, Shm, Tcp, Verbs, ShmAndVerbs] {
            assert_eq!(choice.name().parse::<TransportChoice>().expect("its name"), choice);
        }
    }

    #[test]
    fn nonsense_names_its_variable() {
        for (name, value) in [
            ("SERRIED_TRANSPORT", "pigeon"),
            ("SERRIED_ALGO", "rung"),
            ("SERRIED_ALGO", "broadcast:ring"),
            ("SERRIED_PROBE", "never"),
            ("SERRIED_PROBE_AGE", "0"),
            ("SERRIED_TIMEOUT", "0"),
            ("SERRIED_TIMEOUT", "-3"),
            ("SERRIED_SOCKETS", "0"),
            ("SERRIED_SOCKETS", "17"),
        ] {
            let error = from(&[(name, value)]).expect_err(value).to_string();
            assert!(error.starts_with(&format!("{name}={value:?}: ")), "{error}");
        }
    }
}

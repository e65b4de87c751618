//! What a user may set about the control plane, and where each value comes from.

use super::cancel::Cancel;
use super::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::topology::interface::{self, Family, Interface, Kind, PortRange, Selection};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

/// How long all ranks may take to come. A scheduler starts large jobs over tens of seconds.
const INIT_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a peer may be silent before it counts as lost: longer than a busy host's hiccups, shorter than a user's patience.
const SILENCE: Duration = Duration::from_secs(10);

/// Settings below this would declare ranks dead that only waited for the processor.
const SHORTEST: Duration = Duration::from_millis(50);

/// Settings above this are no limit at all, and times are added to it.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// What each of the times may be.
const ALLOWED: RangeInclusive<Duration> = SHORTEST..=LONGEST;

/// Settings of the control plane.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// How long joining may take before it fails with the list of the ranks that did not come (`SERRIED_INIT_TIMEOUT`, seconds).
    pub init_timeout: Duration,
    /// How long a collective exchange, a dial or an accept may take (`SERRIED_CONNECT_TIMEOUT`, seconds).
    pub connect_timeout: Duration,
    /// How long nothing may be heard from a peer before it counts as lost (`SERRIED_SILENCE`, seconds).
    pub silence: Duration,
    /// Which interfaces to use (`SERRIED_SOCKET_IFNAME`, else `NCCL_SOCKET_IFNAME`).
    pub interfaces: Option<Selection>,
    /// Which family of addresses to use (`SERRIED_SOCKET_FAMILY`, else `NCCL_SOCKET_FAMILY`).
    pub family: Family,
    /// The ports that listeners may take (`SERRIED_PORT_RANGE`, as `lo-hi`); otherwise the system picks.
    pub ports: Option<PortRange>,
    /// Ends joins from another thread: also those of communicators that are made of one with these settings.
    pub cancel: Cancel,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            init_timeout: INIT_TIMEOUT,
            connect_timeout: INIT_TIMEOUT,
            silence: SILENCE,
            interfaces: None,
            family: Family::Any,
            ports: None,
            cancel: Cancel::default(),
        }
    }
}

impl Settings {
    /// The settings that these environment variables ask for; an empty variable counts as unset.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let mut settings = Self::default();
        let time = |names: &[&str]| parsed(&variable, names, seconds);
        if let Some(init) = time(&["SERRIED_INIT_TIMEOUT"])? {
            (settings.init_timeout, settings.connect_timeout) = (init, init);
        }
        settings.connect_timeout = time(&["SERRIED_CONNECT_TIMEOUT"])?.unwrap_or(settings.connect_timeout);
        settings.silence = time(&["SERRIED_SILENCE"])?.unwrap_or(settings.silence);
        settings.interfaces = parsed(&variable, &["SERRIED_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"], Selection::from_str)?;
        let family = parsed(&variable, &["SERRIED_SOCKET_FAMILY", "NCCL_SOCKET_FAMILY"], Family::from_str)?;
        settings.family = family.unwrap_or_default();
        settings.ports = parsed(&variable, &["SERRIED_PORT_RANGE"], PortRange::from_str)?;
        Ok(settings)
    }

    /// The settings of this process' environment.
    pub fn from_env() -> Result<Self> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// Refuses times that no variable could have set: code sets them, too.
    pub(super) fn check(&self) -> Result<()> {
        let times =
            [("init_timeout", self.init_timeout), ("connect_timeout", self.connect_timeout), ("silence", self.silence)];
        match times.into_iter().find(|(_, time)| !ALLOWED.contains(time)) {
            None => Ok(()),
            Some((name, time)) => Err(Error::Setting {
                name: name.into(),
                value: format!("{time:?}"),
                why: format!("expected a time from {:?} to {:?}", ALLOWED.start(), ALLOWED.end()),
            }),
        }
    }

    /// Of the addresses to listen on, those over which the traffic of one pair of ranks is spread.
    pub(crate) fn rails(&self) -> Result<Vec<IpAddr>> {
        let chosen = interface::choose(&interface::interfaces()?, self.interfaces.as_ref(), self.family)?;
        Ok(interface::rails(&chosen).iter().map(|rail| rail.address).collect())
    }

    /// The addresses to listen on, best first: those of the chosen interfaces and, unless the user named interfaces, loopback for
    /// the ranks on this host (no other host tries it: see [`Endpoint`]).
    pub(super) fn listening_addresses(&self) -> Result<Vec<IpAddr>> {
        let all = interface::interfaces()?;
        let mut chosen = interface::choose(&all, self.interfaces.as_ref(), self.family)?;
        if self.interfaces.is_none() {
            let loopback = |i: &&Interface| i.kind == Kind::Loopback && self.family.has(i.address);
            let first = all.iter().filter(loopback).min_by_key(|i| i.address.is_ipv6());
            chosen.extend(first.filter(|_| chosen.iter().all(|i| i.kind != Kind::Loopback)).cloned());
        }
        chosen.truncate(Endpoint::ADDRESSES_MAX);
        Ok(chosen.into_iter().map(|i| i.address).collect())
    }
}

fn parsed<T, E: Into<String>>(
    variable: impl Fn(&str) -> Option<String>,
    names: &[&str],
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<Option<T>> {
    let set = names.iter().find_map(|name| Some((name, variable(name).filter(|value| !value.trim().is_empty())?)));
    let Some((name, value)) = set else { return Ok(None) };
    match parse(&value) {
        Ok(parsed) => Ok(Some(parsed)),
        Err(why) => Err(Error::Setting { name: (*name).into(), value, why: why.into() }),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: Option<f64> = text.trim().parse().ok();
    let time = seconds.and_then(|s| Duration::try_from_secs_f64(s).ok());
    time.filter(|time| ALLOWED.contains(time)).ok_or_else(|| {
        format!("expected seconds, from {} to {}, as in 10 or 0.5", SHORTEST.as_secs_f64(), LONGEST.as_secs())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(variables: &[(&str, &str)]) -> Result<Settings> {
        Settings::from_variables(|name| variables.iter().find(|v| v.0 == name).map(|v| v.1.to_owned()))
    }

    #[test]
    fn variables_become_settings() {
        let settings = from(&[
            ("SERRIED_INIT_TIMEOUT", "2.5"),
            ("SERRIED_SILENCE", "3"),
            ("NCCL_SOCKET_IFNAME", "=eth0"),
            ("SERRIED_SOCKET_FAMILY", "AF_INET"),
            ("NCCL_SOCKET_FAMILY", "nonsense, but overruled"),
            ("SERRIED_PORT_RANGE", "40000-40010"),
        ])
        .expect("settings");
        assert_eq!((settings.init_timeout, settings.silence), (Duration::from_millis(2500), Duration::from_secs(3)));
        assert_eq!(settings.connect_timeout, settings.init_timeout);
        assert_eq!(settings.interfaces, "=eth0".parse().ok());
        assert_eq!(settings.family, Family::V4);
        assert_eq!(settings.ports, PortRange::new(40000, 40010));
        assert!(from(&[("SERRIED_SILENCE", " ")]).is_ok_and(|s| s.silence == SILENCE));
    }

    #[test]
    fn times_set_in_code_are_checked_where_they_are_used() {
        use super::super::{Control, UniqueId};
        let id = UniqueId::create(&Settings::default()).expect("an id");
        for time in [Duration::ZERO, SHORTEST - Duration::from_nanos(1), LONGEST + SHORTEST, Duration::MAX] {
            for (name, settings) in [
                ("init_timeout", Settings { init_timeout: time, ..Settings::default() }),
                ("connect_timeout", Settings { connect_timeout: time, ..Settings::default() }),
                ("silence", Settings { silence: time, ..Settings::default() }),
            ] {
                let errors = [UniqueId::create(&settings).err(), Control::join(&id, 0, 1, &settings).err()];
                for error in errors {
                    let refused = matches!(&error, Some(Error::Setting { name: of, .. }) if of == name);
                    assert!(refused, "{name} {time:?}: {error:?}");
                }
            }
        }
        // The id has not been used up by those.
        Control::join(&id, 0, 1, &Settings::default()).expect("a communicator").leave();
    }

    #[test]
    fn nonsense_names_its_variable() {
        for (name, value) in [
            ("SERRIED_INIT_TIMEOUT", "soon"),
            ("SERRIED_SILENCE", "0"),
            ("SERRIED_SILENCE", "-1"),
            ("SERRIED_CONNECT_TIMEOUT", "1e99"),
            ("NCCL_SOCKET_IFNAME", "^"),
            ("SERRIED_SOCKET_FAMILY", "AF_X25"),
            ("SERRIED_PORT_RANGE", "9-1"),
        ] {
            let error = from(&[(name, value)]).expect_err(value).to_string();
            assert!(error.starts_with(&format!("{name}={value:?}: ")), "{error}");
        }
    }
}

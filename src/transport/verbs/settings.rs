//! What a user may set about verbs, by `SERRIED_IB_…` or, with the same meaning, `NCCL_IB_…`. Pure: variables come in as a function.

use super::card::QUEUE_PAIRS_MAX;
use super::filters::{AddressRange, DeviceFilter, Family, RoceVersion};
use crate::error::{Error, Result};
use std::str::FromStr;

/// At this many retries some devices never give up: rxe reads it as "for ever", as the field's three bits at their fullest. Then a peer
/// that went away is only known from the control plane, and its work never completes. Every smaller number ends.
pub const RETRIES_WITHOUT_END: u8 = 7;

/// Settings of the verbs transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerbsSettings {
    /// Which devices and ports (`_HCA`); `None` takes every one.
    pub devices: Option<DeviceFilter>,
    /// The place in the port's table of GIDs (`_GID_INDEX`); `None` (-1) chooses.
    pub gid_index: Option<u8>,
    /// Which kind of GID is chosen (`_ROCE_VERSION_NUM`).
    pub roce_version: RoceVersion,
    /// The family of address that is chosen (`_ADDR_FAMILY`); `None` prefers version 4.
    pub family: Option<Family>,
    /// The network that the address must be in (`_ADDR_RANGE`).
    pub range: Option<AddressRange>,
    /// The traffic class (`_TC`): DSCP × 4 + ECN of RoCE v2's packets.
    pub traffic_class: u8,
    /// The service level (`_SL`).
    pub service_level: u8,
    /// How long to wait for an acknowledgement (`_TIMEOUT`): 4.096 µs × 2^this.
    pub timeout: u8,
    /// How often to try again (`_RETRY_CNT`). 6 unless set: [`RETRIES_WITHOUT_END`] has to be asked for.
    pub retries: u8,
    /// Queue pairs per connection (`_QPS_PER_CONNECTION`).
    pub queue_pairs: u32,
}

impl Default for VerbsSettings {
    fn default() -> Self {
        Self {
            devices: None,
            gid_index: None,
            roce_version: RoceVersion::V2,
            family: None,
            range: None,
            traffic_class: 0,
            service_level: 0,
            timeout: 20,
            retries: RETRIES_WITHOUT_END - 1,
            queue_pairs: 1,
        }
    }
}

impl VerbsSettings {
    /// The default, changed by these variables. `SERRIED_IB_…` wins over `NCCL_IB_…`; an empty one counts as unset.
    ///
    /// # Errors
    /// [`Error::Setting`] names the variable that cannot be understood.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let mut settings = Self::default();
        let set = |names: [&'static str; 2]| {
            names.into_iter().find_map(|name| Some((name, variable(name).filter(|text| !text.trim().is_empty())?)))
        };
        if let Some(asked) = set(["SERRIED_IB_HCA", "NCCL_IB_HCA"]) {
            settings.devices = Some(parsed(&asked)?);
        }
        if let Some(asked) = set(["SERRIED_IB_GID_INDEX", "NCCL_IB_GID_INDEX"]) {
            let index = number(&asked, -1, 255)?;
            settings.gid_index = u8::try_from(index).ok();
        }
        if let Some(asked) = set(["SERRIED_IB_ROCE_VERSION_NUM", "NCCL_IB_ROCE_VERSION_NUM"]) {
            settings.roce_version = parsed(&asked)?;
        }
        if let Some(asked) = set(["SERRIED_IB_ADDR_FAMILY", "NCCL_IB_ADDR_FAMILY"]) {
            settings.family = Some(parsed(&asked)?);
        }
        if let Some(asked) = set(["SERRIED_IB_ADDR_RANGE", "NCCL_IB_ADDR_RANGE"]) {
            settings.range = Some(parsed(&asked)?);
        }
        if let Some(asked) = set(["SERRIED_IB_TC", "NCCL_IB_TC"]) {
            settings.traffic_class = number(&asked, 0, 255)? as u8;
        }
        if let Some(asked) = set(["SERRIED_IB_SL", "NCCL_IB_SL"]) {
            settings.service_level = number(&asked, 0, 15)? as u8;
        }
        if let Some(asked) = set(["SERRIED_IB_TIMEOUT", "NCCL_IB_TIMEOUT"]) {
            // 0 would wait for ever for one acknowledgement.
            settings.timeout = number(&asked, 1, 31)? as u8;
        }
        if let Some(asked) = set(["SERRIED_IB_RETRY_CNT", "NCCL_IB_RETRY_CNT"]) {
            settings.retries = number(&asked, 0, RETRIES_WITHOUT_END.into())? as u8;
        }
        if let Some(asked) = set(["SERRIED_IB_QPS_PER_CONNECTION", "NCCL_IB_QPS_PER_CONNECTION"]) {
            settings.queue_pairs = number(&asked, 1, QUEUE_PAIRS_MAX as i64)? as u32;
        }
        Ok(settings)
    }

    /// Refuses what the environment could not have set either.
    pub(crate) fn check(&self) -> Result<()> {
        if (1..=QUEUE_PAIRS_MAX).contains(&(self.queue_pairs as usize)) {
            return Ok(());
        }
        let why = format!("expected a number from 1 to {QUEUE_PAIRS_MAX}");
        Err(Error::Setting { name: "queue pairs".into(), value: self.queue_pairs.to_string(), why })
    }

    /// What the user should know about what was asked for, if anything.
    pub fn remark(&self) -> Option<&'static str> {
        (self.retries >= RETRIES_WITHOUT_END).then_some(
            "at 7 retries some devices (rxe) never give up: a link that is lost shows only where the control plane loses the peer, too",
        )
    }
}

fn parsed<T: FromStr<Err = &'static str>>((name, text): &(&str, String)) -> Result<T> {
    text.trim().parse().map_err(|why: &str| setting(name, text, why.into()))
}

fn number((name, text): &(&str, String), low: i64, high: i64) -> Result<i64> {
    let wrong = || setting(name, text, format!("expected a number from {low} to {high}"));
    // NCCL reads both ways of writing it.
    let number = match text.trim().strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16),
        None => text.trim().parse(),
    };
    number.ok().filter(|number| (low..=high).contains(number)).ok_or_else(wrong)
}

fn setting(name: &str, value: &str, why: String) -> Error {
    Error::Setting { name: name.into(), value: value.into(), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(variables: &[(&str, &str)]) -> Result<VerbsSettings> {
        VerbsSettings::from_variables(|name| variables.iter().find(|v| v.0 == name).map(|v| v.1.to_owned()))
    }

    #[test]
    fn variables_become_settings() {
        let settings = from(&[
            ("SERRIED_IB_HCA", "=mlx5_0:1"),
            ("NCCL_IB_GID_INDEX", "3"),
            ("NCCL_IB_ROCE_VERSION_NUM", "1"),
            ("SERRIED_IB_ADDR_FAMILY", "AF_INET6"),
            ("SERRIED_IB_ADDR_RANGE", "10.0.0.0/8"),
            ("SERRIED_IB_TC", "106"),
            ("NCCL_IB_SL", "3"),
            ("NCCL_IB_TIMEOUT", "22"),
            ("SERRIED_IB_RETRY_CNT", "4"),
            ("SERRIED_IB_QPS_PER_CONNECTION", "4"),
        ])
        .expect("sound settings");
        let VerbsSettings { traffic_class, service_level, timeout, retries, queue_pairs, .. } = settings;
        assert_eq!((traffic_class, service_level, timeout, retries, queue_pairs), (106, 3, 22, 4, 4));
        assert_eq!((settings.gid_index, settings.roce_version), (Some(3), RoceVersion::V1));
        assert_eq!(settings.family, Some(Family::V6));
        assert!(settings.devices.is_some() && settings.range.is_some());
        assert_eq!(from(&[("SERRIED_IB_GID_INDEX", "-1"), ("NCCL_IB_SL", "")]).expect("sound"), Default::default());
    }

    #[test]
    fn our_variable_wins_over_the_other_of_the_same_meaning() {
        assert_eq!(from(&[("NCCL_IB_TC", "8"), ("SERRIED_IB_TC", "4")]).expect("sound").traffic_class, 4);
        assert_eq!(from(&[("NCCL_IB_TC", "8"), ("SERRIED_IB_TC", " ")]).expect("sound").traffic_class, 8);
        // Nobody looks at what has lost.
        assert_eq!(from(&[("NCCL_IB_TC", "x"), ("SERRIED_IB_TC", "4")]).expect("sound").traffic_class, 4);
    }

    #[test]
    fn retries_end_unless_somebody_asks_that_they_do_not() {
        assert_eq!((from(&[]).expect("sound").retries, from(&[]).expect("sound").remark()), (6, None));
        let asked = from(&[("NCCL_IB_RETRY_CNT", "7")]).expect("it was asked for");
        assert!(asked.retries == 7 && asked.remark().is_some_and(|remark| remark.contains("never give up")));
    }

    #[test]
    fn nonsense_names_its_variable() {
        for (name, value) in [
            ("SERRIED_IB_HCA", "^"),
            ("NCCL_IB_HCA", "mlx5_0:x"),
            ("SERRIED_IB_GID_INDEX", "256"),
            ("NCCL_IB_GID_INDEX", "-2"),
            ("SERRIED_IB_ROCE_VERSION_NUM", "3"),
            ("NCCL_IB_ADDR_FAMILY", "AF_UNIX"),
            ("SERRIED_IB_ADDR_RANGE", "10.0.0.0/33"),
            ("SERRIED_IB_TC", "256"),
            ("SERRIED_IB_SL", "16"),
            ("SERRIED_IB_TIMEOUT", "0"),
            ("NCCL_IB_RETRY_CNT", "8"),
            ("SERRIED_IB_QPS_PER_CONNECTION", "0"),
        ] {
            let error = from(&[(name, value)]).expect_err(value).to_string();
            assert!(error.starts_with(&format!("{name}={value:?}: ")), "{error}");
        }
    }
}

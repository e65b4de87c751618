//! NCCL's environment: each variable does what its users expect, as far as serried has such a thing; what has no meaning here is named in
//! one warning. A `SERRIED_` variable wins over the `NCCL_` one of the same meaning.
//!
//! Variables that the `serried` crate reads by NCCL's names (`NCCL_SOCKET_IFNAME`, `NCCL_IB_…`) pass through untouched.

use crate::errors::Failure;
use serried::Config;
use serried::schedule::Algorithm;
use serried::tune::Allowed;
use std::collections::BTreeMap;
use std::ffi::{CStr, c_int};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Every variable that is read, but for secret ones.
pub(crate) const READ: [&CStr; 51] = [
    c"SERRIED_RANK",
    c"SERRIED_SIZE",
    c"SERRIED_LOCAL_RANK",
    c"SERRIED_ROOT",
    c"SERRIED_SOCKET_IFNAME",
    c"NCCL_SOCKET_IFNAME",
    c"SERRIED_SOCKET_FAMILY",
    c"NCCL_SOCKET_FAMILY",
    c"SERRIED_PORT_RANGE",
    c"SERRIED_IB_HCA",
    c"NCCL_IB_HCA",
    c"SERRIED_IB_GID_INDEX",
    c"NCCL_IB_GID_INDEX",
    c"SERRIED_IB_ROCE_VERSION_NUM",
    c"NCCL_IB_ROCE_VERSION_NUM",
    c"SERRIED_IB_ADDR_FAMILY",
    c"NCCL_IB_ADDR_FAMILY",
    c"SERRIED_IB_ADDR_RANGE",
    c"NCCL_IB_ADDR_RANGE",
    c"SERRIED_IB_TC",
    c"NCCL_IB_TC",
    c"SERRIED_IB_SL",
    c"NCCL_IB_SL",
    c"SERRIED_IB_TIMEOUT",
    c"NCCL_IB_TIMEOUT",
    c"SERRIED_IB_RETRY_CNT",
    c"NCCL_IB_RETRY_CNT",
    c"SERRIED_IB_QPS_PER_CONNECTION",
    c"NCCL_IB_QPS_PER_CONNECTION",
    c"SERRIED_INIT_TIMEOUT",
    c"SERRIED_CONNECT_TIMEOUT",
    c"SERRIED_SILENCE",
    c"SERRIED_TIMEOUT",
    c"SERRIED_TRANSPORT",
    c"SERRIED_ALGO",
    c"NCCL_ALGO",
    c"SERRIED_PROBE",
    c"SERRIED_PROBE_AGE",
    c"SERRIED_PROBE_DIR",
    c"SERRIED_SOCKETS",
    c"NCCL_SOCKET_NTHREADS",
    c"NCCL_NSOCKS_PERTHREAD",
    c"SERRIED_HOST_ID",
    c"NCCL_SHM_DISABLE",
    c"NCCL_IB_DISABLE",
    c"NCCL_NET",
    c"NCCL_COMM_ID",
    c"NCCL_CONF_FILE",
    c"NCCL_DEBUG",
    c"NCCL_DEBUG_SUBSYS",
    c"NCCL_DEBUG_FILE",
];

/// A variable's text: of the environment or, if it is not set there, of the files that set such variables.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().or_else(|| files().get(name).cloned())
}

/// The settings that the environment asks for.
///
/// # Errors
/// As of [`Config::from_variables`].
pub(crate) fn config() -> serried::Result<Config> {
    from_nccls(&variable)
}

fn from_nccls(variable: &dyn Fn(&str) -> Option<String>) -> serried::Result<Config> {
    let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
    for (name, own) in NUMBERS {
        let Some(value) = set(name).filter(|_| set(own).is_none()) else { continue };
        if number(&value).is_none() {
            return Err(serried::Error::Setting { name: name.into(), value, why: "expected a number".into() });
        }
    }
    Config::from_variables(|name| translate(name, variable))
}

/// Of NCCL's variables that the `serried` crate does not read itself, those that are numbers, each with the one that wins over it.
const NUMBERS: [(&str, &str); 4] = [
    ("NCCL_SOCKET_NTHREADS", "SERRIED_SOCKETS"),
    ("NCCL_NSOCKS_PERTHREAD", "SERRIED_SOCKETS"),
    ("NCCL_SHM_DISABLE", "SERRIED_HOST_ID"),
    ("NCCL_IB_DISABLE", "SERRIED_IB_HCA"),
];

/// A number, decimal or hexadecimal.
pub(crate) fn number(text: &str) -> Option<i128> {
    match text.trim().strip_prefix("0x") {
        Some(digits) => i128::from_str_radix(digits, 16).ok(),
        None => text.trim().parse().ok(),
    }
}

/// The text of a variable that the `serried` crate asks for, from its own name or what NCCL's say.
fn translate(name: &str, variable: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
    let is_on = |name: &str| set(name).is_some_and(|value| number(&value) != Some(0));
    set(name).or_else(|| match name {
        "SERRIED_ALGO" => set("NCCL_ALGO").map(|list| sift(&list).kept.join(";")),
        "SERRIED_SOCKETS" => sockets(set("NCCL_SOCKET_NTHREADS"), set("NCCL_NSOCKS_PERTHREAD")),
        // Ranks that say they are on different hosts share no memory.
        "SERRIED_HOST_ID" => is_on("NCCL_SHM_DISABLE").then(a_host_of_its_own),
        // The exact name of no device.
        "SERRIED_IB_HCA" if is_on("NCCL_IB_DISABLE") || names(set("NCCL_NET"), "Socket") => Some("=none".into()),
        // Nobody who asks for RDMA is to find out by its speed that it is TCP.
        "SERRIED_TRANSPORT" if names(set("NCCL_NET"), "IB") => Some("shm+verbs".into()),
        _ => None,
    })
}

/// Of a list of algorithms, the entries that have a meaning here, and those that have none.
#[derive(Default)]
struct Sifted {
    kept: Vec<String>,
    idle: Vec<String>,
}

/// Parts the algorithms that serried has, of the collectives that have them, from the others.
fn sift(list: &str) -> Sifted {
    let mut sifted = Sifted::default();
    for entry in list.split(';').map(str::trim) {
        let (collective, names) = entry.split_at(entry.find(':').map_or(0, |colon| colon + 1));
        let (but, names) = names.trim().strip_prefix('^').map_or(("", names), |rest| ("^", rest));
        let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
        let (known, unknown): (Vec<&str>, Vec<&str>) = names.partition(|name| Algorithm::parse(name).is_some());
        let whole = |names: &[&str]| format!("{collective}{but}{}", names.join(","));
        // NCCL may have for this collective what serried has not.
        let serves = !known.is_empty() && Allowed::parse(&whole(&known)).is_ok();
        if serves {
            sifted.kept.push(whole(&known));
        } else if !known.is_empty() {
            sifted.idle.push(whole(&known));
        }
        // What is not here need not be excluded.
        if !unknown.is_empty() && but.is_empty() {
            sifted.idle.push(whole(&unknown));
        }
    }
    sifted
}

/// NCCL has so many threads with so many sockets each; here one thread serves all of them. One that is negative is not set, as there.
fn sockets(threads: Option<String>, each: Option<String>) -> Option<String> {
    let given = |text: Option<String>| text.as_deref().and_then(number).filter(|number| *number >= 0);
    let (threads, each) = (given(threads), given(each));
    threads.or(each)?;
    let product = threads.unwrap_or(1).saturating_mul(each.unwrap_or(1));
    Some(product.clamp(1, Config::SOCKETS_MAX.into()).to_string())
}

/// Changes the settings so that ranks of different hosts talk by the network of NCCL's that has this name, as `NCCL_NET` does for all communicators.
pub(crate) fn use_network(name: &str, config: &mut Config) -> Result<(), Failure> {
    let of_name = |asked: &str| (asked == "NCCL_NET").then(|| name.to_owned());
    if !NETWORKS.iter().any(|known| known.eq_ignore_ascii_case(name.trim())) {
        let what =
            format!("the network {name:?} of config->netName: there are no plugins; the networks are Socket and IB");
        return Err(Failure::unsupported(&what));
    }
    if is_set("NCCL_NET") || is_set("SERRIED_TRANSPORT") {
        // As in NCCL, the environment has the last word.
        return Ok(());
    }
    let asked = Config::from_variables(|variable| translate(variable, &of_name))?;
    config.transport = asked.transport;
    if asked.verbs.devices.is_some() {
        config.verbs.devices = asked.verbs.devices;
    }
    Ok(())
}

/// Changes the settings so that packets have this traffic class, as `NCCL_IB_TC` does for all communicators; that has the last word, as in NCCL.
pub(crate) fn use_traffic_class(class: c_int, config: &mut Config) -> Result<(), Failure> {
    let class = u8::try_from(class)
        .map_err(|_| Failure::argument(format!("config->trafficClass is {class}; expected 0 to 255")))?;
    if !is_set("NCCL_IB_TC") && !is_set("SERRIED_IB_TC") {
        config.verbs.traffic_class = class;
    }
    Ok(())
}

fn is_set(name: &str) -> bool {
    variable(name).is_some_and(|value| !value.trim().is_empty())
}

/// NCCL's own names of networks.
const NETWORKS: [&str; 2] = ["Socket", "IB"];

fn names(net: Option<String>, name: &str) -> bool {
    net.is_some_and(|net| net.trim().eq_ignore_ascii_case(name))
}

/// Which variable of NCCL's a setting of the `serried` crate was made of, if that refuses it.
pub(crate) fn origin(setting: &str) -> Option<&'static str> {
    let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
    let is_its_own = setting != "transport" || set("SERRIED_TRANSPORT").is_some();
    (!is_its_own && names(set("NCCL_NET"), "IB")).then_some("NCCL_NET=IB")
}

fn a_host_of_its_own() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let host = serried::topology::HostId::here().number();
    format!("{host:016x}/{}/{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The warning that names what is set and has no meaning here, if there is such a thing.
pub(crate) fn remark() -> Option<String> {
    let is_read = |name: &str| READ.iter().any(|known| known.to_bytes() == name.as_bytes());
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    // Those of nccl-tests are its own.
    let is_nccls = |name: &String| name.strip_prefix("NCCL_").is_some_and(|rest| !rest.starts_with("TESTS_"));
    let names = names.chain(files().keys().cloned()).filter(is_nccls);
    let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
    let mut idle: Vec<String> = names.filter(|name| !is_read(name)).collect();
    let algorithms = set("NCCL_ALGO").map(|list| sift(&list).idle.join(";"));
    idle.extend(algorithms.filter(|names| !names.is_empty()).map(|names| format!("NCCL_ALGO={names}")));
    let other = |net: &String| !NETWORKS.iter().any(|known| known.eq_ignore_ascii_case(net.trim()));
    idle.extend(set("NCCL_NET").filter(other).map(|net| format!("NCCL_NET={net}")));
    idle.sort_unstable();
    idle.dedup();
    (!idle.is_empty()).then(|| format!("set, and without meaning in serried: {}", idle.join(", ")))
}

/// What the files of settings say: one line `NAME=value` each, `#` begins a remark. The user's comes before the system's.
fn files() -> &'static BTreeMap<String, String> {
    static FILES: OnceLock<BTreeMap<String, String>> = OnceLock::new();
    FILES.get_or_init(|| {
        let own = std::env::var_os("NCCL_CONF_FILE").map(PathBuf::from);
        let own = own.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".nccl.conf")));
        let texts =
            ["/etc/nccl.conf".into()].into_iter().chain(own).filter_map(|path| std::fs::read_to_string(path).ok());
        texts.flat_map(|text| text.lines().filter_map(line).collect::<Vec<_>>()).collect()
    })
}

fn line(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split('#').next()?.split_once('=')?;
    Some((name.trim().to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serried::TransportChoice;

    fn config(variables: &[(&str, &str)]) -> Config {
        let variable = |name: &str| variables.iter().find(|(of, _)| *of == name).map(|(_, value)| (*value).to_owned());
        from_nccls(&variable).expect("good variables")
    }

    #[test]
    fn nccls_variables_become_settings() {
        let allowed = |list| config(&[("NCCL_ALGO", list)]).algorithms;
        let said = |text| Allowed::parse(text).expect("sound");
        assert_eq!(allowed("Ring,Tree"), said("ring,tree"));
        assert_eq!(allowed("NVLS,Tree"), said("tree"));
        assert_eq!(allowed("^Tree,NVLS"), said("^tree"));
        assert_eq!(allowed("allreduce:tree;allgather:ring,pat"), said("allreduce:tree;all_gather:ring"));
        // A broadcast has no ring here.
        assert_eq!(allowed("ring;broadcast:ring;allreduce:collnetdirect"), said("ring"));
        assert_eq!([allowed("CollNet"), allowed("broadcast:ring")], [Allowed::default(); 2]);
        assert_eq!(config(&[("NCCL_ALGO", "Ring"), ("SERRIED_ALGO", "nhr")]).algorithms, said("nhr"));
        assert_eq!(config(&[("NCCL_NSOCKS_PERTHREAD", "4"), ("NCCL_SOCKET_NTHREADS", "2")]).sockets, Some(8));
        assert_eq!(config(&[("NCCL_NSOCKS_PERTHREAD", "64")]).sockets, Some(Config::SOCKETS_MAX));
        assert_eq!(config(&[("NCCL_NSOCKS_PERTHREAD", "4"), ("NCCL_SOCKET_NTHREADS", "-2")]).sockets, Some(4));
        assert_eq!(config(&[("NCCL_NSOCKS_PERTHREAD", "-2"), ("NCCL_SOCKET_NTHREADS", " ")]).sockets, None);
        for (name, value) in [("NCCL_IB_DISABLE", "1"), ("NCCL_NET", "Socket")] {
            let devices = config(&[(name, value), ("NCCL_IB_HCA", "mlx5")]).verbs.devices.expect("a filter");
            assert_eq!(devices.place("mlx5_0", 1), None);
        }
        assert!(config(&[("NCCL_IB_DISABLE", "0")]).verbs.devices.is_none());
        let transport = |variables: &[(&str, &str)]| config(variables).transport;
        assert_eq!(transport(&[("NCCL_NET", "ib")]), TransportChoice::ShmAndVerbs);
        assert_eq!(transport(&[("NCCL_NET", "IB"), ("SERRIED_TRANSPORT", "tcp")]), TransportChoice::Tcp);
        assert_eq!(transport(&[("NCCL_NET", "Socket")]), TransportChoice::Auto);
        let (one, two) = (config(&[("NCCL_SHM_DISABLE", "1")]), config(&[("NCCL_SHM_DISABLE", "1")]));
        assert!(one.host_id.is_some() && one.host_id != two.host_id);
        assert_eq!(one.transport, TransportChoice::Auto);
    }

    #[test]
    fn what_is_no_number_is_an_error() {
        for (name, own) in NUMBERS {
            let of = |asked: &str| (asked == name).then(|| "abc".to_owned());
            let error = from_nccls(&of).expect_err("no number").to_string();
            assert_eq!(error, format!("{name}=\"abc\": expected a number"));
            assert!(from_nccls(&|asked| of(asked).or_else(|| (asked == own).then(|| "1".to_owned()))).is_ok());
            assert!(from_nccls(&|asked| of(asked).map(|_| "0x1".to_owned())).is_ok());
        }
    }

    #[test]
    fn what_a_list_names_in_vain_is_known() {
        let idle = |list| sift(list).idle.join(";");
        assert_eq!(idle("NVLS,Tree;allgather:ring,pat;broadcast:ring"), "NVLS;allgather:pat;broadcast:ring");
        assert_eq!([idle("ring;allreduce:tree"), idle("^nvls,tree"), idle("^pat")], [""; 3]);
        assert_eq!([idle("collnet"), idle("ring,,nonsense")], ["collnet", "nonsense"]);
    }

    #[test]
    fn every_setting_is_a_parameter() {
        let asked = std::cell::RefCell::new(Vec::new());
        let note = |name: &str| {
            asked.borrow_mut().push(name.to_owned());
            None
        };
        Config::from_variables(note).expect("the default");
        for name in asked.into_inner() {
            assert!(READ.iter().any(|known| known.to_bytes() == name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn lines_of_files_are_names_and_values() {
        assert_eq!(line(" NCCL_DEBUG = INFO # loud"), Some(("NCCL_DEBUG".into(), "INFO".into())));
        assert_eq!(line("# NCCL_DEBUG=INFO"), None);
        assert_eq!(line("nonsense"), None);
    }

    #[test]
    fn every_variable_is_in_the_manual() {
        let page = include_str!("../../src/manual/environment_variables.rs");
        for name in READ.map(CStr::to_string_lossy) {
            assert!(page.contains(&format!("`{name}`")), "{name}");
        }
    }
}

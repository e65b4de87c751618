//! What launchers' environment variables mean. Pure: a function from names to values goes in, a [`Launch`] comes out.

use super::launch::{Launch, Rendezvous};
use super::rendezvous::Meeting;
use super::site::Site;
use super::unique_id::{Secret, UniqueId};
use crate::error::{Error, Result};
use crate::topology::interface::PortRange;
use std::fmt::Display;
use std::str::FromStr;

type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Ports at which rank 0 may run the rendezvous: enough that neighbours on a busy host do not take all.
const CANDIDATES: u16 = 8;

/// Where ports made from a job's id lie: above what services use, below what systems give out by themselves.
const DERIVED_PORTS: (u16, u16) = (15_000, 31_999);

/// A launcher's names for rank, size, local rank and the number of ranks on this host.
struct Names {
    rank: &'static str,
    size: &'static str,
    local_rank: &'static str,
    local_size: Option<&'static str>,
}

/// By precedence. Slurm is last since other launchers run inside its jobs.
const LAUNCHERS: [Names; 5] = [
    Names { rank: "SERRIED_RANK", size: "SERRIED_SIZE", local_rank: "SERRIED_LOCAL_RANK", local_size: None },
    Names { rank: "RANK", size: "WORLD_SIZE", local_rank: "LOCAL_RANK", local_size: Some("LOCAL_WORLD_SIZE") },
    Names {
        rank: "OMPI_COMM_WORLD_RANK",
        size: "OMPI_COMM_WORLD_SIZE",
        local_rank: "OMPI_COMM_WORLD_LOCAL_RANK",
        local_size: Some("OMPI_COMM_WORLD_LOCAL_SIZE"),
    },
    Names { rank: "PMI_RANK", size: "PMI_SIZE", local_rank: "MPI_LOCALRANKID", local_size: Some("MPI_LOCALNRANKS") },
    Names { rank: "SLURM_PROCID", size: "SLURM_NTASKS", local_rank: "SLURM_LOCALID", local_size: None },
];

/// Variables that name the job, the same on all of its ranks and on no others.
const JOB_NAMES: [&str; 8] = [
    "TORCHELASTIC_RUN_ID",
    "PMIX_NAMESPACE",
    "OMPI_MCA_ess_base_jobid",
    "PMI_JOBID",
    "SLURM_JOB_ID",
    "SLURM_STEP_ID",
    "SLURM_STEPID",
    "LSB_JOBID",
];

/// Whether this line of a process' environment says that the process is a rank.
pub(super) fn names_a_rank(line: &[u8]) -> bool {
    LAUNCHERS
        .iter()
        .any(|names| line.strip_prefix(names.rank.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'=')))
}

/// The launch that the variables describe.
pub(super) fn read(variable: Variables<'_>, launcher: impl FnOnce() -> Option<u32>) -> Result<Option<Launch>> {
    let in_step = ["SLURM_STEP_ID", "SLURM_STEPID"].iter().any(|name| variable(name).is_some());
    let started = |names: &&Names| {
        // A batch script has Slurm's variables too, but only a step has ranks.
        let counts = names.rank != "SLURM_PROCID" || in_step;
        counts && (variable(names.rank).is_some() || (names.rank != "SLURM_PROCID" && variable(names.size).is_some()))
    };
    let Some(names) = LAUNCHERS.iter().find(started) else { return Ok(None) };
    let rank: u32 = required(variable, names.rank, names.size)?;
    // A step may have fewer tasks than its job.
    let step_size = (names.rank == "SLURM_PROCID").then(|| optional(variable, "SLURM_STEP_NUM_TASKS")).transpose()?;
    let size: u32 = match step_size.flatten() {
        Some(size) => size,
        None => required(variable, names.size, names.rank)?,
    };
    if rank >= size {
        return Err(wrong(names.rank, &rank, format!("there are {size} ranks ({}), numbered from 0", names.size)));
    }
    let local_rank = optional(variable, names.local_rank)?;
    let rendezvous = rendezvous(variable, names, size, launcher)?;
    Ok(Some(Launch { rank, size, local_rank, rendezvous }))
}

fn rendezvous(
    variable: Variables<'_>,
    names: &Names,
    size: u32,
    launcher: impl FnOnce() -> Option<u32>,
) -> Result<Rendezvous> {
    if let Some(text) = variable("SERRIED_ID") {
        // The value is a secret: it is not repeated.
        let id: UniqueId = text.parse().map_err(|e: Error| wrong("SERRIED_ID", &"…", e))?;
        return Ok(id.into());
    }
    let mut job: Vec<(&str, String)> = JOB_NAMES.iter().filter_map(|name| Some((*name, variable(name)?))).collect();
    let site = match given_site(variable)? {
        Some((site, text)) => {
            job.push(("place", text));
            site
        }
        None => {
            if job.is_empty() {
                let process = launcher().ok_or_else(|| no_place(names, "nothing identifies the job"))?;
                job.push(("launcher", process.to_string()));
            }
            let name = job_host(variable, names, size)?;
            let range = optional(variable, "SERRIED_PORT_RANGE")?;
            Site::Host { name, ports: derived_ports(&hash(&job, size), range.as_ref()) }
        }
    };
    let secret = match variable("SERRIED_SECRET") {
        Some(text) => Secret(blake3::derive_key("serried secret from a text v1", text.trim().as_bytes())),
        None => Secret(hash(&job, size)),
    };
    Ok(Rendezvous(Meeting { secret, site }))
}

/// The place that a variable names outright, and that place as a text which is the same on all ranks.
fn given_site(variable: Variables<'_>) -> Result<Option<(Site, String)>> {
    if let Some(root) = variable("SERRIED_ROOT") {
        let expected = || wrong("SERRIED_ROOT", &root, "expected host:port, as in node1:29400 or [::1]:29400");
        let (name, port) = root.trim().rsplit_once(':').ok_or_else(expected)?;
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
        let name = bare.unwrap_or(name);
        let port: u16 = port.parse().ok().filter(|port| *port > 0).ok_or_else(expected)?;
        if name.is_empty() || (bare.is_none() && name.contains(':')) {
            return Err(expected());
        }
        return Ok(Some((Site::Host { name: name.into(), ports: vec![port] }, root.trim().into())));
    }
    let Some(name) = variable("MASTER_ADDR") else { return Ok(None) };
    let port: u16 = required(variable, "MASTER_PORT", "MASTER_ADDR")?;
    let ports: Vec<u16> = (1..=CANDIDATES).filter_map(|next| port.checked_add(next)).collect();
    if ports.is_empty() {
        return Err(wrong("MASTER_PORT", &port, "serried takes one of the ports after it, and there is none"));
    }
    let name = name.trim().to_owned();
    let text = format!("{name}:{port}");
    Ok(Some((Site::Host { name, ports }, text)))
}

/// The host of rank 0 as far as the launcher tells it.
fn job_host(variable: Variables<'_>, names: &Names, size: u32) -> Result<String> {
    let local_size = names.local_size.map(|name| optional::<u32>(variable, name)).transpose()?.flatten();
    if local_size == Some(size) {
        return Ok("127.0.0.1".into());
    }
    let nodes: Option<u32> = optional(variable, "SLURM_STEP_NUM_NODES")?;
    if names.rank == "SLURM_PROCID" && nodes != Some(1) {
        let list = variable("SLURM_STEP_NODELIST").or_else(|| variable("SLURM_JOB_NODELIST"));
        let first = list.as_deref().and_then(first_host).or_else(|| variable("SLURM_LAUNCH_NODE_IPADDR"));
        return first.ok_or_else(|| no_place(names, "SLURM_JOB_NODELIST names no host"));
    }
    if local_size.is_some() {
        return Err(no_place(names, "the ranks are on several hosts"));
    }
    Ok("127.0.0.1".into())
}

/// The first host of Slurm's list: `gpu[003-010,12],login1` begins with `gpu003`.
fn first_host(list: &str) -> Option<String> {
    let end = list.find([',', '[']).unwrap_or(list.len());
    let (stem, rest) = list.trim().split_at(end.min(list.trim().len()));
    let Some(rest) = rest.strip_prefix('[') else { return (!stem.is_empty()).then(|| stem.to_owned()) };
    let (range, suffix) = rest.split_once(']')?;
    let first = range.split([',', '-']).next().filter(|first| !first.is_empty())?;
    // A name may go on behind the bracket, even with another one.
    let end = suffix.find(',').unwrap_or(suffix.len());
    let suffix = if suffix[..end].contains('[') { first_host(suffix)? } else { suffix[..end].to_owned() };
    Some(format!("{stem}{first}{suffix}"))
}

fn derived_ports(hash: &[u8; 32], range: Option<&PortRange>) -> Vec<u16> {
    let (low, high) = range.map_or(DERIVED_PORTS, |range| (*range.ports().start(), *range.ports().end()));
    let count = (high - low).saturating_add(1).min(CANDIDATES);
    let starts = u64::from(high - low) + 2 - u64::from(count);
    let number = u64::from_le_bytes(*hash.first_chunk().expect("32 bytes have 8"));
    let first = low + u16::try_from(number % starts).expect("below the range's width");
    (first..=first + (count - 1)).collect()
}

fn hash(job: &[(&str, String)], size: u32) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("serried job from identifiers v1");
    for (name, value) in job {
        for part in [name.as_bytes(), value.trim().as_bytes()] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
    }
    hasher.update(&size.to_le_bytes());
    *hasher.finalize().as_bytes()
}

fn required<T: FromStr>(variable: Variables<'_>, name: &str, because: &str) -> Result<T> {
    optional(variable, name)?.ok_or_else(|| wrong(name, &"", format!("{because} is set, so this must be set too")))
}

fn optional<T: FromStr>(variable: Variables<'_>, name: &str) -> Result<Option<T>> {
    let Some(value) = variable(name) else { return Ok(None) };
    let parsed = value.trim().parse().map_err(|_| wrong(name, &value, "this is no value that it can have"));
    parsed.map(Some)
}

fn wrong(name: &str, value: &impl Display, why: impl Display) -> Error {
    Error::Setting { name: name.into(), value: value.to_string(), why: why.to_string() }
}

fn no_place(names: &Names, why: &str) -> Error {
    let why =
        format!("{} is set, but {why}: say where the ranks meet by SERRIED_ROOT=host:port or SERRIED_ID", names.rank);
    wrong("SERRIED_ROOT", &"", why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn try_read(variables: &str) -> Result<Option<Launch>> {
        let pairs: Vec<_> = variables.split_whitespace().filter_map(|pair| pair.split_once('=')).collect();
        let variable = |name: &str| pairs.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        read(&variable, || Some(4711))
    }

    /// Rank, size, local rank, host, first and last port.
    fn summary(variables: &str) -> String {
        let launch = try_read(variables).expect("good variables").expect("a launch");
        let local = launch.local_rank.map_or("-".into(), |local| local.to_string());
        let site = match &launch.rendezvous.0.site {
            Site::Endpoint(_) | Site::Addresses(_) => launch.rendezvous.0.site.to_string(),
            Site::Host { name, ports } => match ports[0] {
                15_000..=31_999 => format!("{name}:derived"),
                first => format!("{name}:{first}-{}", ports.last().expect("a port")),
            },
        };
        format!("{}/{} {local} {site}", launch.rank, launch.size)
    }

    fn secret(variables: &str) -> Secret {
        try_read(variables).expect("good variables").expect("a launch").rendezvous.0.secret
    }

    #[test]
    fn each_launcher_is_understood() {
        let torch = "RANK=2 WORLD_SIZE=4 LOCAL_RANK=1 MASTER_ADDR=node1 MASTER_PORT=4500";
        assert_eq!(summary(torch), "2/4 1 node1:4501-4508");
        let ompi = "OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_LOCAL_RANK=1 PMIX_NAMESPACE=j1";
        assert_eq!(summary(ompi), "1/2 1 127.0.0.1:derived");
        assert_eq!(summary("PMI_RANK=0 PMI_SIZE=3 MPI_LOCALRANKID=0"), "0/3 0 127.0.0.1:derived");
        let slurm =
            "SLURM_PROCID=5 SLURM_NTASKS=8 SLURM_LOCALID=1 SLURM_JOB_ID=9 SLURM_STEP_ID=0 SLURM_JOB_NODELIST=n[07-09]";
        assert_eq!(summary(slurm), "5/8 1 n07:derived");
        assert_eq!(summary(&format!("{slurm} SLURM_STEP_NUM_NODES=1")), "5/8 1 127.0.0.1:derived");
        assert_eq!(summary(&format!("{slurm} SLURM_STEP_NUM_TASKS=6")), "5/6 1 n07:derived");
        assert_eq!(summary(&format!("{slurm} MASTER_ADDR=h MASTER_PORT=65534")), "5/8 1 h:65535-65535");
        assert_eq!(summary("SERRIED_RANK=0 SERRIED_SIZE=1 SERRIED_ROOT=[::1]:4000"), "0/1 - ::1:4000-4000");
        assert_eq!(summary(&format!("SERRIED_RANK=1 SERRIED_SIZE=9 {torch} SERRIED_ROOT=h:5")), "1/9 - h:5-5");
        assert_eq!(summary("PMI_RANK=0 PMI_SIZE=3 SERRIED_PORT_RANGE=500-503"), "0/3 - 127.0.0.1:500-503");
    }

    #[test]
    fn without_a_launcher_there_is_none() {
        assert!(try_read("HOME=/").expect("fine").is_none());
        let batch = "SLURM_PROCID=0 SLURM_NTASKS=8 SLURM_JOB_ID=9 SLURM_JOB_NODELIST=n1";
        assert!(try_read(batch).expect("fine").is_none(), "a batch script is no rank");
    }

    #[test]
    fn a_unique_id_comes_first() {
        let id = UniqueId {
            endpoint: super::super::Endpoint::here(vec!["127.0.0.1:77".parse().expect("an address")]),
            secret: Secret([3; 32]),
        };
        let variables = format!("RANK=0 WORLD_SIZE=2 MASTER_ADDR=h MASTER_PORT=1 SERRIED_ID={id}");
        assert_eq!(summary(&variables), "0/2 - 127.0.0.1:77");
        let error = try_read(&variables.replace("serried1-01", "serried1-02")).expect_err("mangled").to_string();
        assert!(error.contains("SERRIED_ID") && !error.contains("0303"), "{error}");
    }

    #[test]
    fn jobs_are_kept_apart_and_ranks_together() {
        let base = "PMI_SIZE=3 PMI_JOBID=a";
        let of = |more: &str| secret(&format!("{base} {more}"));
        assert_eq!(of("PMI_RANK=0"), of("PMI_RANK=2 MPI_LOCALRANKID=2"));
        assert_ne!(of("PMI_RANK=0"), secret("PMI_RANK=0 PMI_SIZE=3 PMI_JOBID=b"));
        assert_ne!(of("PMI_RANK=0"), secret("PMI_RANK=0 PMI_SIZE=3"));
        assert_ne!(of("PMI_RANK=0"), of("PMI_RANK=0 SERRIED_SECRET=x"));
        assert_eq!(of("PMI_RANK=0 SERRIED_SECRET=x"), secret("PMI_RANK=1 PMI_SIZE=3 SERRIED_SECRET=x"));
    }

    #[test]
    fn half_set_and_nonsensical_variables_are_named() {
        for (variables, named) in [
            ("RANK=1", "WORLD_SIZE"),
            ("WORLD_SIZE=2", "RANK"),
            ("RANK=1 WORLD_SIZE=2 MASTER_ADDR=h", "MASTER_PORT"),
            ("RANK=1 WORLD_SIZE=2 MASTER_ADDR=h MASTER_PORT=65535", "MASTER_PORT"),
            ("RANK=-1 WORLD_SIZE=2 MASTER_ADDR=h MASTER_PORT=1", "RANK"),
            ("RANK=2 WORLD_SIZE=2 MASTER_ADDR=h MASTER_PORT=1", "RANK"),
            ("RANK=1 WORLD_SIZE=two", "WORLD_SIZE"),
            ("PMI_RANK=0 PMI_SIZE=2 MPI_LOCALNRANKS=1", "SERRIED_ROOT"),
            ("PMI_RANK=0 PMI_SIZE=2 SERRIED_ROOT=nonsense", "SERRIED_ROOT"),
            ("PMI_RANK=0 PMI_SIZE=2 SERRIED_ROOT=::1:5", "SERRIED_ROOT"),
            ("PMI_RANK=0 PMI_SIZE=2 SERRIED_ROOT=h:0", "SERRIED_ROOT"),
            ("SLURM_PROCID=0 SLURM_NTASKS=2 SLURM_STEP_ID=0", "SERRIED_ROOT"),
        ] {
            let error = try_read(variables).expect_err(variables);
            assert!(matches!(&error, Error::Setting { name, .. } if name == named), "{variables}: {error}");
        }
    }

    #[test]
    fn host_lists_begin_somewhere() {
        for (list, first) in [
            ("n1", "n1"),
            ("n1,n2", "n1"),
            ("gpu[003-010,12],login1", "gpu003"),
            ("a[2,4]-b,c", "a2-b"),
            ("r[1-2]n[05-06],x", "r1n05"),
        ] {
            assert_eq!(first_host(list).as_deref(), Some(first));
        }
        assert_eq!((first_host(""), first_host("a[1"), first_host("a[]")), (None, None, None));
    }

    #[test]
    fn derived_ports_stay_in_their_range() {
        for number in 0..2000_u64 {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
            for (low, high) in [(15_000, 31_999), (5, 5), (5, 9), (1, u16::MAX), (65_530, 65_535)] {
                let ports = derived_ports(&hash, PortRange::new(low, high).as_ref());
                assert!(ports[0] >= low && ports.last() <= Some(&high) && ports.len() <= 8 && !ports.is_empty());
            }
        }
    }
}

//! Joining from nothing but a launcher's environment: who this rank is, and where the ranks meet when nobody handed out a unique id.
//!
//! Without an id, rank 0 runs the rendezvous at a place that every rank can work out: an address and a few ports from the environment. On
//! which of the ports it really is, the handshake tells. What the variables mean is in `environment`.

use super::control::Control;
use super::endpoint::Endpoint;
use super::environment;
use super::join;
use super::listener::Listener;
use super::rendezvous::Meeting;
use super::root::{self, Host};
use super::settings::Settings;
use super::site::Site;
use super::unique_id::{Secret, UniqueId};
use crate::error::{Error, Result};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

/// The pause before a taken port is tried again: it doubles from the first to the last.
const LISTENING_AGAIN: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(200));

/// Who this process is among those that a launcher started, and where they meet.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Launch {
    /// This rank.
    pub rank: u32,
    /// How many ranks there are.
    pub size: u32,
    /// This rank's number among those on its host, if the launcher tells.
    pub local_rank: Option<u32>,
    /// Where the ranks meet.
    pub rendezvous: Rendezvous,
}

/// Where the ranks of a launch meet.
#[derive(Clone, Debug)]
pub struct Rendezvous(pub(super) Meeting);

impl Launch {
    /// Reads the environment variables of torchrun, Open MPI, PMI, Slurm, and serried's own, which come first:
    ///
    /// | launcher | rank, size, local rank | meeting place |
    /// |---|---|---|
    /// | serried | `SERRIED_RANK`, `SERRIED_SIZE`, `SERRIED_LOCAL_RANK` | `SERRIED_ID` (a unique id's text) or `SERRIED_ROOT=host:port` (rank 0 listens there) |
    /// | torchrun | `RANK`, `WORLD_SIZE`, `LOCAL_RANK` | `MASTER_ADDR`, on one of the eight ports after `MASTER_PORT`, which torch itself uses |
    /// | Open MPI | `OMPI_COMM_WORLD_RANK`, `…_SIZE`, `…_LOCAL_RANK` | this host, on a port made from the job's id |
    /// | PMI (MPICH, Intel MPI) | `PMI_RANK`, `PMI_SIZE`, `MPI_LOCALRANKID` | the same |
    /// | Slurm | `SLURM_PROCID`, `SLURM_NTASKS`, `SLURM_LOCALID` | the first host of the step, on a port made from job and step |
    ///
    /// Rank 0 needs the port in IPv4 and in IPv6, unless the place is an address: then in its family. A place of an upper row serves the rank numbers of any row. Ranks know each other by `SERRIED_SECRET`, if set. Otherwise what
    /// they know each other by is made from the job's identifiers: that keeps jobs apart, but is no secret from who can see them.
    ///
    /// `None`: no launcher has started this process. `launcher` identifies the process that started the ranks of this host, for launchers that
    /// name no job in the environment.
    pub fn from_variables(
        variable: impl Fn(&str) -> Option<String>,
        launcher: impl FnOnce() -> Option<u32>,
    ) -> Result<Option<Self>> {
        environment::read(&|name| variable(name).filter(|value| !value.trim().is_empty()), launcher)
    }

    /// The launch that this process' environment describes.
    pub fn from_env() -> Result<Option<Self>> {
        Self::from_variables(|name| std::env::var(name).ok(), launcher)
    }

    /// Joins the communicator of all ranks of the launch; see [`Control::join`].
    pub fn join(&self, settings: &Settings) -> Result<Control> {
        let meeting = self.rendezvous.0.clone();
        match &meeting.site {
            Site::Host { name, ports } if self.rank == 0 => {
                let (name, ports) = (name.clone(), ports.clone());
                let task = host(meeting.secret, name, ports, self.size, settings.clone());
                Control::wait_for(task, self.rank, settings, || Ok(()))
            }
            _ => Control::join_at(meeting, self.rank, self.size, settings),
        }
    }
}

/// Joins as rank 0, at a rendezvous of its own.
async fn host(secret: Secret, name: String, ports: Vec<u16>, size: u32, settings: Settings) -> Result<Control> {
    settings.check()?;
    let deadline = Instant::now() + settings.init_timeout;
    let listener = listen_by(deadline, &name, &ports).await?;
    // Rank 0 need not find itself by name, which may lead elsewhere from here.
    let bound = listener.endpoint();
    let own = bound.addresses().iter().map(|address| match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, address.port()).into(),
        IpAddr::V6(ip) if ip.is_unspecified() => (Ipv6Addr::LOCALHOST, address.port()).into(),
        _ => *address,
    });
    let site = Site::Endpoint(Endpoint::here(own.collect()));
    let (end, ended) = oneshot::channel();
    let host = Host { deadline: (deadline, settings.init_timeout), ended };
    tokio::spawn(root::serve_for(host, listener, secret.clone()));
    let joined = join::join_by(deadline, Meeting { secret, site }, 0, size, settings).await;
    // A rendezvous that is over by itself, and is telling the others, takes no notice.
    let _ = end.send(joined.as_ref().map(|_| ()).map_err(Error::clone));
    joined
}

/// Listens as soon as one of the ports is free: the rendezvous of a join that failed may still be on its way out. The first failure
/// says the most about who holds the ports.
async fn listen_by(deadline: Instant, name: &str, ports: &[u16]) -> Result<Listener> {
    let mut pause = LISTENING_AGAIN.0;
    let mut first = None;
    loop {
        let failure = match listen(name, ports) {
            Ok(listener) => return Ok(listener),
            Err(failure) => first.take().unwrap_or(failure),
        };
        if Instant::now() + pause >= deadline {
            return Err(failure);
        }
        first = Some(failure);
        sleep(pause).await;
        pause = (pause * 2).min(LISTENING_AGAIN.1);
    }
}

/// Listens as the rendezvous: on every interface, since which one the name means is known to the others alone; for a name of this host only, on loopback. In both families,
/// for the others may know it by either, but for an address in its own.
fn listen(name: &str, ports: &[u16]) -> Result<Listener> {
    let (v4, v6) = if is_loopback(name) {
        (Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST)
    } else {
        (Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED)
    };
    match name.parse().map(|ip: IpAddr| ip.to_canonical()) {
        Ok(IpAddr::V4(_)) => Listener::bind_first(&[v4.into()], ports),
        Ok(IpAddr::V6(_)) => Listener::bind_first(&[v6.into()], ports),
        Err(_) => Listener::bind_first(&[v4.into(), v6.into()], ports),
    }
}

fn is_loopback(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|ip: IpAddr| ip.to_canonical().is_loopback())
}

impl From<UniqueId> for Rendezvous {
    fn from(id: UniqueId) -> Self {
        Self(Meeting::from(&id))
    }
}

/// The nearest ancestor of this process that is no rank itself: what started the ranks of this host. (The parent may be a shell or
/// a wrapper that belongs to this rank alone.)
fn launcher() -> Option<u32> {
    /// Longer chains of processes are none that a launcher makes.
    const DEPTH_MAX: usize = 32;
    let parent = |process: u32| {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
        line.trim().parse::<u32>().ok().filter(|parent| *parent > 0)
    };
    let is_rank = |process: &u32| {
        let environment = std::fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(environment::names_a_rank)
    };
    std::iter::successors(Some(std::process::id()), |process| parent(*process))
        .skip(1)
        .take(DEPTH_MAX)
        .find(|p| !is_rank(p))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use std::collections::HashMap;

    fn launch(rank: u32, size: u32, port: u16) -> Launch {
        let variables = HashMap::from([
            ("RANK", rank.to_string()),
            ("WORLD_SIZE", size.to_string()),
            ("MASTER_ADDR", "localhost".to_owned()),
            ("MASTER_PORT", port.to_string()),
        ]);
        Launch::from_variables(|name| variables.get(name).cloned(), || None).expect("good variables").expect("a launch")
    }

    #[test]
    fn ranks_of_torchrun_meet_beside_its_own_port() {
        // The store's port is taken, and so is the first one beside it, by somebody who never answers.
        let (store, squatter) = (1..20)
            .find_map(|_| {
                let store = std::net::TcpListener::bind("127.0.0.1:0").ok()?;
                let port = store.local_addr().ok()?.port();
                let squatter = std::net::TcpListener::bind(("127.0.0.1", port.checked_add(1)?)).ok()?;
                (port < 65_000).then_some((store, squatter))
            })
            .expect("two free neighbouring ports");
        let port = store.local_addr().expect("its address").port();
        let settings = Settings::default();
        let ranks: Vec<_> = (0..3)
            .map(|rank| {
                let settings = settings.clone();
                std::thread::spawn(move || {
                    let control = launch(rank, 3, port).join(&settings).expect("a communicator");
                    let all = control.exchange(&[rank as u8]).expect("an exchange");
                    assert_eq!(all, [[0], [1], [2]]);
                    control.leave();
                })
            })
            .collect();
        ranks.into_iter().for_each(|rank| rank.join().expect("no panic"));
        drop(squatter);
    }

    fn at_root(rank: u32, size: u32, port: u16) -> Launch {
        let variables = HashMap::from([
            ("SERRIED_RANK", rank.to_string()),
            ("SERRIED_SIZE", size.to_string()),
            ("SERRIED_ROOT", format!("localhost:{port}")),
        ]);
        Launch::from_variables(|name| variables.get(name).cloned(), || None).expect("good variables").expect("a launch")
    }

    fn free_port() -> u16 {
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port()
    }

    #[test]
    fn launches_follow_each_other_at_one_place_and_all_stay() {
        const ROUNDS: u8 = 6;
        let port = free_port();
        let ranks: Vec<_> = (0..3)
            .map(|rank| {
                std::thread::spawn(move || {
                    let settings = Settings::default();
                    let join = |_| at_root(rank, 3, port).join(&settings).expect("a communicator");
                    let kept: Vec<Control> = (0..ROUNDS).map(join).collect();
                    for (round, control) in (0..).zip(&kept) {
                        let all = control.exchange(&[rank as u8, round]).expect("an exchange");
                        assert_eq!(all, [[0, round], [1, round], [2, round]]);
                    }
                    kept.into_iter().for_each(Control::leave);
                })
            })
            .collect();
        ranks.into_iter().for_each(|rank| rank.join().expect("no panic"));
    }

    #[test]
    fn a_launch_that_failed_gives_its_place_back() {
        let port = free_port();
        let broken = Settings { interfaces: "=no-such-interface".parse().ok(), ..Settings::default() };
        assert!(at_root(0, 2, port).join(&broken).is_err());
        let settings = Settings { init_timeout: Duration::from_secs(10), ..Settings::default() };
        at_root(0, 1, port).join(&settings).expect("a free place").leave();
    }

    #[test]
    fn a_place_that_stays_taken_is_an_error_in_time() {
        let settings = Settings { init_timeout: Duration::from_millis(200), ..Settings::default() };
        // In one family: who dials the place may know it by just that one. A host without IPv6 has none to take.
        let takes = ["127.0.0.1:0", "[::1]:0"].map(std::net::TcpListener::bind);
        assert!(takes[0].is_ok());
        for taken in takes.iter().flatten() {
            let port = taken.local_addr().expect("its address").port();
            let begun = std::time::Instant::now();
            let error = at_root(0, 1, port).join(&settings).err().expect("taken");
            assert!(matches!(&error, Error::System { reason, .. } if reason.contains("in use")), "{error}");
            assert!(begun.elapsed() < Duration::from_secs(10));
        }
    }

    #[tokio::test]
    async fn an_address_is_listened_for_in_its_family_and_what_the_host_lacks_is_left_out() {
        let port = free_port();
        // A host without IPv6 has none to take.
        let _other = std::net::TcpListener::bind(("::1", port));
        for name in ["127.0.0.1", "::ffff:127.0.0.1"] {
            let listener = listen(name, &[port]).expect("a port that another has in the other family");
            assert_eq!(listener.endpoint().addresses(), [(Ipv4Addr::LOCALHOST, port).into()], "{name}");
        }
        // An address for documentation is nobody's.
        let addresses = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::LOCALHOST].map(IpAddr::from);
        let listener = Listener::bind_first(&addresses, &[port]).expect("the other address");
        assert_eq!(listener.endpoint().addresses(), [(Ipv4Addr::LOCALHOST, port).into()]);
        let error = Listener::bind_first(&addresses[..1], &[port]).err().expect("none is left");
        assert!(error.to_string().contains("Cannot assign requested address"), "{error}");
    }

    #[test]
    fn a_rank_without_a_rendezvous_says_where_it_looked() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
        let settings = Settings { init_timeout: std::time::Duration::from_millis(200), ..Settings::default() };
        let error = launch(1, 2, free).join(&settings).err().expect("nobody there");
        assert!(
            matches!(&error, Error::Unreachable { rank: 1, address, .. } if address.contains("localhost")),
            "{error}"
        );
    }

    #[test]
    fn the_launcher_is_an_ancestor() {
        assert_ne!(launcher(), Some(std::process::id()));
    }
}

//! Runs a command on several hosts: builds them out of network namespaces of this machine, starts the command in them once for each rank, as
//! torchrun would, and takes them down. Without a command, a shell on the first host. Needs root, and iproute2.
//! `cargo run -p serried-tools --example cluster -- 4x1 --rate 1gbit -- serried perf all_reduce`

use clap::Parser;
use serried_cluster::{Blueprint, Cluster, RAILS};
use std::ffi::OsString;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};

/// Runs a command on hosts of network namespaces, as every rank.
#[derive(Parser)]
struct Line {
    /// Hosts and their ranks: 4x2 is four hosts with two ranks each, 1+2+3 three hosts with so many.
    hosts: Blueprint,
    /// How fast each cable is, as tc writes it: 1gbit, 100mbit.
    #[arg(long)]
    rate: Option<String>,
    /// How fast the cables of one host are, counted from 0: 2=100mbit. May be given more than once.
    #[arg(long, value_name = "HOST=RATE", value_parser = rate_of)]
    rate_of: Vec<(usize, String)>,
    /// Cables of each host.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=RAILS.len() as i64))]
    rails: u8,
    /// What every rank runs, in this environment; programs built with this one are found by name. Rank 0's output is shown, and all ranks'
    /// errors. Without it, a shell on the first host.
    #[arg(last = true)]
    command: Vec<OsString>,
}

fn rate_of(text: &str) -> Result<(usize, String), String> {
    let both = text.split_once('=').and_then(|(host, rate)| Some((host.parse().ok()?, rate.to_owned())));
    both.ok_or_else(|| "expected a host and a rate, as in 2=100mbit".to_owned())
}

fn main() -> ExitCode {
    match run(Line::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all ended well.
fn run(line: Line) -> Result<bool, String> {
    let mut blueprint = line.hosts.rails(line.rails.into());
    if let Some(rate) = &line.rate {
        blueprint = blueprint.rate(rate);
    }
    for (host, rate) in &line.rate_of {
        if *host >= blueprint.hosts() {
            return Err(format!("--rate-of {host}={rate}: there are {} hosts, counted from 0", blueprint.hosts()));
        }
        blueprint = blueprint.rate_of(*host, rate);
    }
    let cluster = blueprint.build().map_err(|why| why.to_string())?;
    let ended = match line.command.split_first() {
        Some((program, arguments)) => ranks(&cluster, program, arguments),
        None => shell(&cluster),
    };
    ended.map_err(|why| why.to_string())
}

fn ranks(cluster: &Cluster, program: &OsString, arguments: &[OsString]) -> std::io::Result<bool> {
    let path = path()?;
    let start = |(rank, mut command): (usize, Command)| {
        let output = if rank == 0 { Stdio::inherit() } else { Stdio::null() };
        command.args(arguments).env("PATH", &path).stdin(Stdio::null()).stdout(output).spawn()
    };
    let commands = cluster.commands(Path::new(program)).into_iter().enumerate();
    let ranks = commands.map(start).collect::<std::io::Result<Vec<Child>>>()?;
    ranks.into_iter().try_fold(true, |well, mut rank| Ok(well & rank.wait()?.success()))
}

/// Where programs are looked for: first where cargo puts those of this workspace, a folder above its examples.
fn path() -> std::io::Result<OsString> {
    let own = std::env::current_exe()?;
    let others = std::env::var_os("PATH").unwrap_or_default();
    let folders = own.ancestors().nth(2).map(Path::to_owned).into_iter().chain(std::env::split_paths(&others));
    std::env::join_paths(folders).map_err(std::io::Error::other)
}

fn shell(cluster: &Cluster) -> std::io::Result<bool> {
    for host in 0..cluster.hosts() {
        let command = cluster.command(host, Path::new("COMMAND"));
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
        println!("host {host}, {}: ip {}", cluster.address(host, 0), words.join(" "));
    }
    let shell = std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
    Ok(cluster.command(0, Path::new(&shell)).status()?.success())
}

//! `serried probe` as a user runs it: on a host, as ranks of a job, and with what makes no sense.

mod program;

use program::{run, serried};
use serde_json::Value;
use std::process::Command;

fn probe(arguments: &str) -> Command {
    serried(60, "probe", arguments)
}

#[test]
fn a_host_is_told_in_words_and_in_json() {
    let (status, text, _) = run(&mut probe(""));
    assert_eq!(status, Some(0), "{text}");
    for part in ["shared memory", "locked memory", "TCP", "RDMA", "two ranks of this host", "ranks of two hosts"] {
        assert!(text.contains(part), "no {part:?} in: {text}");
    }
    let (_, json, _) = run(&mut probe("--here --json"));
    let report: Value = serde_json::from_str(&json).expect("it is JSON");
    assert_eq!(report["version"], 1);
    let transports: Vec<_> =
        report["pairs"].as_array().expect("two kinds").iter().map(|pair| &pair["transport"]).collect();
    assert_eq!(transports.len(), 2);
    assert!(report["host"]["interfaces"].as_array().is_some_and(|interfaces| !interfaces.is_empty()), "{json}");
}

#[test]
fn ranks_of_a_job_tell_how_each_pair_talks() {
    let (status, text, _) = run(&mut probe("--ranks 4"));
    assert!(status == Some(0) && text.contains("shm: 6 pairs (among 0-3)"), "{text}");
    let (status, text, _) = run(&mut probe("--ranks 3 --transport tcp"));
    assert!(status == Some(0) && text.contains("tcp: 3 pairs (among 0-2)"), "{text}");
    assert!(text.contains("\nµs ") && text.contains("\nGB/s "), "{text}");
    let (status, text, _) = run(&mut probe("--ranks 5 --hosts 2"));
    assert!(status == Some(0) && text.contains("shm: 4 pairs") && text.contains("tcp: 6 pairs"), "{text}");
    let (status, text, error) = run(probe("--ranks 2 --transport verbs").env("SERRIED_IB_HCA", "mlx5_77"));
    assert!(status == Some(1) && text.is_empty() && error.contains("rank 0: verbs cannot be used"), "{text}{error}");
    let page = std::env::temp_dir().join(format!("serried-probe-{}.html", std::process::id()));
    let json = run(&mut probe(&format!("--ranks 3 --json --html {}", page.display()))).1;
    let report: Value = serde_json::from_str(&json).expect("it is JSON");
    let pairs = report["pairs"].as_array().expect("a pair has an entry");
    assert_eq!((&report["ranks"], pairs.len()), (&Value::from(3), 3));
    for pair in pairs {
        let [latency, bandwidth] = ["latency_us", "gb_s"].map(|what| pair["measured"][what].as_f64());
        assert!(latency > Some(0.0) && bandwidth > Some(0.0), "{pair}");
    }
    let html = std::fs::read_to_string(&page).expect("it was drawn");
    std::fs::remove_file(&page).expect("it was drawn");
    assert_eq!((html.matches("<svg").count(), html.matches("<rect").count()), (2, 12));
    let (status, text, _) = run(&mut probe("--ranks 3 --quick"));
    assert!(status == Some(0) && !text.contains("GB/s"), "{text}");
}

#[test]
fn what_makes_no_sense_ends_with_status_two() {
    let cases = [
        ("--ranks 0", "SERRIED_X"),
        ("--ranks 2 --here", "SERRIED_X"),
        ("--ranks 2 --hosts 3", "SERRIED_X"),
        ("--hosts 2", "SERRIED_X"),
        ("--html page.html", "SERRIED_X"),
        ("--transport carrier-pigeon", "SERRIED_X"),
        ("--no-such-flag", "SERRIED_X"),
        ("", "SERRIED_TRANSPORT"),
        ("", "SERRIED_IB_GID_INDEX"),
    ];
    for (arguments, variable) in cases {
        let (status, text, error) = run(probe(arguments).env(variable, "nonsense"));
        assert!(status == Some(2) && text.is_empty() && error.lines().count() == 1, "{arguments}: {text}{error}");
    }
}

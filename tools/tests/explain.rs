//! `serried explain` as a user runs it: on ranks, on a saved network, and with what makes no sense.

mod program;

use program::{run, serried};
use serde_json::Value;
use std::process::Command;

fn explain(arguments: &str) -> Command {
    let mut command = serried(100, "explain", arguments);
    command.env("SERRIED_PROBE", "anew");
    command
}

#[test]
fn every_size_has_a_choice_and_its_price_and_what_it_took() {
    for (ranks, algorithms) in [("--ranks 2", 2), ("--ranks 4 --hosts 2", 9)] {
        let (status, json, error) = run(&mut explain(&format!("{ranks} -b 1K -e 64K --measure --json")));
        assert_eq!(status, Some(0), "{error}");
        let story: Value = serde_json::from_str(&json).expect("it is JSON");
        let rows = story["rows"].as_array().expect("a row a size");
        assert_eq!(rows.len(), 4);
        for row in rows {
            let ways = row["ways"].as_array().expect("several ways");
            let mut names: Vec<&str> = ways.iter().filter_map(|way| way["algorithm"].as_str()).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), algorithms, "{names:?}");
            let chosen = &ways[row["chosen"].as_u64().expect("a place") as usize];
            assert!(chosen["measured_us"].as_f64().is_some_and(|us| us > 0.0), "{chosen}");
            assert!(row["regret"].as_f64().is_some_and(|regret| regret > -1.0), "{row}");
            let parts = ["latency_us", "bandwidth_us", "reduction_us"].map(|part| ways[0]["predicted"][part].as_f64());
            let total = ways[0]["predicted"]["total_us"].as_f64().expect("a price");
            let sum: f64 = parts.into_iter().flatten().sum();
            assert!((sum / total - 1.0).abs() < 0.01, "{}", ways[0]);
        }
        assert_eq!(story["verdicts"].as_array().map(Vec::len), Some(4), "{}", story["verdicts"]);
    }
}

#[test]
fn a_saved_network_tells_the_same_without_ranks() {
    let file = std::env::temp_dir().join(format!("serried-explain-{}.txt", std::process::id()));
    let name = file.display();
    for ranks in ["--ranks 3 --transport tcp", "--ranks 4 --hosts 2"] {
        let (status, live, error) = run(&mut explain(&format!("broadcast {ranks} --all -e 256K --save {name}")));
        assert_eq!(status, Some(0), "{error}");
        let (status, saved, error) = run(&mut explain(&format!("broadcast --all -e 256K --network {name}")));
        assert_eq!(status, Some(0), "{error}");
        assert!(live.contains("scattergather") && live.contains("# inside "), "{live}");
        assert_eq!(saved, live, "the choices are the same as well");
    }
    let odd = std::fs::read_to_string(&file).expect("it was saved").replace("slots of ", "slots of -");
    std::fs::write(&file, odd).expect("it was saved");
    let (status, _, error) = run(&mut explain(&format!("--network {name}")));
    std::fs::remove_file(&file).expect("it was saved");
    assert!(status == Some(2) && error.contains("slots of is followed by bytes"), "{error}");
}

#[test]
fn what_makes_no_sense_ends_with_status_two() {
    let cases = [
        ("--ranks 1", "SERRIED_X"),
        ("--ranks 2 -b 1M -e 1K", "SERRIED_X"),
        ("--network /no/such/file", "SERRIED_X"),
        ("sendrecv --ranks 2", "SERRIED_X"),
        ("--network x --measure", "SERRIED_X"),
        ("--ranks 2", "SERRIED_ALGO"),
    ];
    for (arguments, variable) in cases {
        let (status, text, error) = run(explain(arguments).env(variable, "nonsense"));
        assert!(status == Some(2) && text.is_empty() && error.lines().count() == 1, "{arguments}: {text}{error}");
    }
    let (status, _, error) = run(explain("--ranks 2").env("SERRIED_PROBE", "off"));
    assert!(status == Some(2) && error.contains("nothing was measured"), "{error}");
}

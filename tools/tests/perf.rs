//! `serried perf` from the outside: what it prints, and what it ends with.

use std::process::{Command, Output};

const HEADER: &str = "\
#
#                                                              out-of-place                       in-place          
#       size         count      type   redop    root     time   algbw   busbw  #wrong     time   algbw   busbw  #wrong 
#        (B)    (elements)                               (us)  (GB/s)  (GB/s)             (us)  (GB/s)  (GB/s)         
";

fn perf(line: &str) -> Command {
    perf_of("all_reduce", line)
}

fn perf_of(collective: &str, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_serried"));
    command.args(["perf", collective]).args(line.split_whitespace());
    let ours = ["SERRIED_RANK", "SERRIED_SIZE", "SERRIED_ID", "SERRIED_LOG", "NCCL_DEBUG", "NCCL_TESTS_MIN_BW"];
    let launchers = ["RANK", "WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID"];
    for name in ours.into_iter().chain(launchers) {
        command.env_remove(name);
    }
    command
}

fn run(line: &str) -> (Output, String) {
    run_of("all_reduce", line)
}

fn run_of(collective: &str, line: &str) -> (Output, String) {
    let output = perf_of(collective, line).output().expect("the program was built");
    let text = String::from_utf8(output.stdout.clone()).expect("text");
    assert!(
        output.status.success(),
        "{line}: {:?}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    (output, text)
}

fn rows(text: &str) -> Vec<Vec<&str>> {
    text.lines().filter(|line| !line.starts_with('#')).map(|line| line.split_whitespace().collect()).collect()
}

#[test]
fn the_table_is_that_of_nccl_tests() {
    let (output, text) = run("--ranks 2 -b 8 -e 1K -f 4 -n 3");
    assert!(text.contains(HEADER), "{text}");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let rows = rows(&text);
    assert_eq!(rows.iter().map(|row| row[0]).collect::<Vec<_>>(), ["8", "32", "128", "512"]);
    for row in &rows {
        assert_eq!(row.len(), 13, "{row:?}");
        assert_eq!((&row[2..5], row[8], row[12]), (&["float", "sum", "-1"][..], "0", "0"));
        let bytes: f64 = row[0].parse().expect("a number");
        let time: f64 = row[5].parse().expect("a number");
        let bandwidth: f64 = row[6].parse().expect("a number");
        assert!(time > 0.0 && (bandwidth - bytes / time / 1e3).abs() < 0.02, "{row:?}");
        assert_eq!(row[6], row[7], "of two ranks, the bus carries what the algorithm moves");
    }
    for line in ["\n# cores: ", "\n# Out of bounds values : 0 OK\n", "\n# Avg bus bandwidth    : "] {
        assert!(text.contains(line), "{text}");
    }
    let columns: Vec<usize> = text.lines().filter(|line| line.starts_with(' ')).map(str::len).collect();
    assert!(columns.iter().all(|&width| width == columns[0]), "{text}");
}

#[test]
fn every_type_and_operator_is_right_for_awkward_sizes_and_numbers_of_ranks() {
    for ranks in [1, 3] {
        let (_, text) = run(&format!("--ranks {ranks} -b 0 -e 60 -i 15 -d all -o all -n 2 -w 0 -c 2"));
        let rows = rows(&text);
        assert_eq!(rows.len(), 5 * 12 * 6);
        assert!(rows.iter().all(|row| row[8] == "0" && row[12] == "0"), "{text}");
        let sizes = |name: &str| -> Vec<&str> {
            rows.iter().filter(|row| row[2..4] == [name, "sum"]).map(|row| row[0]).collect()
        };
        assert_eq!(sizes("uint8"), ["0", "15", "30", "45", "60"]);
        assert_eq!(sizes("double"), ["0", "8", "24", "40", "56"], "whole elements only");
    }
}

/// Whether nothing was wrong, where there was something to check.
fn right(collective: &str, row: &[&str]) -> bool {
    let checked = if collective == "barrier" { "N/A" } else { "0" };
    row[8] == checked && matches!(row[12], "0" | "N/A")
}

const COLLECTIVES: [&str; 10] = [
    "all_reduce",
    "reduce",
    "reduce_scatter",
    "broadcast",
    "all_gather",
    "gather",
    "scatter",
    "alltoall",
    "sendrecv_perf",
    "barrier",
];

#[test]
fn every_collective_is_right_over_every_transport_by_every_algorithm_and_root() {
    for (index, collective) in COLLECTIVES.into_iter().enumerate() {
        for ranks in [1, 2, 3] {
            let line = format!("--ranks {ranks} -r all --algo all --transport shm,tcp -b 0 -e 1M -f 300 -n 2 -w 0");
            let (_, text) = run_of(collective, &line);
            let rows = rows(&text);
            assert!(rows.len() >= 2 * 3 || index == 9, "{text}");
            assert!(rows.iter().all(|row| right(collective, row)), "{collective}: {text}");
            let rooted = ["reduce", "broadcast", "gather", "scatter"].contains(&collective);
            let roots: Vec<&str> = rows.iter().map(|row| row[4]).collect();
            assert_eq!(rooted, !roots.contains(&"-1") && roots.contains(&(ranks - 1).to_string().as_str()), "{text}");
            assert_eq!(rows[0][3], if collective.contains("reduce") { "sum" } else { "none" });
        }
    }
}

#[test]
fn every_type_and_operator_of_every_collective_is_right() {
    for collective in COLLECTIVES {
        let (_, text) = run_of(collective, "--ranks 3 -d all -o all -b 100 -e 100K -f 1000 -n 1 -w 0");
        let rows = rows(&text);
        let operators = if collective.contains("reduce") { 6 } else { 1 };
        assert_eq!(rows.len(), 2 * 12 * operators, "{text}");
        assert!(rows.iter().all(|row| right(collective, row)), "{collective}: {text}");
    }
}

#[test]
fn a_page_shows_every_curve() {
    let path = std::env::temp_dir().join(format!("serried-perf-{}.html", std::process::id()));
    let line = format!("--ranks 2 --algo ring,direct -b 64 -e 4K -f 8 -n 2 --html {}", path.display());
    run_of("all_gather", &line);
    let page = std::fs::read_to_string(&path).expect("it was written");
    std::fs::remove_file(path).expect("it was there");
    assert!(page.starts_with("<!DOCTYPE html>") && page.trim_end().ends_with("</html>"));
    for words in
        ["serried perf all_gather, 2 ranks", "ring, float, out of place", "direct, float, in place", "a plain copy"]
    {
        assert!(page.contains(words), "{words}");
    }
}

#[test]
fn started_calls_unchecked_runs_and_single_times_have_their_form() {
    let (_, text) = run("--ranks 2 -e 64 -f 8 -n 4 -m 3 -I 1 -S 1 -R 1");
    let rows = rows(&text);
    assert!(rows.iter().all(|row| row[5..9] == ["N/A"; 4] && row[12] == "0" && row.len() == 15), "{text}");
    assert_eq!(text.matches("\n#   each iteration (us): in-place min ").count(), 2, "{text}");
    let (_, text) = run("--ranks 2 -e 8 -n 4 -c 0 -N 3 -a 3 -z 1 -C 1");
    assert!(text.contains("cputime"), "{text}");
    let rows = self::rows(&text);
    assert!(rows.len() == 3 && rows.iter().all(|row| row[8] == "N/A" && row[12] == "N/A"), "{text}");
}

#[test]
fn ranks_started_here_can_pretend_to_be_on_several_hosts() {
    let (_, text) = run("--ranks 5 --hosts 2 -b 4 -e 64K -f 128 -n 2");
    assert!(rows(&text).len() == 3 && rows(&text).iter().all(|row| row[8] == "0" && row[12] == "0"), "{text}");
    let apart = perf("--ranks 2 --hosts 2 --transport shm -e 8").output().expect("the program was built");
    let said = String::from_utf8_lossy(&apart.stderr);
    assert!(!apart.status.success() && said.contains("different hosts"), "they share no memory: {said}");
}

#[test]
fn the_report_is_json_and_never_written_over() {
    let path = std::env::temp_dir().join(format!("serried-perf-{}.json", std::process::id()));
    let second = std::path::PathBuf::from(format!("{}.0", path.display()));
    for file in [&path, &second] {
        let (_, text) = run(&format!("--ranks 2 -e 64 -f 8 -n 2 -I 1 -J {}", path.display()));
        assert!(text.contains(&format!("\n# Writing JSON output to {}\n", file.display())), "{text}");
        let json = std::fs::read_to_string(file).expect("it was written");
        let report: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
        let results = report["results"].as_array().expect("a list");
        assert_eq!(results.len(), 2);
        assert_eq!((&results[1]["size"], &results[1]["in_place"]["nwrong"]), (&64.into(), &0.into()));
        assert!(results[0]["out_of_place"]["per_call_us"]["p99"].as_f64().is_some_and(|us| us > 0.0));
        assert_eq!(report["config"]["devices"].as_array().map(Vec::len), Some(2));
        assert_eq!((&report["out_of_bounds"]["okay"], &report["errors"]), (&true.into(), &serde_json::json!([])));
    }
    std::fs::remove_file(path).and(std::fs::remove_file(second)).expect("both were there");
}

#[test]
fn too_little_bandwidth_fails_the_run() {
    for (least, status, verdict) in [("1000000", 1, "FAILED"), ("0", 0, "OK")] {
        let output =
            perf("--ranks 2 -e 8 -n 2").env("NCCL_TESTS_MIN_BW", least).output().expect("the program was built");
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(status), "{text}");
        let line = text.lines().find(|line| line.starts_with("# Avg bus bandwidth")).expect("a footer");
        assert!(line.ends_with(verdict), "{line}");
    }
}

#[test]
fn what_makes_no_sense_is_one_sentence_and_status_2() {
    let refused = |command: &mut Command| {
        let output = command.output().expect("the program was built");
        let said = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(output.stdout.is_empty());
        assert!(said.starts_with("serried: ") && said.trim_end().lines().count() == 1, "{said}");
        said
    };
    for (line, word) in [
        ("--ranks 2 -b 12Q", "12Q"),
        ("--ranks 2 -b 2K -e 1K", "larger"),
        ("--ranks 2 -g 4", "--ranks"),
        ("--ranks 2 --hosts 3", "--hosts 3"),
        ("--hosts 2", "--ranks"),
        ("--ranks 2 -o median", "median"),
        ("--ranks 2 -d complex", "complex"),
        ("--ranks 2 --algo pigeon", "pigeon"),
        ("--ranks 2 --algo bruck", "bruck"),
        ("--ranks 2 --html /nowhere/page.html", "/nowhere"),
        ("--ranks 2 --transport pigeon", "pigeon"),
        ("--ranks two", "two"),
        ("--ranks 2 --speed high", "--speed"),
        ("--ranks 2 extra", "extra"),
        ("-n", "--iters"),
    ] {
        assert!(refused(&mut perf(line)).contains(word), "{line}");
    }
    assert!(refused(perf("--ranks 2").env("NCCL_TESTS_MIN_BW", "fast")).contains("NCCL_TESTS_MIN_BW"));
    assert!(refused(perf("--ranks 2").env("SERRIED_LOG", "a=b=c")).contains("SERRIED_LOG"));
    assert!(refused(&mut perf("-e 8")).contains("SERRIED_RANK"), "neither started ranks nor is one of a job");
}

#[test]
fn help_teaches_the_columns() {
    let output = perf("--help").output().expect("the program was built");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success());
    for word in ["Examples:", "busbw", "#wrong", "NEAR", "torchrun", "Exit status", "--minbytes", "NCCL_TESTS_MIN_BW"] {
        assert!(text.contains(word), "{word}");
    }
}

#[test]
fn what_cannot_be_written_or_held_is_said_once_and_before_any_row() {
    let said = |command: &mut Command| {
        let output = command.output().expect("the program was built");
        let said = String::from_utf8(output.stderr).expect("text");
        assert!(!output.status.success() && said.lines().count() == 1, "{said}");
        assert!(rows(&String::from_utf8_lossy(&output.stdout)).is_empty());
        said
    };
    assert!(said(&mut perf("--ranks 3 -e 8 -J /nowhere/report")).starts_with("serried: -J /nowhere/report: "));
    let full = std::fs::File::options().write(true).open("/dev/full").expect("Linux has it");
    assert!(said(perf("--ranks 3 -e 8").stdout(full)).starts_with("serried: the results cannot be written: "));
    assert!(said(&mut perf("--ranks 1 -m 1000 -b 1024T -e 1024T")).contains("buffers for 1000 calls"));
}

#[test]
fn a_closed_standard_error_changes_no_exit_status() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let status = perf("--ranks 2 -b 2K -e 1K").stderr(writer).status().expect("the program was built");
    assert_eq!(status.code(), Some(2));
}

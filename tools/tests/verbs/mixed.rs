//! One communicator whose pairs of ranks talk by shared memory, RDMA verbs and TCP. Ranks are processes with settings of their own, which play
//! several hosts. In the guest of `tools/softroce` there are real RoCE devices; elsewhere the pairs that would use them take TCP.

use crate::guest::{Guest, Ranks, Variables};
use serde_json::Value;

/// A device that no machine has.
const NO_DEVICE: (&str, &str) = ("SERRIED_IB_HCA", "mlx5_77");

/// Two ranks on one host, one on another, and one on a third whose setting leaves it without a device.
const MIXED: [Variables<'_>; 4] = [
    &[("SERRIED_HOST_ID", "a")],
    &[("SERRIED_HOST_ID", "a")],
    &[("SERRIED_HOST_ID", "b")],
    &[("SERRIED_HOST_ID", "c"), NO_DEVICE],
];

fn in_the_guest() -> bool {
    std::env::var_os("SERRIED_SOFTROCE").is_some()
}

/// A pair of ranks, the transport between them, and why nothing better.
type Pair = ((u64, u64), String, String);

/// What `serried probe --json` says of each pair.
pub(crate) fn pairs(ranks: Ranks) -> Vec<Pair> {
    let ends = ranks.end();
    assert!(ends.iter().all(|(success, _)| *success), "{ends:?}");
    // What is logged comes behind.
    let mut reports = serde_json::Deserializer::from_str(&ends[0].1).into_iter::<Value>();
    let report = reports.next().and_then(Result::ok).unwrap_or_else(|| panic!("no JSON: {}", ends[0].1));
    let pair = |pair: &Value| {
        let rank = |index: usize| pair["ranks"][index].as_u64().expect("a rank");
        ((rank(0), rank(1)), pair["transport"].as_str().expect("a name").to_owned(), pair["not"].to_string())
    };
    report["pairs"].as_array().expect("pairs").iter().map(pair).collect()
}

#[test]
fn one_communicator_mixes_shared_memory_verbs_and_tcp() {
    let between = if in_the_guest() { "verbs" } else { "tcp" };
    let expected = [
        ((0, 1), "shm", ""),
        ((0, 2), between, "different hosts"),
        ((0, 3), "tcp", "SERRIED_IB_HCA"),
        ((1, 2), between, "different hosts"),
        ((1, 3), "tcp", "SERRIED_IB_HCA"),
        ((2, 3), "tcp", "SERRIED_IB_HCA"),
    ];
    let _guest = Guest::alone();
    let found = pairs(Ranks::start(&[], &MIXED, "probe --json"));
    assert_eq!(found.len(), expected.len());
    for ((ranks, transport, refused), (pair, wanted, part)) in found.iter().zip(expected) {
        // Where no device is found at all, that is the reason.
        let known = refused.contains(part) || !in_the_guest() && refused.contains("verbs");
        assert!((*ranks, transport.as_str()) == (pair, wanted) && known, "{ranks:?}: {transport}, not {refused}");
    }
}

#[test]
fn ranks_that_may_not_use_tcp_share_memory_or_use_verbs() {
    let Some(_guest) = Guest::enter() else { return };
    let set = |host| [("SERRIED_HOST_ID", host), ("SERRIED_TRANSPORT", "shm+verbs")];
    let variables = ["a", "a", "b"].map(set);
    let found = pairs(Ranks::start(&[], &variables.each_ref().map(<[_; 2]>::as_slice), "probe --json"));
    let transports: Vec<_> = found.iter().map(|(ranks, transport, _)| (*ranks, transport.as_str())).collect();
    assert_eq!(transports, [((0, 1), "shm"), ((0, 2), "verbs"), ((1, 2), "verbs")]);
}

#[test]
fn every_algorithm_is_right_where_transports_mix() {
    let _guest = Guest::alone();
    // Around the sizes of a piece and a slot of verbs, and of elements that divide neither.
    let sizes = if in_the_guest() { "-b 65528 -e 65548 -i 4" } else { "-b 65528 -e 131148 -i 6564" };
    let ends = Ranks::start(&[], &MIXED, &format!("perf all_reduce --algo all {sizes} -n 1 -w 0")).end();
    let right = ends.iter().all(|(success, _)| *success) && ends[0].1.contains("# Out of bounds values : 0 OK");
    assert!(right, "{ends:?}");
}

#[test]
fn a_rank_without_a_device_is_an_error_for_all_where_verbs_are_demanded() {
    let _guest = Guest::alone();
    for transport in ["verbs", "shm+verbs"] {
        let demanded = ("SERRIED_TRANSPORT", transport);
        let variables: [Variables<'_>; 3] = [&[demanded], &[demanded, NO_DEVICE], &[demanded]];
        let ends = Ranks::start(&[], &variables, "probe").end();
        assert!(ends.iter().all(|(success, _)| !success), "{ends:?}");
        assert!(ends[1].1.contains("rank 1: verbs cannot be used"), "{}", ends[1].1);
        if in_the_guest() {
            assert!(ends[1].1.contains("SERRIED_IB_HCA"), "{}", ends[1].1);
            for (_, text) in [&ends[0], &ends[2]] {
                assert!(text.contains("rank 1"), "the others say which rank it was: {text}");
            }
        }
    }
}

//! Links that go down in the middle of a job.

use crate::guest::{Guest, Ranks, Restored, wait_for_traffic};
use std::time::{Duration, Instant};

/// A link that goes down is an error within this time: a port may be down for 5 s before its links are given up, and the news travels.
const DOWN: Duration = Duration::from_secs(20);

/// Takes the second device's link down under ranks that use both devices, and looks at how each of them ends; then a new communicator works.
fn goes_down_under(ranks: usize) {
    let Some(guest) = Guest::enter() else { return };
    let _restored = Restored(&guest, "1");
    let places: Vec<_> = (0..ranks).map(|rank| [("SERRIED_LOCAL_RANK", rank.to_string())]).collect();
    let places: Vec<_> = places.iter().map(|[(name, value)]| [(*name, value.as_str())]).collect();
    let places: Vec<&[_]> = places.iter().map(<[_; 1]>::as_slice).collect();
    let running = Ranks::start(&[], &places, "perf all_reduce --transport verbs -b 64K -e 64K -n 1000000 -c 0");
    wait_for_traffic();
    let down = Instant::now();
    guest.does("link", &["down", "1"]);
    let ends = running.end();
    assert!(down.elapsed() < DOWN, "after {:?}: {ends:?}", down.elapsed());
    for (rank, (success, text)) in ends.iter().enumerate() {
        assert!(!success, "rank {rank} ends well: {text}");
        // It is the device that notices first, or the link's patience that ends; who did not notice is told by those who did.
        assert!(text.contains("the port is down") || text.contains("has had no link"), "rank {rank}: {text}");
        for part in [&format!("rank {rank}: allreduce #"), "lost its verbs link to rank", " port 1"] {
            assert!(text.contains(part), "rank {rank}, no {part:?} in: {text}");
        }
    }
    assert!(ends.iter().any(|(_, text)| text.contains("rxe1 port 1")), "{ends:?}");
    guest.does("link", &["up", "1"]);
    let again = Ranks::start(&[], &places, "perf all_reduce --transport verbs -b 64 -e 64 -n 5").end();
    assert!(again.iter().all(|(success, _)| *success), "{again:?}");
}

#[test]
fn a_link_that_goes_down_is_an_error_that_says_where_and_a_new_communicator_works() {
    goes_down_under(2);
}

#[test]
fn each_of_four_ranks_says_where_a_link_went_down() {
    goes_down_under(4);
}

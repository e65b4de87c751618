//! Cables as fast as those of real hosts, and one that is slower. Results must be right, and no cable may carry more than it can. How near
//! one comes to that is printed, and judged by nobody: the machine's load says more about it than the code.

use crate::runs::{Alone, print, rows};
use serried_cluster::Blueprint;

/// Measures allreduce on each of these clusters, whose slowest cable is so fast.
fn measure(clusters: &[(&str, Blueprint)], slowest_mb_s: f64) {
    for (title, blueprint) in clusters {
        let Some(cluster) = Alone::build(blueprint) else { return };
        let table = cluster.table("all_reduce -b 16 -e 1M -f 16 -n 5", &[]);
        print(&format!("allreduce, {title}"), &table);
        let (bytes, time_us) = *rows(&table).last().expect("sizes");
        // Every host gets as many bytes as the result has at least, but for the few that a shaper lets pass at once.
        assert!(bytes as f64 / time_us < 1.1 * slowest_mb_s, "{title}: {bytes} bytes in {time_us} us");
    }
}

#[test]
fn results_are_right_at_one_gigabit() {
    let clusters = [
        ("4 x 1 ranks, 1 Gb/s", Blueprint::new(&[1; 4]).rate("1gbit")),
        ("2 x 2 ranks, 1 Gb/s", Blueprint::new(&[2; 2]).rate("1gbit")),
    ];
    measure(&clusters, 125.0);
}

#[test]
fn results_are_right_with_one_host_at_a_tenth_of_the_others_speed() {
    let slow = Blueprint::new(&[1; 4]).rate("1gbit").rate_of(2, "100mbit");
    measure(&[("4 x 1 ranks, 1 Gb/s but one host at 100 Mb/s", slow)], 12.5);
}

//! What is measured between hosts, and chosen by it. How good the choices were is printed, and judged by nobody: the machine's load says more about
//! it than the code.

use crate::runs::Alone;
use serde_json::Value;
use serried_cluster::Blueprint;

/// What `serried explain` finds on these hosts, with cables of 1 Gb/s.
fn explained(layout: &[usize]) -> Option<Value> {
    let cluster = Alone::build(&Blueprint::new(layout).rate("1gbit"))?;
    let json = cluster.text("explain all_reduce -b 1K -e 256K --measure --json", &[("SERRIED_PROBE", "anew")]);
    Some(serde_json::from_str(&json).unwrap_or_else(|why| panic!("{why}: {json}")))
}

#[test]
fn every_way_between_hosts_is_priced_run_and_judged() {
    for layout in [&[1, 1, 1, 1][..], &[2, 2], &[1, 2, 3]] {
        let Some(story) = explained(layout) else { return };
        let rows = story["rows"].as_array().expect("a row a size");
        assert_eq!(rows.len(), 5, "{layout:?}");
        for row in rows {
            let ways = row["ways"].as_array().expect("several ways");
            let names: Vec<&str> = ways.iter().filter_map(|way| way["algorithm"].as_str()).collect();
            let by_host = ["hierarchical", "leaders"].map(|name| names.contains(&name));
            assert!(names.contains(&"ring") && by_host == [true; 2], "{layout:?}: {names:?}");
            for way in ways {
                let number = |number: &Value| number.as_f64().is_some_and(|us| us > 0.0);
                // What is chosen may be cut as a smaller size is, and has no price then.
                assert!(number(&way["measured_us"]), "{layout:?}: {way}");
                assert!(way["predicted"].is_null() || number(&way["predicted"]["total_us"]), "{layout:?}: {way}");
            }
        }
        println!("explained, {layout:?} ranks, 1 Gb/s: {}", story["predictions"]);
        for verdict in story["verdicts"].as_array().expect("one for each tuner") {
            println!("  {verdict}");
        }
    }
}

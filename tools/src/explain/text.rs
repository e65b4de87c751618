//! How the story reads on a terminal. Only words.

use super::story::{Row, Story, Way};
use crate::perf::short_size;
use crate::probe::columns;

/// Of each size, so many ways are shown, and the chosen one.
const SHOWN: usize = 4;

/// The whole story; `all` ways of each size, or the best few.
pub(super) fn story(story: &Story, all: bool) -> String {
    let grouping = &story.network.grouping;
    let (ranks, hosts) = (grouping.size(), grouping.hosts());
    let on = if hosts == 1 { "1 host".to_owned() } else { format!("{hosts} hosts") };
    let mut text = format!("# serried explain {}: {ranks} ranks on {on}\n", story.collective.name());
    for line in story.network.to_string().lines().skip(1) {
        text += &format!("# {line}\n");
    }
    let is_measured = story.rows.iter().any(|row| row.ways.iter().any(|way| way.measured.is_some()));
    let mut heading =
        vec!["size", "", "algorithm", "slices", "lanes", "predicted", "latency", "bandwidth", "reduction"];
    if is_measured {
        heading.extend(["measured", "off", "regret"]);
    }
    let mut rows = vec![heading.into_iter().map(str::to_owned).collect()];
    story.rows.iter().for_each(|row| rows.extend(lines(row, all, is_measured)));
    text += &columns(0, &rows);
    text + &verdicts(story)
}

fn lines(row: &Row, all: bool, is_measured: bool) -> Vec<Vec<String>> {
    let shown = |place: &usize| all || *place < SHOWN || *place == row.chosen;
    let places = (0..row.ways.len()).filter(shown);
    let line = |(number, place): (usize, usize)| {
        let size = if number == 0 { short_size(row.bytes) } else { String::new() };
        let star = if place == row.chosen { "*" } else { "" };
        let mut cells = vec![size, star.to_owned()];
        cells.extend(way(&row.ways[place]));
        if is_measured {
            let way = &row.ways[place];
            cells.push(way.measured_us().map_or_else(String::new, us));
            cells.push(way.error().map_or_else(String::new, percent));
            cells.push(row.regret(place).map_or_else(String::new, percent));
        }
        cells
    };
    places.enumerate().map(line).collect()
}

fn way(way: &Way) -> Vec<String> {
    let choice = way.choice;
    let slices = if choice.slice_bytes == usize::MAX { "-".to_owned() } else { short_size(choice.slice_bytes as u64) };
    let mut cells = vec![choice.algorithm.to_string(), slices, choice.lanes.to_string()];
    match way.price {
        Some(price) => {
            cells.extend(
                [price.total_ns, price.latency_ns, price.bandwidth_ns, price.reduction_ns].map(|ns| us(ns / 1e3)),
            );
        }
        None => cells.extend(["-"; 4].map(str::to_owned)),
    }
    cells
}

fn verdicts(story: &Story) -> String {
    let verdicts = story.verdicts();
    if verdicts.is_empty() {
        return String::new();
    }
    let mut rows = vec![["tuner", "mean regret", "worst regret"].map(str::to_owned).to_vec()];
    rows.extend(verdicts.iter().map(|one| vec![one.tuner.to_owned(), percent(one.mean), percent(one.worst)]));
    let (matter, good) = story.predicted_well();
    let share = 100.0 * good as f64 / matter.max(1) as f64;
    format!(
        "\n{}\n{good} of {matter} predictions that matter are within 30 % of what was measured ({share:.0} %)\n",
        columns(0, &rows)
    )
}

/// Three digits that count.
fn us(us: f64) -> String {
    let digits = if us >= 100.0 {
        0
    } else if us >= 10.0 {
        1
    } else {
        2
    };
    format!("{us:.digits$}")
}

fn percent(share: f64) -> String {
    // Without the sign of a zero.
    format!("{:.0} %", (100.0 * share).round() + 0.0)
}

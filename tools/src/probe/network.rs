//! How the network reads that algorithms are chosen by: kinds of link, and what hosts share. Only words.

use super::heat::short;
use super::text::columns;
use serried::tune::network::{LinkCost, Network};

/// A row for each kind of link and each host's way out; nothing of ranks that share one host's memory, whose calls use no links.
pub(super) fn text(network: &Network) -> String {
    let mut rows = vec![["algorithms are chosen by", "latency µs", "GB/s"].map(str::to_owned).to_vec()];
    let mut row = |what: String, latency_ns: Option<f64>, byte_ns: f64| {
        let latency = latency_ns.map_or_else(String::new, |ns| short(ns / 1e3));
        let pace = if byte_ns > 0.0 { short(1.0 / byte_ns) } else { String::new() };
        rows.push(vec![what, latency, pace]);
    };
    for (what, LinkCost { latency_ns, byte_ns, .. }) in
        [("links inside a host", network.inside), ("links between hosts", network.between)]
    {
        if latency_ns > 0.0 {
            row(what.to_owned(), Some(latency_ns), byte_ns);
        }
    }
    let shared = (0..).zip(&network.shared_byte_ns).filter(|(_, byte_ns)| **byte_ns > 0.0);
    for (host, byte_ns) in shared {
        let ranks = network.grouping.members(host).iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
        row(format!("the way out of the host of ranks {ranks}"), None, *byte_ns);
    }
    for curve in &network.room {
        let bytes = curve.points.last().map_or(0, |(bytes, _)| *bytes);
        let pace = curve.at(bytes) / bytes.max(1) as f64;
        row(format!("allreduce in memory, {}", curve.algorithm), Some(curve.at(0)), pace);
    }
    row("reducing".to_owned(), None, network.fold_byte_ns);
    columns(0, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_link_has_a_row() {
        let text = "serried network 1\nhosts 0 0 1\ninside 900 300 0.125 0 1\nbetween 20000 500 8 0 2\nshared 4 8\nfold 0.1\nmachines 0 1\ncores 8 8\ncrowded 0\n";
        let network: Network = text.parse().expect("a network");
        let said = super::text(&network);
        let rows: Vec<String> =
            said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        let expected = [
            "algorithms are chosen by latency µs GB/s",
            "links inside a host 0.90 8.00",
            "links between hosts 20.0 0.12",
            "the way out of the host of ranks 0, 1 0.25",
            "the way out of the host of ranks 2 0.12",
            "reducing 10.0",
        ];
        assert_eq!(rows, expected);
    }
}

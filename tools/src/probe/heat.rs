//! What was measured between all pairs as a page with two heat maps: one HTML file that needs nothing besides itself. Pure.

use super::measured::Pace;
use crate::perf::{PAGE_STYLE, escape};

/// A rank's row or column.
const CELL: f64 = 44.0;
/// Room for the ranks' numbers.
const MARGIN: f64 = 34.0;

/// A quantity of a pair, and whether more of it is better.
struct Quantity {
    name: &'static str,
    unit: &'static str,
    of: fn(&Pace) -> f64,
    more_is_better: bool,
}

const QUANTITIES: [Quantity; 2] = [
    Quantity { name: "Latency of 8 bytes, one way", unit: "µs", of: |pace| pace.latency_us, more_is_better: false },
    Quantity { name: "Bandwidth of 1 MiB, one way", unit: "GB/s", of: |pace| pace.gb_s, more_is_better: true },
];

/// The page: a title, facts by name, and the paces of all pairs of so many ranks.
pub(super) fn page(title: &str, facts: &[(String, String)], ranks: u32, paces: &[((u32, u32), Pace)]) -> String {
    let title = escape(title);
    let facts: String = facts
        .iter()
        .map(|(name, value)| format!("<div><dt>{}</dt><dd>{}</dd></div>\n", escape(name), escape(value)))
        .collect();
    let maps: String = QUANTITIES.iter().map(|quantity| map(quantity, ranks, paces)).collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\n\
         <title>{title}</title>\n<style>\n{PAGE_STYLE}\
         .heat rect {{ stroke: var(--ground); }} .heat text {{ font-size: 11px; text-anchor: middle; fill: var(--ink); }} .heat .in {{ fill: #101418; }}\n\
         </style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n<dl>\n{facts}</dl>\n<div class=\"charts\">\n{maps}</div>\n\
         <p class=\"note\">Darker is slower. Each pair was measured alone; bandwidth is that of the lower rank to the higher.</p>\n</main>\n</body>\n</html>\n"
    )
}

fn map(quantity: &Quantity, ranks: u32, paces: &[((u32, u32), Pace)]) -> String {
    let side = MARGIN + CELL * f64::from(ranks) + 2.0;
    let values = paces.iter().map(|(_, pace)| (quantity.of)(pace));
    let (least, most) =
        values.fold((f64::INFINITY, 0.0_f64), |(least, most), value| (least.min(value), most.max(value)));
    let mut svg = format!(
        "<figure>\n<figcaption>{} ({})</figcaption>\n<svg class=\"chart heat\" role=\"img\" aria-label=\"{0}\" viewBox=\"0 0 {side} {side}\">\n",
        quantity.name, quantity.unit
    );
    for rank in 0..ranks {
        let at = MARGIN + CELL * (f64::from(rank) + 0.5);
        svg += &format!("<text x=\"{at}\" y=\"20\">{rank}</text><text x=\"16\" y=\"{}\">{rank}</text>\n", at + 4.0);
    }
    for ((one, other), pace) in paces {
        let value = (quantity.of)(pace);
        let (slow, text) = (slowness(quantity, value, least, most), short(value));
        for (row, column) in [(one, other), (other, one)] {
            let (x, y) = (MARGIN + CELL * f64::from(*column), MARGIN + CELL * f64::from(*row));
            svg += &format!(
                "<g><title>ranks {one} and {other}: {text} {}</title><rect x=\"{x}\" y=\"{y}\" width=\"{CELL}\" height=\"{CELL}\" fill=\"hsl({:.0} 75% {:.0}%)\"/>\
                 <text class=\"in\" x=\"{}\" y=\"{}\">{text}</text></g>\n",
                quantity.unit,
                190.0 - 160.0 * slow,
                82.0 - 24.0 * slow,
                x + CELL / 2.0,
                y + CELL / 2.0 + 4.0,
            );
        }
    }
    svg + "</svg>\n</figure>\n"
}

/// 0 for the fastest pair and 1 for the slowest, by the logarithm; all the same is fast.
fn slowness(quantity: &Quantity, value: f64, least: f64, most: f64) -> f64 {
    if most <= least || least <= 0.0 {
        return 0.0;
    }
    let share = (value / least).ln() / (most / least).ln();
    // Differences of a few hundredths are noise.
    let contrast = ((most / least - 1.0) / 0.5).min(1.0);
    contrast * if quantity.more_is_better { 1.0 - share } else { share }
}

/// Three digits that count.
pub(super) fn short(value: f64) -> String {
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_pair_is_the_darkest() {
        let [latency, bandwidth] = &QUANTITIES;
        assert_eq!((slowness(latency, 1.0, 1.0, 10.0), slowness(latency, 10.0, 1.0, 10.0)), (0.0, 1.0));
        assert_eq!((slowness(bandwidth, 1.0, 1.0, 10.0), slowness(bandwidth, 10.0, 1.0, 10.0)), (1.0, 0.0));
        assert_eq!(slowness(latency, 5.0, 5.0, 5.0), 0.0);
        assert!(slowness(latency, 1.02, 1.0, 1.02) < 0.05);
    }

    #[test]
    fn a_page_shows_both_ways_of_every_pair_and_escapes_names() {
        let pace = |latency_us| Pace { latency_us, gb_s: 1.25 };
        let paces = [((0, 1), pace(3.5)), ((0, 2), pace(250.0)), ((1, 2), pace(250.0))];
        let page = page("a <b>", &[("host".to_owned(), "x & y".to_owned())], 3, &paces);
        assert_eq!(page.matches("<rect").count(), 2 * 2 * 3);
        assert!(page.contains("a &lt;b&gt;") && page.contains("x &amp; y") && page.contains(">3.50<"), "{page}");
    }
}

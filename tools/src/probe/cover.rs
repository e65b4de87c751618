//! Many pairs of ranks in few words: "among 0-3", "0-3 with 4-7". Pure.

use std::collections::BTreeSet;

/// Two ranks, the lower first.
pub(super) type Pair = (u32, u32);

/// Terms beyond this are only counted: what is so irregular is read in the JSON.
const MOST_TERMS: usize = 8;

/// All `pairs` in words. Large regular parts come first.
pub(super) fn words(pairs: &BTreeSet<Pair>) -> String {
    let mut left = pairs.clone();
    let mut terms = Vec::new();
    while let Some(&first) = left.first() {
        if terms.len() == MOST_TERMS {
            terms.push(format!("{} more", left.len()));
            break;
        }
        let (among, between) = (clique(first, &left), biclique(first, &left));
        let within: BTreeSet<Pair> = pairs_among(&among);
        let across: BTreeSet<Pair> = between.0.iter().flat_map(|a| between.1.iter().map(|b| ordered(*a, *b))).collect();
        let (term, covered) = match within.len() > across.len() && among.len() > 2 {
            true => (format!("among {}", ranges(&among)), within),
            false => (format!("{} with {}", ranges(&between.0), ranges(&between.1)), across),
        };
        terms.push(term);
        left.retain(|pair| !covered.contains(pair));
    }
    terms.join("; ")
}

/// Ranks as ranges: "0-3, 5".
pub(super) fn ranges<'a>(ranks: impl IntoIterator<Item = &'a u32>) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &rank in ranks {
        match ranges.last_mut() {
            Some((_, end)) if *end + 1 == rank => *end = rank,
            _ => ranges.push((rank, rank)),
        }
    }
    let range = |(first, last): &(u32, u32)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    ranges.iter().map(range).collect::<Vec<_>>().join(", ")
}

/// Ranks, the first pair's among them, of which all pairs are there.
fn clique(first: Pair, pairs: &BTreeSet<Pair>) -> BTreeSet<u32> {
    let mut ranks = BTreeSet::from([first.0, first.1]);
    for candidate in neighbours(first.0, pairs) {
        if !ranks.contains(&candidate) && ranks.iter().all(|rank| pairs.contains(&ordered(*rank, candidate))) {
            ranks.insert(candidate);
        }
    }
    ranks
}

/// Two sets of ranks, the first pair's lower one in the first, of which every pair across is there. The second is what the first pair's lower rank
/// is with.
fn biclique(first: Pair, pairs: &BTreeSet<Pair>) -> (BTreeSet<u32>, BTreeSet<u32>) {
    let others: BTreeSet<u32> = neighbours(first.0, pairs).collect();
    let fits = |rank: &u32| others.iter().all(|other| pairs.contains(&ordered(*rank, *other)));
    let likes: BTreeSet<u32> = others.first().map(|other| neighbours(*other, pairs).collect()).unwrap_or_default();
    (likes.into_iter().filter(|rank| !others.contains(rank)).filter(fits).collect(), others)
}

fn neighbours(rank: u32, pairs: &BTreeSet<Pair>) -> impl Iterator<Item = u32> + '_ {
    let other = move |pair: &Pair| match *pair {
        (a, b) if a == rank => Some(b),
        (a, b) if b == rank => Some(a),
        _ => None,
    };
    pairs.iter().filter_map(other)
}

fn pairs_among(ranks: &BTreeSet<u32>) -> BTreeSet<Pair> {
    ranks.iter().flat_map(|a| ranks.range(a + 1..).map(|b| (*a, *b))).collect()
}

fn ordered(a: u32, b: u32) -> Pair {
    (a.min(b), a.max(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(ranks: u32, keep: impl Fn(u32, u32) -> bool) -> BTreeSet<Pair> {
        pairs_among(&(0..ranks).collect()).into_iter().filter(|(a, b)| keep(*a, *b)).collect()
    }

    #[test]
    fn regular_pairs_are_one_term() {
        assert_eq!(words(&all(2, |_, _| true)), "0 with 1");
        assert_eq!(words(&all(46, |_, _| true)), "among 0-45", "over 1,000 pairs");
        assert_eq!(words(&all(8, |a, b| (a < 4) != (b < 4))), "0-3 with 4-7");
        assert_eq!(words(&all(8, |a, b| (a < 4) == (b < 4))), "among 0-3; among 4-7");
        assert_eq!(words(&all(8, |a, b| a % 2 != b % 2)), "0, 2, 4, 6 with 1, 3, 5, 7");
        assert_eq!(words(&all(9, |a, b| a / 3 != b / 3)), "0-2 with 3-8; 3-5 with 6-8");
        assert_eq!(words(&all(9, |_, b| b == 8)), "0-7 with 8");
        assert_eq!(words(&BTreeSet::new()), "");
    }

    #[test]
    fn irregular_pairs_are_counted_after_some_terms() {
        let text = words(&all(60, |a, b| b == a + 1));
        assert!(text.ends_with(" more") && text.split("; ").count() == MOST_TERMS + 1, "{text}");
    }

    #[test]
    fn no_pair_is_lost_or_invented() {
        // Every graph of five ranks.
        for which in 0u32..1 << 10 {
            let every: Vec<Pair> = all(5, |_, _| true).into_iter().collect();
            let pairs: BTreeSet<Pair> =
                every.iter().enumerate().filter(|(bit, _)| which >> bit & 1 == 1).map(|(_, pair)| *pair).collect();
            assert_eq!(read(&words(&pairs)), pairs, "{}", words(&pairs));
        }
    }

    fn read(text: &str) -> BTreeSet<Pair> {
        let ranks = |text: &str| -> BTreeSet<u32> {
            let one = |range: &str| {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                first.parse::<u32>().expect("a rank")..=last.parse().expect("a rank")
            };
            text.split(", ").flat_map(one).collect()
        };
        let term = |term: &str| match (term.strip_prefix("among "), term.split_once(" with ")) {
            (Some(among), _) => pairs_among(&ranks(among)),
            (None, Some((some, others))) => {
                ranks(some).iter().flat_map(|a| ranks(others).into_iter().map(|b| ordered(*a, b))).collect()
            }
            (None, None) => panic!("{term}"),
        };
        text.split("; ").filter(|text| !text.is_empty()).flat_map(term).collect()
    }
}

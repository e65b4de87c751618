//! What was measured as a text, to be kept and told: the network's lines, and one with the best choice for each cell.

use super::{Candidates, Choice, Measured};
use crate::schedule::Algorithm;
use std::fmt;

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}best", self.candidates.network)?;
        self.best.iter().try_for_each(|choice| write!(f, " {choice}"))?;
        writeln!(f)
    }
}

/// Algorithm, bytes of a slice and lanes.
impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.algorithm, self.slice_bytes, self.lanes)
    }
}

impl Measured {
    /// From its text, for the same ways as `asked` has them: only the network is taken from the text. The error says what is wrong with it.
    pub fn parse(text: &str, asked: &Candidates) -> Result<Self, String> {
        let (network, best) = text.trim_end().rsplit_once("\nbest").ok_or("it has no choices")?;
        let candidates = Candidates { network: network.parse()?, ..asked.clone() };
        if candidates.network.grouping != asked.network.grouping {
            return Err("it is of other ranks".to_owned());
        }
        let best = Self::choices(best)?;
        let cells = candidates.cells();
        if best.len() != cells.len() {
            return Err(format!("it has {} choices, not {}", best.len(), cells.len()));
        }
        let usable = cells.iter().zip(&best).all(|((kind, _), choice)| candidates.can_run(*kind, choice));
        if usable { Ok(Self { candidates, best }) } else { Err("a choice cannot run here".to_owned()) }
    }

    /// Choices from a text that has them one after the other.
    pub(crate) fn choices(text: &str) -> Result<Vec<Choice>, String> {
        text.split_whitespace().map(choice).collect()
    }
}

fn choice(word: &str) -> Result<Choice, String> {
    let parts: Vec<&str> = word.split(':').collect();
    let parsed = match parts[..] {
        [algorithm, slice, lanes] => Algorithm::parse(algorithm).zip(slice.parse().ok()).zip(lanes.parse().ok()),
        _ => None,
    };
    let ((algorithm, slice_bytes), lanes) = parsed.ok_or_else(|| format!("{word:?} is no choice"))?;
    Ok(Choice { algorithm, slice_bytes, lanes })
}

#[cfg(test)]
mod tests {
    use super::super::network::Network;
    use super::super::{Allowed, Reach};
    use super::*;

    #[test]
    fn what_was_measured_survives_its_text() {
        let text = "serried network 1\nhosts 0 1\ninside 0 0 0 0 1\nbetween 10000 1000 1 0.1 2\nshared 1 1\nfold 0.1\nmachines 0 1\ncores 8 8\ncrowded 0\n";
        let network: Network = text.parse().expect("a network");
        let candidates =
            Candidates { network, reach: Reach::Links { slot_bytes: 1 << 18 }, allowed: Allowed::default() };
        let cells = candidates.cells();
        let best: Vec<Choice> = cells.iter().filter_map(|(kind, bytes)| candidates.best(*kind, *bytes)).collect();
        let measured = Measured { candidates: candidates.clone(), best };
        let text = measured.to_string();
        assert_eq!(Measured::parse(&text, &candidates), Ok(measured), "{text}");
        for (from, to, why) in [
            ("\nbest", "\nworst", "no choices"),
            ("hosts 0 1", "hosts 0 0 1", "of other ranks"),
            ("best ", "best ring:0:2 ", "choices, not"),
            ("best ", "best ring:x:2 ", "\"ring:x:2\" is no choice"),
            (":2", ":99", "cannot run"),
        ] {
            let error = Measured::parse(&text.replace(from, to), &candidates).expect_err(to);
            assert!(error.contains(why), "{to}: {error}");
        }
    }
}

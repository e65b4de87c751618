//! A logarithmic axis: where a value stands on it, and what is written along it.
//!
//! Everything is kept as logarithms, so that no range of finite numbers is too wide or too narrow.

/// So many labels at most, or they run into each other on a phone.
const MOST_LABELS: f64 = 9.0;
/// Logarithms this near count as equal: 500 and 5·10² are not the same sum of logarithms to the last bit.
const NEAR: f64 = 1e-9;
/// Up to this many decades, 2 and 5 are labelled besides 1.
const DECADES_IN_STEPS: f64 = 2.5;

/// What the axis counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// Powers of two, for sizes in bytes.
    Two,
    /// Decades, for what was measured.
    Ten,
}

/// A logarithmic axis that covers some values.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    base: Base,
    /// The logarithms at the two ends.
    low: f64,
    high: f64,
    /// Where in the drawing the two ends are.
    from: f64,
    to: f64,
}

/// A mark on the axis.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tick {
    /// Where in the drawing it is.
    pub(super) at: f64,
    /// What is written there; nothing at the lesser ones.
    pub(super) label: Option<String>,
}

/// Whether a logarithmic axis has a place for the value.
pub(super) fn has_place(value: f64) -> bool {
    value.is_finite() && value > 0.0
}

impl Base {
    fn log(self, value: f64) -> f64 {
        match self {
            Self::Two => value.log2(),
            Self::Ten => value.log10(),
        }
    }

    /// The nearest number at or below 1, 2 or 5 times a power of ten; all of it in logarithms.
    fn step_below(log: f64) -> f64 {
        let decade = (log + NEAR).floor();
        let within = log - decade;
        decade + [5_f64, 2.0].iter().map(|step| step.log10()).find(|&step| step <= within + NEAR).unwrap_or(0.0)
    }

    /// The like at or above.
    fn step_above(log: f64) -> f64 {
        let decade = (log + NEAR).floor();
        let within = log - decade;
        decade + [1_f64, 2.0, 5.0].iter().map(|step| step.log10()).find(|&step| step >= within - NEAR).unwrap_or(1.0)
    }

    /// The ends of an axis that covers these logarithms: round numbers, and never one place only.
    fn ends(self, low: f64, high: f64) -> (f64, f64) {
        match self {
            Self::Two if high - low < NEAR => ((low - 1.0).floor(), (high + 1.0).ceil()),
            // In between there may be no power of two to write down.
            Self::Two if high - low < 3.0 => (low.floor(), high.ceil()),
            Self::Two => (low, high),
            Self::Ten => match (Self::step_below(low), Self::step_above(high)) {
                (below, above) if above - below < NEAR => (Self::step_below(low - 0.2), Self::step_above(high + 0.2)),
                ends => ends,
            },
        }
    }
}

impl Axis {
    /// The axis that covers these values, as far as they have a place; none if none has.
    pub(super) fn covering(base: Base, values: impl Iterator<Item = f64>, from: f64, to: f64) -> Option<Self> {
        let logs = values.filter(|&value| has_place(value)).map(|value| base.log(value));
        let (low, high) = logs.map(|log| (log, log)).reduce(|(low, high), (log, _)| (low.min(log), high.max(log)))?;
        let (low, high) = base.ends(low, high);
        Some(Self { base, low, high, from, to })
    }

    /// Where a value that has a place stands.
    pub(super) fn at(&self, value: f64) -> f64 {
        self.at_log(self.base.log(value))
    }

    fn at_log(&self, log: f64) -> f64 {
        self.from + (log - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    /// The marks, in increasing value.
    pub(super) fn ticks(&self) -> Vec<Tick> {
        match self.base {
            Base::Two => self.powers_of_two(),
            Base::Ten => self.decades(),
        }
    }

    fn powers_of_two(&self) -> Vec<Tick> {
        let (first, last) = ((self.low - NEAR).ceil().max(0.0) as u32, (self.high + NEAR).floor() as u32);
        let labels = |every: u32| (first..=last).filter(|power| power.is_multiple_of(every)).count() as f64;
        let every = [1, 2, 3, 4, 5, 10].into_iter().find(|&every| labels(every) <= MOST_LABELS).unwrap_or(20);
        let tick = |power: u32| {
            let label = power.is_multiple_of(every).then(|| size_label(power));
            Tick { at: self.at_log(f64::from(power)), label }
        };
        (first..=last).map(tick).collect()
    }

    fn decades(&self) -> Vec<Tick> {
        let span = self.high - self.low;
        let every = ((span / (MOST_LABELS - 1.0)).ceil() as i32).max(1);
        let (first, last) = (self.low.floor() as i32, self.high.ceil() as i32);
        let steps = (first..=last).flat_map(|power| [1_u32, 2, 5].map(|digit| (digit, power)));
        let ticks = steps.filter_map(|(digit, power)| {
            let log = f64::from(power) + f64::from(digit).log10();
            let labelled = span <= DECADES_IN_STEPS || (digit == 1 && power.rem_euclid(every) == 0);
            let shown = (self.low - NEAR..=self.high + NEAR).contains(&log) && (labelled || every == 1);
            shown.then(|| Tick { at: self.at_log(log), label: labelled.then(|| decimal_label(digit, power)) })
        });
        ticks.collect()
    }
}

/// 2 to this power as sizes are written: 8, 64K, 1M.
fn size_label(power: u32) -> String {
    const UNITS: [&str; 7] = ["", "K", "M", "G", "T", "P", "E"];
    format!("{}{}", 1_u32 << (power % 10), UNITS[(power / 10) as usize])
}

/// The digit times this power of ten, short enough for the margin of a chart.
fn decimal_label(digit: u32, power: i32) -> String {
    match power {
        0..=4 => format!("{digit}{}", "0".repeat(power as usize)),
        -3..0 => format!("0.{}{digit}", "0".repeat((-power - 1) as usize)),
        _ if digit == 1 => format!("10{}", raised(power)),
        _ => format!("{digit}·10{}", raised(power)),
    }
}

/// The number as an exponent is written.
fn raised(number: i32) -> String {
    let raise = |letter: char| match letter.to_digit(10) {
        Some(digit) => ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'][digit as usize],
        None => '⁻',
    };
    number.to_string().chars().map(raise).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(base: Base, values: &[f64]) -> Axis {
        Axis::covering(base, values.iter().copied(), 0.0, 300.0).expect("some value has a place")
    }

    fn labels(axis: &Axis) -> Vec<String> {
        axis.ticks().into_iter().filter_map(|tick| tick.label).collect()
    }

    #[test]
    fn known_numbers_stand_where_they_must() {
        let decades = axis(Base::Ten, &[1.0, 1000.0]);
        for (value, at) in [(1.0, 0.0), (10.0, 100.0), (100.0, 200.0), (1000.0, 300.0), (2.0, 30.103), (50.0, 169.897)]
        {
            assert!((decades.at(value) - at).abs() < 1e-4, "{value} stands at {}", decades.at(value));
        }
        let sizes = axis(Base::Two, &[8.0, 64.0, 262_144.0]);
        for (value, at) in [(8.0, 0.0), (64.0, 60.0), (256.0, 100.0), (262_144.0, 300.0)] {
            assert!((sizes.at(value) - at).abs() < 1e-9, "{value} stands at {}", sizes.at(value));
        }
    }

    #[test]
    fn larger_values_stand_further_on_and_all_are_inside() {
        let extreme = [5e-324, 1e-100, 1e-7, 0.4, 1.0, 3.0, 9.99, 500.0, 12_345.0, 1e20, f64::MAX];
        for base in [Base::Two, Base::Ten] {
            for first in 0..extreme.len() {
                for last in first..extreme.len() {
                    let values = &extreme[first..=last];
                    let axis = Axis::covering(base, values.iter().copied(), 300.0, 0.0).expect("all have a place");
                    let places: Vec<f64> = values.iter().map(|&value| axis.at(value)).collect();
                    assert!(
                        places.iter().all(|&at| (-1e-6..=300.0 + 1e-6).contains(&at)),
                        "{base:?} {values:?} {places:?}"
                    );
                    assert!(places.windows(2).all(|pair| pair[0] > pair[1]), "{base:?} {values:?} {places:?}");
                }
            }
        }
    }

    #[test]
    fn what_has_no_place_is_passed_over() {
        let without = [0.0, -0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        assert!(Axis::covering(Base::Ten, without.into_iter(), 0.0, 300.0).is_none());
        let with = axis(Base::Ten, &[without.as_slice(), &[1.0, 100.0]].concat());
        assert!((with.at(10.0) - 150.0).abs() < 1e-9);
    }

    #[test]
    fn one_value_stands_between_two_labels() {
        for value in [1.0, 2.0, 5.0, 7.0, 1e-9, 500.0, 1000.0] {
            for base in [Base::Two, Base::Ten] {
                let axis = axis(base, &[value]);
                assert!((50.0..250.0).contains(&axis.at(value)), "{base:?} {value} stands at {}", axis.at(value));
            }
            assert!(labels(&axis(Base::Ten, &[value])).len() >= 2);
        }
        assert_eq!(labels(&axis(Base::Two, &[1024.0])), ["512", "1K", "2K"]);
        assert_eq!(labels(&axis(Base::Two, &[1100.0, 1900.0])), ["1K", "2K"]);
    }

    #[test]
    fn labels_are_round_and_few() {
        assert_eq!(labels(&axis(Base::Ten, &[0.3, 12.0])), ["0.2", "0.5", "1", "2", "5", "10", "20"]);
        assert_eq!(labels(&axis(Base::Ten, &[3.0, 40_000.0])), ["10", "100", "1000", "10000"]);
        assert_eq!(labels(&axis(Base::Ten, &[2e5, 4e5])), ["2·10⁵", "5·10⁵"]);
        assert_eq!(labels(&axis(Base::Ten, &[1e-12, 1e-3])), ["10⁻¹²", "10⁻¹⁰", "10⁻⁸", "10⁻⁶", "10⁻⁴"]);
        let sizes = ["8", "64", "512", "4K", "32K", "256K", "2M", "16M", "128M"];
        assert_eq!(labels(&axis(Base::Two, &[8.0, f64::from(128 << 20)])), sizes);
        assert_eq!(labels(&axis(Base::Two, &[1.0, u64::MAX as f64])), ["1", "1K", "1M", "1G", "1T", "1P", "1E"]);
        for high in 1..300 {
            let axis = axis(Base::Ten, &[1e-7, 10_f64.powi(high)]);
            let found = labels(&axis).len();
            assert!((4..=MOST_LABELS as usize + 1).contains(&found), "{found} labels up to 1e{high}");
        }
    }

    #[test]
    fn a_round_number_is_its_own_end_of_the_axis() {
        for power in -20..20 {
            for digit in [1, 2, 5] {
                let value = |power: i32| format!("{digit}e{power}").parse::<f64>().expect("a number");
                let axis = axis(Base::Ten, &[value(power), value(power + 1)]);
                assert_eq!(labels(&axis).len(), 4, "{digit}e{power}");
                assert!(axis.at(value(power)).abs() < 1e-6 && (axis.at(value(power + 1)) - 300.0).abs() < 1e-6);
            }
        }
    }
}

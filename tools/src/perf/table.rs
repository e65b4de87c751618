//! The result table, column for column as nccl-tests prints it, because people's scripts read it.
//!
//! Pure: numbers in, text out. It measures and prints nothing.

use crate::perf::collective::Collective;
use crate::perf::data::Reduction;
use crate::perf::timestamp::{FORMAT, utc};
use serried::DataType;
use std::time::SystemTime;

/// What one half of a row (out of place, or in place) found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Half {
    /// Microseconds a call.
    pub(crate) time_us: f64,
    /// Bytes of the message over the time, in units of 1e9 bytes a second.
    pub(crate) alg_bw: f64,
    /// `alg_bw` times the collective's factor: what each link carries.
    pub(crate) bus_bw: f64,
    /// Wrong elements over all ranks; `None` when nothing was checked.
    pub(crate) wrong: Option<u64>,
}

/// The left part of a row: which work was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Work {
    /// The collective.
    pub(crate) collective: Collective,
    /// Whole elements of the message or of a block.
    pub(crate) count: u64,
    /// How many ranks there are.
    pub(crate) ranks: u32,
    /// The elements' type.
    pub(crate) data_type: DataType,
    /// What is done with them.
    pub(crate) reduction: Reduction,
    /// The root, where there is one.
    pub(crate) root: Option<u32>,
}

impl Work {
    /// The bytes of the message or of all blocks: the asked size, rounded down to whole elements.
    pub(crate) fn bytes(&self) -> u64 {
        self.collective.bytes(self.count, self.data_type.size(), self.ranks)
    }

    /// The root as nccl-tests prints it: −1 for none.
    pub(crate) fn root_number(&self) -> i64 {
        self.root.map_or(-1, i64::from)
    }
}

/// Which clock the time column shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeColumn {
    /// Time that passed.
    Wall,
    /// CPU time of the calling thread.
    Cpu,
}

/// Whether rows end with the time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stamps {
    /// No.
    Without,
    /// Yes, in UTC.
    With,
}

/// The lines above the rows.
pub(crate) fn header(time: TimeColumn, stamps: Stamps) -> String {
    let time = match time {
        TimeColumn::Wall => "time",
        TimeColumn::Cpu => "cputime",
    };
    let (pad, name, form) = match stamps {
        Stamps::Without => (0, "", ""),
        Stamps::With => (19, "timestamp", FORMAT),
    };
    let half = format!("{time:>7}  {:>6}  {:>6}  {:>6}", "algbw", "busbw", "#wrong");
    let units = format!("{:>7}  {:>6}  {:>6}  {:>6}", "(us)", "(GB/s)", "(GB/s)", "");
    let left = |size, count, kind, op, root| format!("# {size:>10}  {count:>12}  {kind:>8}  {op:>6}  {root:>6}");
    format!(
        "#\n{}           out-of-place                       in-place          \n{}  {half}  {half} {name:>pad$}\n{}  {units}  {units} {form:>pad$}\n",
        left("", "", "", "", ""),
        left("size", "count", "type", "redop", "root"),
        left("(B)", "(elements)", "", "", ""),
    )
}

/// One row, with its end of line. A half that was not measured (not everything exists in and out of place) is N/A in every column.
pub(crate) fn row(work: &Work, halves: [Option<&Half>; 2], stamp: Option<SystemTime>) -> String {
    let (data_type, op, root) = (work.data_type.name(), work.reduction.name(), work.root_number());
    let left = format!("{:>12}  {:>12}  {data_type:>8}  {op:>6}  {root:>6}", work.bytes(), work.count);
    let stamp = stamp.map_or_else(String::new, |now| format!("{:>21}", utc(now)));
    format!("{left}{}{}{stamp}\n", half(halves[0]), half(halves[1]))
}

/// The lines below the rows: `failed_halves` had wrong elements, and `least_bus_bw` is what the average must reach nine
/// tenths of, if anything was asked for.
pub(crate) fn footer(failed_halves: u64, bus_bw: f64, least_bus_bw: Option<f64>) -> String {
    let bounds = if failed_halves == 0 { "OK" } else { "FAILED" };
    let verdict = match least_bus_bw {
        None => "",
        Some(least) if reaches(bus_bw, least) => "OK",
        Some(_) => "FAILED",
    };
    let (first, second) = ("Out of bounds values", "Avg bus bandwidth");
    format!("# {first:<20} : {failed_halves} {bounds}\n# {second:<20} : {} {verdict}\n#\n", general(bus_bw))
}

/// Whether an average bus bandwidth is enough: nine tenths of what was asked for, as in nccl-tests.
pub(crate) fn reaches(bus_bw: f64, least: f64) -> bool {
    bus_bw >= 0.9 * least
}

fn half(half: Option<&Half>) -> String {
    let Some(half) = half else {
        return format!("  {:>7}  {:>6}  {:>6}  {:>6}", "N/A", "N/A", "N/A", "N/A");
    };
    let wrong = half.wrong.map_or_else(|| "N/A".to_owned(), |wrong| general(wrong as f64));
    format!("  {}  {}  {}  {wrong:>6}", fixed(half.time_us, 7), fixed(half.alg_bw, 6), fixed(half.bus_bw, 6))
}

/// A number in `width` places with as many decimals (two, one, none) as fit; then with an exponent.
fn fixed(value: f64, width: usize) -> String {
    if !value.is_finite() {
        return format!("{value:>width$}");
    }
    let digits = (0..20).find(|&digits| value < 10_f64.powi(digits)).unwrap_or(20) as usize;
    let decimals = match digits {
        _ if digits + 2 < width => 2,
        _ if digits + 1 < width => 1,
        _ if digits <= width => 0,
        _ => return format!("{:>width$}", exponent(value, if width >= 7 { 1 } else { 0 })),
    };
    // Rounding can add a digit (999.999 becomes 1000.00): the column must not move, so a decimal goes.
    (0..=decimals)
        .rev()
        .map(|decimals| format!("{value:>width$.decimals$}"))
        .find(|text| text.len() <= width)
        .unwrap_or_else(|| format!("{:>width$}", exponent(value, 0)))
}

/// C's `%g`: six significant digits, no trailing zeros, an exponent outside 1e-4..1e6.
fn general(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let scientific = exponent(value, 5);
    let (mantissa, power) = scientific.split_once('e').expect("exponent() writes an e");
    let power: i32 = power.parse().expect("exponent() writes a number after the e");
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if (-4..6).contains(&power) {
        trim(&format!("{value:.*}", usize::try_from(5 - power).expect("power is below 6")))
    } else {
        format!("{}e{}{:02}", trim(mantissa), if power < 0 { '-' } else { '+' }, power.abs())
    }
}

/// C's `%e`: at least two digits of exponent, always with a sign.
fn exponent(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$e}");
    let (mantissa, power) = text.split_once('e').expect("Rust's {:e} writes an e");
    let power: i32 = power.parse().expect("Rust's {:e} writes a number after the e");
    format!("{mantissa}e{}{:02}", if power < 0 { '-' } else { '+' }, power.abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    use serried::Op;

    const SMALL: Work = Work {
        collective: Collective::AllReduce,
        count: 2,
        ranks: 2,
        data_type: DataType::F32,
        reduction: Reduction::Op(Op::Sum),
        root: None,
    };
    const HALF: Half = Half { time_us: 10.12, alg_bw: 0.0008, bus_bw: 0.0008, wrong: Some(0) };

    #[test]
    fn header_is_nccl_tests_byte_for_byte() {
        let expected = "#\n\
            #                                                              out-of-place                       in-place          \n\
            #       size         count      type   redop    root     time   algbw   busbw  #wrong     time   algbw   busbw  #wrong \n\
            #        (B)    (elements)                               (us)  (GB/s)  (GB/s)             (us)  (GB/s)  (GB/s)         \n";
        assert_eq!(header(TimeColumn::Wall, Stamps::Without), expected);
        let stamped = header(TimeColumn::Cpu, Stamps::With);
        assert!(stamped.contains(
            "    root  cputime   algbw   busbw  #wrong  cputime   algbw   busbw  #wrong           timestamp\n"
        ));
        assert!(stamped.ends_with("(us)  (GB/s)  (GB/s)           %Y-%m-%d %H:%M:%S\n"), "{stamped}");
    }

    #[test]
    fn rows_are_nccl_tests_byte_for_byte() {
        let in_place = Half { time_us: 10.02, wrong: None, ..HALF };
        assert_eq!(
            row(&SMALL, [Some(&HALF), Some(&in_place)], None),
            "           8             2     float     sum      -1    10.12    0.00    0.00       0    10.02    0.00    0.00     N/A\n"
        );
        let work = Work { count: 67_108_864, data_type: DataType::Bf16, reduction: Reduction::Op(Op::Prod), ..SMALL };
        let large = Half { time_us: 123_456.7, alg_bw: 1087.154, bus_bw: 2038.4, wrong: Some(1_234_567) };
        assert_eq!(
            row(&work, [None, Some(&large)], Some(UNIX_EPOCH + Duration::from_secs(86_400))),
            "   134217728      67108864  bfloat16    prod      -1      N/A     N/A     N/A     N/A   123457  1087.2  2038.4  1.23457e+06  1970-01-02 00:00:00\n"
        );
    }

    #[test]
    fn blocks_and_roots_have_their_columns() {
        let work = Work {
            collective: Collective::Gather,
            count: 3,
            ranks: 4,
            root: Some(2),
            reduction: Reduction::None,
            ..SMALL
        };
        assert!(
            row(&work, [Some(&HALF), None], None)
                .starts_with("          48             3     float    none       2    10.12")
        );
    }

    #[test]
    fn numbers_keep_their_column() {
        for (value, text) in [
            (0.0, "   0.00"),
            (0.036, "   0.04"),
            (9999.99, "9999.99"),
            (9999.999, "10000.0"),
            (10_000.0, "10000.0"),
            (99_999.96, " 100000"),
            (1_234_567.0, "1234567"),
            (9_999_999.7, "  1e+07"),
            (12_345_678.0, "1.2e+07"),
        ] {
            assert_eq!(fixed(value, 7), text, "{value}");
        }
        for (value, text) in [(999.994, "999.99"), (999.999, "1000.0"), (12_345.6, " 12346"), (1e7, " 1e+07")] {
            assert_eq!(fixed(value, 6), text, "{value}");
        }
        assert_eq!(fixed(f64::INFINITY, 6).len(), 6);
    }

    #[test]
    fn general_is_cs_percent_g() {
        for (value, text) in [
            (0.0, "0"),
            (7.0, "7"),
            (123.456, "123.456"),
            (123.456_789, "123.457"),
            (999_999.0, "999999"),
            (1_000_000.0, "1e+06"),
            (1_234_567.0, "1.23457e+06"),
            (0.001_25, "0.00125"),
            (0.000_012_5, "1.25e-05"),
            (999_999.9, "1e+06"),
        ] {
            assert_eq!(general(value), text);
        }
    }

    #[test]
    fn footer_says_whether_the_run_is_good() {
        assert_eq!(footer(0, 123.456, None), "# Out of bounds values : 0 OK\n# Avg bus bandwidth    : 123.456 \n#\n");
        assert_eq!(
            footer(2, 8.9, Some(10.0)),
            "# Out of bounds values : 2 FAILED\n# Avg bus bandwidth    : 8.9 FAILED\n#\n"
        );
        assert!(footer(0, 9.0, Some(10.0)).contains(" : 9 OK\n"));
    }
}

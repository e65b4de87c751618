//! Message sizes: how they are written on the command line, and the series of them that a run goes through.
//!
//! Pure: text and numbers only.

/// Where the series goes on after a row of 0 bytes when it grows by a factor (0 times anything stays 0).
const FIRST_AFTER_ZERO: u64 = 8;

/// Reads a size as nccl-tests writes it: a number, whole or not, and perhaps K, M, G or T (powers of 1024).
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let refuse =
        || format!("{text:?} is not a size: write bytes, with K, M, G or T if you like, for example 8, 64K or 1.5M");
    let trimmed = text.trim();
    let (number, shift) = match trimmed.char_indices().next_back() {
        Some((at, 'k' | 'K')) => (&trimmed[..at], 10),
        Some((at, 'm' | 'M')) => (&trimmed[..at], 20),
        Some((at, 'g' | 'G')) => (&trimmed[..at], 30),
        Some((at, 't' | 'T')) => (&trimmed[..at], 40),
        _ => (trimmed, 0),
    };
    let number = number.trim_end();
    let unit = 1_u64 << shift;
    let too_large = || format!("{text:?} is larger than any memory");
    if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) {
        return number.parse::<u64>().ok().and_then(|whole| whole.checked_mul(unit)).ok_or_else(too_large);
    }
    // Digits, a point and an exponent only: `parse` alone would also take "inf" and "nan".
    let plain = number.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+'));
    let value = number.parse::<f64>().ok().filter(|_| plain).ok_or_else(refuse)? * unit as f64;
    if value >= u64::MAX as f64 { Err(too_large()) } else { Ok(value as u64) }
}

/// A size in the shortest form that [`parse_size`] reads back: 128M rather than 134217728.
pub(crate) fn short_size(bytes: u64) -> String {
    for (shift, unit) in [(40, "T"), (30, "G"), (20, "M"), (10, "K")] {
        if bytes >= 1 << shift && bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

/// How one size follows another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Growth {
    /// Times this, which is at least 2.
    Factor(u64),
    /// Plus this many bytes, which is at least 1.
    Bytes(u64),
}

/// The sizes from `first` to `last`, both included where the growth meets them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// The first size in bytes.
    pub(crate) first: u64,
    /// The size in bytes that none exceeds.
    pub(crate) last: u64,
    /// The way from one to the next.
    pub(crate) growth: Growth,
}

impl Sizes {
    /// The sizes in bytes, ascending.
    pub(crate) fn iter(self) -> impl Iterator<Item = u64> {
        let next = move |&size: &u64| match self.growth {
            Growth::Factor(_) if size == 0 => Some(FIRST_AFTER_ZERO),
            Growth::Factor(factor) => size.checked_mul(factor),
            Growth::Bytes(bytes) => size.checked_add(bytes),
        };
        std::iter::successors(Some(self.first), next).take_while(move |&size| size <= self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_nccl_tests_reads_them() {
        for (text, bytes) in [
            ("0", 0),
            ("8", 8),
            ("1K", 1024),
            ("64k", 65_536),
            ("1M", 1 << 20),
            ("128M", 128 << 20),
            ("1.5M", 3 << 19),
            ("0.5K", 512),
            ("4G", 4 << 30),
            ("6g", 6 << 30),
            ("1T", 1 << 40),
            ("1e6", 1_000_000),
            (" 16 ", 16),
            ("16 K", 16_384),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused_in_one_sentence() {
        for text in ["", "K", "-1", "8B", "12Q", "inf", "nan", "0x10", "1..2", "1 2", "infK", "99999999T", "1e99", "é"]
        {
            let why = parse_size(text).expect_err(text);
            assert!(why.contains(text) && !why.contains('\n'), "{why}");
        }
    }

    #[test]
    fn the_short_form_reads_back() {
        for bytes in [0, 1, 8, 1023, 1024, 1536, 1 << 20, 3 << 19, 128 << 20, 5 << 30, (5 << 30) + 1, 1 << 40, u64::MAX]
        {
            assert_eq!(parse_size(&short_size(bytes)), Ok(bytes));
        }
        assert_eq!(short_size(128 << 20), "128M");
    }

    #[test]
    fn a_series_ends_at_its_last_size_and_passes_zero() {
        let series = |first, last, growth| Sizes { first, last, growth }.iter().collect::<Vec<_>>();
        assert_eq!(series(8, 64, Growth::Factor(2)), [8, 16, 32, 64]);
        assert_eq!(series(8, 63, Growth::Factor(2)), [8, 16, 32]);
        assert_eq!(series(0, 64, Growth::Factor(4)), [0, 8, 32]);
        assert_eq!(series(0, 0, Growth::Factor(2)), [0]);
        assert_eq!(series(0, 24, Growth::Bytes(8)), [0, 8, 16, 24]);
        assert_eq!(series(1 << 63, u64::MAX, Growth::Factor(2)), [1 << 63], "no overflow at the end of the numbers");
        assert_eq!(series(u64::MAX, u64::MAX, Growth::Bytes(1)), [u64::MAX]);
    }
}

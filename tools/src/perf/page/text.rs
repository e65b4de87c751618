//! How numbers and names are written into the page.

/// Two decimals as nccl-tests prints them, but of a small number its first four digits.
pub(super) fn number(value: f64) -> String {
    let magnitude = value.abs().log10().floor();
    if value == 0.0 {
        "0".to_owned()
    } else if !value.is_finite() {
        value.to_string()
    } else if (0.0..12.0).contains(&magnitude) {
        format!("{value:.2}")
    } else if (-6.0..0.0).contains(&magnitude) {
        format!("{value:.*}", (3.0 - magnitude) as usize)
    } else {
        format!("{value:.3e}")
    }
}

/// The text as it may stand between tags and inside a quoted attribute.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            '\n' => escaped.push(letter),
            // HTML and XML have no way to write these.
            control if control.is_control() || matches!(control, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            _ => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_what_matters() {
        for (value, text) in [
            (0.0, "0"),
            (12.345, "12.35"),
            (1.0, "1.00"),
            (0.012_345, "0.01235"),
            (98_765.432, "98765.43"),
            (1e-9, "1.000e-9"),
            (1e300, "1.000e300"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}

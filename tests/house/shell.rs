//! Shell scripts: they begin by saying what they are for, and their functions fit a screen. What else can be wrong with them,
//! shellcheck knows.

use crate::{Violation, naming, size};

/// Whether the file is a script, which its first line tells.
pub(crate) fn is_script(text: &str) -> bool {
    text.lines().next().is_some_and(|first| first.starts_with("#!") && first.ends_with("sh"))
}

/// Every rule for the script.
pub(crate) fn script_is_clean(path: &str, text: &str) -> Vec<Violation> {
    begins_with_its_purpose(path, text).into_iter().chain(functions_are_short(path, text)).collect()
}

/// Below the first line, and what shellcheck is told, a comment says what the script is for.
fn begins_with_its_purpose(path: &str, text: &str) -> Option<Violation> {
    let mut below = text.lines().skip(1).skip_while(|line| line.starts_with("# shellcheck "));
    let purpose = below.next().and_then(|line| line.strip_prefix("# ")).unwrap_or_default();
    (purpose.chars().count() < naming::PURPOSE_CHARS_MIN).then(|| {
        Violation::new(path, 2, "begin with a comment, below the first line, that says what the script is for")
    })
}

/// No function, from its name to the closing brace below it, is longer than [`size::FUNCTION_LINES_MAX`].
fn functions_are_short(path: &str, text: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut open: Option<(&str, usize)> = None;
    for (index, line) in text.lines().enumerate() {
        if let Some(name) = line.strip_suffix("() {").filter(|name| !name.contains(' ')) {
            open = Some((name, index));
        } else if line == "}"
            && let Some((name, first)) = open.take()
        {
            let lines = index - first + 1;
            if lines > size::FUNCTION_LINES_MAX {
                let what = format!("{name} has {lines} lines, more than {}: name its parts", size::FUNCTION_LINES_MAX);
                violations.push(Violation::new(path, first + 1, what));
            }
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        script_is_clean("run", text).into_iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn scripts_are_told_by_their_first_line() {
        assert!(is_script("#!/usr/bin/env bash\n"));
        assert!(is_script("#!/bin/busybox sh\n"));
        assert!(!is_script("#![deny(x)]\nsh\n"));
        assert!(!is_script("#!/usr/bin/env python3\n"));
        assert!(!is_script(""));
    }

    #[test]
    fn a_script_without_a_purpose_is_found() {
        assert_eq!(lines("#!/bin/sh\n# Prints the devices.\n"), [0; 0]);
        assert_eq!(lines("#!/bin/sh\n# shellcheck shell=dash\n# Prints the devices.\n"), [0; 0]);
        for text in ["#!/bin/sh\n", "#!/bin/sh\nset -e\n# Prints the devices.\n", "#!/bin/sh\n# Devices.\n"] {
            assert_eq!(lines(text), [2], "{text:?}");
        }
    }

    #[test]
    fn a_long_function_is_found_to_the_line() {
        let with_body = |lines: usize| {
            format!("#!/bin/sh\n# Prints the devices.\nmain() {{\n{}}}\nx() {{\n}}\n", "    x\n".repeat(lines))
        };
        assert_eq!(lines(&with_body(size::FUNCTION_LINES_MAX - 2)), [0; 0]);
        assert_eq!(lines(&with_body(size::FUNCTION_LINES_MAX - 1)), [3]);
    }
}

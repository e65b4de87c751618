//! What "pure" means for the core: types and schedules reach for no clock, no I/O, no thread, no process; schedules allocate
//! nothing either. So the proof, the simulator and the tuner run exactly what the engine runs.

use crate::{Source, Violation};

/// Parts of `std` that touch the world or remember something.
const EFFECTS: [&str; 11] = ["cell", "env", "fs", "io", "net", "os", "process", "ptr", "sync", "thread", "time"];

/// Crates that do.
const EFFECT_CRATES: [&str; 9] =
    ["blake3", "crossbeam_utils", "getrandom", "libc", "libloading", "rustix", "socket2", "tokio", "tracing"];

/// Types and macros that allocate.
const ALLOCATIONS: [&str; 12] =
    ["Arc", "BTreeMap", "BTreeSet", "Box", "HashMap", "HashSet", "Rc", "String", "Vec", "VecDeque", "format", "vec"];

/// Macros that write to the process' output.
const PRINTS: [&str; 4] = ["eprint", "eprintln", "print", "println"];

/// The proof executes schedules and keeps books about them; it is no schedule.
const PROOF: &str = "src/schedule/proof";

/// `types` and `schedule` have no effects, and schedules allocate nothing.
pub(crate) fn pure_modules_touch_nothing(source: &Source) -> Vec<Violation> {
    let is_schedule = source.path.starts_with("src/schedule/");
    if !is_schedule && !source.path.starts_with("src/types/") {
        return Vec::new();
    }
    let must_not_allocate = is_schedule && !source.path.starts_with(PROOF);
    let mut violations = Vec::new();
    for (at, token) in source.tokens.iter().enumerate().filter(|(_, token)| !source.is_test(token.line)) {
        let word = token.text.as_str();
        let is_path_root = at == 0 || source.text(at - 1) != "::";
        let leads_on = source.text(at + 1) == "::";
        let effect = (EFFECT_CRATES.contains(&word) && is_path_root && leads_on)
            || (matches!(word, "std" | "core") && leads_on && reaches_effect(source, at + 2))
            || (PRINTS.contains(&word) && source.text(at + 1) == "!");
        let is_macro_name = matches!(word, "format" | "vec");
        let allocation = ALLOCATIONS.contains(&word) && (!is_macro_name || source.text(at + 1) == "!");
        if effect {
            let what = format!("`{word}` reaches out of the pure core: pass in what it would fetch");
            violations.push(Violation::new(&source.path, token.line, what));
        } else if allocation && must_not_allocate {
            let what = format!("`{word}` allocates in a schedule: compute it from rank, size and step");
            violations.push(Violation::new(&source.path, token.line, what));
        }
    }
    violations
}

/// Whether the path that goes on at `at`, after `std::`, is a list or a module with effects.
fn reaches_effect(source: &Source, at: usize) -> bool {
    if source.text(at) != "{" {
        return EFFECTS.contains(&source.text(at));
    }
    let end = source.close(at);
    (at + 1..end).any(|k| matches!(source.text(k - 1), "{" | ",") && EFFECTS.contains(&source.text(k)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        let source = Source::parse(path, text).expect("the sample is Rust");
        pure_modules_touch_nothing(&source).into_iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn effects_in_the_core_are_found() {
        for text in [
            "use std::time::Instant;",
            "use std::{fmt, thread};",
            "fn f() { std::env::var(x) }",
            "use tokio::net::X;",
            "fn f() { rustix::fs::open() }",
            "fn f() { println!() }",
            "use core::cell::Cell;",
        ] {
            assert_eq!(lines("src/schedule/ring.rs", &format!("\n{text}\n")), [2], "{text}");
            assert_eq!(lines("src/types/op.rs", &format!("\n{text}\n")), [2], "{text}");
            assert_eq!(lines("src/engine/lane.rs", &format!("\n{text}\n")), [0; 0], "{text}");
        }
    }

    #[test]
    fn allocations_are_found_in_schedules_only() {
        for text in
            ["fn f() -> Vec<u8> {}", "fn f() { vec![0] }", "use std::collections::HashMap;", "fn f() { format!() }"]
        {
            assert_eq!(lines("src/schedule/ring.rs", &format!("\n{text}\n")), [2], "{text}");
            for spared in
                ["src/types/op.rs", "src/schedule/proof.rs", "src/schedule/proof/symbols.rs", "src/engine/lane.rs"]
            {
                assert_eq!(lines(spared, text), [0; 0], "{spared}: {text}");
            }
        }
    }

    #[test]
    fn what_is_pure_is_spared() {
        for text in [
            "use std::fmt;",
            "use std::{cmp::Ordering, ops};",
            "fn time(io: u32) -> u32 { env(io) }",
            "/// [`std::time`]\nfn f() {}",
            "#[cfg(test)]\nmod tests { use std::time::Instant; fn f() { vec![1]; } }",
            "fn format() {}",
        ] {
            assert_eq!(lines("src/schedule/ring.rs", text), [0; 0], "{text}");
        }
    }
}

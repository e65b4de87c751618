//! Words that must not stand in the code: unfinished places, ignored tests, tests that sleep and hope.

use crate::{Source, Violation};

/// Macros that mark a place as not done.
const UNFINISHED: [&str; 3] = ["todo", "unimplemented", "dbg"];

/// No `todo!`, `unimplemented!` or `dbg!` anywhere, tests and macros included.
pub(crate) fn nothing_is_left_to_do(source: &Source) -> Vec<Violation> {
    (0..source.tokens.len())
        .filter(|&at| UNFINISHED.contains(&source.text(at)) && source.text(at + 1) == "!" && source.text(at + 2) != "=")
        .map(|at| {
            let what = format!("`{}!`: finish it, or take it out", source.text(at));
            Violation::new(&source.path, source.tokens[at].line, what)
        })
        .collect()
}

/// No test is switched off: one that cannot run prints `skipped: NAME: why`, which CI judges.
pub(crate) fn no_test_is_ignored(source: &Source) -> Vec<Violation> {
    let mut violations = Vec::new();
    for at in (0..source.tokens.len()).filter(|&at| source.matches(at, &["#", "["])) {
        let attribute = at + 2..source.close(at + 1);
        let conditional = source.text(at + 2) == "cfg_attr" && attribute.clone().any(|k| source.text(k) == "ignore");
        if source.text(at + 2) == "ignore" || conditional {
            let what = "no `#[ignore]`: run it, delete it, or let it print `skipped: NAME: why` where it cannot run";
            violations.push(Violation::new(&source.path, source.tokens[at].line, what));
        }
    }
    violations
}

/// A test that sleeps says why in a `// why:` comment on the line or right above: waiting for something is no reason.
pub(crate) fn no_test_sleeps_without_a_reason(source: &Source) -> Vec<Violation> {
    (0..source.tokens.len())
        .filter(|&at| is_sleep(source, at) && source.is_test(source.tokens[at].line))
        .map(|at| source.tokens[at].line)
        .filter(|&line| !gives_reason(source, line))
        .map(|line| {
            let what = "a test sleeps: wait for the thing itself, or say `// why:` right above";
            Violation::new(&source.path, line, what)
        })
        .collect()
}

/// Whether token `at` calls the clock's sleep: by its module, or by a name that the file imports from there.
fn is_sleep(source: &Source, at: usize) -> bool {
    let word = source.text(at);
    if !matches!(word, "sleep" | "sleep_until") || source.text(at + 1) != "(" {
        return false;
    }
    let before = |back: usize| at.checked_sub(back).map_or("", |before| source.text(before));
    match before(1) {
        "." | "fn" => false,
        "::" => matches!(before(2), "thread" | "time"),
        _ => source.imports().iter().any(|path| {
            path.ends_with(&["thread".into(), word.into()]) || path.ends_with(&["time".into(), word.into()])
        }),
    }
}

fn gives_reason(source: &Source, line: usize) -> bool {
    let same = source.lines[line - 1].contains("// why:");
    let above = source.lines_above(line).any(|above| above.starts_with("// why:"));
    same || above
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(rule: crate::RustRule, path: &str, text: &str) -> Vec<usize> {
        rule(&Source::parse(path, text).expect("the sample is Rust"))
            .into_iter()
            .map(|violation| violation.line)
            .collect()
    }

    #[test]
    fn unfinished_places_are_found_in_code_and_not_in_text() {
        let text = "fn f() {\n    todo!()\n}\nfn g() { let dbg = 1; h(\"todo!()\"); dbg != 2 }\nfn i() { dbg!(unimplemented!()) }\n";
        assert_eq!(lines(nothing_is_left_to_do, "src/a.rs", text), [2, 5, 5]);
    }

    #[test]
    fn ignored_tests_are_found_in_every_spelling() {
        let text = "#[test]\n#[ignore]\nfn a() {}\n#[ignore = \"slow\"]\nfn b() {}\n#[cfg_attr(debug_assertions, ignore)]\nfn c() {}\n";
        assert_eq!(lines(no_test_is_ignored, "tests/a.rs", text), [2, 4, 6]);
        assert_eq!(lines(no_test_is_ignored, "tests/a.rs", "/// ```ignore\nfn ignore() { ignore() }\n"), [0; 0]);
    }

    #[test]
    fn a_test_that_sleeps_must_say_why() {
        let text = concat!(
            "use tokio::time::{Duration, sleep};\n",
            "fn a() { std::thread::sleep(x) }\n",
            "fn b() { tokio::time::sleep(x).await; sleep(y) }\n",
            "// why: the point of the test is a silence of this length\n",
            "fn c() { thread::sleep(x); poller.sleep(x); Link::sleep(y) }\n",
            "fn d() {}\nfn sleep() {}\n"
        );
        assert_eq!(lines(no_test_sleeps_without_a_reason, "tests/a.rs", text), [2, 3, 3]);
        assert_eq!(lines(no_test_sleeps_without_a_reason, "src/a.rs", text), [0; 0]);
        // A function that only shares the name waits for something.
        assert_eq!(
            lines(no_test_sleeps_without_a_reason, "tests/a.rs", "use super::sleep;\nfn a() { sleep(word) }\n"),
            [0; 0]
        );
        let inner = format!("#[cfg(test)]\nmod tests {{\n{text}}}\n");
        assert_eq!(lines(no_test_sleeps_without_a_reason, "src/a.rs", &inner), [4, 5, 5]);
    }
}

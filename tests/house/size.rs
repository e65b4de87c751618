//! How long a file and a function may be.

use crate::{Source, Violation, shell};

/// A file is one idea; past this it is two.
const FILE_LINES_MAX: usize = 500;

/// A function that does not fit a screen is read in pieces, and reviewed in none.
pub(crate) const FUNCTION_LINES_MAX: usize = 70;

/// What counts as source: documents, data and lock files may be as long as they need.
const SOURCE_SUFFIXES: [&str; 5] = [".rs", ".c", ".h", ".py", ".sh"];

/// No source file is longer than [`FILE_LINES_MAX`].
pub(crate) fn file_is_short(path: &str, text: &str) -> Option<Violation> {
    let lines = text.lines().count();
    let is_source = SOURCE_SUFFIXES.iter().any(|suffix| path.ends_with(suffix)) || shell::is_script(text);
    (is_source && lines > FILE_LINES_MAX)
        .then(|| Violation::new(path, lines, format!("{lines} lines, more than {FILE_LINES_MAX}: split it by idea")))
}

/// No function, from `fn` to its closing brace, is longer than [`FUNCTION_LINES_MAX`], macro bodies included.
pub(crate) fn functions_are_short(source: &Source) -> Vec<Violation> {
    let mut violations = Vec::new();
    for at in (0..source.tokens.len()).filter(|&at| source.text(at) == "fn") {
        let Some((name, body)) = body(source, at) else { continue };
        let first = source.tokens[at].line;
        let lines = source.tokens[source.close(body)].line - first + 1;
        if lines > FUNCTION_LINES_MAX {
            let what = format!("fn {name} has {lines} lines, more than {FUNCTION_LINES_MAX}: name its parts");
            violations.push(Violation::new(&source.path, first, what));
        }
    }
    violations
}

/// The name of the function at `at` and the index of its body's brace; `None` for pointer types and bodiless declarations.
fn body(source: &Source, at: usize) -> Option<(String, usize)> {
    let name_at = if source.text(at + 1) == "$" { at + 2 } else { at + 1 };
    let name = source.text(name_at).to_owned();
    if !name.starts_with(|c: char| c.is_alphabetic() || c == '_') {
        return None;
    }
    let mut next = name_at + 1;
    loop {
        match source.text(next) {
            "{" => return Some((name, next)),
            ";" | "" | ")" | "}" | "]" => return None,
            "(" | "[" => next = source.close(next) + 1,
            _ => next += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long_functions(text: &str) -> Vec<usize> {
        let source = Source::parse("src/a.rs", text).expect("the sample is Rust");
        functions_are_short(&source).into_iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn a_long_file_is_found_and_a_document_is_spared() {
        let text = "x\n".repeat(FILE_LINES_MAX);
        assert_eq!(file_is_short("src/a.rs", &text), None);
        let text = text + "x\n";
        assert!(file_is_short("src/a.rs", &text).is_some());
        assert!(file_is_short("ffi/tests/a.c", &text).is_some());
        assert!(file_is_short("tools/run", &format!("#!/bin/sh\n{text}")).is_some());
        assert_eq!(file_is_short("CHANGELOG.md", &text), None);
    }

    #[test]
    fn a_long_function_is_found_to_the_line() {
        let with_body = |lines: usize| format!("\nfn f(x: [u8; 3]) -> u32 {{\n{}}}\n", "    x();\n".repeat(lines));
        assert_eq!(long_functions(&with_body(FUNCTION_LINES_MAX - 2)), [0; 0]);
        assert_eq!(long_functions(&with_body(FUNCTION_LINES_MAX - 1)), [2]);
    }

    #[test]
    fn long_functions_hide_neither_in_impls_nor_in_macros() {
        let long = format!("fn f() {{\n{}}}\n", "    x(\"}\");\n".repeat(FUNCTION_LINES_MAX));
        assert_eq!(long_functions(&format!("impl X {{\n{long}}}\n")), [2]);
        assert_eq!(long_functions(&format!("macro_rules! m {{ () => {{\n{long}}} }}\n")), [2]);
    }

    #[test]
    fn pointer_types_and_declarations_have_no_body() {
        let filler = "const A: u8 = 0;\n".repeat(100);
        assert_eq!(
            long_functions(&format!("struct S {{ f: fn(u8) -> u8 }}\ntrait T {{ fn g(&self); {filler} }}\n")),
            [0; 0]
        );
    }
}

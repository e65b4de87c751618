//! The manual keeps up with the code: a variable that nobody can look up might as well not exist.

use crate::{Source, Violation};

/// The page that lists them.
pub(crate) const PAGE: &str = "src/manual/environment_variables.rs";

/// How the names begin that are ours to document; launchers document theirs.
const PREFIXES: [&str; 2] = ["SERRIED_", "NCCL_"];

/// Every environment variable that the library or a program names in a string is on the manual's page.
pub(crate) fn lists_every_variable(source: &Source, page: &str) -> Vec<Violation> {
    if !(source.path.starts_with("src/")
        || source.path.starts_with("tools/src/")
        || source.path.starts_with("ffi/src/"))
    {
        return Vec::new();
    }
    let literals = source.tokens.iter().filter(|token| !source.is_test(token.line));
    let variables = literals.filter_map(|token| Some((token.line, variable(token.literal.as_deref()?)?)));
    variables
        .filter(|(_, name)| !page.contains(&format!("`{name}`")))
        .map(|(line, name)| {
            Violation::new(&source.path, line, format!("`{name}` is not explained in {PAGE}: add it there"))
        })
        .collect()
}

/// The variable that a string literal names, if that is all it says.
fn variable(literal: &str) -> Option<&str> {
    let name = literal.strip_prefix('"')?.strip_suffix('"')?;
    let rest = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix))?;
    let is_name = !rest.is_empty() && rest.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    is_name.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        let source = Source::parse(path, text).expect("the sample is Rust");
        lists_every_variable(&source, "| `SERRIED_RANK` | `NCCL_DEBUG` |")
            .into_iter()
            .map(|violation| violation.line)
            .collect()
    }

    #[test]
    fn a_variable_that_the_manual_leaves_out_is_found() {
        let text = "fn f() {\n    var(\"SERRIED_RANK\");\n    var(\"SERRIED_RANKS\");\n    [\"NCCL_DEBUG\", \"NCCL_ALGO\"]\n}\n";
        for path in ["src/bootstrap/launch.rs", "tools/src/main.rs", "ffi/src/lib.rs"] {
            assert_eq!(lines(path, text), [3, 4], "{path}");
        }
        assert_eq!(lines("tests/launch.rs", text), [0; 0]);
        assert_eq!(lines("src/a.rs", &format!("#[cfg(test)]\nmod tests {{ {text} }}\n")), [0; 0]);
    }

    #[test]
    fn what_names_no_variable_is_spared() {
        let text =
            "/// `SERRIED_X`\nfn f() { g(\"SERRIED_X=1\", \"SERRIED_\", \"x SERRIED_X\", \"RANK\", SERRIED_X) }\n";
        assert_eq!(lines("src/a.rs", text), [0; 0]);
    }
}

//! Names and places: what stands at the top level, how files begin, which names say nothing, which paths are nobody's business.

use crate::{Source, Violation};

/// The top level is fixed, so that it can be learnt once. Hidden entries, and what git ignores, come besides.
const TOP_LEVEL: [&str; 14] = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "benches",
    "ffi",
    "rustfmt.toml",
    "src",
    "tests",
    "tools",
];

/// Names that say where something was put but not what it is.
const EMPTY_NAMES: [&str; 7] = ["common", "helper", "helpers", "manager", "misc", "util", "utils"];

/// Beginnings of paths that exist on one person's machine only. Written in two parts, so as not to find themselves.
const PRIVATE_PATHS: [&str; 4] =
    [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/Us", "ers/")];

/// The shortest first line that can say what a file is for.
pub(crate) const PURPOSE_CHARS_MIN: usize = 15;

/// Nothing stands at the top level but what [`TOP_LEVEL`] lists, and names that `gitignore` has as they are.
pub(crate) fn top_level_is_fixed(names: &[String], gitignore: &str) -> Vec<Violation> {
    let ignored = |name: &str| gitignore.lines().any(|line| line.trim().trim_matches('/') == name);
    let known = |name: &str| TOP_LEVEL.contains(&name) || name.starts_with('.') || ignored(name);
    let unknown = names.iter().filter(|name| !known(name));
    unknown
        .map(|name| Violation::new(name, 0, "the top level is fixed: move this into src, ffi, tools, benches or tests"))
        .collect()
}

/// No file or directory has a name of [`EMPTY_NAMES`].
pub(crate) fn path_has_telling_names(path: &str) -> Option<Violation> {
    let empty = path.split('/').find(|part| EMPTY_NAMES.contains(&part.split('.').next().unwrap_or(part)))?;
    Some(Violation::new(path, 0, format!("`{empty}` says nothing: name the idea in it")))
}

/// No module declared within a file has a name of [`EMPTY_NAMES`].
pub(crate) fn inline_modules_have_telling_names(source: &Source) -> Vec<Violation> {
    (0..source.tokens.len())
        .filter(|&at| source.text(at) == "mod" && EMPTY_NAMES.contains(&source.text(at + 1)))
        .map(|at| {
            let what = format!("`mod {}` says nothing: name the idea in it", source.text(at + 1));
            Violation::new(&source.path, source.tokens[at].line, what)
        })
        .collect()
}

/// A file begins with a `//!` comment that says what it is for.
pub(crate) fn file_begins_with_its_purpose(source: &Source) -> Vec<Violation> {
    let first = source.lines.first().map_or("", String::as_str);
    match first.strip_prefix("//!") {
        Some(purpose) if purpose.trim().chars().count() >= PURPOSE_CHARS_MIN => Vec::new(),
        _ => vec![Violation::new(
            &source.path,
            1,
            "begin with a `//!` line that says what the file is for and must not touch",
        )],
    }
}

/// No file names a home or work directory of the machine it was written on.
pub(crate) fn no_private_path(path: &str, text: &str) -> Vec<Violation> {
    let begins_path = |line: &str, at: usize| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !(c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | '}' | ')' | '*')))
    };
    let mut violations = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for private in PRIVATE_PATHS {
            if line.match_indices(private).any(|(at, _)| begins_path(line, at)) {
                violations.push(Violation::new(
                    path,
                    index + 1,
                    format!("a path below {private} exists on one machine only"),
                ));
            }
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Source {
        Source::parse("src/a.rs", text).expect("the sample is Rust")
    }

    #[test]
    fn a_stranger_at_the_top_level_is_found() {
        let names = ["src", ".git", "target", "out", "README.md", "docs"].map(str::to_owned);
        let found = top_level_is_fixed(&names, "/out/\ntarget/\n");
        assert_eq!(found.iter().map(|violation| violation.path.as_str()).collect::<Vec<_>>(), ["docs"]);
    }

    #[test]
    fn names_that_say_nothing_are_found() {
        for path in ["src/utils.rs", "src/engine/common/mod.rs", "tests/helpers.rs", "tools/src/misc.rs"] {
            assert!(path_has_telling_names(path).is_some(), "{path}");
        }
        assert_eq!(path_has_telling_names("src/transport/shm/commonality.rs"), None);
        assert_eq!(inline_modules_have_telling_names(&parse("mod rings;\nmod utils { }\n")).len(), 1);
    }

    #[test]
    fn a_file_without_a_purpose_is_found() {
        assert_eq!(file_begins_with_its_purpose(&parse("//! The ring schedule.\n")), []);
        for text in [
            "",
            "use x;\n",
            "#![allow(x)]\n//! The ring schedule.\n",
            "//!\n",
            "//! Ring.\n",
            "// The ring schedule.\n",
        ] {
            assert_eq!(file_begins_with_its_purpose(&parse(text)).len(), 1, "{text:?}");
        }
    }

    #[test]
    fn private_paths_are_found_and_look_alikes_spared() {
        let private = PRIVATE_PATHS.map(|path| format!("x\nsee {path}x\n"));
        for text in private {
            assert_eq!(no_private_path("a.md", &text).iter().map(|violation| violation.line).collect::<Vec<_>>(), [2]);
        }
        let spared = format!("src{0}x https://host{0}y $HOME{0} ../..{0}", PRIVATE_PATHS[2]);
        assert_eq!(no_private_path("a.md", &spared), []);
    }
}

//! The house rules, held by a test: where things live, how long they are, who may know whom, where `unsafe` stands.
//!
//! Each rule is a pure function from one file (or one list of names) to [`Violation`]s, and has unit tests that show it
//! finding what it must find and sparing what it must spare. [`the_tree_keeps_the_house_rules`] runs them all over the
//! work tree. Nothing here needs git, the network or the library itself.

mod direction;
mod manual;
mod naming;
mod purity;
mod shell;
mod size;
mod source;
mod tree;
mod unsafety;
mod words;

use source::Source;

/// One broken rule at one place.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    /// The file, relative to the repository root.
    pub(crate) path: String,
    /// The line, from 1; 0 means the file as a whole.
    pub(crate) line: usize,
    /// What is wrong and what to do about it.
    pub(crate) what: String,
}

impl Violation {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into() }
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// A rule over one parsed Rust file.
type RustRule = fn(&Source) -> Vec<Violation>;

/// The rules that every Rust file of the tree must keep.
const RUST_RULES: [RustRule; 8] = [
    size::functions_are_short,
    naming::file_begins_with_its_purpose,
    naming::inline_modules_have_telling_names,
    unsafety::stands_where_it_may,
    unsafety::gives_its_reason,
    words::nothing_is_left_to_do,
    words::no_test_is_ignored,
    words::no_test_sleeps_without_a_reason,
];

#[test]
fn the_tree_keeps_the_house_rules() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = tree::text_files(root);
    let text_of = |name: &str| files.iter().find(|(path, _)| path == name).map_or("", |(_, text)| text.as_str());
    let mut violations = naming::top_level_is_fixed(&tree::top_level(root), text_of(".gitignore"));
    let mut rust = Vec::new();
    for (path, text) in &files {
        violations.extend(naming::path_has_telling_names(path));
        violations.extend(naming::no_private_path(path, text));
        violations.extend(size::file_is_short(path, text));
        if shell::is_script(text) {
            violations.extend(shell::script_is_clean(path, text));
        }
        if path.ends_with(".rs") {
            match Source::parse(path, text) {
                Ok(source) => rust.push(source),
                Err(violation) => violations.push(violation),
            }
        }
    }
    // The walk really saw the library: an empty tree keeps every rule.
    assert!(rust.iter().any(|source| source.path == "src/lib.rs"), "src/lib.rs was not found under {}", root.display());
    assert!(rust.iter().any(|source| source.path == "tests/house/main.rs"), "this very file was not found");
    assert!(shell::is_script(text_of(".ci/run")), "the scripts were not found");

    source::mark_test_files(&mut rust);
    for source in &rust {
        violations.extend(RUST_RULES.iter().flat_map(|rule| rule(source)));
    }
    violations.extend(direction::dependencies_point_one_way(&rust));
    violations.extend(rust.iter().flat_map(purity::pure_modules_touch_nothing));
    violations.extend(rust.iter().flat_map(|source| manual::lists_every_variable(source, text_of(manual::PAGE))));

    violations.sort();
    let list = violations.iter().map(Violation::to_string).collect::<Vec<_>>().join("\n");
    assert!(
        violations.is_empty(),
        "{} house rules broken (CONTRIBUTING.md gives the reasons):\n{list}",
        violations.len()
    );
}

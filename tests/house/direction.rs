//! Who may know whom in `src`: the drawing in ARCHITECTURE.md, as a table that fails when the code disagrees.
//!
//! A dependency is a path through `crate::`, or through enough `super::` to leave a top-level module, outside test code. A name that
//! `lib.rs` exports again counts as the module that it comes from.

use crate::{Source, Violation};
use std::collections::BTreeMap;

/// What each module may use besides itself; `transport::shm` allows that part of `transport` alone.
const ALLOWED: [(&str, &[&str]); 12] = [
    ("types", &[]),
    ("error", &["types"]),
    ("schedule", &["types", "error"]),
    ("reduce", &["types"]),
    ("topology", &["types", "error"]),
    ("bootstrap", &["types", "error", "topology"]),
    ("transport", &["types", "error"]),
    ("memory", &["types", "error", "transport::shm"]),
    ("tune", &["types", "error", "schedule", "topology", "transport::LANES"]),
    ("engine", &["types", "error", "schedule", "reduce", "transport", "memory"]),
    (
        "communicator",
        &["types", "error", "schedule", "reduce", "transport", "memory", "engine", "tune", "topology", "bootstrap"],
    ),
    ("manual", &[]),
];

/// Transports share the trait, and nothing of each other.
const TRANSPORTS: [&str; 4] = ["shm", "sim", "tcp", "verbs"];

/// Every dependency between modules of `src` is in [`ALLOWED`], and transports do not know each other.
pub(crate) fn dependencies_point_one_way(sources: &[Source]) -> Vec<Violation> {
    let exports = sources.iter().find(|source| source.path == "src/lib.rs").map(exports).unwrap_or_default();
    let library = sources.iter().filter(|source| source.path.starts_with("src/") && source.path != "src/lib.rs");
    library.flat_map(|source| broken(source, &exports)).collect()
}

fn broken(source: &Source, exports: &BTreeMap<String, String>) -> Vec<Violation> {
    let module = source.module();
    let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == module[0]) else {
        let what = format!(
            "module `{}` has no row in the table of tests/house/direction.rs: draw its arrows first",
            module[0]
        );
        return vec![Violation::new(&source.path, 1, what)];
    };
    let mut violations = Vec::new();
    for (line, path) in dependencies(source) {
        let origin = exports.get(&path[0]).unwrap_or(&path[0]);
        let target = path.get(1).map_or(origin.clone(), |part| format!("{origin}::{part}"));
        let is_allowed = *origin == module[0] || allowed.iter().any(|may| origin == may || target == *may);
        if !is_allowed {
            let what = format!("`{}` must not use `{target}`: dependencies point one way (ARCHITECTURE.md)", module[0]);
            violations.push(Violation::new(&source.path, line, what));
        }
        if let (["transport", own, ..], ["transport", other, ..]) = (&strs(&module)[..], &strs(&path)[..])
            && own != other
            && TRANSPORTS.contains(own)
            && TRANSPORTS.contains(other)
        {
            let what =
                format!("transport `{own}` must not use transport `{other}`: what both need belongs in `transport`");
            violations.push(Violation::new(&source.path, line, what));
        }
    }
    violations
}

fn strs(parts: &[String]) -> Vec<&str> {
    parts.iter().map(String::as_str).collect()
}

/// Line and path, from the crate's root, of everything outside test code that leads through the root.
fn dependencies(source: &Source) -> Vec<(usize, Vec<String>)> {
    let module = source.module();
    let mut found = Vec::new();
    // Closing braces of the inline modules that the walk is in: each makes a `super` reach one module less far.
    let mut inline: Vec<usize> = Vec::new();
    for at in 0..source.tokens.len() {
        inline.retain(|end| *end > at);
        if source.text(at) == "mod" && source.text(at + 2) == "{" {
            inline.push(source.close(at + 2));
        }
        let line = source.tokens[at].line;
        let begins = at == 0 || source.text(at - 1) != "::";
        if !begins || source.text(at + 1) != "::" || source.is_test(line) {
            continue;
        }
        let prefix = match source.text(at) {
            "crate" => Vec::new(),
            "super" => {
                let supers = (0..).take_while(|k| source.matches(at + 2 * k, &["super", "::"])).count();
                let Some(kept) = (module.len() + inline.len()).checked_sub(supers) else { continue };
                module.iter().take(kept).cloned().collect()
            }
            _ => continue,
        };
        let skip = (0..).take_while(|k| matches!(source.text(at + 2 * k), "crate" | "super")).count();
        let mut paths = Vec::new();
        source.expand(at + 2 * skip, prefix, &mut paths);
        found.extend(paths.into_iter().filter(|path| !path.is_empty()).map(|path| (line, path)));
    }
    found
}

/// Name to module, of what `lib.rs` exports again by `pub use module::…`.
fn exports(lib: &Source) -> BTreeMap<String, String> {
    let mut exports = BTreeMap::new();
    for path in lib.imports().into_iter().filter(|path| path.len() > 1) {
        exports.insert(path[path.len() - 1].clone(), path[0].clone());
    }
    exports
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIB: &str = "pub mod error;\npub use communicator::Communicator;\npub use error::{Error, Result};\n";

    fn lines(path: &str, text: &str) -> Vec<usize> {
        let sources = [("src/lib.rs", LIB), (path, text)].map(|(path, text)| Source::parse(path, text).expect("Rust"));
        let mut lines: Vec<_> =
            dependencies_point_one_way(&sources).into_iter().map(|violation| violation.line).collect();
        lines.dedup();
        lines
    }

    #[test]
    fn an_arrow_against_the_drawing_is_found_in_every_spelling() {
        for text in [
            "use crate::engine::Engine;",
            "use crate::{types::Op, engine};",
            "use crate::{types::{Op, Call}, engine::{self, X}};",
            "fn f() -> crate::engine::X {}",
            "use super::super::engine::X;",
            "use super::super::{engine};",
            "macro_rules! m { () => { $crate::engine::f() } }",
            "mod a { use super::super::super::engine::X; }",
            "use crate::Communicator;",
            "pub(crate) use crate::engine as types;",
        ] {
            assert_eq!(lines("src/schedule/ring.rs", &format!("\n{text}\n")), [2], "{text}");
        }
    }

    #[test]
    fn arrows_along_the_drawing_are_spared() {
        for text in [
            "use crate::types::Op;",
            "use crate::{Error, types::{Op, Call}};",
            "use super::Step;",
            "use crate::schedule::Step;",
            "use super::super::types::Op;",
            "mod a { use super::super::Step; }",
            "#[cfg(test)]\nmod tests { use crate::engine::X; }",
            "/// Like [`crate::engine`].\nfn f() {}",
            "// crate::engine::X\nfn engine() {}",
            "use std::fmt; fn f() { engine::x() }",
        ] {
            assert_eq!(lines("src/schedule/ring.rs", text), [0; 0], "{text}");
        }
    }

    #[test]
    fn memory_may_use_shared_memory_but_no_other_transport() {
        assert_eq!(lines("src/memory/mod.rs", "use crate::transport::shm::Region;\n"), [0; 0]);
        assert_eq!(lines("src/memory/mod.rs", "use crate::transport::{shm::Region, tcp::TcpLink};\n"), [1]);
        assert_eq!(lines("src/memory/mod.rs", "use crate::transport::Transport;\n"), [1]);
    }

    #[test]
    fn transports_do_not_know_each_other() {
        assert_eq!(lines("src/transport/tcp/link.rs", "use crate::transport::{Head, shm};\n"), [1]);
        assert_eq!(lines("src/transport/tcp/link.rs", "use super::super::shm::X;\n"), [1]);
        assert_eq!(lines("src/transport/tcp/link.rs", "use crate::transport::{Head, tcp::X};\n"), [0; 0]);
        assert_eq!(lines("src/transport/mod.rs", "use crate::transport::shm::X;\n"), [0; 0]);
    }

    #[test]
    fn nobody_uses_the_communicator_and_a_new_module_needs_a_row() {
        for (module, _) in ALLOWED.iter().filter(|(module, _)| *module != "communicator") {
            assert_eq!(lines(&format!("src/{module}/mod.rs"), "use crate::communicator::X;\n"), [1], "{module}");
        }
        assert_eq!(lines("src/novelty.rs", "\n\nuse crate::types::Op;\n"), [1]);
    }

    #[test]
    fn the_table_has_no_cycle() {
        // Each row may use only modules of earlier rows.
        for (row, (module, allowed)) in ALLOWED.iter().enumerate() {
            for may in *allowed {
                let top = may.split("::").next().unwrap_or(may);
                assert!(ALLOWED[..row].iter().any(|(earlier, _)| *earlier == top), "{module} -> {may}");
            }
        }
    }
}

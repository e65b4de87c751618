//! `unsafe`: the few places where it may stand, and the reason that each site gives.

use crate::{Source, Violation};

/// The modules that touch memory or foreign functions by their nature.
const PLACES: [&str; 4] = ["src/transport/verbs/sys", "src/transport/shm", "src/memory", "ffi"];

/// Kernels of one architecture, as files or directories below `src/reduce`.
const ARCHITECTURES: [&str; 5] = ["aarch64", "powerpc64", "riscv64", "x86", "x86_64"];

/// `unsafe` stands in [`PLACES`] and the kernels of an architecture only.
pub(crate) fn stands_where_it_may(source: &Source) -> Vec<Violation> {
    if may_stand_in(&source.path) {
        return Vec::new();
    }
    let what = "no `unsafe` here: it belongs in transport/verbs/sys, transport/shm, memory, reduce/<arch> or ffi, behind a safe interface";
    let sites = source.tokens.iter().filter(|token| token.text == "unsafe");
    sites.map(|token| Violation::new(&source.path, token.line, what)).collect()
}

/// Every unsafe block, impl and extern block has a `// SAFETY:` comment right above, and every unsafe function and trait
/// a `# Safety` section in its documentation.
pub(crate) fn gives_its_reason(source: &Source) -> Vec<Violation> {
    let mut violations = Vec::new();
    for at in (0..source.tokens.len()).filter(|&at| source.text(at) == "unsafe") {
        let line = source.tokens[at].line;
        let (there, what) = match site(source, at) {
            Site::Claim => (claims(source, line), "say why this is sound in a `// SAFETY:` comment right above"),
            Site::Contract if is_documented_elsewhere(source, at) => continue,
            Site::Contract => (documents(source, line), "say what the caller must keep in a `/// # Safety` section"),
            Site::Free => (true, ""),
        };
        if !there {
            violations.push(Violation::new(&source.path, line, what));
        }
    }
    violations
}

enum Site {
    /// The writer claims that something is sound: a block, an impl, an extern block.
    Claim,
    /// The writer asks something of callers or implementors: a function, a trait.
    Contract,
    /// A pointer type, an item of an extern block or an attribute: nothing happens here.
    Free,
}

fn site(source: &Source, at: usize) -> Site {
    match (source.text(at + 1), source.text(at + 2), source.text(at + 3)) {
        ("{" | "impl", ..) | ("extern", "{", _) | ("extern", "\"…\"", "{") => Site::Claim,
        ("trait", ..) => Site::Contract,
        ("fn", name, _) | ("extern", "fn", name) if name != "(" => Site::Contract,
        ("extern", "\"…\"", "fn") if source.text(at + 4) != "(" => Site::Contract,
        _ => Site::Free,
    }
}

fn may_stand_in(path: &str) -> bool {
    let is_below = |place: &str| path == format!("{place}.rs") || path.starts_with(&format!("{place}/"));
    PLACES.into_iter().any(is_below) || ARCHITECTURES.iter().any(|name| is_below(&format!("src/reduce/{name}")))
}

fn claims(source: &Source, line: usize) -> bool {
    source.lines_above(line).any(|above| above.starts_with("//") && above.contains("SAFETY:"))
}

fn documents(source: &Source, line: usize) -> bool {
    source.lines_above(line).any(|above| above.starts_with("///") && above.contains("# Safety"))
}

/// Whether the function at `at` has its contract from a trait: in the trait itself, whose `# Safety` section speaks for its
/// methods, in an impl of one, or in a macro that writes such impls (there, all but public functions).
fn is_documented_elsewhere(source: &Source, at: usize) -> bool {
    let encloses = |open: &usize| source.text(*open) == "{" && source.close(*open) > at;
    (0..at).filter(encloses).any(|open| {
        let head = &source.tokens[head(source, open)..open];
        let has = |word: &str| head.iter().any(|token| token.text == word);
        let is_trait = has("unsafe") && has("trait");
        let is_trait_impl = has("impl") && has("for");
        let is_private_in_macro = has("macro_rules") && !is_public(source, at);
        is_trait || is_trait_impl || is_private_in_macro
    })
}

/// Where the head of the block at `open` begins: after whatever ended before it.
fn head(source: &Source, open: usize) -> usize {
    (0..open).rev().find(|&at| matches!(source.text(at), ";" | "{" | "}" | "]")).map_or(0, |at| at + 1)
}

fn is_public(source: &Source, at: usize) -> bool {
    at.checked_sub(1).is_some_and(|before| matches!(source.text(before), "pub" | ")"))
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

    fn without_reason(text: &str) -> Vec<usize> {
        lines(gives_its_reason, "ffi/src/lib.rs", text)
    }

    #[test]
    fn unsafe_in_the_wrong_place_is_found() {
        let text = "fn f() {\n    unsafe { g() }\n}\nmacro_rules! m { () => {\n unsafe { g() }\n} }\n// unsafe\n";
        for path in [
            "src/schedule/ring.rs",
            "src/reduce/generic.rs",
            "src/transport/tcp/link.rs",
            "tests/a.rs",
            "src/memory_map.rs",
        ] {
            assert_eq!(lines(stands_where_it_may, path, text), [2, 5], "{path}");
        }
        for path in [
            "src/transport/verbs/sys.rs",
            "src/transport/verbs/sys/ops.rs",
            "src/transport/shm/region.rs",
            "src/memory/mod.rs",
            "src/reduce/x86_64.rs",
            "src/reduce/aarch64/neon.rs",
            "ffi/src/lib.rs",
        ] {
            assert_eq!(lines(stands_where_it_may, path, text), [0; 0], "{path}");
        }
    }

    #[test]
    fn a_block_without_a_reason_is_found() {
        assert_eq!(without_reason("fn f() {\n    unsafe { g() }\n}\n"), [2]);
        assert_eq!(without_reason("fn f() {\n    // SAFETY: g asks nothing.\n    unsafe { g() }\n}\n"), [0; 0]);
        assert_eq!(
            without_reason(
                "fn f() {\n    // SAFETY: g asks nothing,\n    // ever.\n    let x =\n        unsafe { g() };\n}\n"
            ),
            [0; 0]
        );
        // One reason does not speak for the next statement, nor across a blank line.
        assert_eq!(
            without_reason("fn f() {\n    // SAFETY: g asks nothing.\n    unsafe { g() };\n    unsafe { h() }\n}\n"),
            [4]
        );
        assert_eq!(without_reason("fn f() {\n    // SAFETY: g asks nothing.\n\n    unsafe { g() }\n}\n"), [4]);
        assert_eq!(without_reason("fn f() {\n    g(\"SAFETY: no\");\n    unsafe { g() }\n}\n"), [3]);
    }

    #[test]
    fn impls_and_extern_blocks_need_a_reason_too() {
        assert_eq!(without_reason("unsafe impl Send for X {}\n\nunsafe extern \"C\" { fn f(); }\n"), [1, 3]);
        assert_eq!(without_reason("// SAFETY: X owns its memory.\n#[cfg(unix)]\nunsafe impl Send for X {}\n"), [0; 0]);
    }

    #[test]
    fn an_unsafe_function_documents_what_it_asks() {
        assert_eq!(
            without_reason(
                "/// Does it.\npub unsafe fn f() {}\npub unsafe extern \"C\" fn g() {}\nunsafe trait T {}\n"
            ),
            [2, 3, 4]
        );
        assert_eq!(
            without_reason("/// Does it.\n///\n/// # Safety\n/// `p` is valid.\n#[inline]\npub unsafe fn f() {}\n"),
            [0; 0]
        );
        assert_eq!(
            without_reason(
                "type F = unsafe fn(u8);\ntype G = unsafe extern \"C\" fn();\n#[unsafe(no_mangle)]\nfn h() {}\n"
            ),
            [0; 0]
        );
    }
}

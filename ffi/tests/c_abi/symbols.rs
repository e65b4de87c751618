//! What the libraries export: NCCL's names and nothing else, as weak and strong as NCCL's are.

use crate::programs::{Language, compile, compile_at, library, run, runs, scratch, skip, watched};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// Every function's name, as NCCL exports it.
const SYMBOLS: &str = include_str!("../../symbols.txt");

#[test]
#[cfg(target_os = "linux")]
fn programs_ask_for_the_library_by_nccls_soname() {
    let test = "programs_ask_for_the_library_by_nccls_soname";
    let Some(program) = compile(test, Language::C, "version.c") else { return };
    let bytes = std::fs::read(program).expect("the program was just built");
    let soname = b"\0libnccl.so.2\0";
    // The name stands in the program's table of needed libraries, where the linker copied it from the library's SONAME.
    assert!(bytes.windows(soname.len()).any(|window| window == soname), "the program does not need libnccl.so.2");
}

#[test]
fn every_function_of_nccl_is_exported_and_nothing_else() {
    let test = "every_function_of_nccl_is_exported_and_nothing_else";
    if !runs("nm") {
        return skip(test, "there is no nm (binutils) to list the library's symbols");
    }
    let table = run(Command::new("nm").args(["-D", "--defined-only"]).arg(library()));
    let table = String::from_utf8(table.stdout).expect("symbol names are ASCII");
    let exported: BTreeSet<_> = table.lines().filter_map(|line| line.split_whitespace().last()).collect();
    let expected: BTreeSet<_> = SYMBOLS.lines().collect();
    assert_eq!(
        exported, expected,
        "left: exported by the library, right: symbols.txt; versions would show as name@version"
    );
}

/// A program's own `ncclX` comes before the library's also where that is linked in whole; `pncclX` is the library's alone.
#[test]
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
fn names_are_weak_and_twins_strong() {
    let test = "names_are_weak_and_twins_strong";
    if !runs("nm") {
        return skip(test, "there is no nm (binutils) to list the library's symbols");
    }
    let (shared, whole) = (library(), library().with_extension("a"));
    for arguments in [vec!["-D".as_ref(), shared.as_os_str()], vec![whole.as_os_str()]] {
        let kinds = kinds(&arguments);
        for name in SYMBOLS.lines().filter(|name| *name != "ncclResetDebugInitInternal") {
            let kind = if name.starts_with('p') { "T" } else { "W" };
            assert_eq!(kinds.get(name).map(String::as_str), Some(kind), "{name}");
        }
    }
}

/// The same by every linker that is here: they differ in how they read lists of exports.
#[test]
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
fn names_are_weak_by_every_linker() {
    let test = "names_are_weak_by_every_linker";
    if !runs("nm") {
        return skip(test, "there is no nm (binutils) to list the library's symbols");
    }
    let names = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/names.rs");
    let source = scratch(test).join("library.rs");
    let text = format!(
        "#[path = {names:?}]\nmod names;\n#[unsafe(no_mangle)]\npub extern \"C\" fn pncclName() {{}}\n\
         #[unsafe(no_mangle)]\npub extern \"C\" fn serriedName() {{}}\nnames::own_name!(ncclName = pncclName());\n"
    );
    std::fs::write(&source, text).expect("the directory is ours");
    let compiler = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    // The compiler's own choice, and those that there are.
    let linkers = ["bfd", "gold", "lld", "mold"].into_iter().filter(|name| runs(&format!("ld.{name}")));
    for linker in std::iter::once(None).chain(linkers.map(Some)) {
        let library = scratch(test).join(format!("lib{}.so", linker.unwrap_or("default")));
        let mut link = Command::new(&compiler);
        link.args(["--edition", "2024", "--crate-type", "cdylib", "--cfg", "weak_names", "-o"]).arg(&library);
        link.args(linker.map(|name| format!("-Clink-arg=-fuse-ld={name}"))).arg(&source);
        run(&mut link);
        let found = kinds(&["-D".as_ref(), library.as_os_str()]);
        let expected = [("ncclName", "W"), ("pncclName", "T"), ("serriedName", "T")];
        let expected = expected.map(|(name, kind)| (name.to_owned(), kind.to_owned()));
        assert_eq!(found, expected.into(), "{linker:?}");
    }
}

/// The letters that `nm` has for the symbols that are defined and not local, by name.
fn kinds(arguments: &[&std::ffi::OsStr]) -> BTreeMap<String, String> {
    // More than a pipe holds.
    let table = Command::new("nm").arg("--defined-only").args(arguments).output().expect("it is there");
    assert!(table.status.success());
    let table = String::from_utf8(table.stdout).expect("symbol names are ASCII");
    let lines = table.lines().filter_map(|line| {
        let mut words = line.split_whitespace().rev();
        let (name, kind) = (words.next()?, words.next()?);
        kind.chars().all(char::is_uppercase).then(|| (name.to_owned(), kind.to_owned()))
    });
    lines.collect()
}

#[test]
fn every_function_is_declared_and_links() {
    let test = "every_function_is_declared_and_links";
    let source = scratch(test).join("names_all.c");
    let names: Vec<_> = SYMBOLS.lines().collect();
    let entries: String = names.iter().map(|name| format!("  {{\"{name}\", (function *)&{name}}},\n")).collect();
    let text = format!(
        "#include \"nccl.h\"\n#include <stdio.h>\ntypedef void function(void);\n\
         static const struct {{ const char *name; function *at; }} all[] = {{\n{entries}}};\n\
         int main(void) {{\n  for (unsigned i = 0; i < sizeof all / sizeof all[0]; i++)\n    \
         if (all[i].at == NULL) return puts(all[i].name), 1;\n  return 0;\n}}\n"
    );
    std::fs::write(&source, text).expect("the directory is ours");
    for language in [Language::C, Language::Cpp] {
        let Some(program) = compile_at(test, language, &source) else { return };
        run(&mut watched(program));
    }
}

/// An interposer defines a function itself, and reaches the library by its twin.
#[test]
#[cfg(target_os = "linux")]
fn an_interposer_reaches_the_library_by_the_twins() {
    let test = "an_interposer_reaches_the_library_by_the_twins";
    let Some(program) = compile(test, Language::C, "version.c") else { return };
    let source = scratch(test).join("interposer.c");
    let text = "#include \"nccl.h\"\n#include <stdio.h>\nncclResult_t ncclGetVersion(int *version) {\n  \
                fputs(\"seen\\n\", stderr);\n  return pncclGetVersion(version);\n}\n";
    std::fs::write(&source, text).expect("the directory is ours");
    let interposer = scratch(test).join("interposer.so");
    let Some(compiler) = Language::C.compiler(test) else { return };
    run(Command::new(compiler)
        .args(Language::C.flags())
        .args(["-shared", "-fPIC", "-o"])
        .arg(&interposer)
        .arg(&source));
    let output = run(watched(program).env("LD_PRELOAD", interposer));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "seen\nseen\n", "version.c asks twice by that name");
}

/// A program can also take the library in whole.
#[test]
#[cfg(target_os = "linux")]
fn the_static_library_links() {
    let test = "the_static_library_links";
    let Some(compiler) = Language::C.compiler(test) else { return };
    let program = scratch(test).join("program");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/version.c");
    let archive = library().with_extension("a");
    run(Command::new(compiler)
        .args(Language::C.flags())
        .arg("-o")
        .arg(&program)
        .arg(source)
        .args(["-x", "none"])
        .arg(archive)
        .args(["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl"]));
    let output = run(&mut watched(program));
    assert!(String::from_utf8_lossy(&output.stdout).ends_with(&format!("{}\n", env!("CARGO_PKG_VERSION"))));
}

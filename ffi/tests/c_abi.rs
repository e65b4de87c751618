//! A C program, compiled against `include/nccl.h` and linked to the shared library, calls what the header declares.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

#[test]
fn a_c_program_finds_the_interface() {
    let Some(program) = compile("a_c_program_finds_the_interface", "version.c") else { return };
    let output = run(&mut Command::new(program));
    let expected = format!("{} {}\n", nccl::VERSION_CODE, env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
}

#[test]
#[cfg(target_os = "linux")]
fn programs_ask_for_the_library_by_nccls_soname() {
    let Some(program) = compile("programs_ask_for_the_library_by_nccls_soname", "version.c") else { return };
    let bytes = std::fs::read(program).expect("the program was just built");
    let soname = b"\0libnccl.so.2\0";
    // The name stands in the program's table of needed libraries, where the linker copied it from the library's SONAME.
    assert!(bytes.windows(soname.len()).any(|window| window == soname), "the program does not need libnccl.so.2");
}

/// Nothing is declared that fails to link, nothing is exported that nobody can call.
#[test]
fn header_and_library_agree() {
    if !runs("nm") {
        return skip("header_and_library_agree", "there is no nm (binutils) to list the library's symbols");
    }
    let table = run(Command::new("nm").args(["-D", "--defined-only"]).arg(library()));
    let table = String::from_utf8(table.stdout).expect("symbol names are ASCII");
    let exported: BTreeSet<_> = table.lines().filter_map(|line| line.split_whitespace().last()).collect();
    let declared: BTreeSet<_> = include_str!("../include/nccl.h").lines().filter_map(declared_function).collect();
    assert_eq!(exported, declared, "left: exported by the library, right: declared in nccl.h");
}

/// The name in a line such as `ncclResult_t ncclGetVersion(int *version);`.
fn declared_function(line: &str) -> Option<&str> {
    let (before, _) = line.strip_suffix(");")?.split_once('(')?;
    before.rsplit([' ', '*']).next()
}

/// Builds a C program of this directory, in a directory of the test's own, against the header and the library that this test was built with.
fn compile(test: &str, source: &str) -> Option<PathBuf> {
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    if !runs(&compiler) {
        skip(test, &format!("there is no C compiler `{compiler}`"));
        return None;
    }
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    std::fs::create_dir_all(&directory).expect("cargo gives tests a directory to write to");
    // The loader looks for the SONAME, so the library gets that name beside the program.
    std::fs::copy(library(), directory.join("libnccl.so.2")).expect("the library is built with this test");
    let program = directory.join("program");
    run(Command::new(compiler)
        .args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-o"])
        .arg(&program)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(source))
        .arg("-L")
        .arg(&directory)
        .args(["-l:libnccl.so.2", "-Wl,-rpath,$ORIGIN"]));
    Some(program)
}

/// The shared library lies beside this test's own program.
fn library() -> PathBuf {
    let program = std::env::current_exe().expect("a running program has a path");
    program.with_file_name("libnccl.so")
}

fn runs(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    output
}

fn skip(test: &str, why: &str) {
    println!("skipped: {test}: {why}");
}

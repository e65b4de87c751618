//! C and C++ programs, compiled against `include/nccl.h` by the system's compiler and linked to the shared library, do what programs do
//! that were written to NCCL; and the library exports what such programs look for.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// A program that takes longer hangs. On a busy machine of two cores the slowest takes some seconds.
const PROGRAM_TIME: Duration = Duration::from_secs(120);

/// Every function's name, as NCCL exports it.
const SYMBOLS: &str = include_str!("../symbols.txt");

/// The one that is serried's own: by it a program tells which library it has.
const OWN_SYMBOL: &str = "serriedGetVersion";

#[test]
fn a_c_program_finds_the_interface() {
    let Some(program) = compile("a_c_program_finds_the_interface", Language::C, "version.c") else { return };
    let output = run(&mut Command::new(program));
    let expected = format!("{} {}\n", nccl::VERSION_CODE, env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
}

#[test]
fn numbers_layouts_and_prototypes_are_nccls_in_c() {
    passes("numbers_layouts_and_prototypes_are_nccls_in_c", Language::C, "layout.c");
}

#[test]
fn numbers_layouts_and_prototypes_are_nccls_in_cpp() {
    passes("numbers_layouts_and_prototypes_are_nccls_in_cpp", Language::Cpp, "layout.c");
}

#[test]
fn what_makes_no_sense_is_refused_with_a_sentence() {
    passes("what_makes_no_sense_is_refused_with_a_sentence", Language::C, "failures.c");
}

#[test]
fn ranks_that_are_forked_make_every_call() {
    passes("ranks_that_are_forked_make_every_call", Language::C, "forked.c");
}

#[test]
fn ranks_of_one_process_make_every_call() {
    passes("ranks_of_one_process_make_every_call", Language::Cpp, "threads.cpp");
}

#[test]
fn survivors_abort_within_a_second() {
    passes("survivors_abort_within_a_second", Language::C, "killed.c");
}

/// Where CUDA's headers are, its types are used.
#[test]
fn the_header_goes_with_cudas() {
    let test = "the_header_goes_with_cudas";
    for language in [Language::C, Language::Cpp] {
        let Some(compiler) = language.compiler(test) else { return };
        let directory = scratch(test);
        let cuda =
            "typedef struct CUstream_st *cudaStream_t;\ntypedef struct CUevent_st *cudaEvent_t;\n#define FROM_CUDA 1\n";
        std::fs::write(directory.join("cuda_runtime.h"), cuda).expect("the directory is ours");
        let source = directory.join("uses_both.c");
        let text = "#include \"nccl.h\"\n#if FROM_CUDA != 1\n#error no CUDA\n#endif\nint main(void) { cudaStream_t stream = 0; return stream != 0; }\n";
        std::fs::write(&source, text).expect("the directory is ours");
        run(Command::new(compiler).args(language.flags()).arg("-fsyntax-only").arg("-I").arg(&directory).arg(&source));
    }
}

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
    let expected: BTreeSet<_> = SYMBOLS.lines().chain([OWN_SYMBOL]).collect();
    assert_eq!(
        exported, expected,
        "left: exported by the library, right: symbols.txt; versions would show as name@version"
    );
}

#[test]
fn every_function_is_declared_and_links() {
    let test = "every_function_is_declared_and_links";
    let source = scratch(test).join("names_all.c");
    let names: Vec<_> = SYMBOLS.lines().chain([OWN_SYMBOL]).collect();
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
        run(&mut Command::new(program));
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
    let output = run(Command::new(program).env("LD_PRELOAD", interposer));
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
    let output = run(&mut Command::new(program));
    assert!(String::from_utf8_lossy(&output.stdout).ends_with(&format!("{}\n", env!("CARGO_PKG_VERSION"))));
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Language {
    C,
    Cpp,
}

impl Language {
    /// The compiler, if there is one; otherwise the test is skipped.
    fn compiler(self, test: &str) -> Option<String> {
        let (variable, usual) = if self == Self::C { ("CC", "cc") } else { ("CXX", "c++") };
        let compiler = std::env::var(variable).unwrap_or_else(|_| usual.to_owned());
        if runs(&compiler) {
            return Some(compiler);
        }
        skip(test, &format!("there is no compiler `{compiler}`"));
        None
    }

    /// The oldest languages that the header promises, and no warning in them.
    fn flags(self) -> Vec<String> {
        let own: &[&str] = if self == Self::C { &["-std=c99", "-x", "c"] } else { &["-std=c++11", "-x", "c++"] };
        let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
        let all =
            own.iter().chain(&["-Wall", "-Wextra", "-Werror", "-pedantic", "-Wno-unused-function", "-pthread", "-I"]);
        all.map(|flag| (*flag).to_owned()).chain([include.to_string_lossy().into_owned()]).collect()
    }
}

/// Compiles and runs a program of this directory, which is to succeed.
fn passes(test: &str, language: Language, source: &str) {
    if let Some(program) = compile(test, language, source) {
        run(&mut Command::new(program));
    }
}

fn compile(test: &str, language: Language, source: &str) -> Option<PathBuf> {
    compile_at(test, language, &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(source))
}

/// Builds a program, in a directory of the test's own, against the header and the library that this test was built with.
fn compile_at(test: &str, language: Language, source: &Path) -> Option<PathBuf> {
    let compiler = language.compiler(test)?;
    let directory = scratch(test);
    // The loader looks for the SONAME, so the library gets that name beside the program.
    std::fs::copy(library(), directory.join("libnccl.so.2")).expect("the library is built with this test");
    let program = directory.join("program");
    run(Command::new(compiler)
        .args(language.flags())
        .arg("-o")
        .arg(&program)
        .arg(source)
        .arg("-L")
        .arg(&directory)
        .args(["-l:libnccl.so.2", "-Wl,-rpath,$ORIGIN"]));
    Some(program)
}

fn scratch(test: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    std::fs::create_dir_all(&directory).expect("cargo gives tests a directory to write to");
    directory
}

/// The shared library lies beside this test's own program.
fn library() -> PathBuf {
    let program = std::env::current_exe().expect("a running program has a path");
    program.with_file_name("libnccl.so")
}

fn runs(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Runs a program to its end, which is to come in time and be a success.
fn run(command: &mut Command) -> Output {
    use std::process::Stdio;
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let begin = Instant::now();
    while child.try_wait().expect("it is our child").is_none() {
        if begin.elapsed() > PROGRAM_TIME {
            child.kill().expect("it is our child");
            let output = child.wait_with_output().expect("it is our child");
            panic!("{command:?} hangs\n{}", String::from_utf8_lossy(&output.stderr));
        }
        // why: the standard library has no wait with a deadline
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().expect("it is our child");
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    output
}

fn skip(test: &str, why: &str) {
    println!("skipped: {test}: {why}");
}

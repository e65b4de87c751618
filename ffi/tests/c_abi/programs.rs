//! Programs in C and C++: compiled, run to their end, and skipped by name where a compiler is missing.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A program that takes longer hangs. On a busy machine of two cores the slowest takes some seconds; a tool that watches its memory makes
/// that minutes.
const PROGRAM_TIME: Duration = Duration::from_secs(600);

/// Words of a command that runs the programs: a checker of memory, say.
const RUNNER: &str = "SERRIED_C_RUNNER";

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    C,
    Cpp,
}

impl Language {
    /// The compiler, if there is one; otherwise the test is skipped.
    pub(crate) fn compiler(self, test: &str) -> Option<String> {
        let (variable, usual) = if self == Self::C { ("CC", "cc") } else { ("CXX", "c++") };
        let compiler = std::env::var(variable).unwrap_or_else(|_| usual.to_owned());
        if runs(&compiler) {
            return Some(compiler);
        }
        skip(test, &format!("there is no compiler `{compiler}`"));
        None
    }

    /// The oldest languages that the header promises, and no warning in them.
    pub(crate) fn flags(self) -> Vec<String> {
        let own: &[&str] = if self == Self::C { &["-std=c99", "-x", "c"] } else { &["-std=c++11", "-x", "c++"] };
        let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
        let all =
            own.iter().chain(&["-Wall", "-Wextra", "-Werror", "-pedantic", "-Wno-unused-function", "-pthread", "-I"]);
        all.map(|flag| (*flag).to_owned()).chain([include.to_string_lossy().into_owned()]).collect()
    }
}

/// Compiles and runs a program of this directory, which is to succeed.
pub(crate) fn passes(test: &str, language: Language, source: &str) {
    if let Some(program) = compile(test, language, source) {
        run(&mut watched(&program));
    }
}

/// The program, by itself or in the hands of what the environment names.
pub(crate) fn watched(program: impl AsRef<Path>) -> Command {
    let words = std::env::var(RUNNER).unwrap_or_default();
    let mut words = words.split_whitespace();
    match words.next() {
        None => Command::new(program.as_ref()),
        Some(runner) => {
            let mut command = Command::new(runner);
            command.args(words).arg(program.as_ref());
            command
        }
    }
}

pub(crate) fn compile(test: &str, language: Language, source: &str) -> Option<PathBuf> {
    compile_at(test, language, &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(source))
}

/// Builds a program, in a directory of the test's own, against the header and the library that this test was built with.
pub(crate) fn compile_at(test: &str, language: Language, source: &Path) -> Option<PathBuf> {
    let compiler = language.compiler(test)?;
    let directory = scratch(test);
    // The loader looks for the SONAME, so the library gets that name beside the program.
    let named = directory.join("libnccl.so.2");
    if !named.exists() {
        std::os::unix::fs::symlink(library(), named).expect("the directory is ours");
    }
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

/// A directory of the test's own, in one of this process: another may run the same test.
pub(crate) fn scratch(test: &str) -> PathBuf {
    static OURS: OnceLock<PathBuf> = OnceLock::new();
    let ours = OURS.get_or_init(|| {
        let all = Path::new(env!("CARGO_TARGET_TMPDIR"));
        sweep(all);
        all.join(format!("{PREFIX}{}", std::process::id()))
    });
    let directory = ours.join(test);
    std::fs::create_dir_all(&directory).expect("cargo gives tests a directory to write to");
    directory
}

/// What the directory of a process begins with.
const PREFIX: &str = "c_abi-";

/// Removes what processes left that are gone.
fn sweep(all: &Path) {
    for entry in std::fs::read_dir(all).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            // Another may sweep as well.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// The shared library lies beside this test's own program.
pub(crate) fn library() -> PathBuf {
    let program = std::env::current_exe().expect("a running program has a path");
    program.with_file_name("libnccl.so")
}

pub(crate) fn runs(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Runs a program to its end, which is to come in time and be a success.
pub(crate) fn run(command: &mut Command) -> Output {
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

pub(crate) fn skip(test: &str, why: &str) {
    println!("skipped: {test}: {why}");
}

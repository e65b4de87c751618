//! What surrounds a program: environment variables, logs, CUDA in the process, loading and unloading at run time, installation.

use crate::programs::{Language, compile, library, run, scratch, watched};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Two ranks that were forked allreduce once; the first argument is an address at which they meet, if there is one.
const PAIR: &str = "pair.c";

fn lines(output: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(output).lines().map(str::to_owned).collect()
}

#[test]
fn the_log_has_nccls_words() {
    let Some(program) = compile("the_log_has_nccls_words", Language::C, PAIR) else { return };
    let output = run(watched(&program).env("NCCL_DEBUG", "INFO"));
    let printed = lines(&output.stdout);
    let has = |words: &[&str]| printed.iter().any(|line| words.iter().all(|word| line.contains(word)));
    for words in [
        &["NCCL version 2.32.0"][..],
        &["NCCL INFO Bootstrap : Using "],
        &["NCCL INFO NET/Socket : Using [0]"],
        &["NCCL INFO Channel 00/0 : 0[0] -> 1[0] via SHM"],
        &["NCCL INFO Channel 00/0 : 1[0] -> 0[0] via SHM"],
        &["NCCL INFO allreduce: 0 to ", "Bytes -> Algo "],
        &["NCCL INFO comm 0x", "rank 1 nranks 2", "Init COMPLETE"],
    ] {
        assert!(has(words), "{words:?} in\n{}", printed.join("\n"));
    }
    assert!(!has(&["AllReduce: sendbuff"]), "a line for each call is not asked for");
}

#[test]
fn subsystems_and_a_file_are_as_asked() {
    let test = "subsystems_and_a_file_are_as_asked";
    let Some(program) = compile(test, Language::C, PAIR) else { return };
    let directory = scratch(test);
    for old in std::fs::read_dir(&directory).expect("it is ours").flatten() {
        if old.file_name().to_string_lossy().starts_with("log.") {
            std::fs::remove_file(old.path()).expect("it is ours");
        }
    }
    let file = directory.join("log.%h.%p");
    let output = run(watched(&program)
        .env("NCCL_DEBUG", "INFO")
        .env("NCCL_DEBUG_SUBSYS", "COLL,NET")
        .env("NCCL_SHM_DISABLE", "1")
        .env("NCCL_DEBUG_FILE", &file));
    assert!(!String::from_utf8_lossy(&output.stdout).contains("NCCL"), "all lines go to the file");
    let logs: String = std::fs::read_dir(&directory)
        .expect("it is ours")
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("log."))
        .map(|entry| {
            assert!(!entry.file_name().to_string_lossy().contains('%'), "{:?}", entry.file_name());
            std::fs::read_to_string(entry.path()).expect("it is text")
        })
        .collect();
    assert!(logs.contains("AllReduce: sendbuff 0x") && logs.contains("count 1 datatype 7 op 0"), "{logs}");
    assert!(logs.contains("via NET/Socket/0 from ") && !logs.contains("via SHM"), "{logs}");
    assert!(!logs.contains("Init COMPLETE"), "INIT was not asked for: {logs}");
}

#[test]
fn what_has_no_meaning_is_named_once() {
    let Some(program) = compile("what_has_no_meaning_is_named_once", Language::C, PAIR) else { return };
    let set = [("NCCL_PROTO", "LL"), ("NCCL_NVLS_ENABLE", "0"), ("NCCL_ALGO", "nvls"), ("NCCL_IB_TC", "106")];
    let output = run(watched(&program).envs(set));
    let expected = "serried: set, and without meaning in serried: NCCL_ALGO=nvls, NCCL_NVLS_ENABLE, NCCL_PROTO";
    assert_eq!(lines(&output.stderr), [expected]);
    assert_eq!(lines(&run(&mut watched(&program)).stderr), [""; 0]);
}

#[test]
fn what_has_no_meaning_is_named_once_whoever_leads_a_split() {
    let test = "what_has_no_meaning_is_named_once_whoever_leads_a_split";
    for (language, source) in [(Language::C, "forked.c"), (Language::Cpp, "threads.cpp")] {
        let Some(program) = compile(test, language, source) else { return };
        let said = lines(&run(watched(&program).env("NCCL_PROTO", "LL")).stderr);
        assert_eq!(said, ["serried: set, and without meaning in serried: NCCL_PROTO"], "{source}");
    }
}

#[test]
fn nobody_needs_to_hear_it() {
    let Some(program) = compile("nobody_needs_to_hear_it", Language::C, "unheard.c") else { return };
    run(&mut watched(&program));
    run(watched(&program).env("NCCL_DEBUG", "INFO"));
}

#[test]
fn what_cannot_begin_for_want_of_a_thread_ends_on_all_ranks() {
    let test = "what_cannot_begin_for_want_of_a_thread_ends_on_all_ranks";
    let Some(program) = compile(test, Language::Cpp, "threadless.cpp") else { return };
    // Stacks of threads that have ended would do for others.
    for what in ["calls", "making"] {
        run(watched(&program).arg(what).env("GLIBC_TUNABLES", "glibc.pthread.stack_cache_size=0"));
    }
}

#[test]
fn a_log_of_the_version_alone_has_no_file_and_loses_no_remark() {
    let test = "a_log_of_the_version_alone_has_no_file_and_loses_no_remark";
    let Some(program) = compile(test, Language::C, PAIR) else { return };
    let file = scratch(test).join("log");
    for debug in [None, Some(("NCCL_DEBUG", "VERSION"))] {
        let output = run(watched(&program).env("NCCL_DEBUG_FILE", &file).env("NCCL_PROTO", "LL").envs(debug));
        assert_eq!(lines(&output.stderr), ["serried: set, and without meaning in serried: NCCL_PROTO"]);
        assert!(!file.exists(), "{debug:?}");
    }
}

/// Whoever asks for RDMA gets no TCP; here there is none that works, since it is also forbidden.
#[test]
fn rdma_that_is_asked_for_and_does_not_work_is_an_error() {
    let test = "rdma_that_is_asked_for_and_does_not_work_is_an_error";
    let Some(program) = compile(test, Language::C, PAIR) else { return };
    let ended = watched(&program).envs([("NCCL_NET", "IB"), ("NCCL_IB_DISABLE", "1")]).output();
    let ended = ended.expect("it was just built");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(
        !ended.status.success() && said.contains("NCCL_NET=IB: ") && said.contains("verbs cannot be used"),
        "{said}"
    );
}

#[test]
fn a_file_of_settings_is_read() {
    let test = "a_file_of_settings_is_read";
    let Some(program) = compile(test, Language::C, PAIR) else { return };
    let file = scratch(test).join("nccl.conf");
    std::fs::write(&file, "# the site's\nNCCL_DEBUG=VERSION\n").expect("the directory is ours");
    let output = run(watched(&program).env("NCCL_CONF_FILE", &file));
    assert!(lines(&output.stdout).iter().any(|line| line.starts_with("NCCL version 2.32.0")));
    let output = run(watched(&program).env("NCCL_CONF_FILE", &file).env("NCCL_DEBUG", "NONE"));
    assert_eq!(lines(&output.stdout), [""; 0], "the environment comes first");
}

#[test]
fn ranks_meet_at_a_given_address() {
    let Some(program) = compile("ranks_meet_at_a_given_address", Language::C, PAIR) else { return };
    // A port that was free a moment ago; another program may take it in between, so a few are tried.
    let met = (0..5).any(|_| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a port");
        let address = listener.local_addr().expect("it is bound").to_string();
        drop(listener);
        let ran = watched(&program).arg("each").env("NCCL_COMM_ID", address).output();
        ran.is_ok_and(|output| output.status.success())
    });
    assert!(met);
}

/// CUDA's driver, as far as the library asks it: every address from the given one on is a device's, and every stream holds the same piece of work.
const DRIVER: &str = "#include <stdint.h>\nuint64_t first_of_device = UINT64_MAX;\n\
    int (*work)(void *stream);\nint cuStreamQuery(void *stream) { return work == 0 ? 0 : work(stream); }\n\
    int cuPointerGetAttribute(void *data, int attribute, uint64_t pointer) {\n\
    \x20 if (pointer < first_of_device) return 1;\n\
    \x20 if (attribute == 2) *(unsigned *)data = 2; else *(char *)data = 0;\n  return 0;\n}\n";

#[test]
fn memory_of_a_device_is_refused() {
    let test = "memory_of_a_device_is_refused";
    let Some(program) = compile(test, Language::C, "device.c") else { return };
    let Some(compiler) = Language::C.compiler(test) else { return };
    let (source, driver) = (scratch(test).join("driver.c"), scratch(test).join("libcuda.so.1"));
    std::fs::write(&source, DRIVER).expect("the directory is ours");
    run(Command::new(compiler).args(["-shared", "-fPIC", "-o"]).arg(&driver).arg(&source));
    run(watched(program).env("LD_LIBRARY_PATH", scratch(test)));
}

#[test]
fn it_can_be_loaded_and_closed_at_run_time() {
    let test = "it_can_be_loaded_and_closed_at_run_time";
    let Some(compiler) = Language::C.compiler(test) else { return };
    let program = scratch(test).join("program");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/loaded.c");
    run(Command::new(compiler)
        .args(Language::C.flags())
        .arg("-o")
        .arg(&program)
        .arg(source)
        .args(["-x", "none", "-ldl"]));
    run(watched(program).arg(library()));
}

#[test]
fn it_installs_where_it_is_told() {
    let test = "it_installs_where_it_is_told";
    let Some(compiler) = Language::C.compiler(test) else { return };
    let prefix = scratch(test).join("prefix");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let built = library().parent().map(Path::to_path_buf).expect("it lies in a directory");
    run(Command::new("sh").arg(root.join("install.sh")).arg(&prefix).arg(&built));
    for file in ["include/nccl.h", "lib/libnccl.so.2", "lib/libnccl.so", "lib/libnccl_static.a"] {
        assert!(prefix.join(file).exists(), "{file}");
    }
    // As a program of its own would be built, with either library.
    for package in ["nccl", "nccl-static"] {
        let flags = flags(&prefix, package);
        for example in examples(root) {
            let program = scratch(test).join(package).with_extension(example.file_stem().expect("it has a name"));
            let mut compile = Command::new(&compiler);
            compile.args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&program).arg(&example);
            run(compile.args(&flags).arg(format!("-Wl,-rpath,{}/lib", prefix.display())));
            run(&mut watched(program));
        }
    }
}

/// What `pkg-config --cflags --libs` says of a package, which is only a reader of that file.
fn flags(prefix: &Path, package: &str) -> Vec<String> {
    let file = prefix.join("lib/pkgconfig").join(package).with_extension("pc");
    let description = std::fs::read_to_string(file).expect("it is text");
    assert!(description.contains("Version: 2.32.0"), "{package}");
    let prefix = prefix.display().to_string();
    assert!(description.starts_with(&format!("prefix={prefix}\n")), "{package}");
    let lines = description.lines().filter_map(|line| line.strip_prefix("Cflags: ").or(line.strip_prefix("Libs: ")));
    let words = lines.flat_map(str::split_whitespace);
    let full = |word: &str| {
        word.replace("${includedir}", &format!("{prefix}/include")).replace("${libdir}", &format!("{prefix}/lib"))
    };
    words.map(full).collect()
}

fn examples(root: &Path) -> Vec<PathBuf> {
    let all = std::fs::read_dir(root.join("examples")).expect("there are examples");
    let examples: Vec<_> = all.flatten().map(|entry| entry.path()).collect();
    assert!(!examples.is_empty());
    examples
}

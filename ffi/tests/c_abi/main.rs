//! C and C++ programs, compiled against `include/nccl.h` by the system's compiler and linked to the shared library, do what programs do
//! that were written to NCCL; and the library exports what such programs look for.

mod programs;
mod surroundings;
mod symbols;

use programs::{Language, compile, passes, run, scratch, watched};
use std::process::Command;

#[test]
fn a_c_program_finds_the_interface() {
    let Some(program) = compile("a_c_program_finds_the_interface", Language::C, "version.c") else { return };
    let output = run(&mut watched(program));
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
fn groups_keep_their_order() {
    passes("groups_keep_their_order", Language::Cpp, "groups.cpp");
}

#[test]
fn an_abort_ends_whatever_hangs() {
    passes("an_abort_ends_whatever_hangs", Language::C, "aborts.c");
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

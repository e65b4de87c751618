//! Gives the shared library the name that programs built against NCCL look for.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Programs link to the SONAME, not to the file's name; without it the loader would ask for libnccl.so.
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libnccl.so.2");
    }
}

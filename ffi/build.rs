//! How the shared library is linked: its name, its names for callers, and that it stays once it is loaded.

use std::path::Path;
use std::process::{Command, Stdio};

/// What the library exports by assembly, for linkers that take this list besides the compiler's own.
const EXPORTS: &str = "exports.map";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={EXPORTS}");
    println!("cargo:rustc-check-cfg=cfg(weak_names)");
    if variable("CARGO_CFG_TARGET_OS") != "linux" {
        return;
    }
    // Programs link to the SONAME, not to the file's name; without it the loader would ask for libnccl.so.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libnccl.so.2");
    // A communicator's threads run this code: dlclose must not unmap it.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    let exports = Path::new(&variable("CARGO_MANIFEST_DIR")).join(EXPORTS);
    let list = format!("-Wl,--version-script={}", exports.display());
    if ["x86_64", "aarch64"].contains(&variable("CARGO_CFG_TARGET_ARCH").as_str()) && takes(&list) {
        println!("cargo:rustc-cdylib-link-arg={list}");
        println!("cargo:rustc-cfg=weak_names");
    }
}

/// Whether the linker takes the argument. Stable Rust has no weak definitions, so these are made in assembly, and the compiler's list of
/// exports does not have them; LLVM's linker takes a second list, GNU's does not.
fn takes(argument: &str) -> bool {
    let source = Path::new(&variable("OUT_DIR")).join("probe.rs");
    if std::fs::write(&source, "#[unsafe(no_mangle)] pub extern \"C\" fn probe() {}\n").is_err() {
        return false;
    }
    let mut compile = Command::new(variable("RUSTC"));
    compile.args(["--edition", "2024", "--crate-type", "cdylib", "--target"]).arg(variable("TARGET"));
    compile.arg("-o").arg(source.with_extension("so")).args(["-C", &format!("link-arg={argument}")]);
    let linker = variable("RUSTC_LINKER");
    if !linker.is_empty() {
        compile.args(["-C", &format!("linker={linker}")]);
    }
    let flags = variable("CARGO_ENCODED_RUSTFLAGS");
    compile.args(flags.split('\x1f').filter(|flag| !flag.is_empty())).arg(&source);
    compile.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

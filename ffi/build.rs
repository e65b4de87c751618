//! How the shared library is linked: its name, and that it stays once it is loaded.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-check-cfg=cfg(weak_names)");
    if variable("CARGO_CFG_TARGET_OS") != "linux" {
        return;
    }
    // Programs link to the SONAME, not to the file's name; without it the loader would ask for libnccl.so.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libnccl.so.2");
    // A communicator's threads run this code: dlclose must not unmap it.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    // Those for which `names` knows the instruction that jumps.
    if ["x86_64", "aarch64"].contains(&variable("CARGO_CFG_TARGET_ARCH").as_str()) {
        println!("cargo:rustc-cfg=weak_names");
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

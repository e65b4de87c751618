//! The `serried` program.
fn main() {}

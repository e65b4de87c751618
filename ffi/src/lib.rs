//! serried's C ABI. It begins with the version query; the rest of the interface stands on the `serried` crate.

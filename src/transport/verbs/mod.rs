//! Links over RDMA verbs (RoCE, InfiniBand): writes from registered memory straight into the peer's registered slots.
//!
//! libibverbs is opened at run time, so serried builds and starts where there is none; why verbs are not used is then a value, in one
//! line. Everything foreign is below [`sys`], behind safe interfaces; nothing else here contains `unsafe`.

pub mod sys;

//! The manual: what a user reads besides the reference. Pages are modules with documentation and nothing else.
//!
//! * [`accuracy`]: how exact results are, and what makes them the same on every rank.
//! * [`choosing_an_algorithm`]: what each algorithm costs, and when to override the choice.
//! * [`debugging_a_stuck_job`]: from an error or a hang to the rank and the cause.
//! * [`environment_variables`]: every variable that serried reads.
//! * [`from_nccl_to_serried`]: programs written to NCCL's interface: what is the same, what differs, what is missing.
//! * [`roce`]: RDMA: devices, addresses, traffic classes, limits, containers, and what each error means.

pub mod accuracy;
pub mod choosing_an_algorithm;
pub mod debugging_a_stuck_job;
pub mod environment_variables;
pub mod from_nccl_to_serried;
pub mod roce;

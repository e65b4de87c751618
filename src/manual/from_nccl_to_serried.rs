//! From NCCL to serried (in progress).

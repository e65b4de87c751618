//! The types of `nccl.h`, by NCCL's names and layouts.

#![allow(non_camel_case_types, non_snake_case, missing_docs)]

use std::ffi::{c_char, c_int, c_uint, c_void};

/// What a handle on a communicator points to, if it pointed to anything: handles are numbers.
#[repr(C)]
pub struct ncclComm {
    _private: [u8; 0],
}

/// A handle on a communicator.
pub type ncclComm_t = *mut ncclComm;

/// The same for windows.
#[repr(C)]
pub struct ncclWindow_vidmem {
    _private: [u8; 0],
}

/// A handle on a window.
pub type ncclWindow_t = *mut ncclWindow_vidmem;

/// The same for parameters.
#[repr(C)]
pub struct ncclParamHandle {
    _private: [u8; 0],
}

/// A handle on a parameter.
pub type ncclParamHandle_t = *mut ncclParamHandle;

/// A stream of CUDA, which is opaque here.
pub type cudaStream_t = *mut c_void;

/// C's enumerations may hold any number, so they are numbers here.
pub type ncclDataType_t = c_int;
/// As [`ncclDataType_t`].
pub type ncclRedOp_t = c_int;
/// As [`ncclDataType_t`].
pub type ncclScalarResidence_t = c_int;
/// As [`ncclDataType_t`].
pub type ncclCommMemStat_t = c_int;

/// A unique id's bytes.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ncclUniqueId {
    pub internal: [u8; 128],
}

/// Settings of a communicator.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ncclConfig_t {
    pub size: usize,
    pub magic: c_uint,
    pub version: c_uint,
    pub blocking: c_int,
    pub cgaClusterSize: c_int,
    pub minCTAs: c_int,
    pub maxCTAs: c_int,
    pub netName: *const c_char,
    pub splitShare: c_int,
    pub trafficClass: c_int,
    pub commName: *const c_char,
    pub collnetEnable: c_int,
    pub CTAPolicy: c_int,
    pub shrinkShare: c_int,
    pub nvlsCTAs: c_int,
    pub nChannelsPerNetPeer: c_int,
    pub nvlinkCentricSched: c_int,
    pub graphUsageMode: c_int,
    pub numRmaCtx: c_int,
    pub maxP2pPeers: c_int,
    pub graphStreamOrdering: c_int,
    pub launchOrderImplicit: c_int,
    pub numRmaSig: c_int,
    pub rmaEagerInit: c_int,
    pub hostCftMode: c_int,
    pub nvlsHostMode: c_int,
}

/// Settings of one collective call.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ncclCollConfig_t {
    pub size: usize,
    pub magic: c_uint,
    pub version: c_uint,
    pub ext: *mut c_void,
    pub minCTAs: c_int,
    pub maxCTAs: c_int,
    pub nvlsCTAs: c_int,
    pub cgaClusterSize: c_int,
    pub algSelection: *const c_char,
    pub forceAlgSelection: c_int,
    pub CTAPolicy: c_int,
    pub userProfilerTag: u64,
    pub launchCompletionEvent: *mut c_void,
}

/// What a simulated group would cost.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ncclSimInfo_t {
    pub size: usize,
    pub magic: c_uint,
    pub version: c_uint,
    pub estimatedTime: f32,
}

/// Encryption of NCCL's own sockets.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ncclEncryptionConfig_t {
    pub size: usize,
    pub magic: c_uint,
    pub version: c_uint,
    pub mode: c_int,
    pub psk: *const c_char,
}

/// How many signals to wait for.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ncclWaitSignalDesc_t {
    pub opCnt: c_int,
    pub peer: c_int,
    pub sigIdx: c_int,
    pub ctx: c_int,
}

/// Some ranks of a communicator: from its first, in steps of `stride`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ncclTeam_t {
    pub nRanks: c_int,
    pub rank: c_int,
    pub stride: c_int,
}

/// The handle of a device's multicast memory, which is passed by value.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ncclMultimemHandle_t {
    pub mcBasePtr: *mut c_void,
}

/// What a communicator can do for programs of the device.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ncclCommProperties_t {
    pub size: usize,
    pub magic: c_uint,
    pub version: c_uint,
    pub rank: c_int,
    pub nRanks: c_int,
    pub cudaDev: c_int,
    pub nvmlDev: c_int,
    pub deviceApiSupport: bool,
    pub multimemSupport: bool,
    pub ginType: c_int,
    pub nLsaTeams: c_int,
    pub hostRmaSupport: bool,
    pub railedGinType: c_int,
    pub commHash: u64,
    pub ginMinStride: c_int,
    pub ginConnectionType: c_int,
    pub ginSupport: [bool; 64],
    pub devCommRuntimeVersionSize: usize,
}

/// An integer setting that was not set.
pub(crate) const UNDEF_INT: c_int = c_int::MIN;
/// What a structure of settings begins with.
pub(crate) const API_MAGIC: c_uint = 0xcafe_beef;

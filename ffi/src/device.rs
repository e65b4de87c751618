//! What only makes sense for programs that run on a device: there is none, and each function says so. What a communicator is can be asked
//! all the same.

use crate::boundary::{export, given, guard_value, null};
use crate::comm::find;
use crate::config::{Shape, read};
use crate::errors::Failure;
use crate::names::own_name;
use crate::plan::rank_of;
use crate::types::{
    ncclComm_t, ncclCommProperties_t, ncclEncryptionConfig_t, ncclMultimemHandle_t, ncclTeam_t, ncclWindow_t,
};
use std::ffi::{c_int, c_uint, c_void};
use std::mem::offset_of;

/// The team of nobody.
const NOBODY: ncclTeam_t = ncclTeam_t { nRanks: 0, rank: 0, stride: 0 };

const NO_DEVICE: &str = "it serves programs that run on a device, and communicators here are of host memory";

const PROPERTIES: Shape = Shape {
    name: "props",
    initializer: "COMM_PROPERTIES",
    least: offset_of!(ncclCommProperties_t, ginType),
    since: &[],
};

const ENCRYPTION: Shape = Shape {
    name: "config",
    initializer: "ENCRYPTION_CONFIG",
    least: offset_of!(ncclEncryptionConfig_t, mode) + size_of::<c_int>(),
    since: &[],
};

fn properties(comm: ncclComm_t, props: *mut ncclCommProperties_t) -> Result<(), Failure> {
    let comm = find(comm)?;
    let communicator = comm.known()?;
    // SAFETY: as the caller promises; its bytes are only read as numbers here.
    let head = unsafe { given(props.cast_const().cast::<[u64; 2]>(), "props") }?;
    let none = ncclCommProperties_t {
        size: head[0] as usize,
        magic: 0,
        version: 0,
        rank: communicator.rank() as c_int,
        nRanks: communicator.size() as c_int,
        cudaDev: comm.settings.device,
        nvmlDev: comm.settings.device,
        deviceApiSupport: false,
        multimemSupport: false,
        ginType: 0,
        nLsaTeams: 0,
        hostRmaSupport: true,
        railedGinType: 0,
        commHash: comm.membership.key(),
        ginMinStride: 0,
        ginConnectionType: 0,
        ginSupport: [false; 64],
        devCommRuntimeVersionSize: 0,
    };
    // Only its head is looked at; the rest is the caller's uninitialised memory or our zeros.
    #[derive(Clone, Copy)]
    #[repr(C)]
    struct Head(usize, c_uint, c_uint);
    let head = Head(0, 0, 0);
    // SAFETY: as the caller promises.
    let head = unsafe { read(props.cast_const().cast::<Head>(), head, &PROPERTIES) }?;
    let own = ncclCommProperties_t { magic: head.1, version: head.2, ..none };
    let bytes = head.0.min(size_of::<ncclCommProperties_t>());
    // SAFETY: the caller's structure has so many bytes, and ours too; they are apart.
    unsafe { std::ptr::copy_nonoverlapping((&raw const own).cast::<u8>(), props.cast::<u8>(), bytes) };
    Ok(())
}

export! {
    /// Stores what the communicator is, and that it serves no device.
    fn ncclCommQueryProperties | pncclCommQueryProperties(comm: ncclComm_t, props: *mut ncclCommProperties_t) {
        properties(comm, props)
    }

    /// Not supported; to ask for no encryption succeeds. Connections are authenticated by the unique id's secret in any case.
    fn ncclSetEncryption | pncclSetEncryption(config: *const ncclEncryptionConfig_t) {
        if config.is_null() {
            return Ok(());
        }
        let none = ncclEncryptionConfig_t { size: 0, magic: 0, version: 0, mode: 0, psk: std::ptr::null() };
        // SAFETY: the caller's structure is as long as its `size` says; any bytes are a number or a pointer.
        let config = unsafe { read(config, none, &ENCRYPTION) }?;
        if config.mode == 0 {
            return Ok(());
        }
        Err(Failure::unsupported("encryption of connections"))
    }
}

/// Exports functions that are refused, each with the sentence that says why.
macro_rules! refused {
    ($why:expr; $($name:ident | $twin:ident($($argument:ident: $type:ty),* $(,)?);)*) => { export! {$(
        /// Not supported.
        fn $name | $twin($($argument: $type),*) {
            $(let _ = $argument;)*
            Err(Failure::unsupported($why))
        }
    )*}};
}

refused! { NO_DEVICE;
    ncclDevCommCreate | pncclDevCommCreate(comm: ncclComm_t, reqs: *const c_void, outDevComm: *mut c_void);
    ncclDevCommDestroy | pncclDevCommDestroy(comm: ncclComm_t, devComm: *const c_void);
    ncclGetLsaMultimemDevicePointer | pncclGetLsaMultimemDevicePointer(
        window: ncclWindow_t, offset: usize, outPtr: *mut *mut c_void,
    );
    ncclGetLsaDevicePointer | pncclGetLsaDevicePointer(
        window: ncclWindow_t, offset: usize, lsaRank: c_int, outPtr: *mut *mut c_void,
    );
    ncclGetPeerDevicePointer | pncclGetPeerDevicePointer(
        window: ncclWindow_t, offset: usize, peer: c_int, outPtr: *mut *mut c_void,
    );
    ncclGetMultimemDevicePointer | pncclGetMultimemDevicePointer(
        window: ncclWindow_t, offset: usize, multimem: ncclMultimemHandle_t, outPtr: *mut *mut c_void,
    );
    ncclGetMultimemDeviceLeInfo | pncclGetMultimemDeviceLeInfo(
        window: ncclWindow_t, offset: usize, leId: *mut u32, leOffset: *mut usize,
    );
    ncclGetPeerDeviceLeInfo | pncclGetPeerDeviceLeInfo(
        window: ncclWindow_t, offset: usize, peerWorld: c_int, leId: *mut u32, leOffset: *mut usize,
    );
    ncclGetCftDeviceLeInfo | pncclGetCftDeviceLeInfo(
        window: ncclWindow_t, offset: usize, peerCft: c_int, cftTeam: ncclTeam_t, leId: *mut u32, leOffset: *mut usize,
    );
    ncclLsaBarrierCreateRequirement | pncclLsaBarrierCreateRequirement(
        team: ncclTeam_t, nBarriers: c_int, outHandle: *mut c_void, outReq: *mut c_void,
    );
    ncclGinBarrierCreateRequirement | pncclGinBarrierCreateRequirement(
        comm: ncclComm_t, team: ncclTeam_t, nBarriers: c_int, outHandle: *mut c_void, outReq: *mut c_void,
    );
    ncclGinOutboxCreateRequirement | pncclGinOutboxCreateRequirement(
        nBlocks: c_int, size_log2: c_int, outHandle: *mut c_void, outReq: *mut c_void,
    );
    ncclGinInboxA2ACreateRequirement | pncclGinInboxA2ACreateRequirement(
        peers: ncclTeam_t, nBlocks: c_int, size_log2: c_int, outHandle: *mut c_void, outReq: *mut c_void,
    );
    ncclLLA2ACreateRequirement | pncclLLA2ACreateRequirement(
        nBlocks: c_int, nSlots: c_int, outHandle: *mut c_void, outReq: *mut c_void,
    );
}

fn world(comm: ncclComm_t) -> Result<ncclTeam_t, Failure> {
    let comm = find(comm)?;
    let communicator = comm.known()?;
    Ok(ncclTeam_t { nRanks: communicator.size() as c_int, rank: communicator.rank() as c_int, stride: 1 })
}

/// The rank in the communicator of the team's rank `rank`, which is given from this rank's place in the team.
fn in_world(comm: ncclComm_t, team: ncclTeam_t, rank: c_int) -> Result<c_int, Failure> {
    let world = world(comm)?;
    let members = c_uint::try_from(team.nRanks).ok().filter(|members| *members > 0);
    let members = members.ok_or_else(|| Failure::argument("the team has no ranks"))?;
    rank_of("rank", rank, members)?;
    let place = i64::from(world.rank) + (i64::from(rank) - i64::from(team.rank)) * i64::from(team.stride);
    let place = c_int::try_from(place).ok().filter(|place| (0..world.nRanks).contains(place));
    place.ok_or_else(|| Failure::argument("the team reaches beyond the communicator"))
}

/// Exports functions that return a value rather than a code: `otherwise` if they fail.
macro_rules! values {
    ($($(#[$doc:meta])* fn $name:ident | $twin:ident($($argument:ident: $type:ty),*) -> $value:ty, $otherwise:expr => $body:expr;)*) => {$(
        $(#[$doc])*
        #[unsafe(no_mangle)]
        #[allow(non_snake_case)]
        pub extern "C" fn $twin($($argument: $type),*) -> $value {
            guard_value(stringify!($name), $otherwise, || $body)
        }
        own_name!($name = $twin($($argument: $type),*) -> $value);
    )*};
}

fn nothing<T>(comm: ncclComm_t) -> Result<T, Failure> {
    if comm.is_null() {
        return Err(null("comm"));
    }
    Err(Failure::unsupported(NO_DEVICE))
}

values! {
    /// The team of all ranks; of nobody if `comm` is none.
    fn ncclTeamWorld | pncclTeamWorld(comm: ncclComm_t) -> ncclTeam_t, NOBODY => world(comm);
    /// Not supported: the team of nobody.
    fn ncclTeamLsa | pncclTeamLsa(comm: ncclComm_t) -> ncclTeam_t, NOBODY => nothing(comm);
    /// Not supported: the team of nobody.
    fn ncclTeamRail | pncclTeamRail(comm: ncclComm_t) -> ncclTeam_t, NOBODY => nothing(comm);
    /// Not supported: the team of nobody.
    fn ncclTeamCft | pncclTeamCft(comm: ncclComm_t, _mode: c_int) -> ncclTeam_t, NOBODY => nothing(comm);
    /// Not supported: the team of nobody.
    fn ncclTeamCftMultimem | pncclTeamCftMultimem(comm: ncclComm_t) -> ncclTeam_t, NOBODY => nothing(comm);
    /// The number in the communicator of a team's rank; −1 if there is none.
    fn ncclTeamRankToWorld | pncclTeamRankToWorld(comm: ncclComm_t, team: ncclTeam_t, rank: c_int) -> c_int, -1 => in_world(comm, team, rank);
    /// Not supported: −1.
    fn ncclTeamRankToLsa | pncclTeamRankToLsa(comm: ncclComm_t, _team: ncclTeam_t, _rank: c_int) -> c_int, -1 => nothing(comm);
    /// Not supported: 0.
    fn ncclLLA2ACalcSlots | pncclLLA2ACalcSlots(_maxElts: c_int, _maxEltSize: c_int) -> c_int, 0 => Err(Failure::unsupported(NO_DEVICE));
}

//! How communicators begin: unique ids, and joining by one.

use crate::boundary::{export, null, place};
use crate::clique::Membership;
use crate::comm::{Comm, Settings};
use crate::config;
use crate::errors::Failure;
use crate::group;
use crate::making::{Making, make};
use crate::meeting::{Meeting, fresh_id, new_id};
use crate::types::{ncclComm_t, ncclConfig_t, ncclUniqueId};
use std::ffi::c_int;
use std::time::Duration;

/// More ranks in one process than this are a mistake.
const DEVICES_MAX: c_int = 4096;

/// Joins as `rank` of `ranks`, and leaves the handle at `comm`.
///
/// # Safety
/// `comm` is null or valid for writing a handle, until the group has ended if there is one; `config` is null or points to settings as long as
/// their `size` says.
unsafe fn join(
    comm: *mut ncclComm_t,
    (rank, ranks): (c_int, c_int),
    id: &ncclUniqueId,
    config: *const ncclConfig_t,
) -> Result<(), Failure> {
    if comm.is_null() {
        return Err(null("comm"));
    }
    let (rank, size) = rank_and_size(rank, ranks)?;
    // SAFETY: as the caller promises.
    let settings = unsafe { config::apply(config, config::from_environment()?) }?;
    // SAFETY: as the caller promises.
    unsafe { join_as(comm, (rank, size), id, settings) }
}

/// # Safety
/// As of [`join`]; `comm` is not null.
pub(crate) unsafe fn join_as(
    comm: *mut ncclComm_t,
    (rank, size): (u32, u32),
    id: &ncclUniqueId,
    settings: Settings,
) -> Result<(), Failure> {
    let meeting = Meeting::of(id)?;
    let config = settings.config.clone();
    let made = Comm::new(settings, Membership::of(&id.internal));
    let join = move || meeting.join(rank, size, &config).map(Some);
    // SAFETY: as the caller promises.
    unsafe { make(comm, Some(made), None, join) }
}

pub(crate) fn rank_and_size(rank: c_int, ranks: c_int) -> Result<(u32, u32), Failure> {
    let size = u32::try_from(ranks).ok().filter(|size| *size > 0);
    let size = size.ok_or_else(|| Failure::argument(format!("nranks is {ranks}; expected 1 or more")))?;
    Ok((crate::plan::rank_of("rank", rank, size)?, size))
}

/// The numbers of the devices, if they are sound.
///
/// # Safety
/// `list` is null or points to as many numbers.
unsafe fn devices(list: *const c_int, count: c_int) -> Result<Vec<c_int>, Failure> {
    if !(1..=DEVICES_MAX).contains(&count) {
        return Err(Failure::argument(format!("ndev is {count}; expected 1 to {DEVICES_MAX}")));
    }
    if list.is_null() {
        return Ok((0..count).collect());
    }
    // SAFETY: as the caller promises.
    let devices = unsafe { std::slice::from_raw_parts(list, count as usize) }.to_vec();
    let mut sorted = devices.clone();
    sorted.sort_unstable();
    if sorted[0] < 0 {
        return Err(Failure::argument(format!("{} is no number of a device", sorted[0])));
    }
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Failure::usage(format!("device {} is in devlist twice", pair[0]))),
        None => Ok(devices),
    }
}

/// Joins all ranks of a new communicator, which are all in this process.
fn join_all(devices: &[c_int], places: &mut [ncclComm_t]) -> Result<(), Failure> {
    let settings = config::from_environment()?;
    let id = fresh_id(&settings.config.control)?;
    let meeting = Meeting::of(&id)?;
    let size = devices.len() as u32;
    let makings = (0..size).zip(devices).zip(places.iter_mut()).map(|((rank, device), place)| {
        // All or none: what ends one's joining ends all.
        let settings = Settings { device: *device, ..settings.clone() };
        let (meeting, config) = (meeting.clone(), settings.config.clone());
        let made = Comm::new(settings, Membership::of(&id.internal));
        let join = move || meeting.join(rank, size, &config).map(Some);
        // SAFETY: the place is borrowed until all have been made.
        unsafe { Making::new(place, Some(made), None, join) }
    });
    let makings = makings.collect::<Result<Vec<Making>, Failure>>()?;
    let made = Making::finish(makings);
    if made.is_err() {
        // All or none: the others would wait for those that failed.
        for place in places {
            crate::comm::COMMUNICATORS.remove(*place, Duration::ZERO);
            *place = std::ptr::null_mut();
        }
    }
    made
}

export! {
    /// Makes an id, to be given to all ranks that shall join each other.
    fn ncclGetUniqueId | pncclGetUniqueId(uniqueId: *mut ncclUniqueId) {
        // SAFETY: the caller's promise is the same.
        let place = unsafe { place(uniqueId, "uniqueId") }?;
        place.write(new_id(&config::from_environment()?.config.control)?);
        Ok(())
    }

    /// Joins as `rank` of `nranks` with all who hold the same id.
    fn ncclCommInitRank | pncclCommInitRank(comm: *mut ncclComm_t, nranks: c_int, commId: ncclUniqueId, rank: c_int) {
        // SAFETY: the caller's promise is the same.
        unsafe { join(comm, (rank, nranks), &commId, std::ptr::null()) }.inspect_err(group::refuse)
    }

    /// As [`ncclCommInitRank`](pncclCommInitRank), with settings. If they say non-blocking, it returns `ncclInProgress`, and `ncclCommGetAsyncError` tells the end.
    fn ncclCommInitRankConfig | pncclCommInitRankConfig(
        comm: *mut ncclComm_t, nranks: c_int, commId: ncclUniqueId, rank: c_int, config: *mut ncclConfig_t,
    ) {
        // SAFETY: the caller's promise is the same.
        unsafe { join(comm, (rank, nranks), &commId, config) }.inspect_err(group::refuse)
    }

    /// As [`ncclCommInitRankConfig`](pncclCommInitRankConfig), with several ids, of which the first is used: joining is fast by one.
    fn ncclCommInitRankScalable | pncclCommInitRankScalable(
        newcomm: *mut ncclComm_t, nranks: c_int, myrank: c_int, nId: c_int, commIds: *mut ncclUniqueId, config: *mut ncclConfig_t,
    ) {
        let ids = || {
            if nId < 1 || nId > nranks {
                return Err(Failure::argument(format!("nId is {nId}; expected 1 to nranks, which is {nranks}")));
            }
            // SAFETY: the caller's promise is the same.
            let id = *unsafe { crate::boundary::given(commIds, "commIds") }?;
            // SAFETY: the same.
            unsafe { join(newcomm, (myrank, nranks), &id, config) }
        };
        ids().inspect_err(group::refuse)
    }

    /// Makes a communicator whose ranks are all in this process: one for each device. At once, also in a group.
    fn ncclCommInitAll | pncclCommInitAll(comm: *mut ncclComm_t, ndev: c_int, devlist: *const c_int) {
        // SAFETY: the caller's promise is the same.
        let devices = unsafe { devices(devlist, ndev) }?;
        if comm.is_null() {
            return Err(null("comm"));
        }
        // SAFETY: the caller has room for as many handles; whatever is there is a handle's bytes.
        let places = unsafe { std::slice::from_raw_parts_mut(comm, devices.len()) };
        join_all(&devices, places)
    }
}

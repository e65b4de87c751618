//! Structures of settings, which callers fill in: read as far as the caller's version of them goes, and refused if they make no sense.

use crate::boundary::given;
use crate::comm::Settings;
use crate::errors::Failure;
use crate::types::{API_MAGIC, UNDEF_INT, ncclCollConfig_t, ncclConfig_t};
use crate::{environment, fork, log, meeting};
use std::ffi::{CStr, c_char, c_int, c_uint};
use std::mem::offset_of;
use std::sync::Once;

/// The head that every such structure begins with, in whatever version.
#[derive(Clone, Copy)]
#[repr(C)]
struct Head {
    size: usize,
    magic: c_uint,
    version: c_uint,
}

/// One kind of such structures, in all its versions.
pub(crate) struct Shape {
    /// Which argument it is.
    pub(crate) name: &'static str,
    /// What the name of its initializer's macro has in the middle.
    pub(crate) initializer: &'static str,
    /// How long the shortest version is.
    pub(crate) least: usize,
    /// Where later versions go on, by the version that did: what an earlier one has there is padding, if anything, and holds no value.
    pub(crate) since: &'static [(c_uint, usize)],
}

const CONFIG: Shape = Shape {
    name: "config",
    initializer: "CONFIG",
    least: offset_of!(ncclConfig_t, cgaClusterSize),
    since: &[
        (21_700, offset_of!(ncclConfig_t, cgaClusterSize)),
        (21_800, offset_of!(ncclConfig_t, splitShare)),
        (22_500, offset_of!(ncclConfig_t, trafficClass)),
        (22_700, offset_of!(ncclConfig_t, commName)),
        (22_800, offset_of!(ncclConfig_t, nChannelsPerNetPeer)),
        (22_900, offset_of!(ncclConfig_t, graphUsageMode)),
    ],
};

const COLL_CONFIG: Shape = Shape {
    name: "config",
    initializer: "COLLCONFIG",
    least: offset_of!(ncclCollConfig_t, launchCompletionEvent),
    since: &[],
};

/// The first of every communicator: settings as the environment has them, for a communicator that is told nothing else.
pub(crate) fn from_environment() -> Result<Settings, Failure> {
    log::start();
    fork::watch();
    let config = environment::config()?;
    static TOLD: Once = Once::new();
    TOLD.call_once(|| meeting::tell_interfaces(&config.control));
    Ok(Settings { blocking: true, device: 0, config })
}

/// Changes `settings` to what `config` says, unless it is null.
///
/// # Safety
/// `config` is null, or points to a structure as long as its `size` says.
pub(crate) unsafe fn apply(config: *const ncclConfig_t, mut settings: Settings) -> Result<Settings, Failure> {
    if config.is_null() {
        return Ok(settings);
    }
    // SAFETY: as the caller promises; every field is a number or a pointer, for which any bytes will do.
    let config: ncclConfig_t = unsafe { read(config, unset(), &CONFIG) }?;
    settings.blocking = flag("blocking", config.blocking)?.unwrap_or(true);
    flag("splitShare", config.splitShare)?;
    flag("shrinkShare", config.shrinkShare)?;
    for (name, value) in
        [("cgaClusterSize", config.cgaClusterSize), ("minCTAs", config.minCTAs), ("maxCTAs", config.maxCTAs)]
    {
        let least = c_int::from(name != "cgaClusterSize");
        if value != UNDEF_INT && value < least {
            return Err(Failure::argument(format!("config->{name} is {value}; expected {least} or more")));
        }
    }
    if config.minCTAs != UNDEF_INT && config.maxCTAs != UNDEF_INT && config.minCTAs > config.maxCTAs {
        return Err(Failure::argument("config->minCTAs is more than config->maxCTAs"));
    }
    if config.trafficClass != UNDEF_INT {
        environment::use_traffic_class(config.trafficClass, &mut settings.config)?;
    }
    // SAFETY: null, or the caller's string.
    if let Some(name) = unsafe { text(config.netName) } {
        environment::use_network(&name.to_string_lossy(), &mut settings.config)?;
    }
    Ok(settings)
}

/// Refuses settings of one call that cannot be honoured; hints that only concern a device are not.
///
/// # Safety
/// As of [`apply`].
pub(crate) unsafe fn check_call(config: *const ncclCollConfig_t) -> Result<(), Failure> {
    if config.is_null() {
        return Ok(());
    }
    let unset = ncclCollConfig_t {
        size: 0,
        magic: 0,
        version: 0,
        ext: std::ptr::null_mut(),
        minCTAs: UNDEF_INT,
        maxCTAs: UNDEF_INT,
        nvlsCTAs: UNDEF_INT,
        cgaClusterSize: UNDEF_INT,
        algSelection: std::ptr::null(),
        forceAlgSelection: 1,
        CTAPolicy: UNDEF_INT,
        userProfilerTag: 0,
        launchCompletionEvent: std::ptr::null_mut(),
    };
    // SAFETY: as the caller promises; every field is a number or a pointer, for which any bytes will do.
    let config = unsafe { read(config, unset, &COLL_CONFIG) }?;
    let forced = flag("forceAlgSelection", config.forceAlgSelection)?.unwrap_or(true);
    if !config.launchCompletionEvent.is_null() {
        return Err(Failure::unsupported("config->launchCompletionEvent: nothing is launched on a device"));
    }
    // SAFETY: null, or the caller's string.
    let selection = unsafe { text(config.algSelection) };
    if forced && selection.is_some_and(|selection| !selection.is_empty()) {
        let what = "config->algSelection: the algorithm is the communicator's choice, or SERRIED_ALGO's; with \
                    forceAlgSelection 0 the selection is a hint";
        return Err(Failure::argument(what));
    }
    Ok(())
}

/// Reads as much of a structure as the caller's version has; the rest is as in `unset`.
///
/// # Safety
/// `pointer` is null, or points to a structure as long as its `size` says, and at least to a head. Any bytes are a `T`.
pub(crate) unsafe fn read<T: Copy>(pointer: *const T, unset: T, shape: &Shape) -> Result<T, Failure> {
    let Shape { name, initializer, least, since } = shape;
    // SAFETY: as the caller promises.
    let Head { size, magic, version } = *unsafe { given(pointer.cast::<Head>(), name) }?;
    if magic != magic_of(initializer) {
        let what = format!("{name} was not made by NCCL_{initializer}_INITIALIZER: its magic number is {magic:#x}");
        return Err(Failure::argument(what));
    }
    if size < *least {
        let what = format!("{name}->size is {size}; every version of it has {least} bytes or more");
        return Err(Failure::argument(what));
    }
    let end = since.iter().find(|(first, _)| version < *first).map_or(usize::MAX, |(_, end)| *end);
    let bytes = size_of::<T>().min(size).min(end);
    let mut value = unset;
    // SAFETY: the caller's structure has at least so many bytes, and ours too; they are apart, since ours is new.
    unsafe { std::ptr::copy_nonoverlapping(pointer.cast::<u8>(), (&raw mut value).cast::<u8>(), bytes) };
    Ok(value)
}

fn magic_of(initializer: &str) -> c_uint {
    const SIMULATION_MAGIC: c_uint = 0x7468_5283;
    if initializer == "SIM_INFO" { SIMULATION_MAGIC } else { API_MAGIC }
}

/// A caller's string, if there is one.
///
/// # Safety
/// `text` is null, or a string that ends in a zero byte and stays as it is during `'a`.
pub(crate) unsafe fn text<'a>(text: *const c_char) -> Option<&'a CStr> {
    // SAFETY: as the caller promises.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) })
}

fn flag(name: &str, value: c_int) -> Result<Option<bool>, Failure> {
    match value {
        UNDEF_INT => Ok(None),
        0 | 1 => Ok(Some(value == 1)),
        _ => Err(Failure::argument(format!("config->{name} is {value}; expected 0 or 1"))),
    }
}

fn unset() -> ncclConfig_t {
    ncclConfig_t {
        size: 0,
        magic: 0,
        version: 0,
        blocking: UNDEF_INT,
        cgaClusterSize: UNDEF_INT,
        minCTAs: UNDEF_INT,
        maxCTAs: UNDEF_INT,
        netName: std::ptr::null(),
        splitShare: UNDEF_INT,
        trafficClass: UNDEF_INT,
        commName: std::ptr::null(),
        collnetEnable: UNDEF_INT,
        CTAPolicy: UNDEF_INT,
        shrinkShare: UNDEF_INT,
        nvlsCTAs: UNDEF_INT,
        nChannelsPerNetPeer: UNDEF_INT,
        nvlinkCentricSched: UNDEF_INT,
        graphUsageMode: UNDEF_INT,
        numRmaCtx: UNDEF_INT,
        maxP2pPeers: UNDEF_INT,
        graphStreamOrdering: UNDEF_INT,
        launchOrderImplicit: UNDEF_INT,
        numRmaSig: UNDEF_INT,
        rmaEagerInit: UNDEF_INT,
        hostCftMode: UNDEF_INT,
        nvlsHostMode: UNDEF_INT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(config: &ncclConfig_t) -> Result<Settings, Failure> {
        let settings = Settings { blocking: true, device: 0, config: serried::Config::default() };
        // SAFETY: it is as long as a structure can be.
        unsafe { apply(config, settings) }
    }

    #[test]
    fn the_padding_of_earlier_versions_is_not_read() {
        let of = |version, size| ncclConfig_t { size, magic: API_MAGIC, version, ..unset() };
        // What an earlier one had as padding at its end, of any bytes.
        let first = |version| ncclConfig_t { blocking: 0, cgaClusterSize: -1, ..of(version, 24) };
        assert!(!applied(&first(21_400)).expect("sound").blocking);
        assert!(applied(&first(21_700)).is_err(), "there it is a field");
        let shared = |version| ncclConfig_t { trafficClass: 106, ..of(version, 48) };
        let class = |config| applied(&config).expect("sound").config.verbs.traffic_class;
        assert_eq!([class(shared(21_800)), class(shared(22_500))], [0, 106]);
        let too_much = ncclConfig_t { trafficClass: 256, ..of(22_500, 48) };
        assert_eq!(applied(&too_much).err().map(|failure| failure.what.contains("trafficClass")), Some(true));
    }
}

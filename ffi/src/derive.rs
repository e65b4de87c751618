//! Communicators made of others: split, shrunk, grown.

use crate::boundary::{export, null, place};
use crate::clique::Membership;
use crate::comm::{Comm, Settings, find};
use crate::config;
use crate::errors::Failure;
use crate::group;
use crate::init::{join_as, rank_and_size};
use crate::making::make;
use crate::meeting::fresh_id;
use crate::plan::rank_of;
use crate::together::Owner;
use crate::types::{ncclComm_t, ncclConfig_t, ncclUniqueId};
use serried::{CollectiveKind, Communicator, Config, UniqueId};
use std::collections::BTreeSet;
use std::ffi::c_int;
use std::sync::Arc;

/// The call by which the ranks of a communicator meet to split it, and to make it grow.
const SPLITS: CollectiveKind = CollectiveKind::Barrier;
const GROWS: CollectiveKind = CollectiveKind::AllGather;

/// The color of ranks that are in no new communicator.
const NOCOLOR: c_int = -1;

/// The settings of a communicator made of `parent`: its own or, if there are none, the parent's.
///
/// # Safety
/// `config` is null or points to settings as long as their `size` says.
unsafe fn settings(parent: &Comm, config: *const ncclConfig_t) -> Result<Settings, Failure> {
    // SAFETY: as the caller promises.
    unsafe { config::apply(config, parent.settings_of_child()) }
}

/// # Safety
/// `newcomm` is null or valid for writing a handle, until the group has ended if there is one; `config` as of [`settings`].
unsafe fn split(
    comm: ncclComm_t,
    (color, key): (c_int, c_int),
    newcomm: *mut ncclComm_t,
    config: *const ncclConfig_t,
) -> Result<(), Failure> {
    let parent = find(comm)?;
    parent.parent()?;
    // Counted also if it is refused: the others, who may refuse it later, count it.
    let number = parent.count_made();
    let checked = || {
        if newcomm.is_null() {
            return Err(null("newcomm"));
        }
        if color < NOCOLOR {
            return Err(Failure::argument(format!("color is {color}; expected 0 or more, or NCCL_SPLIT_NOCOLOR")));
        }
        // SAFETY: as the caller promises.
        unsafe { settings(&parent, config) }
    };
    let settings = checked().map_err(|failure| group::refuse_of_all(Owner::meeting(&parent, SPLITS), failure))?;
    let color = u32::try_from(color).ok();
    let origin = (parent.membership.key(), number, color);
    let config = settings.config.clone();
    let made = color.map(|_| Comm::new(settings, Membership::of(&origin)));
    let of = parent.clone();
    let join = move || {
        let whole = anew(&of, &config)?;
        let parent = whole.as_ref().map_or_else(|| of.known(), Ok)?;
        Ok(parent.split_with(color, i64::from(key), &config)?)
    };
    // SAFETY: as the caller promises.
    unsafe { make(newcomm, made, Some(Owner::meeting(&parent, SPLITS)), join) }
}

/// A communicator of the same ranks as one that was revoked, whose own calls have ended for good: by it they can agree on more. It is given up with what
/// is made of it.
fn anew(parent: &Comm, child: &Config) -> Result<Option<Communicator>, Failure> {
    if !parent.is_revoked() {
        return Ok(None);
    }
    let revoked = parent.known()?;
    let all: Vec<u32> = (0..revoked.size()).collect();
    let config = Config { control: child.control.clone(), ..parent.settings.config.clone() };
    Ok(Some(revoked.survivors(&all, &config)?))
}

/// The ranks that stay, ascending.
///
/// # Safety
/// `list` is null or points to `count` numbers.
unsafe fn survivors(list: *const c_int, count: c_int, rank: u32, size: u32) -> Result<Vec<u32>, Failure> {
    let count = usize::try_from(count).ok().filter(|count| *count > 0);
    let count = count.ok_or_else(|| Failure::argument("excludeRanksCount is less than 1"))?;
    if list.is_null() {
        return Err(null("excludeRanksList"));
    }
    if count >= size as usize {
        let what = format!("excludeRanksCount is {count}; of {size} ranks at least this one stays");
        return Err(Failure::argument(what));
    }
    // SAFETY: as the caller promises.
    let listed = unsafe { std::slice::from_raw_parts(list, count) };
    let excluded =
        listed.iter().map(|rank| rank_of("an excluded rank", *rank, size)).collect::<Result<BTreeSet<u32>, _>>()?;
    if excluded.len() != count {
        return Err(Failure::argument("excludeRanksList has a rank twice"));
    }
    if excluded.contains(&rank) {
        return Err(Failure::argument(format!("rank {rank} is excluded; only ranks that stay call it")));
    }
    Ok((0..size).filter(|rank| !excluded.contains(rank)).collect())
}

/// Calls of the parent end by themselves.
const SHRINK_DEFAULT: c_int = 0;
/// Calls of the parent are ended first, and it may be broken.
const SHRINK_ABORT: c_int = 1;

/// # Safety
/// As of [`split`]; `list` as of [`survivors`].
unsafe fn shrink(
    comm: ncclComm_t,
    (list, count): (*const c_int, c_int),
    newcomm: *mut ncclComm_t,
    config: *const ncclConfig_t,
    flags: c_int,
) -> Result<(), Failure> {
    let parent = find(comm)?;
    let communicator = match flags {
        SHRINK_DEFAULT => {
            let communicator = parent.parent()?;
            if !parent.is_revoked() {
                communicator.health()?;
            }
            communicator
        }
        SHRINK_ABORT => parent.known()?,
        _ => {
            return Err(Failure::argument(format!(
                "shrinkFlags are {flags:#x}; expected NCCL_SHRINK_DEFAULT or NCCL_SHRINK_ABORT"
            )));
        }
    };
    if newcomm.is_null() {
        return Err(null("newcomm"));
    }
    // SAFETY: as the caller promises.
    let staying = unsafe { survivors(list, count, communicator.rank(), communicator.size()) }?;
    // SAFETY: as the caller promises.
    let mut settings = unsafe { settings(&parent, config) }?;
    let origin = (parent.membership.key(), parent.count_shrunk(&staying), &staying);
    if flags == SHRINK_ABORT {
        parent.make_way();
        // This abort is not the one that ends it.
        settings.config.control.cancel = parent.settings_of_child().config.control.cancel;
    }
    let config = settings.config.clone();
    let made = Comm::new(settings, Membership::of(&origin));
    let of = parent.clone();
    let join = move || Ok(Some(of.known()?.survivors(&staying, &config)?));
    // SAFETY: as the caller promises.
    unsafe { make(newcomm, Some(made), Some(Owner { comm: parent, meets: None }), join) }
}

/// The bytes of an id.
type Id = [u8; UniqueId::SIZE];

/// An id that a rank does not have, that it has made, or that it was given for this.
const NO_ID: u8 = 0;
const MADE_ID: u8 = 1;
const GIVEN_ID: u8 = 2;

/// The id by which the ranks of `parent` and new ones meet, which those who have it tell the others. Where it was given it is not looked at who made one.
fn told(parent: &Communicator, given: Option<Id>, made: Option<Id>) -> Result<Id, Failure> {
    const TOLD: usize = UniqueId::SIZE + 1;
    let (of, id) = match (given, made) {
        (Some(id), _) => (GIVEN_ID, id),
        (None, Some(id)) => (MADE_ID, id),
        (None, None) => (NO_ID, [0; UniqueId::SIZE]),
    };
    let own: Vec<u8> = [of].into_iter().chain(id).collect();
    let mut all = vec![0u8; TOLD * parent.size() as usize];
    parent.all_gather(&own, &mut all)?;
    let best = all.iter().step_by(TOLD).copied().max().unwrap_or(NO_ID);
    let mut ids = all.chunks_exact(TOLD).filter(|told| told[0] == best && best != NO_ID).map(|told| &told[1..]);
    let first = ids.next().ok_or_else(|| {
        Failure::argument("no rank of comm has a unique id: one of them calls ncclCommGetUniqueId, or gives the id")
    })?;
    if ids.any(|id| id != first) {
        return Err(Failure::argument(
            "ranks of comm have different unique ids; one of them gives the id of the new ranks",
        ));
    }
    first.try_into().map_err(|_| Failure::internal("an id of another size"))
}

/// # Safety
/// As of [`split`]; `id` is null or points to an id.
unsafe fn grow(
    comm: ncclComm_t,
    (ranks, rank): (c_int, c_int),
    id: *const ncclUniqueId,
    newcomm: *mut ncclComm_t,
    config: *const ncclConfig_t,
) -> Result<(), Failure> {
    // SAFETY: null or as the caller promises.
    let id = unsafe { id.as_ref() };
    if comm.is_null() {
        if newcomm.is_null() {
            return Err(null("newcomm"));
        }
        let (rank, size) = rank_and_size(rank, ranks)?;
        let id = id.ok_or_else(|| null("uniqueId"))?;
        // SAFETY: as the caller promises.
        let settings = unsafe { config::apply(config, config::from_environment()?) }?;
        // SAFETY: as the caller promises.
        return unsafe { join_as(newcomm, (rank, size), id, settings) };
    }
    let parent = find(comm)?;
    let old = parent.ready()?.size();
    let number = parent.count_made();
    let checked = || {
        if newcomm.is_null() {
            return Err(null("newcomm"));
        }
        let size = u32::try_from(ranks).ok().filter(|size| *size > old);
        let size = size.ok_or_else(|| Failure::argument(format!("nRanks is {ranks}; comm has {old} already")))?;
        if rank != -1 {
            return Err(Failure::argument(format!("rank is {rank}; ranks of comm keep their numbers and give -1")));
        }
        // SAFETY: as the caller promises.
        Ok((size, unsafe { settings(&parent, config) }?))
    };
    let (size, settings) =
        checked().map_err(|failure| group::refuse_of_all(Owner::meeting(&parent, GROWS), failure))?;
    let config = settings.config.clone();
    let made = Comm::new(settings, Membership::of(&(parent.membership.key(), number, size)));
    let (of, given, new) = (parent.clone(), id.map(|id| id.internal), Arc::downgrade(&made));
    let join = move || {
        let parent = of.known()?;
        let (made, mut is_due) = (of.take_id(), true);
        let id = parent.unless_cancelled(&config.control.cancel, || {
            is_due = false;
            Ok(told(parent, given, made))
        });
        if is_due {
            // The others wait for it.
            parent.refuse(GROWS)?;
        }
        let id = id??;
        // As the new ranks do, which know nothing else.
        new.upgrade().inspect(|new| new.membership.move_to(&id));
        Ok(Some(parent.grow(&UniqueId::from_bytes(&id)?, size, &config)?))
    };
    // SAFETY: as the caller promises.
    unsafe { make(newcomm, Some(made), Some(Owner::meeting(&parent, GROWS)), join) }
}

export! {
    /// Parts the ranks by `color`, in the order of `key`. Ranks that give `NCCL_SPLIT_NOCOLOR` get no communicator, but call it, too. All ranks
    /// revoke the communicator before, or none does.
    fn ncclCommSplit | pncclCommSplit(
        comm: ncclComm_t, color: c_int, key: c_int, newcomm: *mut ncclComm_t, config: *mut ncclConfig_t,
    ) {
        // SAFETY: the caller's promise is the same.
        unsafe { split(comm, (color, key), newcomm, config) }.inspect_err(group::refuse)
    }

    /// Makes a communicator of the ranks that are not excluded, which alone call it. With `NCCL_SHRINK_ABORT` the parent's calls are ended, and it
    /// may be broken; otherwise it must be whole.
    fn ncclCommShrink | pncclCommShrink(
        comm: ncclComm_t, excludeRanksList: *mut c_int, excludeRanksCount: c_int, newcomm: *mut ncclComm_t,
        config: *mut ncclConfig_t, shrinkFlags: c_int,
    ) {
        let excluded = (excludeRanksList.cast_const(), excludeRanksCount);
        // SAFETY: the caller's promise is the same.
        unsafe { shrink(comm, excluded, newcomm, config, shrinkFlags) }.inspect_err(group::refuse)
    }

    /// Makes an id for [`ncclCommGrow`](pncclCommGrow).
    fn ncclCommGetUniqueId | pncclCommGetUniqueId(comm: ncclComm_t, uniqueId: *mut ncclUniqueId) {
        let comm = find(comm)?;
        comm.ready()?;
        // SAFETY: the caller's promise is the same.
        let place = unsafe { place(uniqueId, "uniqueId") }?;
        let id = fresh_id(&comm.settings.config.control)?;
        comm.keep_id(id.internal);
        place.write(id);
        Ok(())
    }

    /// Makes a communicator of `nRanks` ranks: those of `comm`, by their numbers, and new ones, which give no `comm` but the id. Of `comm`, a rank that
    /// has made the id, or was told it, may give it; all others give null.
    fn ncclCommGrow | pncclCommGrow(
        comm: ncclComm_t, nRanks: c_int, uniqueId: *const ncclUniqueId, rank: c_int, newcomm: *mut ncclComm_t,
        config: *mut ncclConfig_t,
    ) {
        // SAFETY: the caller's promise is the same.
        unsafe { grow(comm, (nRanks, rank), uniqueId, newcomm, config) }.inspect_err(group::refuse)
    }
}

//! The calls that move data: collectives and messages.
//!
//! On host memory a call has ended when it returns, or when its group's end does.

use crate::boundary::export;
use crate::comm::{Comm, find, with};
use crate::config::check_call;
use crate::cuda::order;
use crate::errors::Failure;
use crate::group::{self, Item, Letter};
use crate::plan::{Arguments, Kind, Plan, data_type, rank_of, span};
use crate::together::Owner;
use crate::types::{cudaStream_t, ncclCollConfig_t, ncclComm_t, ncclDataType_t, ncclRedOp_t};
use std::ffi::{c_int, c_void};
use std::sync::Arc;

/// Makes a collective call, or keeps it for the end of the group. `KIND` is a [`Kind`]'s number: each kind has code of its own, in which most of what
/// there is to decide has been.
///
/// # Safety
/// As `nccl.h` says of the call: the memory is there, of the size that count and type say, and nobody else uses it until the call has
/// ended.
#[inline(always)]
unsafe fn collective<const KIND: usize>(
    arguments: &Arguments,
    comm: ncclComm_t,
    stream: cudaStream_t,
) -> Result<(), Failure> {
    let checked = order(stream, &[arguments.send, arguments.receive.cast_const()]);
    if group::is_open() {
        return keep(Kind::ALL[KIND], arguments, comm, checked);
    }
    // SAFETY: as the caller promises.
    with(comm, |comm| unsafe { make(const { Kind::ALL[KIND] }, arguments, comm, checked) })
}

/// The same after a look at the call's settings. All kinds share this code, so that the other one has a single caller, and is inlined there.
///
/// # Safety
/// As of [`collective`]; `config` is null or points to settings as long as their `size` says.
#[inline(never)]
unsafe fn with_settings(
    kind: Kind,
    arguments: &Arguments,
    (comm, stream): (ncclComm_t, cudaStream_t),
    config: *const ncclCollConfig_t,
) -> Result<(), Failure> {
    // SAFETY: as the caller promises.
    let checked = unsafe { check_call(config) };
    let checked = checked.and_then(|()| order(stream, &[arguments.send, arguments.receive.cast_const()]));
    if group::is_open() {
        return keep(kind, arguments, comm, checked);
    }
    // SAFETY: as the caller promises.
    with(comm, |comm| unsafe { make(kind, arguments, comm, checked) })
}

/// Makes the call, if what was `checked` before is as it should be.
///
/// # Safety
/// As of [`collective`].
#[inline(always)]
unsafe fn make(kind: Kind, arguments: &Arguments, comm: &Comm, checked: Result<(), Failure>) -> Result<(), Failure> {
    tell(kind, arguments, comm);
    let communicator = comm.ready()?;
    // Each by itself, since a request is large to hand on.
    let refuse = |failure| refused(kind, comm, failure);
    checked.map_err(refuse)?;
    let plan = Plan::new(communicator.rank(), communicator.size(), kind, arguments).map_err(refuse)?;
    let reduction = match kind.reduces() {
        // SAFETY: as the caller promises.
        true => Some(unsafe { comm.operators.reduction(arguments.op, plan.data_type()) }.map_err(refuse)?),
        false => None,
    };
    // SAFETY: as the caller promises.
    let request = unsafe { plan.request(reduction) }.map_err(refuse)?;
    // No combinators where there is nothing to hand on.
    match communicator.run(request) {
        Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Counts a call that is refused.
#[cold]
fn refused(kind: Kind, comm: &Comm, failure: Failure) -> Failure {
    comm.refuse(kind.collective());
    failure
}

/// Keeps a collective call for the end of the group.
#[inline(never)]
fn keep(kind: Kind, arguments: &Arguments, comm: ncclComm_t, checked: Result<(), Failure>) -> Result<(), Failure> {
    let known = || {
        let comm = find(comm)?;
        tell(kind, arguments, &comm);
        comm.ready()?;
        Ok(comm)
    };
    let comm = known().inspect_err(group::refuse)?;
    let plan = || {
        checked?;
        let communicator = comm.ready()?;
        let plan = Plan::new(communicator.rank(), communicator.size(), kind, arguments)?;
        let operator = kind.reduces().then(|| comm.operators.find(arguments.op, plan.data_type())).transpose()?;
        Ok((plan, operator))
    };
    match plan() {
        Ok((plan, operator)) => group::keep(Item::Call(comm, plan, operator)),
        Err(failure) => return Err(group::refuse_of_all(Owner::meeting(&comm, kind.collective()), failure)),
    }
    Ok(())
}

/// Says the call in the log, as NCCL does, where `NCCL_DEBUG_SUBSYS` has COLL; otherwise one load.
#[inline(always)]
fn tell(kind: Kind, arguments: &Arguments, comm: &Comm) {
    if tracing::enabled!(target: "COLL", tracing::Level::INFO) {
        say(kind, arguments, comm);
    }
}

#[cold]
fn say(kind: Kind, arguments: &Arguments, comm: &Comm) {
    let Arguments { send, receive, count, data_type, op, root } = arguments;
    let key = comm.membership.key();
    tracing::info!(
        target: "COLL",
        "{kind:?}: sendbuff {send:p} recvbuff {receive:p} count {count} datatype {data_type} op {op} root {root} comm {key:#x}",
    );
}

/// Exports a collective and its variant with settings of one call; `root` and `op` are there if the collective has them.
macro_rules! collectives {
    ($($(#[$doc:meta])* $kind:ident: $name:ident | $twin:ident, $with:ident | $with_twin:ident
       (send, receive, $count:ident, data_type $(, $argument:ident: $type:ty)*);)*) => { export! {$(
        $(#[$doc])*
        fn $name | $twin(
            sendbuff: *const c_void, recvbuff: *mut c_void, $count: usize, datatype: ncclDataType_t
            $(, $argument: $type)*, comm: ncclComm_t, stream: cudaStream_t,
        ) {
            let nothing = Arguments { send: sendbuff, receive: recvbuff, count: $count, data_type: datatype, op: 0, root: 0 };
            let arguments = Arguments { $($argument,)* ..nothing };
            // SAFETY: as the caller promises.
            unsafe { collective::<{ Kind::$kind as usize }>(&arguments, comm, stream) }
        }

        #[doc = concat!("As [`", stringify!($twin), "`], with settings of its own.")]
        fn $with | $with_twin(
            sendbuff: *const c_void, recvbuff: *mut c_void, $count: usize, datatype: ncclDataType_t
            $(, $argument: $type)*, comm: ncclComm_t, stream: cudaStream_t, config: *const ncclCollConfig_t,
        ) {
            let nothing = Arguments { send: sendbuff, receive: recvbuff, count: $count, data_type: datatype, op: 0, root: 0 };
            let arguments = Arguments { $($argument,)* ..nothing };
            // SAFETY: as the caller promises.
            unsafe { with_settings(Kind::$kind, &arguments, (comm, stream), config) }
        }
    )*}};
}

collectives! {
    /// Every rank gets the reduction of every rank's input. In place if both buffers are the same.
    AllReduce: ncclAllReduce | pncclAllReduce, ncclAllReduceConfig | pncclAllReduceConfig
        (send, receive, count, data_type, op: ncclRedOp_t);
    /// The root gets the reduction of every rank's input; elsewhere `recvbuff` is not looked at. In place if both buffers are the same.
    Reduce: ncclReduce | pncclReduce, ncclReduceConfig | pncclReduceConfig
        (send, receive, count, data_type, op: ncclRedOp_t, root: c_int);
    /// Each rank gets its block of the reduction. In place if `recvbuff` is the own block of `sendbuff`.
    ReduceScatter: ncclReduceScatter | pncclReduceScatter, ncclReduceScatterConfig | pncclReduceScatterConfig
        (send, receive, recvcount, data_type, op: ncclRedOp_t);
    /// Every rank gets the root's input; elsewhere `sendbuff` is not looked at. In place if both buffers are the same.
    Broadcast: ncclBroadcast | pncclBroadcast, ncclBroadcastConfig | pncclBroadcastConfig
        (send, receive, count, data_type, root: c_int);
    /// Every rank gets every rank's block. In place if `sendbuff` is the own block of `recvbuff`.
    AllGather: ncclAllGather | pncclAllGather, ncclAllGatherConfig | pncclAllGatherConfig
        (send, receive, sendcount, data_type);
    /// The root gets every rank's block; elsewhere `recvbuff` is not looked at. In place if the root's `sendbuff` is its block of `recvbuff`.
    Gather: ncclGather | pncclGather, ncclGatherConfig | pncclGatherConfig
        (send, receive, count, data_type, root: c_int);
    /// Each rank gets its block of the root's input; elsewhere `sendbuff` is not looked at. In place if the root's `recvbuff` is its block of
    /// `sendbuff`.
    Scatter: ncclScatter | pncclScatter, ncclScatterConfig | pncclScatterConfig
        (send, receive, count, data_type, root: c_int);
    /// Each rank gets a block from every rank. Not in place.
    AllToAll: ncclAlltoAll | pncclAlltoAll, ncclAlltoAllConfig | pncclAlltoAllConfig
        (send, receive, count, data_type);
}

/// Makes one end of a message, or keeps it for the end of the group.
///
/// # Safety
/// As of [`collective`].
unsafe fn message(
    end: fn(Arc<Comm>, Letter) -> Item,
    (name, data, count): (&str, *const c_void, usize),
    (datatype, peer): (ncclDataType_t, c_int),
    (comm, stream): (ncclComm_t, cudaStream_t),
) -> Result<(), Failure> {
    order(stream, &[data]).inspect_err(group::refuse)?;
    let item = || {
        let comm = find(comm)?;
        let data_type = data_type(datatype)?;
        let peer = rank_of("peer", peer, comm.ready()?.size())?;
        let data = span(name, data, count, 1, data_type)?;
        Ok(end(comm, Letter { data_type, data, peer }))
    };
    if group::is_open() {
        group::keep(item().inspect_err(group::refuse)?);
        return Ok(());
    }
    // SAFETY: as the caller promises.
    unsafe { group::exchange(&[&item()?]) }
}

export! {
    /// Replaces the buffer by the root's.
    fn ncclBcast | pncclBcast(
        buff: *mut c_void, count: usize, datatype: ncclDataType_t, root: c_int, comm: ncclComm_t, stream: cudaStream_t,
    ) {
        let arguments = Arguments { send: buff, receive: buff, count, data_type: datatype, op: 0, root };
        // SAFETY: as the caller promises.
        unsafe { collective::<{ Kind::Broadcast as usize }>(&arguments, comm, stream) }
    }

    /// Sends to `peer`, which receives as many elements of the same type.
    fn ncclSend | pncclSend(
        sendbuff: *const c_void, count: usize, datatype: ncclDataType_t, peer: c_int, comm: ncclComm_t, stream: cudaStream_t,
    ) {
        // SAFETY: as the caller promises.
        unsafe { message(Item::Send, ("sendbuff", sendbuff, count), (datatype, peer), (comm, stream)) }
    }

    /// Receives from `peer`.
    fn ncclRecv | pncclRecv(
        recvbuff: *mut c_void, count: usize, datatype: ncclDataType_t, peer: c_int, comm: ncclComm_t, stream: cudaStream_t,
    ) {
        // SAFETY: as the caller promises.
        unsafe { message(Item::Receive, ("recvbuff", recvbuff, count), (datatype, peer), (comm, stream)) }
    }
}

//! Reliable connected queue pairs: made, connected, broken on purpose.

use super::abi::*;
use super::failure::{last_errno, outcome};
use super::{CompletionQueue, Context, Failure, Gid, Mtu, ProtectionDomain};
use rustix::io::Errno;
use std::ffi::c_int;
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;

/// Room of a queue pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Sends that may be outstanding.
    pub sends: u32,
    /// Receive requests that may be outstanding.
    pub receives: u32,
    /// Bytes that a send can carry inline.
    pub inline_bytes: u32,
}

/// The other end of a connection, as it says itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote {
    /// The number of its queue pair.
    pub number: u32,
    /// Its port's local identifier (InfiniBand).
    pub lid: u16,
    /// Its port's address (RoCE).
    pub gid: Gid,
    /// The number of the first packet that it sends, 24 bits.
    pub psn: u32,
}

/// How packets find the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addressing {
    /// By local identifier, without a global route: InfiniBand within a subnet. Not tested on hardware.
    Lid,
    /// By GID: RoCE, from the address at this index of the local port's table.
    Gid {
        /// The index.
        index: u8,
    },
}

/// How a connection runs. Numbers that are codes are explained in the InfiniBand specification, and in ibv_modify_qp(3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// The local port.
    pub port: u8,
    /// How packets find the other end.
    pub addressing: Addressing,
    /// The size of packets, the same at both ends.
    pub mtu: Mtu,
    /// The service level, 0 to 15.
    pub service_level: u8,
    /// The traffic class of packets with a global route: DSCP and ECN of RoCE v2.
    pub traffic_class: u8,
    /// How many routers packets may pass.
    pub hop_limit: u8,
    /// How long the peer must wait if it found no receive request here, as a code, 0 to 31.
    pub min_rnr_timer: u8,
    /// How long to wait for an acknowledgement, 4.096 µs × 2^this; 0 waits for ever.
    pub timeout: u8,
    /// How often to try again if none comes, 0 to 7; some devices (rxe) never give up at 7.
    pub retries: u8,
    /// How often to try again if the peer has no receive request; 7 is for ever.
    pub rnr_retries: u8,
}

/// One end of a reliable connection. Destroyed on drop, before what it was made from; work that is outstanding then is gone without a completion.
#[derive(Debug)]
pub struct QueuePair {
    raw: NonNull<ibv_qp>,
    pub(super) post_send: post_send,
    pub(super) post_recv: post_recv,
    granted: Capacity,
    domain: Arc<ProtectionDomain>,
    /// Kept until the queue pair is gone.
    _queues: [Arc<CompletionQueue>; 2],
}

// SAFETY: libibverbs may be used from any thread, and from several at once.
unsafe impl Send for QueuePair {}
// SAFETY: as above.
unsafe impl Sync for QueuePair {}

impl QueuePair {
    /// Makes a queue pair whose sends and receives complete in these queues. It may get more room than `wanted`, and less room for inline
    /// bytes: [`granted`](Self::granted) says.
    ///
    /// # Errors
    /// As the device says: more room than it has, or no more queue pairs.
    pub fn create(
        domain: &Arc<ProtectionDomain>,
        sends: &Arc<CompletionQueue>,
        receives: &Arc<CompletionQueue>,
        wanted: &Capacity,
    ) -> Result<Self, Failure> {
        let context = domain.context();
        let refused = |errno| context.refused("ibv_create_qp", errno);
        if [sends, receives].iter().any(|queue| !Arc::ptr_eq(queue.context(), context)) {
            return Err(refused(Errno::XDEV));
        }
        let mut inline_bytes = wanted.inline_bytes;
        let (raw, cap) = loop {
            match Self::attempt(domain, sends, receives, &Capacity { inline_bytes, ..*wanted }) {
                Ok(made) => break made,
                // Devices do not say how much they could carry inline; they refuse.
                Err(Errno::INVAL | Errno::NOMEM) if inline_bytes > 0 => inline_bytes /= 2,
                Err(errno) => return Err(refused(errno)),
            }
        };
        // SAFETY: an open device's table, filled by its driver.
        let ops = unsafe { (*context.raw()).ops };
        let (Some(post_send), Some(post_recv)) = (ops.post_send, ops.post_recv) else {
            // SAFETY: made above, and nobody has it.
            unsafe { (context.library().ibv_destroy_qp)(raw.as_ptr()) };
            return Err(refused(Errno::NOSYS));
        };
        let granted = Capacity { sends: cap.max_send_wr, receives: cap.max_recv_wr, inline_bytes: cap.max_inline_data };
        let _queues = [sends.clone(), receives.clone()];
        Ok(Self { raw, post_send, post_recv, granted, domain: domain.clone(), _queues })
    }

    fn attempt(
        domain: &Arc<ProtectionDomain>,
        sends: &Arc<CompletionQueue>,
        receives: &Arc<CompletionQueue>,
        wanted: &Capacity,
    ) -> Result<(NonNull<ibv_qp>, ibv_qp_cap), Errno> {
        let mut attributes = ibv_qp_init_attr {
            qp_context: null_mut(),
            send_cq: sends.raw(),
            recv_cq: receives.raw(),
            srq: null_mut(),
            cap: ibv_qp_cap {
                max_send_wr: wanted.sends,
                max_recv_wr: wanted.receives,
                max_send_sge: 1,
                max_recv_sge: 1,
                max_inline_data: wanted.inline_bytes,
            },
            qp_type: IBV_QPT_RC,
            sq_sig_all: 0,
        };
        // SAFETY: living objects of one device; the answer comes back in `attributes`.
        let raw = unsafe { (domain.context().library().ibv_create_qp)(domain.raw(), &raw mut attributes) };
        NonNull::new(raw).map(|raw| (raw, attributes.cap)).ok_or_else(last_errno)
    }

    /// Its number, which the peer must know.
    pub fn number(&self) -> u32 {
        // SAFETY: the queue pair lives.
        unsafe { (*self.raw()).qp_num }
    }

    /// What room it got.
    pub fn granted(&self) -> Capacity {
        self.granted
    }

    /// The device that it is of.
    pub fn context(&self) -> &Arc<Context> {
        self.domain.context()
    }

    /// Binds it to a port of the device; receive requests can be posted from then on.
    ///
    /// # Errors
    /// As the device says.
    pub fn to_init(&self, port: u8) -> Result<(), Failure> {
        let mut attributes = in_state(IBV_QPS_INIT);
        attributes.port_num = port;
        attributes.qp_access_flags = IBV_ACCESS_REMOTE_WRITE as u32;
        self.modify(&mut attributes, IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS)
    }

    /// Connects it: what the peer sends is received, and what is posted is sent, from packet `psn` on.
    ///
    /// # Errors
    /// As the device says: a GID index without an address, or a peer that cannot be routed to, for two.
    pub fn to_ready(&self, remote: &Remote, path: &Path, psn: u32) -> Result<(), Failure> {
        let mut attributes = in_state(IBV_QPS_RTR);
        attributes.path_mtu = path.mtu.number().into();
        attributes.dest_qp_num = remote.number & PSN_MASK;
        attributes.rq_psn = remote.psn & PSN_MASK;
        // Nothing is read through it; some drivers refuse 0.
        attributes.max_dest_rd_atomic = 1;
        attributes.min_rnr_timer = path.min_rnr_timer;
        attributes.ah_attr = route(remote, path);
        let receive = IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC;
        self.modify(&mut attributes, receive | IBV_QP_MIN_RNR_TIMER)?;

        let mut attributes = in_state(IBV_QPS_RTS);
        attributes.sq_psn = psn & PSN_MASK;
        attributes.timeout = path.timeout;
        attributes.retry_cnt = path.retries;
        attributes.rnr_retry = path.rnr_retries;
        attributes.max_rd_atomic = 1;
        let send = IBV_QP_SQ_PSN | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_MAX_QP_RD_ATOMIC;
        self.modify(&mut attributes, send)
    }

    /// Breaks it: all outstanding work completes, as [`Status::FLUSHED`](super::Status::FLUSHED) unless it was done.
    ///
    /// # Errors
    /// As the device says.
    pub fn to_error(&self) -> Result<(), Failure> {
        self.modify(&mut in_state(IBV_QPS_ERR), 0)
    }

    fn modify(&self, attributes: &mut ibv_qp_attr, mask: c_int) -> Result<(), Failure> {
        let call = match attributes.qp_state {
            IBV_QPS_INIT => "ibv_modify_qp to INIT",
            IBV_QPS_RTR => "ibv_modify_qp to RTR",
            IBV_QPS_RTS => "ibv_modify_qp to RTS",
            _ => "ibv_modify_qp to ERR",
        };
        let library = self.context().library();
        // SAFETY: the queue pair lives, and the attributes are whole.
        outcome(unsafe { (library.ibv_modify_qp)(self.raw(), &raw mut *attributes, mask | IBV_QP_STATE) })
            .map_err(|errno| self.context().refused(call, errno))
    }

    pub(super) fn raw(&self) -> *mut ibv_qp {
        self.raw.as_ptr()
    }

    pub(super) fn domain(&self) -> &Arc<ProtectionDomain> {
        &self.domain
    }
}

impl Drop for QueuePair {
    fn drop(&mut self) {
        // SAFETY: made by `create`; no event of it is taken without being acknowledged. That it fails can change nothing here.
        let _ = unsafe { (self.context().library().ibv_destroy_qp)(self.raw()) };
    }
}

/// Packet and queue pair numbers have 24 bits.
const PSN_MASK: u32 = 0xff_ffff;

fn in_state(state: c_int) -> ibv_qp_attr {
    // SAFETY: numbers and bytes, of which zero is one.
    let mut attributes: ibv_qp_attr = unsafe { std::mem::zeroed() };
    attributes.qp_state = state;
    attributes
}

fn route(remote: &Remote, path: &Path) -> ibv_ah_attr {
    let (is_global, sgid_index, dgid) = match path.addressing {
        Addressing::Lid => (0, 0, [0; 16]),
        Addressing::Gid { index } => (1, index, remote.gid.0),
    };
    ibv_ah_attr {
        grh: ibv_global_route {
            dgid: ibv_gid { raw: dgid, _aligned: [] },
            flow_label: 0,
            sgid_index,
            hop_limit: path.hop_limit,
            traffic_class: path.traffic_class,
        },
        dlid: remote.lid,
        sl: path.service_level,
        src_path_bits: 0,
        static_rate: 0,
        is_global,
        port_num: path.port,
    }
}

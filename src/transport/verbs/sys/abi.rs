//! The part of libibverbs' C interface that is used: structures and constants, under their C names. No code.
//!
//! Each declaration also makes a row for the test that compares it with the real headers (`oracle`), so nothing can be declared
//! and not compared. A structure marked `prefix` is only ever reached through a pointer that the library made, and ends here before what is
//! not used (mutexes, for one); of all others the size is compared too. Enumerations of C are plain integers here: what a device
//! reports need not be among the values known today. Fields whose name begins with an underscore are padding or not used.

#![allow(non_camel_case_types, dead_code)]

use std::ffi::{c_int, c_uint, c_void};

/// What the headers must agree with, of a structure: its size and alignment unless only a prefix is declared, and its
/// fields.
#[cfg(test)]
#[derive(Clone)]
pub(super) struct Layout {
    pub(super) name: &'static str,
    pub(super) size: Option<(usize, usize)>,
    pub(super) fields: Vec<Field>,
}

/// The same of a field.
#[cfg(test)]
#[derive(Clone)]
pub(super) struct Field {
    /// Its name here.
    pub(super) name: &'static str,
    /// Its name in C, or how to get there; empty if C has none.
    pub(super) path: &'static str,
    pub(super) offset: usize,
    pub(super) size: usize,
}

/// A function's name, types of arguments and type of result, as written here.
#[cfg(test)]
pub(super) type Prototype = (&'static str, &'static [&'static str], &'static str);

macro_rules! structures {
    (@size prefix $name:ident) => { None };
    (@size whole $name:ident) => { Some((size_of::<$name>(), align_of::<$name>())) };
    (@path $field:ident) => { stringify!($field) };
    (@path $field:ident $path:literal) => { $path };
    ($($kind:ident $name:ident { $($field:ident $(= $path:literal)?: $type:ty,)* })*) => {
        $(#[derive(Clone, Copy, Debug)]
        #[repr(C)]
        pub(super) struct $name { $(pub(super) $field: $type,)* })*

        /// Every structure of this file.
        #[cfg(test)]
        pub(super) fn layouts() -> Vec<Layout> {
            vec![$(Layout {
                name: stringify!($name),
                size: structures!(@size $kind $name),
                fields: vec![$(Field {
                    name: stringify!($field),
                    path: structures!(@path $field $($path)?),
                    offset: std::mem::offset_of!($name, $field),
                    size: size_of::<$type>(),
                },)*],
            },)*]
        }
    };
}

macro_rules! constants {
    ($type:ty: $($name:ident = $value:expr,)*) => {
        $(pub(super) const $name: $type = $value;)*

        /// Every constant of this file.
        #[cfg(test)]
        pub(super) const CONSTANTS: &[(&str, $type)] = &[$((stringify!($name), $name),)*];
    };
}

macro_rules! operations {
    ($($name:ident($($type:ty),*) -> $result:ty;)*) => {
        $(pub(super) type $name = unsafe extern "C" fn($($type),*) -> $result;)*

        /// The operations of a device that are called, which are slots of [`ibv_context_ops`].
        #[cfg(test)]
        pub(super) const OPERATIONS: &[Prototype] = &[
            $((stringify!($name), &[$(stringify!($type)),*], stringify!($result)),)*
        ];
    };
}

/// Made and looked into by the library alone.
#[derive(Debug)]
#[repr(C)]
pub(super) struct ibv_device {
    _opaque: [u8; 0],
}

/// Made and looked into by the library alone.
#[derive(Debug)]
#[repr(C)]
pub(super) struct ibv_pd {
    _opaque: [u8; 0],
}

operations! {
    poll_cq(*mut ibv_cq, c_int, *mut ibv_wc) -> c_int;
    req_notify_cq(*mut ibv_cq, c_int) -> c_int;
    post_send(*mut ibv_qp, *mut ibv_send_wr, *mut *mut ibv_send_wr) -> c_int;
    post_recv(*mut ibv_qp, *mut ibv_recv_wr, *mut *mut ibv_recv_wr) -> c_int;
}

/// A slot of the table that is not used here.
type slot = *mut c_void;

structures! {
    // In C it is a union with two numbers of 8 bytes, hence as aligned.
    whole ibv_gid { raw: [u8; 16], _aligned = "": [u64; 0], }
    whole ibv_gid_entry { gid: ibv_gid, gid_index: u32, port_num: u32, gid_type: u32, ndev_ifindex: u32, }

    whole ibv_device_attr {
        fw_ver: [u8; 64], node_guid: u64, sys_image_guid: u64, max_mr_size: u64, page_size_cap: u64,
        vendor_id: u32, vendor_part_id: u32, hw_ver: u32, max_qp: c_int, max_qp_wr: c_int, device_cap_flags: c_uint,
        max_sge: c_int, max_sge_rd: c_int, max_cq: c_int, max_cqe: c_int, max_mr: c_int, max_pd: c_int,
        max_qp_rd_atom: c_int, max_ee_rd_atom: c_int, max_res_rd_atom: c_int, max_qp_init_rd_atom: c_int,
        max_ee_init_rd_atom: c_int, atomic_cap: c_int, max_ee: c_int, max_rdd: c_int, max_mw: c_int,
        max_raw_ipv6_qp: c_int, max_raw_ethy_qp: c_int, max_mcast_grp: c_int, max_mcast_qp_attach: c_int,
        max_total_mcast_qp_attach: c_int, max_ah: c_int, max_fmr: c_int, max_map_per_fmr: c_int, max_srq: c_int,
        max_srq_wr: c_int, max_srq_sge: c_int, max_pkeys: u16, local_ca_ack_delay: u8, phys_port_cnt: u8,
    }

    whole ibv_port_attr {
        state: c_int, max_mtu: c_int, active_mtu: c_int, gid_tbl_len: c_int, port_cap_flags: u32, max_msg_sz: u32,
        bad_pkey_cntr: u32, qkey_viol_cntr: u32, pkey_tbl_len: u16, lid: u16, sm_lid: u16, lmc: u8, max_vl_num: u8,
        sm_sl: u8, subnet_timeout: u8, init_type_reply: u8, active_width: u8, active_speed: u8, phys_state: u8,
        link_layer: u8, flags: u8, port_cap_flags2: u16,
    }

    whole ibv_context_ops {
        _before_poll = "_compat_query_device": [slot; 11],
        poll_cq: Option<poll_cq>,
        req_notify_cq: Option<req_notify_cq>,
        _after_notify = "_compat_cq_event": [slot; 7],
        post_srq_recv: slot,
        _before_send = "_compat_create_qp": [slot; 4],
        post_send: Option<post_send>,
        post_recv: Option<post_recv>,
        _after_recv = "_compat_create_ah": [slot; 5],
    }

    prefix ibv_context {
        device: *mut ibv_device, ops: ibv_context_ops, cmd_fd: c_int, async_fd: c_int, num_comp_vectors: c_int,
    }

    whole ibv_comp_channel { context: *mut ibv_context, fd: c_int, refcnt: c_int, }
    prefix ibv_cq {
        context: *mut ibv_context, channel: *mut ibv_comp_channel, cq_context: *mut c_void, handle: u32, cqe: c_int,
    }

    whole ibv_mr {
        context: *mut ibv_context, pd: *mut ibv_pd, addr: *mut c_void, length: usize, handle: u32, lkey: u32, rkey: u32,
    }

    prefix ibv_qp {
        context: *mut ibv_context, qp_context: *mut c_void, pd: *mut ibv_pd, send_cq: *mut ibv_cq, recv_cq: *mut ibv_cq,
        srq: *mut c_void, handle: u32, qp_num: u32, state: c_int, qp_type: c_int,
    }

    whole ibv_qp_cap {
        max_send_wr: u32, max_recv_wr: u32, max_send_sge: u32, max_recv_sge: u32, max_inline_data: u32,
    }

    whole ibv_qp_init_attr {
        qp_context: *mut c_void, send_cq: *mut ibv_cq, recv_cq: *mut ibv_cq, srq: *mut c_void, cap: ibv_qp_cap,
        qp_type: c_int, sq_sig_all: c_int,
    }

    whole ibv_global_route { dgid: ibv_gid, flow_label: u32, sgid_index: u8, hop_limit: u8, traffic_class: u8, }
    whole ibv_ah_attr {
        grh: ibv_global_route, dlid: u16, sl: u8, src_path_bits: u8, static_rate: u8, is_global: u8, port_num: u8,
    }

    whole ibv_qp_attr {
        qp_state: c_int, cur_qp_state: c_int, path_mtu: c_int, path_mig_state: c_int, qkey: u32, rq_psn: u32,
        sq_psn: u32, dest_qp_num: u32, qp_access_flags: c_uint, cap: ibv_qp_cap, ah_attr: ibv_ah_attr,
        alt_ah_attr: ibv_ah_attr, pkey_index: u16, alt_pkey_index: u16, en_sqd_async_notify: u8, sq_draining: u8,
        max_rd_atomic: u8, max_dest_rd_atomic: u8, min_rnr_timer: u8, port_num: u8, timeout: u8, retry_cnt: u8,
        rnr_retry: u8, alt_port_num: u8, alt_timeout: u8, rate_limit: u32,
    }

    whole ibv_sge { addr: u64, length: u32, lkey: u32, }
    whole ibv_send_wr {
        wr_id: u64, next: *mut ibv_send_wr, sg_list: *mut ibv_sge, num_sge: c_int, opcode: c_int, send_flags: c_uint,
        imm_data: u32,
        remote_addr = "wr.rdma.remote_addr": u64,
        rkey = "wr.rdma.rkey": u32,
        // Operations that are not used: 32 bytes for atomics here, shared receive queue, memory window.
        _atomic = "": [u32; 5],
        _xrc = "qp_type": u32,
        _window = "bind_mw": [u64; 6],
    }

    whole ibv_recv_wr { wr_id: u64, next: *mut ibv_recv_wr, sg_list: *mut ibv_sge, num_sge: c_int, }

    whole ibv_wc {
        wr_id: u64, status: c_int, opcode: c_int, vendor_err: u32, byte_len: u32, imm_data: u32, qp_num: u32,
        src_qp: u32, wc_flags: c_uint, pkey_index: u16, slid: u16, sl: u8, dlid_path_bits: u8,
    }

    // The element is a pointer, or a port's number in its first bytes.
    whole ibv_async_event { element: *mut c_void, event_type: c_int, }
}

constants! { c_int:
    IBV_GID_TYPE_IB = 0,
    IBV_GID_TYPE_ROCE_V1 = 1,
    IBV_GID_TYPE_ROCE_V2 = 2,

    IBV_MTU_256 = 1,
    IBV_MTU_512 = 2,
    IBV_MTU_1024 = 3,
    IBV_MTU_2048 = 4,
    IBV_MTU_4096 = 5,

    IBV_PORT_NOP = 0,
    IBV_PORT_DOWN = 1,
    IBV_PORT_INIT = 2,
    IBV_PORT_ARMED = 3,
    IBV_PORT_ACTIVE = 4,
    IBV_PORT_ACTIVE_DEFER = 5,

    IBV_LINK_LAYER_UNSPECIFIED = 0,
    IBV_LINK_LAYER_INFINIBAND = 1,
    IBV_LINK_LAYER_ETHERNET = 2,

    IBV_EVENT_CQ_ERR = 0,
    IBV_EVENT_QP_FATAL = 1,
    IBV_EVENT_QP_REQ_ERR = 2,
    IBV_EVENT_QP_ACCESS_ERR = 3,
    IBV_EVENT_COMM_EST = 4,
    IBV_EVENT_SQ_DRAINED = 5,
    IBV_EVENT_PATH_MIG = 6,
    IBV_EVENT_PATH_MIG_ERR = 7,
    IBV_EVENT_DEVICE_FATAL = 8,
    IBV_EVENT_PORT_ACTIVE = 9,
    IBV_EVENT_PORT_ERR = 10,
    IBV_EVENT_LID_CHANGE = 11,
    IBV_EVENT_PKEY_CHANGE = 12,
    IBV_EVENT_SM_CHANGE = 13,
    IBV_EVENT_SRQ_ERR = 14,
    IBV_EVENT_SRQ_LIMIT_REACHED = 15,
    IBV_EVENT_QP_LAST_WQE_REACHED = 16,
    IBV_EVENT_CLIENT_REREGISTER = 17,
    IBV_EVENT_GID_CHANGE = 18,
    IBV_EVENT_WQ_FATAL = 19,

    IBV_WC_SUCCESS = 0,
    IBV_WC_LOC_LEN_ERR = 1,
    IBV_WC_LOC_QP_OP_ERR = 2,
    IBV_WC_LOC_PROT_ERR = 4,
    IBV_WC_WR_FLUSH_ERR = 5,
    IBV_WC_REM_INV_REQ_ERR = 9,
    IBV_WC_REM_ACCESS_ERR = 10,
    IBV_WC_REM_OP_ERR = 11,
    IBV_WC_RETRY_EXC_ERR = 12,
    IBV_WC_RNR_RETRY_EXC_ERR = 13,

    IBV_WC_RDMA_WRITE = 1,
    IBV_WC_RECV_RDMA_WITH_IMM = 129,

    IBV_ACCESS_LOCAL_WRITE = 1,
    IBV_ACCESS_REMOTE_WRITE = 2,

    IBV_QPT_RC = 2,

    IBV_QP_STATE = 1 << 0,
    IBV_QP_ACCESS_FLAGS = 1 << 3,
    IBV_QP_PKEY_INDEX = 1 << 4,
    IBV_QP_PORT = 1 << 5,
    IBV_QP_AV = 1 << 7,
    IBV_QP_PATH_MTU = 1 << 8,
    IBV_QP_TIMEOUT = 1 << 9,
    IBV_QP_RETRY_CNT = 1 << 10,
    IBV_QP_RNR_RETRY = 1 << 11,
    IBV_QP_RQ_PSN = 1 << 12,
    IBV_QP_MAX_QP_RD_ATOMIC = 1 << 13,
    IBV_QP_MIN_RNR_TIMER = 1 << 15,
    IBV_QP_SQ_PSN = 1 << 16,
    IBV_QP_MAX_DEST_RD_ATOMIC = 1 << 17,
    IBV_QP_DEST_QPN = 1 << 20,

    IBV_QPS_RESET = 0,
    IBV_QPS_INIT = 1,
    IBV_QPS_RTR = 2,
    IBV_QPS_RTS = 3,
    IBV_QPS_ERR = 6,

    IBV_WR_RDMA_WRITE = 0,
    IBV_WR_RDMA_WRITE_WITH_IMM = 1,

    IBV_SEND_SIGNALED = 1 << 1,
    IBV_SEND_INLINE = 1 << 3,
}

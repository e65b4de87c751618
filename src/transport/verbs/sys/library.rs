//! libibverbs, opened once a process at run time. A machine without it gets the reason as a value.

use super::abi::*;
use std::ffi::{c_char, c_int, c_uint, c_void};
use std::sync::OnceLock;

/// The name that every build of rdma-core gives it since there is one.
const NAME: &str = "libibverbs.so.1";

/// Why verbs cannot be used in this process, in one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub(super) String);

/// Declares the functions, opens them, and lists their prototypes for the comparison with the headers.
macro_rules! functions {
    (
        required { $(fn $name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)?;)* }
        optional { $(fn $maybe:ident($($maybe_argument:ident: $maybe_type:ty),*) -> $maybe_result:ty;)* }
    ) => {
        /// The functions of libibverbs that are used.
        #[derive(Debug)]
        pub(super) struct Library {
            $(pub(super) $name: unsafe extern "C" fn($($type),*) $(-> $result)?,)*
            $(pub(super) $maybe: Option<unsafe extern "C" fn($($maybe_type),*) -> $maybe_result>,)*
            /// Keeps the functions where they are. Declared last, though nothing above needs an end.
            _handle: libloading::Library,
        }

        impl Library {
            fn open(name: &str) -> Result<Self, Unavailable> {
                // SAFETY: what a library does while it is loaded is its own affair; this one only sets up tables.
                let handle = unsafe { libloading::Library::new(name) }
                    .map_err(|e| Unavailable(format!("{name} cannot be opened: {}", reason(&e).trim_start_matches(&format!("{name}: ")))))?;
                Ok(Self {
                    $($name: {
                        // SAFETY: the signature is the one of the headers; `oracle` compares them.
                        *unsafe { handle.get(concat!(stringify!($name), "\0").as_bytes()) }
                            .map_err(|_| Unavailable(format!("{name} has no {}: it is too old", stringify!($name))))?
                    },)*
                    $($maybe: {
                        // SAFETY: as above.
                        unsafe { handle.get(concat!(stringify!($maybe), "\0").as_bytes()) }.ok().map(|symbol| *symbol)
                    },)*
                    _handle: handle,
                })
            }
        }

        /// All of them, for the comparison.
        #[cfg(test)]
        pub(super) const PROTOTYPES: &[Prototype] = &[
            $((stringify!($name), &[$(stringify!($type)),*], concat!($(stringify!($result))?)),)*
            $((stringify!($maybe), &[$(stringify!($maybe_type)),*], stringify!($maybe_result)),)*
        ];
    };
}

functions! {
    required {
        fn ibv_get_device_list(count: *mut c_int) -> *mut *mut ibv_device;
        fn ibv_free_device_list(list: *mut *mut ibv_device);
        fn ibv_get_device_name(device: *mut ibv_device) -> *const c_char;
        fn ibv_open_device(device: *mut ibv_device) -> *mut ibv_context;
        fn ibv_close_device(context: *mut ibv_context) -> c_int;
        fn ibv_query_device(context: *mut ibv_context, attributes: *mut ibv_device_attr) -> c_int;
        fn ibv_query_port(context: *mut ibv_context, port: u8, attributes: *mut ibv_port_attr) -> c_int;
        fn ibv_alloc_pd(context: *mut ibv_context) -> *mut ibv_pd;
        fn ibv_dealloc_pd(pd: *mut ibv_pd) -> c_int;
        fn ibv_reg_mr(pd: *mut ibv_pd, address: *mut c_void, length: usize, access: c_int) -> *mut ibv_mr;
        fn ibv_dereg_mr(mr: *mut ibv_mr) -> c_int;
        fn ibv_create_comp_channel(context: *mut ibv_context) -> *mut ibv_comp_channel;
        fn ibv_destroy_comp_channel(channel: *mut ibv_comp_channel) -> c_int;
        fn ibv_create_cq(
            context: *mut ibv_context,
            entries: c_int,
            user: *mut c_void,
            channel: *mut ibv_comp_channel,
            vector: c_int
        ) -> *mut ibv_cq;
        fn ibv_destroy_cq(cq: *mut ibv_cq) -> c_int;
        fn ibv_get_cq_event(channel: *mut ibv_comp_channel, cq: *mut *mut ibv_cq, user: *mut *mut c_void) -> c_int;
        fn ibv_ack_cq_events(cq: *mut ibv_cq, count: c_uint);
        fn ibv_create_qp(pd: *mut ibv_pd, attributes: *mut ibv_qp_init_attr) -> *mut ibv_qp;
        fn ibv_modify_qp(qp: *mut ibv_qp, attributes: *mut ibv_qp_attr, mask: c_int) -> c_int;
        fn ibv_destroy_qp(qp: *mut ibv_qp) -> c_int;
        fn ibv_get_async_event(context: *mut ibv_context, event: *mut ibv_async_event) -> c_int;
        fn ibv_ack_async_event(event: *mut ibv_async_event);
        fn ibv_wc_status_str(status: c_int) -> *const c_char;
        fn ibv_event_type_str(event: c_int) -> *const c_char;
    }
    optional {
        // Since rdma-core 32.
        fn _ibv_query_gid_table(
            context: *mut ibv_context,
            entries: *mut ibv_gid_entry,
            entries_max: usize,
            flags: u32,
            entry_bytes: usize
        ) -> isize;
    }
}

/// The library, opened on first use and never closed.
pub(super) fn library() -> Result<&'static Library, Unavailable> {
    static LIBRARY: OnceLock<Result<Library, Unavailable>> = OnceLock::new();
    LIBRARY.get_or_init(|| Library::open(NAME)).as_ref().map_err(Clone::clone)
}

/// The innermost of what an error says, in one line.
fn reason(error: &dyn std::error::Error) -> String {
    let innermost = std::iter::successors(Some(error), |error| error.source()).last().unwrap_or(error);
    innermost.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_not_there_is_a_reason_in_one_line() {
        let why = Library::open("libibverbs-of-nobody.so.1").expect_err("nobody has it").to_string();
        assert!(why.starts_with("libibverbs-of-nobody.so.1 cannot be opened: "), "{why}");
        assert!(why.lines().count() == 1 && why.contains("No such file"), "{why}");
    }

    #[test]
    fn a_library_without_the_functions_is_a_reason_too() {
        let why = Library::open("libc.so.6").expect_err("it has other functions").to_string();
        assert_eq!(why, "libc.so.6 has no ibv_get_device_list: it is too old");
    }
}

//! Failures as C callers get them: a code, and the sentence that `ncclGetLastError` gives afterwards.

use crate::names::own_name;
use crate::types::ncclComm_t;
use crate::{environment, ncclResult_t};
use serried::Error;
use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::ops::Deref;
use std::sync::{Mutex, PoisonError};

/// Why a call failed. A pointer, for a small call is made of steps that each might fail, and pays for what is handed on between them.
#[derive(Clone, Debug)]
pub(crate) struct Failure(Box<Reason>);

/// A code, and its sentence.
#[derive(Clone, Debug)]
pub(crate) struct Reason {
    pub(crate) result: ncclResult_t,
    pub(crate) what: String,
}

impl Deref for Failure {
    type Target = Reason;

    fn deref(&self) -> &Reason {
        &self.0
    }
}

impl Failure {
    #[cold]
    pub(crate) fn new(result: ncclResult_t, what: impl Into<String>) -> Self {
        Self(Box::new(Reason { result, what: what.into() }))
    }

    pub(crate) fn argument(what: impl Into<String>) -> Self {
        Self::new(ncclResult_t::InvalidArgument, what)
    }

    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::new(ncclResult_t::InvalidUsage, what)
    }

    pub(crate) fn internal(what: impl Into<String>) -> Self {
        Self::new(ncclResult_t::InternalError, what)
    }

    /// No failure: what was asked for goes on, and `ncclCommGetAsyncError` tells how it ends.
    pub(crate) fn in_progress() -> Self {
        Self::new(ncclResult_t::InProgress, String::new())
    }

    /// What this library does not do, as a sentence.
    pub(crate) fn unsupported(what: &str) -> Self {
        Self::usage(format!("not supported: {what}"))
    }
}

impl From<Error> for Failure {
    #[cold]
    fn from(error: Error) -> Self {
        let origin = match &error {
            Error::Setting { name, .. } => environment::origin(name),
            _ => None,
        };
        let origin = origin.map_or_else(String::new, |origin| format!("{origin}: "));
        Self::new(code(&error), format!("{origin}{error}"))
    }
}

/// The code that says the most about an error.
pub(crate) fn code(error: &Error) -> ncclResult_t {
    match error {
        Error::Peer { .. } | Error::Unreachable { .. } => ncclResult_t::RemoteError,
        Error::Timeout { .. } | Error::Missing { .. } => ncclResult_t::Timeout,
        Error::Mismatch { .. } | Error::Setting { .. } | Error::Cancelled { .. } => ncclResult_t::InvalidUsage,
        Error::InvalidArgument { .. } => ncclResult_t::InvalidArgument,
        Error::System { .. } => ncclResult_t::SystemError,
        _ => ncclResult_t::InternalError,
    }
}

thread_local! {
    /// This thread's last failure.
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
    /// What `ncclGetLastError` last returned to this thread, which may still read it.
    static SHOWN: RefCell<CString> = RefCell::default();
}

/// The process' last failure, for threads that had none: a watchdog asks about what happened to others.
static ANY: Mutex<String> = Mutex::new(String::new());

/// Remembers the failure of `function`, and gives its code.
#[cold]
pub(crate) fn record(function: &str, failure: &Failure) -> ncclResult_t {
    if failure.result != ncclResult_t::InProgress {
        note(format!("{function}: {}", failure.what));
    }
    failure.result
}

/// Remembers a sentence as the last failure.
pub(crate) fn note(text: String) {
    tracing::debug!(text, "a call of the C interface failed");
    ANY.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&text);
    // A thread that is on its way out has nobody who asks.
    let _ = LAST.try_with(|last| last.replace(Some(text)));
}

fn last() -> *const c_char {
    let own = LAST.try_with(|last| last.borrow().clone()).ok().flatten();
    let text = own.unwrap_or_else(|| ANY.lock().unwrap_or_else(PoisonError::into_inner).clone());
    let text = CString::new(text.replace('\0', "?")).unwrap_or_default();
    let shown = SHOWN.try_with(|shown| {
        shown.replace(text);
        shown.borrow().as_ptr()
    });
    shown.unwrap_or(c"".as_ptr())
}

/// The sentence of this thread's last failure or, if it had none, of the process'; empty if all went well. Whichever communicator is given: the
/// sentence names rank and call. It is the caller's until the same thread asks again.
#[unsafe(no_mangle)]
#[allow(non_snake_case)]
pub extern "C" fn pncclGetLastError(_comm: ncclComm_t) -> *const c_char {
    std::panic::catch_unwind(last).unwrap_or(c"".as_ptr())
}
own_name!(ncclGetLastError = pncclGetLastError(comm: ncclComm_t) -> *const c_char);

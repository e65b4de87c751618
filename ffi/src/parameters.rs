//! Parameters: the environment variables that the library reads, by NCCL's functions for them, and its own version.
//!
//! A value is the variable's text as it is now; of a variable that is not set, the empty text, which is no number.

use crate::boundary::{export, guard, null, place};
use crate::config::text;
use crate::environment::{self, READ};
use crate::errors::Failure;
use crate::handles::{Kind, decode, encode};
use crate::log::complain;
use crate::names::own_name;
use crate::types::ncclParamHandle_t;
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fmt::Display;
use std::thread::LocalKey;

/// The parameter that is no variable: serried's own version. NCCL has none of this name, which tells a program which library it has loaded.
const VERSION: &CStr = c"SERRIED_VERSION";

/// Every parameter.
const KEYS: [&CStr; READ.len() + 1] = {
    let mut keys = [VERSION; READ.len() + 1];
    keys.split_at_mut(1).1.copy_from_slice(&READ);
    keys
};

thread_local! {
    /// What `ncclParamGetStr` last returned to this thread.
    static BOUND: RefCell<CString> = RefCell::default();
    /// The same of `ncclParamGetParameter`.
    static NAMED: RefCell<CString> = RefCell::default();
    /// The same of `ncclParamGetAllParameterKeys`.
    static LISTED: RefCell<[*const c_char; KEYS.len()]> = const { RefCell::new([std::ptr::null(); KEYS.len()]) };
}

fn value(key: &CStr) -> String {
    if key == VERSION {
        return env!("CARGO_PKG_VERSION").to_owned();
    }
    environment::variable(&key.to_string_lossy()).unwrap_or_default()
}

fn number_of(key: *const c_char) -> Result<usize, Failure> {
    // SAFETY: null, or the caller's string.
    let key = unsafe { text(key) }.ok_or_else(|| null("key"))?;
    let number = KEYS.iter().position(|known| *known == key);
    number.ok_or_else(|| Failure::argument(format!("{} is no parameter of this library", key.to_string_lossy())))
}

fn key_of(handle: ncclParamHandle_t) -> Result<&'static CStr, Failure> {
    let number = decode(Kind::Parameter, handle).and_then(|number| usize::try_from(number).ok());
    let key = number.and_then(|number| KEYS.get(number)).copied();
    key.ok_or_else(|| Failure::argument("h is no handle on a parameter"))
}

/// Shows a text to the caller, until the same thread asks again.
fn show(at: &'static LocalKey<RefCell<CString>>, text: String) -> *const c_char {
    // A variable has no zero bytes.
    at.replace(CString::new(text).unwrap_or_default());
    at.with_borrow(|shown| shown.as_ptr())
}

fn integer<T: TryFrom<i128>>(handle: ncclParamHandle_t) -> Result<T, Failure> {
    let key = key_of(handle)?;
    let text = value(key);
    let fits = environment::number(&text).and_then(|number| T::try_from(number).ok());
    fits.ok_or_else(|| Failure::argument(format!("{}={text:?} is no number of this type", key.to_string_lossy())))
}

/// Exports the functions that read a parameter as an integer.
macro_rules! integers {
    ($($name:ident | $twin:ident: $type:ty;)*) => { export! {$(
        #[doc = concat!("Stores the parameter's value as a number of type ", stringify!($type), ".")]
        fn $name | $twin(h: ncclParamHandle_t, out: *mut $type) {
            // SAFETY: the caller's promise is the same.
            let place = unsafe { place(out, "out") }?;
            place.write(integer(h)?);
            Ok(())
        }
    )*}};
}

integers! {
    ncclParamGetI8 | pncclParamGetI8: i8;
    ncclParamGetI16 | pncclParamGetI16: i16;
    ncclParamGetI32 | pncclParamGetI32: i32;
    ncclParamGetI64 | pncclParamGetI64: i64;
    ncclParamGetU8 | pncclParamGetU8: u8;
    ncclParamGetU16 | pncclParamGetU16: u16;
    ncclParamGetU32 | pncclParamGetU32: u32;
    ncclParamGetU64 | pncclParamGetU64: u64;
}

export! {
    /// Stores a handle on the parameter with this key.
    fn ncclParamBind | pncclParamBind(out: *mut ncclParamHandle_t, key: *const c_char) {
        // SAFETY: the caller's promise is the same.
        let place = unsafe { place(out, "out") }?;
        place.write(encode(Kind::Parameter, number_of(key)? as u64));
        Ok(())
    }

    /// Stores the parameter's text, which is the caller's to read until the same thread asks again.
    fn ncclParamGetStr | pncclParamGetStr(h: ncclParamHandle_t, out: *mut *const c_char) {
        // SAFETY: the caller's promise is the same.
        let place = unsafe { place(out, "out") }?;
        place.write(show(&BOUND, value(key_of(h)?)));
        Ok(())
    }

    /// Copies the bytes of the parameter's text, of which there may be `maxLen`, and stores how many they are.
    fn ncclParamGet | pncclParamGet(h: ncclParamHandle_t, out: *mut c_void, maxLen: c_int, len: *mut c_int) {
        // SAFETY: the caller's promise is the same.
        let place = unsafe { place(len, "len") }?;
        if out.is_null() {
            return Err(null("out"));
        }
        let text = value(key_of(h)?);
        let bytes = c_int::try_from(text.len()).ok().filter(|bytes| *bytes <= maxLen);
        let bytes = bytes.ok_or_else(|| Failure::argument(format!("maxLen is {maxLen}; the value has {} bytes", text.len())))?;
        // SAFETY: the caller has room for `maxLen` bytes, which is as many or more; ours are apart.
        unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), out.cast::<u8>(), text.len()) };
        place.write(bytes);
        Ok(())
    }

    /// Stores the text of the parameter with this key, and how long it is; it is the caller's to read until the same thread asks again.
    fn ncclParamGetParameter | pncclParamGetParameter(key: *const c_char, value: *mut *const c_char, valueLen: *mut c_int) {
        // SAFETY: the caller's promise is the same.
        let (at, length) = unsafe { (place(value, "value")?, place(valueLen, "valueLen")?) };
        let text = self::value(KEYS[number_of(key)?]);
        length.write(c_int::try_from(text.len()).unwrap_or(c_int::MAX));
        at.write(show(&NAMED, text));
        Ok(())
    }

    /// Stores the table of all keys, and how many they are; it is the caller's to read until the same thread asks again.
    fn ncclParamGetAllParameterKeys | pncclParamGetAllParameterKeys(table: *mut *mut *const c_char, tableLen: *mut c_int) {
        // SAFETY: the caller's promise is the same.
        let (at, length) = unsafe { (place(table, "table")?, place(tableLen, "tableLen")?) };
        LISTED.set(KEYS.map(CStr::as_ptr));
        at.write(LISTED.with(|listed| listed.as_ptr().cast()));
        length.write(KEYS.len() as c_int);
        Ok(())
    }
}

/// Writes every parameter that is set to the standard error.
fn dump() -> Result<(), Failure> {
    let line = |key: &CStr, text: &dyn Display| complain(&format!("{}={text}", key.to_string_lossy()));
    KEYS.iter()
        .map(|key| (key, value(key)))
        .filter(|(_, text)| !text.is_empty())
        .for_each(|(key, text)| line(key, &text));
    Ok(())
}

/// Writes every parameter that is set to the standard error.
#[unsafe(no_mangle)]
#[allow(non_snake_case)]
pub extern "C" fn pncclParamDumpAll() {
    guard("ncclParamDumpAll", dump);
}
own_name!(ncclParamDumpAll = pncclParamDumpAll());

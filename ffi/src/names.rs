//! The names of exported functions without `p`, which programs call and interposers replace. Knows nothing of what the functions do.

/// Gives an exported function its name without `p`, as a weak symbol: a program's own definition comes before it, also where the library is
/// linked in whole. Stable Rust has no weak definitions, so it is made in assembly.
#[cfg(weak_names)]
macro_rules! own_name {
    ($name:ident = unsafe $twin:ident $($rest:tt)*) => { $crate::names::own_name!($name = $twin $($rest)*); };
    ($name:ident = $twin:ident $($rest:tt)*) => {
        std::arch::global_asm!(
            concat!(".pushsection .text.", stringify!($name), ",\"ax\",%progbits"),
            concat!(".weak ", stringify!($name)),
            concat!(".type ", stringify!($name), ",%function"),
            concat!(stringify!($name), ":"),
            $crate::names::jump!(),
            concat!(".size ", stringify!($name), ", . - ", stringify!($name)),
            ".popsection",
            twin = sym $twin,
        );
    };
}

#[cfg(all(weak_names, target_arch = "x86_64"))]
macro_rules! jump {
    () => {
        "jmp {twin}"
    };
}

#[cfg(all(weak_names, target_arch = "aarch64"))]
macro_rules! jump {
    () => {
        "b {twin}"
    };
}

/// What Rust does not define is not in the compiler's list of exports for the linker, and linkers differ in whether they take a second list. But
/// they all take a pattern in the list for the names that match it; this one does not match itself, so nothing of its name is exported.
#[cfg(weak_names)]
#[unsafe(export_name = "nccl[A-Z]*")]
static NAMES_OF_ASSEMBLY: u8 = 0;

/// The same elsewhere, as a strong symbol.
#[cfg(not(weak_names))]
macro_rules! own_name {
    ($name:ident = unsafe $twin:ident ($($argument:ident: $type:ty),*) -> $value:ty) => {
        #[doc = concat!("As [`", stringify!($twin), "`].")]
        ///
        /// # Safety
        /// The same as that function's.
        #[unsafe(no_mangle)]
        #[allow(non_snake_case, clippy::too_many_arguments)]
        pub unsafe extern "C" fn $name($($argument: $type),*) -> $value {
            // SAFETY: the caller's promise is the same.
            unsafe { $twin($($argument),*) }
        }
    };
    ($name:ident = $twin:ident ($($argument:ident: $type:ty),*) $(-> $value:ty)?) => {
        #[doc = concat!("As [`", stringify!($twin), "`].")]
        #[unsafe(no_mangle)]
        #[allow(non_snake_case)]
        pub extern "C" fn $name($($argument: $type),*) $(-> $value)? {
            $twin($($argument),*)
        }
    };
}

#[cfg(weak_names)]
pub(crate) use jump;
pub(crate) use own_name;

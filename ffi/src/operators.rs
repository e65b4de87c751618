//! Reduction operators: NCCL's numbers for those that are built in, and those that callers make.

use crate::boundary::{export, null, place};
use crate::comm::find;
use crate::cuda::is_on_host;
use crate::errors::Failure;
use crate::plan::data_type;
use crate::types::{ncclComm_t, ncclDataType_t, ncclRedOp_t, ncclScalarResidence_t};
use serried::reduce::Reduction;
use serried::{DataType, Op};
use std::collections::BTreeMap;
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, PoisonError};

/// The operators that were made for a communicator, by number.
#[derive(Default)]
pub(crate) struct Operators(Mutex<BTreeMap<c_int, Made>>);

/// A sum of multiples.
#[derive(Clone, Copy)]
struct Made {
    data_type: DataType,
    scalar: Scalar,
}

#[derive(Clone, Copy)]
enum Scalar {
    /// Read when the operator was made.
    Known(Reduction),
    /// To be read by each call.
    At(*const u8),
}

// SAFETY: the pointer is only followed by calls, whose callers promise that the scalar is there; any thread may.
unsafe impl Send for Made {}

/// What one call reduces with.
pub(crate) enum Operator {
    BuiltIn(Op),
    Known(Reduction),
    At(*const u8),
}

// SAFETY: as of `Made`.
unsafe impl Sync for Operator {}

impl Operators {
    /// The operator with this number, for elements of `data_type`.
    pub(crate) fn find(&self, number: ncclRedOp_t, data_type: DataType) -> Result<Operator, Failure> {
        match u8::try_from(number).ok().and_then(Op::from_number) {
            Some(op) => Ok(Operator::BuiltIn(op)),
            None => self.find_made(number, data_type),
        }
    }

    /// The same, ready for a call that is made at once.
    ///
    /// # Safety
    /// A scalar that is read by each call is there.
    #[inline(always)]
    pub(crate) unsafe fn reduction(&self, number: ncclRedOp_t, data_type: DataType) -> Result<Reduction, Failure> {
        match u8::try_from(number).ok().and_then(Op::from_number) {
            Some(op) => Ok(Reduction::of(data_type, op)),
            // SAFETY: as the caller promises.
            None => unsafe { self.find_made(number, data_type)?.reduction(data_type) },
        }
    }

    #[cold]
    fn find_made(&self, number: ncclRedOp_t, data_type: DataType) -> Result<Operator, Failure> {
        let made = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&number).copied();
        let made = made.ok_or_else(|| unknown(number))?;
        if made.data_type != data_type {
            let (of, with) = (made.data_type, data_type);
            return Err(Failure::argument(format!("operator {number} was made for {of}, and the call is of {with}")));
        }
        Ok(match made.scalar {
            Scalar::Known(reduction) => Operator::Known(reduction),
            Scalar::At(scalar) => Operator::At(scalar),
        })
    }
}

impl Operator {
    /// The operator, ready for `data_type`.
    ///
    /// # Safety
    /// A scalar that is read by each call is there.
    pub(crate) unsafe fn reduction(&self, data_type: DataType) -> Result<Reduction, Failure> {
        match self {
            Self::BuiltIn(op) => Ok(Reduction::of(data_type, *op)),
            Self::Known(reduction) => Ok(*reduction),
            // SAFETY: as the caller promises.
            Self::At(scalar) => unsafe { multiples(data_type, *scalar) },
        }
    }
}

/// # Safety
/// `scalar` points to an element of the type.
unsafe fn multiples(data_type: DataType, scalar: *const u8) -> Result<Reduction, Failure> {
    // SAFETY: as the caller promises.
    let bytes = unsafe { std::slice::from_raw_parts(scalar, data_type.size()) };
    Reduction::pre_mul_sum(data_type, bytes).ok_or_else(|| Failure::internal("an element has not its type's size"))
}

fn unknown(number: c_int) -> Failure {
    Failure::argument(format!(
        "{number} is no ncclRedOp_t of this communicator: neither built in, nor made for it and not destroyed"
    ))
}

/// The scalar is read while calls run.
const SCALAR_DEVICE: c_int = 0;
/// The scalar is read at once.
const SCALAR_HOST_IMMEDIATE: c_int = 1;

/// Numbers are never given again, on no communicator: a stale one is found out.
fn fresh() -> Result<c_int, Failure> {
    static NEXT: AtomicI32 = AtomicI32::new(Op::ALL.len() as c_int);
    let next = NEXT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| next.checked_add(1));
    next.map_err(|_| Failure::usage("no more operators can be made in this process"))
}

export! {
    /// Makes the operator that sums each rank's input times that rank's scalar.
    fn ncclRedOpCreatePreMulSum | pncclRedOpCreatePreMulSum(
        op: *mut ncclRedOp_t, scalar: *mut c_void, datatype: ncclDataType_t, residence: ncclScalarResidence_t, comm: ncclComm_t,
    ) {
        let comm = find(comm)?;
        comm.ready()?;
        let data_type = data_type(datatype)?;
        if scalar.is_null() {
            return Err(null("scalar"));
        }
        is_on_host(scalar.cast_const())?;
        // SAFETY: the caller's promise is the same.
        let place = unsafe { place(op, "op") }?;
        let scalar = match residence {
            SCALAR_DEVICE => Scalar::At(scalar.cast::<u8>().cast_const()),
            // SAFETY: the caller's scalar is an element of the type.
            SCALAR_HOST_IMMEDIATE => Scalar::Known(unsafe { multiples(data_type, scalar.cast::<u8>().cast_const()) }?),
            _ => return Err(Failure::argument(format!("{residence} is no ncclScalarResidence_t"))),
        };
        let number = fresh()?;
        comm.operators.0.lock().unwrap_or_else(PoisonError::into_inner).insert(number, Made { data_type, scalar });
        place.write(number);
        Ok(())
    }

    /// Ends an operator that was made.
    fn ncclRedOpDestroy | pncclRedOpDestroy(op: ncclRedOp_t, comm: ncclComm_t) {
        let comm = find(comm)?;
        if (0..Op::ALL.len() as c_int).contains(&op) {
            return Err(Failure::argument(format!("operator {op} is built in and cannot be destroyed")));
        }
        let gone = comm.operators.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&op);
        gone.map(drop).ok_or_else(|| unknown(op))
    }
}

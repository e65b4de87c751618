//! What a call reduces with: an operator that is built in, a sum of multiples, or a caller's own, made ready for one type.

use super::fold::{Cell, Fold};
use super::{Kernels, generic, kernels};
use crate::types::{DataType, Element, Op};
use std::fmt::{Debug, Formatter};
use std::marker::PhantomData;
use zerocopy::{FromBytes, Unalign};

/// How elements of type `T` become one: an [`Op`], a [`PreMulSum`], or an operator of one's own by [`Own`].
pub trait Operator<T: Element> {
    /// The operator, ready for `T`.
    fn reduction(self) -> Reduction;
}

/// The sum of every rank's input times that rank's factor, which may differ from rank to rank. The product is rounded to the type before it is added; integers wrap.
///
/// The multiples are written down before the call proper: into the output of an allreduce, elsewhere into memory that the communicator keeps.
#[derive(Clone, Copy, Debug)]
pub struct PreMulSum<T>(pub T);

/// A caller's own operator, named by a type that says how two elements combine.
///
/// ```no_run
/// use serried::reduce::{Combine, Own};
///
/// struct Hypotenuse;
/// impl Combine<f32> for Hypotenuse {
///     const NAME: &'static str = "hypotenuse";
///     fn combine(a: f32, b: f32) -> f32 {
///         a.hypot(b)
///     }
/// }
///
/// # fn main() -> serried::Result<()> {
/// # let comm = serried::Communicator::from_env(&serried::Config::from_env()?)?;
/// let mut norms = [1.0f32; 100];
/// comm.all_reduce(&mut norms, Own(Hypotenuse))?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Own<C>(pub C);

/// An operator that is not built in. Every rank of a call uses the same one.
pub trait Combine<T: Element>: 'static {
    /// Tells this operator from others, on all ranks alike: ranks that use different ones get [`Error::Mismatch`](crate::Error::Mismatch) (but for one chance in 128).
    const NAME: &'static str;

    /// `a` and `b` combined. It must be associative as far as the result is to be independent of the algorithm, and commutative to the bit if all ranks are to
    /// end with the same bits: ranks combine the same elements, but not in the same order. A panic here ends the call with an error on every rank, and the
    /// communicator with it. It must not call the communicator, which waits for it.
    fn combine(a: T, b: T) -> T;
}

/// An operator with the type that it is for, and its kernels.
#[derive(Clone, Copy)]
pub struct Reduction {
    data_type: DataType,
    number: u8,
    kernels: &'static Kernels,
    factor: Option<Factor>,
}

/// What inputs are multiplied by, before they are added.
#[derive(Clone, Copy, Debug)]
struct Factor {
    /// One element in native byte order, then zeros.
    element: [u8; 8],
    product: &'static Kernels,
}

impl Reduction {
    /// A built-in operator on a type.
    #[inline]
    pub fn of(data_type: DataType, op: Op) -> Self {
        Self { data_type, number: op as u8, kernels: kernels(data_type, op), factor: None }
    }

    /// The sum of inputs times `factor`, which is one element of the type in native byte order; `None` if it has not that many bytes. See [`PreMulSum`].
    pub fn pre_mul_sum(data_type: DataType, factor: &[u8]) -> Option<Self> {
        let mut element = [0; 8];
        (factor.len() == data_type.size()).then(|| element[..factor.len()].copy_from_slice(factor))?;
        let factor = Factor { element, product: kernels(data_type, Op::Prod) };
        Some(Self { number: Op::PRE_MUL_SUM, factor: Some(factor), ..Self::of(data_type, Op::Sum) })
    }

    /// The type that is reduced.
    #[inline]
    pub fn data_type(&self) -> DataType {
        self.data_type
    }

    /// What ranks know the operator by: the number of an [`Op`], 5 for a sum of multiples, from 128 on for callers' own.
    #[inline]
    pub fn number(&self) -> u8 {
        self.number
    }

    /// How it is done.
    #[inline]
    pub fn kernels(&self) -> &'static Kernels {
        self.kernels
    }

    /// Whether it calls code that is not the library's, and may panic.
    pub(crate) fn is_own(&self) -> bool {
        self.number >= Op::OWN
    }

    /// Whether inputs are multiplied first, by [`scale`](Self::scale).
    #[inline]
    pub(crate) fn scales(&self) -> bool {
        self.factor.is_some()
    }

    /// Multiplies the elements of `data` by the factor, if there is one.
    pub(crate) fn scale(&self, data: &mut [u8]) {
        self.by_lines(data.len(), |product, at, line| (product.reduce)(&mut data[at], line));
    }

    /// Leaves in `output` the elements of `input`, which is as long, times the factor.
    pub(crate) fn scale_into(&self, input: &[u8], output: &mut [u8]) {
        self.by_lines(input.len(), |product, at, line| (product.combine)(&mut output[at.clone()], &input[at], line));
    }

    /// Goes through `bytes` in pieces no longer than a run of factors, which stays in the nearest cache.
    fn by_lines(&self, bytes: usize, mut multiply: impl FnMut(&Kernels, std::ops::Range<usize>, &[u8])) {
        const LINE: usize = 1024;
        let Some(Factor { element, product }) = self.factor else { return };
        let mut line = [0; LINE];
        let size = self.data_type.size();
        line.chunks_exact_mut(size).for_each(|place| place.copy_from_slice(&element[..size]));
        for begin in (0..bytes).step_by(LINE) {
            let piece = begin..bytes.min(begin + LINE);
            multiply(product, piece.clone(), &line[..piece.len()]);
        }
    }
}

impl Debug for Reduction {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reduction({} {})", self.data_type, Op::name_of(self.number))
    }
}

impl<T: Element> Operator<T> for Op {
    #[inline]
    fn reduction(self) -> Reduction {
        Reduction::of(T::TYPE, self)
    }
}

impl<T: Element> Operator<T> for PreMulSum<T> {
    fn reduction(self) -> Reduction {
        Reduction::pre_mul_sum(T::TYPE, self.0.as_bytes()).expect("an element has its type's bytes")
    }
}

impl<T: Element, C: Combine<T>> Operator<T> for Own<C> {
    fn reduction(self) -> Reduction {
        // FNV-1a: any hash that is the same in every build will do.
        let hash =
            C::NAME.bytes().fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        let number = Op::OWN | (hash >> 25) as u8;
        Reduction { data_type: T::TYPE, number, kernels: generic::own::<Combined<T, C>>(), factor: None }
    }
}

/// A caller's operator over elements at any alignment.
struct Combined<T, C>(PhantomData<(T, C)>);

impl<T: Element, C: Combine<T>> Fold for Combined<T, C> {
    type Cell = Unalign<T>;

    #[inline(always)]
    fn fold(a: Unalign<T>, b: Unalign<T>) -> Unalign<T> {
        Unalign::new(C::combine(a.get(), b.get()))
    }
}

impl<T: Element> Cell for Unalign<T> {
    #[inline(always)]
    fn of(bytes: &[u8]) -> &[Self] {
        <[Self]>::ref_from_bytes(bytes).expect("whole elements")
    }

    #[inline(always)]
    fn of_mut(bytes: &mut [u8]) -> &mut [Self] {
        <[Self]>::mut_from_bytes(bytes).expect("whole elements")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{F8E4M3, F8E5M2};
    use half::{bf16, f16};
    use zerocopy::IntoBytes;

    /// Not to be mistaken for any built-in operator.
    struct Mixed;
    impl Combine<u32> for Mixed {
        const NAME: &'static str = "mixed";
        fn combine(a: u32, b: u32) -> u32 {
            (a ^ b).rotate_left(3)
        }
    }

    struct Farther;
    impl Combine<f64> for Farther {
        const NAME: &'static str = "farther";
        fn combine(a: f64, b: f64) -> f64 {
            if a.abs() >= b.abs() { a } else { b }
        }
    }

    #[test]
    fn own_operators_run_in_all_three_forms_at_any_length_and_alignment() {
        let reduction = Own(Mixed).reduction();
        assert!(reduction.is_own() && reduction.data_type() == DataType::U32);
        let a: Vec<u32> = (0..100u32).map(|i| i.wrapping_mul(2_654_435_761)).collect();
        let b: Vec<u32> = a.iter().map(|x| x.rotate_left(7) ^ 99).collect();
        for (count, shift) in (0..=100).flat_map(|count| (0..5).map(move |shift| (count, shift))) {
            let expected: Vec<u32> = (0..count).map(|i| Mixed::combine(a[i], b[i])).collect();
            let placed = |data: &[u32]| [&vec![0; shift][..], data.as_bytes()].concat();
            let (mut acc, x) = (placed(&a[..count]), placed(&b[..count]));
            (reduction.kernels().combine)(&mut vec![0; count * 4], &acc[shift..], &x[shift..]);
            let mut out = vec![0; count * 4 + shift];
            (reduction.kernels().combine)(&mut out[shift..], &acc[shift..], &x[shift..]);
            (reduction.kernels().reduce)(&mut acc[shift..], &x[shift..]);
            assert_eq!(&acc[shift..], expected.as_bytes());
            assert_eq!(&out[shift..], expected.as_bytes());
        }
    }

    #[test]
    fn own_operators_are_told_apart_by_name() {
        let (mixed, farther) = (Operator::<u32>::reduction(Own(Mixed)), Operator::<f64>::reduction(Own(Farther)));
        assert_ne!(mixed.number(), farther.number());
        assert!(Op::ALL.iter().all(|op| *op as u8 != mixed.number()) && mixed.number() != Op::PRE_MUL_SUM);
    }

    #[test]
    fn multiples_are_rounded_to_the_type() {
        fn check<T: Element + PartialEq + std::fmt::Debug>(factor: T, input: T, expected: T) {
            let reduction = PreMulSum(factor).reduction();
            for count in [0, 1, 3, 255, 256, 257, 1025, 3000] {
                let input = vec![input; count];
                let (mut in_place, mut output) = (input.clone(), input.clone());
                reduction.scale(in_place.as_mut_bytes());
                reduction.scale_into(input.as_bytes(), output.as_mut_bytes());
                assert!(in_place == vec![expected; count] && output == in_place, "{factor:?} × {input:?}");
            }
        }
        check(3i8, 100, 44);
        check(5u64, u64::MAX, u64::MAX - 4);
        check(0.1f32, 3.0, 0.1f32 * 3.0);
        check(-0.5f64, 3.0, -1.5);
        check(f16::from_f32(0.1), f16::from_f32(3.0), f16::from_f32(f16::from_f32(0.1).to_f32() * 3.0));
        check(bf16::from_f32(0.1), bf16::from_f32(3.0), bf16::from_f32(bf16::from_f32(0.1).to_f32() * 3.0));
        check(F8E4M3::from_f32(0.25), F8E4M3::from_f32(3.0), F8E4M3::from_f32(0.75));
        check(F8E5M2::from_f32(4.0), F8E5M2::MAX, F8E5M2::MAX);
    }

    #[test]
    fn a_factor_has_the_bytes_of_its_type() {
        assert!(Reduction::pre_mul_sum(DataType::F32, &[0; 8]).is_none());
        assert!(Reduction::pre_mul_sum(DataType::F16, &[0; 2]).is_some_and(|made| made.scales() && made.number() == 5));
    }
}

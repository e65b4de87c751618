//! Reduction operators.

/// How two elements become one, of the ways that are built in; [`Operator`](crate::reduce::Operator) has the others. Every operator is commutative *to the bit* (see [`crate::reduce`]), which is why ranks
/// that combine the same values in mirrored order still end with the same bits. The numbers are NCCL's `ncclRedOp_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Op {
    /// Sum; integers wrap.
    Sum = 0,
    /// Product; integers wrap.
    Prod = 1,
    /// Largest; NaN if any input is NaN; +0 is larger than −0.
    Max = 2,
    /// Smallest; NaN if any input is NaN; −0 is smaller than +0.
    Min = 3,
    /// Sum divided by the number of ranks. Integers wrap in the sum and then round toward zero.
    Avg = 4,
}

impl Op {
    /// Every operator, in the order of its number.
    pub const ALL: [Self; 5] = [Self::Sum, Self::Prod, Self::Max, Self::Min, Self::Avg];

    /// The name that nccl-tests prints for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Prod => "prod",
            Self::Max => "max",
            Self::Min => "min",
            Self::Avg => "avg",
        }
    }

    /// The operator with this number, if there is one.
    #[inline]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// The number of a sum whose inputs each rank multiplies by its own factor.
    pub(crate) const PRE_MUL_SUM: u8 = 5;
    /// From this number on operators are callers' own.
    pub(crate) const OWN: u8 = 128;

    /// The name of the operator with this number, built in or not.
    pub(crate) fn name_of(number: u8) -> &'static str {
        match number {
            Self::PRE_MUL_SUM => "mulsum",
            Self::OWN.. => "an own operator",
            _ => Self::from_number(number).map_or("?", Self::name),
        }
    }
}

impl std::fmt::Display for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

//! Numbers: fractions as long as they are exact, binary numbers of 256 bits where they are not.

use dashu_float::FBig;
use dashu_float::round::mode::HalfEven;
use dashu_int::ops::{Abs, BitTest, UnsignedAbs};
use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

/// A binary number, rounded to the nearest.
pub(super) type Real = FBig<HalfEven, 2>;

/// The bits of a [`Real`].
pub(super) const PRECISION_BITS: usize = 256;

/// How many leading bits of a result count; what lies behind them is rounding.
pub(super) const TRUSTED_BITS: isize = 200;

/// A number.
#[derive(Clone, Debug)]
pub(super) enum Number {
    /// Exactly this.
    Exact(RBig),
    /// Within a few units of the last of 256 bits.
    Real(Real),
}

impl From<IBig> for Number {
    fn from(whole: IBig) -> Number {
        Number::Exact(RBig::from(whole))
    }
}

impl Number {
    /// Returns a small whole number.
    pub(super) fn whole(number: i64) -> Number {
        Number::from(IBig::from(number))
    }

    /// Returns the number with 256 bits.
    pub(super) fn to_real(&self) -> Real {
        match self {
            Number::Real(real) => real.clone(),
            Number::Exact(exact) => exact.to_float(PRECISION_BITS).value(),
        }
    }

    /// Returns the exact value of what is held.
    pub(super) fn to_exact(&self) -> RBig {
        match self {
            Number::Exact(exact) => exact.clone(),
            Number::Real(real) => {
                let (significand, exponent) = real.repr().clone().into_parts();
                let shift = exponent.unsigned_abs();
                match exponent < 0 {
                    true => RBig::from_parts(significand, UBig::ONE << shift),
                    false => RBig::from(significand << shift),
                }
            }
        }
    }

    /// Whether it is 0.
    pub(super) fn is_zero(&self) -> bool {
        match self {
            Number::Exact(exact) => exact.is_zero(),
            Number::Real(real) => real.repr().significand().is_zero(),
        }
    }

    /// Whether it is below 0.
    pub(super) fn is_negative(&self) -> bool {
        match self {
            Number::Exact(exact) => *exact < RBig::ZERO,
            Number::Real(real) => *real.repr().significand() < IBig::ZERO,
        }
    }

    /// Returns the whole number that it is, or is but for rounding; `None` where it is none, or so
    /// large that its last digits are not known.
    pub(super) fn as_whole(&self) -> Option<IBig> {
        match self {
            Number::Exact(exact) => exact.is_int().then(|| exact.numerator().clone()),
            Number::Real(_) => {
                let exact = self.to_exact();
                let bits = magnitude_bits(&exact);
                if bits > TRUSTED_BITS {
                    return None;
                }
                let nearest = round_half_even(&exact);
                let distance = (exact - RBig::from(nearest.clone())).abs();
                let is_near =
                    distance.is_zero() || magnitude_bits(&distance) < bits.max(0) - TRUSTED_BITS;
                is_near.then_some(nearest)
            }
        }
    }

    /// Returns the number, or the exact whole number that it is but for rounding.
    pub(super) fn snapped(&self) -> RBig {
        match self.as_whole() {
            Some(whole) => RBig::from(whole),
            None => self.to_exact(),
        }
    }
}

/// Returns the bits of a fraction's longer half.
pub(super) fn bits(exact: &RBig) -> usize {
    exact.numerator().unsigned_abs().bit_len().max(exact.denominator().bit_len())
}

/// Returns about how many bits stand before the binary point: `n` where the magnitude lies between
/// 2^(n-2) and 2^n.
pub(super) fn magnitude_bits(exact: &RBig) -> isize {
    let above = exact.numerator().unsigned_abs().bit_len();
    let below = exact.denominator().bit_len();
    // Both are lengths of memory and far below the largest isize.
    above as isize - below as isize + 1
}

/// Returns the nearest whole number, of two the even one, as Python rounds.
pub(super) fn round_half_even(exact: &RBig) -> IBig {
    let below = exact.floor();
    let rest = exact.clone() - RBig::from(below.clone());
    let half = RBig::from_parts(IBig::ONE, UBig::from(2_u8));
    let is_odd = below.bit(0);
    match rest.cmp(&half) {
        std::cmp::Ordering::Less => below,
        std::cmp::Ordering::Equal if !is_odd => below,
        _ => below + IBig::ONE,
    }
}

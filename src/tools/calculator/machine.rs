//! Arithmetic on numbers, with bounds on the work.

use dashu_float::round::mode::HalfEven;
use dashu_float::{ConstCache, Context, FpError, FpResult};
use dashu_int::ops::{BitTest, UnsignedAbs};
use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

use super::number::{
    Number, PRECISION_BITS, Real, TRUSTED_BITS, bits, magnitude_bits, round_half_even,
};

/// The most bits of a whole number: about 19,700 digits.
pub(super) const BITS_MAX: usize = 1 << 16;

/// The largest exponent of a [`Real`]: about 10^±315,000.
const EXPONENT_MAX: isize = 1 << 20;

/// The largest exponents of powers: 2^60. The last 60 of a base's 256 bits are lost to them.
const EXPONENT_BITS_MAX: isize = 60;

/// The largest degree of a root that is taken by whole numbers of that many times the bits.
const ROOT_DEGREE_MAX: usize = 16;

/// What all operations of one expression may cost, in pairs of words multiplied.
const WORK_MAX: u64 = 100_000_000;

/// What `+ - * /` of [`Real`]s cost.
const ARITHMETIC_WORK: u64 = 500;

/// What a function of a [`Real`] costs.
const FUNCTION_WORK: u64 = 50_000;

/// Why an operation has no result: a sentence.
pub(super) type Refusal = String;

/// What computes, within its bounds.
pub(super) struct Machine<'a> {
    context: Context<HalfEven>,
    constants: ConstCache,
    work_left: u64,
    /// Whether anything was rounded on the way.
    is_rounded: bool,
    cancelled: &'a dyn Fn() -> bool,
}

/// A function of the library: its context, the constants it keeps.
type Function<'f> = dyn Fn(&Context<HalfEven>, &mut ConstCache) -> FpResult<Real> + 'f;

impl<'a> Machine<'a> {
    /// Returns a machine that has all its work before it.
    pub(super) fn new(cancelled: &'a dyn Fn() -> bool) -> Machine<'a> {
        Machine {
            context: Context::new(PRECISION_BITS),
            constants: ConstCache::new(),
            work_left: WORK_MAX,
            is_rounded: false,
            cancelled,
        }
    }

    /// Returns whether every operation was exact.
    pub(super) fn is_exact(&self) -> bool {
        !self.is_rounded
    }

    /// Counts work before it is done.
    pub(super) fn work(&mut self, cost: u64) -> Result<(), Refusal> {
        if (self.cancelled)() {
            return Err("the calculation was cancelled".to_owned());
        }
        match self.work_left.checked_sub(cost) {
            Some(left) => {
                self.work_left = left;
                Ok(())
            }
            None => Err("this takes too long to compute; simplify the expression".to_owned()),
        }
    }

    /// Counts the work of an operation on two fractions.
    fn exact_work(&mut self, a: &RBig, b: &RBig) -> Result<(), Refusal> {
        let words = ((bits(a) + bits(b)) / 64 + 1) as u64;
        // A product and a greatest common divisor, each quadratic at worst.
        self.work(4 * words * words)
    }

    /// Returns a fraction within the bound.
    pub(super) fn exact(&mut self, exact: RBig) -> Result<Number, Refusal> {
        if bits(&exact) <= BITS_MAX {
            return Ok(Number::Exact(exact));
        }
        match exact.is_int() {
            true => Err(too_many_digits(bits(&exact))),
            false => {
                self.is_rounded = true;
                self.real(exact.to_float(PRECISION_BITS).value())
            }
        }
    }

    fn real(&self, real: Real) -> Result<Number, Refusal> {
        let repr = real.repr();
        if repr.is_infinite() {
            return Err("the result is infinite".to_owned());
        }
        if repr.significand().is_zero() {
            return Ok(Number::whole(0));
        }
        match repr.exponent() {
            exponent if exponent > EXPONENT_MAX => Err(too_large()),
            exponent if exponent < -EXPONENT_MAX => Err(too_small()),
            _ => Ok(Number::Real(real)),
        }
    }

    /// Returns a number with so many bits that the distance of a fraction to the nearest whole
    /// number, or its place within a turn, is known to 256 of them: what functions are computed of
    /// that are small near 1, or that turn.
    pub(super) fn wide(&mut self, a: &Number) -> Result<Real, Refusal> {
        match a {
            Number::Real(real) => Ok(real.clone()),
            Number::Exact(exact) => {
                let words = (bits(exact) / 64 + 1) as u64;
                self.work(10 * words * words)?;
                Ok(exact.to_float(PRECISION_BITS + bits(exact)).value())
            }
        }
    }

    /// Returns what a function of the library gives.
    pub(super) fn apply(&mut self, function: &Function<'_>) -> Result<Number, Refusal> {
        self.run(FUNCTION_WORK, function)
    }

    fn run(&mut self, cost: u64, function: &Function<'_>) -> Result<Number, Refusal> {
        self.work(cost)?;
        self.is_rounded = true;
        match function(&self.context, &mut self.constants) {
            Ok(rounded) => self.real(rounded.value()),
            Err(FpError::Overflow(_)) => Err(too_large()),
            Err(FpError::Underflow(_)) => Err(too_small()),
            Err(FpError::OutOfDomain | FpError::Indeterminate | FpError::InfiniteInput) => {
                Err("this has no real value".to_owned())
            }
            Err(error @ FpError::ZivRetryLimitExceeded) => Err(error.to_string()),
        }
    }

    /// Returns `a + b`.
    pub(super) fn add(&mut self, a: &Number, b: &Number) -> Result<Number, Refusal> {
        if let (Number::Exact(a), Number::Exact(b)) = (a, b) {
            self.exact_work(a, b)?;
            return self.exact(a + b);
        }
        let (a, b) = (a.to_real(), b.to_real());
        let sum = self.run(ARITHMETIC_WORK, &|context, _| context.add(a.repr(), b.repr()))?;
        Ok(settled(sum, [&a, &b]))
    }

    /// Returns `-a`.
    pub(super) fn negate(&self, a: Number) -> Number {
        match a {
            Number::Exact(a) => Number::Exact(-a),
            Number::Real(a) => Number::Real(-a),
        }
    }

    /// Returns `a - b`.
    pub(super) fn subtract(&mut self, a: &Number, b: &Number) -> Result<Number, Refusal> {
        let b = self.negate(b.clone());
        self.add(a, &b)
    }

    /// Returns `a * b`.
    pub(super) fn multiply(&mut self, a: &Number, b: &Number) -> Result<Number, Refusal> {
        if let (Number::Exact(a), Number::Exact(b)) = (a, b) {
            self.exact_work(a, b)?;
            return self.exact(a * b);
        }
        let (a, b) = (a.to_real(), b.to_real());
        self.run(ARITHMETIC_WORK, &|context, _| context.mul(a.repr(), b.repr()))
    }

    /// Returns `a / b`.
    pub(super) fn divide(&mut self, a: &Number, b: &Number) -> Result<Number, Refusal> {
        if b.is_zero() {
            return Err("division by zero".to_owned());
        }
        if let (Number::Exact(a), Number::Exact(b)) = (a, b) {
            self.exact_work(a, b)?;
            return self.exact(a / b);
        }
        let (a, b) = (a.to_real(), b.to_real());
        self.run(ARITHMETIC_WORK, &|context, _| context.div(a.repr(), b.repr()))
    }

    /// Returns the largest whole number that is not above `a / b`.
    pub(super) fn floor_divide(&mut self, a: &Number, b: &Number) -> Result<Number, Refusal> {
        let quotient = self.divide(a, b)?;
        match &quotient {
            Number::Real(_) if magnitude_bits(&quotient.to_exact()) > TRUSTED_BITS / 2 => {
                Err("the quotient is too large for its last digit to be known".to_owned())
            }
            _ => Ok(Number::from(quotient.snapped().floor())),
        }
    }

    /// Returns `a - b * floor(a / b)`, which has the sign of `b`, as in Python.
    pub(super) fn remainder(&mut self, a: &Number, b: &Number) -> Result<Number, Refusal> {
        let times = self.floor_divide(a, b)?;
        let multiple = self.multiply(&times, b)?;
        self.subtract(a, &multiple)
    }

    /// Returns `a` to the power `b`.
    pub(super) fn power(&mut self, a: &Number, b: &Number) -> Result<Number, Refusal> {
        if let Some(exponent) = b.as_whole() {
            return self.whole_power(a, &exponent);
        }
        if a.is_zero() {
            return match b.is_negative() {
                true => Err("division by zero: 0 to a negative power".to_owned()),
                false => Ok(Number::whole(0)),
            };
        }
        if a.is_negative() {
            return Err(
                "a negative number to a broken power has no real value; for odd roots use \
                        cbrt(x) or root(x, n)"
                    .to_owned(),
            );
        }
        if let (Number::Exact(base), Number::Exact(exponent)) = (a, b)
            && let Ok(degree) = u16::try_from(exponent.denominator())
            && let Some(root) = self.exact_root(base, usize::from(degree))?
        {
            return self.whole_power(&Number::Exact(root), &exponent.numerator().clone());
        }
        if magnitude_bits(&b.to_exact()) > EXPONENT_BITS_MAX {
            return Err("the exponent is too large".to_owned());
        }
        let (a, b) = (self.wide(a)?, self.wide(b)?);
        self.apply(&|context, constants| context.powf(a.repr(), b.repr(), Some(constants)))
    }

    fn whole_power(&mut self, a: &Number, exponent: &IBig) -> Result<Number, Refusal> {
        if exponent.is_zero() {
            return Ok(Number::whole(1));
        }
        let is_negative = *exponent < IBig::ZERO;
        if a.is_zero() && is_negative {
            return Err("division by zero: 0 to a negative power".to_owned());
        }
        if let Number::Exact(base) = a {
            let is_unit = base.is_int() && base.numerator().unsigned_abs() <= UBig::ONE;
            let times = match is_unit {
                // Only the parity of the exponent counts.
                true => usize::from(exponent.bit(0)) + 2,
                false => usize::try_from(exponent.unsigned_abs()).unwrap_or(usize::MAX),
            };
            let size = bits(base).saturating_sub(1).max(1).saturating_mul(times);
            if size <= BITS_MAX {
                let words = (size / 64 + 1) as u64;
                self.work(4 * words * words)?;
                let power = base.pow(times as isize);
                return match is_negative {
                    true => self.divide(&Number::whole(1), &Number::Exact(power)),
                    false => self.exact(power),
                };
            }
            if base.is_int() && !is_negative {
                return Err(too_many_digits(size));
            }
        }
        if exponent.unsigned_abs().bit_len() as isize > EXPONENT_BITS_MAX {
            return Err("the exponent is too large".to_owned());
        }
        let a = a.to_real();
        self.apply(&|context, _| context.powi(a.repr(), exponent.clone()))
    }

    /// Returns the `degree`th root of a fraction that is not negative, if it is a fraction.
    fn exact_root(&mut self, base: &RBig, degree: usize) -> Result<Option<RBig>, Refusal> {
        self.exact_work(base, base)?;
        let above = base.numerator().unsigned_abs();
        // Between 1 and 2^degree nothing is a power.
        let is_between = |whole: &UBig| !whole.is_one() && whole.bit_len() <= degree;
        if is_between(&above) || is_between(base.denominator()) {
            return Ok(None);
        }
        let (root_above, root_below) =
            (above.nth_root(degree), base.denominator().nth_root(degree));
        let is_exact =
            root_above.pow(degree) == above && root_below.pow(degree) == *base.denominator();
        Ok(is_exact.then(|| RBig::from_parts(root_above.into(), root_below)))
    }

    /// Returns the `degree`th root of `a`; of a negative number for odd degrees only.
    pub(super) fn root(&mut self, a: &Number, degree: usize) -> Result<Number, Refusal> {
        if degree == 0 {
            return Err("there is no 0th root".to_owned());
        }
        if a.is_negative() {
            if degree.is_multiple_of(2) {
                return Err("an even root of a negative number has no real value".to_owned());
            }
            let positive = self.negate(a.clone());
            let root = self.root(&positive, degree)?;
            return Ok(self.negate(root));
        }
        if a.is_zero() {
            return Ok(Number::whole(0));
        }
        if let Number::Exact(base) = a
            && degree <= BITS_MAX
            && let Some(root) = self.exact_root(base, degree)?
        {
            return Ok(Number::Exact(root));
        }
        if degree > ROOT_DEGREE_MAX {
            let inverse = Number::Exact(RBig::from_parts(IBig::ONE, UBig::from(degree)));
            let (a, inverse) = (self.wide(a)?, inverse.to_real());
            return self.apply(&|context, constants| {
                context.powf(a.repr(), inverse.repr(), Some(constants))
            });
        }
        let a = a.to_real();
        self.apply(&|context, _| context.nth_root(degree, a.repr()))
    }

    /// Returns a whole number near `a`: the one `pick` gives, or `a` itself where rounding has
    /// already made it whole.
    pub(super) fn rounded(&self, a: &Number, pick: fn(&RBig) -> IBig) -> Number {
        match a {
            Number::Real(real) if real.repr().is_int() => a.clone(),
            _ => Number::from(pick(&a.snapped())),
        }
    }

    /// Returns `a` rounded to `digits` digits behind the point (before it where negative), of two
    /// as near to the even one.
    pub(super) fn round_to(&mut self, a: &Number, digits: i64) -> Result<Number, Refusal> {
        if digits.unsigned_abs() > (BITS_MAX / 4) as u64 {
            return Err("round() takes at most 16,384 digits".to_owned());
        }
        if matches!(a, Number::Real(real) if real.repr().is_int()) && digits >= 0 {
            return Ok(a.clone());
        }
        let scale = Number::from(IBig::from(10_u8).pow(digits.unsigned_abs() as usize));
        let exact = Number::Exact(a.snapped());
        let scaled = match digits < 0 {
            true => self.divide(&exact, &scale)?,
            false => self.multiply(&exact, &scale)?,
        };
        let rounded = Number::from(round_half_even(&scaled.to_exact()));
        match digits < 0 {
            true => self.multiply(&rounded, &scale),
            false => self.divide(&rounded, &scale),
        }
    }

    /// Returns whether `a` is below `b`.
    pub(super) fn is_less(&mut self, a: &Number, b: &Number) -> Result<bool, Refusal> {
        Ok(self.subtract(a, b)?.is_negative())
    }
}

/// Returns a sum, or 0 where so little is left of its operands that it is rounding.
fn settled(sum: Number, operands: [&Real; 2]) -> Number {
    let Number::Real(real) = &sum else { return sum };
    let height = |real: &Real| real.repr().exponent() + real.repr().digits() as isize;
    let others = operands.into_iter().filter(|operand| !operand.repr().significand().is_zero());
    match others.map(height).max() {
        Some(highest) if height(real) < highest - TRUSTED_BITS => Number::whole(0),
        _ => sum,
    }
}

fn too_many_digits(bits: usize) -> Refusal {
    if bits > 1 << 40 {
        return "the result has more than 300 billion digits; at most 19,000 are computed"
            .to_owned();
    }
    let digits = bits as u64 * 30_103 / 100_000;
    format!("the result has {digits} digits or more; at most 19,000 are computed")
}

fn too_large() -> Refusal {
    "the result is too large: above 10^300000".to_owned()
}

fn too_small() -> Refusal {
    "the result is too small: below 10^-300000".to_owned()
}

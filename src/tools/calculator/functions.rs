//! Functions and constants by name.

use dashu_float::round::mode::HalfEven;
use dashu_float::{ConstCache, Context, FpResult, Repr};
use dashu_int::IBig;
use dashu_int::ops::{BitTest, Gcd, UnsignedAbs};
use dashu_ratio::RBig;

use super::machine::{BITS_MAX, Machine, Refusal};
use super::number::{Number, PRECISION_BITS, Real, TRUSTED_BITS, bits, magnitude_bits};
use crate::diag::{Diagnostic, Span, did_you_mean};

/// The largest magnitude of angles that are not exact: 2^128, where 128 bits of the 256 are left.
const ANGLE_BITS_MAX: isize = 128;

/// The largest magnitude of angles that are exact: of larger ones rounding keeps too few digits to
/// tell their place on the circle.
const EXACT_ANGLE_BITS_MAX: isize = PRECISION_BITS as isize;

/// What the digits of pi for a large angle cost.
const LARGE_ANGLE_WORK: u64 = 2_000_000;

/// A constant, made when it is named.
pub(super) type Constant = fn(&mut Machine<'_>) -> Result<Number, Refusal>;

/// A function.
#[derive(Debug)]
pub(super) struct Function {
    name: &'static str,
    /// The fewest and the most arguments.
    counts: (usize, usize),
    run: fn(&mut Machine<'_>, &[Number]) -> Result<Number, Refusal>,
}

const ANY: usize = usize::MAX;

/// Every function.
const FUNCTIONS: &[Function] = &[
    Function { name: "abs", counts: (1, 1), run: |m, a| Ok(absolute(m, &a[0])) },
    Function { name: "acos", counts: (1, 1), run: |m, a| unit(m, &a[0], Context::acos) },
    Function { name: "acosh", counts: (1, 1), run: |m, a| unit(m, &a[0], Context::acosh) },
    Function { name: "asin", counts: (1, 1), run: |m, a| unit(m, &a[0], Context::asin) },
    Function { name: "asinh", counts: (1, 1), run: |m, a| plain(m, &a[0], Context::asinh) },
    Function { name: "atan", counts: (1, 1), run: |m, a| plain(m, &a[0], Context::atan) },
    Function { name: "atan2", counts: (2, 2), run: atan2 },
    Function { name: "atanh", counts: (1, 1), run: |m, a| unit(m, &a[0], Context::atanh) },
    Function { name: "cbrt", counts: (1, 1), run: |m, a| m.root(&a[0], 3) },
    Function { name: "ceil", counts: (1, 1), run: |m, a| Ok(m.rounded(&a[0], RBig::ceil)) },
    Function { name: "comb", counts: (2, 2), run: |m, a| choices(m, a, true) },
    Function { name: "cos", counts: (1, 1), run: |m, a| angle(m, &a[0], Context::cos) },
    Function { name: "cosh", counts: (1, 1), run: |m, a| exponential(m, &a[0], Context::cosh) },
    Function { name: "degrees", counts: (1, 1), run: degrees },
    Function { name: "exp", counts: (1, 1), run: |m, a| exponential(m, &a[0], Context::exp) },
    Function { name: "factorial", counts: (1, 1), run: |m, a| factorial(m, &a[0]) },
    Function { name: "floor", counts: (1, 1), run: |m, a| Ok(m.rounded(&a[0], RBig::floor)) },
    Function { name: "gcd", counts: (1, ANY), run: |m, a| divisors(m, a, true) },
    Function { name: "hypot", counts: (2, 2), run: hypot },
    Function { name: "lcm", counts: (1, ANY), run: |m, a| divisors(m, a, false) },
    Function { name: "ln", counts: (1, 1), run: |m, a| logarithm(m, &a[0], Context::ln) },
    Function { name: "log", counts: (1, 2), run: log },
    Function { name: "log10", counts: (1, 1), run: |m, a| logarithm(m, &a[0], Context::log10) },
    Function { name: "log2", counts: (1, 1), run: |m, a| logarithm(m, &a[0], Context::log2) },
    Function { name: "max", counts: (1, ANY), run: |m, a| extreme(m, a, true) },
    Function { name: "mean", counts: (1, ANY), run: mean },
    Function { name: "min", counts: (1, ANY), run: |m, a| extreme(m, a, false) },
    Function { name: "mod", counts: (2, 2), run: |m, a| m.remainder(&a[0], &a[1]) },
    Function { name: "perm", counts: (2, 2), run: |m, a| choices(m, a, false) },
    Function { name: "pow", counts: (2, 2), run: |m, a| m.power(&a[0], &a[1]) },
    Function { name: "radians", counts: (1, 1), run: radians },
    Function { name: "root", counts: (2, 2), run: root },
    Function { name: "round", counts: (1, 2), run: round },
    Function { name: "sin", counts: (1, 1), run: |m, a| angle(m, &a[0], Context::sin) },
    Function { name: "sinh", counts: (1, 1), run: |m, a| exponential(m, &a[0], Context::sinh) },
    Function { name: "sqrt", counts: (1, 1), run: |m, a| m.root(&a[0], 2) },
    Function { name: "sum", counts: (1, ANY), run: sum },
    Function { name: "tan", counts: (1, 1), run: tan },
    Function { name: "tanh", counts: (1, 1), run: |m, a| plain(m, &a[0], Context::tanh) },
    Function { name: "trunc", counts: (1, 1), run: |m, a| Ok(m.rounded(&a[0], RBig::trunc)) },
];

/// Every constant.
const CONSTANTS: &[(&str, Constant)] = &[
    ("e", |machine| exponential(machine, &Number::whole(1), Context::exp)),
    ("pi", pi),
    ("tau", |machine| {
        let pi = pi(machine)?;
        machine.multiply(&pi, &Number::whole(2))
    }),
    ("\u{3c0}", pi),
];

/// Returns the names of all functions and constants, for descriptions and messages.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let constants = CONSTANTS.iter().map(|(name, _)| *name).filter(|name| name.is_ascii());
    FUNCTIONS.iter().map(|function| function.name).chain(constants)
}

/// Returns the function of this name.
pub(super) fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

/// Returns the constant of this name.
pub(super) fn constant(name: &str) -> Option<Constant> {
    CONSTANTS.iter().find(|(constant, _)| *constant == name).map(|(_, make)| *make)
}

/// Returns the error of a name that does not exist.
pub(super) fn unknown(name: &str, span: Span) -> Diagnostic {
    let shown: String = name.chars().take(40).collect();
    let error = Diagnostic::new("name", format!("there is no '{shown}'")).at(span);
    let alike = match name {
        "arcsin" => Some("asin"),
        "arccos" => Some("acos"),
        "arctan" => Some("atan"),
        "log_10" | "lg" => Some("log10"),
        "fact" => Some("factorial"),
        "ncr" | "nCr" | "C" | "binomial" => Some("comb"),
        "npr" | "nPr" | "P" => Some("perm"),
        "avg" | "average" => Some("mean"),
        _ => did_you_mean(&shown, names()),
    };
    match alike {
        Some(near) => error.help(format!("did you mean '{near}'?")),
        None => error.help(format!("there are {}", names().collect::<Vec<_>>().join(", "))),
    }
}

impl Function {
    /// Calls it.
    pub(super) fn call(
        &self,
        machine: &mut Machine<'_>,
        arguments: &[Number],
    ) -> Result<Number, Refusal> {
        let (least, most) = self.counts;
        let found = arguments.len();
        if (least..=most).contains(&found) {
            return (self.run)(machine, arguments);
        }
        let expected = match (least, most) {
            (1, 1) => "one argument".to_owned(),
            (least, ANY) => format!("at least {least}"),
            (least, most) if least == most => format!("{least} arguments"),
            (least, most) => format!("{least} or {most} arguments"),
        };
        Err(format!("{}() takes {expected}; found {found}", self.name))
    }
}

/// A function of one number as the library has it.
type OfOne = fn(&Context<HalfEven>, &Repr<2>, Option<&mut ConstCache>) -> FpResult<Real>;

fn plain(machine: &mut Machine<'_>, a: &Number, function: OfOne) -> Result<Number, Refusal> {
    let a = machine.wide(a)?;
    machine.apply(&|context, constants| function(context, a.repr(), Some(constants)))
}

/// Applies a function that ends at ±1; what is ±1 but for rounding counts as that.
fn unit(machine: &mut Machine<'_>, a: &Number, function: OfOne) -> Result<Number, Refusal> {
    plain(machine, &Number::Exact(a.snapped()), function)
}

/// Applies a function that grows like e^x.
fn exponential(machine: &mut Machine<'_>, a: &Number, function: OfOne) -> Result<Number, Refusal> {
    if magnitude_bits(&a.to_exact()) > 21 {
        return Err("the argument is too large: above 1,000,000".to_owned());
    }
    plain(machine, a, function)
}

fn logarithm(machine: &mut Machine<'_>, a: &Number, function: OfOne) -> Result<Number, Refusal> {
    if a.is_zero() || a.is_negative() {
        return Err("only positive numbers have a logarithm".to_owned());
    }
    let result = plain(machine, a, function)?;
    let is_quiet = matches!(a, Number::Real(_)) && is_noise(&result, 0);
    Ok(if is_quiet { Number::whole(0) } else { result })
}

/// Applies a function of an angle in radians. What rounding leaves of 0 near a multiple of pi
/// counts as 0.
fn angle(machine: &mut Machine<'_>, a: &Number, function: OfOne) -> Result<Number, Refusal> {
    let exact = a.to_exact();
    let height = magnitude_bits(&exact);
    let (height_max, is_rounded) = match a {
        Number::Real(_) => (ANGLE_BITS_MAX, true),
        Number::Exact(_) => (EXACT_ANGLE_BITS_MAX, bits(&exact) > PRECISION_BITS),
    };
    if height > height_max {
        return Err("the angle is too large for its place on the circle to be known".to_owned());
    }
    if height > ANGLE_BITS_MAX {
        machine.work(LARGE_ANGLE_WORK)?;
    }
    // 256 bits behind the point, whatever stands before it.
    let real: Real = match a {
        Number::Real(real) => real.clone(),
        Number::Exact(exact) => {
            exact.to_float(PRECISION_BITS + height.max(0).unsigned_abs()).value()
        }
    };
    let result =
        machine.apply(&|context, constants| function(context, real.repr(), Some(constants)))?;
    // A small angle is its own sine, however small.
    let is_quiet = is_rounded && height >= 1 && is_noise(&result, height);
    Ok(if is_quiet { Number::whole(0) } else { result })
}

/// Whether a result is smaller than the last trusted one of the bits that begin at `height`.
fn is_noise(result: &Number, height: isize) -> bool {
    !result.is_zero() && magnitude_bits(&result.to_exact()) < height - TRUSTED_BITS
}

fn tan(machine: &mut Machine<'_>, a: &[Number]) -> Result<Number, Refusal> {
    let sine = angle(machine, &a[0], Context::sin)?;
    let cosine = angle(machine, &a[0], Context::cos)?;
    if cosine.is_zero() {
        return Err("the tangent of a right angle is infinite".to_owned());
    }
    machine.divide(&sine, &cosine)
}

fn atan2(machine: &mut Machine<'_>, a: &[Number]) -> Result<Number, Refusal> {
    let (y, x) = (a[0].to_real(), a[1].to_real());
    machine.apply(&|context, constants| context.atan2(y.repr(), x.repr(), Some(constants)))
}

fn hypot(machine: &mut Machine<'_>, a: &[Number]) -> Result<Number, Refusal> {
    let squares = [machine.multiply(&a[0], &a[0])?, machine.multiply(&a[1], &a[1])?];
    let square = machine.add(&squares[0], &squares[1])?;
    machine.root(&square, 2)
}

fn pi(machine: &mut Machine<'_>) -> Result<Number, Refusal> {
    machine.apply(&|_, constants| Ok(constants.pi(PRECISION_BITS)))
}

fn degrees(machine: &mut Machine<'_>, a: &[Number]) -> Result<Number, Refusal> {
    let pi = pi(machine)?;
    let scaled = machine.multiply(&a[0], &Number::whole(180))?;
    machine.divide(&scaled, &pi)
}

fn radians(machine: &mut Machine<'_>, a: &[Number]) -> Result<Number, Refusal> {
    let pi = pi(machine)?;
    let scaled = machine.multiply(&a[0], &pi)?;
    machine.divide(&scaled, &Number::whole(180))
}

fn log(machine: &mut Machine<'_>, a: &[Number]) -> Result<Number, Refusal> {
    let value = logarithm(machine, &a[0], Context::ln)?;
    let Some(base) = a.get(1) else { return Ok(value) };
    let base = logarithm(machine, base, Context::ln)?;
    let quotient = machine.divide(&value, &base)?;
    // log(8, 2) is 3: what is whole but for rounding is whole.
    Ok(quotient.as_whole().map_or(quotient, Number::from))
}

fn absolute(machine: &Machine<'_>, a: &Number) -> Number {
    if a.is_negative() { machine.negate(a.clone()) } else { a.clone() }
}

fn round(machine: &mut Machine<'_>, a: &[Number]) -> Result<Number, Refusal> {
    let digits = match a.get(1) {
        None => Some(0),
        Some(digits) => digits.as_whole().and_then(|digits| i64::try_from(digits).ok()),
    };
    match digits {
        Some(digits) => machine.round_to(&a[0], digits),
        None => Err("round() takes a whole number of digits".to_owned()),
    }
}

fn root(machine: &mut Machine<'_>, a: &[Number]) -> Result<Number, Refusal> {
    let degree = a[1].as_whole().and_then(|degree| usize::try_from(degree).ok());
    match degree.filter(|degree| (1..=1_000_000).contains(degree)) {
        Some(degree) => machine.root(&a[0], degree),
        None => Err("root(x, n) takes a whole number n from 1 to 1000000".to_owned()),
    }
}

fn sum(machine: &mut Machine<'_>, a: &[Number]) -> Result<Number, Refusal> {
    let mut sum = Number::whole(0);
    for number in a {
        sum = machine.add(&sum, number)?;
    }
    Ok(sum)
}

fn mean(machine: &mut Machine<'_>, a: &[Number]) -> Result<Number, Refusal> {
    let sum = sum(machine, a)?;
    machine.divide(&sum, &Number::from(IBig::from(a.len())))
}

fn extreme(machine: &mut Machine<'_>, a: &[Number], largest: bool) -> Result<Number, Refusal> {
    let mut best = a[0].clone();
    for number in &a[1..] {
        let is_below = machine.is_less(&best, number)?;
        let is_above = machine.is_less(number, &best)?;
        if if largest { is_below } else { is_above } {
            best = number.clone();
        }
    }
    Ok(best)
}

/// Returns the whole number that an argument of `name` is.
fn whole(a: &Number, name: &str) -> Result<IBig, Refusal> {
    a.as_whole().ok_or_else(|| format!("{name}() takes whole numbers"))
}

fn divisors(machine: &mut Machine<'_>, a: &[Number], common: bool) -> Result<Number, Refusal> {
    let name = if common { "gcd" } else { "lcm" };
    let mut result = whole(&a[0], name)?.unsigned_abs();
    for number in &a[1..] {
        let next = whole(number, name)?.unsigned_abs();
        let words = ((result.bit_len() + next.bit_len()) / 64 + 1) as u64;
        machine.work(4 * words * words)?;
        if result.is_zero() || next.is_zero() {
            result = if common { result + next } else { next * result };
            continue;
        }
        let divisor = (&result).gcd(&next);
        result = if common { divisor } else { result / divisor * next };
        if result.bit_len() > BITS_MAX {
            return Err("the result has more than 19,000 digits".to_owned());
        }
    }
    Ok(Number::from(IBig::from(result)))
}

/// Returns `n!`.
pub(super) fn factorial(machine: &mut Machine<'_>, n: &Number) -> Result<Number, Refusal> {
    let n = whole(n, "factorial")?;
    let count = u64::try_from(n)
        .map_err(|_| "factorial() takes whole numbers from 0 to about 5,900".to_owned())?;
    product(machine, 1, count, "factorial")
}

/// Returns the product of the whole numbers from `first` to `last`.
fn product(
    machine: &mut Machine<'_>,
    first: u64,
    last: u64,
    name: &str,
) -> Result<Number, Refusal> {
    let mut result = IBig::ONE;
    let mut factor = first;
    while factor <= last {
        if result.bit_len() > BITS_MAX {
            return Err(format!("{name}(): the result has more than 19,000 digits"));
        }
        machine.work((result.bit_len() / 64 + 1) as u64)?;
        result *= IBig::from(factor);
        factor += 1;
    }
    machine.exact(RBig::from(result))
}

/// Returns in how many ways `k` of `n` things can be chosen, in any order or in each.
fn choices(machine: &mut Machine<'_>, a: &[Number], any_order: bool) -> Result<Number, Refusal> {
    let name = if any_order { "comb" } else { "perm" };
    let count = |number: &Number| {
        let found = u64::try_from(whole(number, name)?);
        found.map_err(|_| format!("{name}(n, k) takes whole numbers from 0 to 2^64"))
    };
    let (n, k) = (count(&a[0])?, count(&a[1])?);
    if k > n {
        return Ok(Number::whole(0));
    }
    let k = if any_order { k.min(n - k) } else { k };
    if k == 0 {
        return Ok(Number::whole(1));
    }
    let ordered = product(machine, n - k + 1, n, name)?;
    match any_order {
        true => {
            let orders = product(machine, 1, k, name)?;
            machine.divide(&ordered, &orders)
        }
        false => Ok(ordered),
    }
}

//! Round places along an axis: steps of 1, 2, 2.5 or 5 times a power of ten, or of the calendar.

use super::calendar::{TimeStep, time_label};
use super::chart::Scale;
use super::label::{PLAIN_BELOW, readable, with_thousands};

/// A round place on an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct GridMark {
    /// Where.
    pub value: f64,
    /// How it reads.
    pub label: String,
}

/// Round places that enclose a range.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// The places, ascending: the first is at or before the range, the last at or behind it.
    pub marks: Vec<GridMark>,
    step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Round(RoundStep),
    Time(TimeStep),
}

/// `tenths / 10` times ten to the power of `exponent`. Multiples are read from their digits, so
/// that they are the numbers nearest to what is written.
#[derive(Clone, Copy, Debug, PartialEq)]
struct RoundStep {
    tenths: i64,
    exponent: i32,
}

/// The smallest step, as a part of the largest number on the axis: neighbours have to differ as
/// numbers of 64 bits.
const STEP_MIN: f64 = 1e-13;

/// Digits behind the point, at most, of a number that is not written in powers of ten.
const DECIMALS_MAX: usize = 6;

impl Grid {
    /// Returns the grid of a range in about `parts` parts, at most two more than that; `is_whole`
    /// allows whole steps only. A range without extent becomes one part or two.
    pub fn new(low: f64, high: f64, parts: usize, scale: Scale, is_whole: bool) -> Grid {
        let parts = parts.max(1) as f64;
        let size = match low < high {
            true => high / parts - low / parts,
            // One number: a step that reads well beside it.
            false if scale == Scale::Time => 1.0,
            false if is_whole => 1.0,
            false => low.abs() / 10.0,
        };
        let (values, step) = match scale {
            Scale::Time if TimeStep::covers(low, high) => {
                let step = TimeStep::at_least(size.max(1e-3));
                (step.enclosing(low, high), Step::Time(step))
            }
            _ => {
                let largest = low.abs().max(high.abs());
                let least = if is_whole || scale == Scale::Truth { 1.0 } else { 1e-300 };
                let step = RoundStep::at_least(size.max(largest * STEP_MIN).max(least), is_whole);
                (step.enclosing(low, high), Step::Round(step))
            }
        };
        let several_days = values[values.len() - 1] - values[0] > 86_400.0;
        let mark = |value: f64| GridMark { value, label: label(value, step, scale, several_days) };
        Grid { marks: values.into_iter().map(mark).collect(), step }
    }

    /// Returns the first place.
    pub fn low(&self) -> f64 {
        self.marks.first().map_or(0.0, |mark| mark.value)
    }

    /// Returns the last place.
    pub fn high(&self) -> f64 {
        self.marks.last().map_or(1.0, |mark| mark.value)
    }

    /// Returns the places from `low` to `high`.
    pub fn within(&self, low: f64, high: f64) -> impl Iterator<Item = &GridMark> {
        self.marks.iter().filter(move |mark| mark.value >= low && mark.value <= high)
    }

    /// Returns whether neighbours are one apart.
    pub fn is_of_ones(&self) -> bool {
        self.step == Step::Round(RoundStep { tenths: 10, exponent: 0 })
    }

    /// Returns what the labels of times do not say: the zone, and the day where they lack it.
    pub fn time_note(&self) -> Option<String> {
        let Step::Time(step) = self.step else { return None };
        Some(step.note(self.low()))
    }

    /// Returns the label of the mark before the place `at`, with a whole number one less than it.
    pub(super) fn label_before(&self, at: usize) -> String {
        let value = self.marks.get(at).map_or(0.0, |mark| mark.value);
        label(value - 1.0, self.step, Scale::Number, false)
    }
}

/// Returns whether all values are whole numbers that 64 bits tell from their neighbours.
pub(super) fn is_whole(mut values: impl Iterator<Item = f64>) -> bool {
    values.all(|value| value.fract() == 0.0 && value.abs() < 9e15)
}

/// Returns where a value lies between `low` (0) and `high` (1); halves, so that the distance of the
/// largest numbers is one too.
pub(super) fn share(value: f64, low: f64, high: f64) -> f64 {
    let extent = high / 2.0 - low / 2.0;
    if extent > 0.0 { (value / 2.0 - low / 2.0) / extent } else { 0.5 }
}

fn label(value: f64, step: Step, scale: Scale, several_days: bool) -> String {
    match step {
        Step::Time(step) => time_label(value, step, several_days),
        Step::Round(_) if scale == Scale::Truth && value == 0.0 => "false".to_owned(),
        Step::Round(_) if scale == Scale::Truth && value == 1.0 => "true".to_owned(),
        Step::Round(step) => {
            let decimals = step.decimals();
            let value = if value == 0.0 { 0.0 } else { value };
            if value.abs() >= PLAIN_BELOW || decimals > DECIMALS_MAX {
                return match value.abs() {
                    0.0 => "0".to_owned(),
                    f64::MAX => readable(value),
                    _ => format!("{value:e}"),
                };
            }
            with_thousands(&format!("{value:.decimals$}"))
        }
    }
}

impl RoundStep {
    /// Returns the smallest round step that is not below `size`, a positive number.
    fn at_least(size: f64, is_whole: bool) -> RoundStep {
        let exponent = size.log10().floor() as i32;
        // The logarithm may be off by one next to a power of ten.
        for exponent in [exponent - 1, exponent, exponent + 1] {
            for tenths in [10, 20, 25, 50] {
                let step = RoundStep { tenths, exponent };
                let fits = !is_whole || (exponent >= 0 && (tenths != 25 || exponent > 0));
                if fits && step.times(1) >= size {
                    return step;
                }
            }
        }
        RoundStep { tenths: 10, exponent: exponent + 2 }
    }

    fn times(self, factor: i64) -> f64 {
        let digits = format!("{}e{}", self.tenths.saturating_mul(factor), self.exponent - 1);
        let value: f64 = digits.parse().unwrap_or(0.0);
        value.clamp(-f64::MAX, f64::MAX)
    }

    fn enclosing(self, low: f64, high: f64) -> Vec<f64> {
        let size = self.times(1);
        let mut first = (low / size).floor() as i64;
        // The division may be off by one next to a multiple.
        while self.times(first) > low || self.times(first) == f64::MAX {
            first -= 1;
        }
        while self.times(first + 1) <= low && self.times(first + 1) < f64::MAX {
            first += 1;
        }
        let mut values = vec![self.times(first)];
        while values.len() < 2 || values.last().is_some_and(|last| *last < high) {
            values.push(self.times(first + values.len() as i64));
        }
        values
    }

    /// Returns the digits behind the point that the step needs.
    fn decimals(self) -> usize {
        let digits = if self.tenths == 25 { 1 - self.exponent } else { -self.exponent };
        digits.max(0) as usize
    }
}

//! Names and their numbers.

use super::calendar::whole_time;
use super::chart::{Axis, Scale};
use super::label::{grouped, readable, visible};

/// Bars that are drawn; the rest becomes one more.
const BARS_MAX: usize = 40;

/// A name and its number.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// The name.
    pub label: String,
    /// The number.
    pub value: f64,
    /// The number as it reads.
    pub told: String,
    /// Whether it is the sum of the bars that are not drawn.
    pub is_rest: bool,
}

/// A bar for each name.
#[derive(Clone, Debug, PartialEq)]
pub struct Bars {
    /// The column of the names.
    pub label_name: String,
    /// The column of the numbers.
    pub value: Axis,
    /// The bars, in the order of the rows.
    pub bars: Vec<Bar>,
}

impl Bars {
    /// Returns bars of finite numbers, and a note if some are summed; `None` without any.
    pub(super) fn new(
        label_name: &str,
        value: Axis,
        rows: Vec<(String, f64)>,
    ) -> Option<(Bars, Option<String>)> {
        if rows.is_empty() {
            return None;
        }
        let mut by_size: Vec<usize> = (0..rows.len()).collect();
        by_size.sort_by(|a, b| rows[*b].1.abs().total_cmp(&rows[*a].1.abs()).then(a.cmp(b)));
        let shown = if rows.len() > BARS_MAX + 1 { BARS_MAX } else { rows.len() };
        let mut kept = vec![false; rows.len()];
        by_size.iter().take(shown).for_each(|at| kept[*at] = true);
        let told = |number: f64| match value.scale {
            Scale::Time => whole_time(number),
            Scale::Truth | Scale::Number => readable(number),
        };
        let (mut bars, mut rest) = (Vec::with_capacity(shown + 1), 0.0);
        let all = rows.len();
        for (at, (label, number)) in rows.into_iter().enumerate() {
            if !kept[at] {
                rest += number;
                continue;
            }
            let label = visible(&label);
            bars.push(Bar { label, value: number, told: told(number), is_rest: false });
        }
        let mut note = None;
        if all > shown {
            let more = grouped((all - shown) as f64);
            // Dates have no sum, and a sum may leave what 64 bits hold.
            if value.scale != Scale::Time && rest.is_finite() {
                let label = format!("… {more} more");
                let told = format!("sum {}", told(rest));
                bars.push(Bar { label, value: rest, told, is_rest: true });
            }
            let value = &value.name;
            note = Some(format!(
                "the {shown} largest of {} bars; 'sum' adds up {value} of the rest",
                grouped(all as f64)
            ));
        }
        Some((Bars { label_name: label_name.to_owned(), value, bars }, note))
    }

    /// Returns the range of the bars, 0 included; a sum is told and has no bar.
    pub fn range(&self) -> (f64, f64) {
        let values = || self.bars.iter().filter(|bar| !bar.is_rest).map(|bar| bar.value);
        (values().fold(0.0, f64::min), values().fold(0.0, f64::max))
    }
}

//! Points joined by lines.

use super::calendar::whole_time;
use super::chart::{Axis, Scale};
use super::grid::{Grid, is_whole};
use super::label::{grouped, readable, visible};

/// Series that can be told apart.
pub(super) const SERIES_MAX: usize = 8;

/// Points of one line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// The name; empty where there is one line only.
    pub name: String,
    /// x and y.
    pub points: Vec<(f64, f64)>,
}

/// One number over another.
#[derive(Clone, Debug, PartialEq)]
pub struct Lines {
    /// The column along the bottom.
    pub x: Axis,
    /// The column along the side.
    pub y: Axis,
    /// The lines by name, each in the order of x.
    pub series: Vec<Series>,
}

impl Lines {
    /// Returns lines through finite points, and a note if some series are not drawn; `None`
    /// without points. Points of equal x keep their order.
    pub(super) fn new(
        x: Axis,
        y: Axis,
        mut series: Vec<Series>,
    ) -> Option<(Lines, Option<String>)> {
        series.retain(|one| !one.points.is_empty());
        if series.is_empty() {
            return None;
        }
        series.sort_by(|a, b| b.points.len().cmp(&a.points.len()).then(a.name.cmp(&b.name)));
        let rest = series.split_off(series.len().min(SERIES_MAX));
        series.sort_by(|a, b| natural(&a.name).cmp(&natural(&b.name)));
        let is_named = series.len() > 1 || series.iter().any(|one| !one.name.is_empty());
        for one in &mut series {
            one.points.sort_by(|a, b| a.0.total_cmp(&b.0));
            if is_named {
                one.name = visible(&one.name);
            }
        }
        let note = (!rest.is_empty()).then(|| {
            let points: usize = rest.iter().map(|one| one.points.len()).sum();
            format!(
                "the {SERIES_MAX} series with the most points; {} more with {} points not drawn",
                rest.len(),
                grouped(points as f64)
            )
        });
        Some((Lines { x, y, series }, note))
    }

    /// Returns whether the lines have names.
    pub fn is_named(&self) -> bool {
        self.series.iter().any(|one| !one.name.is_empty())
    }

    /// Returns the range of x; a single value has some space around it.
    pub fn x_range(&self) -> (f64, f64) {
        let xs = || self.points().map(|point| point.0);
        let (low, high) = (xs().fold(f64::MAX, f64::min), xs().fold(f64::MIN, f64::max));
        if low < high { (low, high) } else { around(low) }
    }

    /// Returns the grid of x in about `parts` parts.
    pub fn x_grid(&self, parts: usize) -> Grid {
        let (low, high) = self.x_range();
        let is_whole = is_whole(self.points().map(|point| point.0));
        Grid::new(low, high, parts, self.x.scale, is_whole)
    }

    fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        self.series.iter().flat_map(|one| one.points.iter().copied())
    }

    /// Returns the grid of y in about `parts` parts. It begins at 0 where the values do nearly.
    pub fn y_grid(&self, parts: usize) -> Grid {
        let ys = || self.points().map(|point| point.1);
        let (low, high) = (ys().fold(f64::MAX, f64::min), ys().fold(f64::MIN, f64::max));
        let is_near_zero = self.y.scale != Scale::Time && low > 0.0 && low < high / 2.0;
        let (low, high) = match (low < high, is_near_zero) {
            (true, true) => (0.0, high),
            (true, false) => (low, high),
            (false, _) => around(low),
        };
        Grid::new(low, high, parts, self.y.scale, is_whole(ys()))
    }

    /// Returns what a line is, in words: how many points, and where it is least and greatest.
    pub fn told(&self, series: &Series) -> String {
        let points = series.points.len();
        let noun = if points == 1 { "point" } else { "points" };
        let value = |axis: &Axis, value: f64| match axis.scale {
            Scale::Time => whole_time(value),
            Scale::Truth | Scale::Number => readable(value),
        };
        let least = series.points.iter().copied().reduce(|a, b| if b.1 < a.1 { b } else { a });
        let greatest = series.points.iter().copied().reduce(|a, b| if b.1 > a.1 { b } else { a });
        let mut told = format!("{} {noun}", grouped(points as f64));
        for (what, point) in [("min", least), ("max", greatest)] {
            let Some((x, y)) = point else { continue };
            told.push_str(&format!(" · {what} {} at {}", value(&self.y, y), value(&self.x, x)));
        }
        told
    }
}

/// Returns a range around one number, 0 at its edge or in it.
pub(super) fn around(value: f64) -> (f64, f64) {
    match value {
        0.0 => (-1.0, 1.0),
        _ if value.abs() > f64::MAX / 4.0 => (value.min(0.0), value.max(0.0)),
        _ => (value - value.abs() / 2.0, value + value.abs() / 2.0),
    }
}

/// Returns a name's place in an order in which numbers are compared as such.
fn natural(name: &str) -> (Option<i64>, &str) {
    (name.parse::<f64>().ok().map(|number| (number * 1e6) as i64), name)
}

/// Returns the points that a line of `columns` pixels needs, of points in the order of x: in each
/// column the first, the least, the greatest and the last. Joined, they cover the same pixels as
/// all points do (Jugel et al., M4: A Visualization-Oriented Time Series Data Aggregation, 2014).
pub fn outline(points: &[(f64, f64)], low: f64, high: f64, columns: usize) -> Vec<(f64, f64)> {
    if points.len() <= 4 * columns {
        return points.to_vec();
    }
    let column = |x: f64| (super::grid::share(x, low, high) * columns as f64).floor() as i64;
    let mut out = Vec::new();
    for group in points.chunk_by(|a, b| column(a.0) == column(b.0)) {
        let least = (0..group.len()).reduce(|a, b| if group[b].1 < group[a].1 { b } else { a });
        let most = (0..group.len()).reduce(|a, b| if group[b].1 > group[a].1 { b } else { a });
        let mut kept = vec![0, least.unwrap_or(0), most.unwrap_or(0), group.len() - 1];
        kept.sort_unstable();
        kept.dedup();
        out.extend(kept.into_iter().map(|at| group[at]));
    }
    out
}

//! Figures: charts of `plot` with a title, as text, as SVG, and in words.

use super::numbers::print_estimate;
use crate::plot::{
    Axis, Body, Chart, Interval, PlotError, Scale, Series, Sheet, draw, scene_on, svg_inline,
};
use crate::score::Estimate;

/// Digits behind the point of the estimates in a figure.
const DIGITS: usize = 3;

/// Columns of a figure as text: what is read without breaks in a diff or beside code.
const TEXT_WIDTH: usize = 88;

/// Points of a figure as SVG from left to right: little more than a phone has, and so many that it
/// can be half as wide again on a page, so that letters are read on both.
const SVG_WIDTH: f64 = 420.0;

/// A picture with a title, and what it cannot say itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    title: String,
    note: String,
    chart: Result<Chart, PlotError>,
}

/// An estimate in a figure, and what it is of.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// What it stands under: a data set, a kind of question.
    pub group: String,
    /// Its name in the group: a system, before or after training; empty if the group has one only.
    pub name: String,
    /// The number and its interval.
    pub estimate: Estimate,
}

impl Measured {
    /// Returns an estimate of `name` in `group`.
    pub fn new(group: impl Into<String>, name: impl Into<String>, estimate: Estimate) -> Measured {
        Measured { group: group.into(), name: name.into(), estimate }
    }
}

impl Figure {
    /// Returns a figure of estimates with their intervals, groups below each other, in the order
    /// given. What is not finite is left out, and the figure says so.
    pub fn intervals(
        title: impl Into<String>,
        value_name: &str,
        rows: impl IntoIterator<Item = Measured>,
    ) -> Figure {
        let row = |Measured { group, name, estimate }| {
            let Estimate { value, low, high } = estimate;
            Interval { group, name, value, low, high, told: print_estimate(estimate, DIGITS) }
        };
        let rows = rows.into_iter().map(row).collect();
        let axis = Axis::new(value_name, Scale::Number);
        Figure::of(title.into(), Chart::intervals(axis, rows))
    }

    /// Returns a figure of lines, such as a reward over the steps of training. What is not finite
    /// is left out, and the figure says so.
    pub fn lines(
        title: impl Into<String>,
        x_name: &str,
        y_name: &str,
        series: impl IntoIterator<Item = Series>,
    ) -> Figure {
        let axis = |name: &str| Axis::new(name, Scale::Number);
        let series = series.into_iter().collect();
        Figure::of(title.into(), Chart::lines(axis(x_name), axis(y_name), series))
    }

    fn of(title: String, chart: Result<Chart, PlotError>) -> Figure {
        let chart = chart.map(|chart| Chart { title: crate::plot::visible(&title), ..chart });
        Figure { title, note: String::new(), chart }
    }

    /// Returns the figure with a sentence below it: what the intervals are, how many questions.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Figure {
        self.note = note.into();
        self
    }

    /// Returns what it shows, in a few words.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Returns the sentence below it, empty if there is none.
    pub fn below(&self) -> &str {
        &self.note
    }

    /// Returns it as lines of text.
    ///
    /// # Errors
    /// There is nothing to draw.
    pub(super) fn text(&self) -> Result<String, PlotError> {
        let drawn = draw(self.chart.as_ref().map_err(Clone::clone)?, TEXT_WIDTH, false);
        // The title stands above the figure.
        Ok(drawn.split_once('\n').map_or(String::new(), |(_, picture)| picture.to_owned()))
    }

    /// Returns it as an element of SVG whose names begin with `id`.
    ///
    /// # Errors
    /// There is nothing to draw.
    pub(super) fn svg(&self, id: &str) -> Result<String, PlotError> {
        let chart = self.chart.as_ref().map_err(Clone::clone)?;
        let sheet = Sheet { width: SVG_WIDTH, has_title: false };
        Ok(svg_inline(&scene_on(chart, sheet), id, &told(&chart.body)))
    }
}

/// Returns in words what a picture shows.
fn told(body: &Body) -> String {
    let (what, rows): (String, Vec<String>) = match body {
        Body::Intervals(intervals) => {
            let row = |row: &Interval| match row.name.is_empty() {
                true => format!("{}: {}", row.group, row.told),
                false => format!("{}, {}: {}", row.group, row.name, row.told),
            };
            (intervals.value.name.clone(), intervals.rows.iter().map(row).collect())
        }
        Body::Lines(lines) => {
            let row = |series: &Series| match series.name.is_empty() {
                true => lines.told(series),
                false => format!("{}: {}", series.name, lines.told(series)),
            };
            let what = format!("{} by {}", lines.y.name, lines.x.name);
            (what, lines.series.iter().map(row).collect())
        }
        Body::Histogram(_) | Body::Bars(_) | Body::Matrix(_) => (String::new(), Vec::new()),
    };
    format!("{what}. {}.", rows.join("; "))
}

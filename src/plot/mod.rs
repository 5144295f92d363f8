//! Pictures of rows: a chart's data, and the same chart as text for a terminal, as SVG and as PNG.
//!
//! ```text
//! values ──▶ Chart ──▶ terminal::draw          blocks, braille dots, shaded cells
//!                 └──▶ figure::scene ──▶ svg    shapes in points, as text; also within a page
//!                                    └─▶ png    the same shapes as pixels
//! ```
//!
//! Everything here is a function of its arguments: nothing is read, printed or written. What a
//! picture leaves out or sums up stands in the chart's notes, and every picture shows those.

mod bars;
mod braille;
mod calendar;
mod chart;
mod figure;
mod figure_intervals;
mod font;
mod frame;
mod grid;
mod histogram;
mod intervals;
mod label;
mod lines;
mod matrix;
mod pixels;
mod scene;
mod svg;
mod terminal;
mod terminal_intervals;
mod terminal_lines;
mod terminal_matrix;

pub use bars::{Bar, Bars};
pub use chart::{Axis, Body, Chart, ChartKind, PlotError, Scale};
pub use figure::{scene, scene_on};
pub use frame::Sheet;
pub use grid::{Grid, GridMark};
pub use histogram::{Bin, Histogram};
pub use intervals::{Interval, Intervals};
pub use label::{cut, fixed, grouped, is_harmful, readable, shown_width, visible};
pub use lines::{Lines, Series, outline};
pub use matrix::Matrix;
pub use pixels::{Png, png};
pub use scene::{Anchor, Colour, Item, PALETTE, Scene};
pub use svg::{svg, svg_inline};
pub use terminal::draw;

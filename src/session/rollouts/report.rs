//! What an evaluation measured: figures with their intervals, over all questions and over groups.

use crate::score::Estimate;

/// A figure over a group of questions.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// The group: `all`, `hops 3`, `type bridge`.
    pub group: String,
    /// What was measured: `exact_match`, `f1`, `precision`, `recall`, `answered`, `calls`.
    pub metric: &'static str,
    /// The questions of the group.
    pub questions: u64,
    /// The figure with its interval of .95; an interval of one question has no width.
    pub estimate: Estimate,
    /// Where the interval comes from: `wilson` or `bootstrap`.
    pub interval: &'static str,
}

/// What an evaluation measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The figures, group by group.
    pub figures: Vec<Figure>,
}

impl Report {
    /// Returns the figures as metrics of the run: `exact_match`, `exact_match.low`,
    /// `hops 3/exact_match`.
    pub(super) fn metrics(&self) -> Vec<(String, f64)> {
        let mut metrics = Vec::new();
        for figure in &self.figures {
            let name = match figure.group.as_str() {
                "all" => figure.metric.to_owned(),
                group => format!("{group}/{}", figure.metric),
            };
            let Estimate { value, low, high } = figure.estimate;
            metrics.push((format!("{name}.low"), low));
            metrics.push((format!("{name}.high"), high));
            metrics.push((name, value));
        }
        metrics
    }
}

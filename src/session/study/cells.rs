//! The cells of a study: what is trained on what.

use toml::{Table, Value};

use super::config::{Filter, StudyConfig, wrong};
use super::statements::names_process;
use crate::diag::{Diagnostic, nearest};

/// One way of training.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cell {
    /// The name of the objective.
    pub(super) objective: String,
    /// Which trajectories.
    pub(super) filter: Filter,
    /// How many; 0 for as many as the strictest filter leaves.
    pub(super) size: u64,
    /// The share of verdicts that say the opposite.
    pub(super) noise: f64,
}

impl Cell {
    /// Returns its name in the study: `swirl/process/1000`, `swirl/process/all/flipped_0.1`.
    pub(super) fn label(&self) -> String {
        let Cell { objective, filter, noise, .. } = self;
        let label = format!("{objective}/{}/{}", filter.as_str(), self.size_word());
        if *noise > 0.0 { format!("{label}/flipped_{noise}") } else { label }
    }

    /// Returns how the number of trajectories is written.
    pub(super) fn size_word(&self) -> String {
        if self.size == 0 { "all".to_owned() } else { self.size.to_string() }
    }
}

/// Returns the cells in the order they are trained.
///
/// # Errors
/// A pattern that matches none.
pub(super) fn cells(config: &StudyConfig) -> Result<Vec<Cell>, Diagnostic> {
    let mut cells = Vec::new();
    for noise in &config.noise {
        for objective in config.objectives.keys() {
            for filter in &config.filters {
                for size in &config.sizes {
                    let (filter, size, noise) = (*filter, *size, *noise);
                    let cell = Cell { objective: objective.clone(), filter, size, noise };
                    if noise == 0.0 || looks_at_process(config, &cell) {
                        cells.push(cell);
                    }
                }
            }
        }
    }
    let patterns: Vec<Vec<&str>> = config.cells.iter().map(|p| p.split('/').collect()).collect();
    let matches = |pattern: &[&str], label: &str| {
        let parts: Vec<&str> = label.split('/').collect();
        let mut both = pattern.iter().zip(&parts);
        parts.len() == pattern.len() && both.all(|(one, part)| *one == "*" || one == part)
    };
    for (pattern, written) in patterns.iter().zip(&config.cells) {
        if !cells.iter().any(|cell| matches(pattern, &cell.label())) {
            let known: Vec<String> = cells.iter().map(Cell::label).collect();
            let help = nearest(written, &known, "cells", "there are none");
            let message = format!("'{written}' is no cell and matches none");
            return Err(wrong("cells", &message).help(help));
        }
    }
    if !patterns.is_empty() {
        cells.retain(|cell| patterns.iter().any(|p| matches(p, &cell.label())));
    }
    Ok(cells)
}

/// Whether what a cell is trained on, or with, depends on the judge of steps.
fn looks_at_process(config: &StudyConfig, cell: &Cell) -> bool {
    let options = &config.objectives[&cell.objective];
    let is_rewarded = match objective_of(options) {
        "swirl" => !options.contains_key("judge"),
        "dpo" => true,
        "reinforce" | "ppo" | "kto" => !options.contains_key("reward"),
        _ => false,
    };
    cell.filter.has_process() || is_rewarded || names_process(options)
}

/// Returns the objective that options name.
pub(super) fn objective_of(options: &Table) -> &str {
    options.get("objective").and_then(Value::as_str).unwrap_or("sft")
}

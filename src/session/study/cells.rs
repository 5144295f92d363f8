//! The cells of a study: what is trained on what.

use toml::{Table, Value};

use super::config::{Filter, StudyConfig, wrong};
use super::statements::names_process;
use crate::diag::{Diagnostic, nearest};

/// What is other than usual in a cell.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Variant {
    /// Nothing.
    Usual,
    /// This share of the judge's verdicts says the opposite.
    Flipped(f64),
    /// Another judge of steps, by its name in the file.
    Judge(String),
    /// Trajectories of another policy, by the name of the source in the file.
    Source(String),
}

impl Variant {
    /// Returns the part of a cell's name that says it; `None` for the usual.
    pub(super) fn word(&self) -> Option<String> {
        match self {
            Variant::Usual => None,
            Variant::Flipped(share) => Some(format!("flipped_{share}")),
            Variant::Judge(name) => Some(format!("judged_by_{name}")),
            Variant::Source(name) => Some(format!("from_{name}")),
        }
    }

    /// Whether it is a variant of the judge of steps.
    fn is_of_judge(&self) -> bool {
        matches!(self, Variant::Flipped(_) | Variant::Judge(_))
    }
}

/// One way of training.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cell {
    /// The name of the model, where there are several.
    pub(super) model: Option<String>,
    /// The name of the objective.
    pub(super) objective: String,
    /// Which trajectories.
    pub(super) filter: Filter,
    /// How many, or how many tokens their actions have; 0 for as many as the strictest filter
    /// leaves.
    pub(super) size: u64,
    /// What is other than usual.
    pub(super) variant: Variant,
    /// The round, from 1: what the model of the round before generates is trained on.
    pub(super) round: u64,
}

impl Cell {
    /// Returns its name in the study: `swirl/process/1000`, `large/swirl/process/all/flipped_0.1`,
    /// `swirl/process/all/round_2`.
    pub(super) fn label(&self) -> String {
        labelled(self.model.as_deref(), &self.name())
    }

    /// Returns its name among those of one model.
    pub(super) fn name(&self) -> String {
        let Cell { objective, filter, variant, round, .. } = self;
        let mut name = format!("{objective}/{}/{}", filter.as_str(), self.size_word());
        if let Some(word) = variant.word() {
            name.push_str(&format!("/{word}"));
        }
        if *round > 1 {
            name.push_str(&format!("/round_{round}"));
        }
        name
    }

    /// Returns how the number of trajectories is written.
    pub(super) fn size_word(&self) -> String {
        if self.size == 0 { "all".to_owned() } else { self.size.to_string() }
    }

    /// Returns the same way of training in the round before.
    pub(super) fn before(&self) -> Option<Cell> {
        (self.round > 1).then(|| Cell { round: self.round - 1, ..self.clone() })
    }
}

/// Returns the name of something of a model, where there are several.
pub(super) fn labelled(model: Option<&str>, name: &str) -> String {
    model.map_or_else(|| name.to_owned(), |model| format!("{model}/{name}"))
}

/// Returns the cells in the order they are trained.
///
/// # Errors
/// A pattern that matches none.
pub(super) fn cells(config: &StudyConfig) -> Result<Vec<Cell>, Diagnostic> {
    let check = |key: &str, pattern: &str, cells: &[Cell]| {
        if cells.iter().any(|cell| matches(pattern, cell)) {
            return Ok(());
        }
        let known: Vec<String> = cells.iter().map(Cell::label).collect();
        let help = nearest(pattern, &known, "cells", "there are none");
        let message = format!("'{pattern}' is no cell and matches none");
        Err(wrong(key, &message).help(help))
    };
    let mut wanted = crossed(config);
    for pattern in &config.cells {
        check("cells", pattern, &wanted)?;
    }
    if !config.cells.is_empty() {
        wanted.retain(|cell| config.cells.iter().any(|pattern| matches(pattern, cell)));
    }
    for pattern in config.rounds.keys() {
        check("rounds", pattern, &wanted)?;
    }
    let mut cells = Vec::new();
    for cell in wanted {
        let matching = config.rounds.iter().filter(|(pattern, _)| matches(pattern, &cell));
        let last = matching.map(|(_, rounds)| *rounds).max().unwrap_or(1);
        cells.extend((1..=last).map(|round| Cell { round, ..cell.clone() }));
    }
    Ok(cells)
}

/// Returns every cell of a first round.
fn crossed(config: &StudyConfig) -> Vec<Cell> {
    let mut cells = Vec::new();
    for (model, _) in config.models() {
        for variant in config.variants(model) {
            for objective in config.objectives.keys() {
                for filter in &config.filters {
                    for size in &config.sizes {
                        let cell = Cell {
                            model: model.map(str::to_owned),
                            objective: objective.clone(),
                            filter: *filter,
                            size: *size,
                            variant: variant.clone(),
                            round: 1,
                        };
                        if !variant.is_of_judge() || looks_at_process(config, &cell) {
                            cells.push(cell);
                        }
                    }
                }
            }
        }
    }
    cells
}

/// Whether a pattern, with or without the model before it, matches a cell.
fn matches(pattern: &str, cell: &Cell) -> bool {
    let pattern: Vec<&str> = pattern.split('/').collect();
    [cell.label(), cell.name()].iter().any(|label| {
        let parts: Vec<&str> = label.split('/').collect();
        let mut both = pattern.iter().zip(&parts);
        parts.len() == pattern.len() && both.all(|(one, part)| *one == "*" || one == part)
    })
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

//! From rows to what training is handed.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::request::RunConfig;
use crate::codec::{DatasetRow, HeaderRecord, TokensRecord};
use crate::db::NewRow;
use crate::diag::{Diagnostic, did_you_mean, list_some};
use crate::model::Trajectory;
use crate::session::error::SessionError;
use crate::session::statement::{Session, mistake};
use crate::store::View;
use crate::train::{ChosenStep, Example, Pair, Source, TokenKey};

/// Trajectories fetched together.
const FETCHED: usize = 256;

/// Returns a saved row as a selected one.
pub(super) fn saved(row: &DatasetRow) -> NewRow {
    let DatasetRow { trajectory, step, reward, pair, .. } = *row;
    NewRow { trajectory, step: Some(step), reward, pair }
}

/// Trajectories in the store, and their tokens.
pub(super) struct Stored<'a>(pub(super) &'a View);

impl Source for Stored<'_> {
    fn content(&self, keys: &[u64]) -> Result<Option<Vec<[u8; 32]>>, String> {
        self.0.content_hashes(keys).map(Some).map_err(|error| error.to_string())
    }

    fn trajectories(&self, keys: &[u64]) -> Result<Vec<Trajectory>, String> {
        self.0.trajectories(keys).map_err(|error| error.to_string())
    }

    fn tokens(&self, keys: &[TokenKey]) -> Result<Vec<Option<TokensRecord>>, String> {
        self.0.store().tokens(keys).map_err(|error| error.to_string())
    }

    fn keep(&self, entries: &[(TokenKey, TokensRecord)]) -> Result<(), String> {
        self.0.store().put_tokens(entries).map_err(|error| error.to_string())
    }
}

/// Returns a trajectory without its messages.
fn head(header: HeaderRecord) -> Trajectory {
    let HeaderRecord { source, id, question_id, question, .. } = header;
    Trajectory { source, id, question_id, question, ..Trajectory::default() }
}

/// Returns the examples of rows, in the order of ordinals: the head of a trajectory with its chosen
/// steps each. [`Stored`] has them whole.
pub(super) fn examples(view: &View, rows: &[NewRow]) -> Result<Vec<Example>, SessionError> {
    let mut chosen: BTreeMap<u64, Vec<&NewRow>> = BTreeMap::new();
    for row in rows {
        chosen.entry(row.trajectory).or_default().push(row);
    }
    let ordinals: Vec<u64> = chosen.keys().copied().collect();
    let mut examples = Vec::with_capacity(ordinals.len());
    for part in ordinals.chunks(FETCHED) {
        for (key, header) in part.iter().zip(view.headers(part)?) {
            let all = 1..=header.n_steps;
            let of_row = |row: &&NewRow| {
                let weight = row.reward.unwrap_or(1.0);
                let steps = row.step.map_or(all.clone(), |step| step..=step);
                let pair = row.pair.map(|id| Pair { id, chosen: weight > 0.0 });
                let chosen = |step| ChosenStep { pair, ..ChosenStep::new(step, weight) };
                steps.map(chosen).collect::<Vec<_>>()
            };
            let rows = chosen.get(key).into_iter().flatten();
            let mut steps: Vec<ChosenStep> = rows.flat_map(of_row).collect();
            steps.sort_by_key(|chosen| chosen.step);
            examples.push(Example { key: *key, trajectory: Arc::new(head(header)), steps });
        }
    }
    Ok(examples)
}

/// Returns the held-out sets, none of whose questions is trained on.
pub(super) fn held_out(
    session: &Session,
    view: &View,
    config: &RunConfig,
    trained: &[Example],
) -> Result<Vec<(String, Vec<Example>)>, SessionError> {
    let store = session.database().store();
    let questions: HashSet<String> =
        trained.iter().filter_map(|e| question(&e.trajectory)).collect();
    let mut sets = Vec::new();
    for name in &config.eval_dataset {
        if store.dataset(name)?.is_none() {
            let datasets = store.datasets()?;
            let names = || datasets.iter().map(|d| d.name.as_str());
            let help = match did_you_mean(name, names()) {
                Some(near) => format!("did you mean '{near}'?"),
                None => format!("datasets: {}", list_some(names())),
            };
            let message = format!("eval_dataset: unknown dataset '{name}'");
            return Err(mistake(Diagnostic::new("unknown-dataset", message).help(help), ""));
        }
        let rows = store.dataset_rows(name)?;
        let rows: Vec<NewRow> = rows.iter().map(saved).collect();
        let examples = examples(view, &rows)?;
        let shared = examples.iter().filter_map(|e| question(&e.trajectory));
        let shared: HashSet<String> = shared.filter(|q| questions.contains(q)).collect();
        if let Some(first) = shared.iter().min() {
            let message = format!(
                "{} questions of eval_dataset '{name}' are trained on, such as '{first}'",
                shared.len()
            );
            let diagnostic = Diagnostic::new("shared-questions", message)
                .help("split by question: WHERE split = 'train' and WHERE split = 'dev'");
            return Err(mistake(diagnostic, ""));
        }
        sets.push((name.clone(), examples));
    }
    Ok(sets)
}

/// Returns what a trajectory answers: the question's id, else its text.
fn question(trajectory: &Trajectory) -> Option<String> {
    trajectory.question_id.clone().or_else(|| trajectory.question.clone())
}

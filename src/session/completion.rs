//! What may be typed at the cursor, with the names that this database has.

use super::options;
use super::rollouts::{JudgeOptions, ResampleOptions, RolloutOptions};
use super::statement::Session;
use super::training::option_names;
use crate::codec::LabelColumn;
use crate::query::syntax::{Expected, NameKind, RolloutVerb, complete};
use crate::query::{DATASET_SCHEMA, column_names, table_values};
use crate::store::View;

/// Names offered at most: nobody reads more.
const OFFERED_MAX: usize = 200;

/// What may replace the word at the cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Completions {
    /// The byte where the word begins.
    pub start: usize,
    /// What may stand there, the likeliest kind first.
    pub candidates: Vec<String>,
}

impl Session {
    /// Returns what may be typed at the byte `cursor` of `text`. A failure to read names offers
    /// fewer of them.
    pub fn completions(&self, text: &str, cursor: usize) -> Completions {
        let expected = complete(text, cursor);
        let word = &text[expected.word.start..expected.word.end.min(text.len())];
        let view = self.database().view();
        let begins = |candidate: &str| {
            let bare = candidate.trim_start_matches('"');
            let start = bare.get(..word.trim_start_matches('"').len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(word.trim_start_matches('"')))
        };
        let mut candidates: Vec<String> = Vec::new();
        let names = self.names(&view, &expected);
        let is_small = word.chars().next().is_some_and(char::is_lowercase);
        let keywords = expected.keywords.iter().map(|keyword| match is_small {
            true => keyword.to_lowercase(),
            false => (*keyword).to_owned(),
        });
        for candidate in names.into_iter().chain(keywords).filter(|c| begins(c)) {
            if !candidates.contains(&candidate) && candidates.len() < OFFERED_MAX {
                candidates.push(candidate);
            }
        }
        Completions { start: expected.word.start, candidates }
    }

    fn names(&self, view: &View, expected: &Expected) -> Vec<String> {
        let relations = || expected.relations.iter().map(|(table, _)| table.as_str());
        match &expected.name {
            None => Vec::new(),
            Some(NameKind::Table) => self.table_names(),
            Some(NameKind::Dataset) => self.dataset_names(),
            Some(NameKind::OptionOf(verb)) => match RolloutVerb::parse(verb) {
                Some(RolloutVerb::Resample) => options::names(&ResampleOptions::default()),
                Some(verb) => RolloutOptions::names(verb),
                None if *verb == "JUDGE" => options::names(&JudgeOptions::default()),
                None => option_names(),
            },
            Some(NameKind::Column) => {
                let mut names: Vec<String> =
                    relations().flat_map(|table| column_names(view, table_behind(table))).collect();
                names.extend(label_names(view));
                names.extend(self.engine().function_names().into_iter().map(|f| format!("{f}(")));
                names
            }
            Some(NameKind::ColumnOf(relation)) if relation == DATASET_SCHEMA => {
                self.dataset_names()
            }
            Some(NameKind::ColumnOf(relation)) => {
                let named = expected.relations.iter().find(|(table, alias)| {
                    alias.as_deref().unwrap_or(table).eq_ignore_ascii_case(relation)
                });
                let table = named.map_or(relation.as_str(), |(table, _)| table.as_str());
                column_names(view, table_behind(table))
            }
            Some(NameKind::Value(column)) => {
                let values = relations().filter_map(|table| {
                    table_values(view, table_behind(table), column, OFFERED_MAX)
                });
                values.flatten().collect()
            }
        }
    }

    fn table_names(&self) -> Vec<String> {
        let tables = crate::query::table_names();
        let datasets = self.dataset_names().into_iter();
        tables.into_iter().chain(datasets.map(|d| format!("{DATASET_SCHEMA}.{d}"))).collect()
    }

    fn dataset_names(&self) -> Vec<String> {
        let datasets = self.database().store().datasets().unwrap_or_default();
        datasets.into_iter().map(|dataset| dataset.name).collect()
    }
}

/// Returns the table whose columns a relation has: a dataset has those of subtrajectories.
fn table_behind(relation: &str) -> &str {
    match relation.split_once('.') {
        Some((DATASET_SCHEMA, _)) => "subtrajectories",
        _ => relation,
    }
}

/// Returns the labels of every judge, as they are written in a statement.
fn label_names(view: &View) -> Vec<String> {
    let quoted = |label: &LabelColumn| format!("\"{}@{}\"", label.name, label.judge);
    view.labels().iter().map(quoted).collect()
}

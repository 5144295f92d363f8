//! A source's own numbers about an episode: each becomes a label of judge `source`.

use serde_json::value::RawValue;

use super::fields::Fields;
use super::line::judge;
use super::record::Draft;
use crate::model::{JudgeKind, Label, LabelName, Target};

/// The judge of what a source says itself.
pub(super) const SOURCE: &str = "source";

/// The labels of one record, names unique.
#[derive(Debug, Default)]
pub(super) struct Scores(Vec<Label>);

impl Scores {
    /// Adds the value of a field, if it is a number or a truth value, no other has its name, and
    /// a label may have name and value; returns whether it was added.
    pub(super) fn add(&mut self, field: &str, value: &RawValue) -> bool {
        let Some((value, raw)) = number(value) else { return false };
        let Some(name) = label_name(field) else { return false };
        let is_fit = !name.is_verdict() || (0.0..=1.0).contains(&value);
        // The reward stands in a field of its own.
        if !is_fit || name == LabelName::reward() || self.has(name.as_str()) {
            return false;
        }
        self.0.push(source_label(name, value, raw));
        true
    }

    /// Adds every value of an object; returns whether that left nothing out but nulls.
    pub(super) fn add_all(&mut self, object: &RawValue) -> bool {
        let Ok(entries) = serde_json::from_str::<Fields<'_>>(object.get()) else { return false };
        let mut is_whole = true;
        for (name, value) in entries.iter() {
            let is_null = value.get() == "null";
            is_whole &= is_null || self.add(name, value) || self.says(name, value);
        }
        is_whole
    }

    /// Whether one was added that says the same as this field.
    pub(super) fn says(&self, field: &str, value: &RawValue) -> bool {
        let (Some(name), Some((value, _))) = (label_name(field), number(value)) else {
            return false;
        };
        self.0.iter().any(|label| label.name == name && label.value == value)
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|label| label.name.as_str() == name)
    }

    /// Adds the labels, and their judge, to the trajectory they stand beside.
    pub(super) fn attach(self, draft: &mut Draft) {
        if !self.0.is_empty() && !draft.judges.iter().any(|judge| judge.name == SOURCE) {
            draft.judges.push(judge(SOURCE, JudgeKind::Source));
        }
        draft.labels.extend(self.0);
    }
}

/// Returns a label that the source itself gives the trajectory.
pub(super) fn source_label(name: LabelName, value: f64, raw: Option<String>) -> Label {
    Label {
        target: Target::Trajectory,
        name,
        judge: SOURCE.to_owned(),
        value,
        raw,
        verdict: None,
        rationale: None,
        run_id: None,
    }
}

/// Returns the number that a value is, and its own text if it is a truth value, which may stand
/// in a string as Python prints it.
pub(super) fn number(value: &RawValue) -> Option<(f64, Option<String>)> {
    let text = value.get();
    let word = text.trim_matches('"');
    match word {
        "true" | "True" => Some((1.0, Some(word.to_owned()))),
        "false" | "False" => Some((0.0, Some(word.to_owned()))),
        _ => Some((serde_json::from_str(text).ok()?, None)),
    }
}

/// Returns the name of the label for a field: in small letters, `_` for what a name cannot hold.
fn label_name(field: &str) -> Option<LabelName> {
    let mut name: String = field
        .chars()
        .map(
            |letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '_' },
        )
        .collect();
    if name.starts_with(|letter: char| letter.is_ascii_digit()) {
        name.insert(0, '_');
    }
    LabelName::new(&name).ok()
}

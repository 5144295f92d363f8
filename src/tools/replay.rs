//! Making recorded calls again, and saying what has drifted.
//!
//! Two things are told apart: that something else is asked today (another version of the tool,
//! another corpus), and that it answers otherwise.

use std::collections::HashMap;
use std::fmt;

use serde_json::Value;

use super::call::{Call, CallKind, Recording, shortened};
use super::tool::{ToolOutput, ToolSpec};
use super::toolbox::Toolbox;

/// How many characters of a text are shown around the first difference.
const EXCERPT_CHARACTERS: usize = 60;

/// What replaying came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DriftReport {
    /// The calls that were made again.
    pub calls: u64,
    /// Those of them that answered as recorded.
    pub same: u64,
    /// The calls that were not made again: no tool of their name, or no tool's call at all.
    pub skipped: u64,
    /// Whether the caller cancelled before the end.
    pub is_cut: bool,
    /// Each call that was skipped, is asked of something else today, or answered otherwise.
    pub drifts: Vec<Drift>,
}

/// One call that is not as it was recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Drift {
    /// The call as recorded.
    pub call: Call,
    /// What is asked that is not what was recorded: tool, version, corpus.
    pub settings: Vec<SettingChange>,
    /// In what the output differs; `None` where it is the same, or no call was made.
    pub output: Option<OutputChange>,
}

/// Something else is asked today.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingChange {
    /// There is no tool of this name, or what was recorded is no tool's call.
    NoTool,
    /// The tool has another version.
    Version {
        /// The recorded one.
        recorded: String,
        /// Today's.
        now: String,
    },
    /// The tool answers from another corpus.
    Corpus {
        /// The recorded fingerprint.
        recorded: Option<String>,
        /// Today's.
        now: Option<String>,
    },
}

/// In what an output differs from the recorded one.
#[derive(Clone, Debug, PartialEq)]
pub enum OutputChange {
    /// A result became an error, or an error a result.
    Outcome {
        /// Whether it is an error now.
        is_error: bool,
        /// The text now, shortened.
        text: String,
    },
    /// A list of hits has other hits, another order or other scores.
    Hits(HitsChange),
    /// The text differs.
    Text {
        /// The line of the first difference, from 1.
        line: usize,
        /// The character of that line, from 1.
        column: usize,
        /// What was recorded there.
        recorded: String,
        /// What is there now.
        now: String,
    },
    /// The text is the same and the result for programs differs.
    Structured {
        /// The path of the first difference.
        path: String,
        /// What was recorded there.
        recorded: String,
        /// What is there now.
        now: String,
    },
}

/// How a list of hits changed; places count from 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HitsChange {
    /// Documents that are gone, with their old place.
    pub gone: Vec<(String, usize)>,
    /// Documents that have come, with their new place.
    pub come: Vec<(String, usize)>,
    /// Documents in another place: old, new. Of two that changed places both are named; those that
    /// only moved up because another one is gone are not.
    pub moved: Vec<(String, usize, usize)>,
    /// Documents whose text, title or other fields differ.
    pub changed: Vec<String>,
    /// Documents whose score alone differs: old, new.
    pub rescored: Vec<(String, f64, f64)>,
}

impl HitsChange {
    fn is_empty(&self) -> bool {
        *self == HitsChange::default()
    }
}

/// Makes each recorded call again and compares. Calls of tools with state are made in the order of
/// the recordings. `cancelled` ends it between two calls.
///
/// # Errors
/// The first error of `recordings`.
pub fn replay<E>(
    recordings: impl IntoIterator<Item = Result<Recording, E>>,
    tools: &Toolbox,
    cancelled: &dyn Fn() -> bool,
) -> Result<DriftReport, E> {
    let mut report = DriftReport::default();
    for recording in recordings {
        if cancelled() {
            report.is_cut = true;
            break;
        }
        let recording = recording?;
        let call = &recording.call;
        if call.kind == CallKind::Listing {
            continue;
        }
        let tool = tools.get(&call.name).filter(|_| call.kind == CallKind::Tool);
        let Some(tool) = tool else {
            report.skipped += 1;
            let settings = vec![SettingChange::NoTool];
            report.drifts.push(Drift { call: recording.call, settings, output: None });
            continue;
        };
        let settings = setting_changes(call, tool.spec());
        // Canonical JSON is JSON.
        let arguments = serde_json::from_str(&call.arguments).unwrap_or(Value::Null);
        let now = tools.call(&call.name, &arguments, cancelled);
        if cancelled() {
            report.is_cut = true;
            break;
        }
        report.calls += 1;
        let output = output_change(&recording.output, &now);
        report.same += u64::from(output.is_none());
        if output.is_some() || !settings.is_empty() {
            report.drifts.push(Drift { call: recording.call, settings, output });
        }
    }
    Ok(report)
}

fn setting_changes(call: &Call, spec: &ToolSpec) -> Vec<SettingChange> {
    let mut changes = Vec::new();
    if call.version != spec.version {
        let (recorded, now) = (call.version.clone(), spec.version.clone());
        changes.push(SettingChange::Version { recorded, now });
    }
    if call.corpus != spec.corpus {
        let (recorded, now) = (call.corpus.clone(), spec.corpus.clone());
        changes.push(SettingChange::Corpus { recorded, now });
    }
    changes
}

/// Returns in what an output differs from a recorded one, `None` where they are equal.
pub fn output_change(recorded: &ToolOutput, now: &ToolOutput) -> Option<OutputChange> {
    if recorded == now {
        return None;
    }
    if recorded.is_error != now.is_error {
        let text = shortened(&now.text, 2 * EXCERPT_CHARACTERS);
        return Some(OutputChange::Outcome { is_error: now.is_error, text });
    }
    let (old, new) = (recorded.structured.as_ref(), now.structured.as_ref());
    if let (Some(old), Some(new)) = (old.and_then(hits_of), new.and_then(hits_of)) {
        let change = hits_change(&old, &new);
        if !change.is_empty() {
            return Some(OutputChange::Hits(change));
        }
    }
    if recorded.text != now.text {
        return Some(text_change(&recorded.text, &now.text));
    }
    let (path, recorded, now) =
        first_difference(old.unwrap_or(&Value::Null), new.unwrap_or(&Value::Null), String::new())
            // One has no result and the other the result null.
            .unwrap_or_else(|| (String::new(), shown(old), shown(new)));
    Some(OutputChange::Structured { path, recorded, now })
}

/// One hit of a list.
struct Hit<'a> {
    id: String,
    score: Option<f64>,
    whole: &'a Value,
}

/// Returns the hits that a result lists: objects with an `id`, bare or under `document`, as the
/// result itself or as the one field of it that is such a list.
fn hits_of(result: &Value) -> Option<Vec<Hit<'_>>> {
    match result {
        Value::Array(elements) => elements.iter().map(hit_of).collect(),
        Value::Object(fields) => {
            let lists: Vec<&Vec<Value>> = fields.values().filter_map(Value::as_array).collect();
            let is_list = |list: &&&Vec<Value>| {
                !list.is_empty() && list.iter().all(|hit| hit_of(hit).is_some())
            };
            let mut of_hits = lists.iter().filter(is_list);
            match (of_hits.next(), of_hits.next()) {
                (Some(list), None) => list.iter().map(hit_of).collect(),
                // Nothing was found.
                (None, None) if lists.iter().any(|list| list.is_empty()) => Some(Vec::new()),
                _ => None,
            }
        }
        _ => None,
    }
}

fn hit_of(element: &Value) -> Option<Hit<'_>> {
    let document = element.get("document").unwrap_or(element);
    let id = match document.get("id")? {
        Value::String(id) => id.clone(),
        Value::Number(id) => id.to_string(),
        _ => return None,
    };
    Some(Hit { id, score: element.get("score").and_then(Value::as_f64), whole: element })
}

fn hits_change(old: &[Hit<'_>], new: &[Hit<'_>]) -> HitsChange {
    let places = |hits: &[Hit<'_>]| -> HashMap<String, usize> {
        // Of a document listed twice the first place counts.
        hits.iter().enumerate().rev().map(|(place, hit)| (hit.id.clone(), place)).collect()
    };
    let (old_places, new_places) = (places(old), places(new));
    let mut change = HitsChange::default();
    let kept = new.iter().filter(|hit| old_places.contains_key(&hit.id));
    let new_kept: Vec<&String> = kept.map(|hit| &hit.id).collect();
    let mut among_kept = 0;
    let order: HashMap<&String, usize> =
        new_kept.into_iter().enumerate().rev().map(|(place, id)| (id, place)).collect();
    for (place, hit) in old.iter().enumerate() {
        let Some(new_place) = new_places.get(&hit.id) else {
            change.gone.push((hit.id.clone(), place + 1));
            continue;
        };
        let is_in_order = order.get(&hit.id) == Some(&among_kept);
        among_kept += 1;
        if !is_in_order {
            change.moved.push((hit.id.clone(), place + 1, new_place + 1));
        }
        let other = &new[*new_place];
        match (hit.score, other.score) {
            _ if !is_same_but_score(hit.whole, other.whole) => change.changed.push(hit.id.clone()),
            (Some(old), Some(new)) if old.to_bits() != new.to_bits() => {
                change.rescored.push((hit.id.clone(), old, new));
            }
            _ => {}
        }
    }
    for (place, hit) in new.iter().enumerate() {
        if !old_places.contains_key(&hit.id) {
            change.come.push((hit.id.clone(), place + 1));
        }
    }
    change
}

/// Whether two hits have the same fields but for `score` and `rank`.
fn is_same_but_score(a: &Value, b: &Value) -> bool {
    let (Some(a), Some(b)) = (a.as_object(), b.as_object()) else { return a == b };
    let counts = |name: &&String| !["score", "rank"].contains(&name.as_str());
    let same = |name: &String| a.get(name) == b.get(name);
    a.keys().filter(counts).all(same) && b.keys().filter(counts).all(same)
}

fn text_change(recorded: &str, now: &str) -> OutputChange {
    let common: usize = recorded
        .chars()
        .zip(now.chars())
        .take_while(|(a, b)| a == b)
        .map(|(a, _)| a.len_utf8())
        .sum();
    let before = &recorded[..common];
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    OutputChange::Text {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        recorded: shortened(&recorded[common..], EXCERPT_CHARACTERS),
        now: shortened(&now[common..], EXCERPT_CHARACTERS),
    }
}

/// Returns the path of the first place where two values differ, and both values there.
fn first_difference(a: &Value, b: &Value, path: String) -> Option<(String, String, String)> {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let names = a.keys().chain(b.keys().filter(|name| !a.contains_key(*name)));
            for name in names {
                let dot = if path.is_empty() { "" } else { "." };
                let inner = format!("{path}{dot}{name}");
                match (a.get(name), b.get(name)) {
                    (Some(a), Some(b)) => {
                        if let Some(found) = first_difference(a, b, inner) {
                            return Some(found);
                        }
                    }
                    (a, b) => return Some((inner, shown(a), shown(b))),
                }
            }
            None
        }
        (Value::Array(a), Value::Array(b)) => {
            for index in 0..a.len().max(b.len()) {
                let inner = format!("{path}[{index}]");
                match (a.get(index), b.get(index)) {
                    (Some(a), Some(b)) => {
                        if let Some(found) = first_difference(a, b, inner) {
                            return Some(found);
                        }
                    }
                    (a, b) => return Some((inner, shown(a), shown(b))),
                }
            }
            None
        }
        _ if a == b => None,
        _ => Some((path, shown(Some(a)), shown(Some(b)))),
    }
}

fn shown(value: Option<&Value>) -> String {
    value.map_or("nothing".to_owned(), |value| shortened(&value.to_string(), EXCERPT_CHARACTERS))
}

impl fmt::Display for DriftReport {
    /// Writes a line of counts and a line for each call that drifted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let changed = self.calls - self.same;
        write!(
            f,
            "{} calls made again: {} as recorded, {changed} otherwise",
            self.calls, self.same
        )?;
        if self.skipped > 0 {
            write!(f, "; {} not made", self.skipped)?;
        }
        if self.is_cut {
            f.write_str("; cancelled before the end")?;
        }
        for drift in &self.drifts {
            write!(f, "\n{drift}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = self.settings.iter().map(SettingChange::to_string).collect();
        match &self.output {
            Some(change) => parts.push(change.to_string()),
            None if self.settings.contains(&SettingChange::NoTool) => {}
            None => parts.push("the output is the same".to_owned()),
        }
        write!(f, "{}: {}", self.call, parts.join("; "))
    }
}

impl fmt::Display for SettingChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SettingChange::NoTool => f.write_str("there is no such tool to call"),
            SettingChange::Version { recorded, now } => {
                write!(f, "version '{recorded}' was recorded, now it is '{now}'")
            }
            SettingChange::Corpus { recorded, now } => {
                let name = |corpus: &Option<String>| corpus.clone().unwrap_or("none".to_owned());
                write!(f, "corpus {} was recorded, now it is {}", name(recorded), name(now))
            }
        }
    }
}

impl fmt::Display for OutputChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OutputChange::Outcome { is_error: true, text } => {
                write!(f, "a result was recorded, now it is an error: {text:?}")
            }
            OutputChange::Outcome { is_error: false, text } => {
                write!(f, "an error was recorded, now there is a result: {text:?}")
            }
            OutputChange::Hits(change) => change.fmt(f),
            OutputChange::Text { line, column, recorded, now } => {
                write!(
                    f,
                    "line {line}, column {column}: {recorded:?} was recorded, now it is {now:?}"
                )
            }
            OutputChange::Structured { path, recorded, now } => {
                write!(
                    f,
                    "the text is the same; at '{path}' {recorded} was recorded, now it is {now}"
                )
            }
        }
    }
}

impl fmt::Display for HitsChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        let mut say = |what: &str, mut each: Vec<String>| {
            const SHOWN: usize = 12;
            let more = each.len().saturating_sub(SHOWN);
            each.truncate(SHOWN);
            if more > 0 {
                each.push(format!("and {more} more"));
            }
            if !each.is_empty() {
                parts.push(format!("{what} {}", each.join(", ")));
            }
        };
        let placed = |list: &[(String, usize)]| {
            list.iter().map(|(id, place)| format!("{id} (place {place})")).collect()
        };
        say("gone:", placed(&self.gone));
        say("come:", placed(&self.come));
        let moves = self.moved.iter();
        say("moved:", moves.map(|(id, old, new)| format!("{id} ({old} to {new})")).collect());
        say("changed:", self.changed.clone());
        let scores = self.rescored.iter();
        say("score:", scores.map(|(id, old, new)| format!("{id} ({old} to {new})")).collect());
        f.write_str(&parts.join("; "))
    }
}

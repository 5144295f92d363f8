//! Tables that take arguments: `branch_points(...)`, `preference_pairs(...)`, `seen_by(...)`,
//! `dataset_pairs(...)`, `judge_audit(...)`.
//!
//! The first two take one question after the other: what they need in memory are its trajectories,
//! and for every trajectory its ordinal.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use datafusion::catalog::{TableFunctionImpl, TableProvider};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::Expr;

use super::audits::{Compared, JUDGE_AUDIT, write_audit};
use super::branches::{BranchPoint, Likeness, branch_points};
use super::columns::LabelNames;
use super::corpora::{SEEN_BY, Wanted, write_seen};
use super::saved_pairs::{DATASET_PAIRS, dataset_of, write_saved_pairs};
use super::streamed::{Rows, Spec, Value, Writer, streaming};
use crate::codec::ColumnType::{Float, Integer, Text};
use crate::codec::TableId;
use crate::diag::{Diagnostic, did_you_mean, list_some};
use crate::model::{Label, Target, Trajectory};
use crate::store::{StoreError, View};

/// What the store gives.
type Stored<T> = std::result::Result<T, StoreError>;

/// What arguments mean, or what is wrong and with which of them.
type Checked<T> = std::result::Result<T, (Diagnostic, Option<usize>)>;

const BRANCH_POINTS: &[Spec] = &[
    ("_trajectory", Integer, ""),
    ("_step", Integer, ""),
    ("trajectory_id", Text, "identifier of the trajectory within its source"),
    ("source", Text, "the collection it came from"),
    ("question_id", Text, "the question's identifier"),
    ("step", Integer, "the step at which they differ, 1..K"),
    ("branch", Integer, "which branch point of the question, from 1"),
    ("choice", Integer, "which of the different actions it took, from 1"),
    ("choices", Integer, "how many different actions were taken"),
    ("members", Integer, "how many trajectories of the question stand in this state"),
    ("takers", Integer, "how many of them took this action"),
];

const PREFERENCE_PAIRS: &[Spec] = &[
    ("source", Text, "the collection the trajectories came from"),
    ("question_id", Text, "the question's identifier"),
    ("step", Integer, "the step at which they differ, 1..K"),
    ("branch", Integer, "which branch point of the question, from 1"),
    ("prompt", Text, "the messages before the action, as a JSON array"),
    ("chosen", Text, "the better action: an array of one message, as JSON"),
    ("rejected", Text, "the worse action: an array of one message, as JSON"),
    ("chosen_value", Float, "mean value of the label over who took the better action"),
    ("rejected_value", Float, "mean value of the label over who took the worse action"),
    ("margin", Float, "the difference of the two"),
    ("chosen_id", Text, "trajectory_id of the first to take the better action"),
    ("rejected_id", Text, "trajectory_id of the first to take the worse action"),
];

/// A table that takes arguments: `FROM branch_points('call')`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFunction {
    /// `branch_points(['action' | 'call'])`: a row for each trajectory at each step at which
    /// trajectories of its question, in the same state, act differently.
    BranchPoints,
    /// `preference_pairs('label' [, 'action' | 'call'])`: a row for each two actions in one state
    /// of which one was valued higher.
    PreferencePairs,
    /// `seen_by('corpus', 'id')`: a row for each result of a call that showed a document.
    SeenBy,
    /// `dataset_pairs('name')`: a row for each pair of a saved dataset.
    DatasetPairs,
    /// `judge_audit('label', 'judge', 'reference')`: how far a judge agrees with another.
    JudgeAudit,
}

impl TableFunction {
    /// Every table function.
    pub const ALL: [TableFunction; 5] = [
        TableFunction::BranchPoints,
        TableFunction::PreferencePairs,
        TableFunction::SeenBy,
        TableFunction::DatasetPairs,
        TableFunction::JudgeAudit,
    ];

    /// Returns the name in statements.
    pub fn name(self) -> &'static str {
        match self {
            TableFunction::BranchPoints => "branch_points",
            TableFunction::PreferencePairs => "preference_pairs",
            TableFunction::SeenBy => "seen_by",
            TableFunction::DatasetPairs => "dataset_pairs",
            TableFunction::JudgeAudit => "judge_audit",
        }
    }

    /// Whether the rows say which step they are.
    pub fn has_identity(self) -> bool {
        matches!(self, TableFunction::BranchPoints | TableFunction::SeenBy)
    }

    /// Returns the columns: name, type, meaning. Hidden ones begin with `_`.
    pub fn columns(self) -> &'static [Spec] {
        match self {
            TableFunction::BranchPoints => BRANCH_POINTS,
            TableFunction::PreferencePairs => PREFERENCE_PAIRS,
            TableFunction::SeenBy => SEEN_BY,
            TableFunction::DatasetPairs => DATASET_PAIRS,
            TableFunction::JudgeAudit => JUDGE_AUDIT,
        }
    }

    /// Checks arguments as they are written: texts, or `None` for anything else. An error comes
    /// with the number of the argument it speaks of.
    ///
    /// # Errors
    /// `table-function`: which argument is wrong, and what it may be.
    pub fn check(self, view: &View, arguments: &[Option<String>]) -> Checked<()> {
        self.writer(view, arguments).map(|_| ())
    }
}

impl TableFunction {
    /// Returns what writes the rows of a call.
    fn writer(self, view: &View, given: &[Option<String>]) -> Checked<Writer> {
        if self == TableFunction::SeenBy {
            let wanted = Wanted::of(view, given)?;
            return Ok(Arc::new(move |view, rows| write_seen(view, rows, &wanted)));
        }
        if self == TableFunction::DatasetPairs {
            let dataset = dataset_of(view, given)?;
            return Ok(Arc::new(move |view, rows| write_saved_pairs(view, rows, &dataset)));
        }
        if self == TableFunction::JudgeAudit {
            let compared = Compared::of(view, given)?;
            return Ok(Arc::new(move |view, rows| write_audit(view, rows, &compared)));
        }
        let arguments = Arguments::of(self, view, given)?;
        Ok(Arc::new(move |view, rows| write(view, rows, &arguments)))
    }
}

/// The arguments of a table function over questions, understood.
struct Arguments {
    like: Likeness,
    /// The label by whose values actions are compared, its judge, and whether steps have it.
    label: Option<(String, String, bool)>,
}

impl Arguments {
    fn of(function: TableFunction, view: &View, given: &[Option<String>]) -> Checked<Arguments> {
        let (form, least) = match function {
            TableFunction::BranchPoints => ("branch_points('call')", 0),
            _ => ("preference_pairs('process', 'call')", 1),
        };
        let wrong = |message: String, at: Option<usize>| {
            (Diagnostic::new("table-function", message).help(format!("FROM {form}")), at)
        };
        if given.len() < least || given.len() > least + 1 {
            let message = format!(
                "{}() takes {least} to {} arguments, found {}",
                function.name(),
                least + 1,
                given.len()
            );
            return Err(wrong(message, None));
        }
        if let Some(at) = given.iter().position(Option::is_none) {
            let message = format!("{}() takes texts in single quotes", function.name());
            return Err(wrong(message, Some(at)));
        }
        let like = match given.get(least) {
            Some(Some(word)) => Likeness::ALL.into_iter().find(|l| l.as_str() == word),
            _ => Some(Likeness::Action),
        };
        let Some(like) = like else {
            let message = "actions are compared by 'action' (all of it) or 'call' (tools and \
                           arguments)";
            return Err(wrong(message.to_owned(), Some(least)));
        };
        let label = match (function, given.first()) {
            (TableFunction::PreferencePairs, Some(Some(name))) => {
                Some(label(view, name).map_err(|error| (error, Some(0)))?)
            }
            _ => None,
        };
        Ok(Arguments { like, label })
    }
}

/// Finds a label: `process`, `process@human`.
fn label(view: &View, text: &str) -> std::result::Result<(String, String, bool), Diagnostic> {
    let names = LabelNames::new(view.catalogue());
    let (name, judge) = match text.split_once('@') {
        Some((name, judge)) => (name, Some(judge)),
        None => (text, None),
    };
    for on_steps in [true, false] {
        let judges = names.judges(name, on_steps);
        let found = match judge {
            Some(judge) => judges.iter().copied().find(|known| *known == judge),
            None => names.default_judge(name, on_steps),
        };
        if let Some(found) = found {
            return Ok((name.to_owned(), found.to_owned(), on_steps));
        }
        if judge.is_none() && judges.len() > 1 {
            let message = format!("label '{name}' has several judges: {}", judges.join(", "));
            let help = format!("name one: '{name}@{}'", judges[0]);
            return Err(Diagnostic::new("ambiguous-label", message).help(help));
        }
    }
    let known: Vec<String> = view
        .labels()
        .iter()
        .flat_map(|l| [l.name.clone(), format!("{}@{}", l.name, l.judge)])
        .collect();
    let error = Diagnostic::new("unknown-label", format!("there is no label '{text}'"));
    Err(match did_you_mean(text, known.iter().map(String::as_str)) {
        Some(near) => error.help(format!("did you mean '{near}'?")),
        None if known.is_empty() => error.help("the database has no labels yet"),
        None => error.help(format!("labels: {}", list_some(known.iter().map(String::as_str)))),
    })
}

/// Makes the table of a call, over a view.
#[derive(Debug)]
pub struct Calling {
    function: TableFunction,
    view: ViewOf,
}

/// A view that says little of itself.
struct ViewOf(View);

impl std::fmt::Debug for ViewOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "View({})", self.0.sequence())
    }
}

impl Calling {
    /// Returns the function over a view.
    pub fn new(function: TableFunction, view: &View) -> Calling {
        Calling { function, view: ViewOf(view.clone()) }
    }
}

impl TableFunctionImpl for Calling {
    fn call(&self, arguments: &[Expr]) -> Result<Arc<dyn TableProvider>> {
        let text = |expr: &Expr| match expr {
            Expr::Literal(value, _) => value.try_as_str().flatten().map(str::to_owned),
            _ => None,
        };
        let given: Vec<Option<String>> = arguments.iter().map(text).collect();
        let write = match self.function.writer(&self.view.0, &given) {
            Ok(write) => write,
            Err((error, _)) => return plan_err!("{}", error.message),
        };
        streaming(&self.view.0, self.function.name(), self.function.columns(), write)
    }
}

fn write(view: &View, rows: &mut Rows, arguments: &Arguments) -> Stored<()> {
    for ordinals in questions(view)? {
        let trajectories = view.trajectories(&ordinals)?;
        let points = branch_points(&trajectories, arguments.like);
        let question = Question { ordinals: &ordinals, trajectories: &trajectories };
        let values = match &arguments.label {
            Some(label) if !points.is_empty() => Some(Values::of(view, &ordinals, label)?),
            _ => None,
        };
        for (point, branch) in points.iter().zip(1..) {
            let open = match &values {
                Some(values) => question.write_pairs(rows, point, branch, values)?,
                None if arguments.label.is_none() => question.write_members(rows, point, branch)?,
                None => true,
            };
            if !open {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Returns the ordinals of the trajectories of each question that has several, in the order of
/// the first.
fn questions(view: &View) -> Stored<Vec<Vec<u64>>> {
    let stored = |name| view.stored(TableId::Trajectories, name);
    let (Some(source), Some(question_id)) = (stored("source"), stored("question_id")) else {
        return Ok(Vec::new());
    };
    let mut groups: HashMap<blake3::Hash, Vec<u64>> = HashMap::new();
    for segment in view.segments(TableId::Trajectories) {
        let (sources, ids) = (view.column(&segment, source)?, view.column(&segment, question_id)?);
        let (sources, ids) = (sources.as_string_view(), ids.as_string_view());
        for (at, ordinal) in (segment.first_row..segment.first_row + segment.rows).enumerate() {
            if !view.is_there(ordinal) {
                continue;
            }
            let mut hasher = blake3::Hasher::new();
            hasher.update(sources.value(at).as_bytes()).update(&[0]);
            if ids.is_valid(at) {
                hasher.update(&[1]).update(ids.value(at).as_bytes());
            } else {
                // Without an identifier the question's text says which it is.
                let header = view.headers(&[ordinal])?.pop();
                match header.and_then(|header| header.question) {
                    Some(question) => hasher.update(&[2]).update(question.as_bytes()),
                    None => continue,
                };
            }
            groups.entry(hasher.finalize()).or_default().push(ordinal);
        }
    }
    let mut groups: Vec<Vec<u64>> = groups.into_values().filter(|g| g.len() > 1).collect();
    groups.sort_unstable();
    Ok(groups)
}

/// The trajectories of one question.
struct Question<'a> {
    ordinals: &'a [u64],
    trajectories: &'a [Trajectory],
}

impl Question<'_> {
    fn write_members(&self, rows: &mut Rows, point: &BranchPoint, branch: i64) -> Stored<bool> {
        for (at, choice) in &point.members {
            let t = &self.trajectories[*at];
            let takers = point.members.iter().filter(|(_, other)| other == choice).count();
            let step = i64::from(point.step);
            let open = rows.push(&[
                Value::Integer(Some(self.ordinals[*at] as i64)),
                Value::Integer(Some(step)),
                Value::Text(Some(&t.id)),
                Value::Text(Some(&t.source)),
                Value::Text(t.question_id.as_deref()),
                Value::Integer(Some(step)),
                Value::Integer(Some(branch)),
                Value::Integer(Some(*choice as i64 + 1)),
                Value::Integer(Some(point.choices as i64)),
                Value::Integer(Some(point.members.len() as i64)),
                Value::Integer(Some(takers as i64)),
            ])?;
            if !open {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn write_pairs(
        &self,
        rows: &mut Rows,
        point: &BranchPoint,
        branch: i64,
        values: &Values,
    ) -> Stored<bool> {
        // Of each choice: its first taker, and the mean over all takers that have a value.
        let valued = (0..point.choices).filter_map(|choice| {
            let takers = point.members.iter().filter(|(_, of)| *of == choice).map(|(at, _)| *at);
            let first = takers.clone().next()?;
            let values: Vec<f64> = takers.filter_map(|at| values.value(at, point.step)).collect();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            mean.is_finite().then_some((first, mean))
        });
        let valued: Vec<(usize, f64)> = valued.collect();
        let json = |value: serde_json::Result<String>| {
            value.map_err(|e| StoreError::Damaged { place: "a message".into(), why: e.to_string() })
        };
        for (chosen, better) in &valued {
            for (rejected, worse) in valued.iter().filter(|(_, worse)| worse < better) {
                let (good, bad) = (&self.trajectories[*chosen], &self.trajectories[*rejected]);
                let action = |t: &Trajectory| {
                    json(serde_json::to_string(&[&t.steps[point.step as usize - 1].action]))
                };
                let open = rows.push(&[
                    Value::Text(Some(&good.source)),
                    Value::Text(good.question_id.as_deref()),
                    Value::Integer(Some(i64::from(point.step))),
                    Value::Integer(Some(branch)),
                    Value::Text(Some(&json(serde_json::to_string(&good.state(point.step)))?)),
                    Value::Text(Some(&action(good)?)),
                    Value::Text(Some(&action(bad)?)),
                    Value::Float(Some(*better)),
                    Value::Float(Some(*worse)),
                    Value::Float(Some(better - worse)),
                    Value::Text(Some(&good.id)),
                    Value::Text(Some(&bad.id)),
                ])?;
                if !open {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

/// The values of one label on the trajectories of a question.
struct Values {
    on_steps: bool,
    labels: Vec<Vec<Label>>,
}

impl Values {
    fn of(
        view: &View,
        ordinals: &[u64],
        (name, judge, on_steps): &(String, String, bool),
    ) -> Stored<Values> {
        let of_one = |ordinal: &u64| {
            let mut labels = view.current_labels(*ordinal)?;
            labels.retain(|label| label.name.as_str() == name && label.judge == *judge);
            Ok(labels)
        };
        let labels: Stored<Vec<Vec<Label>>> = ordinals.iter().map(of_one).collect();
        Ok(Values { on_steps: *on_steps, labels: labels? })
    }

    fn value(&self, at: usize, step: u32) -> Option<f64> {
        let target = if self.on_steps { Target::Step(step) } else { Target::Trajectory };
        self.labels[at].iter().find(|label| label.target == target).map(|label| label.value)
    }
}

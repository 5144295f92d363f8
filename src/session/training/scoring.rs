//! SCORE: log-probabilities of actions under a model, as labels.
//!
//! `FROM steps |> SCORE AS lp WITH (model = 'm')` gives every action the label `lp`: the
//! log-probability of all its tokens, end of turn included, in its state. The judge is the model:
//! its name holds the beginning of a hash over weights, tokenizer and rendering, so that the labels
//! of another model are another judge's, and a statement that was stopped goes on where it was.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::examples::{Stored, examples};
use super::model::{identity, load_frozen, weights_of};
use crate::db::NewRow;
use crate::diag::{Diagnostic, did_you_mean, list_some};
use crate::model::{Json, Judge, JudgeKind, Label, LabelName, Target};
use crate::query::Scope;
use crate::query::syntax::{Literal, Name, QueryStatement, WithOption};
use crate::session::error::SessionError;
use crate::session::select::select;
use crate::session::statement::{Outcome, Session, mistake};
use crate::store::{Durability, Fact, View};
use crate::train::{
    ActionScore, ConfigError, OptionValue, Preparation, Row, Scoring, Sequence, TrainConfig,
    evaluate, policy_fingerprint,
};

/// Options of SCORE that TRAIN does not have.
const OWN_OPTIONS: [&str; 4] = ["model", "device", "judge", "normalize"];

/// Options that mean what they mean for TRAIN.
const SHARED_OPTIONS: [&str; 4] = ["tokens_per_batch", "max_length", "truncation", "renderer"];

/// Sequences whose scores are stored in one commit.
const COMMIT_SEQUENCES: usize = 64;

/// The options of a statement, sorted out.
struct Request {
    model: PathBuf,
    device: Option<String>,
    judge: Option<String>,
    is_mean: bool,
    options: TrainConfig,
}

/// Scores the actions of a query's rows and stores the scores as labels. Those that are there
/// already are not computed again.
///
/// # Errors
/// The query's; what TRAIN refuses of a model and rows; a judge of that name that is another.
pub(in crate::session) fn score(
    session: &Session,
    scope: &Scope<'_>,
    query: &QueryStatement,
    name: &Name,
    options: &[WithOption],
) -> Result<Outcome, SessionError> {
    let label = LabelName::new(&name.text).and_then(|label| match label.is_verdict() {
        true => Err(format!("'{}' is a verdict from 0 to 1, and this is none", name.text)),
        false => Ok(label),
    });
    let fail = |message: String| {
        mistake(Diagnostic::new("label-value", message).at(name.span), scope.text)
    };
    let label = label.map_err(fail)?;
    let request = request(options, scope.text)?;
    let model = load_frozen(session, &request.model, request.device.as_deref())?;
    let Some(tokenizer) = &model.tokenizer else {
        return Err(SessionError::mistake("model", "the model has no tokenizer"));
    };
    let selection = select(session, scope, query, None)?;
    let mut rows = selection.rows;
    let mut seen = HashSet::new();
    rows.retain(|row| seen.insert((row.trajectory, row.step)));
    let preparation = Preparation {
        decoder: &model.decoder,
        tokenizer,
        chat_template: model.chat_template.as_deref(),
        config: &request.options,
        source: &Stored(scope.view),
    };
    session.progress().begin("reading actions", 0);
    let mut scoring = preparation.scoring(&examples(scope.view, &rows)?)?;
    let template = model.chat_template.as_deref();
    let fingerprint = policy_fingerprint(&identity(&model), tokenizer, &scoring.renderer, template);
    let definition = json!({
        "model": request.model,
        "weights": weights_of(&model),
        "policy": fingerprint,
        "renderer": scoring.renderer.name(),
        "normalize": if request.is_mean { "mean" } else { "sum" },
    });
    let judge = judge(&request, &fingerprint, definition.to_string());
    let is_new = is_new(scope.view, &judge, scope.text)?;
    let known = match is_new {
        true => HashSet::new(),
        false => known(scope.view, &rows, &label, &judge.name)?,
    };
    let same = leave_out(&mut scoring.sequences, &known);
    let task = Task { session, label, judge, is_mean: request.is_mean };
    let budget = request.options.tokens_per_batch;
    let added =
        task.run(&scoring, is_new, |part| Ok(evaluate(&model.decoder, part, budget)?.actions))?;
    let without_value = scoring.encoding.dropped as u64;
    Ok(Outcome::Labelled { added, same, without_value })
}

/// What is stored of scores.
struct Task<'a> {
    session: &'a Session,
    label: LabelName,
    judge: Judge,
    is_mean: bool,
}

impl Task<'_> {
    /// Scores sequences part by part and stores the labels of each; returns their number.
    fn run(
        &self,
        scoring: &Scoring,
        is_new: bool,
        score: impl Fn(&[Sequence]) -> Result<Vec<ActionScore>, SessionError>,
    ) -> Result<u64, SessionError> {
        let actions = scoring.sequences.iter().map(|s| s.actions.len() as u64).sum();
        let progress = self.session.progress();
        progress.begin("scoring actions", actions);
        let mut added = 0;
        let mut judges = if is_new { std::slice::from_ref(&self.judge) } else { &[] };
        for part in scoring.sequences.chunks(COMMIT_SEQUENCES) {
            if self.session.cancel().is_cancelled() {
                return Err(SessionError::Cancelled);
            }
            let scores = score(part)?;
            let facts: Vec<Fact> = scores.iter().map(|score| self.fact(score)).collect();
            if let Some(fact) = facts.iter().find(|fact| !fact.label.value.is_finite()) {
                let message = format!("the model gives {} for an action", fact.label.value);
                return Err(SessionError::mistake("model", message));
            }
            let store = self.session.database().store();
            added += store.label(&facts, judges, Durability::Now)?.added;
            judges = &[];
            progress.advance(facts.len() as u64);
        }
        Ok(added)
    }

    fn fact(&self, score: &ActionScore) -> Fact {
        let Row { key, step, .. } = score.row;
        let tokens = score.log_probs.len();
        let label = Label {
            target: Target::Step(step),
            name: self.label.clone(),
            judge: self.judge.name.clone(),
            value: if self.is_mean { score.mean() } else { score.sum() },
            raw: Some(json!({"sum": score.sum(), "tokens": tokens}).to_string()),
            verdict: None,
            rationale: None,
            run_id: None,
        };
        Fact { trajectory: key, label }
    }
}

/// Takes the actions out that have a score; returns how many there are.
fn leave_out(sequences: &mut Vec<Sequence>, known: &HashSet<(u64, u32)>) -> u64 {
    let count = |all: &[Sequence]| all.iter().map(|s| s.actions.len() as u64).sum::<u64>();
    let before = count(sequences);
    for sequence in sequences.iter_mut() {
        sequence.actions.retain(|action| !known.contains(&(action.row.key, action.row.step)));
    }
    sequences.retain(|sequence| !sequence.actions.is_empty());
    before - count(sequences)
}

/// Returns the steps of the rows that have the label of the judge.
fn known(
    view: &View,
    rows: &[NewRow],
    name: &LabelName,
    judge: &str,
) -> Result<HashSet<(u64, u32)>, SessionError> {
    let trajectories: HashSet<u64> = rows.iter().map(|row| row.trajectory).collect();
    let mut known = HashSet::new();
    for trajectory in trajectories {
        let labels = view.current_labels(trajectory)?;
        let own = labels.into_iter().filter(|l| l.name == *name && l.judge == judge);
        known.extend(own.filter_map(|label| match label.target {
            Target::Step(step) => Some((trajectory, step)),
            _ => None,
        }));
    }
    Ok(known)
}

/// Returns the judge that the model is.
fn judge(request: &Request, fingerprint: &str, definition: String) -> Judge {
    let of_model = || {
        let path = Path::new(&request.model);
        let name = path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        let name = name.strip_suffix(".gguf").map(str::to_owned).unwrap_or(name);
        let mean = if request.is_mean { ":mean" } else { "" };
        format!("{name}:{}{mean}", &fingerprint[..12])
    };
    Judge {
        name: request.judge.clone().unwrap_or_else(of_model),
        kind: JudgeKind::Model,
        definition: Some(Json::stored(definition)),
        sees_gold: Some(false),
    }
}

/// Whether no judge of that name is known.
///
/// # Errors
/// One is, and it is another.
fn is_new(view: &View, judge: &Judge, text: &str) -> Result<bool, SessionError> {
    let all = view.catalogue().judges.iter().filter_map(|record| record.judge().ok());
    let Some(known) = all.into_iter().find(|known| known.name == judge.name) else {
        return Ok(true);
    };
    // Where the model lies may change; what it is may not.
    let policy = |judge: &Judge| {
        let text = judge.definition.as_ref().map(Json::as_str).unwrap_or_default();
        let value: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
        (value["policy"].clone(), value["normalize"].clone())
    };
    if known.kind == judge.kind && policy(&known) == policy(judge) {
        return Ok(false);
    }
    let name = &judge.name;
    let message = format!("'{name}' is a judge already, and another one");
    let help = format!("a judge never changes; another name tells them apart: '{name}:2'");
    Err(mistake(Diagnostic::new("label-judge", message).help(help), text))
}

/// Sorts out the options of a statement.
fn request(options: &[WithOption], text: &str) -> Result<Request, SessionError> {
    let fail = |message: String, option: Option<&WithOption>| {
        let mut diagnostic = Diagnostic::new("score-option", message);
        if let Some(option) = option {
            diagnostic = diagnostic.at(option.name.span.to(option.span));
        }
        mistake(diagnostic, text)
    };
    let known = || OWN_OPTIONS.into_iter().chain(SHARED_OPTIONS);
    if let Some(other) = options.iter().find(|o| !known().any(|name| name == o.name.text)) {
        let name = &other.name.text;
        let help = match did_you_mean(name, known()) {
            Some(near) => format!("did you mean '{near}'?"),
            None => format!("options: {}", list_some(known())),
        };
        return Err(fail(format!("unknown option '{name}': {help}"), Some(other)));
    }
    let mut texts: HashMap<&str, String> = HashMap::new();
    let mut shared = Vec::new();
    for option in options {
        let name = option.name.text.as_str();
        match &option.value {
            Literal::Text(value) if OWN_OPTIONS.contains(&name) => {
                texts.insert(name, value.clone());
            }
            _ if OWN_OPTIONS.contains(&name) => {
                let message = format!("option '{name}' takes a text in single quotes");
                return Err(fail(message, Some(option)));
            }
            Literal::Number(number) => shared.push((name.to_owned(), OptionValue::Number(*number))),
            Literal::Text(value) => {
                shared.push((name.to_owned(), OptionValue::Text(value.clone())))
            }
            Literal::Bool(value) => shared.push((name.to_owned(), OptionValue::Bool(*value))),
        }
    }
    let options_of_trainer = TrainConfig::from_options(&shared).map_err(|error| match &error {
        ConfigError::Value { name, .. } => {
            fail(error.to_string(), options.iter().find(|o| o.name.text == *name))
        }
        _ => fail(error.to_string(), None),
    })?;
    let is_mean = match texts.get("normalize").map(String::as_str) {
        None | Some("sum") => false,
        Some("mean") => true,
        Some(other) => {
            let option = options.iter().find(|o| o.name.text == "normalize");
            let message = format!("normalize = '{other}': expected 'sum' or 'mean' (over tokens)");
            return Err(fail(message, option));
        }
    };
    let Some(model) = texts.remove("model") else {
        let message = "SCORE needs model = '<a .gguf file, a model's or an adapter's directory>'";
        return Err(fail(message.to_owned(), None));
    };
    Ok(Request {
        model: PathBuf::from(model),
        device: texts.remove("device"),
        judge: texts.remove("judge"),
        is_mean,
        options: options_of_trainer,
    })
}

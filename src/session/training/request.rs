//! The options of TRAIN, sorted out: ours and the trainer's.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::diag::{Diagnostic, did_you_mean};
use crate::query::syntax::{Literal, Name, WithOption};
use crate::session::error::SessionError;
use crate::session::options;
use crate::session::rollouts::JudgeOptions;
use crate::session::statement::mistake;
use crate::train::{ConfigError, Objective, OptionValue, TrainConfig};

/// Options of TRAIN beside the trainer's.
const OWN_OPTIONS: [&str; 6] = ["model", "reward", "eval_dataset", "device", "resume", "judge"];

/// What the options of the judge of sampled actions begin with.
const JUDGE_OPTIONS: &str = "judge.";

const NEEDS_REWARD: &str =
    "this objective needs reward = '<SQL expression>', such as reward = 'process - 0.5'";

/// Returns the names of all options of TRAIN.
pub(in crate::session) fn option_names() -> Vec<String> {
    let own = OWN_OPTIONS.iter().map(|name| (*name).to_owned());
    own.chain(TrainConfig::option_names()).collect()
}

/// What a run needs to be made again: stored with it as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RunConfig {
    /// A file, a folder, or a repository of the hub.
    pub(super) model: PathBuf,
    /// The commit of the repository that was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) revision: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reward: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) eval_dataset: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) device: Option<String>,
    /// Who judges sampled actions, for an objective that samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) judge: Option<JudgeOptions>,
    pub(super) options: TrainConfig,
    /// What the run depends on beside these: hashes, versions, threads.
    #[serde(default)]
    pub(super) pinned: serde_json::Value,
}

impl RunConfig {
    /// Reads what a run was stored with.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn stored(run: &str, config: &str) -> Result<RunConfig, SessionError> {
        serde_json::from_str(config).map_err(|e| {
            let message = format!("the options of run '{run}' cannot be read: {e}");
            SessionError::mistake("run", message)
        })
    }

    /// Returns it as it is stored.
    ///
    /// # Errors
    /// None that is known: plain data.
    pub(super) fn text(&self) -> Result<String, SessionError> {
        serde_json::to_string(self).map_err(|e| SessionError::Environment(e.to_string()))
    }
}

/// The options of a statement, sorted out.
pub(super) struct Request {
    pub(super) config: RunConfig,
    pub(super) resume: bool,
}

/// Checks the options of a statement, without a look at what they name.
///
/// # Errors
/// An option that there is not, a value that it does not take, options that exclude each other.
pub(in crate::session) fn check_options(
    options: &[WithOption],
    text: &str,
) -> Result<(), SessionError> {
    request(options, text).map(|_| ())
}

/// Sorts out the options of a statement.
pub(super) fn request(options: &[WithOption], text: &str) -> Result<Request, SessionError> {
    let at = |name: &str| options.iter().find(|o| o.name.text == name);
    let fail = |message: String, option: Option<&WithOption>| {
        let diagnostic = Diagnostic::new("train-option", message);
        let place = option.map(|option| option.name.span.to(option.span));
        mistake(place.into_iter().fold(diagnostic, Diagnostic::at), text)
    };
    let own_text = |name: &str| match at(name) {
        None => Ok(None),
        Some(WithOption { value: Literal::Text(value), .. }) => Ok(Some(value.clone())),
        other => Err(fail(format!("option '{name}' takes a text in single quotes"), other)),
    };
    let resume = match at("resume") {
        None => false,
        Some(WithOption { value: Literal::Bool(resume), .. }) => *resume,
        other => return Err(fail("option 'resume' takes true or false".to_owned(), other)),
    };
    let model = own_text("model")?;
    let reward = own_text("reward")?;
    let eval_dataset = own_text("eval_dataset")?;
    let device = own_text("device")?;
    let options_of_trainer = of_trainer(options).map_err(|error| match &error {
        ConfigError::UnknownOption { name, .. } => {
            let message = match did_you_mean(name, OWN_OPTIONS) {
                Some(own) => format!("unknown option '{name}', did you mean '{own}'?"),
                None => error.to_string(),
            };
            fail(message, at(name))
        }
        ConfigError::Twice { name } | ConfigError::Value { name, .. } => {
            fail(error.to_string(), at(name))
        }
        ConfigError::Combination(_) => fail(error.to_string(), None),
    })?;
    let objective = options_of_trainer.objective;
    let judge = judge(options, text)?;
    check_judge(judge.is_some(), resume, objective).map_err(|(text, name)| fail(text, at(name)))?;
    let uses_reward = !matches!(objective, Objective::Sft | Objective::Dpo | Objective::Swirl);
    if uses_reward && reward.is_none() && !resume {
        return Err(fail(NEEDS_REWARD.to_owned(), at("objective")));
    }
    if !uses_reward && reward.is_some() {
        let name = objective.name();
        let message = format!(
            "option 'reward' has no effect on objective '{name}': drop it, or set objective"
        );
        return Err(fail(message, at("reward")));
    }
    let model = match model {
        Some(model) => PathBuf::from(model),
        None if resume => PathBuf::new(),
        None => {
            let message = "TRAIN needs model = '<a .gguf file or a model's directory>'";
            return Err(fail(message.to_owned(), None));
        }
    };
    let names = eval_dataset.iter().flat_map(|names| names.split(',')).map(str::trim);
    let eval_dataset = names.filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let config = RunConfig {
        model,
        revision: None,
        reward,
        eval_dataset,
        device,
        judge,
        options: options_of_trainer,
        pinned: serde_json::Value::Null,
    };
    Ok(Request { config, resume })
}

/// Checks that an objective has a judge if it samples, and none if it does not; an error comes with
/// the option that it speaks of.
fn check_judge(
    is_given: bool,
    resumes: bool,
    objective: Objective,
) -> Result<(), (String, &'static str)> {
    match objective {
        Objective::Swirl if !is_given && !resumes => {
            let message = "'swirl' needs judge = '<who judges sampled actions>': world, process, \
                           choice, calculation, implicit, or exact_match for answers alone";
            Err((message.to_owned(), "objective"))
        }
        Objective::Swirl => Ok(()),
        other if is_given => {
            let name = other.name();
            let message = format!("option 'judge' has no effect on objective '{name}': drop it");
            Err((message, "judge"))
        }
        _ => Ok(()),
    }
}

/// Reads `judge = ...` and `judge.<option> = ...`, as JUDGE has them.
fn judge(options: &[WithOption], text: &str) -> Result<Option<JudgeOptions>, SessionError> {
    let of_judge = |option: &WithOption| {
        let name = option.name.text.strip_prefix(JUDGE_OPTIONS).map(str::to_owned);
        let name = name.or_else(|| (option.name.text == "judge").then(|| "judge".to_owned()))?;
        Some(WithOption { name: Name { text: name, ..option.name.clone() }, ..option.clone() })
    };
    let given: Vec<WithOption> = options.iter().filter_map(of_judge).collect();
    match given.is_empty() {
        true => Ok(None),
        false => options::read(&JudgeOptions::default(), &given, text).map(Some),
    }
}

/// Reads the options that are the trainer's.
fn of_trainer(options: &[WithOption]) -> Result<TrainConfig, ConfigError> {
    let is_own = |name: &str| OWN_OPTIONS.contains(&name) || name.starts_with(JUDGE_OPTIONS);
    let others = options.iter().filter(|o| !is_own(&o.name.text));
    let others: Vec<(String, OptionValue)> =
        others.map(|o| (o.name.text.clone(), option_value(&o.value))).collect();
    TrainConfig::from_options(&others)
}

pub(super) fn option_value(literal: &Literal) -> OptionValue {
    match literal {
        Literal::Number(number) => OptionValue::Number(*number),
        Literal::Text(text) => OptionValue::Text(text.clone()),
        Literal::Bool(bool) => OptionValue::Bool(*bool),
    }
}

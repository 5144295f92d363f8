//! The options of TRAIN, sorted out: ours and the trainer's.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::diag::{Diagnostic, did_you_mean};
use crate::query::syntax::{Literal, WithOption};
use crate::rollout::CallForm;
use crate::session::error::SessionError;
use crate::session::options;
use crate::session::rollouts::{EpisodeOptions, JudgeOptions, is_of_judge};
use crate::session::statement::mistake;
use crate::store::Store;
use crate::train::{ConfigError, Objective, OptionValue, TrainConfig};

/// Options of TRAIN beside the trainer's.
const OWN_OPTIONS: [&str; 6] = ["model", "reward", "eval_dataset", "device", "resume", "judge"];

/// The one option of episodes that sampled actions take too.
const ACTION_FORM: &str = "action_form";

/// What the judge of sampled actions is called in options.
const JUDGE: &str = "judge";

/// The judge of answers where the options name none.
const OUTCOME_JUDGE: &str = "exact_match";

const NEEDS_REWARD: &str =
    "this objective needs reward = '<SQL expression>', such as reward = 'process - 0.5'";

/// Returns the names of all options of TRAIN.
pub(in crate::session) fn option_names() -> Vec<String> {
    let own = OWN_OPTIONS.iter().map(|name| (*name).to_owned());
    own.chain(TrainConfig::option_names()).chain(episode_option_names()).collect()
}

/// Returns the names of the options that say how episodes go.
pub(in crate::session) fn episode_option_names() -> Vec<String> {
    options::names(&EpisodeOptions::default())
}

/// What a run needs to be made again: stored with it as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::session) struct RunConfig {
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
    /// How a sampled action calls a tool, for an objective that samples; native calls, if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) action_form: Option<CallForm>,
    /// Tools and rules of episodes, for an objective that plays them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) episodes: Option<EpisodeOptions>,
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

    /// Returns the judge of sampled actions of a training run; `None` where it has none, or there
    /// is no such run.
    ///
    /// # Errors
    /// What the disk says; its options cannot be read.
    pub(in crate::session) fn judge_of(
        store: &Store,
        run: &str,
    ) -> Result<Option<JudgeOptions>, SessionError> {
        match store.run(run)?.filter(|record| record.kind == "train") {
            Some(record) => Ok(RunConfig::stored(&record.id, &record.config)?.judge),
            None => Ok(None),
        }
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
    let action_form = own_text(ACTION_FORM)?.as_deref().map(form).transpose();
    let action_form = action_form.map_err(|message| fail(message, at(ACTION_FORM)))?;
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
    let plays = objective == Objective::Grpo;
    let by_default = if plays { JudgeOptions::of(OUTCOME_JUDGE) } else { JudgeOptions::default() };
    let judge = JudgeOptions::of_part(options, JUDGE, &by_default, text)?;
    let judge = judge.or_else(|| plays.then_some(by_default));
    check_judge(judge.is_some(), resume, objective).map_err(|(text, name)| fail(text, at(name)))?;
    let episodes = episodes(options, text, objective)?;
    check_reward(reward.is_some(), resume, objective)
        .map_err(|(text, name)| fail(text, at(name)))?;
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
        action_form: action_form.filter(|_| objective == Objective::Swirl),
        episodes,
        options: options_of_trainer,
        pinned: serde_json::Value::Null,
    };
    Ok(Request { config, resume })
}

fn form(word: &str) -> Result<CallForm, String> {
    match word {
        "calls" => Ok(CallForm::Calls),
        "tags" => Ok(CallForm::Tags),
        other => Err(format!("option 'action_form' is '{other}'; expected 'calls' or 'tags'")),
    }
}

/// Checks that an objective has a reward if it takes one, and none if it does not; an error comes
/// with the option that it speaks of.
fn check_reward(
    is_given: bool,
    resumes: bool,
    objective: Objective,
) -> Result<(), (String, &'static str)> {
    let has_own = [Objective::Sft, Objective::Dpo, Objective::Swirl, Objective::Grpo];
    match (has_own.contains(&objective), is_given) {
        (false, false) if !resumes => Err((NEEDS_REWARD.to_owned(), "objective")),
        (true, true) => {
            let name = objective.name();
            let message = format!(
                "option 'reward' has no effect on objective '{name}': drop it, or set objective"
            );
            Err((message, "reward"))
        }
        _ => Ok(()),
    }
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
        Objective::Swirl | Objective::Grpo => Ok(()),
        other if is_given => {
            let name = other.name();
            let message = format!("option 'judge' has no effect on objective '{name}': drop it");
            Err((message, "judge"))
        }
        _ => Ok(()),
    }
}

/// Reads the options that say how episodes go, as GENERATE has them; `None` for an objective that
/// plays none.
///
/// # Errors
/// A value that its option does not take; one of them for an objective that plays no episode.
fn episodes(
    options: &[WithOption],
    text: &str,
    objective: Objective,
) -> Result<Option<EpisodeOptions>, SessionError> {
    let names = episode_option_names();
    let is_own = |name: &str| name == ACTION_FORM && objective == Objective::Swirl;
    let is_of_episodes = |name: &String| names.contains(name) && !is_own(name);
    let given = options.iter().filter(|option| is_of_episodes(&option.name.text));
    let given: Vec<WithOption> = given.cloned().collect();
    if objective == Objective::Grpo {
        return options::read(&EpisodeOptions::default(), &given, text).map(Some);
    }
    let Some(first) = given.first() else { return Ok(None) };
    let (option, name) = (&first.name.text, objective.name());
    let message = format!(
        "option '{option}' has no effect on objective '{name}', which plays no episodes: drop it, \
         or set objective = 'grpo'"
    );
    let diagnostic = Diagnostic::new("train-option", message);
    Err(mistake(diagnostic.at(first.name.span.to(first.span)), text))
}

/// Reads the options that are the trainer's.
fn of_trainer(options: &[WithOption]) -> Result<TrainConfig, ConfigError> {
    let episodes = episode_option_names();
    let is_own = |name: &str| {
        OWN_OPTIONS.contains(&name)
            || is_of_judge(name, JUDGE)
            || episodes.iter().any(|known| known == name)
    };
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

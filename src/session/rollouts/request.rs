//! What GENERATE, EVALUATE and RESAMPLE can be asked for.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::evaluate::{ANSWER_JUDGE, STEP_JUDGE};
use super::judges::{JudgeOptions, is_of_judge};
use super::measured::AnswerMetric;
use super::policies::{PolicyOptions, Writing};
use crate::diag::Diagnostic;
use crate::model::Json;
use crate::query::syntax::{Rollout, RolloutVerb, WithOption};
use crate::rollout::{CallForm, Protocol, StopTags};
use crate::session::error::SessionError;
use crate::session::options;
use crate::session::statement::mistake;

/// Options that only EVALUATE takes, beside those of its judges.
const OF_EVALUATE: [&str; 3] = ["metric", REPORT, SAME_JUDGE];

/// Where the report goes: no part of what a run is.
const REPORT: &str = "report";

/// Says that a judge is meant: no part of what a run is.
const SAME_JUDGE: &str = "same_judge";

/// The options of a rollout, with the protocol's among them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::session) struct RolloutOptions {
    /// A file of questions; empty where a query gives them.
    pub(super) questions: String,
    /// The small world that gives questions and tools: `default`, or its options; empty for none.
    pub(super) world: String,
    /// Which part of the world's questions.
    pub(super) split: String,
    /// Samples of each question.
    pub(super) n: u32,
    /// The corpora that searches are over, joined by commas.
    pub(super) corpora: String,
    /// The tools that are offered, joined by commas; all of the corpora and the calculator, if
    /// empty; `none` for none.
    pub(super) tools: String,
    /// Documents that a search returns.
    pub(super) k: usize,
    /// The round of self-improvement that trajectories are stored with.
    pub(super) round: i64,
    /// How many questions are taken, from the first on; 0 for all.
    pub(super) limit: u64,
    /// What a server is asked to do at a tag that ends an action.
    pub(super) stop_tags: StopTags,
    /// Whose definition of a right answer EVALUATE takes.
    pub(super) metric: AnswerMetric,
    /// The files that EVALUATE writes its report to, without `.md` and `.html`; empty for none.
    pub(super) report: String,
    /// Whether the judge of steps may be the one that the model was trained with.
    pub(super) same_judge: bool,
    /// Who judges the steps of an evaluation.
    #[serde(skip)]
    pub(super) judge: Option<JudgeOptions>,
    /// Who judges its answers, beside the metric.
    #[serde(skip)]
    pub(super) outcome_judge: Option<JudgeOptions>,
    #[serde(flatten)]
    pub(super) policy: PolicyOptions,
    #[serde(flatten)]
    pub(super) protocol: Protocol,
}

impl Default for RolloutOptions {
    fn default() -> RolloutOptions {
        RolloutOptions {
            questions: String::new(),
            world: String::new(),
            split: "test".to_owned(),
            n: 1,
            corpora: String::new(),
            tools: String::new(),
            k: 3,
            round: 0,
            limit: 0,
            stop_tags: StopTags::default(),
            metric: AnswerMetric::default(),
            report: String::new(),
            same_judge: false,
            judge: None,
            outcome_judge: None,
            policy: PolicyOptions::default(),
            protocol: Protocol::default(),
        }
    }
}

/// Which tools are offered.
pub(super) struct ToolOptions<'a> {
    pub(super) world: &'a str,
    pub(super) corpora: &'a str,
    pub(super) tools: &'a str,
    pub(super) k: usize,
    /// How they are called.
    pub(super) form: CallForm,
}

impl RolloutOptions {
    /// Returns which tools are offered.
    pub(super) fn tools(&self) -> ToolOptions<'_> {
        let RolloutOptions { world, corpora, tools, k, .. } = self;
        ToolOptions { world, corpora, tools, k: *k, form: self.protocol.action_form }
    }

    /// Checks that every option that is given has an effect.
    ///
    /// # Errors
    /// One that has none.
    pub(super) fn check(&self) -> Result<(), SessionError> {
        self.policy.check(self.world.is_empty())?;
        let defaults = RolloutOptions::default();
        let why = if self.world.is_empty() && self.split != defaults.split {
            "split: it is a part of a world's questions, and there is no world"
        } else if self.corpora.is_empty() && self.k != defaults.k {
            "k: it is the documents that a search over corpora returns, and there are no corpora"
        } else {
            return Ok(());
        };
        Err(SessionError::mistake("tools", format!("{why}; drop it")))
    }

    /// Returns what a verb does where nothing is said.
    pub(in crate::session) fn of(verb: RolloutVerb) -> RolloutOptions {
        let temperature = if verb == RolloutVerb::Evaluate { 0.0 } else { 1.0 };
        let policy = PolicyOptions { temperature, ..PolicyOptions::default() };
        RolloutOptions { policy, ..RolloutOptions::default() }
    }

    /// Returns how actions are written, with the tools as they are offered.
    pub(super) fn writing<'a>(&'a self, offered: Option<&'a Json>) -> Writing<'a> {
        Writing { protocol: &self.protocol, offered, stop_tags: self.stop_tags }
    }

    /// Returns what a statement asks for.
    ///
    /// # Errors
    /// An option that the verb does not have, or a value that it does not take.
    pub(in crate::session) fn read(
        asked: &Rollout,
        text: &str,
    ) -> Result<RolloutOptions, SessionError> {
        let is_of_judges = |option: &&WithOption| is_of_judges(&option.name.text);
        let is_other = |option: &&WithOption| {
            let name = option.name.text.as_str();
            is_of_judges(option) || OF_EVALUATE.contains(&name)
        };
        if asked.verb != RolloutVerb::Evaluate
            && let Some(option) = asked.options.iter().find(is_other)
        {
            let (name, verb) = (&option.name.text, asked.verb.as_str());
            let message = format!("option '{name}' has no effect on {verb}: EVALUATE takes it");
            let place = option.name.span.to(option.span);
            return Err(mistake(Diagnostic::new("option", message).at(place), text));
        }
        let given = &asked.options;
        let others: Vec<WithOption> =
            given.iter().filter(|option| !is_of_judges(option)).cloned().collect();
        let options: RolloutOptions =
            options::read(&RolloutOptions::of(asked.verb), &others, text)?;
        let defaults = JudgeOptions::default();
        Ok(RolloutOptions {
            judge: JudgeOptions::of_part(given, STEP_JUDGE, &defaults, text)?,
            outcome_judge: JudgeOptions::of_part(given, ANSWER_JUDGE, &defaults, text)?,
            ..options
        })
    }

    /// Returns the names of the options that a verb takes.
    pub(in crate::session) fn names(verb: RolloutVerb) -> Vec<String> {
        let mut names = options::names(&RolloutOptions::of(verb));
        match verb {
            RolloutVerb::Evaluate => {
                names.extend([STEP_JUDGE, ANSWER_JUDGE].map(str::to_owned));
            }
            _ => names.retain(|name| !OF_EVALUATE.contains(&name.as_str())),
        }
        names
    }

    /// Returns what a run keeps of its options.
    pub(super) fn kept(&self) -> Value {
        let mut kept = json!(self);
        if let Value::Object(fields) = &mut kept {
            fields.remove(REPORT);
            fields.remove(SAME_JUDGE);
            for (part, judge) in [(STEP_JUDGE, &self.judge), (ANSWER_JUDGE, &self.outcome_judge)] {
                fields.extend(judge.iter().map(|judge| (part.to_owned(), json!(judge))));
            }
        }
        kept
    }
}

fn is_of_judges(option: &str) -> bool {
    [STEP_JUDGE, ANSWER_JUDGE].iter().any(|part| is_of_judge(option, part))
}

/// Returns the words of a list joined by commas.
pub(super) fn words(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

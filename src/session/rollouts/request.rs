//! What GENERATE, EVALUATE and RESAMPLE can be asked for.

use serde::{Deserialize, Serialize};

use super::evaluate::AnswerMetric;
use super::policies::{PolicyOptions, Writing};
use crate::model::Json;
use crate::query::syntax::RolloutVerb;
use crate::rollout::{CallForm, Protocol, StopTags};

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
}

/// Returns the words of a list joined by commas.
pub(super) fn words(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

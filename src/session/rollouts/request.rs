//! What GENERATE, EVALUATE and RESAMPLE can be asked for.

use serde::{Deserialize, Serialize};

use super::evaluate::AnswerMetric;
use crate::query::syntax::RolloutVerb;
use crate::render::RendererChoice;
use crate::rollout::Protocol;

/// The options of a rollout, with the protocol's among them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::session) struct RolloutOptions {
    /// The policy: a file, a folder, a repository of the hub, or `run:NAME`.
    pub(super) model: String,
    /// A file of questions; empty where a query gives them.
    pub(super) questions: String,
    /// Samples of each question, or state.
    pub(super) n: u32,
    /// The corpora that searches are over, joined by commas.
    pub(super) corpora: String,
    /// The tools that are offered, joined by commas; all of the corpora and the calculator, if
    /// empty; `none` for none.
    pub(super) tools: String,
    /// Documents that a search returns.
    pub(super) k: usize,
    /// Where calls of tools are recorded; empty for nowhere.
    pub(super) cassette: String,
    /// How they are recorded and replayed: `once`, `new_episodes`, `all`, `none`.
    pub(super) record: String,
    pub(super) temperature: f64,
    pub(super) top_k: usize,
    pub(super) top_p: f64,
    pub(super) min_p: f64,
    pub(super) max_new_tokens: usize,
    /// Where random numbers come from.
    pub(super) seed: u64,
    /// How many actions are sampled at a time.
    pub(super) slots: usize,
    pub(super) renderer: RendererChoice,
    /// The round of self-improvement that trajectories are stored with.
    pub(super) round: i64,
    /// How many questions are taken, from the first on; 0 for all.
    pub(super) limit: u64,
    /// Whose definition of a right answer EVALUATE takes.
    pub(super) metric: AnswerMetric,
    #[serde(flatten)]
    pub(super) protocol: Protocol,
}

impl Default for RolloutOptions {
    fn default() -> RolloutOptions {
        RolloutOptions {
            model: String::new(),
            questions: String::new(),
            n: 1,
            corpora: String::new(),
            tools: String::new(),
            k: 3,
            cassette: String::new(),
            record: "new_episodes".to_owned(),
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            max_new_tokens: 256,
            seed: 0,
            slots: 8,
            renderer: RendererChoice::Auto,
            round: 0,
            limit: 0,
            metric: AnswerMetric::default(),
            protocol: Protocol::default(),
        }
    }
}

impl RolloutOptions {
    /// Returns what a verb does where nothing is said.
    pub(in crate::session) fn of(verb: RolloutVerb) -> RolloutOptions {
        let temperature = if verb == RolloutVerb::Evaluate { 0.0 } else { 1.0 };
        RolloutOptions { temperature, ..RolloutOptions::default() }
    }
}

/// Returns the words of a list joined by commas.
pub(super) fn words(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

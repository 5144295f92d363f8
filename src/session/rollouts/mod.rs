//! GENERATE, EVALUATE, RESAMPLE: policies at work on questions and states.
//!
//! ```text
//!   GENERATE WITH (questions = 'dev.jsonl', model = 'run:first', corpora = 'wiki', n = 5) AS g
//!
//!   1  request    the options, the protocol's among them
//!   2  toolset    search tools of corpora, the calculator, what records their calls
//!   3  questions  of a file, or of the trajectories of a query
//!   4  policies   a model of this process as a policy
//!   5  run        record 'g'; episodes are stored under source 'g' as they end
//!   6  evaluate   EVALUATE: labels, of its judges too, and metrics
//!   7  measured   what was measured of each trajectory, from what is stored
//!   8  summary    figures with intervals, by groups; `document` makes a report of them
//!
//!   DIFF RUNS of two evaluations: `measured` of both, compared by question in `comparison`
//! ```
//! TRAIN with objective 'grpo' plays by the same parts (`played`), and stores no trajectory.

mod comparison;
mod comparison_rows;
mod document;
mod evaluate;
mod implicit;
mod judges;
mod judging;
mod measured;
mod played;
mod policies;
mod questions;
mod request;
mod resample;
mod run;
mod summary;
mod toolset;
mod world;

pub use judging::JudgeSummary;
pub use resample::ResampleSummary;
pub use run::RolloutSummary;
pub use summary::{EvaluationSummary, Measurement};

pub(super) use comparison::compare;
pub(super) use judges::{JudgeOptions, Judging, Shown, is_of_judge, judging};
pub(super) use judging::judge;
pub(super) use played::{EpisodeOptions, Episodes};
pub(super) use request::RolloutOptions;
pub(super) use resample::{ResampleOptions, check_written, resample};
pub(super) use run::rollout;
pub(super) use world::study_options;

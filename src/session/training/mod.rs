//! TRAIN: a selection becomes a dataset, the dataset examples, the examples a run.
//!
//! ```text
//!   FROM ... |> TRAIN WITH (model = 'm', objective = 'sft') AS first
//!
//!   1  request     ours (model, reward, eval_dataset, device, resume) and the trainer's options
//!   2  runs        the rows are frozen as dataset 'first', rewards or pairs included
//!   3  examples    the dataset's trajectories with their chosen steps, in ordinal order; their
//!                  tokens are kept in the store
//!   4  runs        record 'first' is stored; the recorder makes metrics of events; checkpoints
//!                  go to DB/runs/first/checkpoint-N, each with a model card at the end
//! ```
//! Objective 'swirl' samples and judges actions at the rows' states (`online`), 'grpo' asks the
//! rows' questions anew and plays whole episodes (`rollouts::played`); `material` knows which.
//! Going on after a kill starts at 3: the run record and the dataset say everything.
//!
//! Beside it: what else is done with models and runs. `scoring` writes log-probabilities of a
//! selection, `difference` compares runs, `merging` writes a run's model whole, `batches` its
//! tokens in the order of training, `bundle` all that is needed to make it again.

mod batches;
mod bundle;
mod card;
mod difference;
mod examples;
mod journal;
mod material;
mod merging;
mod model;
mod online;
mod recorder;
mod request;
mod runs;
mod sampling;
mod scoring;

pub use batches::export_batches;
pub use bundle::{Rerun, bundle, rerun};
pub use merging::merge;
pub use runs::TrainSummary;
pub use sampling::{SampleOptions, SampleReport, sample};

pub(super) use difference::diff;
pub(super) use model::{identity, load_frozen, weights_of};
pub(super) use request::{check_options, episode_option_names, option_names};
pub(super) use runs::{explain, resume, train};
pub(super) use scoring::score;

//! Answers against gold answers, judges against each other, rankings against judgements.
//!
//! Exact match and F1 are those of the evaluation script of HotpotQA (hotpot_evaluate_v1.py), which
//! took them from that of SQuAD: lower case, no punctuation of ASCII, no articles, white space
//! joined.

mod agreement;
mod answer;
mod fusion;
mod measure;
mod number;
mod ranking;

pub use agreement::Agreement;
pub use answer::{contains, exact_match, f1, normalise};
pub use fusion::{FUSION_CONSTANT, FusionError, fuse};
pub use measure::{Measure, MeasureError};
pub use number::{NUMERIC_TOLERANCE, numeric_equal, parse_number};
pub use ranking::{Evaluation, Qrels, RankingError, Run, Topics, evaluate};

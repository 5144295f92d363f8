//! Answers against gold answers, judges against each other, rankings against judgements.
//!
//! Exact match and F1 are those of the evaluation script of HotpotQA (hotpot_evaluate_v1.py), which
//! took them from that of SQuAD: lower case, no punctuation of ASCII, no articles, white space
//! joined. MuSiQue's script differs in what it makes of yes, no and nothing. Every figure over
//! questions has an interval (`interval.rs`), every difference of two runs a p-value, and a family
//! of those is adjusted (`significance.rs`).

mod agreement;
mod answer;
mod fusion;
mod interval;
mod measure;
mod number;
mod random;
mod ranking;
mod significance;

pub use agreement::Agreement;
pub use answer::{
    AnswerScore, contains, exact_match, f1, normalise, score_hotpotqa, score_musique,
};
pub use fusion::{FUSION_CONSTANT, FusionError, fuse};
pub use interval::{
    Comparison, Estimate, Resampling, StatisticsError, bootstrap, normal, paired_bootstrap, wilson,
};
pub use measure::{Measure, MeasureError};
pub use number::{NUMERIC_TOLERANCE, last_number, numeric_equal, parse_number, score_gsm8k};
pub use ranking::{Evaluation, Qrels, RankingError, Run, Topics, evaluate};
pub use significance::{holm, mcnemar};

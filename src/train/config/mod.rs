//! What a training run is asked to do.
//!
//! Option names are TRL's, verl's, transformers' and PEFT's. An option that has no effect on the
//! run asked for is refused: whoever wrote it expected something of it. Which objective takes
//! which option is one table (`table.rs`).

mod error;
mod options;
mod parse;
mod table;
mod train_config;
mod validate;

pub use error::ConfigError;
pub use options::{
    AdvEstimator, Baseline, BatchBy, KlType, LossAggregation, LossType, Objective, ScaleRewards,
    Scheduler, Truncation,
};
pub use parse::OptionValue;
pub use train_config::TrainConfig;

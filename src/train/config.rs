//! What a training run is asked to do.
//!
//! Option names are TRL's, verl's and PEFT's. An option that has no effect on the run asked for
//! is refused: whoever wrote it expected something of it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::diag::{did_you_mean, list_some};
use crate::lm::{LoraConfig, Training};
use crate::render::RendererChoice;

/// What is maximised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Objective {
    /// The log-probability of the chosen actions, each times its weight.
    #[default]
    Sft,
    /// The expected reward of the chosen actions, offline: REINFORCE on stored actions.
    Reinforce,
}

/// How the losses of tokens become one number; verl's names, a sequence there is an action here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LossAggregation {
    /// The mean over all action tokens of an optimiser step: long actions weigh more. The default
    /// of `sft`.
    TokenMean,
    /// The sum over an action's tokens, then the mean over actions: the log-probability of whole
    /// actions, as the policy gradient has it. The default of `reinforce`.
    SeqMeanTokenSum,
    /// The mean over an action's tokens, then the mean over actions: every action weighs the same.
    SeqMeanTokenMean,
}

/// What is subtracted from a reward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Baseline {
    /// Nothing.
    #[default]
    None,
    /// The mean reward of all chosen actions.
    Mean,
    /// The mean reward of the chosen actions of the *other* trajectories of the same question.
    /// Actions without any are left out and counted.
    LeaveOneOut,
}

/// An estimate of the divergence from the start policy; verl's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KlType {
    /// The log-ratio itself. As a loss its expected gradient is zero: refused.
    K1,
    /// Half the squared log-ratio.
    #[default]
    K2,
    /// `exp(-d) - 1 + d` of the log-ratio `d`.
    K3,
}

/// How the learning rate moves after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheduler {
    /// Half a cosine down to zero.
    #[default]
    Cosine,
    /// A straight line down to zero.
    Linear,
    /// No change.
    Constant,
}

/// What happens to an action that ends behind `max_length`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Truncation {
    /// The run stops and names it.
    #[default]
    Error,
    /// It is left out and counted.
    Drop,
    /// The oldest turns of its state are cut, instructions spared, and it stands in a sequence
    /// apart.
    Left,
}

/// What is shuffled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BatchBy {
    /// Trajectories: all chosen actions of one share a sequence and an optimiser step.
    #[default]
    Trajectory,
    /// Sub-trajectories: each chosen action has a sequence of its own.
    Subtrajectory,
}

/// A training run's options.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// What is maximised.
    pub objective: Objective,
    /// The peak learning rate. `None`: 2e-4 (LoRA) or 2e-5 (full) for `sft`, 1e-5 or 1e-6 for
    /// `reinforce`.
    pub learning_rate: Option<f64>,
    /// The part of all optimiser steps over which the learning rate rises from zero. `None`, and
    /// no `warmup_steps`: 0.03.
    pub warmup_ratio: Option<f64>,
    /// The number of optimiser steps over which the learning rate rises from zero.
    pub warmup_steps: Option<u64>,
    /// How the learning rate moves after that.
    pub lr_scheduler_type: Scheduler,
    /// Decoupled weight decay of matrices; norms and biases have none.
    pub weight_decay: f64,
    /// Decay of the gradient's mean.
    pub adam_beta1: f64,
    /// Decay of the gradient's square.
    pub adam_beta2: f64,
    /// Added to the root of the gradient's square.
    pub adam_epsilon: f64,
    /// The largest norm of the gradient over all variables; 0 switches clipping off.
    pub max_grad_norm: f64,
    /// How often every row is seen.
    pub num_train_epochs: u64,
    /// Optimiser steps in all, whatever `num_train_epochs` says.
    pub max_steps: Option<u64>,
    /// Tokens of one optimiser step: sequences are added while they fit, at least one.
    pub tokens_per_step: u64,
    /// Tokens of one forward pass, by which memory is bounded; steps accumulate several.
    pub tokens_per_batch: u64,
    /// The longest sequence in tokens; `None`: the model's context.
    pub max_length: Option<u64>,
    /// What happens to longer ones.
    pub truncation: Truncation,
    /// The rank of the adapters; `None`: 16.
    pub r: Option<u64>,
    /// The scale of the adapters times `r`; `None`: 32.
    pub lora_alpha: Option<f64>,
    /// The linear layers that get adapters; `None`: all of attention and feed-forward.
    pub target_modules: Option<Vec<String>>,
    /// Whether every weight is trained instead of adapters.
    pub full: bool,
    /// How messages become text.
    pub renderer: RendererChoice,
    /// Where all randomness comes from: order and fresh adapters.
    pub seed: u64,
    /// Optimiser steps between checkpoints; `None`: only at the end.
    pub save_steps: Option<u64>,
    /// How many checkpoints are kept, the newest first.
    pub save_total_limit: u64,
    /// Optimiser steps between entries of the log.
    pub logging_steps: u64,
    /// Optimiser steps between evaluations; `None`: only before and after.
    pub eval_steps: Option<u64>,
    /// How the losses of tokens become one; `None`: as the objective has it.
    pub loss_agg_mode: Option<LossAggregation>,
    /// What is shuffled.
    pub batch_by: BatchBy,
    /// `reinforce`: what is subtracted from rewards; `None`: nothing.
    pub baseline: Option<Baseline>,
    /// `reinforce`: the weight of the divergence from the start policy; `None`: 0.
    pub kl_loss_coef: Option<f64>,
    /// `reinforce`: how the divergence is estimated; `None`: k2.
    pub kl_loss_type: Option<KlType>,
    /// `reinforce`: how far the ratio to the start policy may move a token's loss; `None`: no
    /// clipping.
    pub epsilon: Option<f64>,
}

impl Default for TrainConfig {
    fn default() -> TrainConfig {
        TrainConfig {
            objective: Objective::Sft,
            learning_rate: None,
            warmup_ratio: None,
            warmup_steps: None,
            lr_scheduler_type: Scheduler::Cosine,
            weight_decay: 0.0,
            adam_beta1: 0.9,
            adam_beta2: 0.999,
            adam_epsilon: 1e-8,
            max_grad_norm: 1.0,
            num_train_epochs: 1,
            max_steps: None,
            tokens_per_step: 16_384,
            tokens_per_batch: 4_096,
            max_length: None,
            truncation: Truncation::Error,
            r: None,
            lora_alpha: None,
            target_modules: None,
            full: false,
            renderer: RendererChoice::Auto,
            seed: 0,
            save_steps: None,
            save_total_limit: 2,
            logging_steps: 1,
            eval_steps: None,
            loss_agg_mode: None,
            batch_by: BatchBy::Trajectory,
            baseline: None,
            kl_loss_coef: None,
            kl_loss_type: None,
            epsilon: None,
        }
    }
}

/// An option's value as a statement or command line gives it.
#[derive(Clone, Debug, PartialEq)]
pub enum OptionValue {
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
    /// True or false.
    Bool(bool),
}

/// What is wrong with a run's options.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// No option has this name.
    #[error("unknown option '{name}'{}: expected one of {known}", hint(.nearest))]
    UnknownOption {
        /// The name.
        name: String,
        /// The option that may be meant.
        nearest: Option<String>,
        /// The options there are.
        known: String,
    },
    /// An option is given twice.
    #[error("option '{name}' is given twice")]
    Twice {
        /// The name.
        name: String,
    },
    /// A value does not fit its option.
    #[error("option '{name}': {message}")]
    Value {
        /// The option.
        name: String,
        /// What was found and expected.
        message: String,
    },
    /// Options that cannot stand together, or one that would have no effect.
    #[error("{0}")]
    Combination(String),
}

fn hint(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or(String::new(), |name| format!(", did you mean '{name}'?"))
}

impl TrainConfig {
    /// Returns the names of all options.
    pub fn option_names() -> Vec<String> {
        match serde_json::to_value(TrainConfig::default()) {
            Ok(Value::Object(map)) => map.keys().cloned().collect(),
            _ => Vec::new(),
        }
    }

    /// Returns the run that named options ask for; every option not named has its default.
    /// `target_modules` is a text with commas, or `all-linear`.
    ///
    /// # Errors
    /// A name that is no option, a value of the wrong type or range, options without effect.
    pub fn from_options(options: &[(String, OptionValue)]) -> Result<TrainConfig, ConfigError> {
        let known = TrainConfig::option_names();
        let mut all = Map::new();
        for (name, value) in options {
            if !known.contains(name) {
                return Err(ConfigError::UnknownOption {
                    name: name.clone(),
                    nearest: did_you_mean(name, known.iter().map(String::as_str))
                        .map(str::to_owned),
                    known: list_some(known.iter().map(String::as_str)),
                });
            }
            let value = json_value(name, value)?;
            // Alone first, so that a mistake is told of the option it is in.
            let alone = Map::from_iter([(name.clone(), value.clone())]);
            if let Err(error) = serde_json::from_value::<TrainConfig>(Value::Object(alone)) {
                return Err(ConfigError::Value { name: name.clone(), message: error.to_string() });
            }
            if all.insert(name.clone(), value).is_some() {
                return Err(ConfigError::Twice { name: name.clone() });
            }
        }
        let config: TrainConfig = serde_json::from_value(Value::Object(all))
            .map_err(|error| ConfigError::Combination(error.to_string()))?;
        config.validate()?;
        Ok(config)
    }

    /// Checks ranges and that every option given has an effect.
    ///
    /// # Errors
    /// The first option that is out of range or without effect.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.validate_ranges()?;
        let refuse = |message: &str| Err(ConfigError::Combination(message.to_owned()));
        if self.warmup_ratio.is_some() && self.warmup_steps.is_some() {
            return refuse("warmup_ratio and warmup_steps both set the warm-up: give one of them");
        }
        let lora = self.r.is_some() || self.lora_alpha.is_some() || self.target_modules.is_some();
        if self.full && lora {
            return refuse(
                "r, lora_alpha and target_modules set up adapters, and full = true trains the \
                 weights themselves: leave out one side",
            );
        }
        let offline = self.baseline.is_some()
            || self.kl_loss_coef.is_some()
            || self.kl_loss_type.is_some()
            || self.epsilon.is_some();
        if self.objective == Objective::Sft && offline {
            return refuse(
                "baseline, kl_loss_coef, kl_loss_type and epsilon have no effect on sft: leave \
                 them out or set objective = 'reinforce'",
            );
        }
        if self.kl_loss_type == Some(KlType::K1) {
            return refuse(
                "kl_loss_type = 'k1' as a loss has zero expected gradient, so it holds nothing \
                 back: use 'k2' or 'k3'",
            );
        }
        if self.kl_loss_type.is_some() && self.kl() == 0.0 {
            return refuse("kl_loss_type has no effect without kl_loss_coef above 0");
        }
        Ok(())
    }

    fn validate_ranges(&self) -> Result<(), ConfigError> {
        let check = |name: &str, holds: bool, expected: &str| match holds {
            true => Ok(()),
            false => Err(ConfigError::Value {
                name: name.to_owned(),
                message: format!("expected {expected}"),
            }),
        };
        let positive = |value: f64| value.is_finite() && value > 0.0;
        let unit = |value: f64| (0.0..1.0).contains(&value);
        let least = |value: f64| value.is_finite() && value >= 0.0;
        let some = |value: Option<u64>| value.is_none_or(|v| v > 0);
        check("learning_rate", self.learning_rate.is_none_or(positive), "a number above 0")?;
        check("warmup_ratio", self.warmup_ratio.is_none_or(unit), "a number from 0 to below 1")?;
        check("weight_decay", least(self.weight_decay), "a number from 0 on")?;
        check("adam_beta1", unit(self.adam_beta1), "a number from 0 to below 1")?;
        check("adam_beta2", unit(self.adam_beta2), "a number from 0 to below 1")?;
        check("adam_epsilon", positive(self.adam_epsilon), "a number above 0")?;
        check("max_grad_norm", least(self.max_grad_norm), "a number from 0 on")?;
        check("num_train_epochs", self.num_train_epochs > 0, "a whole number above 0")?;
        check("max_steps", some(self.max_steps), "a whole number above 0")?;
        check("tokens_per_step", self.tokens_per_step > 0, "a whole number above 0")?;
        check("tokens_per_batch", self.tokens_per_batch > 0, "a whole number above 0")?;
        check("max_length", some(self.max_length), "a whole number above 0")?;
        check("r", some(self.r), "a whole number above 0")?;
        check("lora_alpha", self.lora_alpha.is_none_or(positive), "a number above 0")?;
        let named = self.target_modules.as_ref().is_none_or(|m| !m.is_empty());
        check("target_modules", named, "at least one name")?;
        check("save_steps", some(self.save_steps), "a whole number above 0")?;
        check("save_total_limit", self.save_total_limit > 0, "a whole number above 0")?;
        check("logging_steps", self.logging_steps > 0, "a whole number above 0")?;
        check("eval_steps", some(self.eval_steps), "a whole number above 0")?;
        check("kl_loss_coef", self.kl_loss_coef.is_none_or(least), "a number from 0 on")?;
        check("epsilon", self.epsilon.is_none_or(|e| positive(e) && e < 1.0), "above 0, below 1")
    }

    /// Returns the peak learning rate.
    pub fn peak_learning_rate(&self) -> f64 {
        self.learning_rate.unwrap_or(match (self.objective, self.full) {
            (Objective::Sft, false) => 2e-4,
            (Objective::Sft, true) => 2e-5,
            (Objective::Reinforce, false) => 1e-5,
            (Objective::Reinforce, true) => 1e-6,
        })
    }

    /// Returns how the losses of tokens become one.
    pub fn aggregation(&self) -> LossAggregation {
        self.loss_agg_mode.unwrap_or(match self.objective {
            Objective::Sft => LossAggregation::TokenMean,
            Objective::Reinforce => LossAggregation::SeqMeanTokenSum,
        })
    }

    /// Returns the weight of the divergence from the start policy.
    pub fn kl(&self) -> f64 {
        self.kl_loss_coef.unwrap_or(0.0)
    }

    /// Whether the loss needs the log-probabilities under the start policy.
    pub fn needs_start_policy(&self) -> bool {
        self.kl() > 0.0 || self.epsilon.is_some()
    }

    /// Returns how the model's weights are to be loaded.
    pub fn training(&self) -> Training {
        if self.full {
            return Training::Full;
        }
        Training::Lora(LoraConfig {
            r: self.r.unwrap_or(16) as usize,
            lora_alpha: self.lora_alpha.unwrap_or(32.0),
            target_modules: self
                .target_modules
                .clone()
                .unwrap_or_else(|| vec!["all-linear".to_owned()]),
        })
    }
}

/// Returns an option's value as JSON.
fn json_value(name: &str, value: &OptionValue) -> Result<Value, ConfigError> {
    /// Above this not every whole number is a double.
    const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
    Ok(match value {
        OptionValue::Bool(value) => Value::from(*value),
        OptionValue::Text(text) if name == "target_modules" => {
            let names = text.split(',').map(str::trim).filter(|t| !t.is_empty());
            Value::from(names.map(str::to_owned).collect::<Vec<_>>())
        }
        OptionValue::Text(text) => Value::from(text.as_str()),
        OptionValue::Number(number) if number.fract() == 0.0 && number.abs() <= WHOLE_MAX => {
            Value::from(*number as i64)
        }
        OptionValue::Number(number) if number.is_finite() && number.fract() != 0.0 => {
            Value::from(*number)
        }
        OptionValue::Number(number) => {
            let message = format!("{number} is too large to be exact: expected at most 2^53");
            return Err(ConfigError::Value { name: name.to_owned(), message });
        }
    })
}

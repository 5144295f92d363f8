//! The options of a training run.

use serde::{Deserialize, Serialize};

use crate::lm::{Distribution, LoraConfig, Training, Work};
use crate::render::RendererChoice;

use super::options::{
    AdvEstimator, Baseline, BatchBy, KlType, LossAggregation, LossType, Objective, ScaleRewards,
    Scheduler, Truncation,
};

/// A training run's options.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// What is maximised.
    pub objective: Objective,
    /// The peak learning rate. `None`: 2e-4 (LoRA) or 2e-5 (full) for `sft`, 1e-5 or 1e-6 for
    /// the other objectives.
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
    /// Tokens of one optimiser step: sequences are added while they fit, at least one. For `swirl`
    /// the tokens of states; those of samples come on top. `grpo` goes by `train_batch_size`.
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
    /// `reinforce`, `swirl`: what is subtracted from rewards; `None`: nothing for `reinforce`,
    /// leave_one_out for `swirl`.
    pub baseline: Option<Baseline>,
    /// `ppo`: how rewards become advantages; `None`: grpo.
    pub adv_estimator: Option<AdvEstimator>,
    /// `ppo`, `grpo`: what advantages are divided by; `None`: as the estimator has it, group for
    /// `grpo`.
    pub scale_rewards: Option<ScaleRewards>,
    /// `reinforce`, `ppo`, `swirl`: the weight in the loss of the divergence from the start policy;
    /// `None`: 0.
    pub kl_loss_coef: Option<f64>,
    /// `reinforce`, `ppo`, `swirl`: which divergence that is; `None`: k2. `grpo`: which one `beta`
    /// weighs, k2 or k3; `None`: k3.
    pub kl_loss_type: Option<KlType>,
    /// `reinforce`, `ppo`: how far the ratio to the start policy may fall, and rise, before a
    /// token's loss stops moving; verl's `clip_ratio` and `clip_ratio_low`. `grpo`: the same of the
    /// ratio to the policy that played. `None`: no clipping for `reinforce`, 0.2 for the others.
    #[serde(alias = "clip_ratio", alias = "clip_ratio_low")]
    pub epsilon: Option<f64>,
    /// `reinforce`, `ppo`, `grpo`: how far it may rise; verl's `clip_ratio_high`. `None`:
    /// `epsilon`.
    #[serde(alias = "clip_ratio_high")]
    pub epsilon_high: Option<f64>,
    /// `ppo`: with an advantage below zero no ratio counts for more than this; `None`: 3.
    pub clip_ratio_c: Option<f64>,
    /// `dpo`, `kto`: the scale of log-ratios; `None`: 0.1. `swirl`: the weight of the divergence
    /// from the start policy within the reward; `None`: 0.05. `grpo`: its weight in the loss;
    /// `None`: 0.
    pub beta: Option<f64>,
    /// `dpo`, `kto`, `grpo`: which loss; `None`: sigmoid, apo_zero_unpaired and dapo.
    pub loss_type: Option<LossType>,
    /// `dpo`: the part of preferences taken to be the wrong way round; `None`: 0.
    pub label_smoothing: Option<f64>,
    /// `dpo`, `kto`: log-probabilities under the start policy are always computed before the first
    /// step, so this may be true or absent.
    pub precompute_ref_log_probs: Option<bool>,
    /// `kto`: the weight of actions labelled 1; `None`: 1.
    pub desirable_weight: Option<f64>,
    /// `kto`: the weight of actions labelled 0; `None`: 1.
    pub undesirable_weight: Option<f64>,
    /// `swirl`: the samples of each state; `None`: 4. `grpo`: the trajectories of each question;
    /// `None`: 8.
    pub num_generations: Option<u64>,
    /// `swirl`, `grpo`: a sampled action is cut after this many tokens; `None`: 256.
    pub max_completion_length: Option<u64>,
    /// `swirl`, `grpo`: the temperature that actions are drawn at; `None`: 1, the policy that is
    /// trained.
    pub temperature: Option<f64>,
    /// `swirl`, `grpo`: actions are drawn from the most probable tokens that have this much
    /// probability together; `None`: 1, all of them.
    pub top_p: Option<f64>,
    /// `swirl`: the reward of a sample that is no action, which is not judged; `grpo`: that of a
    /// trajectory without an answer. `None`: 0.
    pub malformed_reward: Option<f64>,
    /// `swirl`, `grpo`: the part of a step's verdicts that may fail before the run stops; `None`:
    /// 0.05.
    pub max_judge_failures: Option<f64>,
    /// `grpo`: the questions that trajectories are played of at a time; verl's name. `None`: 8.
    pub train_batch_size: Option<u64>,
    /// `grpo`: the optimiser steps that are made on what was played at a time; `None`: 1.
    pub num_iterations: Option<u64>,
    /// Evaluations in a row without improvement after which the run ends; `None`: it does not.
    pub early_stopping_patience: Option<u64>,
    /// By how much the metric must improve to count for patience; `None`: 0.
    pub early_stopping_threshold: Option<f64>,
    /// The metric that decides which checkpoint is best: `loss` or `log_prob` of the held-out set,
    /// `eval_NAME_loss` or `eval_NAME_log_prob` where there are several; `None`: loss.
    pub metric_for_best_model: Option<String>,
    /// Whether more of it is better; `None`: unless its name ends in `loss`.
    pub greater_is_better: Option<bool>,
    /// Whether the best checkpoint is kept and its weights are the run's result.
    pub load_best_model_at_end: bool,
    /// Whether every trained action is scored again after each epoch.
    pub log_examples: bool,
    /// Whether activations and products are bf16; weights, moments and losses stay f32. Needs a
    /// CUDA device.
    pub bf16: bool,
    /// Whether the backward pass computes each layer again from its input instead of keeping what
    /// the forward pass made of it: less memory, the same numbers, a third more work.
    pub gradient_checkpointing: bool,
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
            adv_estimator: None,
            scale_rewards: None,
            kl_loss_coef: None,
            kl_loss_type: None,
            epsilon: None,
            epsilon_high: None,
            clip_ratio_c: None,
            beta: None,
            loss_type: None,
            label_smoothing: None,
            precompute_ref_log_probs: None,
            desirable_weight: None,
            undesirable_weight: None,
            num_generations: None,
            max_completion_length: None,
            temperature: None,
            top_p: None,
            malformed_reward: None,
            max_judge_failures: None,
            train_batch_size: None,
            num_iterations: None,
            early_stopping_patience: None,
            early_stopping_threshold: None,
            metric_for_best_model: None,
            greater_is_better: None,
            load_best_model_at_end: false,
            log_examples: false,
            bf16: false,
            gradient_checkpointing: false,
        }
    }
}

impl TrainConfig {
    /// Returns the peak learning rate.
    pub fn peak_learning_rate(&self) -> f64 {
        self.learning_rate.unwrap_or(match (self.objective, self.full) {
            (Objective::Sft, false) => 2e-4,
            (Objective::Sft, true) => 2e-5,
            (_, false) => 1e-5,
            (_, true) => 1e-6,
        })
    }

    /// Returns how the losses of tokens become one.
    pub fn aggregation(&self) -> LossAggregation {
        self.loss_agg_mode.unwrap_or(match self.objective {
            Objective::Reinforce | Objective::Swirl => LossAggregation::SeqMeanTokenSum,
            _ => LossAggregation::TokenMean,
        })
    }

    /// Returns what is shuffled: a pair's actions stand apart, since their states are compared.
    pub fn shuffled(&self) -> BatchBy {
        match self.objective {
            Objective::Dpo => BatchBy::Subtrajectory,
            _ => self.batch_by,
        }
    }

    /// Returns the weight of the divergence from the start policy.
    pub fn kl(&self) -> f64 {
        self.kl_loss_coef.unwrap_or(0.0)
    }

    /// Returns the scale of log-ratios in `dpo` and `kto`.
    pub fn log_ratio_scale(&self) -> f64 {
        self.beta.unwrap_or(0.1)
    }

    /// Returns the loss of `dpo`, `kto` or `grpo`.
    pub fn loss(&self) -> LossType {
        self.loss_type.unwrap_or(match self.objective {
            Objective::Kto => LossType::ApoZeroUnpaired,
            Objective::Grpo => LossType::Dapo,
            _ => LossType::Sigmoid,
        })
    }

    /// Returns what advantages are divided by.
    pub fn scaling(&self) -> ScaleRewards {
        self.scale_rewards.unwrap_or(match (self.objective, self.adv_estimator) {
            (Objective::Ppo, None | Some(AdvEstimator::Grpo)) => ScaleRewards::Group,
            (Objective::Grpo, _) => ScaleRewards::Group,
            _ => ScaleRewards::None,
        })
    }

    /// Whether the loss needs the log-probabilities under the start policy.
    pub fn needs_start_policy(&self) -> bool {
        match self.objective {
            // Actions that are sampled are not known before the first step.
            Objective::Sft | Objective::Swirl | Objective::Grpo => false,
            Objective::Reinforce => self.kl() > 0.0 || self.epsilon.is_some(),
            Objective::Ppo | Objective::Dpo | Objective::Kto => true,
        }
    }

    /// Whether the loss needs whole distributions under the start policy.
    pub fn needs_start_model(&self) -> bool {
        match self.objective {
            Objective::Swirl => self.reward_divergence() > 0.0 || self.kl() > 0.0,
            Objective::Grpo => self.group_divergence() > 0.0,
            _ => self.kl() > 0.0 && self.kl_loss_type == Some(KlType::Full),
        }
    }

    /// Returns what `swirl` subtracts from a reward for each unit of divergence.
    pub fn reward_divergence(&self) -> f64 {
        self.beta.unwrap_or(0.05)
    }

    /// Returns the weight of the divergence from the start policy in the loss of `grpo`.
    pub fn group_divergence(&self) -> f64 {
        self.beta.unwrap_or(0.0)
    }

    /// Returns what is subtracted from rewards.
    pub fn baseline(&self) -> Baseline {
        self.baseline.unwrap_or(match self.objective {
            Objective::Swirl => Baseline::LeaveOneOut,
            _ => Baseline::None,
        })
    }

    /// Returns the samples of a state, or the trajectories of a question.
    pub fn generations(&self) -> usize {
        let default = if self.objective == Objective::Grpo { 8 } else { 4 };
        self.num_generations.map_or(default, |count| count as usize)
    }

    /// Returns the questions that are played together.
    pub fn questions_together(&self) -> usize {
        self.train_batch_size.map_or(8, |count| count as usize)
    }

    /// Returns the optimiser steps that are made on what was sampled once.
    pub fn iterations(&self) -> u64 {
        self.num_iterations.unwrap_or(1)
    }

    /// Returns the tokens that a sample has at most.
    pub fn completion_length(&self) -> usize {
        self.max_completion_length.map_or(256, |length| length as usize)
    }

    /// Returns what samples are drawn from.
    pub fn distribution(&self) -> Distribution {
        Distribution {
            temperature: self.temperature.unwrap_or(1.0),
            top_p: self.top_p.unwrap_or(1.0),
            ..Distribution::default()
        }
    }

    /// Returns the reward of a sample that is no action, or of a trajectory without an answer.
    pub fn malformed(&self) -> f64 {
        self.malformed_reward.unwrap_or(0.0)
    }

    /// Returns the part of a step's verdicts that may fail.
    pub fn judge_failures(&self) -> f64 {
        self.max_judge_failures.unwrap_or(0.05)
    }

    /// Whether the best state of the model is looked for.
    pub fn watches(&self) -> bool {
        self.load_best_model_at_end || self.early_stopping_patience.is_some()
    }

    /// Returns how the decoder is to compute.
    pub fn work(&self) -> Work {
        Work { bf16: self.bf16, gradient_checkpointing: self.gradient_checkpointing }
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

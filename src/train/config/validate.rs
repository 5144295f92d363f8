//! Ranges, and options that cannot stand together.

use super::error::ConfigError;
use super::options::{
    AdvEstimator, Baseline, BatchBy, KlType, LossAggregation, LossType, Objective, Truncation,
};
use super::table;
use super::train_config::TrainConfig;

fn refuse(message: &str) -> Result<(), ConfigError> {
    Err(ConfigError::Combination(message.to_owned()))
}

impl TrainConfig {
    /// Checks ranges and that every option given has an effect.
    ///
    /// # Errors
    /// The first option that is out of range or without effect.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.validate_ranges()?;
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
        table::check(self)?;
        self.validate_objective()?;
        self.validate_sampling()?;
        self.validate_groups()?;
        self.validate_watching()
    }

    /// Checks options that only act together with another one of the objective.
    fn validate_objective(&self) -> Result<(), ConfigError> {
        if self.learns_context() && self.aggregation() != LossAggregation::TokenMean {
            return refuse(
                "assistant_only_loss = false is a mean over all tokens: leave out loss_agg_mode, \
                 or set it to 'token-mean'",
            );
        }
        if self.kl_loss_type == Some(KlType::K1) {
            return refuse(
                "kl_loss_type = 'k1' as a loss has zero expected gradient, so it holds nothing \
                 back: use 'k2', 'k3' or 'full'",
            );
        }
        let is_grpo = self.objective == Objective::Grpo;
        let weight = if is_grpo { self.group_divergence() } else { self.kl() };
        if self.kl_loss_type.is_some() && weight == 0.0 {
            let name = if is_grpo { "beta" } else { "kl_loss_coef" };
            return refuse(&format!("kl_loss_type has no effect without {name} above 0"));
        }
        let clips = is_grpo || self.objective == Objective::Ppo || self.epsilon.is_some();
        if self.epsilon_high.is_some() && !clips {
            return refuse("epsilon_high has no effect without epsilon: set both");
        }
        if self.adv_estimator == Some(AdvEstimator::ReinforcePlusPlusBaseline)
            && self.scale_rewards.is_some()
        {
            return refuse(
                "scale_rewards has no effect on adv_estimator = 'reinforce_plus_plus_baseline', \
                 which whitens over all tokens: leave it out",
            );
        }
        let smooth = matches!(self.loss(), LossType::Sigmoid | LossType::Robust);
        if self.label_smoothing.is_some() && !smooth {
            return refuse(
                "label_smoothing has an effect on loss_type 'sigmoid' and 'robust' only",
            );
        }
        let smoothing = self.label_smoothing.unwrap_or(0.0);
        if self.loss_type == Some(LossType::Robust) && smoothing == 0.0 {
            return refuse("loss_type = 'robust' is 'sigmoid' unless label_smoothing is above 0");
        }
        if self.precompute_ref_log_probs == Some(false) {
            return refuse(
                "precompute_ref_log_probs = false: log-probabilities under the start policy are \
                 always computed once, before the first step; leave it out",
            );
        }
        Ok(())
    }

    /// Checks options that act on sampled actions.
    fn validate_sampling(&self) -> Result<(), ConfigError> {
        if self.objective != Objective::Swirl {
            return Ok(());
        }
        if self.kl_loss_type == Some(KlType::Full) {
            return refuse(
                "kl_loss_type = 'full' is for stored actions: 'swirl' takes 'k2' in the loss, or \
                 beta in the reward",
            );
        }
        if self.baseline == Some(Baseline::Mean) {
            return refuse(
                "baseline = 'mean' is over stored rewards: 'swirl' takes 'leave_one_out', over the \
                 samples of a state, or 'none'",
            );
        }
        if self.baseline() == Baseline::LeaveOneOut && self.generations() < 2 {
            return refuse(
                "baseline = 'leave_one_out' compares the samples of a state: set num_generations \
                 to at least 2",
            );
        }
        if self.log_examples {
            return refuse(
                "log_examples scores stored actions, which 'swirl' does not train on: leave it out",
            );
        }
        if self.bf16 {
            return refuse(
                "bf16 needs a CUDA device, and 'swirl' samples on the CPU: leave it out",
            );
        }
        Ok(())
    }

    /// Checks options that act on trajectories played while training.
    fn validate_groups(&self) -> Result<(), ConfigError> {
        if self.objective != Objective::Grpo {
            return Ok(());
        }
        if self.loss_type == Some(LossType::Bnpo) {
            return refuse(
                "loss_type = 'bnpo' takes the mean over the tokens of each forward pass, and a \
                 loss here does not depend on how a step is cut into passes: use 'dapo', the mean \
                 over all tokens of the step",
            );
        }
        if self.generations() < 2 {
            return refuse(
                "'grpo' compares the trajectories of a question: set num_generations to at least 2",
            );
        }
        if self.kl_loss_type == Some(KlType::Full) {
            return refuse(
                "kl_loss_type = 'full' is for stored actions: 'grpo' takes 'k3' or 'k2'",
            );
        }
        let clips = self.epsilon.is_some() || self.epsilon_high.is_some();
        if clips && self.iterations() == 1 {
            return refuse(
                "epsilon and epsilon_high have no effect with num_iterations = 1: the policy that \
                 is trained is the one that played, and the ratio is 1",
            );
        }
        for (name, every) in [("save_steps", self.save_steps), ("eval_steps", self.eval_steps)] {
            if every.is_some_and(|every| !every.is_multiple_of(self.iterations())) {
                return refuse(&format!(
                    "{name} has to be a multiple of num_iterations = {}: what was played is in no \
                     checkpoint, so they are between generations",
                    self.iterations()
                ));
            }
        }
        let plain = TrainConfig::default();
        for (name, is_given, instead) in [
            ("tokens_per_step", self.tokens_per_step != plain.tokens_per_step, "train_batch_size"),
            ("max_length", self.max_length.is_some(), "max_completion_length"),
            ("truncation", self.truncation != Truncation::Error, "max_completion_length"),
            ("batch_by", self.batch_by != BatchBy::Trajectory, "train_batch_size"),
        ] {
            if is_given {
                return refuse(&format!(
                    "{name} is about stored trajectories, and 'grpo' plays its own: leave it out, \
                     or set {instead}"
                ));
            }
        }
        if self.log_examples {
            return refuse(
                "log_examples scores stored actions, which 'grpo' does not train on: leave it out",
            );
        }
        match self.bf16 {
            true => refuse("bf16 needs a CUDA device, and 'grpo' samples on the CPU: leave it out"),
            false => Ok(()),
        }
    }

    /// Checks the options about the best state of the model.
    fn validate_watching(&self) -> Result<(), ConfigError> {
        if self.early_stopping_threshold.is_some() && self.early_stopping_patience.is_none() {
            return refuse(
                "early_stopping_threshold has no effect without early_stopping_patience",
            );
        }
        let about_best = self.metric_for_best_model.is_some() || self.greater_is_better.is_some();
        if about_best && !self.watches() {
            return refuse(
                "metric_for_best_model and greater_is_better have no effect without \
                 early_stopping_patience or load_best_model_at_end",
            );
        }
        if self.watches() && self.eval_steps.is_none() {
            return refuse(
                "early_stopping_patience and load_best_model_at_end look at evaluations while \
                 training: set eval_steps",
            );
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
        check("epsilon", self.epsilon.is_none_or(|e| positive(e) && e < 1.0), "above 0, below 1")?;
        check("epsilon_high", self.epsilon_high.is_none_or(positive), "a number above 0")?;
        let above_one = |c: f64| c.is_finite() && c > 1.0;
        check("clip_ratio_c", self.clip_ratio_c.is_none_or(above_one), "a number above 1")?;
        if matches!(self.objective, Objective::Swirl | Objective::Grpo) {
            check("beta", self.beta.is_none_or(least), "a number from 0 on")?;
        } else {
            check("beta", self.beta.is_none_or(positive), "a number above 0")?;
        }
        check("num_generations", some(self.num_generations), "a whole number above 0")?;
        check("max_completion_length", some(self.max_completion_length), "a whole number above 0")?;
        check("train_batch_size", some(self.train_batch_size), "a whole number above 0")?;
        check("num_iterations", some(self.num_iterations), "a whole number above 0")?;
        let warm = |t: f64| (1e-4..=1e4).contains(&t);
        check("temperature", self.temperature.is_none_or(warm), "a number from 0.0001 to 10000")?;
        let part = |p: Option<f64>| p.is_none_or(|p| (0.0..=1.0).contains(&p));
        check("top_p", part(self.top_p) && self.top_p != Some(0.0), "above 0, up to 1")?;
        check("max_judge_failures", part(self.max_judge_failures), "a number from 0 to 1")?;
        let finite = self.malformed_reward.is_none_or(f64::is_finite);
        check("malformed_reward", finite, "a number")?;
        let half = |part: f64| (0.0..0.5).contains(&part);
        let smoothing = self.label_smoothing.is_none_or(half);
        check("label_smoothing", smoothing, "a number from 0 to below 0.5")?;
        let weights = [self.desirable_weight, self.undesirable_weight];
        for (name, weight) in ["desirable_weight", "undesirable_weight"].iter().zip(weights) {
            check(name, weight.is_none_or(positive), "a number above 0")?;
        }
        let patience = some(self.early_stopping_patience);
        check("early_stopping_patience", patience, "a whole number above 0")?;
        let threshold = self.early_stopping_threshold.is_none_or(least);
        check("early_stopping_threshold", threshold, "a number from 0 on")
    }
}

//! Which objective takes which option. Options that are not here are for all of them.

use serde_json::Value;

use super::error::ConfigError;
use super::options::{LossType, Objective};
use super::train_config::TrainConfig;

use Objective::{Dpo, Grpo, Kto, Ppo, Reinforce, Sft, Swirl};

/// Options by the objectives that they have an effect on. Each is absent unless it is asked for.
const TAKEN_BY: [(&str, &[Objective]); 24] = [
    ("assistant_only_loss", &[Sft]),
    ("loss_agg_mode", &[Sft, Reinforce, Ppo]),
    ("baseline", &[Reinforce, Swirl]),
    ("adv_estimator", &[Ppo]),
    ("scale_rewards", &[Ppo, Grpo]),
    ("kl_loss_coef", &[Reinforce, Ppo, Swirl]),
    ("kl_loss_type", &[Reinforce, Ppo, Swirl, Grpo]),
    ("epsilon", &[Reinforce, Ppo, Grpo]),
    ("epsilon_high", &[Reinforce, Ppo, Grpo]),
    ("clip_ratio_c", &[Ppo]),
    ("beta", &[Dpo, Kto, Swirl, Grpo]),
    ("loss_type", &[Dpo, Kto, Grpo]),
    ("label_smoothing", &[Dpo]),
    ("precompute_ref_log_probs", &[Dpo, Kto]),
    ("desirable_weight", &[Kto]),
    ("undesirable_weight", &[Kto]),
    ("num_generations", &[Swirl, Grpo]),
    ("max_completion_length", &[Swirl, Grpo]),
    ("temperature", &[Swirl, Grpo]),
    ("top_p", &[Swirl, Grpo]),
    ("malformed_reward", &[Swirl, Grpo]),
    ("max_judge_failures", &[Swirl, Grpo]),
    ("train_batch_size", &[Grpo]),
    ("num_iterations", &[Grpo]),
];

/// Losses by the objective that they belong to.
const LOSSES: [(LossType, Objective); 10] = [
    (LossType::Sigmoid, Dpo),
    (LossType::Robust, Dpo),
    (LossType::Ipo, Dpo),
    (LossType::Hinge, Dpo),
    (LossType::Kto, Kto),
    (LossType::ApoZeroUnpaired, Kto),
    (LossType::Dapo, Grpo),
    (LossType::Grpo, Grpo),
    (LossType::DrGrpo, Grpo),
    (LossType::Bnpo, Grpo),
];

/// Checks that every option given has an effect on the objective.
///
/// # Errors
/// The first that has none, and the objectives that take it.
pub(super) fn check(config: &TrainConfig) -> Result<(), ConfigError> {
    let all = serde_json::to_value(config).unwrap_or_default();
    let is_given = |name: &str| all.get(name).is_some_and(|value| *value != Value::Null);
    let quoted = |takes: &[Objective]| {
        let names: Vec<String> = takes.iter().map(|o| format!("'{}'", o.name())).collect();
        names.join(" or ")
    };
    for (name, takes) in TAKEN_BY {
        if is_given(name) && !takes.contains(&config.objective) {
            let (found, expected) = (config.objective.name(), quoted(takes));
            return Err(ConfigError::Combination(format!(
                "{name} has no effect on {found}: leave it out or set objective = {expected}"
            )));
        }
    }
    let chosen = config.loss();
    let owner = LOSSES.iter().find(|(loss, _)| *loss == chosen).map(|(_, objective)| *objective);
    match owner {
        Some(owner) if config.loss_type.is_some() && owner != config.objective => {
            let found = all.get("loss_type").and_then(Value::as_str).unwrap_or_default();
            Err(ConfigError::Combination(format!(
                "loss_type = '{found}' is a loss of '{}', and the objective is '{}'",
                owner.name(),
                config.objective.name()
            )))
        }
        _ => Ok(()),
    }
}

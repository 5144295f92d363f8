//! Options that are one of a few words.

use serde::{Deserialize, Serialize};

/// What is maximised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Objective {
    /// The log-probability of the chosen actions, each times its weight.
    #[default]
    Sft,
    /// The expected reward of the chosen actions, offline: REINFORCE on stored actions.
    Reinforce,
    /// The same by the ratio to the policy that gave the actions, clipped: PPO on stored actions,
    /// with advantages from groups of answers to one question.
    Ppo,
    /// Pairs of actions at one state, one preferred: direct preference optimisation.
    Dpo,
    /// Actions labelled 1 (desirable) or 0, one by one: Kahneman-Tversky optimisation by step.
    Kto,
    /// The expected value of actions that are sampled at the chosen states while training and
    /// judged, never executed: step-wise reinforcement learning, on policy.
    Swirl,
    /// The expected value of the final answers of whole trajectories that are played while
    /// training, tools included, compared within groups of one question: trajectory-level
    /// reinforcement learning, on policy (Shao et al. 2024).
    Grpo,
}

impl Objective {
    /// Returns the name that options give it.
    pub fn name(self) -> &'static str {
        match self {
            Objective::Sft => "sft",
            Objective::Reinforce => "reinforce",
            Objective::Ppo => "ppo",
            Objective::Dpo => "dpo",
            Objective::Kto => "kto",
            Objective::Swirl => "swirl",
            Objective::Grpo => "grpo",
        }
    }
}

/// How the losses of tokens become one number; verl's names, a sequence there is an action here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LossAggregation {
    /// The mean over all action tokens of an optimiser step: long actions weigh more. The default
    /// of `sft` and `ppo`.
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
    /// Actions without any are left out and counted. For `swirl` the mean reward of the *other*
    /// samples of the state.
    LeaveOneOut,
}

/// How rewards become advantages; verl's names. A group is all chosen actions of one question,
/// from two trajectories at least: actions of a question with one are left out and counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdvEstimator {
    /// The reward less the mean of its group, divided as `scale_rewards` says (Shao et al. 2024).
    #[default]
    Grpo,
    /// The reward less the mean over the *other* trajectories of its group (Ahmadian et al. 2024).
    Rloo,
    /// The reward less the mean of its group, then whitened over all action tokens: mean zero,
    /// variance one (Hu 2025).
    ReinforcePlusPlusBaseline,
}

/// What advantages are divided by, 1e-4 added; TRL's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScaleRewards {
    /// The standard deviation of the rewards of the question. The default of `grpo`, estimator and
    /// objective.
    Group,
    /// The standard deviation of all rewards of the run; of objective `grpo` all of a generation.
    Batch,
    /// Nothing. The default of `rloo`.
    None,
}

/// The loss of preferences, labels and groups of trajectories; TRL's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossType {
    /// `dpo`: the logistic loss of the margin (Rafailov et al. 2023); with `label_smoothing` its
    /// conservative form. The default.
    Sigmoid,
    /// `dpo`: the logistic loss, unbiased where `label_smoothing` is the part of flipped labels
    /// (Chowdhury et al. 2024).
    Robust,
    /// `dpo`: the squared distance of the margin per token from 1 / (2 beta) (Azar et al. 2023).
    Ipo,
    /// `dpo`: what the margin lacks to 1 (Zhao et al. 2023).
    Hinge,
    /// `kto`: the value of an action against a reference point (Ethayarajh et al. 2024).
    Kto,
    /// `kto`: the same with the reference point zero (D'Oosterlinck et al. 2024). The default.
    ApoZeroUnpaired,
    /// `grpo`: the mean over all action tokens of a generation (Yu et al. 2025). The default.
    Dapo,
    /// `grpo`: the mean over the action tokens of a trajectory, then over trajectories (Shao et al.
    /// 2024).
    Grpo,
    /// `grpo`: the sum over the action tokens of a trajectory by `max_completion_length`, then the
    /// mean over trajectories (Liu et al. 2025).
    DrGrpo,
    /// `grpo`: the mean over the tokens of a forward pass. A loss here does not depend on how a
    /// step is cut into passes: refused.
    Bnpo,
}

/// A divergence from the start policy; verl's names.
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
    /// The divergence itself, over the whole vocabulary at every token of a stored action. Costs a
    /// forward pass of the start policy, whose weights stay in memory.
    Full,
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

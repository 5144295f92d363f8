//! Losses against what TRL's own functions gave for the same log-probabilities
//! (`tests/oracle/trl_losses.py`).

use serde::Deserialize;
use swirldb::train::{
    ActionLogProbs, Clip, Counts, Criterion, GroupCounts, GroupLoss, KlType, LossAggregation,
    LossType, Objective, PlayedLogProbs, TrainConfig,
};

#[derive(Deserialize)]
struct Case {
    options: TrainConfig,
    loss: f64,
    actions: Vec<Action>,
}

#[derive(Deserialize)]
struct Action {
    weight: f64,
    now: Vec<f32>,
    start: Vec<f32>,
    derivatives: Vec<f32>,
}

#[test]
fn losses_and_derivatives_are_those_of_trl() {
    let text = include_str!("../goldens/train/trl_losses.json");
    let cases: Vec<Case> = serde_json::from_str(text).unwrap();
    assert_eq!(cases.len(), 18);
    for case in cases {
        case.options.validate().unwrap();
        let actions: Vec<ActionLogProbs<'_>> = case
            .actions
            .iter()
            .map(|Action { weight, now, start, .. }| ActionLogProbs {
                weight: *weight,
                now,
                start: Some(start),
                divergence: None,
            })
            .collect();
        let tokens = actions.iter().map(|a| a.now.len()).sum();
        let counts = Counts { actions: actions.len(), tokens };
        let found = Criterion::new(&case.options).of_actions(&actions, counts, None);
        let loss: f64 = found.iter().map(|action| action.loss).sum();
        let what = serde_json::to_string(&case.options).unwrap();
        assert!((loss - case.loss).abs() < 1e-5, "{what}: {loss}, TRL has {}", case.loss);
        for (found, expected) in found.iter().zip(&case.actions) {
            for (ours, theirs) in found.derivatives.iter().zip(&expected.derivatives) {
                assert!((ours - theirs).abs() < 1e-5, "{what}: {ours}, TRL has {theirs}");
            }
        }
    }
}

/// TRL has one function for both: what an action is there, a trajectory is here.
#[test]
fn losses_of_groups_are_those_of_trl() {
    let text = include_str!("../goldens/train/trl_losses.json");
    let cases: Vec<Case> = serde_json::from_str(text).unwrap();
    let mut compared = 0;
    for case in cases.iter().filter(|case| case.options.objective == Objective::Ppo) {
        let options = &case.options;
        let loss_type = match options.loss_agg_mode {
            Some(LossAggregation::TokenMean) => LossType::Dapo,
            Some(LossAggregation::SeqMeanTokenMean) => LossType::Grpo,
            _ => continue,
        };
        let (low, high) = (options.epsilon.unwrap(), options.epsilon_high.unwrap());
        let loss = GroupLoss {
            loss_type,
            clip: Clip { low, high, dual: options.clip_ratio_c },
            beta: options.kl(),
            kl_type: KlType::K3,
            length: 1,
        };
        let tokens = case.actions.iter().map(|action| action.now.len()).sum();
        let counts = GroupCounts { trajectories: case.actions.len(), tokens };
        let mut sum = 0.0;
        for action in &case.actions {
            let played = PlayedLogProbs {
                advantage: action.weight,
                tokens: action.now.len(),
                now: &action.now,
                old: Some(&action.start),
                start: Some(&action.start),
            };
            let found = loss.of_tokens(played, counts);
            sum += found.loss;
            for (ours, theirs) in found.derivatives.iter().zip(&action.derivatives) {
                assert!((ours - theirs).abs() < 1e-5, "{loss:?}: {ours}, TRL has {theirs}");
            }
        }
        assert!((sum - case.loss).abs() < 1e-5, "{loss:?}: {sum}, TRL has {}", case.loss);
        compared += 1;
    }
    assert_eq!(compared, 4);
}

//! Losses against what TRL's own functions gave for the same log-probabilities
//! (`tests/oracle/trl_losses.py`).

use serde::Deserialize;
use swirldb::train::{ActionLogProbs, Counts, Criterion, TrainConfig};

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

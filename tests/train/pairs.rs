//! Pairs of actions at one state.

use std::sync::Arc;

use swirldb::model::{Message, role};
use swirldb::train::{
    ActionLogProbs, ChosenStep, Event, Example, LossType, Objective, Pair, PreferenceLoss,
    Prepared, TrainConfig, Truncation, cut_by_tokens, epoch_order, evaluate,
};

use super::{Told, config, decoder, prepared, run, run_with, trajectory, try_prepare};

fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-6, "{found}, expected {expected}");
}

/// A step of trajectory `number` with another answer in its place, on one side of a pair.
fn side(number: u64, step: u32, answer: &str, pair: u64, chosen: bool) -> Example {
    let mut of = trajectory(number);
    of.steps.truncate(step as usize);
    of.id = format!("t{number}-{answer}");
    of.steps[step as usize - 1].action = Message::new(role::ASSISTANT, answer);
    Example {
        key: 1_000 * number + 2 * pair + u64::from(chosen),
        trajectory: Arc::new(of),
        steps: vec![ChosenStep::of_pair(step, Pair { id: pair, chosen })],
    }
}

pub fn pairs(count: u64) -> Vec<Example> {
    let one = |n| [side(n, 2, "Oslo", n, false), side(n, 2, "a city called Paris", n, true)];
    (0..count).flat_map(one).collect()
}

pub fn dpo() -> TrainConfig {
    TrainConfig { objective: Objective::Dpo, ..config() }
}

#[test]
fn the_losses_of_pairs_are_their_formulas() {
    // The chosen action grew by 1.5 over two tokens, the rejected one fell by 0.5 over one.
    let chosen = ActionLogProbs {
        weight: 1.0,
        now: &[-1.0, -2.0],
        start: Some(&[-2.0, -2.5]),
        divergence: None,
    };
    let rejected =
        ActionLogProbs { weight: -1.0, now: &[-3.0], start: Some(&[-2.5]), divergence: None };
    let of = |loss_type, beta, label_smoothing| {
        let loss = PreferenceLoss { loss_type, beta, label_smoothing };
        let found = loss.of_pair(chosen, rejected, 4);
        assert_eq!(found.rejected.loss, 0.0);
        assert_eq!(found.chosen.derivatives[0], found.chosen.derivatives[1]);
        let slope = |values: &[f32]| f64::from(values[0]) * 4.0;
        let (up, down) = (&found.chosen.derivatives, &found.rejected.derivatives);
        (found.chosen.loss * 4.0, slope(up), slope(down))
    };
    let logistic = |x: f64| 1.0 / (1.0 + (-x).exp());
    let (right, wrong) = (logistic(1.0), logistic(-1.0));
    let (loss, up, down) = of(LossType::Sigmoid, 0.5, 0.0);
    close(loss, -right.ln());
    close(up, -0.5 * wrong);
    close(down, 0.5 * wrong);
    let (loss, up, down) = of(LossType::Sigmoid, 0.5, 0.1);
    close(loss, -0.9 * right.ln() - 0.1 * wrong.ln());
    close(up, 0.5 * (-0.9 * wrong + 0.1 * right));
    close(down, -up);
    let (loss, up, down) = of(LossType::Robust, 0.5, 0.1);
    close(loss, (-0.9 * right.ln() + 0.1 * wrong.ln()) / 0.8);
    close(up, 0.5 * (-0.9 * wrong - 0.1 * right) / 0.8);
    close(down, -up);
    let (loss, up, down) = of(LossType::Hinge, 0.25, 0.0);
    close(loss, 0.5);
    assert_eq!((up, down), (-0.25, 0.25));
    assert_eq!(of(LossType::Hinge, 0.5, 0.0), (0.0, 0.0, 0.0));
    // 1.5 / 2 + 0.5 / 1 - 1 / (2 * 0.25) = -0.75.
    let (loss, up, down) = of(LossType::Ipo, 0.25, 0.0);
    close(loss, 0.5625);
    close(up, 2.0 * -0.75 / 2.0);
    close(down, 2.0 * 0.75);
}

#[test]
fn pairs_stay_together() {
    let prepared = prepared(&dpo(), &pairs(8));
    assert_eq!((prepared.plan.pairs, prepared.plan.sequences), (8, 16));
    let order = epoch_order(&prepared.sequences, 3, 1);
    assert_ne!(order, (0..16).collect::<Vec<_>>());
    for run in cut_by_tokens(&prepared.sequences, &order, 1) {
        assert_eq!(run.len(), 2);
        assert_eq!(run[0] + 1, run[1]);
        let of = |at: usize| (prepared.sequences[run[at]].pair, prepared.weights[run[at]][0]);
        assert_eq!((of(0).0, of(0).1, of(1).1), (of(1).0, 1.0, -1.0));
    }
}

#[test]
fn preferences_are_learnt() {
    for loss_type in [LossType::Sigmoid, LossType::Ipo, LossType::Hinge] {
        let config = TrainConfig {
            loss_type: Some(loss_type),
            learning_rate: Some(1e-3),
            max_steps: Some(8),
            tokens_per_step: 1 << 20,
            ..dpo()
        };
        let (steps, model) = run(&config, &pairs(3));
        let metric = |step: usize, name: &str| {
            let named = |m: &&(&str, f64)| m.0 == name;
            steps[step].metrics.iter().find(named).unwrap().1
        };
        assert_eq!(metric(0, "rewards/margins"), 0.0);
        assert!(metric(7, "rewards/margins") > 0.01, "{loss_type:?}");
        assert_eq!(metric(7, "rewards/accuracies"), 1.0);
        assert!(steps[7].loss < steps[0].loss);
        // The metric is what scoring finds: growth since the start, times beta.
        let sequences = prepared(&config, &pairs(3)).sequences;
        let score = |model| evaluate(model, &sequences, 4096).unwrap().actions;
        let (before, after) = (score(&decoder(1)), score(&model));
        let growth = |at: usize| after[at].sum() - before[at].sum();
        assert!((0..3).all(|pair| growth(2 * pair) > growth(2 * pair + 1)));
    }
}

/// The loss of a step does not depend on how it is cut into forward passes.
#[test]
fn a_step_is_the_same_in_one_pass_and_in_many() {
    let of = |tokens_per_batch| {
        let config = TrainConfig {
            tokens_per_batch,
            tokens_per_step: 1 << 20,
            max_steps: Some(2),
            learning_rate: Some(1e-3),
            ..dpo()
        };
        run(&config, &pairs(4)).0
    };
    for (one, many) in of(1 << 20).iter().zip(of(1)) {
        assert!((one.loss - many.loss).abs() < 1e-6, "{} and {}", one.loss, many.loss);
        assert!((one.grad_norm / many.grad_norm - 1.0).abs() < 1e-4);
    }
}

#[test]
fn pairs_that_are_none_are_named() {
    let error = |rows: &[Example]| try_prepare(&dpo(), rows).unwrap_err().to_string();
    assert!(error(&[]).contains("holds no pair"));
    let lone = error(&[super::example(0, &[(1, 1.0)])]);
    assert!(lone.contains("step 1 of trajectory t0 of world has no pair"), "{lone}");
    let half = error(&[side(0, 2, "Oslo", 7, true)]);
    assert!(half.contains("t0-Oslo of world has no rejected action"), "{half}");
    let half = error(&[side(0, 2, "Oslo", 7, false)]);
    assert!(half.contains("has no chosen action"), "{half}");
    let twice = error(&[side(0, 2, "a", 7, true), side(0, 2, "b", 7, true)]);
    assert!(twice.contains("t0-b of world is the second action of pair 7"), "{twice}");
    let states = error(&[side(0, 2, "a", 7, true), side(1, 2, "b", 7, false)]);
    let expected = "pair 7 compares step 2 of trajectory t0-a of world with step 2 of trajectory \
                    t1-b of world, whose states differ from token ";
    assert!(states.starts_with(expected), "{states}");
    // One state is the beginning of the other.
    let longer = error(&[side(0, 2, "a", 7, true), side(0, 3, "b", 7, false)]);
    assert!(longer.contains("whose states differ"), "{longer}");
}

/// A pair with one side too long loses both.
#[test]
fn a_pair_is_dropped_whole() {
    let whole = prepared(&dpo(), &pairs(2));
    let longest = whole.sequences.iter().map(|s| s.tokens.len()).max().unwrap();
    let config =
        TrainConfig { max_length: Some(longest as u64 - 1), truncation: Truncation::Drop, ..dpo() };
    let short = [side(5, 1, "Rome", 5, true), side(5, 1, "Oslo", 5, false)];
    let rows: Vec<Example> = pairs(2).into_iter().chain(short).collect();
    let plan: Prepared = prepared(&config, &rows);
    assert_eq!((plan.plan.pairs, plan.plan.dropped), (1, 4));
}

/// A resumed run reads what the start policy said, and ends with the same bytes.
#[test]
fn a_resumed_run_of_pairs_ends_with_the_same_bytes() {
    let config = TrainConfig { max_steps: Some(5), learning_rate: Some(1e-3), ..dpo() };
    let prepared = prepared(&config, &pairs(4));
    let (at_once, in_two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let go = |folder: &std::path::Path, resume, stop_after| {
        let mut told = Told { stop_after, ..Told::default() };
        let outcome = run_with(&decoder(1), &prepared, &config, folder, resume, &mut told).unwrap();
        (outcome, told)
    };
    let (expected, first) = go(at_once.path(), false, None);
    go(in_two.path(), false, Some(2));
    let file = in_two.path().join("start.safetensors");
    let kept = std::fs::read(&file).unwrap();
    let (found, second) = go(in_two.path(), true, None);
    let start = |told: &Told| match &told.events[1] {
        Event::StartPolicy { actions, .. } => actions.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(start(&first), start(&second));
    assert_eq!(std::fs::read(&file).unwrap(), kept);
    for name in ["model.safetensors", "optimizer.safetensors", "state.json"] {
        let read = |outcome: &swirldb::train::Outcome| {
            std::fs::read(outcome.checkpoint.join(name)).unwrap()
        };
        assert!(read(&expected) == read(&found), "{name} differs");
    }
    // Damage to it costs a pass and changes nothing.
    std::fs::write(&file, b"no tensors").unwrap();
    assert_eq!(start(&go(in_two.path(), true, None).1), start(&first));
}

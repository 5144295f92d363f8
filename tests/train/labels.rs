//! Labelled actions.

use swirldb::train::{
    ActionLogProbs, Counts, Criterion, Event, Example, LabelLoss, LossType, Moment, Objective,
    TrainConfig, reference_point,
};

use super::{Told, config, decoder, example, prepared, run, run_with, try_prepare};

fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-6, "{found}, expected {expected}");
}

fn kto(loss_type: Option<LossType>) -> TrainConfig {
    TrainConfig { objective: Objective::Kto, loss_type, ..config() }
}

#[test]
fn the_losses_of_labels_are_their_formulas() {
    let config = TrainConfig {
        beta: Some(0.5),
        desirable_weight: Some(2.0),
        undesirable_weight: Some(3.0),
        ..kto(Some(LossType::Kto))
    };
    let loss = LabelLoss::new(&config);
    let logistic = |x: f64| 1.0 / (1.0 + (-x).exp());
    // Grown by 3 over two tokens.
    let of = |weight, z| {
        let action = ActionLogProbs {
            weight,
            now: &[-1.0, -1.0],
            start: Some(&[-2.0, -3.0]),
            divergence: None,
        };
        let found = loss.of_action(action, z, Counts { actions: 5, tokens: 8 });
        assert_eq!(found.derivatives[0], found.derivatives[1]);
        (found.loss * 5.0, f64::from(found.derivatives[0]) * 5.0)
    };
    for z in [0.0, 1.0] {
        let value = logistic(0.5 * (3.0 - z));
        let slope = 0.5 * value * (1.0 - value);
        close(of(1.0, z).0, 2.0 * (1.0 - value));
        close(of(1.0, z).1, -2.0 * slope);
        close(of(0.0, z).0, 3.0 * value);
        close(of(0.0, z).1, 3.0 * slope);
    }
    assert_eq!(reference_point([1.0, 3.0].into_iter()), 2.0);
    assert_eq!(reference_point([1.0, -3.0].into_iter()), 0.0);
    assert!(reference_point([f64::NAN, 1.0].into_iter()).is_nan());
    let apo = LabelLoss::new(&kto(None));
    assert!(!apo.has_reference_point && Criterion::Label(loss).has_reference_point());
}

fn labelled() -> Vec<Example> {
    (0..4).map(|n| example(n, &[(1, 1.0), (2, 0.0), (3, (n % 2) as f64)])).collect()
}

#[test]
fn labels_are_learnt_and_zero_is_one_of_them() {
    for loss_type in [None, Some(LossType::Kto)] {
        let config = TrainConfig {
            learning_rate: Some(1e-3),
            max_steps: Some(8),
            tokens_per_step: 1 << 20,
            ..kto(loss_type)
        };
        let plan = prepared(&config, &labelled()).plan;
        assert_eq!((plan.actions, plan.zero_weight), (12, 0));
        assert_eq!(
            plan.warnings.iter().any(|w| w.contains("reference point")),
            loss_type.is_some()
        );
        let steps = run(&config, &labelled()).0;
        let margin = |step: usize| {
            let named = |m: &&(&str, f64)| m.0 == "rewards/margins";
            steps[step].metrics.iter().find(named).unwrap().1
        };
        assert_eq!(margin(0), 0.0);
        assert!(margin(7) > 0.01, "{loss_type:?}: {}", margin(7));
        // At the start every value is one half.
        close(steps[0].loss, 0.5);
    }
}

/// The reference point is that of the whole step, however it is cut.
#[test]
fn the_reference_point_is_that_of_the_step() {
    let of = |tokens_per_batch| {
        let config = TrainConfig {
            learning_rate: Some(1e-2),
            max_steps: Some(3),
            tokens_per_step: 1 << 20,
            tokens_per_batch,
            ..kto(Some(LossType::Kto))
        };
        run(&config, &[example(0, &[(1, 1.0), (3, 1.0)]), example(1, &[(2, 1.0), (3, 0.0)])]).0
    };
    for (one, many) in of(1 << 20).iter().zip(of(1)) {
        assert!((one.loss - many.loss).abs() < 1e-6, "{} and {}", one.loss, many.loss);
        assert!((one.grad_norm / many.grad_norm - 1.0).abs() < 1e-3);
    }
}

#[test]
fn labels_other_than_one_and_zero_are_named() {
    let error = |label| {
        try_prepare(&kto(None), &[example(0, &[(1, 1.0), (2, label)])]).unwrap_err().to_string()
    };
    let half = error(0.5);
    assert!(half.contains("step 2 of trajectory t0 of world has the label 0.5"), "{half}");
    assert!(error(-1.0).contains("has the label -1"));
    assert!(error(f64::NAN).contains("has the weight NaN"));
}

/// Each step tells its actions as it found them, each epoch tells all as it leaves them.
#[test]
fn trained_actions_are_told() {
    let config = TrainConfig {
        log_examples: true,
        num_train_epochs: 2,
        learning_rate: Some(1e-3),
        ..kto(None)
    };
    let folder = tempfile::tempdir().unwrap();
    let (prepared, mut told) = (prepared(&config, &labelled()), Told::default());
    run_with(&decoder(1), &prepared, &config, folder.path(), false, &mut told).unwrap();
    let reports = |epoch: u64, wanted: Moment| {
        let mut all = Vec::new();
        for event in &told.events {
            if let Event::Examples { epoch: of, moment, examples, .. } = event
                && (*of, *moment) == (epoch, wanted)
            {
                all.extend(examples.clone());
            }
        }
        all.sort_by_key(|e| (e.row.key, e.row.step));
        all
    };
    for epoch in [0, 1] {
        let (found, left) = (reports(epoch, Moment::Step), reports(epoch, Moment::EpochEnd));
        assert_eq!((found.len(), left.len()), (12, 12));
        let weights: Vec<f64> = found.iter().map(|e| e.weight).collect();
        assert_eq!(weights[..6], [1.0, 0.0, 0.0, 1.0, 0.0, 1.0]);
        assert!(found.iter().zip(&left).all(|(a, b)| a.row == b.row && a.tokens == b.tokens));
        assert!(found.iter().zip(&left).any(|(a, b)| a.log_prob != b.log_prob));
    }
    // The first step finds what the start policy said.
    let (start, first) = match &told.events[1..3] {
        [Event::StartPolicy { actions, .. }, Event::Step(_)] => {
            let Event::Examples { examples, .. } = &told.events[3] else { panic!("no examples") };
            (actions, examples)
        }
        other => panic!("{other:?}"),
    };
    for example in first {
        let (_, log_probs) = start.iter().find(|(row, _)| *row == example.row).unwrap();
        close(log_probs.iter().map(|l| f64::from(*l)).sum(), example.log_prob);
    }
}

//! The clipped ratio and advantages of groups against numbers worked out by hand.

use std::sync::Arc;

use swirldb::train::{
    ActionLogProbs, AdvEstimator, Clip, Counts, Event, KlType, LossAggregation, Objective,
    PolicyLoss, SamplingPolicy, ScaleRewards, TrainConfig, evaluate, policy_fingerprint,
};

use super::{Told, config, decoder, example, prepared, run_with, tokenizer, try_prepare};

fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-6, "{found}, expected {expected}");
}

#[test]
fn the_ratio_is_clipped_apart_above_and_below_and_twice_below_zero() {
    let loss = PolicyLoss {
        aggregation: LossAggregation::TokenMean,
        clip: Some(Clip { low: 0.2, high: 0.5, dual: Some(3.0) }),
        kl_coef: 0.0,
        kl_type: KlType::K2,
    };
    let counts = Counts { actions: 1, tokens: 1 };
    for (weight, ratio, value, derivative, clipped) in [
        // Up to 1.5 a rising ratio counts, beyond it does not.
        (2.0f64, 1.4f64, -2.8, -2.8, 0),
        (2.0, 1.6, -3.0, 0.0, 1),
        (2.0, 0.5, -1.0, -1.0, 0),
        // Below 0.8 a falling one does not count with an advantage below zero.
        (-2.0, 0.9, 1.8, 1.8, 0),
        (-2.0, 0.7, 1.6, 0.0, 1),
        // And above 3 a rising one does not.
        (-2.0, 2.9, 5.8, 5.8, 0),
        (-2.0, 3.5, 6.0, 0.0, 1),
    ] {
        let now = [(ratio.ln() - 1.0) as f32];
        let action = ActionLogProbs { weight, now: &now, start: Some(&[-1.0]), divergence: None };
        let found = loss.of_action(action, counts);
        close(found.loss, value);
        close(f64::from(found.derivatives[0]), derivative);
        assert_eq!(found.clipped, clipped, "{weight} {ratio}");
    }
}

#[test]
fn an_exact_divergence_is_added_as_it_is() {
    let loss = PolicyLoss {
        aggregation: LossAggregation::SeqMeanTokenSum,
        clip: None,
        kl_coef: 0.5,
        kl_type: KlType::Full,
    };
    let action = ActionLogProbs {
        weight: 2.0,
        now: &[-1.0, -3.0],
        start: Some(&[-2.0, -2.0]),
        divergence: Some(&[0.25, 0.75]),
    };
    let found = loss.of_action(action, Counts { actions: 4, tokens: 9 });
    close(found.loss, (2.0 * 4.0 + 0.5 * 1.0) / 4.0);
    assert_eq!(found.derivatives, [-0.5, -0.5]);
    assert_eq!(found.by_divergence, [0.125, 0.125]);
    close(found.divergence, 1.0);
}

fn ppo() -> TrainConfig {
    TrainConfig { objective: Objective::Ppo, ..config() }
}

/// Trajectories 0 and 1 answer question 0, 2 and 3 question 1, 4 alone question 2.
#[test]
fn advantages_are_those_of_their_estimator() {
    let rows = [
        example(0, &[(1, 1.0)]),
        example(1, &[(1, 0.0), (2, 0.5)]),
        example(2, &[(1, 3.0)]),
        example(3, &[(1, 1.0)]),
        example(4, &[(1, 9.0)]),
    ];
    let of = |adv_estimator, scale_rewards| {
        let config = TrainConfig { adv_estimator: Some(adv_estimator), scale_rewards, ..ppo() };
        let prepared = prepared(&config, &rows);
        assert_eq!(prepared.plan.no_baseline, 1);
        assert_eq!(prepared.rewards.concat(), [1.0, 0.0, 0.5, 3.0, 1.0]);
        prepared
    };
    let check = |estimator, scale, expected: [f64; 5]| {
        let found = of(estimator, scale).weights.concat();
        found.iter().zip(expected).for_each(|(found, expected)| close(*found, expected));
    };
    let less_mean = [0.5, -0.5, 0.0, 1.0, -1.0];
    // Divided by 0.5 (of 1, 0, 0.5) and by the root of 2 (of 3, 1).
    let root = 2f64.sqrt();
    let by_group = [0.5001, 0.5001, 0.5001, root + 1e-4, root + 1e-4];
    let kept = |values: [f64; 5]| {
        // A row of advantage zero is left out: it moves nothing.
        let config = TrainConfig { scale_rewards: Some(ScaleRewards::None), ..ppo() };
        let prepared = prepared(&config, &rows);
        assert_eq!((prepared.plan.zero_weight, prepared.plan.actions), (1, 4));
        values
    };
    let without_zero = |values: [f64; 5]| [values[0], values[1], values[3], values[4]];
    for (scale, divisors) in [(None, by_group), (Some(ScaleRewards::None), [1.0; 5])] {
        let config = TrainConfig { scale_rewards: scale, ..ppo() };
        let found = prepared(&config, &rows).weights.concat();
        let expected = kept(std::array::from_fn(|at| less_mean[at] / divisors[at]));
        assert_eq!(found.len(), 4);
        for (found, expected) in found.iter().zip(without_zero(expected)) {
            close(*found, expected);
        }
    }
    // Less the mean of the other trajectories: of 0 and 0.5, of 1, of 1, of 1, of 3.
    check(AdvEstimator::Rloo, None, [0.75, -1.0, -0.5, 2.0, -2.0]);
    let all = [1.0, 0.0, 0.5, 3.0, 1.0, 9.0];
    let mean = all.iter().sum::<f64>() / 6.0;
    let deviation = (all.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / 5.0).sqrt() + 1e-4;
    let loo = [0.75, -1.0, -0.5, 2.0, -2.0].map(|a| a / deviation);
    check(AdvEstimator::Rloo, Some(ScaleRewards::Batch), loo);

    // Whitened over tokens.
    let whitened = of(AdvEstimator::ReinforcePlusPlusBaseline, None);
    let tokens =
        whitened.sequences.iter().flat_map(|s| &s.actions).map(|a| (a.end - a.start) as f64);
    let tokens: Vec<f64> = tokens.collect();
    let count: f64 = tokens.iter().sum();
    let mean = tokens.iter().zip(less_mean).map(|(n, a)| n * a).sum::<f64>() / count;
    let squares = tokens.iter().zip(less_mean).map(|(n, a)| n * (a - mean).powi(2)).sum::<f64>();
    let root = (squares / (count - 1.0) + 1e-8).sqrt();
    for (found, advantage) in whitened.weights.concat().iter().zip(less_mean) {
        close(*found, (advantage - mean) / root);
    }
}

#[test]
fn rewards_that_compare_nothing_are_refused() {
    let error = |config: &TrainConfig, weights: [f64; 2]| {
        let rows = [example(0, &[(1, weights[0])]), example(1, &[(1, weights[1])])];
        try_prepare(config, &rows).unwrap_err().to_string()
    };
    let same = error(&ppo(), [0.1, 0.1]);
    assert!(same.contains("of 2 rows 2 have a weight of zero"), "{same}");
    let white =
        TrainConfig { adv_estimator: Some(AdvEstimator::ReinforcePlusPlusBaseline), ..ppo() };
    let same = error(&white, [0.1, 0.1]);
    assert!(same.contains("the mean reward of its question"), "{same}");
    let infinite = error(&ppo(), [f64::INFINITY, 0.0]);
    assert!(infinite.contains("step 1 of trajectory t0 of world has the weight inf"), "{infinite}");
    // The exact divergence stays finite while a log-probability falls without end.
    let full = TrainConfig {
        objective: Objective::Reinforce,
        kl_loss_coef: Some(1.0),
        kl_loss_type: Some(KlType::Full),
        ..config()
    };
    assert!(error(&full, [1.0, -1.0]).contains("no lower bound"));
}

/// Stored log-probabilities are used if they are of the start policy and nothing else.
#[test]
fn stored_log_probabilities_are_used_if_they_are_of_the_start_policy() {
    let config = TrainConfig { max_steps: Some(1), learning_rate: Some(1e-9), ..ppo() };
    let (model, tokenizer) = (decoder(1), tokenizer());
    let rows = [example(0, &[(3, 1.0)]), example(1, &[(3, 0.0)])];
    let plain = prepared(&config, &rows);
    let own = policy_fingerprint("tiny", &tokenizer, &plain.renderer, None);
    let computed = evaluate(&model, &plain.sequences, 1 << 20).unwrap().actions;
    let told_of = |fingerprint: &str, temperature: f64, cut: usize| {
        let mut rows = rows.clone();
        let span = &plain.sequences[0].actions[0];
        let mut of = (*rows[0].trajectory).clone();
        of.steps[2].token_ids = Some(plain.sequences[0].tokens[span.start..span.end].to_vec());
        let mut stored = vec![-0.5; span.end - span.start];
        stored.truncate(stored.len() - cut);
        of.steps[2].logprobs = Some(stored);
        rows[0].trajectory = Arc::new(of);
        let fingerprint = fingerprint.to_owned();
        rows[0].steps[0].policy = Some(SamplingPolicy { fingerprint, temperature });
        let folder = tempfile::tempdir().unwrap();
        let (prepared, mut told) = (prepared(&config, &rows), Told::default());
        run_with(&decoder(1), &prepared, &config, folder.path(), false, &mut told).unwrap();
        let start = told.events.iter().find_map(|event| match event {
            Event::StartPolicy { actions, stored, foreign } => {
                Some((actions.clone(), *stored, *foreign))
            }
            _ => None,
        });
        start.unwrap()
    };
    let (actions, stored, foreign) = told_of(&own, 1.0, 0);
    assert_eq!((stored, foreign), (1, 0));
    assert!(actions[0].1.iter().all(|l| *l == -0.5));
    assert_eq!(actions[1].1, computed[1].log_probs);
    for (fingerprint, temperature) in [(own.as_str(), 0.7), ("another", 1.0)] {
        let (actions, stored, foreign) = told_of(fingerprint, temperature, 0);
        assert_eq!((stored, foreign), (0, 1));
        assert_eq!(actions[0].1, computed[0].log_probs);
    }
    // One too few for the tokens.
    assert_eq!(told_of(&own, 1.0, 1).1, 0);
}

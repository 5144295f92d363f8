//! The gradient of every objective through the whole decoder, against differences of its loss.
//!
//! After a step the policy is no longer the start policy. The gradient of the second step is then
//! read from the optimiser's means, and the loss that it is a gradient of is made of scores and
//! formulas alone, at weights moved to and fro along the gradient of one variable at a time.

use candle_core::{Device, Tensor, Var};
use swirldb::lm::{Decoder, Packed, Training, load};
use swirldb::train::{
    ActionLogProbs, AdvEstimator, Counts, Criterion, Example, KlType, LossAggregation, LossType,
    Objective, Prepared, TrainConfig, evaluate,
};

use super::pairs::{dpo, pairs};
use super::{Told, config, decoder, example, prepared, run_with, values};

/// Log-probabilities of all actions, and their exact divergences from a start model.
type Scores = Vec<(Vec<f32>, Option<Vec<f32>>)>;

fn scores(model: &Decoder, start: Option<&Decoder>, prepared: &Prepared) -> Scores {
    let actions = evaluate(model, &prepared.sequences, 1 << 20).unwrap().actions;
    let mut scores: Scores = actions.into_iter().map(|a| (a.log_probs, None)).collect();
    let Some(start) = start else { return scores };
    let mut at = 0;
    for sequence in &prepared.sequences {
        let packed = Packed {
            tokens: sequence.tokens.clone(),
            lengths: vec![sequence.tokens.len()],
            ..Packed::default()
        };
        let (hidden, other) = (model.hidden(&packed).unwrap(), start.hidden(&packed).unwrap());
        for action in &sequence.actions {
            let rows: Vec<u32> = (action.start..action.end).map(|r| r as u32 - 1).collect();
            let targets = &sequence.tokens[action.start..action.end];
            let both = model.log_probs_and_divergence(&hidden, &rows, targets, start, &other);
            scores[at].1 = Some(both.unwrap().1.to_vec1().unwrap());
            at += 1;
        }
    }
    scores
}

/// Returns the loss of a step that holds all sequences.
fn loss_of(config: &TrainConfig, prepared: &Prepared, now: &Scores, start: &Scores) -> f64 {
    let weights = prepared.weights.concat();
    let actions: Vec<ActionLogProbs<'_>> = now
        .iter()
        .zip(start)
        .zip(weights)
        .map(|((now, start), weight)| ActionLogProbs {
            weight,
            now: &now.0,
            start: config.needs_start_policy().then_some(start.0.as_slice()),
            divergence: now.1.as_deref(),
        })
        .collect();
    let tokens = actions.iter().map(|a| a.now.len()).sum();
    let counts = Counts { actions: actions.len(), tokens };
    let losses = Criterion::new(config).of_actions(&actions, counts, None);
    losses.iter().map(|action| action.loss).sum()
}

/// Returns the mean over every token that another one stands before.
fn loss_of_all(model: &Decoder, prepared: &Prepared) -> f64 {
    let (mut sum, mut count) = (0.0, 0);
    for sequence in &prepared.sequences {
        let tokens = sequence.tokens.clone();
        let (rows, targets) = ((0..tokens.len() as u32 - 1).collect::<Vec<_>>(), &tokens[1..]);
        let lengths = vec![tokens.len()];
        let packed = Packed { tokens: tokens.clone(), lengths, ..Packed::default() };
        let hidden = model.hidden(&packed).unwrap();
        let found: Vec<f32> = model.log_probs(&hidden, &rows, targets).unwrap().to_vec1().unwrap();
        sum += found.iter().map(|l| f64::from(*l)).sum::<f64>();
        count += found.len();
    }
    -sum / count as f64
}

/// `rate` is how far the first step goes.
fn check(config: &TrainConfig, rate: f64, rows: &[Example]) {
    let config = TrainConfig {
        max_steps: Some(2),
        save_steps: Some(1),
        save_total_limit: 2,
        learning_rate: Some(rate),
        warmup_steps: Some(0),
        max_grad_norm: 0.0,
        adam_beta1: 0.9,
        tokens_per_step: 1 << 20,
        tokens_per_batch: 1 << 20,
        ..config.clone()
    };
    let folder = tempfile::tempdir().unwrap();
    let (prepared, mut told) = (prepared(&config, rows), Told::default());
    run_with(&decoder(1), &prepared, &config, folder.path(), false, &mut told).unwrap();
    let state = |step: u64| {
        let path = folder.path().join(format!("checkpoint-{step}"));
        let means =
            candle_core::safetensors::load(path.join("optimizer.safetensors"), &Device::Cpu);
        (path, means.unwrap())
    };
    let ((path, before), (_, after)) = (state(1), state(2));
    let model = load(&path, &Training::Full, 1, &Device::Cpu).unwrap().decoder;
    let begin = decoder(1);
    let start_model = config.needs_start_model().then_some(&begin);
    let start = scores(&begin, start_model, &prepared);
    let loss = || match config.learns_context() {
        true => loss_of_all(&model, &prepared),
        false => loss_of(&config, &prepared, &scores(&model, start_model, &prepared), &start),
    };
    let objective = config.objective.name();
    let (found, told) = (loss(), told.steps[1].loss);
    assert!((found - told).abs() < 1e-5 * told.abs().max(1.0), "{objective}: {found}, {told}");
    let old = values(&model);
    for ((name, variable), old) in model.parameters().into_iter().zip(old) {
        let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let mean = format!("mean.{name}");
        let gradient: Vec<f64> = flat(&after[&mean])
            .iter()
            .zip(flat(&before[&mean]))
            .map(|(after, before)| 10.0 * (f64::from(*after) - 0.9 * f64::from(before)))
            .collect();
        let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
        assert!(norm > 1e-6, "{objective}: {name} has no gradient");
        let at = |distance: f64| {
            let moved = old.iter().zip(&gradient);
            let moved: Vec<f32> =
                moved.map(|(v, g)| (f64::from(*v) + distance * g / norm) as f32).collect();
            set(&variable, moved);
            loss()
        };
        // Small enough for the curve, large enough for f32.
        let distance = 4e-3;
        let slope = (at(distance) - at(-distance)) / (2.0 * distance);
        set(&variable, old.clone());
        let off = (slope - norm).abs();
        assert!(off < 0.02 * norm + 2e-4, "{objective}, {name}: {slope}, the gradient is {norm}");
    }
}

fn set(variable: &Var, values: Vec<f32>) {
    let shape = variable.shape().clone();
    variable.set(&Tensor::from_vec(values, shape, &Device::Cpu).unwrap()).unwrap();
}

fn rewarded() -> Vec<Example> {
    vec![
        example(0, &[(1, 1.0), (2, 0.0), (3, 0.5)]),
        example(1, &[(1, -0.5), (3, 0.25)]),
        example(2, &[(2, 1.0)]),
    ]
}

fn reinforce() -> TrainConfig {
    let objective = Objective::Reinforce;
    TrainConfig { objective, kl_loss_coef: Some(0.5), ..config() }
}

#[test]
fn likelihood_and_policy_gradient() {
    let good = [example(0, &[(1, 1.0), (3, 1.0)]), example(1, &[(2, 1.0)])];
    check(&config(), 2e-3, &good);
    check(&TrainConfig { assistant_only_loss: Some(false), ..config() }, 2e-3, &good);
    check(&reinforce(), 2e-3, &rewarded());
    let k3 = TrainConfig {
        kl_loss_type: Some(KlType::K3),
        loss_agg_mode: Some(LossAggregation::SeqMeanTokenMean),
        ..reinforce()
    };
    check(&k3, 2e-3, &rewarded());
}

#[test]
fn exact_divergence() {
    let full = TrainConfig {
        kl_loss_type: Some(KlType::Full),
        kl_loss_coef: Some(20.0),
        loss_agg_mode: Some(LossAggregation::TokenMean),
        epsilon: Some(0.9),
        ..reinforce()
    };
    check(&full, 2e-2, &rewarded());
}

#[test]
fn clipped_ratio() {
    let ppo = TrainConfig {
        objective: Objective::Ppo,
        adv_estimator: Some(AdvEstimator::Rloo),
        epsilon: Some(0.9),
        epsilon_high: Some(5.0),
        clip_ratio_c: Some(9.0),
        ..config()
    };
    check(&ppo, 2e-3, &rewarded());
}

#[test]
fn preferences() {
    for (loss_type, label_smoothing) in
        [(LossType::Sigmoid, None), (LossType::Robust, Some(0.2)), (LossType::Ipo, None)]
    {
        check(
            &TrainConfig { loss_type: Some(loss_type), label_smoothing, ..dpo() },
            2e-3,
            &pairs(3),
        );
    }
}

#[test]
fn labels() {
    let rows = [example(0, &[(1, 1.0), (2, 0.0)]), example(1, &[(3, 1.0)])];
    check(&TrainConfig { objective: Objective::Kto, ..config() }, 2e-3, &rows);
}

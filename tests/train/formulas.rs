//! Losses, optimiser and schedule against numbers worked out by hand.

use candle_core::{Device, Tensor, Var};
use swirldb::train::{
    ActionLogProbs, AdamConfig, AdamW, Clip, Counts, Gradients, KlType, LossAggregation,
    PolicyLoss, Schedule, Scheduler, TrainConfig,
};

fn loss(aggregation: LossAggregation) -> PolicyLoss {
    PolicyLoss { aggregation, clip: None, kl_coef: 0.0, kl_type: KlType::K2 }
}

fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-6, "{found}, expected {expected}");
}

#[test]
fn the_policy_gradient_is_its_formula() {
    // Two actions of two and one tokens with rewards 0.5 and -2.
    let (a, b) = ([-1.0f32, -3.0], [-0.5f32]);
    let counts = Counts { actions: 2, tokens: 3 };
    let of = |aggregation, weight, now| {
        loss(aggregation)
            .of_action(ActionLogProbs { weight, now, start: None, divergence: None }, counts)
    };
    for (aggregation, by_hand, scale) in [
        (LossAggregation::TokenMean, (0.5 * 4.0 - 2.0 * 0.5) / 3.0, 1.0 / 3.0),
        (LossAggregation::SeqMeanTokenSum, (0.5 * 4.0 - 2.0 * 0.5) / 2.0, 0.5),
        (LossAggregation::SeqMeanTokenMean, (0.5 * 2.0 - 2.0 * 0.5) / 2.0, 0.25),
    ] {
        let (first, second) = (of(aggregation, 0.5, &a[..]), of(aggregation, -2.0, &b[..]));
        close(first.loss + second.loss, by_hand);
        for derivative in &first.derivatives {
            close(f64::from(*derivative), -0.5 * scale);
        }
    }
}

#[test]
fn clipping_and_divergence_are_their_formulas() {
    let counts = Counts { actions: 1, tokens: 1 };
    let mut objective = loss(LossAggregation::TokenMean);
    let of = |objective: PolicyLoss, weight: f64, log_ratio: f32| {
        let (now, start) = ([log_ratio - 2.0], [-2.0]);
        let action = ActionLogProbs { weight, now: &now, start: Some(&start), divergence: None };
        let action = objective.of_action(action, counts);
        (action.loss, f64::from(action.derivatives[0]), action.clipped)
    };
    objective.clip = Some(Clip { low: 0.2, high: 0.2, dual: None });
    let ratio = f64::from(0.1f32).exp();
    for (weight, log_ratio, value, derivative, clipped) in [
        (1.0, 0.1, -ratio, -ratio, 0),
        (1.0, 0.5, -1.2, 0.0, 1),
        (1.0, -0.5, -(-0.5f64).exp(), -(-0.5f64).exp(), 0),
        (-1.0, -0.5, 0.8, 0.0, 1),
        (-1.0, 0.5, 0.5f64.exp(), 0.5f64.exp(), 0),
    ] {
        let found = of(objective, weight, log_ratio);
        close(found.0, value);
        close(found.1, derivative);
        assert_eq!(found.2, clipped, "{weight} {log_ratio}");
    }
    objective.clip = None;
    objective.kl_coef = 0.1;
    // d = 0.5: k2 = 0.125 with slope 0.5; k3 = exp(-0.5) - 0.5 with slope 1 - exp(-0.5).
    let found = of(objective, 2.0, 0.5);
    close(found.0, 2.0 * 1.5 + 0.1 * 0.125);
    close(found.1, -2.0 + 0.1 * 0.5);
    objective.kl_type = KlType::K3;
    let found = of(objective, 2.0, 0.5);
    close(found.0, 2.0 * 1.5 + 0.1 * ((-0.5f64).exp() - 0.5));
    close(found.1, -2.0 + 0.1 * (1.0 - (-0.5f64).exp()));
}

#[test]
fn derivatives_agree_with_differences() {
    let counts = Counts { actions: 3, tokens: 7 };
    let start = [-1.0f32, -2.0, -0.25];
    for kl_type in [KlType::K2, KlType::K3] {
        for clip in [None, Some(Clip { low: 0.3, high: 0.4, dual: Some(1.5) })] {
            for aggregation in [LossAggregation::TokenMean, LossAggregation::SeqMeanTokenMean] {
                let objective = PolicyLoss { aggregation, clip, kl_coef: 0.7, kl_type };
                let of = |now: &[f32]| {
                    let start = Some(&start[..]);
                    let action = ActionLogProbs { weight: -1.5, now, start, divergence: None };
                    objective.of_action(action, counts)
                };
                let now = [-1.125f32, -1.875, -0.5];
                for (index, derivative) in of(&now).derivatives.iter().enumerate() {
                    let (mut up, mut down) = (now, now);
                    up[index] += 0.0009765625;
                    down[index] -= 0.0009765625;
                    let slope = (of(&up).loss - of(&down).loss) / 0.001953125;
                    assert!((slope - f64::from(*derivative)).abs() < 1e-5);
                }
            }
        }
    }
}

type MakeOptimizer = fn(AdamConfig, Vec<(String, Var)>) -> candle_core::Result<AdamW>;

/// Two steps on a matrix and a bias of the same numbers, both ways to compute them.
#[test]
fn adamw_takes_the_steps_worked_out_by_hand() {
    let start = [1.0f32, -2.0, 0.5, 0.0];
    let config = AdamConfig { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weight_decay: 0.1 };
    let gradients = [[0.1f32, -0.2, 3.0, 0.0], [0.3, 0.2, -1.0, 1e-3]];
    let mut expected = [start.map(f64::from), start.map(f64::from)];
    let (mut mean, mut square) = ([0.0f64; 4], [0.0f64; 4]);
    for (power, gradient) in (1..).zip(&gradients) {
        for i in 0..4 {
            let g = f64::from(gradient[i]) * 0.5;
            mean[i] = 0.9 * mean[i] + 0.1 * g;
            square[i] = 0.99 * square[i] + 0.01 * g * g;
            let m = mean[i] / (1.0 - 0.9f64.powi(power));
            let v = square[i] / (1.0 - 0.99f64.powi(power));
            for (which, decay) in [(0, 0.1), (1, 0.0)] {
                let p = &mut expected[which][i];
                *p = *p * (1.0 - 0.01 * decay) - 0.01 * m / (v.sqrt() + 1e-8);
            }
        }
    }
    for make in [AdamW::new as MakeOptimizer, AdamW::unfused as MakeOptimizer] {
        let matrix = Var::from_tensor(&Tensor::new(&[start], &Device::Cpu).unwrap()).unwrap();
        let bias = Var::from_tensor(&Tensor::new(&start, &Device::Cpu).unwrap()).unwrap();
        let parameters = vec![("m".to_owned(), matrix.clone()), ("n".to_owned(), bias.clone())];
        let mut optimizer = make(config, parameters).unwrap();
        for gradient in &gradients {
            let both = [
                Tensor::new(&[*gradient], &Device::Cpu).unwrap(),
                Tensor::new(gradient, &Device::Cpu).unwrap(),
            ];
            optimizer.step(&both, 0.5, 0.01).unwrap();
        }
        let found: [Vec<f32>; 2] = [
            matrix.as_tensor().flatten_all().unwrap().to_vec1().unwrap(),
            bias.as_tensor().to_vec1().unwrap(),
        ];
        for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
            assert!((f64::from(*found) - expected).abs() < 1e-6, "{found}, expected {expected}");
        }
        let wrong = [Tensor::new(&[1f32], &Device::Cpu).unwrap()];
        assert!(optimizer.step(&wrong, 1.0, 0.1).unwrap_err().to_string().contains("shape"));
    }
}

#[test]
fn the_learning_rate_warms_up_and_falls() {
    let rates = |scheduler, warmup| {
        let config = TrainConfig {
            learning_rate: Some(1.0),
            warmup_steps: Some(warmup),
            lr_scheduler_type: scheduler,
            ..TrainConfig::default()
        };
        let schedule = Schedule::new(&config, 10);
        (1..=10).map(|step| schedule.rate(step)).collect::<Vec<f64>>()
    };
    let cosine = rates(Scheduler::Cosine, 2);
    let half = |p: f64| 0.5 * (1.0 + (std::f64::consts::PI * p).cos());
    for (step, expected) in [(1, 0.5), (2, 1.0), (3, 1.0), (4, half(0.125)), (7, 0.5)] {
        close(cosine[step - 1], expected);
    }
    close(cosine[9], half(0.875));
    assert_eq!(rates(Scheduler::Linear, 0)[..3], [1.0, 0.9, 0.8]);
    assert_eq!(rates(Scheduler::Constant, 4)[2..5], [0.75, 1.0, 1.0]);
    let ratio = TrainConfig {
        learning_rate: Some(1.0),
        warmup_ratio: Some(0.25),
        ..TrainConfig::default()
    };
    // A quarter of ten steps is three.
    close(Schedule::new(&ratio, 10).rate(1), 1.0 / 3.0);
}

#[test]
fn gradients_are_summed_and_their_norm_is_taken() {
    let variable = Var::zeros(3, candle_core::DType::F32, &Device::Cpu).unwrap();
    let other = Var::zeros(1, candle_core::DType::F32, &Device::Cpu).unwrap();
    let mut gradients = Gradients::new(2);
    let once = Tensor::new(&[1f32, 2.0, -2.0], &Device::Cpu).unwrap();
    for _ in 0..3 {
        gradients.add(0, &once).unwrap();
    }
    assert_eq!(gradients.missing(), [1]);
    let (sums, norms) = gradients.finish(&[&variable, &other], None).unwrap();
    assert_eq!(sums[0].to_vec1::<f32>().unwrap(), [3.0, 6.0, -6.0]);
    assert_eq!(norms, [9.0, 0.0]);
    // The first gradient is not ours and stays as it was.
    assert_eq!(once.to_vec1::<f32>().unwrap(), [1.0, 2.0, -2.0]);
}

//! The exact divergence of two decoders, against candle's own operations and against the formula.

use candle_core::{Device, Tensor, Var};
use swirldb::lm::ops::{self, GradientSink, Reference, divergence::by_operations};
use swirldb::lm::{Decoder, LoraConfig, Packed, Training, load};

use super::{difference, numbers};

fn tensor(seed: u64, shape: &[usize]) -> Tensor {
    Tensor::from_vec(numbers(seed, shape.iter().product()), shape, &Device::Cpu).unwrap()
}

/// Values and gradients, with more tokens than one chunk of the vocabulary, with and without a cap.
#[test]
fn both_ways_agree() {
    for (rows, vocabulary, cap) in [(3, 40_000, None), (7, 50, Some(1.5)), (1, 2, None)] {
        let hidden = Var::from_tensor(&tensor(1, &[rows, 6])).unwrap();
        let weight = Var::from_tensor(&tensor(2, &[vocabulary, 6])).unwrap();
        let reference =
            Reference { hidden: tensor(3, &[rows, 4]), weight: tensor(4, &[vocabulary, 4]) };
        let targets: Vec<u32> = (0..rows).map(|row| (row * 7_919 % vocabulary) as u32).collect();
        let sink = GradientSink::default();
        let ours =
            ops::log_probs_and_divergence(&hidden, &weight, &targets, &reference, cap, &sink);
        let (a, b) =
            (ours.unwrap(), by_operations(&hidden, &weight, &targets, &reference, cap).unwrap());
        assert!(difference(&a, &b) < 5e-5, "values differ by {}", difference(&a, &b));
        let weighting = tensor(5, &[2, rows]);
        let backward =
            |x: &Tensor| (x * &weighting).unwrap().sum_all().unwrap().backward().unwrap();
        let (a, b) = (backward(&a), backward(&b));
        for variable in [&hidden, &weight] {
            let off = difference(a.get(variable).unwrap(), b.get(variable).unwrap());
            assert!(off < 1e-4, "gradients differ by {off}");
        }
    }
}

#[test]
fn a_model_is_no_distance_from_itself_and_some_from_another() {
    let config = super::tiny();
    let model = |seed| Decoder::random(&config, seed, &Device::Cpu).unwrap();
    let (one, other) = (model(1), model(2));
    let packed =
        Packed { tokens: vec![1, 5, 2, 7, 3, 4], lengths: vec![4, 2], ..Packed::default() };
    let (rows, targets) = ([0, 2, 4], [5, 7, 4]);
    let of = |reference: &Decoder| {
        let (hidden, theirs) = (one.hidden(&packed).unwrap(), reference.hidden(&packed).unwrap());
        let both = one.log_probs_and_divergence(&hidden, &rows, &targets, reference, &theirs);
        let (log_probs, divergence) = both.unwrap();
        let plain = one.log_probs(&hidden, &rows, &targets).unwrap();
        assert!(difference(&log_probs, &plain) < 1e-6);
        divergence.to_vec1::<f32>().unwrap()
    };
    assert!(of(&one).iter().all(|d| d.abs() < 1e-6));
    let softmax = |model: &Decoder| {
        let logits = model.logits(&model.hidden(&packed).unwrap()).unwrap();
        let logits: Vec<Vec<f32>> = logits.to_vec2().unwrap();
        rows.map(|row| {
            let row: Vec<f64> = logits[row as usize].iter().map(|l| f64::from(*l)).collect();
            let sum: f64 = row.iter().map(|l| l.exp()).sum();
            row.iter().map(|l| l - sum.ln()).collect::<Vec<f64>>()
        })
    };
    for ((p, q), found) in softmax(&one).iter().zip(softmax(&other)).zip(of(&other)) {
        let expected: f64 = p.iter().zip(q).map(|(p, q)| p.exp() * (p - q)).sum();
        assert!(expected > 1e-4 && (f64::from(found) - expected).abs() < 1e-6);
    }
}

#[test]
fn vocabularies_that_differ_are_refused() {
    let (hidden, weight) = (tensor(1, &[2, 6]), tensor(2, &[9, 6]));
    let reference = Reference { hidden: tensor(3, &[2, 6]), weight: tensor(4, &[8, 6]) };
    let sink = GradientSink::default();
    let of = |targets: &[u32]| {
        ops::log_probs_and_divergence(&hidden, &weight, targets, &reference, None, &sink)
            .unwrap_err()
            .to_string()
    };
    assert!(of(&[1, 2]).contains("a vocabulary of 9"));
    assert!(of(&[1]).contains("1 targets"));
}

/// Scoring keeps nothing for a backward pass, adapters or not.
#[test]
fn a_model_without_gradients_leaves_no_graph() {
    let folder = tempfile::tempdir().unwrap();
    Decoder::random(&super::tiny(), 1, &Device::Cpu).unwrap().save(folder.path(), None).unwrap();
    let lora = LoraConfig { r: 2, lora_alpha: 4.0, target_modules: vec!["all-linear".into()] };
    let model = load(folder.path(), &Training::Lora(lora), 7, &Device::Cpu).unwrap().decoder;
    let packed = Packed { tokens: vec![1, 5, 2], lengths: vec![3], ..Packed::default() };
    assert!(model.hidden(&packed).unwrap().track_op());
    for silent in [model.detached(), model.snapshot().unwrap()] {
        assert!(!silent.hidden(&packed).unwrap().track_op());
    }
}

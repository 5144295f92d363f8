//! Runs of training by the kernels.

use std::ops::ControlFlow;
use std::time::Duration;

use candle_core::{DType, Device, Tensor, Var};
use swirldb::lm::{Decoder, DecoderConfig};
use swirldb::train::{
    AdamConfig, AdamW, Event, Gradients, Run, TrainConfig, TrainError, prepare, train,
};

use super::engine::operations;
use crate::lm::{difference, numbers};

const ADAM: AdamConfig = AdamConfig { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.1 };

fn variables() -> Vec<(String, Var)> {
    let variable = |name: &str, seed, shape: &[usize]| {
        let values = numbers(seed, shape.iter().product());
        (name.to_owned(), Var::from_vec(values, shape, &Device::Cpu).unwrap())
    };
    vec![variable("a", 1, &[9, 5]), variable("b", 2, &[16])]
}

fn gradients(variables: &[(String, Var)], seed: u64) -> Gradients {
    let mut gradients = Gradients::new(variables.len());
    for (index, (_, variable)) in variables.iter().enumerate() {
        for part in 0..2 {
            let values = numbers(seed + part, variable.elem_count());
            let gradient = Tensor::from_vec(values, variable.shape(), &Device::Cpu).unwrap();
            gradients.add(index, &gradient).unwrap();
        }
    }
    gradients
}

#[test]
fn the_optimiser_by_kernels_is_that_of_the_cpu() {
    let operations = operations(DType::F32, 1);
    let (ours, theirs) = (variables(), variables());
    let mut by_kernels = AdamW::by_kernels(ADAM, ours.clone(), Some(&operations)).unwrap();
    let mut on_cpu = AdamW::new(ADAM, theirs.clone()).unwrap();
    for seed in [3, 4, 5] {
        let all: Vec<&Var> = ours.iter().map(|(_, variable)| variable).collect();
        let gradients = || gradients(&ours, seed);
        let (tensors, norms) = gradients().finish(&all, Some(&operations)).unwrap();
        let (again, expected) = gradients().finish(&all, None).unwrap();
        for (norm, expected) in norms.iter().zip(&expected) {
            assert!((norm - expected).abs() < 1e-12 * expected, "{norm} and {expected}");
        }
        by_kernels.step(&tensors, 0.7, 1e-2).unwrap();
        on_cpu.step(&again, 0.7, 1e-2).unwrap();
    }
    for ((name, ours), (_, theirs)) in ours.iter().zip(&theirs) {
        assert!(difference(ours, theirs) < 1e-6, "{name}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("optimizer.safetensors");
    by_kernels.save(&file).unwrap();
    let mut again = AdamW::by_kernels(ADAM, ours.clone(), Some(&operations)).unwrap();
    again.load(&file, 3).unwrap();
    let grads: Vec<Tensor> =
        ours.iter().map(|(_, variable)| variable.as_detached_tensor().copy().unwrap()).collect();
    let before: Vec<Tensor> =
        ours.iter().map(|(_, v)| v.as_detached_tensor().copy().unwrap()).collect();
    by_kernels.step(&grads, 1.0, 1e-2).unwrap();
    let after: Vec<Tensor> =
        ours.iter().map(|(_, v)| v.as_detached_tensor().copy().unwrap()).collect();
    ours.iter().zip(&before).for_each(|((_, v), before)| v.set(before).unwrap());
    again.step(&grads, 1.0, 1e-2).unwrap();
    for ((name, variable), after) in ours.iter().zip(&after) {
        assert_eq!(difference(variable, after), 0.0, "{name}");
    }
}

/// Trains a decoder and returns the losses of the steps, and its values at the end.
fn run(decoder: &Decoder, config: &TrainConfig) -> Result<(Vec<f64>, Vec<Tensor>), TrainError> {
    let tokenizer = crate::train::tokenizer();
    let examples = crate::train::examples(6);
    let prepared = prepare(decoder, &tokenizer, None, config, &examples, &[])?;
    let (folder, clock) = (tempfile::tempdir().unwrap(), || Duration::ZERO);
    let run = Run {
        decoder,
        tokenizer: &tokenizer,
        chat_template: None,
        model_identity: "tiny",
        prepared: &prepared,
        config,
        directory: folder.path(),
        resume: false,
        clock: &clock,
    };
    let mut losses = Vec::new();
    train(&run, &mut |event: &Event| {
        if let Event::Step(report) = event {
            losses.push(report.loss);
        }
        ControlFlow::Continue(())
    })?;
    let value = |(_, v): &(String, Var)| v.as_detached_tensor().copy().unwrap();
    Ok((losses, decoder.parameters().iter().map(value).collect()))
}

fn decoder() -> Decoder {
    let config: DecoderConfig = crate::train::decoder_config();
    Decoder::random(&config, 1, &Device::Cpu).unwrap()
}

#[test]
fn a_run_by_kernels_learns_as_on_the_cpu() {
    let config = crate::train::config();
    let (expected, weights) = run(&decoder(), &config).unwrap();
    let by_kernels = || decoder().with_operations(operations(DType::F32, 1));
    let (losses, ours) = run(&by_kernels(), &config).unwrap();
    assert!(losses.len() > 2 && losses.last() < losses.first(), "{losses:?}");
    for (loss, expected) in losses.iter().zip(&expected) {
        assert!((loss - expected).abs() < 1e-3, "{losses:?} and {expected:?}");
    }
    for (ours, theirs) in ours.iter().zip(&weights) {
        assert!(difference(ours, theirs) < 5e-3);
    }
    let config = TrainConfig { bf16: true, gradient_checkpointing: true, ..config };
    let (losses, ours) = run(&by_kernels(), &config).unwrap();
    for (loss, expected) in losses.iter().zip(&expected) {
        assert!((loss - expected).abs() < 0.1, "{losses:?} and {expected:?}");
    }
    assert!(ours.iter().all(|x| x.dtype() == DType::F32));
}

#[test]
fn checkpointing_changes_no_bit_of_a_run() {
    let config = crate::train::config();
    let (losses, weights) = run(&decoder(), &config).unwrap();
    let thrifty = TrainConfig { gradient_checkpointing: true, ..config.clone() };
    let (again, values) = run(&decoder(), &thrifty).unwrap();
    assert_eq!(losses, again);
    for (a, b) in weights.iter().zip(&values) {
        assert_eq!(difference(a, b), 0.0);
    }
    let error = run(&decoder(), &TrainConfig { bf16: true, ..config }).unwrap_err();
    assert!(error.to_string().contains("bf16"), "{error}");
}

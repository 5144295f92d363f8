//! The best state of a run, and giving up.

use std::path::Path;

use swirldb::lm::Decoder;
use swirldb::train::{Event, Example, Outcome, Prepared, TrainConfig, prepare};

use super::{
    Told, config, decoder, decoder_config, example, examples, run_with, tokenizer, trajectory,
    values,
};

/// Rows whose answers contradict what is trained on: their loss falls, then rises.
fn held_out() -> Vec<(String, Vec<Example>)> {
    let mut other = example(0, &[(3, 1.0)]);
    let mut of = trajectory(0);
    of.steps[2].action.content = Some("Oslo? Oslo? Oslo?".into());
    other.trajectory = std::sync::Arc::new(of);
    vec![("other".to_owned(), vec![other])]
}

fn watching() -> TrainConfig {
    TrainConfig {
        max_steps: Some(40),
        eval_steps: Some(2),
        early_stopping_patience: Some(3),
        load_best_model_at_end: true,
        save_total_limit: 1,
        learning_rate: Some(3e-2),
        ..config()
    }
}

fn prepared(config: &TrainConfig) -> Prepared {
    prepare(&decoder(1), &tokenizer(), None, config, &examples(2), &held_out()).unwrap()
}

fn go(config: &TrainConfig, folder: &Path, resume: bool, told: &mut Told) -> (Outcome, Decoder) {
    let model = decoder(1);
    let outcome = run_with(&model, &prepared(config), config, folder, resume, told).unwrap();
    (outcome, model)
}

fn losses(told: &Told) -> Vec<(u64, f64)> {
    let of = |event: &Event| match event {
        Event::Evaluated { step, loss, .. } => Some((*step, *loss)),
        _ => None,
    };
    told.events.iter().filter_map(of).collect()
}

#[test]
fn a_run_gives_up_and_returns_its_best() {
    let folder = tempfile::tempdir().unwrap();
    let mut told = Told::default();
    let (outcome, model) = go(&watching(), folder.path(), false, &mut told);
    let losses = losses(&told);
    // The one before the first step does not count.
    let best = losses[1..].iter().copied().reduce(|a, b| if b.1 < a.1 { b } else { a }).unwrap();
    assert_eq!(outcome.best.as_ref().map(|b| (b.step, b.value)), Some(best));
    assert!(outcome.complete && outcome.stopped_early && outcome.steps < 40);
    assert_eq!(outcome.steps, best.0 + 6);
    // The best and the last are kept, whatever save_total_limit says.
    let kept = |step: u64| folder.path().join(format!("checkpoint-{step}")).is_dir();
    assert!(kept(best.0) && kept(outcome.steps));
    assert!(outcome.checkpoint.ends_with(format!("checkpoint-{}", outcome.steps)));
    let count = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(count, 2);
    // The decoder has the best weights: evaluating it gives the best loss again.
    let sequences = &prepared(&watching()).held_out[0].sequences;
    let again = swirldb::train::evaluate(&model, sequences, 4096).unwrap();
    assert_eq!(again.loss(), best.1);
}

#[test]
fn a_resumed_run_gives_up_at_the_same_step() {
    let (at_once, in_two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (whole, expected) = go(&watching(), at_once.path(), false, &mut Told::default());
    let best = whole.best.as_ref().unwrap().step;
    // Stopped between the best state and the end, patience half used.
    let mut first = Told { stop_after: Some(best + 3), ..Told::default() };
    let (stopped, _) = go(&watching(), in_two.path(), false, &mut first);
    assert!(!stopped.complete && stopped.best.unwrap().step == best);
    let (resumed, model) = go(&watching(), in_two.path(), true, &mut Told::default());
    assert_eq!(resumed.steps, whole.steps);
    assert_eq!(values(&model), values(&expected));
    // And again from its end: nothing is left to do.
    let mut told = Told::default();
    let (again, model) = go(&watching(), in_two.path(), true, &mut told);
    assert!(told.steps.is_empty() && again.complete);
    assert_eq!(values(&model), values(&expected));
    // When to evaluate is part of such a run.
    let other = TrainConfig { eval_steps: Some(4), ..watching() };
    let prepared = prepared(&other);
    let told = &mut Told::default();
    let error = run_with(&decoder(1), &prepared, &other, in_two.path(), true, told).unwrap_err();
    assert!(error.to_string().contains("option eval_steps differs"), "{error}");
}

#[test]
fn what_is_best_is_asked_for_by_name() {
    let error = |config: &TrainConfig, held_out: &[(String, Vec<Example>)]| {
        let tokenizer = tokenizer();
        let found = prepare(&decoder(1), &tokenizer, None, config, &examples(2), held_out);
        found.unwrap_err().to_string()
    };
    let named =
        |name: &str| TrainConfig { metric_for_best_model: Some(name.to_owned()), ..watching() };
    assert!(error(&watching(), &[]).contains("there is no held-out set"));
    let unknown = error(&named("f1"), &held_out());
    let expected = "'f1', expected one of 'eval_other_loss', 'eval_other_log_prob'";
    assert!(unknown.contains(expected), "{unknown}");
    let two = [held_out(), vec![("more".to_owned(), examples(1))]].concat();
    assert!(error(&named("loss"), &two).contains("'eval_more_loss'"));
    // More of a log-probability is better.
    let config = TrainConfig { max_steps: Some(4), ..named("log_prob") };
    let folder = tempfile::tempdir().unwrap();
    let mut told = Told::default();
    let best = go(&config, folder.path(), false, &mut told).0.best.unwrap();
    let log_prob = |event: &Event| match event {
        Event::Evaluated { step, log_prob, .. } if *step > 0 => Some(*log_prob),
        _ => None,
    };
    let found = told.events.iter().filter_map(log_prob).fold(f64::NEG_INFINITY, f64::max);
    assert_eq!(best.value, found);
}

#[test]
fn tokens_that_the_model_does_not_have_are_named() {
    let small = swirldb::lm::DecoderConfig { vocab_size: 290, ..decoder_config() };
    let model = Decoder::random(&small, 1, &candle_core::Device::Cpu).unwrap();
    let rows = examples(1);
    let found = prepare(&model, &tokenizer(), None, &config(), &rows, &[]);
    let error = found.unwrap_err().to_string();
    assert!(error.contains("of trajectory t0 of world has the token 29"), "{error}");
    assert!(error.contains("the model's vocabulary is 290"), "{error}");
}

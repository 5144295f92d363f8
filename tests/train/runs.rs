//! Whole runs: learning, resuming, stopping, events.

use std::path::Path;
use std::sync::Arc;

use candle_core::Device;
use swirldb::lm::{Decoder, DecoderConfig, LoraConfig, Training};
use swirldb::train::{
    Event, Example, Objective, Outcome, TrainConfig, evaluate, on_training_thread, prepare,
};

use super::{
    Told, config, decoder, decoder_config, example, examples, prepared, run, run_with, tokenizer,
    trajectory, values,
};

#[test]
fn a_small_model_learns_four_answers_by_heart() {
    let config = TrainConfig {
        max_steps: Some(400),
        learning_rate: Some(3e-3),
        tokens_per_step: 2048,
        ..config()
    };
    let answer_only = |number| {
        let mut of = trajectory(number);
        of.steps.drain(..2);
        Example { trajectory: Arc::new(of), ..example(number, &[(1, 1.0)]) }
    };
    let rows: Vec<Example> = (0..4).map(answer_only).collect();
    let shape =
        DecoderConfig { hidden_size: 64, intermediate_size: 128, head_dim: 16, ..decoder_config() };
    let model = Decoder::random(&shape, 1, &Device::Cpu).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (prepared, mut told) = (prepared(&config, &rows), Told::default());
    run_with(&model, &prepared, &config, folder.path(), false, &mut told).unwrap();
    let losses: Vec<f64> = told.steps.iter().map(|step| step.loss).collect();
    assert_eq!(losses.len(), 400);
    // Without reading the question no loss is below ln(4) / 4, or 0.35.
    assert!(losses[0] > 5.0 && losses[399] < 0.1, "{} to {}", losses[0], losses[399]);
    let evaluation = evaluate(&model, &prepared.sequences, 64).unwrap();
    assert_eq!(evaluation.actions.len(), 4);
    assert!(evaluation.loss() < 0.1);
    // The mean over actions of sums, against the mean over tokens of the same numbers.
    let per_action = evaluation.tokens() as f64 / 4.0;
    assert!((evaluation.log_prob() + evaluation.loss() * per_action).abs() < 1e-9);
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    let config = TrainConfig { max_steps: Some(4), ..config() };
    let rows = examples(6);
    let ((first, a), (second, b)) = (run(&config, &rows), run(&config, &rows));
    assert_eq!(first, second);
    assert_eq!(values(&a), values(&b));
    let other = run(&TrainConfig { seed: 1, ..config }, &rows).0;
    assert_ne!(other, first);
}

#[test]
fn rewards_move_log_probabilities() {
    let rows = [example(0, &[(1, 1.0)]), example(1, &[(1, -1.0)])];
    let config = TrainConfig {
        objective: Objective::Reinforce,
        epsilon: Some(0.5),
        kl_loss_coef: Some(0.01),
        learning_rate: Some(1e-3),
        max_steps: Some(8),
        tokens_per_step: 4096,
        ..config()
    };
    let sequences = prepared(&config, &rows).sequences;
    let before = evaluate(&decoder(1), &sequences, 4096).unwrap();
    let (steps, model) = run(&config, &rows);
    let after = evaluate(&model, &sequences, 4096).unwrap();
    let gain = |index: usize| after.actions[index].sum() - before.actions[index].sum();
    assert!(gain(0) > gain(1), "{} and {}", gain(0), gain(1));
    // The policy is the start policy at first.
    assert_eq!((steps[0].kl, steps[0].clip_fraction), (0.0, 0.0));
    assert!(steps[7].kl > 0.0);
}

fn lora() -> Decoder {
    let folder = tempfile::tempdir().unwrap();
    decoder(1).save(folder.path(), None).unwrap();
    let lora = Training::Lora(LoraConfig {
        r: 4,
        lora_alpha: 8.0,
        target_modules: vec!["q_proj".into(), "down_proj".into()],
    });
    swirldb::lm::load(folder.path(), &lora, 3, &Device::Cpu).unwrap().decoder
}

/// Six steps at once, and three, a stop and three more, end in the same bytes.
#[test]
fn a_resumed_run_ends_with_the_same_bytes() {
    let full: fn() -> Decoder = || decoder(1);
    for (fresh, weights) in
        [(full, "model.safetensors"), (lora as fn() -> Decoder, "adapter_model.safetensors")]
    {
        let config = TrainConfig {
            objective: Objective::Reinforce,
            kl_loss_coef: Some(0.05),
            max_steps: Some(6),
            full: weights == "model.safetensors",
            ..config()
        };
        let prepared = prepared(&config, &examples(5));
        let (at_once, in_two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut whole = Told::default();
        let go = |decoder: &Decoder, folder: &Path, resume, told: &mut Told| {
            run_with(decoder, &prepared, &config, folder, resume, told)
        };
        let expected = go(&fresh(), at_once.path(), false, &mut whole).unwrap();
        assert!(expected.complete);

        let mut first = Told { stop_after: Some(3), ..Told::default() };
        let stopped = go(&fresh(), in_two.path(), false, &mut first).unwrap();
        assert_eq!((stopped.steps, stopped.complete), (3, false));
        assert!(stopped.checkpoint.ends_with("checkpoint-3"));
        // What a kill in the middle of the next checkpoint leaves.
        std::fs::create_dir(in_two.path().join(".unfinished-checkpoint-4")).unwrap();

        let mut rest = Told::default();
        let resumed = go(&fresh(), in_two.path(), true, &mut rest).unwrap();
        assert!(matches!(rest.events[0], Event::Started { resumed_at: 3, .. }));
        let loss = |told: &Told| told.steps.iter().map(|s| s.loss.to_bits()).collect::<Vec<_>>();
        assert_eq!([loss(&first), loss(&rest)].concat(), loss(&whole));
        for file in [weights, "optimizer.safetensors", "state.json"] {
            let read = |outcome: &Outcome| std::fs::read(outcome.checkpoint.join(file)).unwrap();
            assert!(read(&resumed) == read(&expected), "{file} differs");
        }
        let names = std::fs::read_dir(in_two.path()).unwrap().map(|e| e.unwrap().file_name());
        let mut names: Vec<_> = names.map(|n| n.into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["checkpoint-3", "checkpoint-6", "start.safetensors"]);
    }
}

#[test]
fn a_checkpoint_of_another_run_is_refused() {
    let config = TrainConfig { max_steps: Some(4), save_steps: Some(1), ..config() };
    let rows = examples(3);
    let folder = tempfile::tempdir().unwrap();
    let mut told = Told { stop_after: Some(2), ..Told::default() };
    let start = prepared(&config, &rows);
    run_with(&decoder(1), &start, &config, folder.path(), false, &mut told).unwrap();
    let again = |decoder: &Decoder, config: &TrainConfig, rows: &[Example], resume| {
        let prepared = prepared(config, rows);
        let told = &mut Told::default();
        run_with(decoder, &prepared, config, folder.path(), resume, told).unwrap_err().to_string()
    };
    let slower = TrainConfig { learning_rate: Some(1e-3), ..config.clone() };
    let error = again(&decoder(1), &slower, &rows, true);
    assert!(error.contains("option learning_rate differs (0.01, expected 0.001)"), "{error}");
    assert!(again(&decoder(1), &config, &examples(2), true).contains("the data differs"));
    assert!(again(&decoder(2), &config, &rows, true).contains("the start differs"));
    assert!(again(&decoder(1), &config, &rows, false).contains("already holds checkpoints"));

    // Other intervals are no other run; a damaged file is found.
    let file = folder.path().join("checkpoint-2/optimizer.safetensors");
    let mut bytes = std::fs::read(&file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let often = TrainConfig { logging_steps: 3, save_steps: None, ..config };
    let error = again(&decoder(1), &often, &rows, true);
    assert!(error.contains("optimizer.safetensors is not what was written"), "{error}");

    let empty = tempfile::tempdir().unwrap();
    let told = &mut Told::default();
    let nothing = run_with(&decoder(1), &start, &often, empty.path(), true, told);
    assert!(nothing.unwrap_err().to_string().contains("no checkpoint"));
}

#[test]
fn numbers_that_are_not_finite_stop_the_run_and_keep_the_checkpoint() {
    let config = TrainConfig { learning_rate: Some(1e30), save_steps: Some(1), ..config() };
    let config = TrainConfig { max_steps: Some(5), warmup_steps: Some(0), ..config };
    let folder = tempfile::tempdir().unwrap();
    let prepared = prepared(&config, &examples(2));
    let told = &mut Told::default();
    let error = run_with(&decoder(1), &prepared, &config, folder.path(), false, told).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("of trajectory t") && text.contains("lower learning_rate"), "{text}");
    assert!(text.contains("the last checkpoint is"), "{text}");
    assert!(folder.path().join("checkpoint-1/state.json").is_file());
}

#[test]
fn events_tell_the_run() {
    let config = TrainConfig {
        max_steps: Some(4),
        save_steps: Some(2),
        save_total_limit: 1,
        eval_steps: Some(2),
        logging_steps: 3,
        ..config()
    };
    let good = vec![example(8, &[(3, 1.0)])];
    let bad = vec![example(9, &[(1, 1.0), (2, 1.0)])];
    let held_out = [("good".to_owned(), good), ("bad".to_owned(), bad)];
    let (model, tokenizer) = (decoder(1), tokenizer());
    let prepared = prepare(&model, &tokenizer, None, &config, &examples(3), &held_out).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut told = Told::default();
    run_with(&model, &prepared, &config, folder.path(), false, &mut told).unwrap();
    let names: Vec<String> = told
        .events
        .iter()
        .filter(|event| !matches!(event, Event::Examples { .. }))
        .map(|event| match event {
            Event::Started { plan, .. } => format!("started {}", plan.steps_total),
            Event::Step(report) => format!("step {} {}", report.step, report.log),
            Event::Evaluated { step, name, actions, .. } => format!("{name} {actions} {step}"),
            Event::Checkpoint { step, .. } => format!("saved {step}"),
            Event::Finished(outcome) => format!("finished {}", outcome.complete),
            other => format!("{other:?}"),
        })
        .collect();
    let expected = [
        "started 4",
        "good 1 0",
        "bad 2 0",
        "step 1 false",
        "step 2 false",
        "good 1 2",
        "bad 2 2",
        "saved 2",
        "step 3 true",
        "step 4 true",
        "good 1 4",
        "bad 2 4",
        "saved 4",
        "finished true",
    ];
    assert_eq!(names, expected);
    assert!(!folder.path().join("checkpoint-2").exists());
    let first = &told.steps[0];
    assert_eq!(first.tokens_seen, first.tokens);
    assert!(first.action_tokens > 0 && first.action_tokens < first.tokens);
}

#[test]
fn work_runs_on_a_stack_deep_enough() {
    fn depth(n: u64) -> u64 {
        let frame = std::hint::black_box([n; 64]);
        if n == 0 { 0 } else { depth(n - 1) + frame[0] - n + 1 }
    }
    // About 100 MB of frames, far beyond the stack of a test's thread.
    assert_eq!(on_training_thread(|| depth(150_000)).unwrap(), 150_000);
}

#[test]
#[expect(unsafe_code, reason = "the allocator's options are functions of C")]
fn freed_memory_stays_while_a_model_is_trained() {
    // The one option with this default is the delay, in milliseconds. Other tests train at the
    // same time.
    // SAFETY: it only reads a number.
    let delay = || unsafe { libmimalloc_sys::mi_option_get(15) };
    assert!([1000, i64::from(i32::MAX)].contains(&delay()));
    assert_eq!(on_training_thread(delay).unwrap(), i64::from(i32::MAX));
}

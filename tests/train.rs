//! Training: formulas by hand, one sequence against many, resuming, and what is refused.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

mod best;
mod formulas;
mod gradients;
mod groups;
mod labels;
mod online;
mod options;
mod pairs;
mod peers;
mod policies;
mod runs;
mod sequences;
mod timing;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use candle_core::{Device, Var};
use swirldb::lm::{Decoder, DecoderConfig, Tokenizer};
use swirldb::model::{Message, Step, ToolCall, Trajectory, role};
use swirldb::train::{
    ChosenStep, Event, Example, Outcome, Prepared, Run, StepReport, TrainConfig, TrainError,
    prepare, train,
};

pub fn tokenizer() -> Tokenizer {
    let texts = ["user assistant tool search answer Paris Oslo city?"; 4].map(str::to_owned);
    Tokenizer::train(texts.into_iter(), 300, &["<|im_start|>", "<|im_end|>"]).unwrap()
}

pub fn decoder_config() -> DecoderConfig {
    DecoderConfig {
        vocab_size: 300,
        hidden_size: 32,
        intermediate_size: 48,
        n_layers: 2,
        n_heads: 4,
        n_kv_heads: 2,
        head_dim: 8,
        rope_theta: 10_000.0,
        rms_norm_eps: 1e-5,
        context_length: 512,
        tie_word_embeddings: true,
        ..DecoderConfig::default()
    }
}

fn decoder(seed: u64) -> Decoder {
    Decoder::random(&decoder_config(), seed, &Device::Cpu).unwrap()
}

fn step(action: Message, observation: &str) -> Step {
    let observation = match observation {
        "" => Vec::new(),
        text => vec![Message::new(role::TOOL, text)],
    };
    Step { action, observation, ..Step::default() }
}

fn search(query: &str) -> Message {
    let call = ToolCall {
        name: "search".into(),
        arguments: format!("{{\"q\": \"{query}\"}}"),
        ..ToolCall::default()
    };
    Message { role: role::ASSISTANT.into(), tool_calls: vec![call], ..Message::default() }
}

/// Two searches and an answer about city number `number`.
fn trajectory(number: u64) -> Trajectory {
    Trajectory {
        source: "world".into(),
        id: format!("t{number}"),
        question_id: Some(format!("q{}", number / 2)),
        prompt: vec![Message::new(role::USER, format!("Which city is {number}?"))],
        steps: vec![
            step(search(&format!("city {number}")), "nothing"),
            step(search("cities"), &format!("{number} is Paris{number}")),
            step(Message::new(role::ASSISTANT, format!("Paris{number}")), ""),
        ],
        ..Trajectory::default()
    }
}

fn example(number: u64, weights: &[(u32, f64)]) -> Example {
    let steps = weights.iter().map(|(step, weight)| ChosenStep::new(*step, *weight));
    Example { key: number, trajectory: Arc::new(trajectory(number)), steps: steps.collect() }
}

pub fn examples(count: u64) -> Vec<Example> {
    (0..count).map(|n| example(n, &[(1, 1.0), (2, 1.0), (3, 1.0)])).collect()
}

pub fn config() -> TrainConfig {
    TrainConfig {
        full: true,
        learning_rate: Some(1e-2),
        tokens_per_step: 256,
        tokens_per_batch: 128,
        ..TrainConfig::default()
    }
}

fn prepared(config: &TrainConfig, examples: &[Example]) -> Prepared {
    try_prepare(config, examples).unwrap()
}

fn try_prepare(config: &TrainConfig, examples: &[Example]) -> Result<Prepared, TrainError> {
    prepare(&decoder(1), &tokenizer(), None, config, examples, &[])
}

/// What a run told.
#[derive(Default)]
struct Told {
    steps: Vec<StepReport>,
    events: Vec<Event>,
    stop_after: Option<u64>,
}

fn run_with(
    decoder: &Decoder,
    prepared: &Prepared,
    config: &TrainConfig,
    directory: &Path,
    resume: bool,
    told: &mut Told,
) -> Result<Outcome, TrainError> {
    let tokenizer = tokenizer();
    let clock = || Duration::ZERO;
    let run = Run {
        decoder,
        tokenizer: &tokenizer,
        chat_template: None,
        model_identity: "tiny",
        prepared,
        config,
        directory,
        resume,
        clock: &clock,
    };
    let mut observer = |event: &Event| {
        told.events.push(event.clone());
        if let Event::Step(report) = event {
            told.steps.push(report.clone());
            if told.stop_after == Some(report.step) {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    };
    train(&run, &mut observer)
}

fn run(config: &TrainConfig, examples: &[Example]) -> (Vec<StepReport>, Decoder) {
    let folder = tempfile::tempdir().unwrap();
    let model = decoder(1);
    let prepared = prepared(config, examples);
    let mut told = Told::default();
    run_with(&model, &prepared, config, folder.path(), false, &mut told).unwrap();
    (told.steps, model)
}

fn values(decoder: &Decoder) -> Vec<Vec<f32>> {
    let flat = |v: &Var| v.as_tensor().flatten_all().unwrap().to_vec1().unwrap();
    decoder.parameters().iter().map(|(_, v)| flat(v)).collect()
}

//! Times of whole optimiser steps at the shape of SmolLM2-135M, and of greedy decoding, for
//! benches/train.py, which measures PyTorch beside them:
//!
//! ```text
//! SWIRL_BENCH_CASE=full-256 SWIRL_BENCH_MODEL=DIR RAYON_NUM_THREADS=2 \
//!     cargo test train::timing -- --ignored --nocapture
//! ```
//!
//! The case `setup` writes the model with random weights, and adapters, that all others read. Each
//! prints one line of JSON. A step is what the trainer does in one: forward, backward, the sum of
//! gradients, their norm, clipping, AdamW.

use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use candle_core::{Device, Tensor, Var};
use serde_json::{Value, json};
use swirldb::lm::{
    Decoder, Distribution, LoraConfig, Packed, Prompt, Request, Sampler, SamplerOptions, Training,
    load,
};
use swirldb::train::{AdamConfig, AdamW, Gradients, on_training_thread};

use crate::lm::smollm2;

/// What the trajectory with several chosen actions is made of, in tokens.
const PROMPT: usize = 200;
const ACTION: usize = 40;
const OBSERVATION: usize = 120;
const ACTIONS: usize = 5;

/// What is decoded: prompts, their length, and new tokens of each.
const PROMPTS: usize = 8;
const PROMPT_TOKENS: usize = 128;
const NEW_TOKENS: usize = 64;

fn setting(name: &str) -> Option<String> {
    std::env::var(format!("SWIRL_BENCH_{name}")).ok()
}

fn lora() -> Training {
    Training::Lora(LoraConfig {
        r: 16,
        lora_alpha: 32.0,
        target_modules: vec!["all-linear".to_owned()],
    })
}

/// Returns token `at` of every text that is measured.
fn token(at: usize) -> u32 {
    (at * 7919 % 49_152) as u32
}

/// A sequence, and the places of the tokens that carry loss.
struct Text {
    tokens: Vec<u32>,
    rows: Vec<u32>,
    targets: Vec<u32>,
}

impl Text {
    /// Returns a text of `count` tokens each of which predicts the next.
    fn whole(count: usize) -> Text {
        Text {
            tokens: (0..count).map(token).collect(),
            rows: (0..count as u32).collect(),
            targets: (1..=count).map(token).collect(),
        }
    }

    /// Returns a trajectory up to its last action.
    fn trajectory() -> Text {
        let start = |action: usize| PROMPT + action * (ACTION + OBSERVATION);
        let places = (0..ACTIONS).flat_map(|a| start(a)..start(a) + ACTION);
        let rows: Vec<u32> = places.map(|at| at as u32 - 1).collect();
        Text {
            tokens: (0..start(ACTIONS) - OBSERVATION).map(token).collect(),
            targets: rows.iter().map(|row| token(*row as usize + 1)).collect(),
            rows,
        }
    }
}

/// What is trained.
struct Bench {
    decoder: Decoder,
    optimizer: AdamW,
}

impl Bench {
    fn new(decoder: Decoder) -> Bench {
        let config = AdamConfig { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 };
        let optimizer = AdamW::new(config, decoder.parameters()).unwrap();
        Bench { decoder, optimizer }
    }

    /// Makes one optimiser step and returns the loss before it.
    fn step(&mut self, text: &Text) -> f64 {
        let batch = Packed {
            tokens: text.tokens.clone(),
            lengths: vec![text.tokens.len()],
            ..Packed::default()
        };
        let mut gradients = Gradients::new(self.optimizer.names().count());
        let hidden = self.decoder.hidden(&batch).unwrap();
        let log_probs = self.decoder.log_probs(&hidden, &text.rows, &text.targets).unwrap();
        let values: Vec<f32> = log_probs.to_vec1().unwrap();
        let slope = vec![-1.0 / values.len() as f32; values.len()];
        let slope = Tensor::from_vec(slope, values.len(), &Device::Cpu).unwrap();
        let loss = (log_probs * slope).unwrap().sum_all().unwrap();
        let store = self.decoder.backward(&loss).unwrap();
        for (index, variable) in self.optimizer.variables().enumerate() {
            gradients.add(index, store.get(variable).unwrap()).unwrap();
        }
        drop(store);
        let variables: Vec<&Var> = self.optimizer.variables().collect();
        let (gradients, norms) = gradients.finish(&variables, None).unwrap();
        let norm = norms.iter().map(|n| n * n).sum::<f64>().sqrt();
        let scale = (1.0 / (norm + 1e-6)).min(1.0);
        self.optimizer.step(&gradients, scale, 1e-4).unwrap();
        -values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64
    }
}

/// Forgets the greatest memory so far, so that reading a model is not part of it.
fn forget_peak() {
    // Where that is not allowed the number is that of the whole process.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Returns the greatest memory in kB.
fn peak_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.trim().trim_end_matches(" kB").trim().parse().ok()).unwrap_or(0)
}

fn train(folder: &Path, training: &Training, text: &Text, steps: usize) -> Value {
    let decoder = load(&folder.join("model"), training, 1, &Device::Cpu).unwrap().decoder;
    if *training != Training::Full {
        decoder.load_parameters(&folder.join("adapter/adapter_model.safetensors")).unwrap();
    }
    let mut bench = Bench::new(decoder);
    forget_peak();
    let (mut seconds, mut losses) = (Vec::new(), Vec::new());
    for _ in 0..steps {
        let start = Instant::now();
        losses.push(bench.step(text));
        seconds.push(start.elapsed().as_secs_f64());
    }
    json!({"seconds": seconds, "losses": losses, "peak_kb": peak_kb()})
}

/// Decodes `rounds` times one token after the prompts, and then all.
fn decode(folder: &Path, rounds: usize) -> Value {
    let model = load(&folder.join("model"), &Training::Frozen, 1, &Device::Cpu).unwrap();
    let cache_tokens = PROMPTS * (PROMPT_TOKENS + NEW_TOKENS + 64);
    let options = SamplerOptions { slots: PROMPTS, cache_tokens, ..SamplerOptions::default() };
    let mut sampler = Sampler::new(&model.decoder, options).unwrap();
    forget_peak();
    let mut run = |new: usize| {
        let request = |number: usize| Request {
            prompt: Prompt::new((0..PROMPT_TOKENS).map(|at| token(at + 31 * number)).collect()),
            max_new_tokens: new,
            distribution: Distribution::greedy(),
            ..Request::default()
        };
        let requests: Vec<Request> = (0..PROMPTS).map(request).collect();
        let start = Instant::now();
        let made = sampler.run(&requests, None, &mut |_| ControlFlow::Continue(())).unwrap();
        let seconds = start.elapsed().as_secs_f64();
        (seconds, made.samples.into_iter().map(|sample| sample.tokens).collect::<Vec<_>>())
    };
    let (mut first, mut seconds, mut tokens) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        first.push(run(1).0);
        let (took, made) = run(NEW_TOKENS);
        seconds.push(took);
        tokens = made;
    }
    json!({"first": first, "seconds": seconds, "tokens": tokens, "peak_kb": peak_kb()})
}

fn setup(folder: &Path) -> Value {
    let model = folder.join("model");
    Decoder::random(&smollm2(), 1, &Device::Cpu).unwrap().save(&model, None).unwrap();
    let adapted = load(&model, &lora(), 1, &Device::Cpu).unwrap().decoder;
    adapted.save(&folder.join("adapter"), None).unwrap();
    json!({
        "prompt": PROMPT, "action": ACTION, "observation": OBSERVATION, "actions": ACTIONS,
        "prompts": PROMPTS, "prompt_tokens": PROMPT_TOKENS, "new_tokens": NEW_TOKENS,
    })
}

#[test]
#[ignore = "a measurement"]
fn steps_beside_pytorch() {
    let case = setting("CASE").expect("SWIRL_BENCH_CASE names a case");
    let folder = PathBuf::from(setting("MODEL").expect("SWIRL_BENCH_MODEL names a folder"));
    let steps = setting("STEPS").map_or(4, |steps| steps.parse().unwrap());
    let measured = on_training_thread(|| match case.split_once('-') {
        None if case == "setup" => setup(&folder),
        None if case == "decode" => decode(&folder, steps),
        Some((kind, size)) => {
            let training = if kind == "full" { Training::Full } else { lora() };
            let text = match size.parse() {
                Ok(count) => Text::whole(count),
                Err(_) => Text::trajectory(),
            };
            train(&folder, &training, &text, steps)
        }
        None => panic!("no case {case}"),
    })
    .unwrap();
    writeln!(std::io::stderr(), "{measured}").unwrap();
}

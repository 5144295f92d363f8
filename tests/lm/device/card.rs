//! On an NVIDIA card: the decoder against the CPU, and how long a step takes. Run by
//! `scripts/bench-cuda.sh`, from the root of the repository.

use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use candle_core::{DType, Device, Tensor, Var};
use swirldb::lm::{Decoder, DecoderConfig, Packed, Training, Work, device, load};
use swirldb::train::{AdamConfig, AdamW, Gradients};

use crate::lm::parity::CHECKPOINTS;
use crate::lm::{difference, families, smollm2};

fn say(line: &str) {
    let mut stderr = std::io::stderr();
    writeln!(stderr, "{line}").unwrap();
}

fn host(tensor: &Tensor) -> Tensor {
    tensor.to_dtype(DType::F32).unwrap().to_device(&Device::Cpu).unwrap()
}

/// Returns |a - b| / |a|.
fn distance(a: &Tensor, b: &Tensor) -> f32 {
    let norm = |x: &Tensor| x.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
    norm(&(a - b).unwrap()) / norm(a).max(1e-9)
}

/// Returns logits, loss and gradients by name, all on the CPU in f32.
fn compute(decoder: &Decoder, batch: &Packed) -> (Tensor, f32, Vec<(String, Tensor)>) {
    let hidden = decoder.hidden(batch).unwrap();
    let rows: Vec<u32> = (0..batch.tokens.len() as u32 - 1).collect();
    let log_probs = decoder.log_probs(&hidden, &rows, &batch.tokens[1..]).unwrap();
    let loss = log_probs.mean_all().unwrap().neg().unwrap();
    let store = decoder.backward(&loss).unwrap();
    let gradient = |(name, variable): (String, Var)| (name, host(store.get(&variable).unwrap()));
    let gradients = decoder.parameters().into_iter().map(gradient).collect();
    let logits = host(&decoder.logits(&hidden).unwrap().detach());
    (logits, loss.to_scalar::<f32>().unwrap(), gradients)
}

/// Compares a decoder on the card with the same on the CPU, in f32 and bf16.
fn compare(name: &str, cpu: &Decoder, card: &Decoder, batch: &Packed) {
    let (logits, loss, gradients) = compute(cpu, batch);
    for (work, near, far) in [
        (Work::default(), 1e-4, 1e-3),
        (Work { gradient_checkpointing: true, ..Work::default() }, 1e-4, 1e-3),
        (Work { bf16: true, ..Work::default() }, 0.03, 0.1),
    ] {
        let (ours, our_loss, our_gradients) = compute(&card.working(work).unwrap(), batch);
        let off = distance(&logits, &ours);
        assert!(off < near, "{name} {work:?}: logits differ by {off}");
        assert!((loss - our_loss).abs() < near, "{name} {work:?}: {loss} and {our_loss}");
        let mut worst = 0f32;
        for ((name, theirs), (_, ours)) in gradients.iter().zip(&our_gradients) {
            let off = distance(theirs, ours);
            // Biases of keys shift all scores of a row alike, and their gradient is rounding.
            if !name.contains("k_proj.bias") {
                worst = worst.max(off);
                assert!(off < far, "{name} {work:?}: differs by {off}");
            }
        }
        say(&format!("{name}, {work:?}: logits within {off:.1e}, gradients within {worst:.1e}"));
    }
}

#[test]
#[ignore = "needs an NVIDIA card"]
fn every_checkpoint_agrees_with_the_cpu() {
    let card = device("cuda").unwrap();
    for name in CHECKPOINTS {
        let path = Path::new("fixtures/models").join(name);
        let open = |device: &Device| load(&path, &Training::Full, 0, device).unwrap().decoder;
        let cpu = open(&Device::Cpu);
        let vocabulary = cpu.config().vocab_size as u32;
        let tokens: Vec<u32> = (0..23).map(|i| (i * i * 31 + i * 7) % vocabulary).collect();
        let batch = Packed { tokens, lengths: vec![9, 14], ..Packed::default() };
        compare(name, &cpu, &open(&card), &batch);
    }
}

#[test]
#[ignore = "needs an NVIDIA card"]
fn long_sequences_of_every_family_agree_with_the_cpu() {
    let card = device("cuda").unwrap();
    for config in families() {
        let config = DecoderConfig {
            vocab_size: 512,
            hidden_size: 128,
            intermediate_size: 256,
            head_dim: 32,
            context_length: 2048,
            sliding_window: config.sliding_window.map(|_| 300),
            ..config
        };
        let on = |device: &Device| Decoder::random(&config, 1, device).unwrap();
        for lengths in [vec![600, 1100, 3], vec![700, 700]] {
            let total: usize = lengths.iter().sum();
            let tokens = (0..total as u32).map(|i| (i * i * 31 + i * 7) % 512).collect();
            let name = format!("{:?} {lengths:?}", config.family);
            compare(
                &name,
                &on(&Device::Cpu),
                &on(&card),
                &Packed { tokens, lengths, ..Packed::default() },
            );
        }
    }
}

#[test]
#[ignore = "needs an NVIDIA card"]
fn two_passes_are_equal_bit_for_bit() {
    let card = device("cuda").unwrap();
    let config = DecoderConfig { n_layers: 2, ..smollm2() };
    let decoder = Decoder::random(&config, 1, &card).unwrap();
    let batch = batch(4, 600);
    for bf16 in [false, true] {
        let decoder = decoder.working(Work { bf16, ..Work::default() }).unwrap();
        let ((a, _, first), (b, _, second)) =
            (compute(&decoder, &batch), compute(&decoder, &batch));
        assert_eq!(difference(&a, &b), 0.0);
        for ((name, a), (_, b)) in first.iter().zip(&second) {
            assert_eq!(difference(a, b), 0.0, "{name}");
        }
    }
}

fn batch(sequences: usize, length: usize) -> Packed {
    let tokens = (0..(sequences * length) as u32).map(|i| i * 7919 % 49_152).collect();
    Packed { tokens, lengths: vec![length; sequences], ..Packed::default() }
}

/// Makes one optimiser step and returns its loss, for which the card is waited for.
fn step(decoder: &Decoder, optimizer: &mut AdamW, batch: &Packed) -> f32 {
    let hidden = decoder.hidden(batch).unwrap();
    let last = batch.tokens.len() as u32 - 1;
    let rows: Vec<u32> = (0..=last).collect();
    let mut targets = batch.tokens[1..].to_vec();
    targets.push(0);
    let log_probs = decoder.log_probs(&hidden, &rows, &targets).unwrap();
    let loss = log_probs.mean_all().unwrap().neg().unwrap();
    let store = decoder.backward(&loss).unwrap();
    let variables: Vec<Var> = optimizer.variables().cloned().collect();
    let mut gradients = Gradients::new(variables.len());
    for (index, variable) in variables.iter().enumerate() {
        gradients.add(index, store.get(variable).unwrap()).unwrap();
    }
    drop(store);
    let all: Vec<&Var> = variables.iter().collect();
    let (tensors, norms) = gradients.finish(&all, decoder.operations()).unwrap();
    let norm = norms.iter().map(|norm| norm * norm).sum::<f64>().sqrt();
    optimizer.step(&tensors, (1.0 / norm).min(1.0), 1e-4).unwrap();
    let loss = loss.to_scalar::<f32>().unwrap();
    decoder.device().synchronize().unwrap();
    loss
}

/// Returns the memory of the card that is taken, in GiB: what was freed stays in its pool, so after
/// some steps it is the most that they needed.
fn taken(device: &Device) -> f64 {
    let stream = device.as_cuda_device().unwrap().cuda_stream();
    let (free, total) = stream.context().mem_get_info().unwrap();
    (total - free) as f64 / f64::from(1 << 30)
}

#[test]
#[ignore = "a measurement on an NVIDIA card"]
fn step_of_smollm2() {
    const ROUNDS: usize = 10;
    let card = device("cuda").unwrap();
    let decoder = Decoder::random(&smollm2(), 1, &card).unwrap();
    let batch = batch(8, 2048);
    let adam = AdamConfig { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 };
    // From little memory to much, since the pool never shrinks.
    for (name, bf16, gradient_checkpointing) in [
        ("bf16, checkpointing", true, true),
        ("bf16", true, false),
        ("f32, checkpointing", false, true),
        ("f32", false, false),
    ] {
        let decoder = decoder.working(Work { bf16, gradient_checkpointing }).unwrap();
        let mut optimizer =
            AdamW::by_kernels(adam, decoder.parameters(), decoder.operations()).unwrap();
        let first = step(&decoder, &mut optimizer, &batch);
        for _ in 0..2 {
            step(&decoder, &mut optimizer, &batch);
        }
        let mut times = Vec::new();
        let mut last = first;
        for _ in 0..ROUNDS {
            let start = Instant::now();
            last = step(&decoder, &mut optimizer, &batch);
            times.push(start.elapsed().as_secs_f64());
        }
        times.sort_by(f64::total_cmp);
        let median = times[ROUNDS / 2];
        say(&format!(
            "swirldb, {name}: {:.1} ms for a step ({:.1} the shortest), {:.0} tokens/s, at most \
             {:.1} GiB; loss {first:.3} to {last:.3}",
            median * 1e3,
            times[0] * 1e3,
            batch.tokens.len() as f64 / median,
            taken(&card)
        ));
        assert!(last < first, "the loss does not fall");
    }
}

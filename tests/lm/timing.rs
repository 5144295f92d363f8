//! Times of a step of SmolLM2's shape, to be run by hand beside tests/parity/step_time.py:
//! `RAYON_NUM_THREADS=2 cargo test lm::timing -- --ignored --nocapture`.

use std::io::Write as _;
use std::time::Instant;

use candle_core::Device;
use swirldb::lm::{Decoder, LoraConfig, Packed, Training, load};

use super::smollm2;

/// Returns the processor time of this process in seconds, all threads together.
fn processor_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|t| t.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

/// Runs forward and backward over 256 tokens and prints the shortest times of several rounds, and
/// the shortest processor time of both, which says more on a busy machine with one thread.
fn time(name: &str, decoder: &Decoder) {
    let tokens: Vec<u32> = (0..257).map(|i| i * 7919 % 49_152).collect();
    let batch = Packed { tokens: tokens[..256].to_vec(), lengths: vec![256], ..Packed::default() };
    let rows: Vec<u32> = (0..256).collect();
    let (mut forward, mut backward, mut processor) = (f64::MAX, f64::MAX, f64::MAX);
    for _ in 0..6 {
        let (start, used) = (Instant::now(), processor_time());
        let hidden = decoder.hidden(&batch).unwrap();
        let log_probs = decoder.log_probs(&hidden, &rows, &tokens[1..]).unwrap();
        let loss = log_probs.mean_all().unwrap().neg().unwrap();
        forward = forward.min(start.elapsed().as_secs_f64());
        let start = Instant::now();
        let gradients = decoder.backward(&loss).unwrap();
        backward = backward.min(start.elapsed().as_secs_f64());
        drop(gradients);
        processor = processor.min(processor_time() - used);
    }
    let memory = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = memory.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("").to_owned();
    let mut stderr = std::io::stderr();
    writeln!(
        stderr,
        "{name}: forward {:.0} ms, backward {:.0} ms, both {:.0} ms, processor {:.0} ms, {peak}",
        forward * 1e3,
        backward * 1e3,
        (forward + backward) * 1e3,
        processor * 1e3
    )
    .unwrap();
}

#[test]
#[ignore = "a measurement"]
fn step_of_smollm2() {
    let folder = tempfile::tempdir().unwrap();
    let full = Decoder::random(&smollm2(), 1, &Device::Cpu).unwrap();
    full.save(folder.path(), None).unwrap();
    drop(full);
    let lora = LoraConfig { r: 8, lora_alpha: 16.0, target_modules: vec!["all-linear".to_owned()] };
    for (name, training) in
        [("frozen", Training::Frozen), ("lora", Training::Lora(lora)), ("full", Training::Full)]
    {
        let decoder = load(folder.path(), &training, 1, &Device::Cpu).unwrap().decoder;
        time(name, &decoder);
    }
}

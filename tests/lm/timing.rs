//! Times of a step of SmolLM2's shape, to be run by hand beside tests/parity/step_time.py:
//! `RAYON_NUM_THREADS=2 cargo test lm::timing -- --ignored --nocapture`.

use std::io::Write as _;
use std::time::Instant;

use candle_core::Device;
use swirldb::lm::{Branch, Decoder, DecoderConfig, LoraConfig, Packed, Training, load};

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

/// Samples of several states of one trajectory.
struct Samples {
    /// Where the states end, in tokens of the trajectory.
    states: Vec<usize>,
    per_state: usize,
    length: usize,
}

impl Samples {
    /// Returns all samples in one batch, as branches.
    fn packed(&self) -> (Packed, Vec<u32>) {
        let trunk = self.states.iter().copied().max().unwrap_or(0);
        let mut batch = Packed { lengths: vec![trunk], ..Packed::default() };
        let mut rows = Vec::new();
        let states = self.states.iter().flat_map(|s| std::iter::repeat_n(*s, self.per_state));
        for (number, prefix) in states.enumerate() {
            let first = (trunk + number * self.length) as u32;
            rows.push(prefix as u32 - 1);
            rows.extend(first..first + self.length as u32 - 1);
            batch.branches.push(Branch { sequence: 0, prefix, length: self.length });
        }
        let count = trunk + batch.branches.len() * self.length;
        batch.tokens = (0..count as u32).map(|i| i * 7919 % 49_152).collect();
        (batch, rows)
    }

    /// Returns each sample behind a copy of its state, a batch for each state.
    fn separate(&self) -> Vec<(Packed, Vec<u32>)> {
        let of_state = |prefix: &usize| {
            let whole = prefix + self.length;
            let lengths = vec![whole; self.per_state];
            let tokens = (0..(whole * self.per_state) as u32).map(|i| i * 7919 % 49_152).collect();
            let starts = (0..self.per_state).map(|number| number * whole + prefix);
            let rows = starts.flat_map(|at| at - 1..at + self.length - 1).map(|row| row as u32);
            (Packed { tokens, lengths, ..Packed::default() }, rows.collect())
        };
        self.states.iter().map(of_state).collect()
    }
}

/// Returns the seconds of forward and backward of a batch.
fn pass(decoder: &Decoder, (batch, rows): &(Packed, Vec<u32>)) -> f64 {
    let start = Instant::now();
    let targets: Vec<u32> = rows.iter().map(|row| row * 31 % 49_152).collect();
    let hidden = decoder.hidden(batch).unwrap();
    let log_probs = decoder.log_probs(&hidden, rows, &targets).unwrap();
    let gradients = decoder.backward(&log_probs.mean_all().unwrap()).unwrap();
    let seconds = start.elapsed().as_secs_f64();
    drop(gradients);
    seconds
}

/// Four samples at each of five states of a trajectory, by layers of SmolLM2's width: a line of
/// JSON with the seconds of each round, which benches/train.py reads.
#[test]
#[ignore = "a measurement"]
fn branches_beside_separate_sequences() {
    let config = DecoderConfig { n_layers: 6, ..smollm2() };
    let decoder = Decoder::random(&config, 1, &Device::Cpu).unwrap();
    let states = (0..5).map(|state| 200 + 160 * state).collect();
    let samples = Samples { states, per_state: 4, length: 40 };
    let (packed, separate) = (samples.packed(), samples.separate());
    let tokens: usize = separate.iter().map(|(batch, _)| batch.tokens.len()).sum();
    let (mut together, mut apart) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        together.push(pass(&decoder, &packed));
        apart.push(separate.iter().map(|batch| pass(&decoder, batch)).sum::<f64>());
    }
    let measured = serde_json::json!({
        "packed": {"tokens": packed.0.tokens.len(), "seconds": together},
        "separate": {"tokens": tokens, "seconds": apart},
    });
    // Behind what the harness writes before a test's end, on a line of its own.
    writeln!(std::io::stdout(), "\n{measured}").unwrap();
}

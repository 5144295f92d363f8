//! Whole decoders by the kernels against the CPU's own code.

use candle_core::{DType, Device, Tensor};
use swirldb::lm::{Decoder, DecoderConfig, Family, LoraConfig, Packed, Training, Work, load};

use super::engine::{operations, operations_with_warps};
use crate::lm::{difference, families, tiny};

/// Returns a batch of sequences of the given lengths.
fn batch(config: &DecoderConfig, lengths: &[usize]) -> Packed {
    let total: usize = lengths.iter().sum();
    let vocabulary = config.vocab_size as u32;
    let tokens = (0..total as u32).map(|i| (i * i * 31 + i * 7) % vocabulary).collect();
    Packed { tokens, lengths: lengths.to_vec(), ..Packed::default() }
}

/// Returns the states, and the loss of every second token.
fn loss(decoder: &Decoder, batch: &Packed) -> (Tensor, Tensor) {
    let hidden = decoder.hidden(batch).unwrap();
    let rows: Vec<u32> = (0..batch.tokens.len() as u32 - 1).step_by(2).collect();
    let targets: Vec<u32> = rows.iter().map(|row| batch.tokens[*row as usize + 1]).collect();
    let log_probs = decoder.log_probs(&hidden, &rows, &targets).unwrap();
    (hidden, log_probs.mean_all().unwrap().neg().unwrap())
}

/// Returns the largest difference of two tensors by the largest number of the first.
fn relative(a: &Tensor, b: &Tensor) -> f32 {
    let size = a.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
    difference(a, b) / size.max(1e-6)
}

/// Returns |a - b| / |a|.
fn distance(a: &Tensor, b: &Tensor) -> f32 {
    let norm = |x: &Tensor| x.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
    norm(&(a - b).unwrap()) / norm(a).max(1e-9)
}

/// Checks states, loss and gradients of a decoder by the kernels in f32.
fn agrees(decoder: &Decoder, lengths: &[usize], threads: usize) {
    let batch = batch(decoder.config(), lengths);
    let family = decoder.config().family;
    let other = decoder.with_operations(operations(DType::F32, threads));
    let ((a, a_loss), (b, b_loss)) = (loss(decoder, &batch), loss(&other, &batch));
    assert!(relative(&a, &b) < 1e-5, "{family:?}: states differ by {}", relative(&a, &b));
    assert!(difference(&a_loss, &b_loss) < 1e-5, "{family:?}: {a_loss} and {b_loss}");
    let (a, b) = (decoder.backward(&a_loss).unwrap(), other.backward(&b_loss).unwrap());
    for (name, variable) in decoder.parameters() {
        let (a, b) = (a.get(&variable).unwrap(), b.get(&variable).unwrap());
        assert_eq!(b.dtype(), DType::F32);
        assert!(relative(a, b) < 1e-4, "{family:?} {name} differs by {}", relative(a, b));
    }
}

/// A shape whose every row can be taken eight numbers at a time.
fn wide() -> DecoderConfig {
    DecoderConfig {
        vocab_size: 64,
        hidden_size: 32,
        intermediate_size: 48,
        n_heads: 6,
        n_kv_heads: 2,
        head_dim: 16,
        context_length: 1024,
        ..tiny()
    }
}

#[test]
fn every_family_agrees_with_the_cpu() {
    for config in [vec![tiny()], families()].concat() {
        let decoder = Decoder::random(&config, 1, &Device::Cpu).unwrap();
        agrees(&decoder, &[4, 9, 1], 1);
    }
}

#[test]
fn wide_rows_agree_with_the_cpu() {
    let untied = DecoderConfig { tie_word_embeddings: false, ..wide() };
    for config in [wide(), untied] {
        let decoder = Decoder::random(&config, 1, &Device::Cpu).unwrap();
        // One length for all is one batch of products.
        agrees(&decoder, &[8, 8, 8], 1);
        agrees(&decoder, &[16], 1);
    }
}

#[test]
fn threads_of_a_block_agree_with_one() {
    let families = families();
    for config in [&wide(), &families[0], &families[3]] {
        let config = DecoderConfig { n_layers: 1, sliding_layers: Vec::new(), ..config.clone() };
        let config = DecoderConfig { sliding_window: None, ..config };
        agrees(&Decoder::random(&config, 1, &Device::Cpu).unwrap(), &[3, 2], 4);
    }
}

#[test]
fn sequences_longer_than_a_block_agree_with_the_cpu() {
    let plain = DecoderConfig { n_layers: 1, n_heads: 2, n_kv_heads: 1, head_dim: 2, ..wide() };
    let windows = DecoderConfig {
        family: Family::Qwen2,
        query_key_value_bias: true,
        sliding_window: Some(30),
        sliding_layers: vec![true],
        ..plain.clone()
    };
    for config in [plain, windows] {
        agrees(&Decoder::random(&config, 1, &Device::Cpu).unwrap(), &[530, 20], 1);
    }
}

fn with_adapters() -> Decoder {
    let folder = tempfile::tempdir().unwrap();
    let config = families().remove(0);
    Decoder::random(&config, 1, &Device::Cpu).unwrap().save(folder.path(), None).unwrap();
    let target_modules = vec!["all-linear".to_owned()];
    let lora = LoraConfig { r: 4, lora_alpha: 8.0, target_modules };
    let decoder = load(folder.path(), &Training::Lora(lora), 7, &Device::Cpu).unwrap().decoder;
    for (_, variable) in decoder.parameters() {
        variable.set(&(variable.as_tensor() + 0.02).unwrap().detach()).unwrap();
    }
    decoder
}

#[test]
fn adapters_agree_with_the_cpu() {
    agrees(&with_adapters(), &[4, 5], 1);
}

#[test]
fn bf16_is_near_f32() {
    let mut decoders = vec![with_adapters()];
    for config in [vec![wide()], families()].concat() {
        decoders.push(Decoder::random(&config, 1, &Device::Cpu).unwrap());
    }
    for decoder in decoders {
        let other = decoder.with_operations(operations(DType::BF16, 1));
        let other = other.working(Work { bf16: true, ..Work::default() }).unwrap();
        is_near(&decoder, &other, &[6, 7]);
    }
}

/// Checks states, loss and gradients of a decoder in bf16 against the same in f32.
fn is_near(decoder: &Decoder, other: &Decoder, lengths: &[usize]) {
    let (batch, family) = (batch(decoder.config(), lengths), decoder.config().family);
    let ((a, a_loss), (b, b_loss)) = (loss(decoder, &batch), loss(other, &batch));
    assert_eq!(b.dtype(), DType::BF16);
    let far = distance(&a, &b.to_dtype(DType::F32).unwrap());
    assert!(far < 0.02, "{family:?}: states differ by {far}");
    assert!(difference(&a_loss, &b_loss) < 0.02, "{family:?}: {a_loss} and {b_loss}");
    let (a, b) = (decoder.backward(&a_loss).unwrap(), other.backward(&b_loss).unwrap());
    for (name, variable) in decoder.parameters() {
        let (a, b) = (a.get(&variable).unwrap(), b.get(&variable).unwrap());
        assert_eq!(b.dtype(), DType::F32);
        let far = distance(a, b);
        // Biases of keys shift all scores of a row alike, and their gradient is rounding.
        let bound = if name.contains("k_proj.bias") { 10.0 } else { 0.1 };
        assert!(far < bound, "{family:?} {name} differs by {far}");
    }
}

#[test]
fn attention_by_one_kernel_is_near_f32() {
    let config = DecoderConfig {
        hidden_size: 64,
        n_layers: 1,
        n_heads: 2,
        n_kv_heads: 1,
        head_dim: 64,
        ..wide()
    };
    let decoder = Decoder::random(&config, 1, &Device::Cpu).unwrap();
    let by_kernels = decoder.with_operations(operations_with_warps());
    for gradient_checkpointing in [false, true] {
        let work = Work { bf16: true, gradient_checkpointing };
        is_near(&decoder, &by_kernels.working(work).unwrap(), &[20, 17]);
    }
}

#[test]
fn bf16_on_the_cpu_is_refused() {
    let decoder = Decoder::random(&tiny(), 1, &Device::Cpu).unwrap();
    let error = decoder.working(Work { bf16: true, ..Work::default() }).err().unwrap();
    assert!(error.to_string().contains("CUDA device"), "{error}");
}

#[test]
fn checkpointing_keeps_inputs_only_and_changes_no_bit() {
    for config in [vec![tiny()], families()].concat() {
        let cpu = Decoder::random(&config, 1, &Device::Cpu).unwrap();
        let batch = batch(&config, &[4, 9]);
        let kernels = cpu.with_operations(operations(DType::F32, 1));
        for decoder in [cpu, kernels] {
            let work = Work { gradient_checkpointing: true, ..Work::default() };
            let thrifty = decoder.working(work).unwrap();
            let ((a, a_loss), (b, b_loss)) = (loss(&decoder, &batch), loss(&thrifty, &batch));
            assert_eq!(difference(&a, &b), 0.0);
            let inputs = config.n_layers * 13 * config.hidden_size * 4;
            assert_eq!(thrifty.kept_bytes(), inputs);
            assert!(decoder.kept_bytes() > 10 * inputs, "{}", decoder.kept_bytes());
            let (a, b) = (decoder.backward(&a_loss).unwrap(), thrifty.backward(&b_loss).unwrap());
            for (name, variable) in decoder.parameters() {
                let (a, b) = (a.get(&variable).unwrap(), b.get(&variable).unwrap());
                assert_eq!(difference(a, b), 0.0, "{name}");
            }
            drop((a_loss, b_loss));
        }
    }
}

#[test]
fn nothing_is_kept_once_a_loss_is_gone() {
    let decoder = Decoder::random(&tiny(), 1, &Device::Cpu).unwrap();
    let batch = batch(decoder.config(), &[5]);
    let (hidden, loss) = loss(&decoder, &batch);
    assert!(decoder.kept_bytes() > 0);
    drop((hidden, loss));
    assert_eq!(decoder.kept_bytes(), 0);
    let frozen = decoder.detached().hidden(&batch).unwrap();
    assert_eq!((decoder.kept_bytes(), frozen.track_op()), (0, false));
}

#[test]
fn twins_and_snapshots_work_by_kernels() {
    let decoder = Decoder::random(&tiny(), 1, &Device::Cpu).unwrap();
    let batch = batch(decoder.config(), &[5, 3]);
    let by_kernels = decoder.with_operations(operations(DType::F32, 1));
    let (twin, snapshot) = (by_kernels.detached(), by_kernels.snapshot().unwrap());
    let before = by_kernels.hidden(&batch).unwrap();
    for other in [&twin, &snapshot] {
        let hidden = other.hidden(&batch).unwrap();
        assert!(!hidden.track_op());
        assert_eq!(difference(&hidden, &before), 0.0);
    }
    for (_, variable) in decoder.parameters() {
        variable.set(&(variable.as_tensor() * 1.5).unwrap().detach()).unwrap();
    }
    let after = by_kernels.hidden(&batch).unwrap();
    assert_eq!(difference(&twin.hidden(&batch).unwrap(), &after), 0.0);
    assert_eq!(difference(&snapshot.hidden(&batch).unwrap(), &before), 0.0);
    assert!(difference(&before, &after) > 1e-2);
}

#[test]
fn candles_own_backward_is_refused() {
    let decoder = Decoder::random(&tiny(), 1, &Device::Cpu).unwrap();
    let by_kernels = decoder.with_operations(operations(DType::F32, 1));
    let (_, loss) = loss(&by_kernels, &batch(decoder.config(), &[5]));
    let error = loss.backward().unwrap_err().to_string();
    assert!(error.contains("Decoder::backward"), "{error}");
}

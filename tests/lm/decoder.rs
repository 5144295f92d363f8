//! The decoder as a whole.

use candle_core::{Device, Tensor};
use swirldb::lm::{Decoder, DecoderConfig, LmError, LoraConfig, Packed, Training, load};

use super::{difference, families, tiny};

fn batch() -> Packed {
    Packed { tokens: vec![5, 9, 60, 0, 3, 3, 17, 42, 8], lengths: vec![4, 5], ..Packed::default() }
}

/// Returns the sum of the log-probabilities of every token after the first of each sequence.
fn loss(decoder: &Decoder, batch: &Packed) -> Tensor {
    loss_of(decoder, batch, decoder.hidden(batch).unwrap())
}

fn loss_of(decoder: &Decoder, batch: &Packed, hidden: Tensor) -> Tensor {
    let rows = [0, 1, 2, 4, 5, 6, 7];
    let targets: Vec<u32> = rows.iter().map(|row| batch.tokens[*row as usize + 1]).collect();
    decoder.log_probs(&hidden, &rows, &targets).unwrap().sum_all().unwrap().neg().unwrap()
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().map(|x| x.to_bits()).collect()
}

fn lora() -> LoraConfig {
    LoraConfig { r: 4, lora_alpha: 8.0, target_modules: vec!["all-linear".into()] }
}

/// Returns a decoder with adapters over a saved random one.
fn with_adapters(lora: LoraConfig) -> Decoder {
    let folder = tempfile::tempdir().unwrap();
    Decoder::random(&tiny(), 1, &Device::Cpu).unwrap().save(folder.path(), None).unwrap();
    load(folder.path(), &Training::Lora(lora), 7, &Device::Cpu).unwrap().decoder
}

#[test]
fn every_variable_gets_a_gradient() {
    for tied in [true, false] {
        let config = DecoderConfig { tie_word_embeddings: tied, ..tiny() };
        let decoder = Decoder::random(&config, 1, &Device::Cpu).unwrap();
        let parameters = decoder.parameters();
        assert_eq!(parameters.len(), 2 * 9 + 2 + usize::from(!tied));
        let gradients = decoder.backward(&loss(&decoder, &batch())).unwrap();
        for (name, variable) in parameters {
            let gradient = gradients.get(&variable).unwrap_or_else(|| panic!("{name} has none"));
            let size = gradient.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
            assert!(size > 0.0, "{name} has a gradient of zero");
        }
    }
}

#[test]
fn the_gradient_of_the_whole_agrees_with_differences() {
    for config in [vec![tiny()], families()].concat() {
        gradient_agrees_with_differences(&Decoder::random(&config, 1, &Device::Cpu).unwrap());
    }
}

fn gradient_agrees_with_differences(decoder: &Decoder) {
    let family = decoder.config().family;
    let gradients = decoder.backward(&loss(decoder, &batch())).unwrap();
    for (name, variable) in decoder.parameters() {
        let gradient = gradients.get(&variable).unwrap();
        // Along its own direction the loss rises by the length of the gradient.
        let length = gradient.sqr().unwrap().sum_all().unwrap().sqrt().unwrap();
        let length = f64::from(length.to_scalar::<f32>().unwrap());
        let start = variable.as_tensor().copy().unwrap();
        let step = 5e-3;
        let at = |distance: f64| {
            let moved = (&start + (gradient * (distance / length)).unwrap()).unwrap();
            variable.set(&moved).unwrap();
            f64::from(loss(decoder, &batch()).to_scalar::<f32>().unwrap())
        };
        let slope = (at(step) - at(-step)) / (2.0 * step);
        variable.set(&start).unwrap();
        let off = (slope - length).abs();
        assert!(off < 2e-2 * length + 2e-3, "{family:?} {name}: {slope} and {length}");
    }
}

#[test]
fn layers_by_hand_give_the_gradients_of_single_operations() {
    let check = |decoder: &Decoder| {
        let whole = loss(decoder, &batch());
        let single = loss_of(decoder, &batch(), decoder.hidden_by_operations(&batch()).unwrap());
        assert!(difference(&whole, &single) < 1e-5);
        let plain = single.backward().unwrap();
        let sunk = decoder.backward(&single).unwrap();
        let ours = decoder.backward(&whole).unwrap();
        for (name, variable) in decoder.parameters() {
            let plain = plain.get(&variable).unwrap();
            for other in [&sunk, &ours] {
                let off = difference(plain, other.get(&variable).unwrap());
                assert!(off < 2e-5, "{:?} {name} differs by {off}", decoder.config().family);
            }
        }
    };
    for tied in [true, false] {
        let config = DecoderConfig { tie_word_embeddings: tied, ..tiny() };
        check(&Decoder::random(&config, 1, &Device::Cpu).unwrap());
    }
    for config in families() {
        check(&Decoder::random(&config, 1, &Device::Cpu).unwrap());
    }
    let some = vec!["q_proj".to_owned(), "o_proj".to_owned(), "up_proj".to_owned()];
    for target_modules in [lora().target_modules, some] {
        let decoder = with_adapters(LoraConfig { target_modules, ..lora() });
        for (_, variable) in decoder.parameters() {
            variable.set(&(variable.as_tensor() + 0.02).unwrap().detach()).unwrap();
        }
        check(&decoder);
    }
}

#[test]
fn gradients_that_would_be_missing_are_an_error() {
    let decoder = Decoder::random(&tiny(), 1, &Device::Cpu).unwrap();
    let error = loss(&decoder, &batch()).backward().unwrap_err().to_string();
    assert!(error.contains("Decoder::backward"), "{error}");
}

#[test]
fn adapters_and_nothing_else_get_gradients() {
    let decoder = with_adapters(lora());
    let parameters = decoder.parameters();
    assert_eq!(parameters.len(), 2 * 7 * 2);
    let first = "base_model.model.model.layers.0.mlp.down_proj.lora_A.weight";
    assert_eq!(parameters[0].0, first);
    let gradients = decoder.backward(&loss(&decoder, &batch())).unwrap();
    let known: Vec<_> = parameters.iter().map(|(_, variable)| variable.id()).collect();
    for id in gradients.get_ids().filter(|id| !known.contains(id)) {
        // candle's addition leaves gradients of untracked activations behind; weights have none.
        assert_eq!(
            gradients.get_id(*id).unwrap().dim(0).unwrap(),
            9,
            "a gradient of a frozen weight"
        );
    }
    for (name, variable) in &parameters {
        let gradient = gradients.get(variable).unwrap_or_else(|| panic!("{name} has none"));
        let size = gradient.abs().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
        // B begins at zero, so A has no slope yet.
        assert_eq!(size > 0.0, name.contains("lora_B"), "{name}: {size}");
    }
    for (_, variable) in &parameters {
        variable.set(&(variable.as_tensor() + 0.01).unwrap().detach()).unwrap();
    }
    let gradients = decoder.backward(&loss(&decoder, &batch())).unwrap();
    for (name, variable) in &parameters {
        let gradient = gradients.get(variable).unwrap();
        assert!(
            gradient.abs().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap() > 0.0,
            "{name}"
        );
    }
}

#[test]
fn fresh_adapters_change_nothing() {
    let plain = Decoder::random(&tiny(), 1, &Device::Cpu).unwrap().hidden(&batch()).unwrap();
    let adapted = with_adapters(lora()).hidden(&batch()).unwrap();
    assert_eq!(difference(&plain, &adapted), 0.0);
}

#[test]
fn only_the_named_modules_are_adapted() {
    let targets = vec!["q_proj".to_owned(), "v_proj".to_owned()];
    let decoder = with_adapters(LoraConfig { r: 2, lora_alpha: 4.0, target_modules: targets });
    let names: Vec<String> = decoder.parameters().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), 8);
    assert!(names.iter().all(|name| name.contains("q_proj") || name.contains("v_proj")));
}

#[test]
fn an_adapter_for_a_module_that_does_not_exist_is_refused() {
    let lora = LoraConfig { r: 2, lora_alpha: 4.0, target_modules: vec!["query".into()] };
    let error = lora.validate().unwrap_err();
    assert!(matches!(&error, LmError::TargetModule { name, .. } if name == "query"), "{error}");
    assert!(error.to_string().contains("q_proj, k_proj"), "{error}");
}

#[test]
fn two_runs_are_equal_bit_for_bit() {
    let run = |config: &DecoderConfig| {
        let config = DecoderConfig {
            hidden_size: 96,
            intermediate_size: 200,
            head_dim: 24,
            ..config.clone()
        };
        let decoder = Decoder::random(&config, 3, &Device::Cpu).unwrap();
        let tokens: Vec<u32> = (0..100).map(|i| i * 31 % 61).collect();
        let batch = Packed { tokens, lengths: vec![64, 36], ..Packed::default() };
        let hidden = decoder.hidden(&batch).unwrap();
        let rows: Vec<u32> = (0..60).collect();
        let targets: Vec<u32> = rows.iter().map(|row| batch.tokens[*row as usize + 1]).collect();
        let loss = decoder.log_probs(&hidden, &rows, &targets).unwrap().mean_all().unwrap();
        let gradients = decoder.backward(&loss).unwrap();
        let gradients: Vec<Vec<u32>> = decoder
            .parameters()
            .iter()
            .map(|(_, variable)| bits(gradients.get(variable).unwrap()))
            .collect();
        (bits(&hidden), bits(&loss), gradients)
    };
    for config in [vec![tiny()], families()].concat() {
        assert!(run(&config) == run(&config), "{:?}", config.family);
    }
}

#[test]
fn sequences_in_one_batch_do_not_see_each_other() {
    for config in [vec![tiny()], families()].concat() {
        let decoder = Decoder::random(&config, 1, &Device::Cpu).unwrap();
        let packed = decoder.hidden(&batch()).unwrap();
        let tokens = batch().tokens;
        let (first, second) = tokens.split_at(4);
        for (start, tokens) in [(0, first), (4, second)] {
            let alone = Packed {
                tokens: tokens.to_vec(),
                lengths: vec![tokens.len()],
                ..Packed::default()
            };
            let alone = decoder.hidden(&alone).unwrap();
            let part = packed.narrow(0, start, tokens.len()).unwrap();
            assert!(difference(&part, &alone) < 1e-6, "{:?}", config.family);
        }
    }
}

#[test]
fn a_later_token_changes_nothing_before_it() {
    let decoder = Decoder::random(&tiny(), 1, &Device::Cpu).unwrap();
    let one = Packed { tokens: vec![1, 2, 3, 4], lengths: vec![4], ..Packed::default() };
    let other = Packed { tokens: vec![1, 2, 3, 50], lengths: vec![4], ..Packed::default() };
    let (a, b) = (decoder.hidden(&one).unwrap(), decoder.hidden(&other).unwrap());
    assert!(difference(&a.narrow(0, 0, 3).unwrap(), &b.narrow(0, 0, 3).unwrap()) < 1e-6);
    assert!(difference(&a, &b) > 1e-2);
}

#[test]
fn log_probs_are_those_of_the_logits() {
    let decoder = Decoder::random(&tiny(), 1, &Device::Cpu).unwrap();
    let hidden = decoder.hidden(&batch()).unwrap();
    let logits = decoder.logits(&hidden).unwrap();
    let all = candle_nn::ops::log_softmax(&logits, 1).unwrap().to_vec2::<f32>().unwrap();
    let (rows, targets) = ([8u32, 0, 0], [60u32, 1, 0]);
    let ours = decoder.log_probs(&hidden, &rows, &targets).unwrap().to_vec1::<f32>().unwrap();
    for ((row, target), ours) in rows.iter().zip(targets).zip(ours) {
        assert!((all[*row as usize][target as usize] - ours).abs() < 1e-5);
    }
}

#[test]
fn a_twin_carries_no_gradient_and_a_snapshot_stays() {
    let decoder = Decoder::random(&tiny(), 1, &Device::Cpu).unwrap();
    let (twin, snapshot) = (decoder.detached(), decoder.snapshot().unwrap());
    let before = decoder.hidden(&batch()).unwrap();
    assert!(before.track_op());
    for other in [&twin, &snapshot] {
        let hidden = other.hidden(&batch()).unwrap();
        assert!(!hidden.track_op());
        assert_eq!(difference(&hidden, &before), 0.0);
        assert!(other.parameters().is_empty());
    }
    for (_, variable) in decoder.parameters() {
        variable.set(&(variable.as_tensor() * 1.5).unwrap().detach()).unwrap();
    }
    let after = decoder.hidden(&batch()).unwrap();
    assert_eq!(difference(&twin.hidden(&batch()).unwrap(), &after), 0.0);
    assert_eq!(difference(&snapshot.hidden(&batch()).unwrap(), &before), 0.0);
}

#[test]
fn random_weights_follow_from_seed_and_name() {
    let decoder = |seed| Decoder::random(&tiny(), seed, &Device::Cpu).unwrap();
    let values = |decoder: &Decoder| -> Vec<Vec<u32>> {
        decoder.parameters().iter().map(|(_, variable)| bits(variable)).collect()
    };
    assert_eq!(values(&decoder(1)), values(&decoder(1)));
    assert_ne!(values(&decoder(1)), values(&decoder(2)));
    let weights = decoder(1);
    let spread = |wanted: &str| {
        let (_, variable) =
            weights.parameters().into_iter().find(|(name, _)| name == wanted).unwrap();
        let mean = variable.sqr().unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap();
        mean.sqrt()
    };
    assert!((spread("model.embed_tokens.weight") - 0.02).abs() < 0.002);
    assert!((spread("model.layers.0.self_attn.o_proj.weight") - 0.01).abs() < 0.002);
    assert_eq!(spread("model.norm.weight"), 1.0);
}

#[test]
fn batches_that_do_not_fit_are_refused() {
    let decoder = Decoder::random(&tiny(), 1, &Device::Cpu).unwrap();
    for (tokens, lengths, part) in [
        (vec![1, 2], vec![1], "2 tokens in 1 sequences"),
        (vec![], vec![], "0 tokens in 0 sequences"),
        (vec![1, 2], vec![2, 0], "sequence 1 has 0 tokens"),
        (vec![1; 65], vec![65], "sequence 0 has 65 tokens"),
        (vec![1, 61], vec![2], "token 61 at position 1"),
        (vec![1, 2], vec![usize::MAX, 3], "2 tokens in 2 sequences"),
    ] {
        let error = decoder.hidden(&Packed { tokens, lengths, ..Packed::default() }).unwrap_err();
        assert!(matches!(error, LmError::Batch { .. }), "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
    let hidden = decoder.hidden(&batch()).unwrap();
    for (rows, targets) in [(vec![9], vec![1]), (vec![0], vec![61]), (vec![0, 1], vec![1])] {
        let error = decoder.log_probs(&hidden, &rows, &targets).unwrap_err();
        assert!(matches!(error, LmError::Batch { .. }), "{error}");
    }
    let none = decoder.log_probs(&hidden, &[], &[]).unwrap();
    assert_eq!(none.dims(), [0]);
}

#[test]
fn configurations_that_do_not_fit_are_refused() {
    for config in [
        DecoderConfig { n_kv_heads: 3, ..tiny() },
        DecoderConfig { head_dim: 5, ..tiny() },
        DecoderConfig { vocab_size: 0, ..tiny() },
        DecoderConfig { rope_theta: f64::NAN, ..tiny() },
        DecoderConfig { hidden_size: usize::MAX, ..tiny() },
    ] {
        let error = Decoder::random(&config, 1, &Device::Cpu).err().unwrap();
        assert!(matches!(error, LmError::Config { .. }), "{error}");
    }
}

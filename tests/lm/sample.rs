//! Samples and scores: against the training pass, alone against batched, and request by request.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::Path;
use std::slice;

use candle_core::Device;
use proptest::prelude::*;
use serde_json::Value;
use swirldb::lm::{
    Activation, Decoder, DecoderConfig, Distribution, End, Family, LmError, LoraConfig, Packed,
    Prefix, Progress, Prompt, Request, Sample, Sampler, SamplerOptions, Tokenizer, Training, load,
};

use super::tiny;

/// Never ends a run.
fn go_on(_: &Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Returns a decoder that has everything that families add: windows that end inside of blocks of
/// the cache, bounded scores and logits, norms of heads and branches, biases, angles of two kinds.
fn everything() -> DecoderConfig {
    DecoderConfig {
        family: Family::Gemma2,
        n_layers: 3,
        activation: Activation::GeluTanh,
        attention_soft_cap: Some(2.0),
        logit_soft_cap: Some(3.0),
        sliding_window: Some(7),
        sliding_layers: vec![true, false, true],
        norm_adds_one: true,
        branch_norms: true,
        embedding_scaled: true,
        query_scalar: Some(9.0),
        ..tiny()
    }
}

fn random(config: &DecoderConfig) -> Decoder {
    Decoder::random(config, 5, &Device::Cpu).unwrap()
}

fn options() -> SamplerOptions {
    SamplerOptions { slots: 4, cache_tokens: 512, prefill_tokens: 16 }
}

fn sampler(decoder: &Decoder) -> Sampler {
    Sampler::new(decoder, options()).unwrap()
}

fn prompt(seed: u32, length: usize) -> Vec<u32> {
    (0..length as u32).map(|i| (i * i * 7 + i * 13 + seed * 29) % 61).collect()
}

fn request(tokens: Vec<u32>, seed: u64) -> Request {
    Request { prompt: Prompt::new(tokens), max_new_tokens: 12, seed, ..Request::default() }
}

fn run(sampler: &mut Sampler, requests: &[Request]) -> Vec<Sample> {
    sampler.run(requests, None, &mut go_on).unwrap().samples
}

fn one(sampler: &mut Sampler, request: &Request) -> Sample {
    run(sampler, slice::from_ref(request)).remove(0)
}

/// Returns everything that a sample says, its numbers by their bits.
fn bits(sample: &Sample) -> (Vec<u32>, Vec<u32>, Vec<u32>) {
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect();
    (sample.tokens.clone(), bits(&sample.log_probs), bits(&sample.drawn_log_probs))
}

/// Returns the logits of every token of a sequence by the training pass.
fn logits(decoder: &Decoder, tokens: &[u32]) -> Vec<Vec<f32>> {
    let batch =
        Packed { tokens: tokens.to_vec(), lengths: vec![tokens.len()], ..Packed::default() };
    decoder.logits(&decoder.hidden(&batch).unwrap()).unwrap().to_vec2().unwrap()
}

/// Returns the log-probabilities of the tokens behind the first `from` by the training pass.
fn log_probs(decoder: &Decoder, tokens: &[u32], from: usize) -> Vec<f32> {
    let batch =
        Packed { tokens: tokens.to_vec(), lengths: vec![tokens.len()], ..Packed::default() };
    let hidden = decoder.hidden(&batch).unwrap();
    let rows: Vec<u32> = (from as u32 - 1..tokens.len() as u32 - 1).collect();
    decoder.log_probs(&hidden, &rows, &tokens[from..]).unwrap().to_vec1().unwrap()
}

fn assert_near(ours: &[f32], theirs: &[f32], name: &str) {
    assert_eq!(ours.len(), theirs.len(), "{name}");
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert!((ours - theirs).abs() < 1e-5, "{name}: {ours} and {theirs}");
    }
}

/// Every family as transformers wrote it, and one decoder with everything at once.
fn decoders() -> Vec<(String, Decoder)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/models");
    let mut decoders = vec![("everything".to_owned(), random(&everything()))];
    for name in
        ["llama-tiny", "llama3-tiny", "qwen2-tiny", "qwen3-tiny", "gemma2-tiny", "gemma3-tiny"]
    {
        let model = load(&directory.join(name), &Training::Frozen, 0, &Device::Cpu).unwrap();
        decoders.push((name.to_owned(), model.decoder));
    }
    decoders
}

#[test]
fn samples_and_scores_are_those_of_the_training_pass() {
    for (name, decoder) in decoders() {
        let vocabulary = decoder.config().vocab_size as u32;
        let mut sampler = sampler(&decoder);
        let prompt: Vec<u32> = (0..21).map(|i| (i * i * 7 + i) % vocabulary).collect();
        let greedy = Request {
            distribution: Distribution::greedy(),
            max_new_tokens: 20,
            ..request(prompt.clone(), 0)
        };
        let drawn = Request { distribution: Distribution::default(), seed: 3, ..greedy.clone() };
        for request in [greedy, drawn] {
            let sample = one(&mut sampler, &request);
            assert_eq!((sample.tokens.len(), &sample.end), (20, &End::Length));
            let whole = [prompt.clone(), sample.tokens.clone()].concat();
            assert_near(&sample.log_probs, &log_probs(&decoder, &whole, prompt.len()), &name);
            let prompt = Prompt::new(prompt.clone());
            let continuations = [sample.tokens.clone(), vec![], sample.tokens[..1].to_vec()];
            let scores = sampler.score(&prompt, &continuations, &mut go_on).unwrap().unwrap();
            assert_eq!(scores[0], sample.log_probs, "{name}");
            assert_eq!(scores[1], [0f32; 0]);
            assert_eq!(scores[2], sample.log_probs[..1]);
            if request.distribution.temperature > 0.0 {
                assert_near(&sample.drawn_log_probs, &sample.log_probs, &name);
                continue;
            }
            assert_eq!(sample.drawn_log_probs, [0f32; 20]);
            let logits = logits(&decoder, &whole);
            for (row, token) in logits[20..].iter().zip(&sample.tokens) {
                let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                assert!(row[*token as usize] > largest - 1e-5, "{name}");
            }
        }
        assert_eq!(sampler.free_cache_tokens(), sampler.cache_tokens());
    }
}

#[test]
fn greedy_tokens_are_those_of_transformers() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/models/greedy.json");
    let expected: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let decoders = decoders();
    assert_eq!(expected.as_object().unwrap().len(), decoders.len() - 1);
    for (name, decoder) in &decoders[1..] {
        let list = |key: &str| -> Vec<u32> {
            serde_json::from_value(expected[name][key].clone()).unwrap()
        };
        let request = Request {
            distribution: Distribution::greedy(),
            max_new_tokens: 20,
            ..request(list("prompt"), 0)
        };
        assert_eq!(one(&mut sampler(decoder), &request).tokens, list("tokens"), "{name}");
    }
}

#[test]
fn adapters_take_part() {
    let folder = tempfile::tempdir().unwrap();
    random(&tiny()).save(folder.path(), None).unwrap();
    let target_modules = vec!["all-linear".to_owned()];
    let lora = Training::Lora(LoraConfig { r: 4, lora_alpha: 8.0, target_modules });
    let decoder = load(folder.path(), &lora, 7, &Device::Cpu).unwrap().decoder;
    for (_, variable) in decoder.parameters() {
        variable.set(&(variable.as_tensor() + 0.05).unwrap().detach()).unwrap();
    }
    let sample = one(&mut sampler(&decoder), &request(prompt(1, 9), 0));
    let whole = [prompt(1, 9), sample.tokens.clone()].concat();
    assert_near(&sample.log_probs, &log_probs(&decoder, &whole, 9), "lora");
}

/// Returns requests of different lengths, seeds and settings.
fn requests() -> Vec<Request> {
    let distributions = [
        Distribution::default(),
        Distribution::greedy(),
        Distribution { temperature: 0.7, top_k: 20, top_p: 0.9, min_p: 0.01 },
    ];
    (0..9u32)
        .map(|number| Request {
            distribution: distributions[number as usize % 3],
            max_new_tokens: 1 + (number as usize * 5) % 14,
            stop_tokens: vec![number],
            ..request(prompt(number, 1 + (number as usize * 11) % 37), u64::from(number))
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_request_gives_the_same_bits_in_any_company(
        order in Just((0..9usize).collect::<Vec<_>>()).prop_shuffle(),
        count in 1..9usize,
        slots in 1..7usize,
        prefill_tokens in 1..40usize,
        cache_tokens in 64..400usize,
        threads in 1..4usize,
        cached in 0..9usize,
    ) {
        let decoder = random(&everything());
        let requests = requests();
        let alone = one(&mut sampler(&decoder), &requests[order[0]]);
        let options = SamplerOptions { slots, cache_tokens, prefill_tokens };
        let mut sampler = Sampler::new(&decoder, options).unwrap();
        let mut batch: Vec<Request> = order[..count].iter().map(|n| requests[*n].clone()).collect();
        let mut prefixes = Vec::new();
        for request in &mut batch {
            // Part of the prompt is read before, and some of that by another one still.
            let tokens = std::mem::take(&mut request.prompt.tokens);
            let cut = cached.min(tokens.len());
            if cut > 0 && sampler.free_cache_tokens() > 160 {
                let whole = sampler.prefill(&Prompt::new(tokens.clone()), &mut go_on).unwrap();
                request.prompt.prefix = Some(whole.head(cut).unwrap());
                request.prompt.tokens = tokens[cut..].to_vec();
                prefixes.push(request.prompt.clone());
            } else {
                request.prompt.tokens = tokens;
            }
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let samples = match pool.install(|| sampler.run(&batch, None, &mut go_on)) {
            Ok(samples) => samples.samples,
            // The smallest caches do not hold the prefixes and a request beside them.
            Err(LmError::Cache { .. }) => return Ok(()),
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        };
        prop_assert_eq!(bits(&samples[0]), bits(&alone));
        for (request, sample) in batch.iter().zip(&samples).skip(1) {
            prop_assert!(sample.tokens.len() <= request.max_new_tokens);
        }
    }
}

#[test]
fn states_of_a_trajectory_share_its_prefill() {
    let decoder = random(&everything());
    let tokens = prompt(4, 50);
    let cache_tokens = 50 + 14 + 3 * 48;
    let options = SamplerOptions { slots: 3, cache_tokens, prefill_tokens: 7 };
    let mut branching = Sampler::new(&decoder, options).unwrap();
    let trajectory = branching.prefill(&Prompt::new(tokens.clone()), &mut go_on).unwrap();
    let states = [16, 31, 50];
    let of_state = |prompt: Prompt, seed| Request { prompt, ..request(Vec::new(), seed) };
    let mut requests = Vec::new();
    for state in states {
        for seed in 0..4 {
            let prefix = Some(trajectory.head(state).unwrap());
            requests.push(of_state(Prompt { prefix, tokens: Vec::new() }, seed));
        }
    }
    let out = branching.run(&requests, None, &mut go_on).unwrap();
    // The last token of each state was run again, nothing else of the prompts.
    assert_eq!(out.counts.prompt_tokens, 12);
    assert_eq!(out.counts.cached_tokens, 4 * (15 + 30 + 49));
    assert_eq!(out.counts.new_tokens, 12 * 12);
    let mut plain = sampler(&decoder);
    for (sample, (state, seed)) in out
        .samples
        .iter()
        .zip(states.iter().flat_map(|state| (0..4).map(move |seed| (state, seed))))
    {
        let alone = one(&mut plain, &of_state(Prompt::new(tokens[..*state].to_vec()), seed));
        assert_eq!(bits(sample), bits(&alone));
    }
    let different: HashSet<&Vec<u32>> = out.samples.iter().map(|sample| &sample.tokens).collect();
    assert_eq!(different.len(), 12);
    assert_eq!(branching.free_cache_tokens(), branching.cache_tokens() - 64);
    drop((trajectory, requests, out));
    assert_eq!(branching.free_cache_tokens(), branching.cache_tokens());
}

#[test]
fn a_live_trajectory_keeps_its_cache_from_turn_to_turn() {
    let decoder = random(&everything());
    let (mut keeping, mut plain) = (sampler(&decoder), sampler(&decoder));
    let mut whole = Vec::new();
    let mut prefix: Option<Prefix> = None;
    for turn in 0..4 {
        let observation = prompt(turn, 5 + 3 * turn as usize);
        whole.extend_from_slice(&observation);
        let next = Request {
            prompt: Prompt { prefix: prefix.take(), tokens: observation },
            max_new_tokens: 4,
            keep: true,
            ..request(Vec::new(), 8)
        };
        let out = keeping.run(&[next], None, &mut go_on).unwrap();
        let alone = Request { max_new_tokens: 4, ..request(whole.clone(), 8) };
        assert_eq!(bits(&out.samples[0]), bits(&one(&mut plain, &alone)));
        whole.extend_from_slice(&out.samples[0].tokens);
        prefix = out.samples[0].prefix.clone();
        assert_eq!(prefix.as_ref().unwrap().tokens(), whole);
        // The last token of the turn before and the observation.
        let read = 5 + 3 * u64::from(turn) + u64::from(turn > 0);
        assert_eq!(out.counts.prompt_tokens, read);
    }
}

#[test]
fn a_sample_that_was_cut_goes_on_as_it_would_have() {
    let decoder = random(&tiny());
    let requests: Vec<Request> = (0..3).map(|seed| request(prompt(2, 6), seed)).collect();
    let options = SamplerOptions { slots: 2, ..options() };
    let mut sampler = Sampler::new(&decoder, options).unwrap();
    let whole = run(&mut sampler, &requests);
    let stop = |progress: &Progress| match progress.counts.new_tokens >= 10 {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    };
    let cut = sampler.run(&requests, None, &mut { stop }).unwrap().samples;
    assert_eq!(cut.iter().map(|s| s.tokens.len()).collect::<Vec<_>>(), [5, 5, 0]);
    assert!(cut.iter().all(|sample| sample.end == End::Cancelled));
    let rest: Vec<Request> = requests
        .iter()
        .zip(&cut)
        .map(|(request, cut)| Request {
            prompt: Prompt::new([prompt(2, 6), cut.tokens.clone()].concat()),
            max_new_tokens: 12 - cut.tokens.len(),
            ..request.clone()
        })
        .collect();
    for ((cut, rest), whole) in cut.iter().zip(run(&mut sampler, &rest)).zip(whole) {
        assert_eq!([cut.tokens.clone(), rest.tokens].concat(), whole.tokens);
        assert_eq!([cut.log_probs.clone(), rest.log_probs].concat(), whole.log_probs);
    }
    let prefix =
        sampler.prefill(&Prompt::new(prompt(2, 40)), &mut |_| ControlFlow::Break(())).unwrap();
    assert_eq!(prefix.tokens().len(), 40);
    let resumed = Prompt { prefix: Some(prefix), tokens: Vec::new() };
    let resumed = one(&mut sampler, &Request { prompt: resumed, ..request(Vec::new(), 1) });
    assert_eq!(bits(&resumed), bits(&one(&mut sampler, &request(prompt(2, 40), 1))));
    let none = sampler
        .score(&Prompt::new(prompt(2, 40)), &[vec![1]], &mut |_| ControlFlow::Break(()))
        .unwrap();
    assert!(none.is_none());
}

/// Returns the probabilities that are left, 0 for those that are cut.
fn left(probabilities: &[f64], distribution: Distribution) -> Vec<f64> {
    let logits: Vec<f32> = probabilities.iter().map(|p| p.ln() as f32).collect();
    let log_probs = distribution.log_probs(&logits).unwrap();
    log_probs.into_iter().map(|log_prob| f64::from(log_prob).exp()).collect()
}

#[test]
fn probabilities_are_cut_as_transformers_cuts_them() {
    let probabilities = [0.0625, 0.5, 0.25, 0.125, 0.0625];
    let plain = Distribution::default();
    let third = 1.0 / 3.0;
    for (distribution, expected) in [
        (plain, probabilities),
        (Distribution::greedy(), [0.0, 1.0, 0.0, 0.0, 0.0]),
        (Distribution { top_k: 2, ..plain }, [0.0, 2.0 * third, third, 0.0, 0.0]),
        // The fourth and the fifth are equal: both stay.
        (Distribution { top_k: 4, ..plain }, probabilities),
        (Distribution { top_k: 9, ..plain }, probabilities),
        // Least probable first, 0.0625, 0.125, 0.25 and 0.5 go by: those up to 1 - top_p go out.
        (Distribution { top_p: 0.7, ..plain }, [0.0, 2.0 * third, third, 0.0, 0.0]),
        (Distribution { top_p: 0.8, ..plain }, [0.0, 4.0 / 7.0, 2.0 / 7.0, 1.0 / 7.0, 0.0]),
        // Of equals the first goes out first.
        (
            Distribution { top_p: 0.9, ..plain },
            [0.0, 8.0 / 15.0, 4.0 / 15.0, 2.0 / 15.0, 1.0 / 15.0],
        ),
        (Distribution { top_p: 0.0, ..plain }, [0.0, 1.0, 0.0, 0.0, 0.0]),
        (Distribution { min_p: 0.3, ..plain }, [0.0, 2.0 * third, third, 0.0, 0.0]),
        (Distribution { min_p: 0.2, ..plain }, [0.0, 4.0 / 7.0, 2.0 / 7.0, 1.0 / 7.0, 0.0]),
        // At temperature 1/2 they are as 1 : 64 : 16 : 4 : 1, and 0.744 is more than 0.7.
        (Distribution { temperature: 0.5, top_p: 0.7, ..plain }, [0.0, 1.0, 0.0, 0.0, 0.0]),
        (
            Distribution { temperature: 0.5, ..plain },
            [1.0 / 86.0, 64.0 / 86.0, 16.0 / 86.0, 4.0 / 86.0, 1.0 / 86.0],
        ),
        // top_p sees what top_k has left, min_p what top_p has left.
        (Distribution { top_k: 2, top_p: 0.6, ..plain }, [0.0, 1.0, 0.0, 0.0, 0.0]),
        (Distribution { top_p: 0.8, min_p: 0.3, ..plain }, [0.0, 2.0 * third, third, 0.0, 0.0]),
    ] {
        for (ours, expected) in left(&probabilities, distribution).iter().zip(expected) {
            assert!((ours - expected).abs() < 1e-6, "{distribution:?}: {ours} and {expected}");
        }
    }
}

#[test]
fn tokens_come_as_often_as_their_distribution_says() {
    let decoder = random(&DecoderConfig { vocab_size: 6, ..tiny() });
    for (_, variable) in decoder.parameters() {
        variable.set(&(variable.as_tensor() * 8.0).unwrap().detach()).unwrap();
    }
    let distribution = Distribution { temperature: 0.8, top_k: 4, ..Distribution::default() };
    let mut sampler = Sampler::new(&decoder, SamplerOptions { slots: 64, ..options() }).unwrap();
    let requests: Vec<Request> = (0..2000)
        .map(|seed| Request { max_new_tokens: 1, distribution, ..request(vec![1, 2, 3], seed) })
        .collect();
    let expected = distribution.log_probs(&logits(&decoder, &[1, 2, 3])[2]).unwrap();
    let mut counts = [0f64; 6];
    for sample in run(&mut sampler, &requests) {
        let token = sample.tokens[0] as usize;
        counts[token] += 1.0;
        assert!((sample.drawn_log_probs[0] - expected[token]).abs() < 1e-5);
    }
    assert_eq!(counts.iter().filter(|count| **count == 0.0).count(), 2);
    for (count, log_prob) in counts.iter().zip(expected) {
        let probability = f64::from(log_prob).exp();
        let deviation = (2000.0 * probability * (1.0 - probability)).sqrt();
        assert!((count - 2000.0 * probability).abs() <= 4.0 * deviation, "{counts:?}");
    }
}

#[test]
fn a_sample_ends_with_a_stop_string_wherever_tokens_begin() {
    let texts = (0..300usize).map(|i| format!("</search> 你好 naïve {} é", i % 7));
    let special = ["<|im_end|>"];
    let tokenizer = Tokenizer::train(texts, 270, &special).unwrap();
    let decoder = random(&DecoderConfig { vocab_size: tokenizer.vocab_size(), ..tiny() });
    let mut sampler = sampler(&decoder);
    let mut inside = 0;
    for seed in 0..12 {
        let plain = Request { max_new_tokens: 30, ..request(vec![1, 2, 3], seed) };
        let whole = sampler.run(slice::from_ref(&plain), Some(&tokenizer), &mut go_on).unwrap();
        let whole = whole.samples[0].clone();
        let text = whole.text.unwrap();
        assert_eq!(text, tokenizer.decode(&whole.tokens));
        // Every text of three characters in the middle, if it is not broken.
        let marks: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        let Some(at) = (marks.len() / 2..marks.len().saturating_sub(3))
            .find(|at| !text[marks[*at]..marks[at + 3]].contains('\u{fffd}'))
        else {
            continue;
        };
        let stop = text[marks[at]..marks[at + 3]].to_owned();
        let start = text.find(&stop).unwrap();
        let stopping = Request { stop: vec!["no such text".to_owned(), stop.clone()], ..plain };
        let out = sampler.run(&[stopping], Some(&tokenizer), &mut go_on).unwrap();
        let out = out.samples[0].clone();
        let ours = out.text.unwrap();
        assert!(ours.ends_with(&stop), "{ours:?} and {stop:?}");
        assert_eq!(whole.tokens[..out.tokens.len()], out.tokens);
        let End::StopString { number: 1, start: ours_start, behind } = out.end else {
            panic!("{:?}", out.end);
        };
        assert_eq!(&ours[ours_start..], stop);
        if !text[..start].contains('\u{fffd}') {
            assert_eq!(format!("{ours}{behind}"), tokenizer.decode(&out.tokens));
        }
        inside += usize::from(!behind.is_empty());
    }
    assert!(inside > 0, "no stop string ended inside of a token");
}

#[test]
fn bytes_of_tokens_are_their_text() {
    let texts = (0..300usize).map(|i| format!("</search> 你好 naïve {} é", i % 7));
    let tokenizer = Tokenizer::train(texts, 270, &["<|im_end|>"]).unwrap();
    let ids: Vec<u32> = (0..tokenizer.vocab_size() as u32).collect();
    for text in ["naïve 你好\n", "<|im_end|> \u{1f600}"] {
        for ids in [tokenizer.encode(text), tokenizer.encode_with_special(text)] {
            let bytes = ids.iter().flat_map(|id| tokenizer.token_bytes(*id).unwrap());
            assert_eq!(String::from_utf8(bytes.collect()).unwrap(), text);
        }
    }
    let all: Vec<u8> = ids.iter().flat_map(|id| tokenizer.token_bytes(*id).unwrap()).collect();
    assert_eq!(String::from_utf8_lossy(&all), tokenizer.decode(&ids));
    assert_eq!(tokenizer.token_bytes(9999), None);
}

#[test]
fn a_sample_ends_with_a_stop_token_or_the_context() {
    let decoder = random(&tiny());
    let mut sampler = sampler(&decoder);
    let plain = one(&mut sampler, &request(prompt(1, 5), 1));
    let token = plain.tokens[4];
    let first = plain.tokens.iter().position(|other| *other == token).unwrap();
    let stopping = Request { stop_tokens: vec![token], ..request(prompt(1, 5), 1) };
    let sample = one(&mut sampler, &stopping);
    assert_eq!((sample.tokens.len(), sample.end), (first + 1, End::StopToken(token)));
    let sample = one(&mut sampler, &request(prompt(1, 60), 1));
    assert_eq!((sample.tokens.len(), sample.end), (4, End::Context));
}

#[test]
fn requests_that_make_no_sense_are_refused_by_number() {
    let decoder = random(&tiny());
    let mut sampler = sampler(&decoder);
    let good = request(vec![1], 0);
    let with = |distribution| Request { distribution, ..good.clone() };
    let plain = Distribution::default();
    for (bad, part) in [
        (request(vec![], 0), "its prompt is empty"),
        (request(prompt(0, 65), 0), "its prompt has 65 tokens; expected at most 64"),
        (request(prompt(0, 64), 0), "fills the context of 64"),
        (request(vec![1, 61], 0), "token 61 at position 1 of its prompt"),
        (Request { stop_tokens: vec![99], ..good.clone() }, "token 99"),
        (Request { max_new_tokens: 0, ..good.clone() }, "max_new_tokens is 0"),
        (Request { stop: vec!["a".to_owned()], ..good.clone() }, "without a tokenizer"),
        (Request { stop: vec![String::new()], ..good.clone() }, "a stop string is empty"),
        (with(Distribution { temperature: -1.0, ..plain }), "temperature is -1"),
        (with(Distribution { temperature: f64::NAN, ..plain }), "temperature is NaN"),
        (with(Distribution { top_p: 1.5, ..plain }), "top_p is 1.5"),
        (with(Distribution { min_p: -0.1, ..plain }), "min_p is -0.1"),
    ] {
        let error = sampler.run(&[good.clone(), bad], None, &mut go_on).unwrap_err();
        assert!(matches!(error, LmError::Request { number: 1, .. }), "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
    let prompt = Prompt::new(vec![1; 60]);
    for (continuation, part) in [(vec![1; 5], "at most 4"), (vec![61], "token 61")] {
        let error = sampler.score(&prompt, &[vec![], continuation], &mut go_on).unwrap_err();
        assert!(matches!(error, LmError::Request { number: 1, .. }), "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
    assert!(run(&mut sampler, &[]).is_empty());
    for options in [
        SamplerOptions { slots: 0, ..options() },
        SamplerOptions { slots: 1, cache_tokens: 0, prefill_tokens: 1 },
    ] {
        assert!(matches!(Sampler::new(&decoder, options).err(), Some(LmError::Config { .. })));
    }
}

#[test]
fn a_cache_that_is_too_small_says_what_is_needed() {
    let decoder = random(&tiny());
    let options = SamplerOptions { slots: 4, cache_tokens: 48, prefill_tokens: 16 };
    let mut sampler = Sampler::new(&decoder, options).unwrap();
    let long = Request { max_new_tokens: 20, ..request(prompt(1, 30), 1) };
    let error = sampler.run(slice::from_ref(&long), None, &mut go_on).unwrap_err().to_string();
    assert!(error.contains("64 tokens of cache are needed; the cache has 48"), "{error}");
    let held = sampler.prefill(&Prompt::new(prompt(2, 20)), &mut go_on).unwrap();
    let short = request(prompt(1, 15), 1);
    let error = sampler.run(slice::from_ref(&short), None, &mut go_on).unwrap_err().to_string();
    assert!(error.contains("32 tokens of cache are needed"), "{error}");
    assert!(error.contains("prefixes hold 32"), "{error}");
    drop(held);
    // Two requests of 32 tokens each go one after the other.
    let samples = run(&mut sampler, &[short.clone(), short]);
    assert_eq!(bits(&samples[0]), bits(&samples[1]));
    let error = sampler.prefill(&Prompt::new(prompt(1, 60)), &mut go_on).unwrap_err();
    assert!(matches!(error, LmError::Cache { .. }), "{error}");
    let huge = SamplerOptions { cache_tokens: 1 << 40, ..options };
    assert!(matches!(Sampler::new(&decoder, huge).err(), Some(LmError::Cache { .. })));
    // Keys and values of a token: 2 layers, 2 heads, 6 and 16 numbers.
    let cache = |cache_tokens| SamplerOptions { cache_tokens, ..options };
    let bytes = |tokens| cache(tokens).memory_bytes(decoder.config());
    assert_eq!(bytes(64) - bytes(48), 16 * 2 * 2 * 22 * 4);
}

#[test]
fn a_prefix_of_other_weights_is_refused() {
    let decoder = random(&tiny());
    let mut sampler = sampler(&decoder);
    let prefix = sampler.prefill(&Prompt::new(prompt(1, 9)), &mut go_on).unwrap();
    let old = one(&mut sampler, &request(prompt(1, 9), 1));
    let used = Request {
        prompt: Prompt { prefix: Some(prefix.clone()), tokens: vec![] },
        ..request(vec![], 1)
    };
    assert!(prefix.head(10).is_err());
    let mut other = Sampler::new(&decoder, options()).unwrap();
    let error = other.run(slice::from_ref(&used), None, &mut go_on).unwrap_err().to_string();
    assert!(error.contains("another sampler"), "{error}");
    for (_, variable) in decoder.parameters() {
        variable.set(&(variable.as_tensor() * 1.5).unwrap().detach()).unwrap();
    }
    let error = sampler.run(&[used], None, &mut go_on).unwrap_err().to_string();
    assert!(error.contains("under other weights"), "{error}");
    let new = one(&mut sampler, &request(prompt(1, 9), 1));
    assert_ne!(new.log_probs, old.log_probs, "the new weights are sampled from");
}

#[test]
fn logits_that_are_no_numbers_are_an_error() {
    let decoder = random(&tiny());
    let (_, variable) =
        decoder.parameters().into_iter().find(|(name, _)| name == "model.norm.weight").unwrap();
    variable.set(&(variable.as_tensor() * f64::NAN).unwrap().detach()).unwrap();
    let mut sampler = sampler(&decoder);
    let error = sampler.run(&[request(prompt(1, 9), 1)], None, &mut go_on).unwrap_err();
    assert!(matches!(error, LmError::NoProbabilities { number: 0, position: 9, .. }), "{error}");
    let error = sampler.score(&Prompt::new(vec![1]), &[vec![2]], &mut go_on).unwrap_err();
    assert!(matches!(error, LmError::NoProbabilities { .. }), "{error}");
    let plain = Distribution::default();
    for logits in [vec![0.0, f32::NAN], vec![f32::INFINITY, 0.0], vec![f32::NEG_INFINITY; 2]] {
        assert!(matches!(plain.log_probs(&logits), Err(LmError::NoProbabilities { .. })));
    }
}

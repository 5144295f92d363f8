//! Verdicts by the probabilities of whole words, against the logits of the training pass; and what
//! is left out of long conversations.

use std::ops::ControlFlow;
use std::sync::Arc;

use candle_core::Device;
use swirldb::chat::Sampling;
use swirldb::lm::{Decoder, Distribution, Packed, Tokenizer};
use swirldb::model::{Message, role};
use swirldb::render::Renderer;
use swirldb::rollout::judge::{
    BuiltIn, Ending, JudgeParts, JudgeSpec, Judged, ProcessInput, ProcessJudge, Reading, Scale,
    UnreadableReason, scored_verdict, shortened_transcript_text, transcript_text,
};
use swirldb::rollout::{ActRequest, LocalOptions, LocalPolicy, Policy, PolicyError, sampling_json};
use swirldb::train::vocabulary_of;

use super::policies::asked;
use crate::train::{decoder_config, tokenizer};

fn decoder() -> Decoder {
    Decoder::random(&decoder_config(), 3, &Device::Cpu).unwrap()
}

fn renderer(tokenizer: &Tokenizer) -> Renderer {
    Renderer::of_tags(&vocabulary_of(tokenizer)).unwrap()
}

fn local() -> LocalPolicy {
    let tokenizer = tokenizer();
    let renderer = renderer(&tokenizer);
    let options =
        LocalOptions { distribution: Distribution::greedy(), max_new_tokens: 4, slots: 2, seed: 0 };
    let tokenizer = Arc::new(tokenizer);
    LocalPolicy::new(("m", "v"), &decoder(), tokenizer, renderer, options, 2_048).unwrap()
}

/// The log-probability of a word behind a state, from the logits of every token.
fn by_hand(request: &ActRequest, word: &str) -> f64 {
    let tokenizer = tokenizer();
    let messages: Vec<&Message> = request.messages.iter().collect();
    let rendered = renderer(&tokenizer).state(&messages, None).unwrap();
    let mut tokens = Vec::new();
    for piece in &rendered.segments {
        tokens.extend(match piece.control {
            true => tokenizer.encode_with_special(&piece.text),
            false => tokenizer.encode(&piece.text),
        });
    }
    let start = tokens.len();
    tokens.extend(tokenizer.encode(word));
    let lengths = vec![tokens.len()];
    let batch = Packed { tokens: tokens.clone(), lengths, ..Packed::default() };
    let decoder = decoder();
    let logits = decoder.logits(&decoder.hidden(&batch).unwrap()).unwrap();
    let logits: Vec<Vec<f32>> = logits.to_vec2().unwrap();
    let log_prob = |at: usize| {
        let row = logits[at - 1].iter().map(|logit| f64::from(*logit));
        let sum: f64 = row.map(f64::exp).sum();
        f64::from(logits[at - 1][tokens[at] as usize]) - sum.ln()
    };
    (start..tokens.len()).map(log_prob).sum()
}

type Scores = Vec<Option<Result<Vec<f64>, PolicyError>>>;

fn scored(policy: &mut dyn Policy, requests: &[ActRequest], words: &[&str]) -> Scores {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let mut scores: Scores = requests.iter().map(|_| None).collect();
    let taken = policy.score(requests, &words, &|| false, &mut |at, score| {
        assert!(scores[at].replace(score).is_none(), "{at} came twice");
        ControlFlow::Continue(())
    });
    taken.unwrap();
    scores
}

#[test]
fn words_are_as_probable_as_the_logits_say() {
    let mut policy = local();
    // Two begin alike, the second is a beginning of the third, and one comes again.
    let texts = ["which city?", "Paris is", "Paris is a city", "Paris is a city", "Oslo"];
    let requests: Vec<ActRequest> = texts.map(asked).to_vec();
    // The words share their first tokens: the first one alone says nothing.
    let words = ["GOOD", "GREAT", "BAD"];
    let tokens = words.map(|word| tokenizer().encode(word));
    assert!(tokens[0][0] == tokens[1][0] && tokens.iter().all(|tokens| tokens.len() > 1));
    for _ in 0..2 {
        let scores = scored(&mut policy, &requests, &words);
        for (request, score) in requests.iter().zip(&scores) {
            let score = score.as_ref().unwrap().as_ref().unwrap();
            for (word, found) in words.iter().zip(score) {
                let expected = by_hand(request, word);
                assert!((found - expected).abs() < 1e-4, "{word}: {found} and {expected}");
            }
        }
    }
    // Alone it is the same to the last bit.
    let together = scored(&mut policy, &requests, &words);
    let alone = scored(&mut local(), &requests[2..3], &words);
    let bits = |score: &Option<Result<Vec<f64>, PolicyError>>| -> Vec<u64> {
        score.as_ref().unwrap().as_ref().unwrap().iter().map(|l| l.to_bits()).collect()
    };
    assert_eq!(bits(&together[2]), bits(&alone[0]));
}

#[test]
fn a_state_that_is_too_long_is_told_and_the_others_go_on() {
    let mut policy = local();
    let requests = [asked(&"city ".repeat(600)), asked("city?")];
    let scores = scored(&mut policy, &requests, &["GOOD", "BAD"]);
    let Some(Err(error)) = &scores[0] else { panic!("{scores:?}") };
    assert!(error.to_string().ends_with("and the context of the model is 512"), "{error}");
    assert!(matches!(&scores[1], Some(Ok(score)) if score.len() == 2));
    let empty = policy
        .score(&requests[1..], &[String::new()], &|| false, &mut |_, _| ControlFlow::Continue(()));
    assert!(empty.unwrap_err().to_string().contains("has no tokens for ''"));
    let ended = policy.score(&requests[1..], &["GOOD".to_owned()], &|| true, &mut |_, _| {
        ControlFlow::Continue(())
    });
    assert!(matches!(ended, Err(PolicyError::Cancelled)), "{ended:?}");
}

#[test]
fn a_verdict_is_the_share_of_its_word() {
    let words = Scale::words("GOOD", "BAD");
    let verdict = scored_verdict(&words, &[0.6_f64.ln(), 0.2_f64.ln()]).unwrap();
    assert!((verdict.value - 0.75).abs() < 1e-12);
    assert_eq!(verdict.verdict.as_deref(), Some("GOOD"));
    // Words that are hardly possible still have a share.
    let verdict = scored_verdict(&words, &[-2_000.0, -1_999.0]).unwrap();
    assert!((verdict.value - 1.0 / (1.0 + 1_f64.exp())).abs() < 1e-12, "{}", verdict.value);
    assert_eq!(verdict.verdict.as_deref(), Some("BAD"));
    assert_eq!(verdict.raw.as_deref(), Some("{\"GOOD\":-2000.0,\"BAD\":-1999.0}"));
    // Two grades, as likely: the mean.
    let none = f64::NEG_INFINITY;
    let verdict = scored_verdict(&Scale::Grades, &[none, -1.0, none, none, -1.0]).unwrap();
    assert!((verdict.value - 0.625).abs() < 1e-12, "{}", verdict.value);
    for wrong in [&[f64::NAN, 0.0][..], &[none, none], &[0.0]] {
        let unreadable = scored_verdict(&words, wrong).unwrap_err();
        assert_eq!(unreadable.reason, UnreadableReason::NoProbability);
    }
}

/// A judge with a short prompt, which a small model can read.
fn judge(max_state_characters: Option<usize>) -> ProcessJudge {
    let spec = JudgeSpec::new(JudgeParts {
        prompt: "{conversation}\n{last_message}".to_owned(),
        reading: Reading::Scored,
        sampling: Sampling::default(),
        max_state_characters,
        ..JudgeParts::built_in(BuiltIn::Process, Ending::OneWord, "m", "v")
    })
    .unwrap();
    let policy = local().sampled_as(sampling_json(&Sampling::default()));
    ProcessJudge::new(spec, Box::new(policy)).unwrap()
}

#[test]
fn a_judge_in_this_process_looks_its_words_up() {
    let mut judge = judge(None);
    assert!(judge.spec().to_judge("j").definition.unwrap().as_str().contains("\"scored\""));
    let state = [Message::new(role::USER, "which city?")];
    let action = Message::new(role::ASSISTANT, "Paris");
    let long = Message::new(role::ASSISTANT, "Paris ".repeat(600));
    let input = |action| ProcessInput { question: None, state: &state, action, tools: None };
    let inputs = [input(&action), input(&long)];
    let mut judged = vec![None, None];
    let tally = judge.judge(&inputs, &|| false, &mut |at, one| {
        judged[at] = Some(one);
        ControlFlow::Continue(())
    });
    let request = asked(&judge.prompt(&inputs[0]).unwrap());
    let (good, bad) = (by_hand(&request, "GOOD").exp(), by_hand(&request, "BAD").exp());
    let Some(Judged::Verdict(verdict)) = &judged[0] else { panic!("{judged:?}") };
    assert!((verdict.value - good / (good + bad)).abs() < 1e-4, "{}", verdict.value);
    let Some(Judged::Unreadable(unreadable)) = &judged[1] else { panic!("{judged:?}") };
    assert_eq!(unreadable.reason, UnreadableReason::TooLong);
    assert_eq!((tally.unwrap().verdicts, judged.len()), (1, 2));
}

#[test]
fn the_oldest_turns_are_left_out_of_long_conversations() {
    let turn = |number: usize| {
        let result = Message::new(role::TOOL, format!("result {number}"));
        [Message::new(role::ASSISTANT, format!("action {number}")), result]
    };
    let head = [Message::new(role::SYSTEM, "rules"), Message::new(role::USER, "question")];
    let state: Vec<Message> = head.into_iter().chain((1..=3).flat_map(turn)).collect();
    let whole = transcript_text(&state);
    let size = whole.chars().count();
    assert_eq!(shortened_transcript_text(&state, size), Ok((whole.clone(), 0)));
    let (text, left_out) = shortened_transcript_text(&state, size - 1).unwrap();
    let expected = "[1] system\n    rules\n[2] user\n    question\n  (messages 3 to 4 are left \
                    out)\n[5] assistant\n    action 2\n[6] tool\n    result 2\n[7] assistant\n    \
                    action 3\n[8] tool\n    result 3\n";
    assert_eq!((text.as_str(), left_out), (expected, 2));
    let least = shortened_transcript_text(&state, 20).unwrap_err();
    let (text, left_out) = shortened_transcript_text(&state, least).unwrap();
    assert!(left_out == 4 && text.contains("3 to 6") && text.contains("result 3"), "{text}");
    assert!(shortened_transcript_text(&state, least - 1).is_err());
    // Without a turn there is nothing to leave out.
    assert_eq!(shortened_transcript_text(&state[..2], 10), Err(43));
    assert_eq!(shortened_transcript_text(&[], 0), Ok((String::new(), 0)));

    let mut judge = judge(Some(least));
    let action = Message::new(role::ASSISTANT, "action 4");
    let input = |state| ProcessInput { question: None, state, action: &action, tools: None };
    let wordy = [Message::new(role::USER, "x".repeat(least))];
    let inputs = [input(&state[..]), input(&state[..2]), input(&wordy)];
    let tally = judge.judge(&inputs, &|| false, &mut |_, _| ControlFlow::Continue(())).unwrap();
    assert_eq!((tally.verdicts, tally.shortened), (2, 1));
    assert_eq!(tally.unreadable[&UnreadableReason::TooLong], 1);
    assert!(tally.to_string().contains("; 1 shown without their oldest turns"), "{tally}");
    let definition = judge.spec().to_judge("j").definition.unwrap().to_value();
    assert_eq!(definition["max_state_characters"], least);
}

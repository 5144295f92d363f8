//! Which tokens carry loss, in which sequences, with which weights.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use swirldb::lm::Packed;
use swirldb::model::{Message, role};
use swirldb::train::{
    Baseline, BatchBy, ChosenStep, Example, LossAggregation, Objective, TrainConfig, Truncation,
    cut_by_tokens, epoch_order, evaluate, evaluate_shared, prepare,
};

use super::{
    Told, config, decoder, example, examples, prepared, run_with, tokenizer, trajectory,
    try_prepare,
};

/// Actions proposed at the states of one trajectory: the states are computed once.
#[test]
fn states_that_are_beginnings_of_one_another_are_shared() {
    let model = decoder(1);
    let of = |key: u64, step: usize, answer: &str| {
        let mut trajectory = trajectory(key / 10);
        trajectory.steps.truncate(step);
        trajectory.steps[step - 1].action = Message::new(role::ASSISTANT, answer);
        let steps = vec![ChosenStep::new(step as u32, 1.0)];
        Example { key, trajectory: Arc::new(trajectory), steps }
    };
    let examples = [
        of(0, 1, "Paris"),
        of(1, 1, "Oslo it is"),
        of(2, 3, "Oslo"),
        of(3, 2, "P"),
        of(10, 2, "Paris1"),
        of(11, 3, "a city"),
    ];
    let sequences = prepared(&config(), &examples).sequences;
    let apart = evaluate(&model, &sequences, 1 << 20).unwrap().actions;
    for budget in [1, 150, 1 << 20] {
        let shared = evaluate_shared(&model, &sequences, budget).unwrap().actions;
        assert_eq!(shared.len(), examples.len());
        for (shared, apart) in shared.iter().zip(&apart) {
            assert_eq!(shared.row, apart.row);
            assert_eq!(shared.log_probs.len(), apart.log_probs.len());
            for (shared, apart) in shared.log_probs.iter().zip(&apart.log_probs) {
                assert!((shared - apart).abs() < 1e-4, "{shared} and {apart}");
            }
        }
    }
}

#[test]
fn only_the_chosen_actions_and_their_ends_carry_loss() {
    let prepared = prepared(&config(), &[example(7, &[(1, 0.5), (3, 2.0)])]);
    assert_eq!(prepared.plan.sequences, 1);
    assert_eq!(prepared.plan.renderer, "tags");
    let tokenizer = tokenizer();
    let lines = prepared.listing(&tokenizer, 7, 3).unwrap();
    let text_of = |wanted: Option<(u32, f64)>| {
        let own = lines.iter().filter(|l| l.action == wanted);
        own.map(|l| l.text.as_str()).collect::<String>()
    };
    let call = "<tool_call>\n{\"name\": \"search\", \"arguments\": {\"q\": \"city 7\"}}\n\
        </tool_call><|im_end|>";
    assert_eq!(text_of(Some((1, 0.5))), call);
    assert_eq!(text_of(Some((3, 2.0))), "Paris7<|im_end|>");
    let read = text_of(None);
    assert!(read.starts_with("<|im_start|>user\nWhich city is 7?<|im_end|>\n<|im_start|>"));
    assert!(read.contains("7 is Paris7<|im_end|>") && read.contains("\"q\": \"cities\""));
    assert_eq!(
        prepared.plan.action_tokens as usize,
        lines.iter().filter(|l| l.action.is_some()).count()
    );
    assert!(prepared.listing(&tokenizer, 7, 2).is_none());
    // The last token of an action is the one control token that ends its turn.
    let end = tokenizer.token_id("<|im_end|>").unwrap();
    for action in &prepared.sequences[0].actions {
        assert_eq!(prepared.sequences[0].tokens[action.end - 1], end);
    }
}

/// A score is the log-softmax, at the token before, of the logits that the whole vocabulary gets.
#[test]
fn scores_are_those_of_the_next_token() {
    let model = decoder(1);
    let sequences = prepared(&config(), &examples(3)).sequences;
    let evaluation = evaluate(&model, &sequences, 1 << 20).unwrap();
    let mut scores = evaluation.actions.iter();
    for sequence in &sequences {
        let alone = Packed {
            tokens: sequence.tokens.clone(),
            lengths: vec![sequence.tokens.len()],
            ..Packed::default()
        };
        let logits = model.logits(&model.hidden(&alone).unwrap()).unwrap();
        let logits: Vec<Vec<f32>> = logits.to_vec2().unwrap();
        for action in &sequence.actions {
            let score = scores.next().unwrap();
            assert_eq!(score.row, action.row);
            assert_eq!(score.log_probs.len(), action.end - action.start);
            for (at, found) in (action.start..action.end).zip(&score.log_probs) {
                let row: Vec<f64> = logits[at - 1].iter().map(|l| f64::from(*l)).collect();
                let sum: f64 = row.iter().map(|l| l.exp()).sum();
                let expected = row[sequence.tokens[at] as usize] - sum.ln();
                assert!((f64::from(*found) - expected).abs() < 1e-4, "{found} and {expected}");
            }
        }
    }
}

/// K sub-trajectories as one sequence have the loss and the gradients of K sequences: after one
/// step without clipping the optimiser's means are a tenth of the gradients.
#[test]
fn one_sequence_equals_its_sub_trajectories_apart() {
    let rows = [
        example(0, &[(1, 0.25), (2, 1.0), (3, 2.0)]),
        example(1, &[(3, 1.5), (1, 0.5)]),
        example(2, &[(2, 3.0)]),
    ];
    for (objective, aggregation) in [
        (Objective::Sft, LossAggregation::TokenMean),
        (Objective::Reinforce, LossAggregation::SeqMeanTokenSum),
        (Objective::Reinforce, LossAggregation::SeqMeanTokenMean),
    ] {
        let one_step = |batch_by, tokens_per_batch| {
            let config = TrainConfig {
                objective,
                loss_agg_mode: Some(aggregation),
                batch_by,
                tokens_per_batch,
                tokens_per_step: 1 << 20,
                max_grad_norm: 0.0,
                max_steps: Some(1),
                ..config()
            };
            let folder = tempfile::tempdir().unwrap();
            let prepared = prepared(&config, &rows);
            let mut told = Told::default();
            let outcome =
                run_with(&decoder(1), &prepared, &config, folder.path(), false, &mut told);
            let file = outcome.unwrap().checkpoint.join("optimizer.safetensors");
            let state = candle_core::safetensors::load(file, &Device::Cpu).unwrap();
            (prepared.plan, told.steps[0].clone(), state)
        };
        let (plan, together, gradients) = one_step(BatchBy::Trajectory, 1 << 20);
        let (plan_apart, apart, gradients_apart) = one_step(BatchBy::Subtrajectory, 64);
        assert_eq!((plan.sequences, plan_apart.sequences), (3, 6));
        assert_eq!(plan.action_tokens, plan_apart.action_tokens);
        assert!(plan.tokens < plan_apart.tokens);
        assert!((together.loss - apart.loss).abs() < 1e-5 * together.loss.abs().max(1.0));
        assert!((together.grad_norm / apart.grad_norm - 1.0).abs() < 1e-5);
        for (name, gradient) in gradients.iter().filter(|(name, _)| name.starts_with("mean.")) {
            let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let (a, b) = (flat(gradient), flat(&gradients_apart[name]));
            let largest = a.iter().fold(0f32, |m, v| m.max(v.abs()));
            assert!(largest > 0.0, "{name} has no gradient");
            for (a, b) in a.iter().zip(&b) {
                assert!((a - b).abs() <= 1e-5 * largest.max(0.1), "{name}: {a} and {b}");
            }
        }
    }
}

#[test]
fn long_rows_are_refused_dropped_or_cut() {
    let rows = examples(2);
    let whole = prepared(&config(), &rows);
    let spans: Vec<usize> = whole.sequences[0].actions.iter().map(|a| a.end).collect();
    let limit =
        |truncation| TrainConfig { max_length: Some(spans[1] as u64), truncation, ..config() };
    let error = try_prepare(&limit(Truncation::Error), &rows).unwrap_err().to_string();
    let expected = format!("step 3 of trajectory t0 of world ends at token {}", spans[2]);
    assert!(error.starts_with(&expected), "{error}");

    let dropped = prepared(&limit(Truncation::Drop), &rows).plan;
    assert_eq!((dropped.dropped, dropped.actions, dropped.sequences), (2, 4, 2));

    let cut = prepared(&limit(Truncation::Left), &rows);
    assert_eq!((cut.plan.truncated, cut.plan.actions, cut.plan.apart), (2, 6, 2));
    assert!(cut.plan.longest <= spans[1]);
    let lines = cut.listing(&tokenizer(), 0, 3).unwrap();
    let text: String = lines.iter().map(|l| l.text.as_str()).collect();
    assert!(text.starts_with("<|im_start|>assistant\n<tool_call>"), "{text}");

    let context = TrainConfig { max_length: Some(100_000), ..config() };
    let error = try_prepare(&context, &rows).unwrap_err().to_string();
    assert!(error.contains("the model's context is 512"), "{error}");
}

#[test]
fn stored_tokens_beat_tokens_of_the_text() {
    let tokenizer = tokenizer();
    let text = "Paris7";
    // One token a byte: what no tokenizer would make of this text.
    let by_byte: Vec<u32> = text.chars().flat_map(|c| tokenizer.encode(&c.to_string())).collect();
    assert_ne!(by_byte, tokenizer.encode(text));
    let tokens_of = |ids: Vec<u32>| {
        let mut row = example(7, &[(3, 1.0)]);
        let mut of = trajectory(7);
        of.steps[2].token_ids = Some(ids);
        row.trajectory = Arc::new(of);
        let prepared = prepared(&config(), &[row]);
        let sequence = prepared.sequences[0].clone();
        let span = &sequence.actions[0];
        (sequence.tokens[span.start..span.end].to_vec(), prepared.plan.stored_tokens)
    };
    let end = tokenizer.token_id("<|im_end|>").unwrap();
    let stored: Vec<u32> = by_byte.iter().copied().chain([end]).collect();
    assert_eq!(tokens_of(by_byte.clone()), (stored.clone(), 1));
    assert_eq!(tokens_of(stored.clone()), (stored, 1));
    let own: Vec<u32> = tokenizer.encode(text).into_iter().chain([end]).collect();
    // Tokens of another vocabulary spell something else, or nothing at all.
    assert_eq!(tokens_of(vec![1, 2, 3]), (own.clone(), 0));
    assert_eq!(tokens_of(vec![9_999]), (own, 0));
}

#[test]
fn order_is_a_function_of_seed_and_epoch() {
    let sequences = prepared(&config(), &examples(40)).sequences;
    let order = epoch_order(&sequences, 7, 0);
    let mut sorted = order.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..40).collect::<Vec<_>>());
    assert_eq!(order, epoch_order(&sequences, 7, 0));
    assert_ne!(order, epoch_order(&sequences, 7, 1));
    assert_ne!(order, epoch_order(&sequences, 8, 0));
    let runs = cut_by_tokens(&sequences, &order, 500);
    assert_eq!(runs.concat(), order);
    let tokens = |run: &Vec<usize>| run.iter().map(|i| sequences[*i].tokens.len()).sum::<usize>();
    assert!(runs.iter().all(|run| tokens(run) <= 500 || run.len() == 1));
    assert!(runs.iter().any(|run| run.len() > 1));
}

#[test]
fn weights_are_rewards_less_their_baseline() {
    let rows =
        [example(0, &[(1, 1.0), (2, 0.0)]), example(1, &[(1, 0.5)]), example(4, &[(3, 1.0)])];
    let with = |baseline| {
        let config = TrainConfig {
            objective: Objective::Reinforce,
            baseline: Some(baseline),
            epsilon: Some(0.2),
            ..config()
        };
        let prepared = prepared(&config, &rows);
        let plan = &prepared.plan;
        (prepared.weights.clone(), plan.zero_weight, plan.no_baseline)
    };
    assert_eq!(with(Baseline::None), (vec![vec![1.0], vec![0.5], vec![1.0]], 1, 0));
    let mean = vec![vec![0.375, -0.625], vec![-0.125], vec![0.375]];
    assert_eq!(with(Baseline::Mean), (mean, 0, 0));
    // Trajectories 0 and 1 share a question, 4 is alone; 0.5 less the mean of 1 and 0 is 0.
    assert_eq!(with(Baseline::LeaveOneOut), (vec![vec![0.5, -0.5]], 1, 1));
}

#[test]
fn what_cannot_be_trained_on_is_named() {
    let error =
        |config: &TrainConfig, rows: &[Example]| try_prepare(config, rows).unwrap_err().to_string();
    let reinforce = TrainConfig { objective: Objective::Reinforce, ..config() };
    assert!(error(&config(), &[]).contains("the selection holds no row"));
    let zero = error(&config(), &[example(0, &[(1, 0.0), (2, 0.0)])]);
    assert!(zero.contains("of 2 rows 2 have a weight of zero"), "{zero}");
    let nan = error(&config(), &[example(0, &[(1, f64::NAN)])]);
    assert!(nan.contains("step 1 of trajectory t0 of world has the weight NaN"), "{nan}");
    let twice = error(&config(), &[example(0, &[(1, 1.0), (1, 1.0)])]);
    assert!(twice.contains("chosen twice"), "{twice}");
    let missing = error(&config(), &[example(0, &[(9, 1.0)])]);
    assert!(missing.contains("step 9") && missing.contains("has 3"), "{missing}");
    let rows = [example(0, &[(1, 1.0), (2, -1.0)])];
    assert!(error(&reinforce, &rows).contains("no lower bound"));
    let clipped = TrainConfig { epsilon: Some(0.2), ..reinforce.clone() };
    assert!(try_prepare(&clipped, &rows).is_ok());
    let held = TrainConfig { kl_loss_coef: Some(0.1), ..reinforce };
    assert!(try_prepare(&held, &rows).is_ok());
}

/// Writes calls as nothing at all.
const WITHOUT_CALLS: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content or '' \
    }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

#[test]
fn tags_take_over_where_the_template_loses_something_of_any_row() {
    let tokenizer = tokenizer();
    let of = |rows: &[Example], held_out: &[(String, Vec<Example>)]| {
        let template = Some(WITHOUT_CALLS);
        prepare(&decoder(1), &tokenizer, template, &config(), rows, held_out).unwrap().plan
    };
    let mut plain = examples(2);
    for example in &mut plain {
        let mut trajectory = (*example.trajectory).clone();
        trajectory.steps.drain(..2);
        (example.trajectory, example.steps) =
            (Arc::new(trajectory), vec![swirldb::train::ChosenStep::new(1, 1.0)]);
    }
    let plan = of(&plain, &[]);
    assert_eq!((plan.renderer.as_str(), plan.renderer_reason), ("template", None));
    let plan = of(&examples(2), &[]);
    assert_eq!(plan.renderer, "tags");
    assert!(plan.renderer_reason.unwrap().starts_with("trajectory t0 of world: "));
    // A row that is only scored is one of them.
    let plan = of(&plain, &[("held".to_owned(), examples(1))]);
    assert_eq!(plan.renderer, "tags");
}

#[test]
fn what_the_tokenizer_writes_otherwise_is_named_or_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    let mut json: serde_json::Value = serde_json::from_str(tokenizer().to_json()).unwrap();
    json["normalizer"] = serde_json::json!({"type": "NFC"});
    std::fs::write(&path, json.to_string()).unwrap();
    let composing = swirldb::lm::Tokenizer::from_file(&path).unwrap();
    let composing = composing.with_eos("<|im_end|>").unwrap();
    let of = |action: &str, observation: &str| {
        let mut example = example(1, &[(1, 1.0), (2, 1.0), (3, 1.0)]);
        let mut trajectory = (*example.trajectory).clone();
        trajectory.steps[1].observation[0].content = Some(observation.to_owned());
        trajectory.steps[2].action.content = Some(action.to_owned());
        example.trajectory = Arc::new(trajectory);
        prepare(&decoder(1), &composing, None, &config(), &[example], &[])
    };
    assert_eq!(of("caf\u{e9}", "caf\u{e9}").unwrap().plan.respelled, 0);
    // The state of the third action alone has it.
    assert_eq!(of("caf\u{e9}", "cafe\u{301}").unwrap().plan.respelled, 1);
    let error = of("cafe\u{301}", "caf\u{e9}").unwrap_err().to_string();
    assert!(error.contains("step 3 of trajectory t1") && error.contains("cafe\\u{301}"), "{error}");
}

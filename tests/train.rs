//! Training: formulas by hand, one sequence against many, resuming, and what is refused.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use candle_core::{Device, Tensor, Var};
use swirldb::lm::{Decoder, DecoderConfig, LoraConfig, Tokenizer, Training};
use swirldb::model::{Message, Step, ToolCall, Trajectory, role};
use swirldb::train::{
    ActionLogProbs, AdamConfig, AdamW, Baseline, BatchBy, ChosenStep, ConfigError, Counts, Event,
    Example, Gradients, KlType, Loss, LossAggregation, Objective, OptionValue, Outcome, Prepared,
    Run, Schedule, Scheduler, StepReport, TrainConfig, TrainError, Truncation, cut_by_tokens,
    epoch_order, evaluate, prepare, run_on_large_stack, train,
};

// ---------------------------------------------------------------------------------------------
// A small world

fn tokenizer() -> Tokenizer {
    let texts = ["user assistant tool search answer Paris Oslo city?"; 4].map(str::to_owned);
    Tokenizer::train(texts.into_iter(), 300, &["<|im_start|>", "<|im_end|>"]).unwrap()
}

fn decoder_config() -> DecoderConfig {
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
    let steps = weights.iter().map(|(step, weight)| ChosenStep { step: *step, weight: *weight });
    Example { key: number, trajectory: Arc::new(trajectory(number)), steps: steps.collect() }
}

fn examples(count: u64) -> Vec<Example> {
    (0..count).map(|n| example(n, &[(1, 1.0), (2, 1.0), (3, 1.0)])).collect()
}

fn config() -> TrainConfig {
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

// ---------------------------------------------------------------------------------------------
// Formulas

fn loss(aggregation: LossAggregation) -> Loss {
    Loss { aggregation, epsilon: None, kl_coef: 0.0, kl_type: KlType::K2 }
}

fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-6, "{found}, expected {expected}");
}

#[test]
fn the_policy_gradient_is_its_formula() {
    // Two actions of two and one tokens with rewards 0.5 and -2.
    let (a, b) = ([-1.0f32, -3.0], [-0.5f32]);
    let counts = Counts { actions: 2, tokens: 3 };
    let of = |aggregation, weight, now| {
        loss(aggregation).of_action(ActionLogProbs { weight, now, start: None }, counts)
    };
    for (aggregation, by_hand, scale) in [
        (LossAggregation::TokenMean, (0.5 * 4.0 - 2.0 * 0.5) / 3.0, 1.0 / 3.0),
        (LossAggregation::SeqMeanTokenSum, (0.5 * 4.0 - 2.0 * 0.5) / 2.0, 0.5),
        (LossAggregation::SeqMeanTokenMean, (0.5 * 2.0 - 2.0 * 0.5) / 2.0, 0.25),
    ] {
        let (first, second) = (of(aggregation, 0.5, &a[..]), of(aggregation, -2.0, &b[..]));
        close(first.loss + second.loss, by_hand);
        for derivative in &first.derivatives {
            close(f64::from(*derivative), -0.5 * scale);
        }
    }
}

#[test]
fn clipping_and_divergence_are_their_formulas() {
    let counts = Counts { actions: 1, tokens: 1 };
    let mut objective = loss(LossAggregation::TokenMean);
    let of = |objective: Loss, weight: f64, log_ratio: f32| {
        let action = ActionLogProbs { weight, now: &[log_ratio - 2.0], start: Some(&[-2.0]) };
        let action = objective.of_action(action, counts);
        (action.loss, f64::from(action.derivatives[0]), action.clipped)
    };
    objective.epsilon = Some(0.2);
    let ratio = f64::from(0.1f32).exp();
    for (weight, log_ratio, value, derivative, clipped) in [
        (1.0, 0.1, -ratio, -ratio, 0),
        (1.0, 0.5, -1.2, 0.0, 1),
        (1.0, -0.5, -(-0.5f64).exp(), -(-0.5f64).exp(), 0),
        (-1.0, -0.5, 0.8, 0.0, 1),
        (-1.0, 0.5, 0.5f64.exp(), 0.5f64.exp(), 0),
    ] {
        let found = of(objective, weight, log_ratio);
        close(found.0, value);
        close(found.1, derivative);
        assert_eq!(found.2, clipped, "{weight} {log_ratio}");
    }
    objective.epsilon = None;
    objective.kl_coef = 0.1;
    // d = 0.5: k2 = 0.125 with slope 0.5; k3 = exp(-0.5) - 0.5 with slope 1 - exp(-0.5).
    let found = of(objective, 2.0, 0.5);
    close(found.0, 2.0 * 1.5 + 0.1 * 0.125);
    close(found.1, -2.0 + 0.1 * 0.5);
    objective.kl_type = KlType::K3;
    let found = of(objective, 2.0, 0.5);
    close(found.0, 2.0 * 1.5 + 0.1 * ((-0.5f64).exp() - 0.5));
    close(found.1, -2.0 + 0.1 * (1.0 - (-0.5f64).exp()));
}

#[test]
fn derivatives_agree_with_differences() {
    let counts = Counts { actions: 3, tokens: 7 };
    let start = [-1.0f32, -2.0, -0.25];
    for kl_type in [KlType::K2, KlType::K3] {
        for epsilon in [None, Some(0.3)] {
            for aggregation in [LossAggregation::TokenMean, LossAggregation::SeqMeanTokenMean] {
                let objective = Loss { aggregation, epsilon, kl_coef: 0.7, kl_type };
                let of = |now: &[f32]| {
                    let start = Some(&start[..]);
                    objective.of_action(ActionLogProbs { weight: -1.5, now, start }, counts)
                };
                let now = [-1.125f32, -1.875, -0.5];
                for (index, derivative) in of(&now).derivatives.iter().enumerate() {
                    let (mut up, mut down) = (now, now);
                    up[index] += 0.0009765625;
                    down[index] -= 0.0009765625;
                    let slope = (of(&up).loss - of(&down).loss) / 0.001953125;
                    assert!((slope - f64::from(*derivative)).abs() < 1e-5);
                }
            }
        }
    }
}

#[test]
fn adamw_takes_the_steps_worked_out_by_hand() {
    let start = [1.0f32, -2.0, 0.5, 0.0];
    let matrix = Var::from_tensor(&Tensor::new(&[start], &Device::Cpu).unwrap()).unwrap();
    let bias = Var::from_tensor(&Tensor::new(&start, &Device::Cpu).unwrap()).unwrap();
    let config = AdamConfig { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weight_decay: 0.1 };
    let parameters = vec![("m".to_owned(), matrix.clone()), ("n".to_owned(), bias.clone())];
    let mut optimizer = AdamW::new(config, parameters).unwrap();
    let gradients = [[0.1f32, -0.2, 3.0, 0.0], [0.3, 0.2, -1.0, 1e-3]];
    let mut expected = [start.map(f64::from), start.map(f64::from)];
    let (mut mean, mut square) = ([0.0f64; 4], [0.0f64; 4]);
    for (number, gradient) in gradients.iter().enumerate() {
        let both = [
            Tensor::new(&[*gradient], &Device::Cpu).unwrap(),
            Tensor::new(gradient, &Device::Cpu).unwrap(),
        ];
        optimizer.step(&both, 0.5, 0.01).unwrap();
        let power = number as i32 + 1;
        for i in 0..4 {
            let g = f64::from(gradient[i]) * 0.5;
            mean[i] = 0.9 * mean[i] + 0.1 * g;
            square[i] = 0.99 * square[i] + 0.01 * g * g;
            let m = mean[i] / (1.0 - 0.9f64.powi(power));
            let v = square[i] / (1.0 - 0.99f64.powi(power));
            for (which, decay) in [(0, 0.1), (1, 0.0)] {
                let p = &mut expected[which][i];
                *p = *p * (1.0 - 0.01 * decay) - 0.01 * m / (v.sqrt() + 1e-8);
            }
        }
    }
    // The first step moves by the learning rate whatever the gradient: 1 - 0.001 - 0.01 = 0.989.
    let found: [Vec<f32>; 2] = [
        matrix.as_tensor().flatten_all().unwrap().to_vec1().unwrap(),
        bias.as_tensor().to_vec1().unwrap(),
    ];
    for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
        assert!((f64::from(*found) - expected).abs() < 1e-6, "{found}, expected {expected}");
    }
    let wrong = [Tensor::new(&[1f32], &Device::Cpu).unwrap()];
    assert!(optimizer.step(&wrong, 1.0, 0.1).unwrap_err().to_string().contains("shape"));
}

#[test]
fn the_learning_rate_warms_up_and_falls() {
    let rates = |scheduler, warmup| {
        let config = TrainConfig {
            learning_rate: Some(1.0),
            warmup_steps: Some(warmup),
            lr_scheduler_type: scheduler,
            ..TrainConfig::default()
        };
        let schedule = Schedule::new(&config, 10);
        (1..=10).map(|step| schedule.rate(step)).collect::<Vec<f64>>()
    };
    let cosine = rates(Scheduler::Cosine, 2);
    let half = |p: f64| 0.5 * (1.0 + (std::f64::consts::PI * p).cos());
    for (step, expected) in [(1, 0.5), (2, 1.0), (3, 1.0), (4, half(0.125)), (7, 0.5)] {
        close(cosine[step - 1], expected);
    }
    close(cosine[9], half(0.875));
    assert_eq!(rates(Scheduler::Linear, 0)[..3], [1.0, 0.9, 0.8]);
    assert_eq!(rates(Scheduler::Constant, 4)[2..5], [0.75, 1.0, 1.0]);
    let ratio = TrainConfig {
        learning_rate: Some(1.0),
        warmup_ratio: Some(0.25),
        ..TrainConfig::default()
    };
    // A quarter of ten steps is three.
    close(Schedule::new(&ratio, 10).rate(1), 1.0 / 3.0);
}

#[test]
fn gradients_are_summed_and_their_norm_is_taken() {
    let variable = Var::zeros(3, candle_core::DType::F32, &Device::Cpu).unwrap();
    let other = Var::zeros(1, candle_core::DType::F32, &Device::Cpu).unwrap();
    let mut gradients = Gradients::new(2);
    let once = Tensor::new(&[1f32, 2.0, -2.0], &Device::Cpu).unwrap();
    for _ in 0..3 {
        gradients.add(0, &once).unwrap();
    }
    assert_eq!(gradients.missing(), [1]);
    let (sums, norms) = gradients.finish(&[&variable, &other]).unwrap();
    assert_eq!(sums[0].to_vec1::<f32>().unwrap(), [3.0, 6.0, -6.0]);
    assert_eq!(norms, [9.0, 0.0]);
    // The first gradient is not ours and stays as it was.
    assert_eq!(once.to_vec1::<f32>().unwrap(), [1.0, 2.0, -2.0]);
}

// ---------------------------------------------------------------------------------------------
// Sequences

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

// ---------------------------------------------------------------------------------------------
// Weights

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

// ---------------------------------------------------------------------------------------------
// Options

fn options(pairs: &[(&str, OptionValue)]) -> Result<TrainConfig, ConfigError> {
    let pairs: Vec<_> = pairs.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect();
    TrainConfig::from_options(&pairs)
}

#[test]
fn options_are_read_by_their_names() {
    use OptionValue::{Bool, Number, Text};
    let config = options(&[
        ("objective", Text("reinforce".into())),
        ("learning_rate", Number(1e-4)),
        ("max_grad_norm", Number(1.0)),
        ("tokens_per_step", Number(2048.0)),
        ("target_modules", Text("q_proj, v_proj".into())),
        ("loss_agg_mode", Text("seq-mean-token-mean".into())),
        ("baseline", Text("leave_one_out".into())),
        ("epsilon", Number(0.2)),
        ("full", Bool(false)),
    ])
    .unwrap();
    assert_eq!(config.objective, Objective::Reinforce);
    assert_eq!(config.peak_learning_rate(), 1e-4);
    assert_eq!(config.aggregation(), LossAggregation::SeqMeanTokenMean);
    let Training::Lora(lora) = config.training() else { panic!("adapters are the default") };
    assert_eq!((lora.r, lora.target_modules.len()), (16, 2));
    let text = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<TrainConfig>(&text).unwrap(), config);
    assert_eq!(options(&[]).unwrap(), TrainConfig::default());
}

#[test]
fn options_that_make_no_sense_are_refused() {
    use OptionValue::{Bool, Number, Text};
    let error = |pairs: &[(&str, OptionValue)]| options(pairs).unwrap_err().to_string();
    let text = |t: &str| Text(t.to_owned());
    let learning = error(&[("learning_rat", Number(1.0))]);
    assert!(learning.contains("'learning_rat', did you mean 'learning_rate'?"), "{learning}");
    let ppo = error(&[("objective", text("ppo"))]);
    assert!(ppo.contains("option 'objective'") && ppo.contains("sft"), "{ppo}");
    assert!(error(&[("r", Number(1.5))]).contains("option 'r'"));
    assert!(error(&[("r", Number(1.0)), ("r", Number(2.0))]).contains("twice"));
    assert!(error(&[("seed", Number(1e300))]).contains("2^53"));
    assert!(error(&[("seed", Number(-1.0))]).contains("option 'seed'"));
    assert!(error(&[("learning_rate", Number(0.0))]).contains("expected a number above 0"));
    assert!(error(&[("epsilon", Number(0.2))]).contains("no effect on sft"));
    assert!(error(&[("full", Bool(true)), ("r", Number(8.0))]).contains("full = true"));
    let reinforce = ("objective", text("reinforce"));
    let kl = |kind: &str| [reinforce.clone(), ("kl_loss_type", text(kind))];
    assert!(error(&kl("k1")).contains("zero expected gradient"));
    assert!(error(&kl("k3")).contains("without kl_loss_coef"));
    let both = [("warmup_ratio", Number(0.1)), ("warmup_steps", Number(2.0))];
    assert!(error(&both).contains("give one of them"));
    let json = serde_json::from_str::<TrainConfig>("{\"lerning_rate\": 1}");
    assert!(json.unwrap_err().to_string().contains("lerning_rate"));
}

// ---------------------------------------------------------------------------------------------
// Runs

#[test]
fn a_small_model_learns_four_trajectories_by_heart() {
    let config = TrainConfig { max_steps: Some(120), tokens_per_step: 2048, ..config() };
    let rows = examples(4);
    let (steps, model) = run(&config, &rows);
    assert_eq!(steps.len(), 120);
    assert!(steps[0].loss > 5.0, "{}", steps[0].loss);
    assert!(steps[119].loss < 0.1, "{}", steps[119].loss);
    let evaluation = evaluate(&model, &prepared(&config, &rows).sequences, 64).unwrap();
    assert_eq!(evaluation.actions.len(), 12);
    assert!(evaluation.loss() < 0.1);
    // The mean over actions of sums, against the mean over tokens of the same numbers.
    let per_action = evaluation.tokens() as f64 / 12.0;
    assert!((evaluation.log_prob() + evaluation.loss() * per_action).abs() < 1e-9);
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    let config = TrainConfig { max_steps: Some(4), ..config() };
    let rows = examples(6);
    let ((first, a), (second, b)) = (run(&config, &rows), run(&config, &rows));
    assert_eq!(first, second);
    assert_eq!(values(&a), values(&b));
    let other = run(&TrainConfig { seed: 1, ..config }, &rows).0;
    assert_ne!(other, first);
}

#[test]
fn rewards_move_log_probabilities() {
    let rows = [example(0, &[(1, 1.0)]), example(1, &[(1, -1.0)])];
    let config = TrainConfig {
        objective: Objective::Reinforce,
        epsilon: Some(0.5),
        kl_loss_coef: Some(0.01),
        learning_rate: Some(1e-3),
        max_steps: Some(8),
        tokens_per_step: 4096,
        ..config()
    };
    let sequences = prepared(&config, &rows).sequences;
    let before = evaluate(&decoder(1), &sequences, 4096).unwrap();
    let (steps, model) = run(&config, &rows);
    let after = evaluate(&model, &sequences, 4096).unwrap();
    let gain = |index: usize| after.actions[index].sum() - before.actions[index].sum();
    assert!(gain(0) > gain(1), "{} and {}", gain(0), gain(1));
    // The policy is the start policy at first.
    assert_eq!((steps[0].kl, steps[0].clip_fraction), (0.0, 0.0));
    assert!(steps[7].kl > 0.0);
}

fn lora() -> Decoder {
    let folder = tempfile::tempdir().unwrap();
    decoder(1).save(folder.path(), None).unwrap();
    let lora = Training::Lora(LoraConfig {
        r: 4,
        lora_alpha: 8.0,
        target_modules: vec!["q_proj".into(), "down_proj".into()],
    });
    swirldb::lm::load(folder.path(), &lora, 3, &Device::Cpu).unwrap().decoder
}

/// Six steps at once, and three, a stop and three more, end in the same bytes.
#[test]
fn a_resumed_run_ends_with_the_same_bytes() {
    let full: fn() -> Decoder = || decoder(1);
    for (fresh, weights) in
        [(full, "model.safetensors"), (lora as fn() -> Decoder, "adapter_model.safetensors")]
    {
        let config = TrainConfig {
            objective: Objective::Reinforce,
            kl_loss_coef: Some(0.05),
            max_steps: Some(6),
            full: weights == "model.safetensors",
            ..config()
        };
        let prepared = prepared(&config, &examples(5));
        let (at_once, in_two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut whole = Told::default();
        let go = |decoder: &Decoder, folder: &Path, resume, told: &mut Told| {
            run_with(decoder, &prepared, &config, folder, resume, told)
        };
        let expected = go(&fresh(), at_once.path(), false, &mut whole).unwrap();
        assert!(expected.complete);

        let mut first = Told { stop_after: Some(3), ..Told::default() };
        let stopped = go(&fresh(), in_two.path(), false, &mut first).unwrap();
        assert_eq!((stopped.steps, stopped.complete), (3, false));
        assert!(stopped.checkpoint.ends_with("checkpoint-3"));
        // What a kill in the middle of the next checkpoint leaves.
        std::fs::create_dir(in_two.path().join(".unfinished-checkpoint-4")).unwrap();

        let mut rest = Told::default();
        let resumed = go(&fresh(), in_two.path(), true, &mut rest).unwrap();
        assert!(matches!(rest.events[0], Event::Started { resumed_at: 3, .. }));
        let loss = |told: &Told| told.steps.iter().map(|s| s.loss.to_bits()).collect::<Vec<_>>();
        assert_eq!([loss(&first), loss(&rest)].concat(), loss(&whole));
        for file in [weights, "optimizer.safetensors", "state.json"] {
            let read = |outcome: &Outcome| std::fs::read(outcome.checkpoint.join(file)).unwrap();
            assert!(read(&resumed) == read(&expected), "{file} differs");
        }
        let names = std::fs::read_dir(in_two.path()).unwrap().map(|e| e.unwrap().file_name());
        let mut names: Vec<_> = names.map(|n| n.into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["checkpoint-3", "checkpoint-6"]);
    }
}

#[test]
fn a_checkpoint_of_another_run_is_refused() {
    let config = TrainConfig { max_steps: Some(4), save_steps: Some(1), ..config() };
    let rows = examples(3);
    let folder = tempfile::tempdir().unwrap();
    let mut told = Told { stop_after: Some(2), ..Told::default() };
    let start = prepared(&config, &rows);
    run_with(&decoder(1), &start, &config, folder.path(), false, &mut told).unwrap();
    let again = |decoder: &Decoder, config: &TrainConfig, rows: &[Example], resume| {
        let prepared = prepared(config, rows);
        let told = &mut Told::default();
        run_with(decoder, &prepared, config, folder.path(), resume, told).unwrap_err().to_string()
    };
    let slower = TrainConfig { learning_rate: Some(1e-3), ..config.clone() };
    let error = again(&decoder(1), &slower, &rows, true);
    assert!(error.contains("option learning_rate differs (0.01, expected 0.001)"), "{error}");
    assert!(again(&decoder(1), &config, &examples(2), true).contains("the data differs"));
    assert!(again(&decoder(2), &config, &rows, true).contains("the start differs"));
    assert!(again(&decoder(1), &config, &rows, false).contains("already holds checkpoints"));

    // Other intervals are no other run; a damaged file is found.
    let file = folder.path().join("checkpoint-2/optimizer.safetensors");
    let mut bytes = std::fs::read(&file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let often = TrainConfig { logging_steps: 3, save_steps: None, ..config };
    let error = again(&decoder(1), &often, &rows, true);
    assert!(error.contains("optimizer.safetensors is not what was written"), "{error}");

    let empty = tempfile::tempdir().unwrap();
    let told = &mut Told::default();
    let nothing = run_with(&decoder(1), &start, &often, empty.path(), true, told);
    assert!(nothing.unwrap_err().to_string().contains("no checkpoint"));
}

#[test]
fn numbers_that_are_not_finite_stop_the_run_and_keep_the_checkpoint() {
    let config = TrainConfig { learning_rate: Some(1e30), save_steps: Some(1), ..config() };
    let config = TrainConfig { max_steps: Some(5), warmup_steps: Some(0), ..config };
    let folder = tempfile::tempdir().unwrap();
    let prepared = prepared(&config, &examples(2));
    let told = &mut Told::default();
    let error = run_with(&decoder(1), &prepared, &config, folder.path(), false, told).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("of trajectory t") && text.contains("lower learning_rate"), "{text}");
    assert!(text.contains("the last checkpoint is"), "{text}");
    assert!(folder.path().join("checkpoint-1/state.json").is_file());
}

#[test]
fn events_tell_the_run() {
    let config = TrainConfig {
        max_steps: Some(4),
        save_steps: Some(2),
        save_total_limit: 1,
        eval_steps: Some(2),
        logging_steps: 3,
        ..config()
    };
    let good = vec![example(8, &[(3, 1.0)])];
    let bad = vec![example(9, &[(1, 1.0), (2, 1.0)])];
    let held_out = [("good".to_owned(), good), ("bad".to_owned(), bad)];
    let (model, tokenizer) = (decoder(1), tokenizer());
    let prepared = prepare(&model, &tokenizer, None, &config, &examples(3), &held_out).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut told = Told::default();
    run_with(&model, &prepared, &config, folder.path(), false, &mut told).unwrap();
    let names: Vec<String> = told
        .events
        .iter()
        .map(|event| match event {
            Event::Started { plan, .. } => format!("started {}", plan.steps_total),
            Event::Step(report) => format!("step {} {}", report.step, report.log),
            Event::Evaluated { step, name, actions, .. } => format!("{name} {actions} {step}"),
            Event::Checkpoint { step, .. } => format!("saved {step}"),
            Event::Finished(outcome) => format!("finished {}", outcome.complete),
        })
        .collect();
    let expected = [
        "started 4",
        "good 1 0",
        "bad 2 0",
        "step 1 false",
        "step 2 false",
        "good 1 2",
        "bad 2 2",
        "saved 2",
        "step 3 true",
        "step 4 true",
        "good 1 4",
        "bad 2 4",
        "saved 4",
        "finished true",
    ];
    assert_eq!(names, expected);
    assert!(!folder.path().join("checkpoint-2").exists());
    let first = &told.steps[0];
    assert_eq!(first.tokens_seen, first.tokens);
    assert!(first.action_tokens > 0 && first.action_tokens < first.tokens);
}

#[test]
fn work_runs_on_a_stack_deep_enough() {
    fn depth(n: u64) -> u64 {
        let frame = std::hint::black_box([n; 64]);
        if n == 0 { 0 } else { depth(n - 1) + frame[0] - n + 1 }
    }
    // About 100 MB of frames, far beyond the stack of a test's thread.
    assert_eq!(run_on_large_stack(|| depth(150_000)).unwrap(), 150_000);
}

//! Actions sampled while training: rewards, failures, resuming, and a step done the long way.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use candle_core::{Device, Tensor};
use swirldb::lm::{Decoder, DecoderConfig, Packed, Training, load};
use swirldb::model::{ContextItem, Message, role};
use swirldb::render::{Action, Renderer};
use swirldb::train::{
    ActionForm, ActionJudge, Baseline, Event, Example, KlType, Malformed, Objective, OneAction,
    Online, Outcome, Prepared, Proposal, Run, SampleReport, StepReport, TrainConfig, TrainError,
    Verdict, leave_one_out, prepare, train_online, vocabulary_of,
};

use super::{Told, decoder_config, example, examples, run_with, tokenizer, trajectory, values};

/// Returns a model that says little but `a`, `b` and the end of its turn, each as likely.
pub fn speaker() -> Decoder {
    let config = DecoderConfig { tie_word_embeddings: false, ..decoder_config() };
    let decoder = Decoder::random(&config, 1, &Device::Cpu).unwrap();
    let tokenizer = tokenizer();
    let wide = |name: &str, of: &dyn Fn(u32) -> f32| {
        let (_, variable) = decoder.parameters().into_iter().find(|(n, _)| n == name).unwrap();
        let mut rows: Vec<Vec<f32>> = variable.as_tensor().to_vec2().unwrap();
        rows.iter_mut().enumerate().for_each(|(token, row)| row[0] = of(token as u32));
        variable.set(&Tensor::new(rows, &Device::Cpu).unwrap()).unwrap();
    };
    let end = tokenizer.token_id("<|im_end|>").unwrap();
    let said = [end, tokenizer.encode("a")[0], tokenizer.encode("b")[0]];
    // What every state has in common gives the output layer a bias.
    wide("model.embed_tokens.weight", &|_| 5.0);
    wide("lm_head.weight", &|token| if said.contains(&token) { 2.0 } else { 0.0 });
    decoder
}

fn swirl() -> TrainConfig {
    TrainConfig {
        objective: Objective::Swirl,
        full: true,
        learning_rate: Some(2e-2),
        tokens_per_step: 256,
        tokens_per_batch: 128,
        max_completion_length: Some(5),
        max_steps: Some(3),
        warmup_steps: Some(0),
        ..TrainConfig::default()
    }
}

/// Everything that ended is an action.
struct Anything;

impl ActionForm for Anything {
    fn read(&self, text: &str) -> Result<Action, Malformed> {
        Ok(Action { content: Some(text.to_owned()), ..Action::default() })
    }
}

struct Judge<F>(&'static str, F);

impl<F: FnMut(&Proposal<'_>) -> Verdict> ActionJudge for Judge<F> {
    fn name(&self) -> String {
        self.0.to_owned()
    }

    fn judge(&mut self, proposals: &[Proposal<'_>]) -> Result<Vec<Verdict>, TrainError> {
        Ok(proposals.iter().map(&mut self.1).collect())
    }
}

/// Returns a judge that likes actions that begin with `a`.
fn likes_a() -> Judge<impl FnMut(&Proposal<'_>) -> Verdict> {
    Judge("a", |proposal: &Proposal<'_>| {
        Verdict::Value(f64::from(u8::from(proposal.text.starts_with('a'))))
    })
}

/// Returns a number from 0 to 1 for a proposal, the same every time.
fn noise(proposal: &Proposal<'_>) -> f64 {
    let text = format!("{} {} {}", proposal.row, proposal.number, proposal.text);
    text.bytes().fold(7u32, |n, byte| n.wrapping_mul(31).wrapping_add(byte.into())) as f64
        / f64::from(u32::MAX)
}

fn states(config: &TrainConfig, rows: &[Example]) -> Prepared {
    prepare(&speaker(), &tokenizer(), None, config, rows, &[]).unwrap()
}

/// What a run told.
#[derive(Default)]
struct Heard {
    steps: Vec<StepReport>,
    samples: Vec<Vec<SampleReport>>,
    events: Vec<Event>,
}

/// Where a run is and how it goes.
struct Way<'a> {
    config: &'a TrainConfig,
    folder: &'a Path,
    resume: bool,
    stop_after: Option<u64>,
    slots: usize,
}

impl Way<'_> {
    fn run(
        &self,
        decoder: &Decoder,
        prepared: &Prepared,
        form: &(dyn ActionForm + Sync),
        judge: &mut (dyn ActionJudge + Send),
    ) -> (Result<Outcome, TrainError>, Heard) {
        let (tokenizer, clock, mut heard) = (tokenizer(), || Duration::ZERO, Heard::default());
        let run = Run {
            decoder,
            tokenizer: &tokenizer,
            chat_template: None,
            model_identity: "tiny",
            prepared,
            config: self.config,
            directory: self.folder,
            resume: self.resume,
            clock: &clock,
        };
        let mut observer = |event: &Event| {
            heard.events.push(event.clone());
            match event {
                Event::Step(report) => heard.steps.push(report.clone()),
                Event::Samples { samples, .. } => heard.samples.push(samples.clone()),
                _ => {}
            }
            match event {
                Event::Step(report) if self.stop_after == Some(report.step) => {
                    ControlFlow::Break(())
                }
                _ => ControlFlow::Continue(()),
            }
        };
        let outcome = train_online(&run, Online { judge, form, slots: self.slots }, &mut observer);
        (outcome, heard)
    }
}

/// Runs from the beginning to the end, or to an error.
fn whole(
    config: &TrainConfig,
    rows: &[Example],
    form: &(dyn ActionForm + Sync),
    judge: &mut (dyn ActionJudge + Send),
) -> (Result<Outcome, TrainError>, Heard, Decoder) {
    let folder = tempfile::tempdir().unwrap();
    let (model, prepared) = (speaker(), states(config, rows));
    let way = Way { config, folder: folder.path(), resume: false, stop_after: None, slots: 6 };
    let (outcome, heard) = way.run(&model, &prepared, form, judge);
    (outcome, heard, model)
}

pub fn metric(report: &StepReport, name: &str) -> f64 {
    report.metrics.iter().find(|(other, _)| *other == name).unwrap_or_else(|| panic!("{name}")).1
}

#[test]
fn the_mean_reward_rises() {
    let config = TrainConfig {
        max_steps: Some(16),
        tokens_per_step: 512,
        learning_rate: Some(5e-2),
        lr_scheduler_type: swirldb::train::Scheduler::Constant,
        ..swirl()
    };
    let (outcome, heard, _) = whole(&config, &examples(4), &Anything, &mut likes_a());
    assert!(outcome.unwrap().complete);
    let mean = |steps: &[StepReport]| {
        steps.iter().map(|step| metric(step, "reward")).sum::<f64>() / steps.len() as f64
    };
    let (first, last) = (mean(&heard.steps[..3]), mean(&heard.steps[13..]));
    assert!(last > first + 0.3, "{first}, {last}");
    for step in &heard.steps {
        let distance = metric(step, "sampling/sampling_logp_difference/max");
        assert!(distance < 1e-4, "{distance}");
        assert!(step.kl.is_finite() && step.action_tokens > 0);
    }
}

#[test]
fn rewards_of_chance_move_on_too() {
    let mut judge = Judge("chance", |proposal: &Proposal<'_>| Verdict::Value(noise(proposal)));
    let config = TrainConfig { beta: Some(0.0), kl_loss_coef: Some(0.1), ..swirl() };
    let (outcome, heard, _) = whole(&config, &examples(2), &Anything, &mut judge);
    assert!(outcome.unwrap().complete);
    assert!(heard.steps.iter().all(|step| step.loss.is_finite() && step.grad_norm > 0.0));

    // Without a baseline one sample is enough, and its advantage is its reward.
    let alone = TrainConfig {
        baseline: Some(Baseline::None),
        num_generations: Some(1),
        max_steps: None,
        num_train_epochs: 2,
        ..swirl()
    };
    let (outcome, heard, _) = whole(&alone, &examples(2), &Anything, &mut judge);
    assert!(outcome.unwrap().complete);
    let samples = heard.samples.concat();
    // Three states of two trajectories, twice.
    assert_eq!(samples.len(), 12);
    assert!(samples.iter().all(|s| s.advantage.is_some() && s.advantage == s.reward));
}

#[test]
fn adapters_learn_what_is_liked() {
    let folder = tempfile::tempdir().unwrap();
    speaker().save(folder.path(), None).unwrap();
    let config = TrainConfig { full: false, gradient_checkpointing: true, ..swirl() };
    let model = load(folder.path(), &config.training(), 1, &Device::Cpu).unwrap().decoder;
    let before = values(&model);
    let prepared = states(&config, &examples(2));
    let runs = tempfile::tempdir().unwrap();
    let way =
        Way { config: &config, folder: runs.path(), resume: false, stop_after: None, slots: 4 };
    let (outcome, heard) = way.run(&model, &prepared, &Anything, &mut likes_a());
    assert!(outcome.unwrap().complete);
    assert!(heard.steps.iter().all(|step| step.grad_norm > 0.0));
    assert_ne!(values(&model), before);
    // The sampler sees the adapters that were learnt.
    let last = heard.steps.last().unwrap();
    assert!(metric(last, "sampling/sampling_logp_difference/max") < 1e-4);
}

#[test]
fn a_plan_counts_states_and_keeps_no_action() {
    let config = swirl();
    let prepared = states(&config, &examples(2));
    let plan = &prepared.plan;
    assert_eq!((plan.rows, plan.actions, plan.action_tokens, plan.sequences), (6, 6, 0, 2));
    let stored = prepare(&speaker(), &tokenizer(), None, &super::config(), &examples(2), &[]);
    for (ours, stored) in prepared.sequences.iter().zip(&stored.unwrap().sequences) {
        let starts = |s: &swirldb::train::Sequence| -> Vec<usize> {
            s.actions.iter().map(|action| action.start).collect()
        };
        assert_eq!(starts(ours), starts(stored));
        assert_eq!(ours.tokens[..], stored.tokens[..stored.actions[2].start]);
    }
    // One state at a time.
    let by_one = TrainConfig { batch_by: swirldb::train::BatchBy::Subtrajectory, ..swirl() };
    assert_eq!(states(&by_one, &examples(2)).plan.sequences, 6);
    // A sample must fit behind its state.
    let longest = plan.longest as u64;
    let within = |max_length| {
        let config = TrainConfig { max_length: Some(max_length), ..swirl() };
        prepare(&speaker(), &tokenizer(), None, &config, &examples(2), &[])
    };
    assert!(within(longest + 5).is_ok());
    let error = within(longest + 4).unwrap_err().to_string();
    assert!(error.contains("lower max_completion_length"), "{error}");
}

/// Returns the advantage of each reward by the mean of all.
fn by_the_mean(rewards: &[f64]) -> Vec<f64> {
    let count = rewards.len() as f64;
    let mean = rewards.iter().sum::<f64>() / count;
    rewards.iter().map(|reward| (reward - mean) * count / (count - 1.0)).collect()
}

fn close(found: &[f64], expected: &[f64], within: f64) {
    assert_eq!(found.len(), expected.len());
    let pairs = found.iter().zip(expected);
    assert!(pairs.clone().all(|(a, b)| (a - b).abs() < within), "{found:?}, {expected:?}");
}

#[test]
fn advantages_leave_one_out() {
    for count in 2..9 {
        let rewards: Vec<f64> =
            crate::lm::numbers(count as u64, count).iter().map(|n| f64::from(*n)).collect();
        close(&leave_one_out(&rewards), &by_the_mean(&rewards), 1e-12);
    }
    assert_eq!(leave_one_out(&[0.1; 5]), [0.0; 5]);
    assert_eq!(leave_one_out(&[1.0, 0.0]), [1.0, -1.0]);
}

#[test]
fn failed_verdicts_drop_samples_and_lone_samples_their_state() {
    // Of the first state one verdict comes, of the second three.
    let mut judge = Judge("weak", |proposal: &Proposal<'_>| match proposal.row.step {
        1 if proposal.number > 0 => Verdict::Failed("away".to_owned()),
        2 if proposal.number == 2 => Verdict::Failed("away".to_owned()),
        _ => Verdict::Value(noise(proposal)),
    });
    let config = TrainConfig {
        max_judge_failures: Some(1.0),
        // So that nothing is cut.
        max_completion_length: Some(60),
        beta: Some(0.0),
        max_steps: Some(1),
        ..swirl()
    };
    let (outcome, heard, _) = whole(&config, &examples(1), &Anything, &mut judge);
    outcome.unwrap();
    let report = &heard.steps[0];
    assert_eq!((metric(report, "dropped_states"), metric(report, "judge_failures")), (1.0, 4.0));
    assert_eq!((metric(report, "judged"), report.actions), (8.0, 7));
    for state in heard.samples[0].chunk_by(|a, b| a.row == b.row) {
        let values: Vec<f64> = state.iter().filter_map(|sample| sample.verdict).collect();
        let advantages: Vec<f64> = state.iter().filter_map(|sample| sample.advantage).collect();
        match state[0].row.step {
            1 => assert_eq!((values.len(), advantages.len()), (1, 0)),
            step => {
                assert_eq!(values.len(), if step == 2 { 3 } else { 4 });
                close(&advantages, &by_the_mean(&values), 1e-9);
            }
        }
        for sample in state {
            assert_eq!(sample.verdict.is_none(), sample.failure.is_some());
        }
    }
    // A twentieth may fail by default.
    let strict = TrainConfig { max_judge_failures: None, ..config };
    let (outcome, heard, model) = whole(&strict, &examples(1), &Anything, &mut judge);
    let error = outcome.unwrap_err().to_string();
    assert!(error.contains("4 of 12 verdicts failed at optimiser step 1"), "{error}");
    assert!(error.contains("max_judge_failures = 0.05") && error.contains("away"), "{error}");
    assert!(heard.steps.is_empty());
    assert_eq!(values(&model), values(&speaker()));
}

#[test]
fn nothing_is_learnt_where_every_state_is_dropped() {
    let mut judge = Judge("gone", |_: &Proposal<'_>| Verdict::Failed("gone".to_owned()));
    let config = TrainConfig { max_judge_failures: Some(1.0), max_steps: Some(1), ..swirl() };
    let config = TrainConfig { max_completion_length: Some(60), ..config };
    let (outcome, heard, model) = whole(&config, &examples(1), &Anything, &mut judge);
    assert!(outcome.unwrap().complete);
    assert_eq!((heard.steps[0].actions, metric(&heard.steps[0], "dropped_states")), (0, 3.0));
    assert_eq!(values(&model), values(&speaker()));
}

#[test]
fn verdicts_that_are_none_stop_the_run() {
    let mut judge = Judge("wild", |_: &Proposal<'_>| Verdict::Value(1.5));
    let error = whole(&swirl(), &examples(1), &Anything, &mut judge).0.unwrap_err().to_string();
    assert!(error.contains("the value 1.5: expected a number from 0 to 1"), "{error}");
    struct Silent;
    impl ActionJudge for Silent {
        fn name(&self) -> String {
            "silent".to_owned()
        }
        fn judge(&mut self, _: &[Proposal<'_>]) -> Result<Vec<Verdict>, TrainError> {
            Ok(Vec::new())
        }
    }
    let error = whole(&swirl(), &examples(1), &Anything, &mut Silent).0.unwrap_err().to_string();
    assert!(error.contains("the judge gave 0 verdicts"), "{error}");
}

#[test]
fn what_is_no_action_gets_its_reward_unjudged() {
    struct Picky;
    impl ActionForm for Picky {
        fn read(&self, text: &str) -> Result<Action, Malformed> {
            match text.chars().next() {
                None => Err(Malformed::Nothing),
                Some('b') => Err(Malformed::Several),
                _ => Anything.read(text),
            }
        }
    }
    let mut seen = Vec::new();
    let mut judge = Judge("a", |proposal: &Proposal<'_>| {
        seen.push(proposal.text.to_owned());
        Verdict::Value(1.0)
    });
    let config = TrainConfig { malformed_reward: Some(-0.5), max_steps: Some(1), ..swirl() };
    let (outcome, heard, _) = whole(&config, &examples(2), &Picky, &mut judge);
    outcome.unwrap();
    let (report, samples) = (&heard.steps[0], &heard.samples[0]);
    let count = |of: fn(&SampleReport) -> bool| samples.iter().filter(|s| of(s)).count() as f64;
    let cut = count(|sample| sample.malformed == Some(Malformed::Cut));
    assert_eq!(cut, count(|sample| sample.finish_reason == "length"));
    assert_eq!(metric(report, "malformed/cut"), cut);
    let nothing = count(|sample| sample.malformed == Some(Malformed::Nothing));
    assert_eq!(metric(report, "malformed/nothing"), nothing);
    let several = count(|sample| sample.malformed == Some(Malformed::Several));
    assert_eq!(metric(report, "malformed/several"), several);
    assert!(cut > 0.0 && nothing > 0.0 && several > 0.0);
    assert_eq!(metric(report, "judged"), samples.len() as f64 - cut - nothing - several);
    for sample in samples {
        assert_eq!(sample.verdict.is_some(), sample.malformed.is_none());
        assert!(sample.advantage.is_some());
        let value = if sample.malformed.is_some() { -0.5 } else { 1.0 };
        assert!((sample.reward.unwrap() - value).abs() < 1e-4);
    }
    assert!(!seen.is_empty() && seen.iter().all(|text| text.starts_with('a')));
}

#[test]
fn an_action_has_one_call_or_an_answer() {
    let renderer = Renderer::of_tags(&vocabulary_of(&tokenizer())).unwrap();
    let form = OneAction { renderer: &renderer };
    let call = "<tool_call>\n{\"name\": \"search\", \"arguments\": {}}\n</tool_call>";
    for right in ["Paris", call, &format!("Let me see\n{call}"), "<think>\nx\n</think>\nOslo"] {
        assert!(form.read(right).is_ok(), "{right}");
    }
    assert_eq!(form.read(""), Err(Malformed::Nothing));
    assert_eq!(form.read("<think>\nx\n</think>\n"), Err(Malformed::Nothing));
    assert_eq!(form.read(&format!("{call}\n{call}")), Err(Malformed::Several));
    for wrong in ["<tool_call>\n{\"name\"", &format!("{call}\nParis"), "<think>x"] {
        assert!(matches!(form.read(wrong), Err(Malformed::Unreadable(_))), "{wrong}");
    }
}

#[test]
fn a_killed_run_goes_on_to_the_same_bits() {
    let config = TrainConfig { max_steps: Some(5), save_steps: Some(1), ..swirl() };
    let (rows, prepared) = (examples(3), states(&swirl(), &examples(3)));
    let (_, unbroken, model) = whole(&config, &rows, &Anything, &mut likes_a());
    let folder = tempfile::tempdir().unwrap();
    let way = |resume, stop_after, slots| Way {
        config: &config,
        folder: folder.path(),
        resume,
        stop_after,
        slots,
    };
    let first = way(false, Some(2), 3).run(&speaker(), &prepared, &Anything, &mut likes_a());
    assert!(!first.0.unwrap().complete);
    let mut other = Judge("b", |_: &Proposal<'_>| Verdict::Value(0.5));
    let refused = way(true, None, 3).run(&speaker(), &prepared, &Anything, &mut other).0;
    assert!(refused.unwrap_err().to_string().contains("the judge differs"));
    let again = speaker();
    let rest = way(true, None, 1).run(&again, &prepared, &Anything, &mut likes_a());
    assert!(rest.0.unwrap().complete);
    // Other slots, other calls of the sampler, the same samples and weights.
    assert_eq!([first.1.samples, rest.1.samples].concat(), unbroken.samples);
    assert_eq!([first.1.steps, rest.1.steps].concat(), unbroken.steps);
    assert_eq!(values(&again), values(&model));
    assert_ne!(values(&again), values(&speaker()));
    // Every epoch draws anew.
    let rows: Vec<_> = unbroken.samples.concat();
    let of_first = |s: &&SampleReport| s.row == rows[0].row && s.number == 0;
    let all: Vec<&SampleReport> = rows.iter().filter(of_first).collect();
    assert!(all.len() > 1 && all.iter().any(|sample| sample.tokens != all[0].tokens));
}

#[test]
fn held_out_states_are_judged_and_the_best_model_is_kept() {
    let config = TrainConfig {
        eval_steps: Some(2),
        max_steps: Some(6),
        load_best_model_at_end: true,
        ..swirl()
    };
    let held_out = [("other".to_owned(), vec![example(8, &[(1, 0.0), (3, 1.0)])])];
    let prepared =
        prepare(&speaker(), &tokenizer(), None, &config, &examples(3), &held_out).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let way =
        Way { config: &config, folder: folder.path(), resume: false, stop_after: None, slots: 4 };
    let (outcome, heard) = way.run(&speaker(), &prepared, &Anything, &mut likes_a());
    let rewards: Vec<f64> = heard
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Evaluated { actions, metrics, .. } => {
                assert_eq!((*actions, metrics[0].0), (2, "reward"));
                Some(metrics[0].1)
            }
            _ => None,
        })
        .collect();
    assert_eq!(rewards.len(), 4);
    let best = rewards[1..].iter().copied().fold(0.0, f64::max);
    assert_eq!(outcome.unwrap().best.unwrap().value, best);
}

#[test]
fn a_run_needs_a_judge_and_options_that_act() {
    let config = swirl();
    let (prepared, folder) = (states(&config, &examples(1)), tempfile::tempdir().unwrap());
    let told = &mut Told::default();
    let error = run_with(&speaker(), &prepared, &config, folder.path(), false, told).unwrap_err();
    assert!(error.to_string().contains("give it a judge"), "{error}");
    for (config, part) in [
        (TrainConfig { kl_loss_type: Some(KlType::K1), ..swirl() }, "zero expected gradient"),
        (
            TrainConfig { kl_loss_type: Some(KlType::Full), kl_loss_coef: Some(1.0), ..swirl() },
            "'full' is for stored actions",
        ),
        (TrainConfig { num_generations: Some(1), ..swirl() }, "num_generations to at least 2"),
        (TrainConfig { log_examples: true, ..swirl() }, "log_examples scores stored"),
        (TrainConfig { epsilon: Some(0.2), ..swirl() }, "epsilon has no effect on swirl"),
        (TrainConfig { temperature: Some(0.0), ..swirl() }, "temperature"),
        (TrainConfig { num_generations: Some(4), ..super::config() }, "no effect on sft"),
    ] {
        let error = config.validate().unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let leaning = TrainConfig {
        kl_loss_type: Some(KlType::K3),
        kl_loss_coef: Some(0.1),
        temperature: Some(0.8),
        ..swirl()
    };
    let warnings = states(&leaning, &examples(1)).plan.warnings;
    for part in ["kl_loss_type = 'k3'", "temperature or top_p is not 1"] {
        assert!(warnings.iter().any(|warning| warning.contains(part)), "{warnings:?}");
    }
}

/// The second step: its policy is no longer the start policy, so that the divergence counts.
#[test]
fn a_step_is_that_of_separate_sequences() {
    for kl_loss_coef in [None, Some(0.3)] {
        let config = TrainConfig {
            beta: Some(0.4),
            kl_loss_coef,
            max_steps: Some(2),
            save_steps: Some(1),
            max_grad_norm: 0.0,
            learning_rate: Some(3e-3),
            tokens_per_step: 1 << 20,
            ..swirl()
        };
        check_step(&config, &examples(2));
    }
    // A state that is no prefix of the next has a trunk of its own.
    let mut edited = trajectory(1);
    let summary = Message::new(role::USER, "one search");
    edited.steps[2].context =
        Some(vec![ContextItem::Kept { from: 0, to: 1 }, ContextItem::Replaced(summary)]);
    let mut rows = examples(2);
    rows[1].trajectory = Arc::new(edited);
    let config = TrainConfig {
        max_steps: Some(2),
        save_steps: Some(1),
        beta: Some(0.4),
        max_grad_norm: 0.0,
        learning_rate: Some(3e-3),
        tokens_per_step: 1 << 20,
        tokens_per_batch: 1 << 20,
        ..swirl()
    };
    assert_eq!(states(&config, &rows).plan.apart, 1);
    check_step(&config, &rows);
}

fn check_step(config: &TrainConfig, rows: &[Example]) {
    let folder = tempfile::tempdir().unwrap();
    let prepared = states(config, rows);
    let way = Way { config, folder: folder.path(), resume: false, stop_after: None, slots: 5 };
    let mut judge = Judge("chance", |proposal: &Proposal<'_>| Verdict::Value(noise(proposal)));
    let (outcome, heard) = way.run(&speaker(), &prepared, &Anything, &mut judge);
    outcome.unwrap();
    let checkpoint = |step: u64| folder.path().join(format!("checkpoint-{step}"));
    let model = load(&checkpoint(1), &Training::Full, 1, &Device::Cpu).unwrap().decoder;
    let begin = speaker();
    let states: Vec<&[SampleReport]> = heard.samples[1].chunk_by(|a, b| a.row == b.row).collect();
    assert_eq!(states.len(), 6);
    let mut loss = Tensor::zeros((), candle_core::DType::F32, &Device::Cpu).unwrap();
    for state in &states {
        let all = prepared.sequences.iter();
        let mut spans = all.flat_map(|s| s.actions.iter().map(move |a| (s, a)));
        let (sequence, span) = spans.find(|(_, span)| span.row == state[0].row).unwrap();
        let before = &sequence.tokens[..span.start];
        let log_probs = |decoder: &Decoder, sample: &SampleReport| {
            let tokens = [before, &sample.tokens].concat();
            let rows: Vec<u32> = (before.len()..tokens.len()).map(|row| row as u32 - 1).collect();
            let lengths = vec![tokens.len()];
            let hidden = decoder.hidden(&Packed { tokens, lengths, ..Packed::default() }).unwrap();
            decoder.log_probs(&hidden, &rows, &sample.tokens).unwrap()
        };
        let sum = |x: &Tensor| x.sum_all().unwrap().to_scalar::<f32>().unwrap();
        let now: Vec<Tensor> = state.iter().map(|sample| log_probs(&model, sample)).collect();
        let start: Vec<Tensor> =
            state.iter().map(|sample| log_probs(&begin, sample).detach()).collect();
        let rewards: Vec<f64> = state
            .iter()
            .zip(now.iter().zip(&start))
            .map(|(sample, (now, start))| {
                let value = sample.verdict.unwrap_or(0.0);
                value - 0.4 * f64::from(sum(now) - sum(start))
            })
            .collect();
        let told: Vec<f64> = state.iter().map(|sample| sample.reward.unwrap()).collect();
        close(&told, &rewards, 1e-4);
        let advantages: Vec<f64> = state.iter().map(|sample| sample.advantage.unwrap()).collect();
        close(&advantages, &by_the_mean(&rewards), 1e-4);
        let share = 1.0 / (states.len() * state.len()) as f64;
        for ((now, start), advantage) in now.iter().zip(&start).zip(by_the_mean(&rewards)) {
            let policy = (now.sum_all().unwrap() * (-advantage * share)).unwrap();
            let squares = (now - start).unwrap().sqr().unwrap().sum_all().unwrap();
            let coefficient = 0.5 * config.kl_loss_coef.unwrap_or(0.0) * share;
            loss = ((loss + policy).unwrap() + (squares * coefficient).unwrap()).unwrap();
        }
    }
    let told = heard.steps[1].loss;
    let found = f64::from(loss.to_scalar::<f32>().unwrap());
    assert!((told - found).abs() < 1e-4, "{told}, {found}");
    let expected = model.backward(&loss).unwrap();
    let means = |step| {
        let file = checkpoint(step).join("optimizer.safetensors");
        candle_core::safetensors::load(file, &Device::Cpu).unwrap()
    };
    let (before, after) = (means(1), means(2));
    for (name, variable) in model.parameters() {
        let mean = format!("mean.{name}");
        let told = ((&after[&mean] - (&before[&mean] * 0.9).unwrap()).unwrap() * 10.0).unwrap();
        let expected = expected.get(&variable).unwrap();
        let told = told.reshape(expected.shape()).unwrap();
        let off = crate::lm::difference(&told, expected);
        assert!(off < 1e-4, "{name}: {off}");
    }
}

//! Trajectories played while training: advantages and losses by hand, a step done the long way,
//! resuming, and what is refused.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use candle_core::{Device, Tensor};
use swirldb::lm::{
    Decoder, Distribution, End, Packed, Prompt, Request, Sampler, SamplerOptions, Tokenizer,
    Training, load,
};
use swirldb::train::{
    Asked, BatchBy, Clip, EpisodePlayer, EpisodeReport, Event, GroupCounts, GroupLoss, KlType,
    LossType, Objective, Outcome, Played, PlayedLogProbs, Prepared, Run, ScaleRewards, Scheduler,
    StepReport, TrainConfig, TrainError, Truncation, Turn, Worth, group_advantages, prepare,
    train_episodes,
};

use super::online::{metric, speaker};
use super::{Told, example, run_with, tokenizer, values};

fn grpo() -> TrainConfig {
    TrainConfig {
        objective: Objective::Grpo,
        full: true,
        learning_rate: Some(2e-2),
        tokens_per_batch: 128,
        max_completion_length: Some(4),
        num_generations: Some(4),
        train_batch_size: Some(2),
        max_steps: Some(3),
        warmup_steps: Some(0),
        ..TrainConfig::default()
    }
}

/// Returns a run over so many questions.
fn questions(config: &TrainConfig, count: u64) -> Prepared {
    // Two trajectories share a question: every other one is asked.
    let rows: Vec<_> = (0..count).map(|n| example(2 * n, &[(1, 1.0)])).collect();
    prepare(&speaker(), &tokenizer(), None, config, &rows, &[]).unwrap()
}

/// What an episode is worth: by its question, its number and the text of its last action.
type Judge = fn(&Asked<'_>, &str) -> Worth;

/// Plays two actions each, with an observation between them.
struct Speaker<'a> {
    decoder: &'a Decoder,
    prepared: &'a Prepared,
    tokenizer: Tokenizer,
    judge: Judge,
    /// Whether the second state spells the first action in another way.
    respells: bool,
    /// Calls left before it is cancelled.
    calls_left: usize,
}

impl Speaker<'_> {
    fn action(&self, sampler: &mut Sampler, asked: &Asked<'_>, state: Vec<u32>, step: u64) -> Turn {
        let seed = asked.seed.unwrap_or_default().wrapping_add(step);
        let greedy = Distribution { temperature: 0.0, ..Distribution::default() };
        let end = self.tokenizer.token_id("<|im_end|>").unwrap();
        let request = Request {
            prompt: Prompt::new(state.clone()),
            max_new_tokens: 4,
            distribution: asked.seed.map_or(greedy, |_| Distribution::default()),
            stop_tokens: vec![end],
            seed,
            ..Request::default()
        };
        let all = sampler.run(&[request], None, &mut |_| ControlFlow::Continue(())).unwrap();
        let sample = all.samples.into_iter().next().unwrap();
        let ended = matches!(sample.end, End::StopToken(_));
        Turn { state, action: sample.tokens, log_probs: sample.log_probs, ended }
    }
}

impl EpisodePlayer for Speaker<'_> {
    fn judge(&self) -> String {
        "by its first letter".to_owned()
    }

    fn setting(&self) -> String {
        format!("respells {}", self.respells)
    }

    fn play(&mut self, asked: &[Asked<'_>]) -> Result<Vec<Played>, TrainError> {
        if self.calls_left == 0 {
            return Err(TrainError::Cancelled);
        }
        self.calls_left -= 1;
        let mut sampler = Sampler::new(self.decoder, SamplerOptions::default()).unwrap();
        let sequences = &self.prepared.sequences;
        let sets = self.prepared.held_out.iter().flat_map(|set| &set.sequences);
        let all: Vec<_> = sequences.iter().chain(sets).collect();
        let played = asked.iter().map(|asked| {
            let prompt = all.iter().find(|s| s.key == asked.row.key).unwrap().tokens.clone();
            let first = self.action(&mut sampler, asked, prompt.clone(), 1);
            let written = match self.respells {
                true => self.tokenizer.encode("ab"),
                false => first.action.clone(),
            };
            let state = [prompt, written, self.tokenizer.encode("tool Oslo Paris")].concat();
            let second = self.action(&mut sampler, asked, state, 2);
            let text = self.tokenizer.decode(&second.action);
            Played {
                turns: vec![first, second],
                worth: (self.judge)(asked, &text),
                counts: vec![("episodes/calls", 1.0), ("episodes/tool_errors", 0.5)],
            }
        });
        Ok(played.collect())
    }
}

fn likes_a(_: &Asked<'_>, text: &str) -> Worth {
    Worth::Value(f64::from(u8::from(text.starts_with('a'))))
}

/// What a run told.
#[derive(Default)]
struct Heard {
    steps: Vec<StepReport>,
    episodes: Vec<Vec<EpisodeReport>>,
    events: Vec<Event>,
}

/// Where a run is and how it goes.
struct Way<'a> {
    folder: &'a Path,
    resume: bool,
    stop_after: Option<u64>,
    respells: bool,
    calls: usize,
}

impl<'a> Way<'a> {
    fn new(folder: &'a Path) -> Way<'a> {
        Way { folder, resume: false, stop_after: None, respells: false, calls: usize::MAX }
    }

    fn run(
        &self,
        config: &TrainConfig,
        decoder: &Decoder,
        prepared: &Prepared,
        judge: Judge,
    ) -> (Result<Outcome, TrainError>, Heard) {
        let (words, clock, mut heard) = (tokenizer(), || Duration::ZERO, Heard::default());
        let run = Run {
            decoder,
            tokenizer: &words,
            chat_template: None,
            model_identity: "tiny",
            prepared,
            config,
            directory: self.folder,
            resume: self.resume,
            clock: &clock,
        };
        let mut observer = |event: &Event| {
            heard.events.push(event.clone());
            match event {
                Event::Step(report) => heard.steps.push(report.clone()),
                Event::Episodes { episodes, .. } => heard.episodes.push(episodes.clone()),
                _ => {}
            }
            match event {
                Event::Step(report) if self.stop_after == Some(report.step) => {
                    ControlFlow::Break(())
                }
                _ => ControlFlow::Continue(()),
            }
        };
        let mut player = Speaker {
            decoder,
            prepared,
            tokenizer: tokenizer(),
            judge,
            respells: self.respells,
            calls_left: self.calls,
        };
        let outcome = train_episodes(&run, &mut player, &mut observer);
        (outcome, heard)
    }
}

/// Runs from the beginning to the end, or to an error.
fn whole(
    config: &TrainConfig,
    count: u64,
    judge: Judge,
) -> (Result<Outcome, TrainError>, Heard, Decoder) {
    let folder = tempfile::tempdir().unwrap();
    let (model, prepared) = (speaker(), questions(config, count));
    let (outcome, heard) = Way::new(folder.path()).run(config, &model, &prepared, judge);
    (outcome, heard, model)
}

fn close(found: f64, expected: f64, within: f64) {
    assert!((found - expected).abs() < within, "{found}, expected {expected}");
}

#[test]
fn advantages_are_those_of_groups() {
    let rewards = [1.0, 0.0, 0.0, 0.0];
    // Mean 1/4; the deviation by n - 1 is the root of (9 + 1 + 1 + 1) / 16 / 3.
    let deviation = 0.5;
    let group = group_advantages(ScaleRewards::Group, &rewards, 9.0);
    close(group[0], 0.75 / (deviation + 1e-4), 1e-12);
    close(group[3], -0.25 / (deviation + 1e-4), 1e-12);
    assert_eq!(group_advantages(ScaleRewards::None, &rewards, 9.0), [0.75, -0.25, -0.25, -0.25]);
    close(group_advantages(ScaleRewards::Batch, &rewards, 2.0)[0], 0.75 / (2.0 + 1e-4), 1e-12);
    for scaling in [ScaleRewards::Group, ScaleRewards::Batch, ScaleRewards::None] {
        assert_eq!(group_advantages(scaling, &[0.1; 7], 0.0), [0.0; 7], "{scaling:?}");
    }
}

fn loss(loss_type: LossType, beta: f64) -> GroupLoss {
    let clip = Clip { low: 0.2, high: 0.3, dual: None };
    GroupLoss { loss_type, clip, beta, kl_type: KlType::K3, length: 10 }
}

#[test]
fn the_loss_is_its_formula() {
    // Two trajectories of two and one action tokens with the advantages 0.5 and -2.
    let counts = GroupCounts { trajectories: 2, tokens: 3 };
    let of =
        |loss: GroupLoss, advantage, now: &[f32], old: Option<&[f32]>, start: Option<&[f32]>| {
            let tokens = now.len();
            loss.of_tokens(PlayedLogProbs { advantage, tokens, now, old, start }, counts)
        };
    for (loss_type, first, second) in [
        (LossType::Dapo, 1.0 / 3.0, 1.0 / 3.0),
        (LossType::Grpo, 1.0 / 4.0, 1.0 / 2.0),
        (LossType::DrGrpo, 1.0 / 20.0, 1.0 / 20.0),
    ] {
        // The policy that is trained is the one that played: the ratio is 1.
        let up = of(loss(loss_type, 0.0), 0.5, &[-1.0, -3.0], None, None);
        let down = of(loss(loss_type, 0.0), -2.0, &[-0.5], None, None);
        close(up.loss + down.loss, -0.5 * 2.0 * first + 2.0 * second, 1e-12);
        assert!(up.derivatives.iter().all(|d| (f64::from(*d) + 0.5 * first).abs() < 1e-7));
        close(f64::from(down.derivatives[0]), 2.0 * second, 1e-7);
        assert_eq!((up.clipped, up.divergence), (0, 0.0));
        // It has moved: the first token is clipped, the second is not.
        let (now, old) = ([-1.0f32, -3.0], [-1.5f32, -3.1]);
        let moved = of(loss(loss_type, 0.0), 0.5, &now, Some(&old), None);
        let ratio = (-3.0f64 - f64::from(-3.1f32)).exp();
        close(moved.loss, -0.5 * first * (1.3 + ratio), 1e-9);
        assert_eq!((moved.clipped, moved.derivatives[0]), (1, 0.0));
        close(f64::from(moved.derivatives[1]), -0.5 * first * ratio, 1e-7);
        let held = of(loss(loss_type, 0.0), -2.0, &[-1.0], Some(&[-0.5]), None);
        close(held.loss, 2.0 * second * 0.8, 1e-9);
        assert_eq!((held.clipped, held.derivatives[0]), (1, 0.0));
        // d = 0.5: exp(-0.5) - 1 + 0.5, with slope 1 - exp(-0.5).
        let pulled = of(loss(loss_type, 0.4), 0.0, &[-1.0], None, Some(&[-1.5]));
        let divergence = (-0.5f64).exp() - 0.5;
        close(pulled.loss, 0.4 * second * divergence, 1e-9);
        close(pulled.divergence, divergence, 1e-9);
        let slope = 0.4 * second * (1.0 - (-0.5f64).exp());
        close(f64::from(pulled.derivatives[0]), slope, 1e-7);
    }
}

#[test]
fn derivatives_agree_with_differences() {
    let (old, start) = ([-1.0f32, -2.0, -0.25], [-1.3f32, -1.7, -0.5]);
    let counts = GroupCounts { trajectories: 3, tokens: 9 };
    for loss_type in [LossType::Dapo, LossType::Grpo, LossType::DrGrpo] {
        for kl_type in [KlType::K2, KlType::K3] {
            for advantage in [-1.5, 0.0, 0.75] {
                let loss = GroupLoss { kl_type, ..loss(loss_type, 0.3) };
                let of = |now: &[f32]| {
                    let (old, start) = (Some(&old[..]), Some(&start[..]));
                    loss.of_tokens(PlayedLogProbs { advantage, tokens: 5, now, old, start }, counts)
                };
                let now = [-1.1f32, -1.6, -1.0];
                let found = of(&now);
                for at in 0..3 {
                    let moved = |by: f32| {
                        let mut now = now;
                        now[at] += by;
                        (of(&now).loss, f64::from(now[at]))
                    };
                    let (low, high) = (moved(-1e-3), moved(1e-3));
                    let slope = (high.0 - low.0) / (high.1 - low.1);
                    close(f64::from(found.derivatives[at]), slope, 1e-4);
                }
            }
        }
    }
}

#[test]
fn the_mean_reward_rises() {
    let config = TrainConfig {
        max_steps: Some(14),
        num_generations: Some(6),
        learning_rate: Some(3e-2),
        lr_scheduler_type: Scheduler::Constant,
        ..grpo()
    };
    let (outcome, heard, _) = whole(&config, 4, likes_a);
    assert!(outcome.unwrap().complete);
    let mean = |steps: &[StepReport]| {
        steps.iter().map(|step| metric(step, "reward")).sum::<f64>() / steps.len() as f64
    };
    let (first, last) = (mean(&heard.steps[..3]), mean(&heard.steps[11..]));
    assert!(last > first + 0.3, "{first}, {last}");
    for (step, episodes) in heard.steps.iter().zip(&heard.episodes) {
        let distance = metric(step, "sampling/sampling_logp_difference/max");
        assert!(distance < 1e-4, "{distance}");
        let turns = episodes.iter().flat_map(|one| &one.turns);
        let sampled: usize = turns.map(|turn| turn.action.len()).sum();
        close(metric(step, "completions/mean_length"), sampled as f64 / 12.0, 1e-9);
        assert_eq!(metric(step, "tools/call_frequency"), 1.0);
        assert_eq!(metric(step, "tools/failure_frequency"), 0.5);
        assert_eq!(episodes.len(), 12);
    }
    // The same seed is the same run, to the bit.
    let (_, again, _) = whole(&config, 4, likes_a);
    assert_eq!((again.steps, again.episodes), (heard.steps, heard.episodes));
}

#[test]
fn a_group_without_spread_teaches_nothing() {
    // Every episode of the question of key 0 is worth the same.
    let judge: Judge = |asked, text| match asked.row.key {
        0 => Worth::Value(1.0),
        _ => likes_a(asked, text),
    };
    let config = TrainConfig { max_steps: Some(1), ..grpo() };
    let (outcome, heard, _) = whole(&config, 2, judge);
    outcome.unwrap();
    let report = &heard.steps[0];
    assert_eq!(metric(report, "frac_reward_zero_std"), 0.5);
    let of_first: Vec<_> = heard.episodes[0].iter().filter(|one| one.row.key == 0).collect();
    assert!(of_first.iter().all(|one| one.advantage == Some(0.0) && one.reward == Some(1.0)));
    assert_eq!(report.actions, 8, "the other four trajectories of two actions");

    let (outcome, heard, model) = whole(&config, 2, |_, _| Worth::Unanswered);
    assert!(outcome.unwrap().complete);
    let report = &heard.steps[0];
    assert_eq!((report.loss, report.actions, metric(report, "reward_std")), (0.0, 0, 0.0));
    assert_eq!(values(&model), values(&speaker()));
    // A divergence acts on them too; at the start it is zero.
    let held = TrainConfig { beta: Some(0.1), ..config };
    assert_eq!(whole(&held, 2, |_, _| Worth::Unanswered).1.steps[0].actions, 16);
}

#[test]
fn failed_verdicts_drop_trajectories_and_lone_ones_their_question() {
    let judge: Judge = |asked, _| match (asked.row.key, asked.number) {
        (0, 1..) | (2, 0) => Worth::Failed("away".to_owned()),
        (_, number) => Worth::Value(number as f64 / 4.0),
    };
    let config = TrainConfig { max_judge_failures: Some(1.0), max_steps: Some(1), ..grpo() };
    let (outcome, heard, _) = whole(&config, 2, judge);
    outcome.unwrap();
    let report = &heard.steps[0];
    assert_eq!((metric(report, "dropped_groups"), metric(report, "judge_failures")), (1.0, 4.0));
    for one in &heard.episodes[0] {
        match (one.row.key, one.number) {
            (0, _) | (_, 0) => assert_eq!(one.advantage, None),
            (_, number) => {
                let expected = (number as f64 - 2.0) / 4.0 / (0.25 + 1e-4);
                close(one.advantage.unwrap(), expected, 1e-9);
            }
        }
    }
    let strict = TrainConfig { max_judge_failures: None, ..config };
    let error = whole(&strict, 2, judge).0.unwrap_err().to_string();
    assert!(error.contains("4 of 8 verdicts failed at optimiser step 1"), "{error}");
    assert!(error.contains("away"), "{error}");
    let error = whole(&strict, 2, |_, _| Worth::Value(2.0)).0.unwrap_err().to_string();
    assert!(error.contains("its answer got 2: expected 0 to 1"), "{error}");
}

#[test]
fn a_killed_run_goes_on_to_the_same_bits() {
    for iterations in [1, 2] {
        let config = TrainConfig {
            max_steps: Some(6),
            save_steps: Some(2),
            num_iterations: Some(iterations),
            beta: Some(0.05),
            ..grpo()
        };
        let (_, unbroken, model) = whole(&config, 5, likes_a);
        let prepared = questions(&config, 5);
        let folder = tempfile::tempdir().unwrap();
        // Told to stop after the third step, which is within a generation where there are two.
        let way = Way { stop_after: Some(3), ..Way::new(folder.path()) };
        let (outcome, first) = way.run(&config, &speaker(), &prepared, likes_a);
        let stopped_at = if iterations == 2 { 4 } else { 3 };
        assert_eq!(outcome.unwrap().steps, stopped_at);
        // Cancelled while it plays.
        let way = Way { resume: true, calls: 0, ..Way::new(folder.path()) };
        let (outcome, none) = way.run(&config, &speaker(), &prepared, likes_a);
        let outcome = outcome.unwrap();
        assert_eq!((outcome.steps, outcome.complete, none.steps.len()), (stopped_at, false, 0));
        let other = Way { resume: true, respells: true, ..Way::new(folder.path()) };
        let error = other.run(&config, &speaker(), &prepared, likes_a).0.unwrap_err().to_string();
        assert!(error.contains("the episodes differs"), "{error}");
        let again = speaker();
        let way = Way { resume: true, ..Way::new(folder.path()) };
        let (outcome, rest) = way.run(&config, &again, &prepared, likes_a);
        assert!(outcome.unwrap().complete);
        assert_eq!([first.episodes, rest.episodes].concat(), unbroken.episodes);
        assert_eq!([first.steps, rest.steps].concat(), unbroken.steps);
        assert_eq!(values(&again), values(&model));
        assert_ne!(values(&again), values(&speaker()));
    }
}

/// Returns the log-probability of each token of `tokens` behind the first.
fn log_probs(decoder: &Decoder, tokens: &[u32]) -> Tensor {
    let rows: Vec<u32> = (0..tokens.len() as u32 - 1).collect();
    let lengths = vec![tokens.len()];
    let packed = Packed { tokens: tokens.to_vec(), lengths, ..Packed::default() };
    decoder.log_probs(&decoder.hidden(&packed).unwrap(), &rows, &tokens[1..]).unwrap()
}

/// Returns the sequences of a trajectory with 1 at the tokens behind the first that are of actions,
/// and 0 at those of prompt and observation.
fn masked(turns: &[Turn], respells: bool) -> Vec<(Vec<u32>, Vec<f32>)> {
    let whole = |turn: &Turn| [turn.state.clone(), turn.action.clone()].concat();
    let mask = |turns: &[Turn]| {
        let mut mask = vec![0.0f32; whole(turns.last().unwrap()).len()];
        for turn in turns {
            mask[turn.state.len()..][..turn.action.len()].fill(1.0);
        }
        mask.remove(0);
        mask
    };
    match respells {
        true => turns.iter().map(|turn| (whole(turn), mask(std::slice::from_ref(turn)))).collect(),
        false => vec![(whole(turns.last().unwrap()), mask(turns))],
    }
}

/// Returns the loss of a step at `model`, done the long way: ratio to `old`, divergence from
/// `start`, a mask over whole sequences.
fn by_the_mask(
    config: &TrainConfig,
    episodes: &[EpisodeReport],
    respells: bool,
    [model, old, start]: [&Decoder; 3],
) -> Tensor {
    let one = |turns: &[Turn]| turns.iter().map(|turn| turn.action.len()).sum::<usize>() as f64;
    let tokens: f64 = episodes.iter().map(|episode| one(&episode.turns)).sum();
    let mut loss = Tensor::zeros((), candle_core::DType::F32, &Device::Cpu).unwrap();
    for episode in episodes {
        let scale = match config.loss_type {
            Some(LossType::Grpo) => 1.0 / (episodes.len() as f64 * one(&episode.turns)),
            Some(LossType::DrGrpo) => 1.0 / (episodes.len() as f64 * 4.0),
            _ => 1.0 / tokens,
        };
        let advantage = episode.advantage.unwrap();
        for (tokens, mask) in masked(&episode.turns, respells) {
            let now = log_probs(model, &tokens);
            let off = |other| (&now - log_probs(other, &tokens).detach()).unwrap();
            let ratio = off(old).exp().unwrap();
            let held = (ratio.clamp(0.8f32, 1.2f32).unwrap() * -advantage).unwrap();
            let policy = (ratio * -advantage).unwrap().maximum(&held).unwrap();
            let d = off(start);
            let divergence = ((d.neg().unwrap().exp().unwrap() + &d).unwrap() - 1.0).unwrap();
            let beta = config.beta.unwrap_or(0.0);
            let token = ((policy + (divergence * beta).unwrap()).unwrap() * scale).unwrap();
            let mask = Tensor::new(mask, &Device::Cpu).unwrap();
            loss = (loss + (token * mask).unwrap().sum_all().unwrap()).unwrap();
        }
    }
    loss
}

fn check_step(config: &TrainConfig, respells: bool) {
    let prepared = questions(config, 2);
    let run = |steps: u64, folder: &Path| {
        let config = TrainConfig { max_steps: Some(steps), ..config.clone() };
        let way = Way { respells, ..Way::new(folder) };
        let (outcome, heard) = way.run(&config, &speaker(), &prepared, likes_a);
        outcome.unwrap();
        heard
    };
    let (before, after) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    run(1, before.path());
    let heard = run(2, after.path());
    let begin = speaker();
    let folder = before.path().join("checkpoint-1");
    let model = load(&folder, &Training::Full, 1, &Device::Cpu).unwrap().decoder;
    // On new trajectories the policy that played is the one that is trained.
    let old = if config.iterations() > 1 { &begin } else { &model };
    let (report, episodes) = (&heard.steps[1], &heard.episodes[1]);
    assert_eq!(episodes == &heard.episodes[0], config.iterations() > 1);
    assert!(episodes.iter().any(|one| one.advantage != Some(0.0)), "nothing is learnt");
    let loss_at = |model: &Decoder, old: &Decoder| {
        by_the_mask(config, episodes, respells, [model, old, &begin])
    };
    let loss = loss_at(&model, old);
    close(report.loss, f64::from(loss.to_scalar::<f32>().unwrap()), 1e-4);
    let turns = || episodes.iter().flat_map(|one| &one.turns);
    let sampled: usize = turns().map(|turn| turn.action.len()).sum();
    assert_eq!(report.action_tokens, sampled as u64, "nothing but actions carries loss");
    let means = |folder: &Path, step: u64| {
        let file = folder.join(format!("checkpoint-{step}")).join("optimizer.safetensors");
        candle_core::safetensors::load(file, &Device::Cpu).unwrap()
    };
    let expected = model.backward(&loss).unwrap();
    let (first, second) = (means(before.path(), 1), means(after.path(), 2));
    for (name, variable) in model.parameters() {
        let mean = format!("mean.{name}");
        let told = ((&second[&mean] - (&first[&mean] * 0.9).unwrap()).unwrap() * 10.0).unwrap();
        let expected = expected.get(&variable).unwrap();
        let told = told.reshape(expected.shape()).unwrap();
        let off = crate::lm::difference(&told, expected);
        assert!(off < 1e-4, "{name}: {off}");
    }
}

/// The second step: its policy is no longer the start policy, nor, on the same trajectories, the
/// one that played.
#[test]
fn a_step_is_that_of_masked_sequences() {
    let config = TrainConfig {
        beta: Some(0.4),
        max_grad_norm: 0.0,
        learning_rate: Some(3e-3),
        lr_scheduler_type: Scheduler::Constant,
        ..grpo()
    };
    for (loss_type, iterations, respells) in [
        (LossType::Dapo, 1, false),
        (LossType::Dapo, 2, true),
        (LossType::Grpo, 2, false),
        (LossType::DrGrpo, 2, true),
    ] {
        let (loss_type, num_iterations) = (Some(loss_type), Some(iterations));
        check_step(&TrainConfig { loss_type, num_iterations, ..config.clone() }, respells);
    }
}

#[test]
fn held_out_questions_are_played_and_the_best_model_is_kept() {
    let config = TrainConfig {
        eval_steps: Some(2),
        max_steps: Some(6),
        load_best_model_at_end: true,
        ..grpo()
    };
    let rows: Vec<_> = [0, 2, 4].map(|n| example(n, &[(1, 1.0)])).into();
    let held_out = [("other".to_owned(), vec![example(8, &[(1, 1.0)]), example(10, &[(1, 1.0)])])];
    let prepared = prepare(&speaker(), &tokenizer(), None, &config, &rows, &held_out).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (outcome, heard) = Way::new(folder.path()).run(&config, &speaker(), &prepared, likes_a);
    let rewards: Vec<f64> = heard
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Evaluated { actions, metrics, .. } => {
                assert_eq!((*actions, metrics[0].0), (4, "reward"));
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
fn a_run_takes_as_many_questions_as_it_is_asked_for() {
    let config = TrainConfig { max_steps: None, num_train_epochs: 2, ..grpo() };
    let twice = TrainConfig { num_iterations: Some(2), ..config.clone() };
    let plan = questions(&config, 5).plan;
    assert_eq!((plan.rows, plan.actions, plan.action_tokens, plan.sequences), (5, 5, 0, 5));
    assert_eq!((plan.steps_total, questions(&twice, 5).plan.steps_total), (6, 12));
    let (_, heard, _) = whole(&config, 5, likes_a);
    let asked: Vec<usize> = heard.episodes.iter().map(|all| all.len() / 4).collect();
    assert_eq!(asked, [2, 2, 1, 2, 2, 1]);
    let keys = |of: std::ops::Range<usize>| {
        let mut keys: Vec<u64> = heard.episodes[of].concat().iter().map(|o| o.row.key).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    };
    assert_eq!((keys(0..3), keys(3..6)), (vec![0, 2, 4, 6, 8], vec![0, 2, 4, 6, 8]));
    // Every generation draws anew.
    let of_first = heard.episodes[0][0].row.key;
    let all = heard.episodes.concat();
    let turns: Vec<_> =
        all.iter().filter(|one| one.row.key == of_first).map(|one| &one.turns).collect();
    assert!(turns.iter().any(|other| *other != turns[0]), "{turns:?}");
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let config = grpo();
    let (prepared, folder) = (questions(&config, 1), tempfile::tempdir().unwrap());
    let told = &mut Told::default();
    let error = run_with(&speaker(), &prepared, &config, folder.path(), false, told).unwrap_err();
    assert!(error.to_string().contains("give it a player"), "{error}");
    let stored = super::prepared(&super::config(), &super::examples(1));
    let way = Way::new(folder.path());
    let error = way.run(&super::config(), &speaker(), &stored, likes_a).0.unwrap_err();
    assert!(error.to_string().contains("objective 'sft' plays no trajectories"), "{error}");
    for (config, part) in [
        (TrainConfig { num_generations: Some(1), ..grpo() }, "num_generations to at least 2"),
        (TrainConfig { loss_type: Some(LossType::Bnpo), ..grpo() }, "use 'dapo'"),
        (TrainConfig { loss_type: Some(LossType::Kto), ..grpo() }, "is a loss of 'kto'"),
        (TrainConfig { epsilon: Some(0.1), ..grpo() }, "no effect with num_iterations = 1"),
        (TrainConfig { kl_loss_coef: Some(0.1), ..grpo() }, "kl_loss_coef has no effect on grpo"),
        (TrainConfig { kl_loss_type: Some(KlType::K2), ..grpo() }, "without beta above 0"),
        (
            TrainConfig { kl_loss_type: Some(KlType::Full), beta: Some(0.1), ..grpo() },
            "'full' is for stored actions",
        ),
        (
            TrainConfig { num_iterations: Some(2), save_steps: Some(3), ..grpo() },
            "save_steps has to be a multiple of num_iterations = 2",
        ),
        (TrainConfig { tokens_per_step: 99, ..grpo() }, "tokens_per_step is about stored"),
        (TrainConfig { max_length: Some(99), ..grpo() }, "max_length is about stored"),
        (TrainConfig { truncation: Truncation::Left, ..grpo() }, "truncation is about stored"),
        (TrainConfig { batch_by: BatchBy::Subtrajectory, ..grpo() }, "batch_by is about stored"),
        (TrainConfig { log_examples: true, ..grpo() }, "log_examples scores stored"),
        (TrainConfig { bf16: true, ..grpo() }, "samples on the CPU"),
        (TrainConfig { train_batch_size: Some(0), ..grpo() }, "train_batch_size"),
        (TrainConfig { train_batch_size: Some(4), ..super::config() }, "no effect on sft"),
    ] {
        let error = config.validate().unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let clips = TrainConfig { epsilon_high: Some(0.28), num_iterations: Some(2), ..grpo() };
    assert!(clips.validate().is_ok());
    let leaning = TrainConfig { temperature: Some(0.8), ..grpo() };
    let warnings = questions(&leaning, 1).plan.warnings;
    assert!(warnings.iter().any(|w| w.contains("temperature or top_p is not 1")), "{warnings:?}");
}

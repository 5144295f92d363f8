//! What a run will do, worked out before its first step.

use std::collections::HashMap;

use serde::Serialize;

use crate::lm::{Decoder, Tokenizer};
use crate::model::Trajectory;
use crate::render::{Renderer, RendererChoice};

use super::advantage::Weighed;
use super::config::{KlType, LossType, Objective, TrainConfig};
use super::error::TrainError;
use super::example::{Example, SamplingPolicy};
use super::order::Course;
use super::pairs::Pairs;
use super::sequence::{ActionSpan, Encoder, Encoding, Sequence, vocabulary_of};
use super::watch::Watch;

/// A run before its first step, for people to look at.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrainPlan {
    /// The renderer's name.
    pub renderer: String,
    /// Why the model's template was passed over, if it was.
    pub renderer_reason: Option<String>,
    /// Rows handed in.
    pub rows: usize,
    /// Actions that will be trained on.
    pub actions: usize,
    /// Pairs of actions; 0 where the objective has none.
    pub pairs: usize,
    /// Sequences.
    pub sequences: usize,
    /// Their tokens.
    pub tokens: u64,
    /// Tokens that carry loss.
    pub action_tokens: u64,
    /// Tokens of the longest sequence.
    pub longest: usize,
    /// Rows whose state lost turns to fit.
    pub truncated: usize,
    /// Rows left out because they are too long.
    pub dropped: usize,
    /// Sequences that hold steps whose state is not a prefix of their trajectory's.
    pub apart: usize,
    /// Rows left out because their weight, less the baseline, is zero.
    pub zero_weight: usize,
    /// Rows left out because no other trajectory answers the same question.
    pub no_baseline: usize,
    /// Rows whose stored tokens are used.
    pub stored_tokens: usize,
    /// Optimiser steps of the whole run.
    pub steps_total: u64,
    /// What people should know.
    pub warnings: Vec<String>,
}

/// A run ready to begin: its sequences and the weight of each action in them.
#[derive(Debug)]
pub struct Prepared {
    /// What the run will do.
    pub plan: TrainPlan,
    /// How messages became text.
    pub renderer: Renderer,
    /// The sequences.
    pub sequences: Vec<Sequence>,
    /// For each sequence the rewards of its actions, as they were handed in; of a pair 1 and 0.
    pub rewards: Vec<Vec<f64>>,
    /// For each sequence the weights of its actions: reward less baseline, or advantage; of labels
    /// 1 and 0, of a pair 1 and -1.
    pub weights: Vec<Vec<f64>>,
    /// The model's chat template, where it is the renderer.
    pub template: Option<String>,
    /// Log-probabilities that the source stored with tokens that are used, by key and step.
    pub(super) stored: HashMap<(u64, u32), (SamplingPolicy, Vec<f32>)>,
    /// Sequences that are scored and not trained on, by name.
    pub held_out: Vec<(String, Vec<Sequence>)>,
}

/// One token of a row, for a listing.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLine {
    /// Its place in the sequence, from 0.
    pub position: usize,
    /// Its id.
    pub token: u32,
    /// Its text; a token that is a part of a character shows a replacement character.
    pub text: String,
    /// The step whose action it is in, and the weight of that action; `None`: it is only read.
    pub action: Option<(u32, f64)>,
}

/// Returns the run that the options and examples make: renders and encodes every row, weighs it,
/// and refuses what cannot be trained on. `held_out` are sets that are scored only.
///
/// # Errors
/// Options that cannot hold, a row that would be rendered with loss, one that is too long, a
/// weight that is no number or has no bound, and nothing left to train on.
pub fn prepare(
    decoder: &Decoder,
    tokenizer: &Tokenizer,
    chat_template: Option<&str>,
    config: &TrainConfig,
    examples: &[Example],
    held_out: &[(String, Vec<Example>)],
) -> Result<Prepared, TrainError> {
    config.validate()?;
    let chosen = Chosen::new(config, examples)?;
    let scored = held_out.iter().flat_map(|(_, examples)| examples);
    let rows: Vec<(&Trajectory, Vec<u32>)> =
        chosen.examples().iter().chain(scored).map(row_steps).collect();
    let (renderer, renderer_reason) =
        Renderer::choose(config.renderer, chat_template, &vocabulary_of(tokenizer), &rows)
            .map_err(TrainError::Renderer)?;
    let encoder = Encoder::new(&renderer, tokenizer, config, decoder.config().context_length)?;
    let (sequences, encoding) = match &chosen {
        Chosen::Rows(weighed) => encoder.encode(&weighed.examples)?,
        Chosen::Pairs(pairs) => pairs.encode(&encoder)?,
    };
    let held_out = held_out
        .iter()
        .map(|(name, examples)| Ok((name.clone(), encoder.encode(examples)?.0)))
        .collect::<Result<Vec<_>, TrainError>>()?;
    if sequences.is_empty() {
        let reason = format!("all {} rows left are longer than max_length", encoding.dropped);
        return Err(TrainError::Empty(reason));
    }
    let all = sequences.iter().chain(held_out.iter().flat_map(|(_, sequences)| sequences));
    check_vocabulary(all, tokenizer, decoder.config().vocab_size)?;
    Watch::new(config, &held_out)?;
    let (rewards, weights) = match &chosen {
        Chosen::Rows(weighed) => weighed.weights(config, &sequences)?,
        Chosen::Pairs(_) => {
            let sides = |of: [f64; 2]| (0..sequences.len()).map(|at| vec![of[at % 2]]).collect();
            (sides([1.0, 0.0]), sides([1.0, -1.0]))
        }
    };
    let plan = plan_of(config, &chosen, &sequences, encoding, &renderer, renderer_reason);
    let is_template = matches!(renderer, Renderer::Template(_));
    let template = chat_template.filter(|_| is_template).map(str::to_owned);
    let stored = stored(chosen.examples(), &sequences);
    Ok(Prepared { plan, renderer, sequences, rewards, weights, template, stored, held_out })
}

/// What is trained on: rows, each for itself, or pairs of them.
enum Chosen {
    Rows(Weighed),
    Pairs(Pairs),
}

impl Chosen {
    fn new(config: &TrainConfig, examples: &[Example]) -> Result<Chosen, TrainError> {
        match config.objective {
            Objective::Dpo => Ok(Chosen::Pairs(Pairs::new(examples)?)),
            _ => Ok(Chosen::Rows(Weighed::new(config, examples)?)),
        }
    }

    fn examples(&self) -> &[Example] {
        match self {
            Chosen::Rows(weighed) => &weighed.examples,
            Chosen::Pairs(pairs) => &pairs.examples,
        }
    }

    /// Returns the numbers of rows handed in, without weight, and without a baseline.
    fn counts(&self) -> (usize, usize, usize) {
        match self {
            Chosen::Rows(weighed) => (weighed.rows, weighed.zero_weight, weighed.no_baseline),
            Chosen::Pairs(pairs) => (pairs.examples.len(), 0, 0),
        }
    }
}

/// Checks that the model has every token.
fn check_vocabulary<'a>(
    sequences: impl Iterator<Item = &'a Sequence>,
    tokenizer: &Tokenizer,
    vocabulary: usize,
) -> Result<(), TrainError> {
    for sequence in sequences {
        let Some(at) = sequence.tokens.iter().position(|t| *t as usize >= vocabulary) else {
            continue;
        };
        let mut after = sequence.actions.iter().filter(|action| at < action.end);
        if let Some(action) = after.next() {
            let (row, token) = (action.row.clone(), sequence.tokens[at]);
            let text = tokenizer.decode(&[token]);
            return Err(TrainError::Vocabulary { row, token, text, vocabulary });
        }
    }
    Ok(())
}

/// Returns the stored log-probabilities of the actions whose stored tokens are used, where there is
/// one for each token and the caller says whose they are.
fn stored(
    examples: &[Example],
    sequences: &[Sequence],
) -> HashMap<(u64, u32), (SamplingPolicy, Vec<f32>)> {
    let spans = sequences.iter().flat_map(|s| &s.actions).filter(|action| action.stored);
    let lengths: HashMap<(u64, u32), usize> =
        spans.map(|a| ((a.row.key, a.row.step), a.end - a.start)).collect();
    let mut all = HashMap::new();
    for example in examples {
        for chosen in &example.steps {
            let key = (example.key, chosen.step);
            let step = example.trajectory.steps.get(chosen.step.saturating_sub(1) as usize);
            let log_probs = step.and_then(|step| step.logprobs.as_ref());
            let (Some(policy), Some(log_probs)) = (&chosen.policy, log_probs) else { continue };
            let is_probability = |l: &f32| l.is_finite() && *l <= 0.0;
            if lengths.get(&key) == Some(&log_probs.len()) && log_probs.iter().all(is_probability) {
                all.insert(key, (policy.clone(), log_probs.clone()));
            }
        }
    }
    all
}

fn plan_of(
    config: &TrainConfig,
    chosen: &Chosen,
    sequences: &[Sequence],
    encoding: Encoding,
    renderer: &Renderer,
    renderer_reason: Option<String>,
) -> TrainPlan {
    let course = course(config, sequences);
    let lengths = || sequences.iter().map(|s| s.tokens.len());
    let spans = || sequences.iter().flat_map(|s| &s.actions);
    let (rows, zero_weight, no_baseline) = chosen.counts();
    let mut warnings = Vec::new();
    if config.objective == Objective::Kto && config.loss() == LossType::Kto {
        warnings.push(
            "loss_type = 'kto': its reference point is the mean log-ratio of a step's own actions, \
             not of mismatched ones, so it leans with the labels of the data"
                .to_owned(),
        );
    }
    if config.kl_loss_type == Some(KlType::K3) {
        warnings.push(
            "kl_loss_type = 'k3': its gradient is the divergence's only for actions sampled from \
             the policy that is trained, and stored actions are not; k2 pulls evenly"
                .to_owned(),
        );
    }
    if config.renderer == RendererChoice::Auto
        && let Some(reason) = &renderer_reason
    {
        warnings.push(format!("tags are used for all rows: {reason}"));
    }
    TrainPlan {
        renderer: renderer.name().to_owned(),
        renderer_reason,
        rows,
        actions: spans().count(),
        pairs: sequences.iter().filter(|s| s.pair.is_some()).count() / 2,
        sequences: sequences.len(),
        tokens: lengths().map(|n| n as u64).sum(),
        action_tokens: spans().map(|a| (a.end - a.start) as u64).sum(),
        longest: lengths().max().unwrap_or(0),
        truncated: encoding.truncated,
        dropped: encoding.dropped,
        apart: encoding.apart,
        zero_weight,
        no_baseline,
        stored_tokens: encoding.stored,
        steps_total: course.steps_total,
        warnings,
    }
}

/// Returns the order of a run over the sequences.
pub(super) fn course<'a>(config: &TrainConfig, sequences: &'a [Sequence]) -> Course<'a> {
    let (epochs, tokens) = (config.num_train_epochs, config.tokens_per_step);
    Course::new(sequences, config.seed, tokens, epochs, config.max_steps)
}

impl Prepared {
    /// Returns the tokens of the sequence that holds a row, up to the end of the row's action;
    /// `None` if no sequence does.
    pub fn listing(&self, tokenizer: &Tokenizer, key: u64, step: u32) -> Option<Vec<TokenLine>> {
        let is_wanted = |a: &ActionSpan| a.row.key == key && a.row.step == step;
        let holds = |(s, _): &(&Sequence, &Vec<f64>)| s.actions.iter().any(is_wanted);
        let (sequence, weights) = self.sequences.iter().zip(&self.weights).find(holds)?;
        let end = sequence.actions.iter().find(|a| is_wanted(a))?.end;
        let line = |(position, token): (usize, &u32)| {
            let mut actions = sequence.actions.iter().zip(weights);
            let inside = actions.find(|(a, _)| (a.start..a.end).contains(&position));
            TokenLine {
                position,
                token: *token,
                text: tokenizer.decode(&[*token]),
                action: inside.map(|(a, weight)| (a.row.step, *weight)),
            }
        };
        Some(sequence.tokens[..end].iter().enumerate().map(line).collect())
    }
}

fn row_steps(example: &Example) -> (&Trajectory, Vec<u32>) {
    (&*example.trajectory, example.steps.iter().map(|chosen| chosen.step).collect())
}

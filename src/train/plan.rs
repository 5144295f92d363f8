//! What a run will do, worked out before its first step.

use std::collections::HashMap;

use serde::Serialize;

use crate::lm::{Decoder, Tokenizer};
use crate::render::{RenderError, Renderer, RendererChoice};

use super::advantage::{PerAction, Weighed};
use super::config::{KlType, LossType, Objective, TrainConfig};
use super::encoder::{Encoded, Encoder};
use super::error::TrainError;
use super::example::{Example, SamplingPolicy};
use super::order::{Course, Together};
use super::pairs::Pairs;
use super::sequence::{ActionSpan, Encoding, Sequence, vocabulary_of};
use super::tokens::{Source, Whole};
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
    /// Actions that will be trained on; for `swirl` the states that actions are sampled at, for
    /// `grpo` the questions that are played.
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
    /// Rows whose state has characters that the tokenizer has no tokens for, or writes otherwise.
    pub respelled: usize,
    /// Trajectories, or of pairs actions, whose tokens were kept from an earlier run.
    pub cached: usize,
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
    /// Sets that are scored and not trained on.
    pub held_out: Vec<HeldOut>,
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

/// What a run is prepared from.
pub struct Preparation<'a> {
    /// The model.
    pub decoder: &'a Decoder,
    /// Its tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// Its chat template, if it has one.
    pub chat_template: Option<&'a str>,
    /// The options.
    pub config: &'a TrainConfig,
    /// Where trajectories are, and their tokens between runs.
    pub source: &'a dyn Source,
}

/// Returns the run that the options and whole examples make, without tokens kept between runs; see
/// [`Preparation::run`].
///
/// # Errors
/// As [`Preparation::run`].
pub fn prepare(
    decoder: &Decoder,
    tokenizer: &Tokenizer,
    chat_template: Option<&str>,
    config: &TrainConfig,
    examples: &[Example],
    held_out: &[(String, Vec<Example>)],
) -> Result<Prepared, TrainError> {
    Preparation { decoder, tokenizer, chat_template, config, source: &Whole }
        .run(examples, held_out)
}

/// Sequences that are scored and not trained on.
#[derive(Clone, Debug, PartialEq)]
pub struct HeldOut {
    /// The set's name.
    pub name: String,
    /// The sequences.
    pub sequences: Vec<Sequence>,
    /// For each sequence the weights of its actions: rewards or labels; of a pair 1 and -1.
    pub weights: Vec<Vec<f64>>,
}

/// Actions to be scored.
#[derive(Debug)]
pub struct Scoring {
    /// How messages became text.
    pub renderer: Renderer,
    /// The sequences.
    pub sequences: Vec<Sequence>,
    /// What became of the rows.
    pub encoding: Encoding,
}

/// The sets of rows of a run as one renderer and the tokenizer give them.
struct Encodings {
    renderer: Renderer,
    /// Why the template was passed over.
    reason: Option<String>,
    trained: Vec<Encoded>,
    held_out: Vec<Vec<Encoded>>,
}

impl Preparation<'_> {
    /// Returns the run that the options and examples make: renders and encodes every row, weighs
    /// it, and refuses what cannot be trained on. `held_out` are sets that are scored only.
    ///
    /// # Errors
    /// Options that cannot hold, a row that would be rendered with loss, one that is too long, a
    /// weight that is no number or has no bound, and nothing left to train on.
    pub fn run(
        &self,
        examples: &[Example],
        held_out: &[(String, Vec<Example>)],
    ) -> Result<Prepared, TrainError> {
        let config = self.config;
        config.validate()?;
        let chosen = Chosen::new(config, examples)?;
        let scored = held_out.iter().map(|(_, examples)| Chosen::held_out(config, examples));
        let scored = scored.collect::<Result<Vec<Chosen>, TrainError>>()?;
        let Encodings { renderer, reason, trained, held_out: each } =
            self.encodings(&chosen, &scored)?;
        let (sequences, encoding) = chosen.join(trained)?;
        let mut sets = Vec::new();
        for (((name, _), chosen), each) in held_out.iter().zip(&scored).zip(each) {
            let sequences = chosen.join(each)?.0;
            let weights = chosen.plain_weights(&sequences);
            sets.push(HeldOut { name: name.clone(), sequences, weights });
        }
        if sequences.is_empty() {
            let reason = format!("all {} rows left are longer than max_length", encoding.dropped);
            return Err(TrainError::Empty(reason));
        }
        let all = sequences.iter().chain(sets.iter().flat_map(|set| &set.sequences));
        check_vocabulary(all, self.tokenizer, self.decoder.config().vocab_size)?;
        Watch::new(config, &sets)?;
        let (rewards, weights) = chosen.weights(config, &sequences)?;
        let plan = plan_of(config, &chosen, &sequences, encoding, &renderer, reason);
        let is_template = matches!(renderer, Renderer::Template(_));
        let template = self.chat_template.filter(|_| is_template).map(str::to_owned);
        let stored = stored(chosen.examples(), &sequences);
        let held_out = sets;
        Ok(Prepared { plan, renderer, sequences, rewards, weights, template, stored, held_out })
    }

    /// Returns the sequences of examples whose actions are only scored.
    ///
    /// # Errors
    /// Options that cannot hold, a row that would be rendered with loss or is too long.
    pub fn scoring(&self, examples: &[Example]) -> Result<Scoring, TrainError> {
        self.config.validate()?;
        let chosen = Chosen::Rows(Weighed::unweighed(examples));
        let Encodings { renderer, trained, .. } = self.encodings(&chosen, &[])?;
        let (sequences, encoding) = chosen.join(trained)?;
        check_vocabulary(sequences.iter(), self.tokenizer, self.decoder.config().vocab_size)?;
        Ok(Scoring { renderer, sequences, encoding })
    }

    /// Encodes all rows by the renderer asked for; where it is to be found, by the model's template
    /// if it loses nothing of any row, else by tags.
    fn encodings(&self, chosen: &Chosen, scored: &[Chosen]) -> Result<Encodings, TrainError> {
        let vocabulary = vocabulary_of(self.tokenizer);
        let template = || Renderer::of_template(self.chat_template, &vocabulary);
        let tags = || Renderer::of_tags(&vocabulary).map_err(TrainError::Renderer);
        let reason = match self.config.renderer {
            RendererChoice::Tags => return self.encoded_by(tags()?, None, chosen, scored),
            RendererChoice::Template => {
                let renderer = template().map_err(TrainError::Renderer)?;
                return self.encoded_by(renderer, None, chosen, scored);
            }
            RendererChoice::Auto => match template() {
                Err(RenderError::NoTemplate) => "the model has no chat template".to_owned(),
                Err(error) => error.to_string(),
                Ok(renderer) => {
                    let encodings = self.encoded_by(renderer, None, chosen, scored)?;
                    match encodings.first_loss() {
                        None => return Ok(encodings),
                        Some(reason) => reason,
                    }
                }
            },
        };
        self.encoded_by(tags()?, Some(reason), chosen, scored)
    }

    fn encoded_by(
        &self,
        renderer: Renderer,
        reason: Option<String>,
        chosen: &Chosen,
        scored: &[Chosen],
    ) -> Result<Encodings, TrainError> {
        let context = self.decoder.config().context_length;
        let encoder = Encoder::new(
            &renderer,
            self.chat_template,
            self.tokenizer,
            self.config,
            context,
            self.source,
        )?;
        let trained = encoder.encode(chosen.examples())?;
        let held_out = scored.iter().map(|set| encoder.encode(set.examples()));
        let held_out = held_out.collect::<Result<_, _>>()?;
        Ok(Encodings { renderer, reason, trained, held_out })
    }
}

impl Encodings {
    /// Returns what is said of the first row that cannot be rendered.
    fn first_loss(&self) -> Option<String> {
        let all = self.trained.iter().chain(self.held_out.iter().flatten());
        all.filter_map(|one| one.as_ref().err()).find_map(|error| match error {
            TrainError::Render { row, error } => {
                Some(format!("trajectory {} of {}: {error}", row.id, row.source))
            }
            _ => None,
        })
    }
}

/// What is trained on, or scored: rows, each for itself, or pairs of them.
enum Chosen {
    Rows(Weighed),
    Pairs(Pairs),
}

impl Chosen {
    fn new(config: &TrainConfig, examples: &[Example]) -> Result<Chosen, TrainError> {
        match config.objective {
            Objective::Dpo => Ok(Chosen::Pairs(Pairs::new(examples)?)),
            Objective::Swirl | Objective::Grpo => {
                Ok(Chosen::Rows(Weighed::states(config, examples)?))
            }
            _ => Ok(Chosen::Rows(Weighed::new(config, examples)?)),
        }
    }

    /// Returns the rows of a set that is scored only: pairs where the objective has them and the
    /// set holds them, else rows as they are.
    fn held_out(config: &TrainConfig, examples: &[Example]) -> Result<Chosen, TrainError> {
        let is_paired = examples.iter().flat_map(|e| &e.steps).any(|step| step.pair.is_some());
        match config.objective {
            Objective::Dpo if is_paired => Ok(Chosen::Pairs(Pairs::new(examples)?)),
            Objective::Swirl | Objective::Grpo => {
                Ok(Chosen::Rows(Weighed::states(config, examples)?))
            }
            _ => Ok(Chosen::Rows(Weighed::unweighed(examples))),
        }
    }

    fn examples(&self) -> &[Example] {
        match self {
            Chosen::Rows(weighed) => &weighed.examples,
            Chosen::Pairs(pairs) => &pairs.examples,
        }
    }

    /// Returns the sequences of all examples, in order, and what became of their rows.
    fn join(&self, each: Vec<Encoded>) -> Result<(Vec<Sequence>, Encoding), TrainError> {
        match self {
            Chosen::Pairs(pairs) => pairs.join(each),
            Chosen::Rows(_) => {
                let mut all = Vec::with_capacity(each.len());
                let mut sum = Encoding::default();
                for one in each {
                    let (sequences, encoding) = one?;
                    all.extend(sequences);
                    sum.add(encoding);
                }
                Ok((all, sum))
            }
        }
    }

    /// Returns the rewards and the weights of all sequences' actions.
    fn weights(
        &self,
        config: &TrainConfig,
        sequences: &[Sequence],
    ) -> Result<(PerAction, PerAction), TrainError> {
        match self {
            Chosen::Rows(weighed) => weighed.weights(config, sequences),
            Chosen::Pairs(_) => Ok((sides([1.0, 0.0], sequences), sides([1.0, -1.0], sequences))),
        }
    }

    /// Returns the weights of all sequences' actions as they were handed in.
    fn plain_weights(&self, sequences: &[Sequence]) -> PerAction {
        match self {
            Chosen::Rows(weighed) => weighed.rewards(sequences),
            Chosen::Pairs(_) => sides([1.0, -1.0], sequences),
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

/// Returns a number for each side of pairs in turns.
fn sides(of: [f64; 2], sequences: &[Sequence]) -> PerAction {
    (0..sequences.len()).map(|at| vec![of[at % 2]]).collect()
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
    if matches!(config.objective, Objective::Swirl | Objective::Grpo) {
        warnings.extend(sampling_warnings(config));
    } else if config.kl_loss_type == Some(KlType::K3) {
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
        respelled: encoding.respelled,
        cached: encoding.cached,
        steps_total: course.steps_total,
        warnings,
    }
}

/// Returns what people should know of the sampling options.
fn sampling_warnings(config: &TrainConfig) -> Vec<String> {
    let mut warnings = Vec::new();
    if config.kl_loss_type == Some(KlType::K3) && config.objective == Objective::Swirl {
        warnings.push(
            "kl_loss_type = 'k3': for actions sampled from the policy that is trained its gradient \
             is that of the divergence the other way round; k2's is the divergence's own"
                .to_owned(),
        );
    }
    if config.temperature.is_some_and(|t| t != 1.0) || config.top_p.is_some_and(|p| p != 1.0) {
        warnings.push(
            "temperature or top_p is not 1: actions are drawn from another distribution than the \
             one that is trained, so the gradient leans"
                .to_owned(),
        );
    }
    warnings
}

/// Returns the order of a run over the sequences.
pub(super) fn course<'a>(config: &TrainConfig, sequences: &'a [Sequence]) -> Course<'a> {
    let together = match config.objective {
        Objective::Grpo => {
            Together::Sequences { count: config.questions_together(), steps: config.iterations() }
        }
        _ => Together::Tokens(config.tokens_per_step),
    };
    Course::new(sequences, config.seed, together, config.num_train_epochs, config.max_steps)
}

impl Prepared {
    /// Returns the order of the run over its sequences, at its beginning.
    pub fn course(&self, config: &TrainConfig) -> Course<'_> {
        course(config, &self.sequences)
    }

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

//! What a run will do, worked out before its first step.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use crate::lm::{Decoder, Tokenizer};
use crate::model::Trajectory;
use crate::render::{Renderer, RendererChoice};

use super::config::{Baseline, KlType, Objective, TrainConfig};
use super::error::TrainError;
use super::example::{ChosenStep, Example, Row};
use super::order::Course;
use super::sequence::{ActionSpan, Encoder, Encoding, Sequence, vocabulary_of};

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
    /// For each sequence the weights of its actions: reward less baseline.
    pub weights: Vec<Vec<f64>>,
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
    let weighed = Weighed::new(config, examples)?;
    let scored = held_out.iter().flat_map(|(_, examples)| examples);
    let rows: Vec<(&Trajectory, Vec<u32>)> =
        weighed.examples.iter().chain(scored).map(row_steps).collect();
    let (renderer, renderer_reason) =
        Renderer::choose(config.renderer, chat_template, &vocabulary_of(tokenizer), &rows)
            .map_err(TrainError::Renderer)?;
    let encoder = Encoder::new(&renderer, tokenizer, config, decoder.config().context_length)?;
    let (sequences, encoding) = encoder.encode(&weighed.examples)?;
    let held_out = held_out
        .iter()
        .map(|(name, examples)| Ok((name.clone(), encoder.encode(examples)?.0)))
        .collect::<Result<Vec<_>, TrainError>>()?;
    if sequences.is_empty() {
        let reason = format!("all {} rows left are longer than max_length", encoding.dropped);
        return Err(TrainError::Empty(reason));
    }
    let weights = sequences.iter().map(|s| weighed.weights_of(s)).collect();
    let plan = plan_of(config, &weighed, &sequences, encoding, &renderer, renderer_reason);
    Ok(Prepared { plan, renderer, sequences, weights, held_out })
}

fn plan_of(
    config: &TrainConfig,
    weighed: &Weighed,
    sequences: &[Sequence],
    encoding: Encoding,
    renderer: &Renderer,
    renderer_reason: Option<String>,
) -> TrainPlan {
    let course = course(config, sequences);
    let lengths = || sequences.iter().map(|s| s.tokens.len());
    let spans = || sequences.iter().flat_map(|s| &s.actions);
    let mut warnings = Vec::new();
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
        rows: weighed.rows,
        actions: spans().count(),
        sequences: sequences.len(),
        tokens: lengths().map(|n| n as u64).sum(),
        action_tokens: spans().map(|a| (a.end - a.start) as u64).sum(),
        longest: lengths().max().unwrap_or(0),
        truncated: encoding.truncated,
        dropped: encoding.dropped,
        apart: encoding.apart,
        zero_weight: weighed.zero_weight,
        no_baseline: weighed.no_baseline,
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

/// The rows that are left after weighing, and how many went.
struct Weighed {
    examples: Vec<Example>,
    /// The weight of each row left, by key and step.
    weights: HashMap<(u64, u32), f64>,
    rows: usize,
    zero_weight: usize,
    no_baseline: usize,
}

impl Weighed {
    fn new(config: &TrainConfig, examples: &[Example]) -> Result<Weighed, TrainError> {
        let rows: usize = examples.iter().map(|e| e.steps.len()).sum();
        if rows == 0 {
            return Err(TrainError::Empty("the selection holds no row".to_owned()));
        }
        check_rows(examples)?;
        let mut weighed = Weighed {
            examples: Vec::new(),
            weights: HashMap::new(),
            rows,
            zero_weight: 0,
            no_baseline: 0,
        };
        let baseline = Baselines::new(config.baseline.unwrap_or_default(), examples);
        for example in examples {
            let mut steps = Vec::new();
            for chosen in &example.steps {
                match baseline.of(example) {
                    None => weighed.no_baseline += 1,
                    // A divergence acts on rows of weight zero too.
                    Some(base) if chosen.weight - base == 0.0 && config.kl() == 0.0 => {
                        weighed.zero_weight += 1;
                    }
                    Some(base) => {
                        steps.push(ChosenStep { step: chosen.step, weight: chosen.weight - base })
                    }
                }
            }
            if !steps.is_empty() {
                steps.sort_by_key(|chosen| chosen.step);
                let weights = steps.iter().map(|s| ((example.key, s.step), s.weight));
                weighed.weights.extend(weights);
                weighed.examples.push(Example { steps, ..example.clone() });
            }
        }
        weighed.check(config)?;
        Ok(weighed)
    }

    fn check(&self, config: &TrainConfig) -> Result<(), TrainError> {
        if self.examples.is_empty() {
            let (zero, lone) = (self.zero_weight, self.no_baseline);
            let reason = format!(
                "of {} rows {zero} have a weight of zero and {lone} have no baseline",
                self.rows
            );
            return Err(TrainError::Empty(reason));
        }
        let all = self.examples.iter().flat_map(|e| e.steps.iter().map(move |s| (e, s)));
        let negative: Vec<Row> =
            all.filter(|(_, s)| s.weight < 0.0).map(|(e, s)| Row::of(e, s.step)).collect();
        let bounded = config.objective == Objective::Reinforce && config.needs_start_policy();
        match negative.first() {
            Some(row) if !bounded => {
                Err(TrainError::Unbounded { rows: negative.len(), row: row.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Returns the weights of a sequence's actions.
    fn weights_of(&self, sequence: &Sequence) -> Vec<f64> {
        let weight =
            |row: &Row| self.weights.get(&(row.key, row.step)).copied().unwrap_or_default();
        sequence.actions.iter().map(|action| weight(&action.row)).collect()
    }
}

/// Checks weights, and that every row is chosen once and every key belongs to one example.
fn check_rows(examples: &[Example]) -> Result<(), TrainError> {
    let mut seen = HashSet::new();
    for example in examples {
        for chosen in &example.steps {
            let row = || Row::of(example, chosen.step);
            if !chosen.weight.is_finite() {
                return Err(TrainError::Weight { row: row(), weight: chosen.weight });
            }
            if !seen.insert((example.key, chosen.step)) {
                return Err(TrainError::Twice { row: row() });
            }
        }
    }
    Ok(())
}

/// The baselines of a run.
enum Baselines {
    None,
    Mean(f64),
    /// By question: for each trajectory the sum and number of its rewards.
    Others(HashMap<String, Vec<(u64, f64, usize)>>),
}

impl Baselines {
    fn new(kind: Baseline, examples: &[Example]) -> Baselines {
        let sum = |e: &Example| e.steps.iter().map(|s| s.weight).sum::<f64>();
        match kind {
            Baseline::None => Baselines::None,
            Baseline::Mean => {
                let rows: usize = examples.iter().map(|e| e.steps.len()).sum();
                Baselines::Mean(examples.iter().map(sum).sum::<f64>() / rows as f64)
            }
            Baseline::LeaveOneOut => {
                let mut groups = HashMap::new();
                for example in examples {
                    let group: &mut Vec<_> = groups.entry(question_of(example)).or_default();
                    group.push((example.key, sum(example), example.steps.len()));
                }
                Baselines::Others(groups)
            }
        }
    }

    /// Returns what is subtracted from an example's rewards; `None` if there is nothing to
    /// compare with.
    fn of(&self, example: &Example) -> Option<f64> {
        match self {
            Baselines::None => Some(0.0),
            Baselines::Mean(mean) => Some(*mean),
            Baselines::Others(groups) => {
                let group = groups.get(&question_of(example))?;
                let others = group.iter().filter(|(key, _, _)| *key != example.key);
                let (sum, rows) =
                    others.fold((0.0, 0), |(sum, rows), (_, s, n)| (sum + s, rows + n));
                (rows > 0).then(|| sum / rows as f64)
            }
        }
    }
}

/// Returns the question that an example answers: its id, else its text; without either the
/// example is a group of its own.
fn question_of(example: &Example) -> String {
    let of = &example.trajectory;
    match (&of.question_id, &of.question) {
        (Some(id), _) => format!("id {} {id}", of.source),
        (None, Some(question)) => format!("text {question}"),
        (None, None) => format!("key {}", example.key),
    }
}

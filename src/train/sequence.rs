//! Transcripts as tokens, with the chosen actions marked.

use std::collections::HashSet;

use rayon::prelude::*;

use crate::lm::Tokenizer;
use crate::model::Step;
use crate::render::{RenderError, RenderedSequence, Renderer, Segment, Vocabulary};

use super::config::{BatchBy, TrainConfig, Truncation};
use super::error::TrainError;
use super::example::{Example, Row};

/// A transcript's tokens up to the end of its last chosen action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// The key of the example it came from.
    pub key: u64,
    /// The tokens.
    pub tokens: Vec<u32>,
    /// The chosen actions, in order.
    pub actions: Vec<ActionSpan>,
    /// The pair that its one action belongs to: the two stay together in steps and batches.
    pub pair: Option<u64>,
}

/// Where a chosen action stands in a sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionSpan {
    /// Which sub-trajectory it is.
    pub row: Row,
    /// Its first token.
    pub start: usize,
    /// One past its last token, which ends its turn.
    pub end: usize,
    /// Whether the tokens are those that the source stored.
    pub stored: bool,
}

/// What became of the rows on the way into sequences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Encoding {
    /// Actions whose state lost turns.
    pub truncated: usize,
    /// Actions left out because they end behind `max_length`.
    pub dropped: usize,
    /// Sequences beside the first of their trajectory.
    pub apart: usize,
    /// Actions whose stored tokens were used.
    pub stored: usize,
}

/// Turns examples into sequences, by one renderer and one tokenizer.
pub struct Encoder<'a> {
    renderer: &'a Renderer,
    tokenizer: &'a Tokenizer,
    control_ids: HashSet<u32>,
    vocabulary_size: usize,
    end_of_turn: u32,
    max_length: usize,
    truncation: Truncation,
    batch_by: BatchBy,
}

/// Returns what renderers have to know of a tokenizer: its control tokens, and which of them begin
/// and end a text.
pub fn vocabulary_of(tokenizer: &Tokenizer) -> Vocabulary {
    const BEGINNINGS: [&str; 3] = ["<|begin_of_text|>", "<bos>", "<s>"];
    let control_tokens = tokenizer.control_tokens().to_vec();
    let begins = BEGINNINGS.iter().find(|b| control_tokens.iter().any(|t| t == *b));
    Vocabulary {
        bos: begins.map(|token| (*token).to_owned()),
        eos: tokenizer.eos_token(),
        control_tokens,
    }
}

impl<'a> Encoder<'a> {
    /// Returns an encoder for sequences of a model whose context is `context` tokens.
    ///
    /// # Errors
    /// A `max_length` above the context; an end of turn that is no control token.
    pub fn new(
        renderer: &'a Renderer,
        tokenizer: &'a Tokenizer,
        config: &TrainConfig,
        context: usize,
    ) -> Result<Encoder<'a>, TrainError> {
        let max_length = config.max_length.map_or(context, |length| length as usize);
        if max_length > context {
            return Err(TrainError::Context { max_length, context });
        }
        let token = renderer.end_of_turn();
        let end_of_turn = tokenizer
            .token_id(token)
            .ok_or_else(|| TrainError::EndOfTurn { token: token.to_owned() })?;
        let control = vocabulary_of(tokenizer).control_tokens;
        Ok(Encoder {
            renderer,
            tokenizer,
            control_ids: control.iter().filter_map(|t| tokenizer.token_id(t)).collect(),
            vocabulary_size: tokenizer.vocab_size(),
            end_of_turn,
            max_length,
            truncation: config.truncation,
            batch_by: config.shuffled(),
        })
    }

    /// Returns the sequences of all examples, in order, and what became of their rows.
    ///
    /// # Errors
    /// The first row, in order, that cannot be rendered or is too long.
    pub fn encode(&self, examples: &[Example]) -> Result<(Vec<Sequence>, Encoding), TrainError> {
        let (each, sum) = self.encode_each(examples)?;
        Ok((each.into_iter().flatten().collect(), sum))
    }

    /// Returns the sequences of each example, in order, and what became of their rows.
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    pub fn encode_each(
        &self,
        examples: &[Example],
    ) -> Result<(Vec<Vec<Sequence>>, Encoding), TrainError> {
        let all: Vec<Result<(Vec<Sequence>, Encoding), TrainError>> =
            examples.par_iter().map(|example| self.encode_one(example)).collect();
        let mut each = Vec::with_capacity(all.len());
        let mut sum = Encoding::default();
        for one in all {
            let (sequences, encoding) = one?;
            each.push(sequences);
            sum.truncated += encoding.truncated;
            sum.dropped += encoding.dropped;
            sum.apart += encoding.apart;
            sum.stored += encoding.stored;
        }
        Ok((each, sum))
    }

    fn encode_one(&self, example: &Example) -> Result<(Vec<Sequence>, Encoding), TrainError> {
        let chosen: Vec<u32> = example.steps.iter().map(|chosen| chosen.step).collect();
        let first = chosen.first().copied().unwrap_or(0);
        let of = &example.trajectory;
        let rendered = match self.batch_by {
            BatchBy::Trajectory => {
                self.renderer
                    .trajectory(of, &chosen)
                    .map_err(|error| failed(example, first, error))?
                    .sequences
            }
            BatchBy::Subtrajectory => chosen
                .iter()
                .map(|step| {
                    let rendered = self.renderer.sub_trajectory(of, *step, 0);
                    rendered.map_err(|error| failed(example, *step, error))
                })
                .collect::<Result<Vec<_>, _>>()?,
        };
        let mut encoding = Encoding::default();
        let mut sequences = Vec::new();
        for rendered in &rendered {
            let (sequence, too_long) = self.fit(self.tokens(example, rendered));
            sequences.extend(sequence);
            for span in too_long {
                match self.truncation {
                    Truncation::Error => {
                        return Err(TrainError::TooLong {
                            row: span.row,
                            tokens: span.end,
                            max_length: self.max_length,
                        });
                    }
                    Truncation::Drop => encoding.dropped += 1,
                    Truncation::Left => match self.cut(example, span.row.step)? {
                        Some(sequence) => {
                            encoding.truncated += 1;
                            sequences.push(sequence);
                        }
                        None => encoding.dropped += 1,
                    },
                }
            }
        }
        if self.batch_by == BatchBy::Trajectory {
            encoding.apart = sequences.len().saturating_sub(1);
        }
        let actions = sequences.iter().flat_map(|sequence| &sequence.actions);
        encoding.stored = actions.filter(|action| action.stored).count();
        Ok((sequences, encoding))
    }

    /// Returns the sequence up to its last action that fits, and the actions that do not.
    fn fit(&self, mut sequence: Sequence) -> (Option<Sequence>, Vec<ActionSpan>) {
        let fits = |action: &ActionSpan| action.end <= self.max_length;
        let (fitting, too_long) = sequence.actions.into_iter().partition(fits);
        sequence.actions = fitting;
        let Some(last) = sequence.actions.last() else { return (None, too_long) };
        sequence.tokens.truncate(last.end);
        (Some(sequence), too_long)
    }

    /// Returns a step without as few of its oldest turns as make it fit; `None` if nothing does.
    fn cut(&self, example: &Example, step: u32) -> Result<Option<Sequence>, TrainError> {
        let cuts = self.renderer.possible_cuts(&example.trajectory, step);
        let encode = |cut: usize| {
            let rendered = self.renderer.sub_trajectory(&example.trajectory, step, cut);
            let rendered = rendered.map_err(|error| failed(example, step, error))?;
            Ok::<Sequence, TrainError>(self.tokens(example, &rendered))
        };
        // More cut means fewer tokens: the smallest cut that fits is found by halving.
        let (mut low, mut high) = (0, cuts.len());
        let mut best = None;
        while low < high {
            let middle = usize::midpoint(low, high);
            let sequence = encode(cuts[middle])?;
            if sequence.tokens.len() <= self.max_length {
                best = Some(sequence);
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Ok(best)
    }

    /// Returns a rendered transcript as tokens.
    fn tokens(&self, example: &Example, rendered: &RenderedSequence) -> Sequence {
        let mut sequence =
            Sequence { key: example.key, tokens: Vec::new(), actions: Vec::new(), pair: None };
        for pieces in rendered.segments.chunk_by(|a, b| a.step == b.step) {
            let Some(step) = pieces[0].step else {
                self.push(&mut sequence.tokens, pieces);
                continue;
            };
            let start = sequence.tokens.len();
            let action = example.trajectory.steps.get(step.saturating_sub(1) as usize);
            let stored = action.and_then(|action| self.stored_tokens(action, pieces));
            match &stored {
                Some(tokens) => sequence.tokens.extend_from_slice(tokens),
                None => self.push(&mut sequence.tokens, pieces),
            }
            sequence.actions.push(ActionSpan {
                row: Row::of(example, step),
                start,
                end: sequence.tokens.len(),
                stored: stored.is_some(),
            });
        }
        sequence
    }

    fn push(&self, tokens: &mut Vec<u32>, pieces: &[Segment]) {
        for piece in pieces {
            tokens.extend(if piece.control {
                self.tokenizer.encode_with_special(&piece.text)
            } else {
                self.tokenizer.encode(&piece.text)
            });
        }
    }

    /// Returns the tokens that the source stored for an action, if they spell it in this model's
    /// vocabulary; an end of turn is added where the source left it out. What a policy sampled
    /// is often not how the tokenizer would cut the same text.
    fn stored_tokens(&self, step: &Step, pieces: &[Segment]) -> Option<Vec<u32>> {
        let ids = step.token_ids.as_deref()?;
        let body = ids.strip_suffix(&[self.end_of_turn]).unwrap_or(ids);
        let known =
            |id: &u32| (*id as usize) < self.vocabulary_size && !self.control_ids.contains(id);
        if body.is_empty() || !body.iter().all(known) {
            return None;
        }
        let text: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
        let wanted = text.strip_suffix(self.renderer.end_of_turn()).unwrap_or(&text);
        if self.tokenizer.decode(body) != wanted {
            return None;
        }
        Some(body.iter().copied().chain([self.end_of_turn]).collect())
    }
}

fn failed(example: &Example, asked: u32, error: RenderError) -> TrainError {
    let step = match &error {
        RenderError::Lossy { step, .. }
        | RenderError::StateLossy { step, .. }
        | RenderError::TemplateRun { step, .. }
        | RenderError::NoStep { step, .. } => *step,
        _ => asked,
    };
    TrainError::Render { row: Row::of(example, step), error }
}

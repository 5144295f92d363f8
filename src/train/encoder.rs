//! From examples to sequences: rendered, tokenised, cut to length.

use std::collections::HashSet;
use std::sync::Arc;

use rayon::prelude::*;

use crate::codec::TokensRecord;
use crate::lm::Tokenizer;
use crate::model::Step;
use crate::render::{RenderError, RenderedSequence, Renderer, Segment};

use super::config::{BatchBy, Objective, TrainConfig, Truncation};
use super::error::TrainError;
use super::example::{Example, Row};
use super::sequence::{ActionSpan, Encoding, Sequence, vocabulary_of};
use super::tokens::{Source, TokenKey, TokenRule, found, kept};

/// Examples whose tokens, or trajectories, are asked for together.
const TOGETHER: usize = 256;

/// What came of one example.
pub(super) type Encoded = Result<(Vec<Sequence>, Encoding), TrainError>;

/// Turns examples into sequences, by one renderer and one tokenizer.
pub(super) struct Encoder<'a> {
    renderer: &'a Renderer,
    tokenizer: &'a Tokenizer,
    control_ids: HashSet<u32>,
    vocabulary_size: usize,
    end_of_turn: u32,
    max_length: usize,
    /// Where states alone count: the tokens that an action sampled at one may have.
    completion: Option<usize>,
    truncation: Truncation,
    batch_by: BatchBy,
    source: &'a dyn Source,
    rule: TokenRule,
}

impl<'a> Encoder<'a> {
    /// Returns an encoder for sequences of a model whose context is `context` tokens. What `source`
    /// keeps is not rendered again; `chat_template` is the renderer's, where it is one.
    ///
    /// # Errors
    /// A `max_length` above the context; an end of turn that is no control token.
    pub fn new(
        renderer: &'a Renderer,
        chat_template: Option<&str>,
        tokenizer: &'a Tokenizer,
        config: &TrainConfig,
        context: usize,
        source: &'a dyn Source,
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
        let (truncation, batch_by) = (config.truncation, config.shuffled());
        let template = match renderer {
            Renderer::Template(_) => chat_template.unwrap_or_default(),
            Renderer::Tags(_) => "",
        };
        let rendering = [renderer.name(), token, template];
        let fingerprint = tokenizer.fingerprint();
        let is_online = matches!(config.objective, Objective::Swirl | Objective::Grpo);
        let completion = is_online.then(|| config.completion_length());
        let mut rule = TokenRule::new(fingerprint, &rendering, max_length, truncation, batch_by);
        if let Some(completion) = completion {
            rule = rule.of_states(completion);
        }
        Ok(Encoder {
            renderer,
            tokenizer,
            control_ids: control.iter().filter_map(|t| tokenizer.token_id(t)).collect(),
            vocabulary_size: tokenizer.vocab_size(),
            end_of_turn,
            max_length,
            completion,
            truncation,
            batch_by,
            source,
            rule,
        })
    }

    /// Returns the sequences of each example, in order, and what became of its rows; or why the
    /// example has none.
    ///
    /// # Errors
    /// The source fails.
    pub(super) fn encode(&self, examples: &[Example]) -> Result<Vec<Encoded>, TrainError> {
        let mut all = Vec::with_capacity(examples.len());
        for part in examples.chunks(TOGETHER) {
            all.extend(self.encode_part(part).map_err(TrainError::Source)?);
        }
        Ok(all)
    }

    /// Takes the tokens that are kept, and makes and keeps the others.
    fn encode_part(&self, part: &[Example]) -> Result<Vec<Encoded>, String> {
        let of_part: Vec<u64> = part.iter().map(|example| example.key).collect();
        let Some(content) = self.source.content(&of_part)? else {
            return Ok(part.par_iter().map(|example| self.encode_one(example)).collect());
        };
        let key = |(example, content): (&Example, &[u8; 32])| self.rule.key(example, content);
        let keys: Vec<TokenKey> = part.iter().zip(&content).map(key).collect();
        let known = self.source.tokens(&keys)?;
        let is_open = |at: &usize| known[*at].is_none();
        let open: Vec<usize> = (0..part.len()).filter(is_open).collect();
        let whole = self.fetched(part, &open)?;
        let made: Vec<Encoded> = whole.par_iter().map(|example| self.encode_one(example)).collect();
        let fresh = open.iter().zip(&made).filter_map(|(at, made)| {
            let (sequences, encoding) = made.as_ref().ok()?;
            Some((keys[*at], kept(sequences, *encoding)))
        });
        self.source.keep(&fresh.collect::<Vec<_>>())?;
        let mut made = made.into_iter();
        let one = |(example, known): (&Example, Option<TokensRecord>)| match known {
            Some(known) => Some(Ok(self.take(example, known))),
            None => made.next(),
        };
        Ok(part.iter().zip(known).filter_map(one).collect())
    }

    /// Returns some examples of `part` with their trajectories whole.
    fn fetched(&self, part: &[Example], open: &[usize]) -> Result<Vec<Example>, String> {
        let keys: Vec<u64> = open.iter().map(|at| part[*at].key).collect();
        let trajectories = self.source.trajectories(&keys)?;
        if trajectories.len() != open.len() {
            return Err(format!("{} of {} trajectories came", trajectories.len(), open.len()));
        }
        let whole = open.iter().zip(trajectories).map(|(at, trajectory)| Example {
            trajectory: Arc::new(trajectory),
            ..part[*at].clone()
        });
        Ok(whole.collect())
    }

    fn take(&self, example: &Example, known: TokensRecord) -> (Vec<Sequence>, Encoding) {
        let (sequences, encoding) = found(example, known);
        let encoding = self.counted(&sequences, encoding);
        (sequences, encoding)
    }

    /// Adds what the sequences say themselves.
    fn counted(&self, sequences: &[Sequence], mut encoding: Encoding) -> Encoding {
        if self.batch_by == BatchBy::Trajectory {
            encoding.apart = sequences.len().saturating_sub(1);
        }
        let actions = sequences.iter().flat_map(|sequence| &sequence.actions);
        encoding.stored = actions.filter(|action| action.stored).count();
        encoding
    }

    fn encode_one(&self, example: &Example) -> Encoded {
        let mut encoding = Encoding::default();
        let mut sequences = Vec::new();
        for rendered in &self.rendered(example)? {
            let (sequence, too_long) = self.fit(self.tokens(example, rendered)?);
            if let Some((sequence, respelled)) = sequence {
                encoding.respelled += respelled;
                sequences.push(self.without_actions(sequence));
            }
            for span in too_long {
                match self.truncation {
                    Truncation::Error => {
                        return Err(self.too_long(span));
                    }
                    Truncation::Drop => encoding.dropped += 1,
                    Truncation::Left => match self.cut(example, span.row.step)? {
                        Some(cut) => {
                            encoding.truncated += 1;
                            encoding.respelled += cut.respelled.len();
                            sequences.push(self.without_actions(cut.sequence));
                        }
                        None => encoding.dropped += 1,
                    },
                }
            }
        }
        let encoding = self.counted(&sequences, encoding);
        Ok((sequences, encoding))
    }

    /// Returns the transcripts that hold an example's chosen steps.
    fn rendered(&self, example: &Example) -> Result<Vec<RenderedSequence>, TrainError> {
        let chosen: Vec<u32> = example.steps.iter().map(|chosen| chosen.step).collect();
        let of = &example.trajectory;
        match self.batch_by {
            BatchBy::Trajectory => {
                let first = chosen.first().copied().unwrap_or(0);
                let rendered = self.renderer.trajectory(of, &chosen);
                Ok(rendered.map_err(|error| failed(example, first, error))?.sequences)
            }
            BatchBy::Subtrajectory => chosen
                .iter()
                .map(|step| {
                    let rendered = self.renderer.sub_trajectory(of, *step, 0);
                    rendered.map_err(|error| failed(example, *step, error))
                })
                .collect(),
        }
    }

    /// Returns the sequence up to its last action that fits with the number of its actions whose
    /// state is respelled, and the actions that do not fit.
    fn fit(&self, spelled: Spelled) -> (Option<(Sequence, usize)>, Vec<ActionSpan>) {
        let Spelled { mut sequence, respelled } = spelled;
        let fits = |action: &ActionSpan| self.needed(action) <= self.max_length;
        let (fitting, too_long) = sequence.actions.into_iter().partition(fits);
        sequence.actions = fitting;
        let Some(last) = sequence.actions.last() else { return (None, too_long) };
        sequence.tokens.truncate(last.end);
        let is_left = |step: &&u32| sequence.actions.iter().any(|a| a.row.step == **step);
        let respelled = respelled.iter().filter(is_left).count();
        (Some((sequence, respelled)), too_long)
    }

    /// Returns how long a sequence gets with an action: the stored one, or a sampled one.
    fn needed(&self, action: &ActionSpan) -> usize {
        self.completion.map_or(action.end, |completion| action.start.saturating_add(completion))
    }

    fn too_long(&self, span: ActionSpan) -> TrainError {
        let (max_length, row) = (self.max_length, span.row);
        match self.completion {
            None => TrainError::TooLong { row, tokens: span.end, max_length },
            Some(completion) => {
                TrainError::NoRoom { row, state: span.start, completion, max_length }
            }
        }
    }

    /// Leaves the states of a sequence, and nothing behind the longest.
    fn without_actions(&self, mut sequence: Sequence) -> Sequence {
        if self.completion.is_some() {
            for action in &mut sequence.actions {
                (action.end, action.stored) = (action.start, false);
            }
            sequence.tokens.truncate(sequence.actions.last().map_or(0, |last| last.start));
        }
        sequence
    }

    /// Returns a step without as few of its oldest turns as make it fit; `None` if nothing does.
    fn cut(&self, example: &Example, step: u32) -> Result<Option<Spelled>, TrainError> {
        let cuts = self.renderer.possible_cuts(&example.trajectory, step);
        let encode = |cut: usize| {
            let rendered = self.renderer.sub_trajectory(&example.trajectory, step, cut);
            let rendered = rendered.map_err(|error| failed(example, step, error))?;
            self.tokens(example, &rendered)
        };
        // More cut means fewer tokens: the smallest cut that fits is found by halving.
        let (mut low, mut high) = (0, cuts.len());
        let mut best = None;
        while low < high {
            let middle = usize::midpoint(low, high);
            let spelled = encode(cuts[middle])?;
            let needed = spelled.sequence.actions.iter().map(|action| self.needed(action)).max();
            if needed.unwrap_or(0) <= self.max_length {
                best = Some(spelled);
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Ok(best)
    }

    /// Returns a rendered transcript as tokens.
    ///
    /// # Errors
    /// An action that the tokenizer cannot spell.
    fn tokens(
        &self,
        example: &Example,
        rendered: &RenderedSequence,
    ) -> Result<Spelled, TrainError> {
        let mut sequence =
            Sequence { key: example.key, tokens: Vec::new(), actions: Vec::new(), pair: None };
        let mut respelled = Vec::new();
        let mut is_respelled = false;
        for pieces in rendered.segments.chunk_by(|a, b| a.step == b.step) {
            let Some(step) = pieces[0].step else {
                is_respelled = is_respelled || self.unspelled(pieces).is_some();
                self.push(&mut sequence.tokens, pieces);
                continue;
            };
            let start = sequence.tokens.len();
            let was_respelled = is_respelled;
            let action = example.trajectory.steps.get(step.saturating_sub(1) as usize);
            let stored = action.and_then(|action| self.stored_tokens(action, pieces));
            match &stored {
                Some(tokens) => sequence.tokens.extend_from_slice(tokens),
                None => {
                    if let Some(text) = self.unspelled(pieces) {
                        // An action that is not trained on is read by later states alone.
                        is_respelled = is_respelled || self.completion.is_some();
                        if self.completion.is_none() {
                            let row = Row::of(example, step);
                            return Err(TrainError::Unspelled { row, text });
                        }
                    }
                    self.push(&mut sequence.tokens, pieces);
                }
            }
            if was_respelled {
                respelled.push(step);
            }
            sequence.actions.push(ActionSpan {
                row: Row::of(example, step),
                start,
                end: sequence.tokens.len(),
                stored: stored.is_some(),
            });
        }
        Ok(Spelled { sequence, respelled })
    }

    /// Returns the first piece of text that the tokenizer has no tokens for, or writes otherwise:
    /// the character alone, where it is one.
    fn unspelled(&self, pieces: &[Segment]) -> Option<String> {
        let plain = pieces.iter().filter(|piece| !piece.control);
        let text = plain.map(|p| p.text.as_str()).find(|text| !self.tokenizer.covers(text))?;
        let mut buffer = [0; 4];
        let lacking = text.chars().find(|c| !self.tokenizer.covers(c.encode_utf8(&mut buffer)));
        Some(match lacking {
            Some(character) => character.to_string(),
            None => text.chars().take(40).collect(),
        })
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

/// A transcript as tokens.
struct Spelled {
    sequence: Sequence,
    /// The steps among its actions whose state is not what was stored to the letter.
    respelled: Vec<u32>,
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

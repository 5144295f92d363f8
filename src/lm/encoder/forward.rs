//! Packed tokens through the layers.

use super::activation::{add_and_gelu, add_bias, vectorised};
use super::config::{EncoderConfig, Pooling};
use super::product::{Panels, Rows, product};
use super::weights::{Layer, Weights};
use crate::lm::ops::softmax;

/// Rows that go through the feed-forward part at once: their inner values stay in the cache.
const FEED_ROWS: usize = 96;

/// Query rows of one block of attention.
const QUERY_ROWS: usize = 96;

/// Returns the unit vectors of texts given as ids, or `None` in the place of one that has no
/// direction: its numbers are zero or not finite, which the weights are to blame for.
pub(super) fn encode(
    weights: &Weights,
    config: &EncoderConfig,
    texts: &[&[u32]],
) -> Vec<Option<Vec<f32>>> {
    let width = config.hidden_size;
    let mut rows = embed(weights, width, texts);
    let lengths: Vec<usize> = texts.iter().map(|ids| ids.len()).collect();
    let mut scratch = Scratch::new(rows.len() / width, config);
    for layer in &weights.layers {
        layer.run(&mut rows, &lengths, config.n_heads, &mut scratch);
    }
    let mut rest = rows.as_slice();
    let mut vectors = Vec::with_capacity(texts.len());
    for length in lengths {
        let (own, behind) = rest.split_at(length * width);
        rest = behind;
        vectors.push(unit(pool(own, width, config.pooling)));
    }
    vectors
}

/// Returns the sum of the three embeddings of every token, normalised: `[tokens, hidden]`.
fn embed(weights: &Weights, width: usize, texts: &[&[u32]]) -> Vec<f32> {
    let tokens: usize = texts.iter().map(|ids| ids.len()).sum();
    let mut rows = Vec::with_capacity(tokens * width);
    for ids in texts {
        for (id, position) in ids.iter().zip(weights.positions.chunks_exact(width)) {
            let word = &weights.words[*id as usize * width..][..width];
            let sums = word.iter().zip(&weights.first_type).zip(position);
            rows.extend(sums.map(|((word, kind), position)| word + kind + position));
        }
    }
    weights.norm.of(&mut rows);
    rows
}

/// Memory that all layers write to.
struct Scratch {
    /// `[tokens, 3 hidden]`.
    inputs: Vec<f32>,
    /// `[tokens, hidden]`.
    mixed: Vec<f32>,
    /// `[tokens, hidden]`.
    delta: Vec<f32>,
    /// `[FEED_ROWS, intermediate]`.
    inner: Vec<f32>,
    /// `[QUERY_ROWS, longest text]`.
    scores: Vec<f32>,
}

impl Scratch {
    fn new(tokens: usize, config: &EncoderConfig) -> Scratch {
        Scratch {
            inputs: vec![0.0; tokens * 3 * config.hidden_size],
            mixed: vec![0.0; tokens * config.hidden_size],
            delta: vec![0.0; tokens * config.hidden_size],
            inner: vec![0.0; tokens.min(FEED_ROWS) * config.intermediate_size],
            scores: vec![0.0; QUERY_ROWS.min(tokens) * config.tokens_max],
        }
    }
}

impl Layer {
    /// Replaces the rows by what the layer makes of them.
    fn run(&self, rows: &mut [f32], lengths: &[usize], heads: usize, scratch: &mut Scratch) {
        let width = self.norm.scale.len();
        let Scratch { inputs, mixed, delta, inner, scores } = scratch;
        product(Rows::dense(rows, width), &self.inputs.weight, inputs, 3 * width);
        add_bias(inputs, &self.inputs.bias);
        let mut start = 0;
        for length in lengths {
            for head in 0..heads {
                let text = Head { inputs, start, length: *length, head, width, heads };
                text.attend(scores, mixed);
            }
            start += length;
        }
        product(Rows::dense(mixed, width), &self.output.weight, delta, width);
        self.attention_norm.of_sum(rows, delta, &self.output.bias);
        let up_width = self.up.weight.columns();
        for (rows, delta) in
            rows.chunks_mut(FEED_ROWS * width).zip(delta.chunks_mut(FEED_ROWS * width))
        {
            let inner = &mut inner[..rows.len() / width * up_width];
            product(Rows::dense(rows, width), &self.up.weight, inner, up_width);
            add_and_gelu(inner, &self.up.bias);
            product(Rows::dense(inner, up_width), &self.down.weight, delta, width);
            self.norm.of_sum(rows, delta, &self.down.bias);
        }
    }
}

/// One head of one text.
struct Head<'a> {
    /// `[tokens, 3 width]`.
    inputs: &'a [f32],
    /// The text's first token.
    start: usize,
    /// The text's tokens.
    length: usize,
    head: usize,
    /// The width of all heads together.
    width: usize,
    heads: usize,
}

impl Head<'_> {
    /// Writes softmax(q k^T / sqrt(head width)) v to the head's columns of `mixed`.
    fn attend(&self, scores: &mut [f32], mixed: &mut [f32]) {
        let own = self.width / self.heads;
        let stride = 3 * self.width;
        let part =
            |part: usize| &self.inputs[self.start * stride + part * self.width + self.head * own..];
        let keys = Panels::of_rows(part(1), self.length, own, stride);
        let values = Panels::of_columns(part(2), self.length, own, stride);
        let scale = 1.0 / (own as f32).sqrt();
        for first in (0..self.length).step_by(QUERY_ROWS) {
            let count = QUERY_ROWS.min(self.length - first);
            let scores = &mut scores[..count * self.length];
            let queries = Rows { values: &part(0)[first * stride..], count, stride };
            product(queries, &keys, scores, self.length);
            vectorised(|| {
                for row in scores.chunks_exact_mut(self.length) {
                    for score in row.iter_mut() {
                        *score *= scale;
                    }
                    softmax(row);
                }
            });
            let out = &mut mixed[(self.start + first) * self.width + self.head * own..];
            product(Rows::dense(scores, self.length), &values, out, self.width);
        }
    }
}

/// Returns the one row of a text's rows.
fn pool(rows: &[f32], width: usize, pooling: Pooling) -> Vec<f32> {
    match pooling {
        Pooling::Cls => rows[..width].to_vec(),
        Pooling::Mean => {
            let mut sums = vec![0f32; width];
            for row in rows.chunks_exact(width) {
                for (sum, x) in sums.iter_mut().zip(row) {
                    *sum += x;
                }
            }
            let count = (rows.len() / width) as f32;
            sums.iter().map(|sum| sum / count).collect()
        }
    }
}

/// Returns the vector divided by its length, which is summed in double precision.
fn unit(vector: Vec<f32>) -> Option<Vec<f32>> {
    let square: f64 = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    let length = square.sqrt();
    let is_direction = length.is_finite() && length > 1e-12;
    is_direction.then(|| vector.iter().map(|x| (f64::from(*x) / length) as f32).collect())
}

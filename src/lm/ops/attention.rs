//! Causal attention over packed sequences, with fewer key and value heads than query heads.
//!
//! Several sequences lie one after another in the rows of one matrix; a token sees itself and
//! earlier tokens of its own sequence. Each (sequence, head) is worked off in blocks of query rows:
//!
//! ```text
//!            keys 0 .. end of block
//! queries  +-----------------+
//! block    | S = Q K^T scale |  softmax over the row up to the diagonal, 0 behind it,
//!          +-----------------+  then O = P V
//! ```
//!
//! With a window of w a token sees itself and the w - 1 before it: keys that no row of the block
//! sees are left out of the products, the others get 0. With a cap c the scores become
//! c tanh(S / c) before the softmax (Gemma 2).
//!
//! A branch's rows see the first rows of its trunk and their own ([`Span`]): the keys and values of
//! both are laid behind each other in a copy, and the blocks of query rows begin behind the prefix.
//! The gradients of the prefix are added to those of the trunk, branch after branch.
//!
//! So no matrix of length x length is ever whole, nor kept: the backward pass computes P of a
//! block again. With G the gradient of O:
//!
//! ```text
//! dV += P^T G      dP = G V^T      dS = P (dP - rowsum(P dP)) scale (1 - tanh^2)
//! dQ = dS K        dK += dS^T Q
//! ```
//!
//! Heads are independent but for the query heads that share a key head, which one task works off
//! in order: sums do not depend on threads.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Storage, Tensor};
use rayon::prelude::*;

use super::kernels::{for_row_blocks, soft_cap, softmax, sum_of_pairs, tanh};
use super::matrix::Matrix;
use super::span::Span;
use super::storage::{on_cpu, slice};

/// Query rows of one block.
const BLOCK: usize = 128;

/// How many heads there are and how wide.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    /// Query heads.
    pub queries: usize,
    /// Key heads, and as many value heads; divides `queries`.
    pub keys: usize,
    /// Width of each head.
    pub width: usize,
}

/// How scores are made and which tokens are seen.
#[derive(Clone, Copy, Debug)]
pub struct AttentionForm {
    /// The heads.
    pub heads: Heads,
    /// Factor of the scores.
    pub scale: f64,
    /// How many tokens each sees, itself included; all earlier ones without a window.
    pub window: Option<usize>,
    /// Bound of the scores, approached by a hyperbolic tangent.
    pub soft_cap: Option<f64>,
}

impl AttentionForm {
    /// Returns the plain form: scores by 1 / sqrt(width), no window, no cap.
    pub fn plain(heads: Heads) -> AttentionForm {
        let scale = 1.0 / (heads.width as f64).sqrt();
        AttentionForm { heads, scale, window: None, soft_cap: None }
    }

    /// Returns the first token that the token at `position` of a sequence sees.
    pub(in crate::lm) fn first_seen(&self, position: usize) -> usize {
        self.window.map_or(0, |window| (position + 1).saturating_sub(window))
    }
}

/// Returns softmax(scale q k^T) v for each head, causal and confined to each sequence: `query`
/// `[tokens, queries * width]`, `key` and `value` `[tokens, keys * width]`, the result as `query`;
/// `lengths` sum to the number of tokens.
///
/// # Errors
/// If the shapes do not fit.
pub fn attention(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    lengths: &[usize],
    form: AttentionForm,
) -> Result<Tensor> {
    attention_of_spans(query, key, value, &Span::plain(lengths), form)
}

/// Returns the same over sequences and branches, which lie in the rows one after another.
///
/// # Errors
/// As [`attention`].
pub fn attention_of_spans(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    spans: &[Span],
    form: AttentionForm,
) -> Result<Tensor> {
    if !on_cpu(query) {
        return super::composed::attention(query, key, value, spans, form);
    }
    let op = Attention { spans: spans.into(), form };
    query.contiguous()?.apply_op3(&key.contiguous()?, &value.contiguous()?, op)
}

struct Attention {
    spans: Arc<[Span]>,
    form: AttentionForm,
}

/// A block of query rows and the keys that some of them see, by their positions.
#[derive(Clone, Copy)]
struct Block {
    /// The first query.
    start: usize,
    /// One past the last query, and past the last key.
    end: usize,
    /// The first key.
    key: usize,
}

impl Block {
    fn rows(self) -> usize {
        self.end - self.start
    }

    fn keys(self) -> usize {
        self.end - self.key
    }
}

/// A packed matrix `[tokens, heads * width]`.
#[derive(Clone, Copy)]
struct Packed<'a> {
    storage: &'a CpuStorage,
    offset: usize,
    row_width: usize,
    head_width: usize,
}

impl<'a> Packed<'a> {
    /// Returns one head of `length` tokens from `start` on, `[length, width]`.
    fn head(&self, start: usize, length: usize, head: usize) -> Matrix<'a> {
        Matrix {
            storage: self.storage,
            offset: self.offset + start * self.row_width + head * self.head_width,
            rows: length,
            columns: self.head_width,
            row_stride: self.row_width,
            column_stride: 1,
        }
    }

    /// Returns what a span sees of one head.
    fn seen(&self, span: &Span, head: usize) -> Result<Seen<'a>> {
        let own = self.head(span.start, span.length, head);
        if span.prefix == 0 {
            return Ok(Seen::Whole(own));
        }
        let values = self.storage.as_slice::<f32>()?;
        let mut joined = Vec::with_capacity(span.keys() * self.head_width);
        for part in [self.head(span.trunk, span.prefix, head), own] {
            for row in 0..part.rows {
                let at = part.offset + row * part.row_stride;
                joined.extend_from_slice(&values[at..at + part.columns]);
            }
        }
        Ok(Seen::Joined(CpuStorage::F32(joined), self.head_width))
    }
}

/// The keys or values that a span sees, of one head.
enum Seen<'a> {
    /// Where they lie.
    Whole(Matrix<'a>),
    /// A copy, `[prefix + length, width]`.
    Joined(CpuStorage, usize),
}

impl Seen<'_> {
    fn matrix(&self) -> Matrix<'_> {
        match self {
            Seen::Whole(matrix) => *matrix,
            Seen::Joined(storage, width) => {
                let count = storage.as_slice::<f32>().map_or(0, <[f32]>::len);
                Matrix::dense(storage, 0, count / (*width).max(1), *width)
            }
        }
    }
}

/// The gradients of one key head of one span and of the query heads that share it.
struct GroupGradient {
    /// `[length, width]` for each query head of the group.
    queries: Vec<Vec<f32>>,
    /// `[prefix + length, width]`.
    key: Vec<f32>,
    /// `[prefix + length, width]`.
    value: Vec<f32>,
}

impl Attention {
    /// Returns the blocks of a span's query rows, of which there are `length` behind `prefix`.
    fn blocks(&self, prefix: usize, length: usize) -> impl Iterator<Item = Block> {
        let form = self.form;
        (prefix..prefix + length).step_by(BLOCK).map(move |start| {
            let end = (start + BLOCK).min(prefix + length);
            Block { start, end, key: form.first_seen(start) }
        })
    }

    /// Returns every span with every head of `heads`.
    fn tasks(&self, heads: usize) -> Vec<(&Span, usize)> {
        self.spans.iter().flat_map(|span| (0..heads).map(move |head| (span, head))).collect()
    }

    fn packed<'a>(&self, storage: &'a CpuStorage, layout: &Layout, heads: usize) -> Packed<'a> {
        Packed {
            storage,
            offset: layout.start_offset(),
            row_width: heads * self.form.heads.width,
            head_width: self.form.heads.width,
        }
    }

    fn check(&self, query: &Layout, key: &Layout, value: &Layout) -> Result<usize> {
        let tokens: usize = self.spans.iter().map(|span| span.length).sum();
        let Heads { queries, keys, width } = self.form.heads;
        let wide = [tokens, queries * width];
        let narrow = [tokens, keys * width];
        let fits = query.dims() == wide && key.dims() == narrow && value.dims() == narrow;
        if !fits || keys == 0 || queries % keys != 0 || self.form.window == Some(0) {
            candle_core::bail!(
                "attention of {:?}, {:?}, {:?} over {tokens} tokens with {:?}",
                query.dims(),
                key.dims(),
                value.dims(),
                self.form
            );
        }
        Ok(tokens)
    }

    /// Returns P of a block with these query rows, `[rows, keys]`, and with a cap the slope of the
    /// capped scores, where `want_slopes`.
    fn weights(
        &self,
        query: Matrix<'_>,
        key: Matrix<'_>,
        block: Block,
        want_slopes: bool,
    ) -> Result<(Vec<f32>, Option<Vec<f32>>)> {
        let Block { start, end, key: first_key } = block;
        let keys = block.keys();
        let mut weights = query.times(key.rows(first_key, end).transposed())?;
        let scale = self.form.scale as f32;
        let cap = self.form.soft_cap.map(|cap| cap as f32);
        let slopes = cap.filter(|_| want_slopes).map(|cap| slopes(&weights, scale / cap));
        for_row_blocks(&mut weights, keys, |first, rows| {
            for (row, weights) in rows.chunks_exact_mut(keys).enumerate() {
                let position = start + first + row;
                let (weights, behind) = weights.split_at_mut(position + 1 - first_key);
                let (before, seen) =
                    weights.split_at_mut(self.form.first_seen(position) - first_key);
                match cap {
                    None => seen.iter_mut().for_each(|weight| *weight *= scale),
                    Some(cap) => {
                        seen.iter_mut().for_each(|weight| *weight = soft_cap(*weight * scale, cap));
                    }
                }
                softmax(seen);
                before.fill(0.0);
                behind.fill(0.0);
            }
        });
        Ok((weights, slopes))
    }

    /// Returns the output of one head of one span, `[length, width]`.
    fn forward_head(
        &self,
        query: Matrix<'_>,
        key: Matrix<'_>,
        value: Matrix<'_>,
    ) -> Result<Vec<f32>> {
        let mut out = Vec::with_capacity(query.rows * query.columns);
        let prefix = key.rows - query.rows;
        for block in self.blocks(prefix, query.rows) {
            let query = query.rows(block.start - prefix, block.end - prefix);
            let weights = CpuStorage::F32(self.weights(query, key, block, false)?.0);
            let weights = Matrix::dense(&weights, 0, block.rows(), block.keys());
            out.extend(weights.times(value.rows(block.key, block.end))?);
        }
        Ok(out)
    }

    /// Adds the gradients of one query head to those of its key head, and returns its own.
    fn backward_head(
        &self,
        query: Matrix<'_>,
        key: Matrix<'_>,
        value: Matrix<'_>,
        grad: Matrix<'_>,
        sums: (&mut [f32], &mut [f32]),
    ) -> Result<Vec<f32>> {
        let (d_key, d_value) = sums;
        let mut d_query = Vec::with_capacity(query.rows * query.columns);
        let prefix = key.rows - query.rows;
        for block in self.blocks(prefix, query.rows) {
            let Block { start, end, key: first_key } = block;
            let query = query.rows(start - prefix, end - prefix);
            let (weights, slopes) = self.weights(query, key, block, true)?;
            let grad = grad.rows(start - prefix, end - prefix);
            let mut d_score = grad.times(value.rows(first_key, end).transposed())?;
            self.score_gradient(&mut d_score, &weights, slopes.as_deref(), block.keys());
            let weights = CpuStorage::F32(weights);
            let d_score = CpuStorage::F32(d_score);
            let weights = Matrix::dense(&weights, 0, block.rows(), block.keys());
            let d_score = Matrix::dense(&d_score, 0, block.rows(), block.keys());
            d_query.extend(d_score.times(key.rows(first_key, end))?);
            let at = first_key * key.columns;
            d_score.transposed().add_times(query, &mut d_key[at..])?;
            weights.transposed().add_times(grad, &mut d_value[at..])?;
        }
        Ok(d_query)
    }

    /// Makes the gradient of the scores, before scale and cap, from that of P.
    fn score_gradient(
        &self,
        d_score: &mut [f32],
        weights: &[f32],
        slopes: Option<&[f32]>,
        keys: usize,
    ) {
        let scale = self.form.scale as f32;
        for_row_blocks(d_score, keys, |first, block| {
            for (row, d_score) in block.chunks_exact_mut(keys).enumerate() {
                let at = (first + row) * keys;
                let weights = &weights[at..at + keys];
                let sum = sum_of_pairs(weights, d_score, |p, d| p * d);
                for (d, p) in d_score.iter_mut().zip(weights) {
                    *d = p * (*d - sum) * scale;
                }
                if let Some(slopes) = slopes {
                    for (d, slope) in d_score.iter_mut().zip(&slopes[at..at + keys]) {
                        *d *= slope;
                    }
                }
            }
        });
    }

    fn backward_group(
        &self,
        [query, key, value, grad]: [Packed<'_>; 4],
        span: &Span,
        key_head: usize,
    ) -> Result<GroupGradient> {
        let group = self.form.heads.queries / self.form.heads.keys;
        let mut d_key = vec![0f32; span.keys() * self.form.heads.width];
        let mut d_value = vec![0f32; span.keys() * self.form.heads.width];
        let (key, value) = (key.seen(span, key_head)?, value.seen(span, key_head)?);
        let mut queries = Vec::with_capacity(group);
        for head in key_head * group..(key_head + 1) * group {
            queries.push(self.backward_head(
                query.head(span.start, span.length, head),
                key.matrix(),
                value.matrix(),
                grad.head(span.start, span.length, head),
                (&mut d_key, &mut d_value),
            )?);
        }
        Ok(GroupGradient { queries, key: d_key, value: d_value })
    }

    /// Returns the gradients of query, key and value as packed matrices.
    fn backward(&self, inputs: [Packed<'_>; 4], tokens: usize) -> Result<[Vec<f32>; 3]> {
        let Heads { queries, keys, width } = self.form.heads;
        let tasks = self.tasks(keys);
        let groups: Result<Vec<GroupGradient>> =
            tasks.par_iter().map(|(span, head)| self.backward_group(inputs, span, *head)).collect();
        let mut d_query = vec![0f32; tokens * queries * width];
        let mut d_key = vec![0f32; tokens * keys * width];
        let mut d_value = vec![0f32; tokens * keys * width];
        // A trunk comes before its branches, which add to it.
        for ((span, key_head), group) in tasks.iter().zip(&groups?) {
            let first = key_head * (queries / keys);
            for (head, values) in group.queries.iter().enumerate() {
                place(&mut d_query, values, span.start, first + head, queries, width);
            }
            for (packed, values) in [(&mut d_key, &group.key), (&mut d_value, &group.value)] {
                let (prefix, own) = values.split_at(span.prefix * width);
                place(packed, own, span.start, *key_head, keys, width);
                add_at(packed, prefix, span.trunk, *key_head, keys, width);
            }
        }
        Ok([d_query, d_key, d_value])
    }
}

/// Returns the slope of cap tanh(scale x / cap) over scale, 1 - tanh^2, with `factor` scale / cap.
fn slopes(scores: &[f32], factor: f32) -> Vec<f32> {
    let mut slopes = vec![0f32; scores.len()];
    for_row_blocks(&mut slopes, 1, |at, block| {
        for (slope, score) in block.iter_mut().zip(&scores[at..]) {
            let bent = tanh(score * factor);
            *slope = 1.0 - bent * bent;
        }
    });
    slopes
}

/// Adds `b` to the beginning of `a`.
fn add(a: &mut [f32], b: &[f32]) {
    for (a, b) in a.iter_mut().zip(b) {
        *a += b;
    }
}

/// Writes one head of one sequence, `[length, width]`, to its place in a packed matrix.
fn place(
    packed: &mut [f32],
    values: &[f32],
    start: usize,
    head: usize,
    heads: usize,
    width: usize,
) {
    let rows = packed.chunks_exact_mut(heads * width).skip(start);
    for (row, values) in rows.zip(values.chunks_exact(width)) {
        row[head * width..(head + 1) * width].copy_from_slice(values);
    }
}

/// Adds one head of some rows to their place in a packed matrix.
fn add_at(
    packed: &mut [f32],
    values: &[f32],
    start: usize,
    head: usize,
    heads: usize,
    width: usize,
) {
    let rows = packed.chunks_exact_mut(heads * width).skip(start);
    for (row, values) in rows.zip(values.chunks_exact(width)) {
        add(&mut row[head * width..(head + 1) * width], values);
    }
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        query: &CpuStorage,
        query_layout: &Layout,
        key: &CpuStorage,
        key_layout: &Layout,
        value: &CpuStorage,
        value_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let tokens = self.check(query_layout, key_layout, value_layout)?;
        slice(query, query_layout)?;
        let Heads { queries, keys, width } = self.form.heads;
        let query = self.packed(query, query_layout, queries);
        let key = self.packed(key, key_layout, keys);
        let value = self.packed(value, value_layout, keys);
        let tasks = self.tasks(queries);
        let outputs: Result<Vec<Vec<f32>>> = tasks
            .par_iter()
            .map(|(span, head)| {
                let key_head = head / (queries / keys);
                self.forward_head(
                    query.head(span.start, span.length, *head),
                    key.seen(span, key_head)?.matrix(),
                    value.seen(span, key_head)?.matrix(),
                )
            })
            .collect();
        let mut out = vec![0f32; tokens * queries * width];
        for ((span, head), values) in tasks.iter().zip(&outputs?) {
            place(&mut out, values, span.start, *head, queries, width);
        }
        Ok((CpuStorage::F32(out), query_layout.shape().clone()))
    }

    fn bwd(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [d_query, d_key, d_value] = self.gradients([query, key, value], grad)?;
        Ok((Some(d_query), Some(d_key), Some(d_value)))
    }
}

/// Returns the gradients of query, key and value of [`attention`].
pub(in crate::lm) fn attention_backward(
    inputs: [&Tensor; 3],
    spans: &[Span],
    form: AttentionForm,
    grad: &Tensor,
) -> Result<[Tensor; 3]> {
    Attention { spans: spans.into(), form }.gradients(inputs, grad)
}

impl Attention {
    fn gradients(&self, [query, key, value]: [&Tensor; 3], grad: &Tensor) -> Result<[Tensor; 3]> {
        let grad = grad.contiguous()?;
        let Heads { queries, keys, .. } = self.form.heads;
        let (q, q_layout) = query.storage_and_layout();
        let (k, k_layout) = key.storage_and_layout();
        let (v, v_layout) = value.storage_and_layout();
        let (g, g_layout) = grad.storage_and_layout();
        let (Storage::Cpu(q), Storage::Cpu(k), Storage::Cpu(v), Storage::Cpu(g)) =
            (&*q, &*k, &*v, &*g)
        else {
            candle_core::bail!("attention of the CPU was given a tensor elsewhere");
        };
        let inputs = [
            self.packed(q, q_layout, queries),
            self.packed(k, k_layout, keys),
            self.packed(v, v_layout, keys),
            self.packed(g, g_layout, queries),
        ];
        let [d_query, d_key, d_value] = self.backward(inputs, query.dim(0)?)?;
        let device = query.device();
        Ok([
            Tensor::from_vec(d_query, query.shape().clone(), device)?,
            Tensor::from_vec(d_key, key.shape().clone(), device)?,
            Tensor::from_vec(d_value, value.shape().clone(), device)?,
        ])
    }
}

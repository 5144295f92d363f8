//! Attention of new tokens over cached ones.
//!
//! ```text
//! keys of a block       values of a block         a task: one key head and a few tokens of one
//!        16 tokens              width              sequence with all their query heads
//!      +----------+          +-----------+
//! width|          |  16      |           |         scores  s = q K scale, 16 tokens at a time
//!      |          |  tokens  |           |         softmax over the tokens that are seen
//!      +----------+          +-----------+         out     o = sum of p v, token after token
//! ```
//!
//! Every sum runs in an order that the token's position decides alone: a sequence's first token is
//! the first of its first block, whatever else is in the cache and however many tokens are new.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::arena::{BLOCK_TOKENS, LayerCache};
use crate::lm::ops::{AttentionForm, soft_cap, softmax};

/// Tokens of one task: they share the reads of the cache.
const TASK_TOKENS: usize = 4;

/// Numbers of a value that are summed at a time.
const PIECE: usize = 64;

/// Consecutive new tokens of one sequence.
#[derive(Clone, Copy)]
pub(super) struct Run<'a> {
    /// The numbers of the sequence's blocks.
    pub(super) blocks: &'a [usize],
    /// The position of the first new token.
    pub(super) start: usize,
    /// How many there are.
    pub(super) count: usize,
}

/// Returns the outputs of all query heads, `[tokens, queries * width]`, for `query` of that shape;
/// keys and values of the new tokens are in the cache already.
pub(super) fn attend(
    query: &[f32],
    cache: &LayerCache,
    runs: &[Run<'_>],
    form: &AttentionForm,
) -> Vec<f32> {
    let width = form.heads.width;
    let group = form.heads.queries / form.heads.keys;
    let mut out = vec![0f32; query.len()];
    let mut tasks = Vec::new();
    let mut rows = query.chunks_exact(form.heads.queries * width);
    let mut outs = out.chunks_exact_mut(form.heads.queries * width);
    for run in runs {
        for first in (0..run.count).step_by(TASK_TOKENS) {
            let count = TASK_TOKENS.min(run.count - first);
            let run = Run { start: run.start + first, count, ..*run };
            let begin = tasks.len();
            tasks.extend((0..form.heads.keys).map(|head| Task {
                cache,
                form,
                run,
                head,
                queries: Vec::with_capacity(count * group),
            }));
            for (number, (row, out)) in rows.by_ref().zip(outs.by_ref()).take(count).enumerate() {
                let heads = row.chunks_exact(width).zip(out.chunks_exact_mut(width));
                for (head, (values, out)) in heads.enumerate() {
                    let position = run.start + number;
                    tasks[begin + head / group].queries.push(Query { position, values, out });
                }
            }
        }
    }
    tasks.into_par_iter().for_each(|task| Arch::new().dispatch(task));
    out
}

/// One query head of one token.
struct Query<'a> {
    position: usize,
    /// `[width]`.
    values: &'a [f32],
    /// `[width]`.
    out: &'a mut [f32],
}

/// The queries of one key head of a few tokens.
struct Task<'a> {
    cache: &'a LayerCache,
    form: &'a AttentionForm,
    run: Run<'a>,
    head: usize,
    queries: Vec<Query<'a>>,
}

impl WithSimd for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match S::F32_LANES {
            16 => self.attend::<S, 6, 1, 4>(simd),
            8 => self.attend::<S, 3, 2, 8>(simd),
            4 => self.attend::<S, 2, 4, 16>(simd),
            _ => self.attend::<S, 1, BLOCK_TOKENS, PIECE>(simd),
        }
    }
}

impl Task<'_> {
    /// `HIGH` queries at a time; `TOKENS` registers hold the tokens of a block, `NUMBERS` the
    /// numbers of a piece of a value.
    #[inline(always)]
    fn attend<S: Simd, const HIGH: usize, const TOKENS: usize, const NUMBERS: usize>(
        mut self,
        simd: S,
    ) {
        let last = self.run.start + self.run.count - 1;
        let first_block = self.form.first_seen(self.run.start) / BLOCK_TOKENS;
        let end_block = last / BLOCK_TOKENS + 1;
        let length = (end_block - first_block) * BLOCK_TOKENS;
        let mut scores = vec![0f32; length * HIGH];
        let mut queries = std::mem::take(&mut self.queries);
        for queries in queries.chunks_mut(HIGH) {
            let used = &mut scores[..length * queries.len()];
            match queries.len() {
                1 => self.scores::<S, 1, TOKENS>(simd, queries, used, first_block),
                2 => self.scores::<S, 2, TOKENS>(simd, queries, used, first_block),
                3 => self.scores::<S, 3, TOKENS>(simd, queries, used, first_block),
                4 => self.scores::<S, 4, TOKENS>(simd, queries, used, first_block),
                5 => self.scores::<S, 5, TOKENS>(simd, queries, used, first_block),
                _ => self.scores::<S, 6, TOKENS>(simd, queries, used, first_block),
            }
            self.weigh(queries, used, length, first_block * BLOCK_TOKENS);
            let from = first_block * BLOCK_TOKENS;
            let pairs = queries.chunks_mut(3).zip(used.chunks(3 * length));
            for (queries, weights) in pairs {
                match queries.len() {
                    1 => self.mix::<S, 1, NUMBERS>(simd, queries, weights, from),
                    2 => self.mix::<S, 2, NUMBERS>(simd, queries, weights, from),
                    _ => self.mix::<S, 3, NUMBERS>(simd, queries, weights, from),
                }
            }
        }
    }

    /// Writes q K for every block from `first_block` on, `[HIGH, length]`.
    #[inline(always)]
    fn scores<S: Simd, const HIGH: usize, const TOKENS: usize>(
        &self,
        simd: S,
        queries: &[Query<'_>],
        scores: &mut [f32],
        first_block: usize,
    ) {
        let width = self.form.heads.width;
        let length = scores.len() / HIGH;
        let values: [&[f32]; HIGH] = std::array::from_fn(|at| &queries[at].values[..width]);
        for number in 0..length / BLOCK_TOKENS {
            let keys = self.cache.keys(self.run.blocks[first_block + number], self.head);
            let keys = &S::as_simd_f32s(keys).0.as_chunks::<TOKENS>().0[..width];
            // Even and odd features are summed apart, so that twice as many sums are under way.
            let mut sums = [[[simd.splat_f32s(0.0); TOKENS]; HIGH]; 2];
            for feature in (0..width).step_by(2) {
                for (odd, sums) in sums.iter_mut().enumerate() {
                    let keys = &keys[feature + odd];
                    for (values, sums) in values.iter().zip(sums.iter_mut()) {
                        let value = simd.splat_f32s(values[feature + odd]);
                        for (sum, key) in sums.iter_mut().zip(keys) {
                            *sum = simd.mul_add_f32s(value, *key, *sum);
                        }
                    }
                }
            }
            for (query, row) in scores.chunks_exact_mut(length).enumerate() {
                let row = &mut row[number * BLOCK_TOKENS..][..BLOCK_TOKENS];
                let pairs = sums[0][query].iter().zip(&sums[1][query]);
                for (slot, (even, odd)) in S::as_mut_simd_f32s(row).0.iter_mut().zip(pairs) {
                    *slot = simd.add_f32s(*even, *odd);
                }
            }
        }
    }

    /// Makes weights of the scores of each query: of the tokens that it sees, 0 elsewhere. Scores
    /// begin with the token `from`.
    #[inline(always)]
    fn weigh(&self, queries: &[Query<'_>], scores: &mut [f32], length: usize, from: usize) {
        let scale = self.form.scale as f32;
        let cap = self.form.soft_cap.map(|cap| cap as f32);
        for (query, scores) in queries.iter().zip(scores.chunks_exact_mut(length)) {
            let (scores, behind) = scores.split_at_mut(query.position + 1 - from);
            let (before, seen) = scores.split_at_mut(self.form.first_seen(query.position) - from);
            match cap {
                None => seen.iter_mut().for_each(|score| *score *= scale),
                Some(cap) => {
                    seen.iter_mut().for_each(|score| *score = soft_cap(*score * scale, cap));
                }
            }
            softmax(seen);
            before.fill(0.0);
            behind.fill(0.0);
        }
    }

    /// Writes the sums of the values by the weights, `[HIGH, length]`, of the tokens from `from`
    /// on.
    #[inline(always)]
    fn mix<S: Simd, const HIGH: usize, const NUMBERS: usize>(
        &self,
        simd: S,
        queries: &mut [Query<'_>],
        weights: &[f32],
        from: usize,
    ) {
        let length = weights.len() / HIGH;
        let width = self.form.heads.width;
        let rows: [&[f32]; HIGH] = std::array::from_fn(|at| &weights[at * length..][..length]);
        // Tokens behind the last new one have not been written: they are left out, not only
        // weighed by 0.
        let end = self.run.start + self.run.count;
        for piece in (0..width).step_by(PIECE) {
            let mut sums = [[simd.splat_f32s(0.0); NUMBERS]; HIGH];
            let used = (width - piece).min(PIECE).div_ceil(S::F32_LANES);
            for token in from..end {
                let block = self.run.blocks[token / BLOCK_TOKENS];
                let value = self.cache.value(block, self.head, token % BLOCK_TOKENS);
                let value = S::as_simd_f32s(&value[piece..]).0;
                for (row, sums) in rows.iter().zip(sums.iter_mut()) {
                    let weight = simd.splat_f32s(row[token - from]);
                    if used == NUMBERS {
                        for (sum, value) in sums.iter_mut().zip(&value[..NUMBERS]) {
                            *sum = simd.mul_add_f32s(weight, *value, *sum);
                        }
                    } else {
                        for (sum, value) in sums[..used].iter_mut().zip(value) {
                            *sum = simd.mul_add_f32s(weight, *value, *sum);
                        }
                    }
                }
            }
            for (query, sums) in queries.iter_mut().zip(&sums) {
                let mut numbers = [0f32; PIECE];
                S::as_mut_simd_f32s(&mut numbers).0.copy_from_slice(sums);
                let out = &mut query.out[piece..width.min(piece + PIECE)];
                out.copy_from_slice(&numbers[..out.len()]);
            }
        }
    }
}

//! Causal attention over packed sequences, as `../attention.rs` has it, on a device.
//!
//! Queries, keys and values come by heads (`heads.rs`). A block of query rows holds the rows of all
//! query heads that share a key head, so no key is copied, and one batch of products works off all
//! key heads. Sequences of equal length that follow each other share the batch too where they are
//! the whole of it:
//!
//! ```text
//! S = Q K^T  [key heads x sequences, block * group, keys]     P = softmax(S), O = P V
//! ```
//!
//! The backward pass computes P of a block again. Gradients of keys and values are summed over
//! blocks in f32.

use candle_core::{DType, Result, Tensor};

use super::engine::{Argument, Grid, Product, Side};
use super::operations::{Operations, THREADS};
use crate::lm::ops::AttentionForm;

use Argument::{Float, Int, Nothing, Tensor as At};

/// Query positions of one block.
const BLOCK: usize = 512;

/// Sequences that are worked off in one batch.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// The first token.
    first: usize,
    /// Of each sequence.
    length: usize,
    /// Batches of products: key heads, times sequences where they share one.
    batch: usize,
    /// Tokens between the matrices of a batch.
    stride: usize,
}

/// A block of query positions and the keys that some of them see, of each sequence of a run.
#[derive(Clone, Copy, Debug)]
struct Block {
    run: Run,
    /// The first query position.
    start: usize,
    /// One past the last query position and key.
    end: usize,
    /// The first key.
    key: usize,
    /// Query heads to a key head.
    group: usize,
    /// Width of a head.
    width: usize,
}

impl Block {
    /// Returns the number of rows of a matrix of scores.
    fn rows(&self) -> usize {
        (self.end - self.start) * self.group
    }

    fn keys(&self) -> usize {
        self.end - self.key
    }

    /// Returns the query rows of `x`, which has a row for each query head.
    fn queries<'a>(&self, x: &'a Tensor) -> Side<'a> {
        let stride = self.run.stride * self.group * self.width;
        Side::rows(x, (self.run.first + self.start) * self.group, self.width, stride)
    }

    /// Returns the keys' rows of `x`, which has a row for each key head.
    fn key_rows<'a>(&self, x: &'a Tensor) -> Side<'a> {
        Side::rows(x, self.run.first + self.key, self.width, self.run.stride * self.width)
    }

    /// Returns a matrix for each batch in the order that scores have.
    fn scores<'a>(&self, x: &'a Tensor) -> Side<'a> {
        Side::rows(x, 0, self.keys(), self.rows() * self.keys())
    }
}

/// The inputs of attention by heads.
#[derive(Clone, Copy)]
struct Inputs<'a> {
    query: &'a Tensor,
    key: &'a Tensor,
    value: &'a Tensor,
}

/// The result of attention, by heads as its queries.
pub struct Mixed {
    /// The mixed values.
    pub out: Tensor,
    /// What the backward pass needs of each row's softmax, where it was computed by one kernel.
    pub normalizers: Option<Tensor>,
}

impl Operations {
    /// Returns attention by heads, `[key heads, tokens, group, width]` as `query`; `key` and
    /// `value` are `[key heads, tokens, 1, width]`.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn attention(
        &self,
        [query, key, value]: [&Tensor; 3],
        lengths: &[usize],
        form: AttentionForm,
    ) -> Result<Mixed> {
        let inputs = Inputs { query, key, value };
        let blocks = blocks(inputs, lengths, form)?;
        if self.has_flash(form) {
            return self.flash([query, key, value], lengths, form);
        }
        let out = self.empty(query.shape())?;
        for block in blocks {
            let scores = self.scores(inputs, &block)?;
            self.softmax(&scores, &scores, &block, form)?;
            self.engine.multiply(&Product {
                left: block.scores(&scores),
                right: block.key_rows(value),
                out: block.queries(&out),
                batch: block.run.batch,
                rows: block.rows(),
                inner: block.keys(),
                columns: block.width,
                accumulate: false,
            })?;
        }
        Ok(Mixed { out, normalizers: None })
    }

    /// Returns the gradients of query, key and value of [`Operations::attention`], by heads;
    /// `mixed` is what it returned, `out` by heads.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn attention_backward(
        &self,
        [query, key, value]: [&Tensor; 3],
        lengths: &[usize],
        form: AttentionForm,
        mixed: &Mixed,
        grad: &Tensor,
    ) -> Result<[Tensor; 3]> {
        let inputs = Inputs { query, key, value };
        if grad.shape() != query.shape() || mixed.out.shape() != query.shape() {
            candle_core::bail!("gradient {:?} of {:?}", grad.dims(), query.dims());
        }
        if let Some(normalizers) = &mixed.normalizers {
            let mixed = (&mixed.out, normalizers);
            return self.flash_backward([query, key, value], lengths, form, mixed, grad);
        }
        let d_query = self.empty(query.shape())?;
        let zeros = || Tensor::zeros(key.shape(), DType::F32, self.device());
        let (d_key, d_value) = (zeros()?, zeros()?);
        for block in blocks(inputs, lengths, form)? {
            let product = Product {
                left: block.queries(grad),
                right: block.key_rows(value).transposed(),
                out: block.queries(&d_query),
                batch: block.run.batch,
                rows: block.rows(),
                inner: block.width,
                columns: block.keys(),
                accumulate: false,
            };
            let scores = self.scores(inputs, &block)?;
            // With a cap the scores are needed again, without one their place can be taken.
            let weights = match form.soft_cap {
                Some(_) => self.empty(scores.shape())?,
                None => scores.clone(),
            };
            self.softmax(&scores, &weights, &block, form)?;
            let d_scores = self.empty(scores.shape())?;
            self.engine.multiply(&Product { out: block.scores(&d_scores), ..product })?;
            let by_keys = Product {
                left: block.scores(&weights).transposed(),
                right: block.queries(grad),
                out: block.key_rows(&d_value),
                rows: block.keys(),
                inner: block.rows(),
                columns: block.width,
                accumulate: true,
                ..product
            };
            self.engine.multiply(&by_keys)?;
            self.score_gradient(&scores, &weights, &d_scores, &block, form)?;
            self.engine.multiply(&Product {
                left: block.scores(&d_scores),
                right: block.key_rows(key),
                inner: block.keys(),
                columns: block.width,
                ..product
            })?;
            self.engine.multiply(&Product {
                left: block.scores(&d_scores).transposed(),
                right: block.queries(query),
                out: block.key_rows(&d_key),
                ..by_keys
            })?;
        }
        Ok([d_query, self.cast(&d_key, self.dtype())?, self.cast(&d_value, self.dtype())?])
    }

    /// Returns Q K^T of a block.
    fn scores(&self, inputs: Inputs<'_>, block: &Block) -> Result<Tensor> {
        let scores = self.empty((block.run.batch, block.rows(), block.keys()))?;
        self.engine.multiply(&Product {
            left: block.queries(inputs.query),
            right: block.key_rows(inputs.key).transposed(),
            out: block.scores(&scores),
            batch: block.run.batch,
            rows: block.rows(),
            inner: block.width,
            columns: block.keys(),
            accumulate: false,
        })?;
        Ok(scores)
    }

    fn softmax(
        &self,
        scores: &Tensor,
        weights: &Tensor,
        block: &Block,
        form: AttentionForm,
    ) -> Result<()> {
        let kernel = self.kernel("masked_softmax", block.keys(), &[scores]);
        self.by_rows(&kernel, &[At(scores), At(weights)], block, form)
    }

    /// Replaces the gradient of P by that of the scores.
    fn score_gradient(
        &self,
        scores: &Tensor,
        weights: &Tensor,
        d_scores: &Tensor,
        block: &Block,
        form: AttentionForm,
    ) -> Result<()> {
        let kernel = self.kernel("score_gradient", block.keys(), &[scores]);
        let scores = form.soft_cap.map_or(Nothing, |_| At(scores));
        let tensors = [scores, At(weights), At(d_scores), At(d_scores)];
        self.by_rows(&kernel, &tensors, block, form)
    }

    fn by_rows(
        &self,
        kernel: &str,
        tensors: &[Argument<'_>],
        block: &Block,
        form: AttentionForm,
    ) -> Result<()> {
        let window = form.window.unwrap_or(0);
        let sizes = [block.rows(), block.keys(), block.start, block.key, block.group, window];
        let sizes = sizes.map(|size| Int(size as i32));
        let cap = form.soft_cap.unwrap_or(0.0);
        let factors = [Float(form.scale as f32), Float(cap as f32)];
        let grid = Grid { blocks: [block.rows(), block.run.batch], threads: THREADS };
        self.engine.launch(kernel, grid, &[tensors, &sizes, &factors].concat())
    }
}

/// Returns the blocks of all sequences.
fn blocks(inputs: Inputs<'_>, lengths: &[usize], form: AttentionForm) -> Result<Vec<Block>> {
    let Inputs { query, key, value } = inputs;
    let (keys, tokens, group, width) = query.dims4()?;
    let narrow = [keys, tokens, 1, width];
    let total: usize = lengths.iter().sum();
    let fits = key.dims() == narrow && value.dims() == narrow && total == tokens;
    if !fits || form.window == Some(0) {
        candle_core::bail!(
            "attention of {:?}, {:?}, {:?} over {total} tokens with {form:?}",
            query.dims(),
            key.dims(),
            value.dims()
        );
    }
    let of_run = |run: Run| {
        (0..run.length).step_by(BLOCK).map(move |start| Block {
            run,
            start,
            end: (start + BLOCK).min(run.length),
            key: form.first_seen(start),
            group,
            width,
        })
    };
    Ok(runs(lengths, keys, tokens).into_iter().flat_map(of_run).collect())
}

/// Returns the sequences, in one run if all are of one length. Matrix `b` of a batch of products
/// lies at b * stride, which fits head and sequence at once only where sequences fill the batch.
fn runs(lengths: &[usize], keys: usize, tokens: usize) -> Vec<Run> {
    match lengths.first() {
        Some(length) if lengths.iter().all(|other| other == length) => {
            let run =
                Run { first: 0, length: *length, batch: keys * lengths.len(), stride: *length };
            vec![run]
        }
        _ => {
            let mut first = 0;
            let mut runs = Vec::with_capacity(lengths.len());
            for length in lengths {
                runs.push(Run { first, length: *length, batch: keys, stride: tokens });
                first += length;
            }
            runs
        }
    }
}

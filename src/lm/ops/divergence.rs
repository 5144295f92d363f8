//! The log-probability of target tokens together with the exact divergence from another model.
//!
//! Both need the logits of every row, so they are worked off together, in chunks of the vocabulary
//! as in [`super::log_probs`]: `[rows, vocabulary]` never exists whole. With z and y the logits of
//! the model and of the reference, p the softmax of z, and Z, Y the sums of exponentials:
//!
//! ```text
//! KL = sum p (log p - log q) = sum p (z - y) - log Z + log Y
//! dz = g (1[t] - p) + k p (z - y - log Z + log Y - KL)      g, k: gradients of the two results
//! ```
//!
//! The reference is fixed: it gets no gradient. Logits may be capped, z = c tanh(h W / c), as some
//! models do; the backward pass then multiplies dz by 1 - (z / c)^2.

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp2, D, DType, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::GradientSink;
use super::kernels::{exp, for_row_blocks, max_of, sum_of, sum_of_pairs};
use super::log_prob::chunks;
use super::matrix::{Matrix, with_matrix};
use super::storage::{on_cpu, slice};

/// A model that another one is compared with: states of the same rows and the output layer.
#[derive(Clone, Debug)]
pub struct Reference {
    /// The states, `[rows, width of the reference]`.
    pub hidden: Tensor,
    /// The output layer, `[vocabulary, width of the reference]`.
    pub weight: Tensor,
}

/// Returns `[2, rows]`: log p(target) of each row, and the divergence KL(p || q) of its
/// distribution from the reference's. `cap` bounds the logits of both.
///
/// # Errors
/// If the shapes do not fit, the vocabularies differ, or a target is not in them.
pub fn log_probs_and_divergence(
    hidden: &Tensor,
    weight: &Tensor,
    targets: &[u32],
    reference: &Reference,
    cap: Option<f32>,
    sink: &GradientSink,
) -> Result<Tensor> {
    let ((rows, width), (vocabulary, inner)) = (hidden.dims2()?, weight.dims2()?);
    let (others, other_width) = reference.hidden.dims2()?;
    if rows != targets.len() || rows != others || width != inner {
        candle_core::bail!(
            "divergence at {} targets from {:?} by {:?} and {:?}",
            targets.len(),
            hidden.dims(),
            weight.dims(),
            reference.hidden.dims()
        );
    }
    if reference.weight.dims2()? != (vocabulary, other_width) {
        candle_core::bail!(
            "divergence of a vocabulary of {vocabulary} from an output layer {:?}",
            reference.weight.dims()
        );
    }
    if let Some(target) = targets.iter().find(|target| **target as usize >= vocabulary) {
        candle_core::bail!("target {target} of a vocabulary of {vocabulary}");
    }
    if !on_cpu(hidden) {
        return by_operations(hidden, weight, targets, reference, cap);
    }
    let op = Divergence {
        targets: Arc::new(targets.to_vec()),
        hidden: reference.hidden.detach().contiguous()?,
        weight: reference.weight.detach().contiguous()?,
        cap,
        rows: OnceLock::new(),
        sink: sink.clone(),
    };
    hidden.contiguous()?.apply_op2(&weight.contiguous()?, op)
}

/// The same in candle's differentiable operations, with all logits at once: for devices without
/// hand-written code.
///
/// # Errors
/// If the shapes do not fit.
pub fn by_operations(
    hidden: &Tensor,
    weight: &Tensor,
    targets: &[u32],
    reference: &Reference,
    cap: Option<f32>,
) -> Result<Tensor> {
    let log_softmax = |hidden: &Tensor, weight: &Tensor| {
        let mut logits = hidden.matmul(&weight.t()?)?.to_dtype(DType::F32)?;
        if let Some(cap) = cap.map(f64::from) {
            logits = ((logits / cap)?.tanh()? * cap)?;
        }
        candle_nn::ops::log_softmax(&logits, D::Minus1)
    };
    let p = log_softmax(hidden, weight)?;
    let q = log_softmax(&reference.hidden.detach(), &reference.weight.detach())?;
    let index = Tensor::new(targets, hidden.device())?.unsqueeze(1)?;
    let log_probs = p.gather(&index, 1)?.squeeze(1)?;
    let divergence = (p.exp()? * (&p - q)?)?.sum(D::Minus1)?;
    Tensor::stack(&[log_probs, divergence], 0)
}

struct Divergence {
    targets: Arc<Vec<u32>>,
    /// The reference's states and output layer.
    hidden: Tensor,
    weight: Tensor,
    cap: Option<f32>,
    /// What the forward pass leaves for the backward pass.
    rows: OnceLock<Vec<Row>>,
    sink: GradientSink,
}

/// What is known of a row when all chunks were seen.
#[derive(Clone, Copy)]
struct Row {
    /// log Z of the model.
    normalizer: f64,
    /// log Z - log Y.
    difference: f64,
    divergence: f64,
    log_prob: f64,
}

/// What is known of a row after some chunks.
#[derive(Clone, Copy)]
struct Running {
    max: f32,
    /// Sum of e^(z - max).
    sum: f64,
    /// Sum of e^(z - max) (z - y).
    weighted: f64,
    target: f32,
    other_max: f32,
    /// Sum of e^(y - other_max).
    other_sum: f64,
}

impl Running {
    const NONE: Running = Running {
        max: f32::NEG_INFINITY,
        sum: 0.0,
        weighted: 0.0,
        target: f32::NEG_INFINITY,
        other_max: f32::NEG_INFINITY,
        other_sum: 0.0,
    };

    /// Takes in the logits of the tokens from `first` on.
    #[inline(always)]
    fn update(&mut self, logits: &[f32], others: &[f32], first: usize, target: usize) {
        let max = self.max.max(max_of(logits));
        let shrink = shrinks_by(self.max, max);
        let sum = sum_of(logits, |z| exp(z - max));
        let weighted = sum_of_pairs(logits, others, |z, y| exp(z - max) * (z - y));
        self.sum = self.sum * shrink + f64::from(sum);
        self.weighted = self.weighted * shrink + f64::from(weighted);
        self.max = max;
        let other_max = self.other_max.max(max_of(others));
        let other_sum = sum_of(others, |y| exp(y - other_max));
        let shrink = shrinks_by(self.other_max, other_max);
        self.other_sum = self.other_sum * shrink + f64::from(other_sum);
        self.other_max = other_max;
        if let Some(logit) = target.checked_sub(first).and_then(|at| logits.get(at)) {
            self.target = *logit;
        }
    }

    fn finish(&self) -> Row {
        let normalizer = f64::from(self.max) + self.sum.ln();
        let difference = normalizer - (f64::from(self.other_max) + self.other_sum.ln());
        Row {
            normalizer,
            difference,
            divergence: self.weighted / self.sum - difference,
            log_prob: f64::from(self.target) - normalizer,
        }
    }
}

/// Returns what sums relative to one maximum are multiplied by under a new one; before the first
/// chunk they are zero.
#[inline(always)]
fn shrinks_by(from: f32, to: f32) -> f64 {
    if from == f32::NEG_INFINITY { 0.0 } else { f64::from(exp(from - to)) }
}

impl Divergence {
    /// Runs `body` on the reference's states and output layer.
    fn with_reference<R>(
        &self,
        body: impl FnOnce(Matrix<'_>, Matrix<'_>) -> Result<R>,
    ) -> Result<R> {
        with_matrix(&self.hidden, |hidden| with_matrix(&self.weight, |weight| body(hidden, weight)))
    }

    fn logits(&self, hidden: Matrix<'_>, part: Matrix<'_>) -> Result<Vec<f32>> {
        let mut logits = hidden.times(part.transposed())?;
        if let Some(cap) = self.cap {
            for_row_blocks(&mut logits, part.rows, |_, block| {
                block.iter_mut().for_each(|z| *z = cap * (*z / cap).tanh());
            });
        }
        Ok(logits)
    }

    fn forward(&self, hidden: Matrix<'_>, weight: Matrix<'_>) -> Result<Vec<Row>> {
        let mut running = vec![Running::NONE; hidden.rows];
        self.with_reference(|other_hidden, other_weight| {
            for chunk in chunks(weight.rows, hidden.rows) {
                let (start, end) = (chunk.start, chunk.end);
                let logits = self.logits(hidden, weight.rows(start, end))?;
                let others = self.logits(other_hidden, other_weight.rows(start, end))?;
                running
                    .par_iter_mut()
                    .zip(logits.par_chunks_exact(chunk.len()))
                    .zip(others.par_chunks_exact(chunk.len()))
                    .zip(self.targets.par_iter())
                    .for_each(|(((running, logits), others), target)| {
                        pulp::Arch::new()
                            .dispatch(|| running.update(logits, others, start, *target as usize));
                    });
            }
            Ok(running.iter().map(Running::finish).collect())
        })
    }

    /// Returns the gradients of the hidden states and, if wanted, of the weight; `grad` is
    /// `[2, rows]`.
    fn backward(
        &self,
        hidden: Matrix<'_>,
        weight: Matrix<'_>,
        grad: &[f32],
        want_weight: bool,
    ) -> Result<(Vec<f32>, Vec<f32>)> {
        let known = self.rows.get().map(Vec::as_slice).unwrap_or_default();
        let (by_log_prob, by_divergence) = grad.split_at(hidden.rows);
        let mut d_hidden = vec![0f32; hidden.rows * hidden.columns];
        let capacity = if want_weight { weight.rows * weight.columns } else { 0 };
        let mut d_weight = Vec::with_capacity(capacity);
        self.with_reference(|other_hidden, other_weight| {
            for chunk in chunks(weight.rows, hidden.rows) {
                let (start, end, width) = (chunk.start, chunk.end, chunk.len());
                let part = weight.rows(start, end);
                let mut d_logits = self.logits(hidden, part)?;
                let others = self.logits(other_hidden, other_weight.rows(start, end))?;
                for_row_blocks(&mut d_logits, width, |first, block| {
                    let others = others[first * width..].chunks_exact(width);
                    for ((at, row), others) in
                        (first..).zip(block.chunks_exact_mut(width)).zip(others)
                    {
                        let target = (self.targets[at] as usize).checked_sub(start);
                        self.d_row(
                            row,
                            others,
                            known[at],
                            target,
                            by_log_prob[at],
                            by_divergence[at],
                        );
                    }
                });
                let d_logits = CpuStorage::F32(d_logits);
                let d_logits = Matrix::dense(&d_logits, 0, hidden.rows, width);
                d_logits.add_times(part, &mut d_hidden)?;
                if want_weight {
                    d_weight.extend(d_logits.transposed().times(hidden)?);
                }
            }
            Ok(())
        })?;
        Ok((d_hidden, d_weight))
    }

    /// Replaces a row's logits in a chunk by their gradients.
    #[inline(always)]
    fn d_row(
        &self,
        logits: &mut [f32],
        others: &[f32],
        row: Row,
        target: Option<usize>,
        by_log_prob: f32,
        by_divergence: f32,
    ) {
        let normalizer = row.normalizer as f32;
        let shift = (row.difference + row.divergence) as f32;
        for (at, (z, y)) in logits.iter_mut().zip(others).enumerate() {
            let p = exp(*z - normalizer);
            let mut d = p * (by_divergence * (*z - y - shift) - by_log_prob);
            if target == Some(at) {
                d += by_log_prob;
            }
            if let Some(cap) = self.cap {
                let part = *z / cap;
                d *= 1.0 - part * part;
            }
            *z = d;
        }
    }
}

impl CustomOp2 for Divergence {
    fn name(&self) -> &'static str {
        "log-prob-and-divergence"
    }

    fn cpu_fwd(
        &self,
        hidden: &CpuStorage,
        hidden_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let rows = hidden_layout.shape().dims2()?.0;
        slice(hidden, hidden_layout)?;
        slice(weight, weight_layout)?;
        let hidden = Matrix::of(hidden, hidden_layout)?;
        let weight = Matrix::of(weight, weight_layout)?;
        let known = self.forward(hidden, weight)?;
        let log_probs = known.iter().map(|row| row.log_prob as f32);
        let out = log_probs.chain(known.iter().map(|row| row.divergence as f32)).collect();
        if self.rows.set(known).is_err() {
            candle_core::bail!("log-prob-and-divergence was run forward twice");
        }
        Ok((CpuStorage::F32(out), Shape::from((2, rows))))
    }

    fn bwd(
        &self,
        hidden: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (rows, width) = hidden.dims2()?;
        let grad = grad.flatten_all()?.to_vec1::<f32>()?;
        let want_weight = weight.track_op();
        let (d_hidden, d_weight) = with_matrix(hidden, |hidden| {
            with_matrix(weight, |weight| self.backward(hidden, weight, &grad, want_weight))
        })?;
        let d_hidden = Tensor::from_vec(d_hidden, (rows, width), hidden.device())?;
        let d_weight = if want_weight {
            self.sink
                .take(weight, d_weight)
                .map(|values| Tensor::from_vec(values, weight.shape().clone(), weight.device()))
                .transpose()?
        } else {
            None
        };
        Ok((Some(d_hidden), d_weight))
    }
}

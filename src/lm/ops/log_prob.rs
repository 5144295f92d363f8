//! The log-probability of target tokens under the output layer.
//!
//! The logits of n positions are `[n, vocabulary]`: 50,000 numbers for each token, more than all
//! activations of a layer. Only one number of each row is wanted, so the vocabulary is worked off
//! in chunks: the forward pass keeps the running maximum and sum of each row, the backward pass
//! makes the chunk's logits again. With p the softmax, t the target and g the gradient of a row:
//!
//! ```text
//! log p(t) = l(t) - log sum exp l      dl = g (1[t] - p)      dh = dl W      dW = dl^T h
//! ```
//!
//! With a cap c the logits are c tanh(l / c), and dl has 1 - tanh^2 as a factor (Gemma 2).

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::GradientSink;
use super::kernels::{exp, for_row_blocks, max_of, soft_cap, sum_of, tanh};
use super::matrix::{Matrix, with_matrix};
use super::storage::{on_cpu, slice};

/// Logits that exist at a time.
const CHUNK_LOGITS: usize = 1 << 22;

/// Returns log p(target) for each row: `hidden` `[rows, width]`, the output layer's `weight`
/// `[vocabulary, width]`, one target per row, logits softly capped if there is a `cap`; the result
/// is `[rows]`.
///
/// # Errors
/// If the shapes do not fit or a target is not in the vocabulary.
pub fn log_probs(
    hidden: &Tensor,
    weight: &Tensor,
    targets: &[u32],
    cap: Option<f64>,
    sink: &GradientSink,
) -> Result<Tensor> {
    let ((rows, width), (vocabulary, inner)) = (hidden.dims2()?, weight.dims2()?);
    if rows != targets.len() || width != inner {
        candle_core::bail!(
            "log-probabilities of {} targets from {:?} by {:?}",
            targets.len(),
            hidden.dims(),
            weight.dims()
        );
    }
    if let Some(target) = targets.iter().find(|target| **target as usize >= vocabulary) {
        candle_core::bail!("target {target} of a vocabulary of {vocabulary}");
    }
    if !on_cpu(hidden) {
        return super::composed::log_probs(hidden, weight, targets, cap);
    }
    let op = LogProb {
        targets: Arc::new(targets.to_vec()),
        cap: cap.map(|cap| cap as f32),
        normalizers: OnceLock::new(),
        sink: sink.clone(),
    };
    hidden.contiguous()?.apply_op2(&weight.contiguous()?, op)
}

struct LogProb {
    targets: Arc<Vec<u32>>,
    /// Bound of the logits.
    cap: Option<f32>,
    /// log sum exp of each row, left by the forward pass for the backward pass.
    normalizers: OnceLock<Vec<f32>>,
    sink: GradientSink,
}

/// What is known of a row after some chunks.
#[derive(Clone, Copy)]
struct Running {
    max: f32,
    /// Sum of e^(logit - max).
    sum: f32,
    /// The target's logit, once its chunk was seen.
    target: f32,
}

impl Running {
    /// Takes in the logits of the tokens from `first` on.
    #[inline(always)]
    fn update(&mut self, logits: &[f32], first: usize, target: usize) {
        let max = self.max.max(max_of(logits));
        let sum = sum_of(logits, |logit| exp(logit - max));
        let before = if self.sum == 0.0 { 0.0 } else { self.sum * exp(self.max - max) };
        self.sum = before + sum;
        self.max = max;
        if let Some(logit) = target.checked_sub(first).and_then(|at| logits.get(at)) {
            self.target = *logit;
        }
    }

    fn normalizer(&self) -> f32 {
        self.max + self.sum.ln()
    }
}

/// Returns the parts of the vocabulary that are worked off at a time.
pub(super) fn chunks(vocabulary: usize, rows: usize) -> impl Iterator<Item = Range<usize>> {
    let size = (CHUNK_LOGITS / rows.max(1)).clamp(256, 1 << 14);
    (0..vocabulary).step_by(size).map(move |start| start..(start + size).min(vocabulary))
}

/// Replaces the logits of a row by their gradients; `target` is the place of the target, if it is
/// among them.
#[inline(always)]
fn logit_gradient(
    logits: &mut [f32],
    grad: f32,
    normalizer: f32,
    target: Option<usize>,
    cap: Option<f32>,
) {
    let Some(cap) = cap else {
        for logit in logits.iter_mut() {
            *logit = -grad * exp(*logit - normalizer);
        }
        if let Some(target) = target {
            logits[target] += grad;
        }
        return;
    };
    let wanted = target.map(|target| (target, 1.0 - tanh(logits[target] / cap).powi(2)));
    for logit in logits.iter_mut() {
        let bent = tanh(*logit / cap);
        *logit = -grad * exp(cap * bent - normalizer) * (1.0 - bent * bent);
    }
    if let Some((target, slope)) = wanted {
        logits[target] += grad * slope;
    }
}

impl LogProb {
    /// Returns the gradients of the hidden states and, if wanted, of the weight.
    fn backward(
        &self,
        hidden: Matrix<'_>,
        weight: Matrix<'_>,
        grad: &[f32],
        want_weight: bool,
    ) -> Result<(Vec<f32>, Vec<f32>)> {
        let normalizers = self.normalizers.get().map(Vec::as_slice).unwrap_or_default();
        let mut d_hidden = vec![0f32; hidden.rows * hidden.columns];
        let capacity = if want_weight { weight.rows * weight.columns } else { 0 };
        let mut d_weight = Vec::with_capacity(capacity);
        for chunk in chunks(weight.rows, hidden.rows) {
            let part = weight.rows(chunk.start, chunk.end);
            let mut d_logits = hidden.times(part.transposed())?;
            let width = chunk.len();
            for_row_blocks(&mut d_logits, width, |first, block| {
                for (row, logits) in block.chunks_exact_mut(width).enumerate() {
                    let (grad, normalizer) = (grad[first + row], normalizers[first + row]);
                    let target = self.targets[first + row] as usize;
                    let target = chunk.contains(&target).then(|| target - chunk.start);
                    logit_gradient(logits, grad, normalizer, target, self.cap);
                }
            });
            let d_logits = CpuStorage::F32(d_logits);
            let d_logits = Matrix::dense(&d_logits, 0, hidden.rows, width);
            d_logits.add_times(part, &mut d_hidden)?;
            if want_weight {
                d_weight.extend(d_logits.transposed().times(hidden)?);
            }
        }
        Ok((d_hidden, d_weight))
    }
}

impl CustomOp2 for LogProb {
    fn name(&self) -> &'static str {
        "log-prob"
    }

    fn cpu_fwd(
        &self,
        hidden: &CpuStorage,
        hidden_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let rows = hidden_layout.shape().dims2()?.0;
        let vocabulary = weight_layout.shape().dims2()?.0;
        slice(hidden, hidden_layout)?;
        let hidden = Matrix::of(hidden, hidden_layout)?;
        let weight = Matrix::of(weight, weight_layout)?;
        let none = Running { max: f32::NEG_INFINITY, sum: 0.0, target: f32::NEG_INFINITY };
        let mut running = vec![none; rows];
        for chunk in chunks(vocabulary, rows) {
            let mut logits = hidden.times(weight.rows(chunk.start, chunk.end).transposed())?;
            if let Some(cap) = self.cap {
                for_row_blocks(&mut logits, 1, |_, block| {
                    block.iter_mut().for_each(|logit| *logit = soft_cap(*logit, cap));
                });
            }
            running
                .par_iter_mut()
                .zip(logits.par_chunks_exact(chunk.len()))
                .zip(self.targets.par_iter())
                .for_each(|((running, logits), target)| {
                    pulp::Arch::new()
                        .dispatch(|| running.update(logits, chunk.start, *target as usize));
                });
        }
        let out = running.iter().map(|row| row.target - row.normalizer()).collect();
        let normalizers = running.iter().map(Running::normalizer).collect();
        if self.normalizers.set(normalizers).is_err() {
            candle_core::bail!("log-prob was run forward twice");
        }
        Ok((CpuStorage::F32(out), Shape::from(rows)))
    }

    fn bwd(
        &self,
        hidden: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (rows, width) = hidden.dims2()?;
        let grad = grad.to_vec1::<f32>()?;
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

//! Root mean square normalisation.

use std::borrow::Cow;

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::kernels::{for_row_blocks, sum_of, sum_of_pairs};
use super::storage::{on_cpu, slice, with_values};

/// Returns x / sqrt(mean(x^2) + epsilon) * (offset + weight) for each row of `x`, `[rows, width]`;
/// `weight` is `[width]` (Zhang and Sennrich 2019). The offset is 0, or 1 where weights are kept as
/// distances from 1 (Gemma).
///
/// # Errors
/// If the shapes do not fit.
pub fn rms_norm(x: &Tensor, weight: &Tensor, epsilon: f64, offset: f32) -> Result<Tensor> {
    if !on_cpu(x) {
        return super::composed::rms_norm(x, weight, epsilon, offset);
    }
    x.contiguous()?.apply_op2(weight, RmsNorm { epsilon: epsilon as f32, offset })
}

struct RmsNorm {
    epsilon: f32,
    offset: f32,
}

impl RmsNorm {
    /// Returns 1 / sqrt(mean(x^2) + epsilon).
    #[inline(always)]
    fn scale(&self, x: &[f32]) -> f32 {
        1.0 / (sum_of(x, |x| x * x) / x.len() as f32 + self.epsilon).sqrt()
    }

    /// Returns the factors of the normed features.
    fn factors<'a>(&self, weight: &'a [f32]) -> Cow<'a, [f32]> {
        match self.offset == 0.0 {
            true => Cow::Borrowed(weight),
            false => Cow::Owned(weight.iter().map(|weight| self.offset + weight).collect()),
        }
    }

    /// Returns the gradient of x. With s the scale, n the width and h = g w:
    /// dx = s (h - x s^2 sum(h x) / n).
    fn backward_x(&self, x: &[f32], weight: &[f32], grad: &[f32]) -> Vec<f32> {
        let width = weight.len();
        let mut out = vec![0f32; x.len()];
        for_row_blocks(&mut out, width, |first, block| {
            for (row, out) in block.chunks_exact_mut(width).enumerate() {
                let at = (first + row) * width;
                let (x, grad) = (&x[at..at + width], &grad[at..at + width]);
                let scale = self.scale(x);
                for ((out, grad), weight) in out.iter_mut().zip(grad).zip(weight) {
                    *out = grad * weight;
                }
                let mean = sum_of_pairs(out, x, |h, x| h * x) / width as f32;
                let pull = scale * scale * mean;
                for (out, x) in out.iter_mut().zip(x) {
                    *out = scale * (*out - x * pull);
                }
            }
        });
        out
    }

    /// Returns the gradient of the weight: the sum of g x s over rows, in fixed blocks of rows.
    fn backward_weight(&self, x: &[f32], width: usize, grad: &[f32]) -> Vec<f32> {
        const ROWS: usize = 64;
        let partial: Vec<Vec<f32>> = x
            .par_chunks(ROWS * width)
            .zip(grad.par_chunks(ROWS * width))
            .map(|(x, grad)| {
                let mut sum = vec![0f32; width];
                for (x, grad) in x.chunks_exact(width).zip(grad.chunks_exact(width)) {
                    let scale = self.scale(x);
                    for ((sum, x), grad) in sum.iter_mut().zip(x).zip(grad) {
                        *sum += grad * x * scale;
                    }
                }
                sum
            })
            .collect();
        let mut total = vec![0f32; width];
        for sum in &partial {
            for (total, sum) in total.iter_mut().zip(sum) {
                *total += sum;
            }
        }
        total
    }
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, weight) = (slice(x, x_layout)?, slice(weight, weight_layout)?);
        let width = weight.len();
        if x_layout.dims().last() != Some(&width) {
            candle_core::bail!("rms-norm of {:?} by a weight of {width}", x_layout.dims());
        }
        let weight = &*self.factors(weight);
        let mut out = vec![0f32; x.len()];
        for_row_blocks(&mut out, width, |first, block| {
            for (row, out) in block.chunks_exact_mut(width).enumerate() {
                let at = (first + row) * width;
                let x = &x[at..at + width];
                let scale = self.scale(x);
                for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
                    *out = x * scale * weight;
                }
            }
        });
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        self.backward(x, weight, grad, [x.track_op(), weight.track_op()])
    }
}

impl RmsNorm {
    /// Returns the gradients of x and the weight that are wanted.
    fn backward(
        &self,
        x: &Tensor,
        weight: &Tensor,
        grad: &Tensor,
        [want_x, want_weight]: [bool; 2],
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (shape, width, device) = (x.shape().clone(), weight.elem_count(), x.device().clone());
        let (dx, dw) = with_values(x, |x| {
            with_values(weight, |weight| {
                with_values(grad, |grad| {
                    let factors = self.factors(weight);
                    let dx = want_x.then(|| self.backward_x(x, &factors, grad));
                    Ok((dx, want_weight.then(|| self.backward_weight(x, width, grad))))
                })
            })
        })?;
        let dx = dx.map(|dx| Tensor::from_vec(dx, shape, &device)).transpose()?;
        let dw = dw.map(|dw| Tensor::from_vec(dw, width, &device)).transpose()?;
        Ok((dx, dw))
    }
}

/// Returns the gradients of x and of the weight of [`rms_norm`], those that are wanted.
pub(in crate::lm) fn rms_norm_backward(
    x: &Tensor,
    weight: &Tensor,
    (epsilon, offset): (f64, f32),
    grad: &Tensor,
    want: [bool; 2],
) -> Result<(Option<Tensor>, Option<Tensor>)> {
    RmsNorm { epsilon: epsilon as f32, offset }.backward(x, weight, grad, want)
}

//! A bias: the same row added to every row.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::GradientSink;
use super::kernels::for_row_blocks;
use super::storage::{on_cpu, slice, with_values};

/// Rows whose sum one task makes; fixed, so that sums do not depend on threads.
const ROWS: usize = 64;

/// Returns `x`, `[rows, width]`, with `bias`, `[width]`, added to every row.
///
/// # Errors
/// If the shapes do not fit.
pub fn add_bias(x: &Tensor, bias: &Tensor, sink: &GradientSink) -> Result<Tensor> {
    if !on_cpu(x) {
        return x.broadcast_add(bias);
    }
    x.contiguous()?.apply_op2(&bias.contiguous()?, AddBias { sink: sink.clone() })
}

struct AddBias {
    sink: GradientSink,
}

impl CustomOp2 for AddBias {
    fn name(&self) -> &'static str {
        "add-bias"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, bias) = (slice(x, x_layout)?, slice(bias, bias_layout)?);
        let width = bias.len();
        if x_layout.dims().last() != Some(&width) || width == 0 {
            candle_core::bail!("{:?} with a bias of {width}", x_layout.dims());
        }
        let mut out = vec![0f32; x.len()];
        for_row_blocks(&mut out, width, |first, block| {
            for (row, out) in block.chunks_exact_mut(width).enumerate() {
                let at = (first + row) * width;
                for (out, (x, bias)) in out.iter_mut().zip(x[at..at + width].iter().zip(bias)) {
                    *out = x + bias;
                }
            }
        });
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let d_bias = if bias.track_op() {
            self.sink
                .take(bias, column_sums(grad)?)
                .map(|values| Tensor::from_vec(values, bias.shape().clone(), bias.device()))
                .transpose()?
        } else {
            None
        };
        Ok((x.track_op().then(|| grad.clone()), d_bias))
    }
}

/// Returns the sum of the rows of `grad`, `[rows, width]`: the gradient of a bias.
pub(in crate::lm) fn column_sums(grad: &Tensor) -> Result<Vec<f32>> {
    let width = grad.dim(1)?;
    let partial: Vec<Vec<f32>> = with_values(grad, |grad| {
        let sum = |rows: &[f32]| {
            let mut sum = vec![0f32; width];
            for row in rows.chunks_exact(width) {
                for (sum, x) in sum.iter_mut().zip(row) {
                    *sum += x;
                }
            }
            sum
        };
        Ok(grad.par_chunks(ROWS * width).map(sum).collect())
    })?;
    let mut total = vec![0f32; width];
    for part in &partial {
        for (total, part) in total.iter_mut().zip(part) {
            *total += part;
        }
    }
    Ok(total)
}

//! The gated activation of the feed-forward layer.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

use super::kernels::{for_row_blocks, sigmoid};
use super::storage::{on_cpu, slice, with_values};

/// Returns silu(gate) * up, element by element (Shazeer 2020).
///
/// # Errors
/// If the shapes differ.
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    if !on_cpu(gate) {
        return super::composed::swiglu(gate, up);
    }
    gate.contiguous()?.apply_op2(&up.contiguous()?, SwiGlu)
}

struct SwiGlu;

/// Applies `f` to triples of three equal slices.
fn map_triples(
    a: &[f32],
    b: &[f32],
    c: &[f32],
    f: impl Fn(f32, f32, f32) -> f32 + Sync,
) -> Vec<f32> {
    let mut out = vec![0f32; a.len()];
    for_row_blocks(&mut out, 1, |at, block| {
        let range = at..at + block.len();
        let sources = a[range.clone()].iter().zip(&b[range.clone()]).zip(&c[range]);
        for (out, ((a, b), c)) in block.iter_mut().zip(sources) {
            *out = f(*a, *b, *c);
        }
    });
    out
}

impl CustomOp2 for SwiGlu {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn cpu_fwd(
        &self,
        gate: &CpuStorage,
        gate_layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        if gate_layout.shape() != up_layout.shape() {
            candle_core::bail!("swiglu of {:?} and {:?}", gate_layout.dims(), up_layout.dims());
        }
        let (gate, up) = (slice(gate, gate_layout)?, slice(up, up_layout)?);
        let mut out = vec![0f32; gate.len()];
        for_row_blocks(&mut out, 1, |at, block| {
            let range = at..at + block.len();
            for (out, (gate, up)) in
                block.iter_mut().zip(gate[range.clone()].iter().zip(&up[range]))
            {
                *out = gate * sigmoid(*gate) * up;
            }
        });
        Ok((CpuStorage::F32(out), gate_layout.shape().clone()))
    }

    fn bwd(
        &self,
        gate: &Tensor,
        up: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (d_gate, d_up) = swiglu_backward(gate, up, grad)?;
        Ok((Some(d_gate), Some(d_up)))
    }
}

/// Returns the gradients of gate and up of [`swiglu`].
pub(in crate::lm) fn swiglu_backward(
    gate: &Tensor,
    up: &Tensor,
    grad: &Tensor,
) -> Result<(Tensor, Tensor)> {
    let (d_gate, d_up) = with_values(gate, |gate| {
        with_values(up, |up| {
            with_values(grad, |grad| {
                // d silu(a) / da = s (1 + a (1 - s)) with s = sigmoid(a).
                let d_gate = map_triples(gate, up, grad, |gate, up, grad| {
                    let s = sigmoid(gate);
                    grad * up * s * (1.0 + gate * (1.0 - s))
                });
                let d_up = map_triples(gate, up, grad, |gate, _, grad| grad * gate * sigmoid(gate));
                Ok((d_gate, d_up))
            })
        })
    })?;
    Ok((
        Tensor::from_vec(d_gate, gate.shape().clone(), gate.device())?,
        Tensor::from_vec(d_up, up.shape().clone(), up.device())?,
    ))
}

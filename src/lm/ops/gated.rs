//! The gated activation of the feed-forward layer.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

use super::kernels::{for_row_blocks, sigmoid, tanh};
use super::storage::{on_cpu, slice, with_values};

/// What is done with the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// x sigmoid(x).
    Silu,
    /// x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) (Hendrycks and Gimpel 2016).
    GeluTanh,
}

/// sqrt(2 / pi).
const GELU_SLOPE: f32 = 0.797_884_6;

/// The factor of the cube in the tangent's argument.
const GELU_CUBE: f32 = 0.044_715;

/// An activation and its slope at x.
#[derive(Clone, Copy)]
struct Bent {
    value: f32,
    slope: f32,
}

/// d silu(x) / dx = s (1 + x (1 - s)) with s = sigmoid(x).
#[inline(always)]
fn silu(x: f32) -> Bent {
    let s = sigmoid(x);
    Bent { value: x * s, slope: s * (1.0 + x * (1.0 - s)) }
}

/// With t = tanh(u): d gelu(x) / dx = (1 + t) / 2 + x / 2 (1 - t^2) du / dx.
#[inline(always)]
fn gelu_tanh(x: f32) -> Bent {
    let square = x * x;
    let t = tanh(GELU_SLOPE * x * (1.0 + GELU_CUBE * square));
    let inner = GELU_SLOPE * (1.0 + 3.0 * GELU_CUBE * square);
    // Beyond the tangent's flat ends the slope is 0 or 1; a large x must not meet 1 - t^2 = 1e-8.
    let bend = if x.abs() > 10.0 { 0.0 } else { 0.5 * x * (1.0 - t * t) * inner };
    Bent { value: 0.5 * x * (1.0 + t), slope: 0.5 * (1.0 + t) + bend }
}

/// Returns activation(gate) * up, element by element (Shazeer 2020).
///
/// # Errors
/// If the shapes differ.
pub fn gated(gate: &Tensor, up: &Tensor, activation: Activation) -> Result<Tensor> {
    if !on_cpu(gate) {
        return super::composed::gated(gate, up, activation);
    }
    gate.contiguous()?.apply_op2(&up.contiguous()?, Gated { activation })
}

struct Gated {
    activation: Activation,
}

/// Applies `f` to pairs of two equal slices.
fn map_pairs(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32 + Sync) -> Vec<f32> {
    let mut out = vec![0f32; a.len()];
    for_row_blocks(&mut out, 1, |at, block| {
        let range = at..at + block.len();
        for (out, (a, b)) in block.iter_mut().zip(a[range.clone()].iter().zip(&b[range])) {
            *out = f(*a, *b);
        }
    });
    out
}

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

/// Returns the gradients of gate and up.
fn gradients(
    [gate, up, grad]: [&[f32]; 3],
    bend: impl Fn(f32) -> Bent + Sync,
) -> (Vec<f32>, Vec<f32>) {
    let d_gate = map_triples(gate, up, grad, |gate, up, grad| grad * up * bend(gate).slope);
    let d_up = map_pairs(gate, grad, |gate, grad| grad * bend(gate).value);
    (d_gate, d_up)
}

impl CustomOp2 for Gated {
    fn name(&self) -> &'static str {
        "gated"
    }

    fn cpu_fwd(
        &self,
        gate: &CpuStorage,
        gate_layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        if gate_layout.shape() != up_layout.shape() {
            candle_core::bail!("gate {:?} of {:?}", gate_layout.dims(), up_layout.dims());
        }
        let (gate, up) = (slice(gate, gate_layout)?, slice(up, up_layout)?);
        let out = match self.activation {
            Activation::Silu => map_pairs(gate, up, |gate, up| silu(gate).value * up),
            Activation::GeluTanh => map_pairs(gate, up, |gate, up| gelu_tanh(gate).value * up),
        };
        Ok((CpuStorage::F32(out), gate_layout.shape().clone()))
    }

    fn bwd(
        &self,
        gate: &Tensor,
        up: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (d_gate, d_up) = gated_backward(gate, up, self.activation, grad)?;
        Ok((Some(d_gate), Some(d_up)))
    }
}

/// Returns the gradients of gate and up of [`gated`].
pub(in crate::lm) fn gated_backward(
    gate: &Tensor,
    up: &Tensor,
    activation: Activation,
    grad: &Tensor,
) -> Result<(Tensor, Tensor)> {
    let (d_gate, d_up) = with_values(gate, |gate| {
        with_values(up, |up| {
            with_values(grad, |grad| {
                Ok(match activation {
                    Activation::Silu => gradients([gate, up, grad], silu),
                    Activation::GeluTanh => gradients([gate, up, grad], gelu_tanh),
                })
            })
        })
    })?;
    Ok((
        Tensor::from_vec(d_gate, gate.shape().clone(), gate.device())?,
        Tensor::from_vec(d_up, up.shape().clone(), up.device())?,
    ))
}

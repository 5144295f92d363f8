//! What a layer is computed with: the loops of the CPU, or the kernels of a device.
//!
//! Every function here is forward or backward, without a graph, and does the same on both sides. On
//! a device weights are taken in the numbers of its operations, and neighbouring passes over memory
//! are one: a sum and the norm of it, a norm's gradient and the residual stream's, products that
//! add to each other.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{Result, Tensor, TensorId};

use super::ops::device::{Angles, Mixed, Normed, Operations};
use super::ops::{self, Activation, AttentionForm, GradientSink, Rotation, Span};
use super::weights::Weight;

/// What computes one forward and backward pass.
#[derive(Clone)]
pub(super) enum Compute {
    /// Loops over f32 on the CPU.
    Host,
    /// Kernels of a device.
    Device(Pass),
}

/// A pass on a device.
#[derive(Clone)]
pub(super) struct Pass {
    pub(super) operations: Operations,
    /// Copies of the matrices in the operations' numbers, where they are not kept in them, as the
    /// weights were when the pass began.
    pub(super) copies: Arc<HashMap<TensorId, Tensor>>,
}

/// What a token sees, and how positions turn features.
#[derive(Clone)]
pub(super) struct Positions {
    pub(super) form: AttentionForm,
    pub(super) turn: Turn,
}

/// The angles of tokens.
#[derive(Clone)]
pub(super) enum Turn {
    /// For the CPU.
    Host(Rotation),
    /// For a device.
    Device(Angles),
}

/// Attention, and what its backward pass needs: on the CPU packed, on a device by heads.
pub(super) struct Attended {
    pub(super) query: Tensor,
    pub(super) key: Tensor,
    pub(super) value: Tensor,
    pub(super) mixed: Tensor,
    /// Of each row's softmax, where the device keeps them.
    pub(super) normalizers: Option<Tensor>,
}

impl Positions {
    pub(super) fn rotation(&self) -> Result<&Rotation> {
        match &self.turn {
            Turn::Host(rotation) => Ok(rotation),
            Turn::Device(_) => candle_core::bail!("angles of a device on the CPU"),
        }
    }

    fn angles(&self) -> Result<&Angles> {
        match &self.turn {
            Turn::Device(angles) => Ok(angles),
            Turn::Host(_) => candle_core::bail!("angles of the CPU on a device"),
        }
    }
}

impl Pass {
    /// Returns a matrix in the operations' numbers.
    pub(super) fn working(&self, weight: &Tensor) -> Result<Tensor> {
        if weight.dtype() == self.operations.dtype() {
            return Ok(weight.detach());
        }
        match self.copies.get(&weight.id()) {
            Some(copy) => Ok(copy.clone()),
            None => self.operations.cast(weight, self.operations.dtype()),
        }
    }
}

/// Returns the lengths of sequences without branches, which is all that kernels know: batches with
/// branches are unrolled before they come here.
fn lengths(spans: &[Span]) -> Result<Vec<usize>> {
    if spans.iter().any(|span| span.prefix > 0) {
        candle_core::bail!("attention of a device was given branches");
    }
    Ok(spans.iter().map(|span| span.length).collect())
}

impl Compute {
    /// Returns x W^T.
    pub(super) fn linear(&self, x: &Tensor, weight: &Weight) -> Result<Tensor> {
        match self {
            Compute::Host => ops::linear(x, &weight.tensor().detach(), &GradientSink::default()),
            Compute::Device(pass) => pass.operations.linear(x, &pass.working(weight.tensor())?),
        }
    }

    /// Returns `x` with a bias added to its rows.
    pub(super) fn add_bias(&self, x: Tensor, bias: &Weight) -> Result<Tensor> {
        match self {
            Compute::Host => ops::add_bias(&x, &bias.tensor().detach(), &GradientSink::default()),
            Compute::Device(pass) => pass.operations.add_bias(x, bias.tensor()),
        }
    }

    /// Returns a + b.
    pub(super) fn sum(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        match self {
            Compute::Host => ops::sum(a, b),
            Compute::Device(pass) => pass.operations.sum(a, b),
        }
    }

    /// Returns the rows of `x` normed.
    pub(super) fn norm(&self, x: &Tensor, weight: &Weight, norm: Normed) -> Result<Tensor> {
        match self {
            Compute::Host => ops::rms_norm(x, &weight.tensor().detach(), norm.0, norm.1),
            Compute::Device(pass) => pass.operations.norm(x, weight.tensor(), norm),
        }
    }

    /// Returns a + b and its rows normed.
    pub(super) fn sum_and_norm(
        &self,
        a: &Tensor,
        b: &Tensor,
        weight: &Weight,
        norm: Normed,
    ) -> Result<(Tensor, Tensor)> {
        match self {
            Compute::Host => {
                let sum = ops::sum(a, b)?;
                let normed = self.norm(&sum, weight, norm)?;
                Ok((sum, normed))
            }
            Compute::Device(pass) => pass.operations.sum_and_norm(a, b, weight.tensor(), norm),
        }
    }

    /// Returns the gradient of the norm's input, with `residual` added if there is one, and gives
    /// that of the weight to the sink if it is trained.
    pub(super) fn norm_backward(
        &self,
        x: &Tensor,
        weight: &Weight,
        norm: Normed,
        grad: &Tensor,
        residual: Option<&Tensor>,
        sink: &GradientSink,
    ) -> Result<Tensor> {
        let trained = weight.is_trained();
        if let Compute::Device(pass) = self {
            let sink = trained.then_some(sink);
            return pass.operations.norm_backward(x, weight.tensor(), norm, grad, residual, sink);
        }
        let (dx, dw) = ops::rms_norm_backward(x, weight.tensor(), norm, grad, [true, trained])?;
        if let Some(dw) = dw {
            sink.take(weight.tensor(), dw.to_vec1()?);
        }
        let Some(dx) = dx else { candle_core::bail!("a wanted gradient was not computed") };
        match residual {
            Some(residual) => ops::sum(residual, &dx),
            None => Ok(dx),
        }
    }

    /// Returns activation(gate) * up.
    pub(super) fn gated(
        &self,
        gate: &Tensor,
        up: &Tensor,
        activation: Activation,
    ) -> Result<Tensor> {
        match self {
            Compute::Host => ops::gated(gate, up, activation),
            Compute::Device(pass) => pass.operations.gated(gate, up, activation),
        }
    }

    /// Returns the gradients of gate and up.
    pub(super) fn gated_backward(
        &self,
        gate: &Tensor,
        up: &Tensor,
        activation: Activation,
        grad: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        match self {
            Compute::Host => ops::gated_backward(gate, up, activation, grad),
            Compute::Device(pass) => pass.operations.gated_backward(gate, up, activation, grad),
        }
    }

    /// Returns rotated queries and keys, and attention, `[tokens, heads * width]`.
    pub(super) fn attention(
        &self,
        [query, key, value]: [Tensor; 3],
        spans: &[Span],
        positions: &Positions,
    ) -> Result<Attended> {
        let form = positions.form;
        let Compute::Device(Pass { operations, .. }) = self else {
            let rotation = positions.rotation()?;
            let (query, key) = (ops::rope(&query, rotation)?, ops::rope(&key, rotation)?);
            let mixed = ops::attention_of_spans(&query, &key, &value, spans, form)?;
            return Ok(Attended { query, key, value, mixed, normalizers: None });
        };
        let (heads, angles) = (form.heads, Some(positions.angles()?));
        let query = operations.to_heads(&query, heads.queries, heads, angles)?;
        let key = operations.to_heads(&key, heads.keys, heads, angles)?;
        let value = operations.to_heads(&value, heads.keys, heads, None)?;
        let Mixed { out, normalizers } =
            operations.attention([&query, &key, &value], &lengths(spans)?, form)?;
        let mixed = operations.to_packed(&out, heads, None)?;
        Ok(Attended { query, key, value, mixed, normalizers })
    }

    /// Returns the gradients of queries and keys before their rotation, and of values.
    pub(super) fn attention_backward(
        &self,
        attended: &Attended,
        spans: &[Span],
        positions: &Positions,
        grad: &Tensor,
    ) -> Result<[Tensor; 3]> {
        let Attended { query, key, value, mixed, normalizers } = attended;
        let inputs = [query, key, value];
        let form = positions.form;
        let Compute::Device(Pass { operations, .. }) = self else {
            let rotation = positions.rotation()?;
            let [query, key, value] = ops::attention_backward(inputs, spans, form, grad)?;
            let back = |x| ops::rope_backward(rotation, x);
            return Ok([back(&query)?, back(&key)?, value]);
        };
        let (heads, angles) = (form.heads, Some(positions.angles()?));
        let grad = operations.to_heads(grad, heads.queries, heads, None)?;
        let out = operations.to_heads(mixed, heads.queries, heads, None)?;
        let mixed = Mixed { out, normalizers: normalizers.clone() };
        let [query, key, value] =
            operations.attention_backward(inputs, &lengths(spans)?, form, &mixed, &grad)?;
        Ok([
            operations.to_packed(&query, heads, angles)?,
            operations.to_packed(&key, heads, angles)?,
            operations.to_packed(&value, heads, None)?,
        ])
    }

    /// Gives grad^T x, the gradient of a weight, to the sink if the weight is trained.
    pub(super) fn collect(
        &self,
        weight: &Weight,
        grad: &Tensor,
        x: &Tensor,
        sink: &GradientSink,
    ) -> Result<()> {
        if !weight.is_trained() {
            return Ok(());
        }
        match self {
            Compute::Host => {
                sink.take(weight.tensor(), ops::weight_gradient(grad, x)?);
                Ok(())
            }
            Compute::Device(pass) => {
                pass.operations.weight_gradient(weight.tensor(), grad, x, sink)
            }
        }
    }

    /// Gives the sum of the rows of grad, the gradient of a bias, to the sink if it is trained.
    pub(super) fn collect_bias(
        &self,
        bias: &Weight,
        grad: &Tensor,
        sink: &GradientSink,
    ) -> Result<()> {
        if !bias.is_trained() {
            return Ok(());
        }
        match self {
            Compute::Host => {
                sink.take(bias.tensor(), ops::column_sums(grad)?);
                Ok(())
            }
            Compute::Device(pass) => pass.operations.bias_gradient(bias.tensor(), grad, sink),
        }
    }

    /// Returns the sum of grad W over `parts`, added to `sum` if there is one.
    pub(super) fn input_gradient(
        &self,
        parts: &[(&Tensor, &Weight)],
        sum: Option<Tensor>,
    ) -> Result<Tensor> {
        let mut own = sum;
        for (grad, weight) in parts {
            own = Some(match self {
                Compute::Host => ops::input_gradient(grad, weight.tensor(), own)?,
                Compute::Device(pass) => {
                    let working = pass.working(weight.tensor())?;
                    pass.operations.input_gradient(grad, &working, own)?
                }
            });
        }
        match own {
            Some(own) => Ok(own),
            None => candle_core::bail!("a gradient of nothing"),
        }
    }
}

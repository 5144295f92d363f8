//! The same operations in candle's own differentiable ones: for devices without hand-written code,
//! and as the second implementation that the tests compare with.

use candle_core::{D, DType, Device, Result, Tensor};

use super::{Activation, AttentionForm, Rotation, Span};

/// Returns x / sqrt(mean(x^2) + epsilon) * (offset + weight) for each row of `x`.
///
/// # Errors
/// If the shapes do not fit.
pub fn rms_norm(x: &Tensor, weight: &Tensor, epsilon: f64, offset: f32) -> Result<Tensor> {
    let mean = x.sqr()?.mean_keepdim(D::Minus1)?;
    let scaled = x.broadcast_div(&(mean + epsilon)?.sqrt()?)?;
    match offset == 0.0 {
        true => scaled.broadcast_mul(weight),
        false => scaled.broadcast_mul(&(weight + f64::from(offset))?),
    }
}

/// Returns activation(gate) * up.
///
/// # Errors
/// If the shapes differ.
pub fn gated(gate: &Tensor, up: &Tensor, activation: Activation) -> Result<Tensor> {
    match activation {
        Activation::Silu => gate.silu()?.mul(up),
        Activation::GeluTanh => gate.gelu()?.mul(up),
    }
}

/// Returns cap tanh(x / cap).
///
/// # Errors
/// If the device refuses.
pub fn soft_cap(x: &Tensor, cap: f64) -> Result<Tensor> {
    (x / cap)?.tanh()? * cap
}

/// Returns every head of `x`, `[tokens, heads * head_dim]`, rotated by its token's angles.
///
/// # Errors
/// If the shapes do not fit.
pub fn rope(x: &Tensor, rotation: &Rotation) -> Result<Tensor> {
    let (tokens, width) = x.dims2()?;
    let (cosine, sine) = rotation.tensors(x.device())?;
    let half = cosine.dim(2)?;
    let x = x.reshape((tokens, width / (2 * half), 2 * half))?;
    let (low, high) = (x.narrow(2, 0, half)?, x.narrow(2, half, half)?);
    let rotated_low = (low.broadcast_mul(&cosine)? - high.broadcast_mul(&sine)?)?;
    let rotated_high = (high.broadcast_mul(&cosine)? + low.broadcast_mul(&sine)?)?;
    Tensor::cat(&[rotated_low, rotated_high], 2)?.reshape((tokens, width))
}

/// Returns causal attention within each span and its prefix; shapes as [`super::attention`].
///
/// # Errors
/// If the shapes do not fit.
pub fn attention(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    spans: &[Span],
    form: AttentionForm,
) -> Result<Tensor> {
    let heads = form.heads;
    let mut outputs = Vec::with_capacity(spans.len());
    for span in spans.iter().filter(|span| span.length > 0) {
        let by_heads = |x: Tensor, count: usize| {
            x.reshape((x.dim(0)?, count, heads.width))?.transpose(0, 1)?.contiguous()
        };
        let query = by_heads(query.narrow(0, span.start, span.length)?, heads.queries)?;
        let group = heads.queries / heads.keys;
        let repeat = |x: Tensor| {
            let shape = (heads.keys, group, span.keys(), heads.width);
            x.unsqueeze(1)?.broadcast_as(shape)?.reshape((heads.queries, span.keys(), heads.width))
        };
        let seen = |x: &Tensor| {
            let own = x.narrow(0, span.start, span.length)?;
            match span.prefix {
                0 => Ok(own),
                prefix => Tensor::cat(&[x.narrow(0, span.trunk, prefix)?, own], 0),
            }
        };
        let key = repeat(by_heads(seen(key)?, heads.keys)?)?;
        let value = repeat(by_heads(seen(value)?, heads.keys)?)?;
        let mut scores = (query.matmul(&key.t()?)? * form.scale)?;
        if let Some(cap) = form.soft_cap {
            scores = soft_cap(&scores, cap)?;
        }
        let scores = scores.broadcast_add(&causal_mask(span, form, query.device())?)?;
        let weights = candle_nn::ops::softmax(&scores, D::Minus1)?;
        let output = weights.matmul(&value)?.transpose(0, 1)?;
        outputs.push(output.reshape((span.length, heads.queries * heads.width))?);
    }
    Tensor::cat(&outputs, 0)
}

/// Returns 0 where a position may look and minus infinity where it may not, `[length, keys]`.
fn causal_mask(span: &Span, form: AttentionForm, device: &Device) -> Result<Tensor> {
    let seen = |i: usize, j: usize| j <= i && j >= form.first_seen(i);
    let keys = span.keys();
    let mask: Vec<f32> = span
        .positions()
        .flat_map(|i| (0..keys).map(move |j| if seen(i, j) { 0.0 } else { f32::NEG_INFINITY }))
        .collect();
    Tensor::from_vec(mask, (span.length, keys), device)
}

/// Returns log softmax(h W^T) at the target of each row, `[rows]`; with a cap the logits are those
/// of [`soft_cap`].
///
/// # Errors
/// If the shapes do not fit.
pub fn log_probs(
    hidden: &Tensor,
    weight: &Tensor,
    targets: &[u32],
    cap: Option<f64>,
) -> Result<Tensor> {
    let mut logits = hidden.matmul(&weight.t()?)?.to_dtype(DType::F32)?;
    if let Some(cap) = cap {
        logits = soft_cap(&logits, cap)?;
    }
    let targets = Tensor::new(targets, hidden.device())?.unsqueeze(1)?;
    candle_nn::ops::log_softmax(&logits, D::Minus1)?.gather(&targets, 1)?.squeeze(1)
}

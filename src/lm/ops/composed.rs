//! The same operations in candle's own differentiable ones: for devices without hand-written code,
//! and as the second implementation that the tests compare with.

use candle_core::{D, DType, Device, Result, Tensor};

use super::{Activation, AttentionForm, Rotation};

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

/// Returns causal attention within each sequence; shapes as [`super::attention`].
///
/// # Errors
/// If the shapes do not fit.
pub fn attention(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    lengths: &[usize],
    form: AttentionForm,
) -> Result<Tensor> {
    let heads = form.heads;
    let mut outputs = Vec::with_capacity(lengths.len());
    let mut start = 0;
    for length in lengths.iter().copied().filter(|length| *length > 0) {
        let part = |x: &Tensor, count: usize| {
            x.narrow(0, start, length)?
                .reshape((length, count, heads.width))?
                .transpose(0, 1)?
                .contiguous()
        };
        let query = part(query, heads.queries)?;
        let group = heads.queries / heads.keys;
        let repeat = |x: Tensor| {
            x.unsqueeze(1)?.broadcast_as((heads.keys, group, length, heads.width))?.reshape((
                heads.queries,
                length,
                heads.width,
            ))
        };
        let (key, value) = (repeat(part(key, heads.keys)?)?, repeat(part(value, heads.keys)?)?);
        let mut scores = (query.matmul(&key.t()?)? * form.scale)?;
        if let Some(cap) = form.soft_cap {
            scores = soft_cap(&scores, cap)?;
        }
        let scores = scores.broadcast_add(&causal_mask(length, form, query.device())?)?;
        let weights = candle_nn::ops::softmax(&scores, D::Minus1)?;
        let output = weights.matmul(&value)?.transpose(0, 1)?;
        outputs.push(output.reshape((length, heads.queries * heads.width))?);
        start += length;
    }
    Tensor::cat(&outputs, 0)
}

/// Returns 0 where a position may look and minus infinity where it may not, `[length, length]`.
fn causal_mask(length: usize, form: AttentionForm, device: &Device) -> Result<Tensor> {
    let seen = |i: usize, j: usize| j <= i && j >= form.first_seen(i);
    let mask: Vec<f32> = (0..length)
        .flat_map(|i| (0..length).map(move |j| if seen(i, j) { 0.0 } else { f32::NEG_INFINITY }))
        .collect();
    Tensor::from_vec(mask, (length, length), device)
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

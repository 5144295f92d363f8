//! Rotary position embedding in the half-split form of transformers: feature i of a head is
//! rotated together with feature i + width / 2.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Tensor};

use super::kernels::for_row_blocks;
use super::span::Span;
use super::storage::{on_cpu, slice, with_values};

/// How fast each pair of features turns.
#[derive(Clone, Debug, PartialEq)]
pub struct Frequencies {
    /// Radians per position, `[head_dim / 2]`.
    pub values: Vec<f32>,
    /// Factor of the rotated features; 1 but for YaRN.
    pub magnitude: f64,
}

impl Frequencies {
    /// Returns theta^(-2 i / head_dim) for each pair i (Su et al. 2021).
    pub fn plain(head_dim: usize, theta: f64) -> Frequencies {
        let exponent = |i: usize| 2.0 * i as f64 / head_dim as f64;
        let values = (0..head_dim / 2).map(|i| (1.0 / theta.powf(exponent(i))) as f32).collect();
        Frequencies { values, magnitude: 1.0 }
    }
}

/// The angles of a packed batch: one row of cosines and sines per token.
#[derive(Clone)]
pub struct Rotation {
    /// Cosines, `[tokens, head_dim / 2]`.
    cosine: Arc<Vec<f32>>,
    /// Sines, `[tokens, head_dim / 2]`.
    sine: Arc<Vec<f32>>,
    tokens: usize,
    half: usize,
}

impl Rotation {
    /// Returns the angles of sequences of the given lengths one after another, each starting at
    /// position 0: position * frequency, with sines and cosines multiplied by the magnitude.
    ///
    /// Frequencies and angles are rounded to f32 as transformers does, so that the two agree at
    /// large positions too.
    pub fn new(lengths: &[usize], frequencies: &Frequencies) -> Rotation {
        Rotation::of_spans(&Span::plain(lengths), frequencies)
    }

    /// Returns the angles of sequences and branches, each starting at its own position.
    pub fn of_spans(spans: &[Span], frequencies: &Frequencies) -> Rotation {
        let Frequencies { values, magnitude } = frequencies;
        let half = values.len();
        let longest = spans.iter().map(Span::keys).max().unwrap_or(0);
        let angles: Vec<(f64, f64)> = (0..longest)
            .flat_map(|position| values.iter().map(move |f| position as f32 * f))
            .map(|angle| f64::from(angle).sin_cos())
            .map(|(sine, cosine)| (sine * magnitude, cosine * magnitude))
            .collect();
        let tokens = spans.iter().map(|span| span.length).sum();
        let mut cosine = Vec::with_capacity(tokens * half);
        let mut sine = Vec::with_capacity(tokens * half);
        for span in spans {
            let std::ops::Range { start, end } = span.positions();
            let angles = &angles[start * half..end * half];
            cosine.extend(angles.iter().map(|(_, cosine)| *cosine as f32));
            sine.extend(angles.iter().map(|(sine, _)| *sine as f32));
        }
        Rotation { cosine: Arc::new(cosine), sine: Arc::new(sine), tokens, half }
    }

    /// Returns the angles of tokens at the given positions.
    pub(in crate::lm) fn at_positions(positions: &[usize], frequencies: &Frequencies) -> Rotation {
        let Frequencies { values, magnitude } = frequencies;
        let angles: Vec<(f64, f64)> = positions
            .iter()
            .flat_map(|position| values.iter().map(move |f| *position as f32 * f))
            .map(|angle| f64::from(angle).sin_cos())
            .collect();
        Rotation {
            cosine: Arc::new(angles.iter().map(|(_, c)| (c * magnitude) as f32).collect()),
            sine: Arc::new(angles.iter().map(|(s, _)| (s * magnitude) as f32).collect()),
            tokens: positions.len(),
            half: values.len(),
        }
    }

    /// Returns cosines and sines as tensors `[tokens, 1, head_dim / 2]`.
    pub(in crate::lm) fn tensors(&self, device: &Device) -> Result<(Tensor, Tensor)> {
        let shape = (self.tokens, 1, self.half);
        Ok((
            Tensor::from_slice(&self.cosine, shape, device)?,
            Tensor::from_slice(&self.sine, shape, device)?,
        ))
    }

    /// Returns every head of every row rotated by the row's angles, or by their negatives.
    fn rotate(&self, x: &[f32], width: usize, direction: f32) -> Vec<f32> {
        let mut out = vec![0f32; x.len()];
        for_row_blocks(&mut out, width, |first, block| {
            for (row, out) in block.chunks_exact_mut(width).enumerate() {
                let token = first + row;
                let angles = token * self.half..(token + 1) * self.half;
                let (cosine, sine) = (&self.cosine[angles.clone()], &self.sine[angles]);
                let x = &x[token * width..(token + 1) * width];
                let heads = x.chunks_exact(2 * self.half);
                for (x, out) in heads.zip(out.chunks_exact_mut(2 * self.half)) {
                    let (x_low, x_high) = x.split_at(self.half);
                    let (low, high) = out.split_at_mut(self.half);
                    let angles = cosine.iter().zip(sine);
                    let source = x_low.iter().zip(x_high).zip(angles);
                    for ((low, high), ((x, y), (c, s))) in low.iter_mut().zip(high).zip(source) {
                        let s = direction * s;
                        *low = x * c - y * s;
                        *high = y * c + x * s;
                    }
                }
            }
        });
        out
    }
}

/// Returns `x`, `[tokens, heads * head_dim]`, with every head rotated by its token's angles (Su et
/// al. 2021).
///
/// # Errors
/// If the shapes do not fit.
pub fn rope(x: &Tensor, rotation: &Rotation) -> Result<Tensor> {
    if !on_cpu(x) {
        return super::composed::rope(x, rotation);
    }
    x.contiguous()?.apply_op1(Rope { rotation: rotation.clone() })
}

struct Rope {
    rotation: Rotation,
}

impl CustomOp1 for Rope {
    fn name(&self) -> &'static str {
        "rope"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (tokens, width) = layout.shape().dims2()?;
        if tokens != self.rotation.tokens || width % (2 * self.rotation.half) != 0 {
            candle_core::bail!("rope of {:?} by {} angles", layout.dims(), self.rotation.tokens);
        }
        let out = self.rotation.rotate(slice(x, layout)?, width, 1.0);
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        rope_backward(&self.rotation, grad).map(Some)
    }
}

/// Returns the gradient of x of [`rope`]: a rotation's transpose is that by the negative angle, and
/// the magnitude is a factor of both.
pub(in crate::lm) fn rope_backward(rotation: &Rotation, grad: &Tensor) -> Result<Tensor> {
    let width = grad.dim(1)?;
    let dx = with_values(grad, |grad| Ok(rotation.rotate(grad, width, -1.0)))?;
    Tensor::from_vec(dx, grad.shape().clone(), grad.device())
}

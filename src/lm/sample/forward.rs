//! The decoder over new tokens of cached sequences.
//!
//! It computes what [`Decoder::hidden`] computes, with the same operations on rows; products and
//! attention have an order of sums of their own, in which a row does not depend on the others.

use candle_core::Tensor;

use super::arena::{Arena, Blocks};
use super::attention::{Run, attend};
use super::product::{Target, products};
use crate::lm::ops::{
    self, Activation, AttentionForm, Frequencies, GradientSink, Heads, Rotation, slice, soft_cap,
    with_values,
};
use crate::lm::weights::{Layer, Projection, Weight, Weights};
use crate::lm::{Decoder, DecoderConfig, LmError};

/// A sequence whose first tokens are cached.
#[derive(Clone, Debug, Default)]
pub(super) struct Sequence {
    pub(super) tokens: Vec<u32>,
    /// How many tokens are in the cache.
    pub(super) cached: usize,
    pub(super) blocks: Blocks,
}

impl Sequence {
    /// Returns how many tokens are not in the cache.
    pub(super) fn pending(&self) -> usize {
        self.tokens.len() - self.cached
    }
}

/// A sequence and how many of its pending tokens are run.
pub(super) struct Part<'a> {
    pub(super) sequence: &'a mut Sequence,
    pub(super) count: usize,
}

/// The angles of the new tokens, and what they see.
struct Positions {
    form: AttentionForm,
    rotation: Rotation,
}

/// A decoder with what does not change from step to step.
pub(super) struct Model {
    decoder: Decoder,
    sink: GradientSink,
    whole: (AttentionForm, Frequencies),
    sliding: (AttentionForm, Frequencies),
    norm: (f64, f32),
    activation: Activation,
}

impl Model {
    /// Returns the model of a decoder, whose weights it shares.
    ///
    /// # Errors
    /// `Config` if the decoder is not on the CPU.
    pub(super) fn new(decoder: &Decoder) -> Result<Model, LmError> {
        if !decoder.device().is_cpu() {
            return Err(LmError::Config {
                what: format!("the decoder is on {:?}", decoder.device()),
                expected: "a decoder on the CPU, where samples are drawn".to_owned(),
            });
        }
        let config = decoder.config();
        let heads =
            Heads { queries: config.n_heads, keys: config.n_kv_heads, width: config.head_dim };
        let form = AttentionForm {
            heads,
            scale: config.attention_scale(),
            window: None,
            soft_cap: config.attention_soft_cap,
        };
        let frequencies = config.rope_scaling.frequencies(config.head_dim, config.rope_theta);
        let local = match config.rope_local_theta {
            Some(theta) => Frequencies::plain(config.head_dim, theta),
            None => frequencies.clone(),
        };
        Ok(Model {
            sink: GradientSink::default(),
            whole: (form, frequencies),
            sliding: (AttentionForm { window: config.sliding_window, ..form }, local),
            norm: (config.rms_norm_eps, config.norm_offset()),
            activation: config.activation,
            decoder: decoder.detached(),
        })
    }

    pub(super) fn config(&self) -> &DecoderConfig {
        self.decoder.config()
    }

    pub(super) fn weights(&self) -> &Weights {
        self.decoder.weights()
    }

    /// Runs the first pending tokens of some sequences, which are in the cache afterwards, and
    /// returns their states behind the last layer, `[tokens, hidden_size]`, sequence by sequence.
    pub(super) fn feed(
        &self,
        arena: &mut Arena,
        parts: &mut [Part<'_>],
    ) -> Result<Tensor, LmError> {
        let (mut tokens, mut positions, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
        for Part { sequence, count } in parts.iter_mut() {
            let (start, end) = (sequence.cached, sequence.cached + *count);
            arena.make_writable(&mut sequence.blocks, start, end)?;
            tokens.extend_from_slice(&sequence.tokens[start..end]);
            positions.extend(start..end);
            numbers.push(sequence.blocks.numbers());
        }
        let runs: Vec<Run<'_>> = parts
            .iter()
            .zip(&numbers)
            .map(|(part, blocks)| Run { blocks, start: part.sequence.cached, count: part.count })
            .collect();
        let turned = |(form, frequencies): &(AttentionForm, Frequencies)| Positions {
            form: *form,
            rotation: Rotation::at_positions(&positions, frequencies),
        };
        let (whole, sliding) = (turned(&self.whole), turned(&self.sliding));
        let mut x = ops::gather_rows(self.weights().embedding.tensor(), &tokens, &self.sink)?;
        if let Some(scale) = self.config().embedding_scale() {
            x = (x * scale)?;
        }
        for (number, layer) in self.weights().layers.iter().enumerate() {
            let positions = if layer.sliding { &sliding } else { &whole };
            let middle = self.attention(layer, &x, (arena, number), &runs, positions)?;
            x = self.feed_forward(layer, &middle)?;
        }
        for Part { sequence, count } in parts.iter_mut() {
            sequence.cached += *count;
        }
        Ok(x)
    }

    /// Returns the stream behind the attention of a layer.
    fn attention(
        &self,
        layer: &Layer,
        x: &Tensor,
        (arena, number): (&mut Arena, usize),
        runs: &[Run<'_>],
        Positions { form, rotation }: &Positions,
    ) -> candle_core::Result<Tensor> {
        let normed = self.norm(x, &layer.input_norm)?;
        let [mut query, mut key, value] =
            self.project(&normed, [&layer.query, &layer.key, &layer.value])?;
        if let Some(norms) = &layer.head_norms {
            query = self.norm_heads(&query, &norms.query)?;
            key = self.norm_heads(&key, &norms.key)?;
        }
        let (query, key) = (ops::rope(&query, rotation)?, ops::rope(&key, rotation)?);
        let cache = arena.layer(number);
        with_values(&key, |keys| {
            with_values(&value, |values| {
                cache.store(runs, keys, values);
                Ok(())
            })
        })?;
        let mixed = with_values(&query, |query| Ok(attend(query, cache, runs, form)))?;
        let mixed = Tensor::from_vec(mixed, query.shape().clone(), query.device())?;
        let [mut attended] = self.project(&mixed, [&layer.output])?;
        if let Some(norms) = &layer.branch_norms {
            attended = self.norm(&attended, &norms.attention)?;
        }
        ops::sum(x, &attended)
    }

    /// Returns the stream behind the feed-forward part of a layer.
    fn feed_forward(&self, layer: &Layer, x: &Tensor) -> candle_core::Result<Tensor> {
        let normed = self.norm(x, &layer.middle_norm)?;
        let [gate, up] = self.project(&normed, [&layer.gate, &layer.up])?;
        let activated = ops::gated(&gate, &up, self.activation)?;
        let [mut fed] = self.project(&activated, [&layer.down])?;
        if let Some(norms) = &layer.branch_norms {
            fed = self.norm(&fed, &norms.feed_forward)?;
        }
        ops::sum(x, &fed)
    }

    /// Returns the logits of some rows of the states behind the last layer, `[rows, vocabulary]`.
    pub(super) fn logits(&self, states: &Tensor, rows: &[u32]) -> Result<Vec<f32>, LmError> {
        let weights = self.weights();
        let states = ops::gather_rows(states, rows, &self.sink)?;
        let states = self.norm(&states, &weights.norm)?;
        let head = weights.head.as_ref().unwrap_or(&weights.embedding);
        let [logits] = multiply(&states, [head.tensor()])?;
        let mut logits = logits;
        if let Some(cap) = self.config().logit_soft_cap {
            logits.iter_mut().for_each(|logit| *logit = soft_cap(*logit, cap as f32));
        }
        Ok(logits)
    }

    fn norm(&self, x: &Tensor, weight: &Weight) -> candle_core::Result<Tensor> {
        ops::rms_norm(x, weight.tensor(), self.norm.0, self.norm.1)
    }

    /// Returns `x`, `[tokens, heads * width]`, with every head normed by a weight of its width.
    fn norm_heads(&self, x: &Tensor, weight: &Weight) -> candle_core::Result<Tensor> {
        let width = weight.tensor().elem_count().max(1);
        self.norm(&x.reshape((x.elem_count() / width, width))?, weight)?.reshape(x.shape())
    }

    /// Returns the products of `x`, `[tokens, in]`, with projections of the same width.
    fn project<const N: usize>(
        &self,
        x: &Tensor,
        projections: [&Projection; N],
    ) -> candle_core::Result<[Tensor; N]> {
        let weights = projections.map(|projection| projection.weight.tensor());
        let rows = x.dim(0)?;
        let tensor = |values: Vec<f32>| {
            let columns = values.len() / rows.max(1);
            Tensor::from_vec(values, (rows, columns), x.device())
        };
        let mut outs = Vec::with_capacity(N);
        for (values, projection) in multiply(x, weights)?.into_iter().zip(projections) {
            let mut out = tensor(values)?;
            if let Some(bias) = &projection.bias {
                out = ops::add_bias(&out, bias.tensor(), &self.sink)?;
            }
            if let Some(adapter) = &projection.adapter {
                let [low] = multiply(x, [adapter.a.tensor()])?;
                let low = (tensor(low)? * adapter.scale)?;
                let [high] = multiply(&low, [adapter.b.tensor()])?;
                out = ops::sum(&out, &tensor(high)?)?;
            }
            outs.push(out);
        }
        match outs.try_into() {
            Ok(outs) => Ok(outs),
            Err(_) => candle_core::bail!("a product is missing"),
        }
    }
}

/// Returns the products of `x`, `[rows, in]`, with weights `[out, in]`.
fn multiply<const N: usize>(
    x: &Tensor,
    weights: [&Tensor; N],
) -> candle_core::Result<[Vec<f32>; N]> {
    let (rows, inner) = x.dims2()?;
    if let Some(weight) = weights.iter().find(|weight| weight.dims().get(1) != Some(&inner)) {
        candle_core::bail!("product of {:?} by a weight of {:?}", x.dims(), weight.dims());
    }
    let mut outs = weights.map(|weight| vec![0f32; rows * weight.elem_count() / inner.max(1)]);
    let guards = weights.map(Tensor::storage_and_layout);
    let mut targets = Vec::with_capacity(N);
    for ((storage, layout), out) in guards.iter().zip(&mut outs) {
        let candle_core::Storage::Cpu(storage) = &**storage else {
            candle_core::bail!("a weight is not on the CPU");
        };
        targets.push(Target { weight: slice(storage, layout)?, out });
    }
    with_values(x, |x| {
        products(x, inner, targets);
        Ok(())
    })?;
    drop(guards);
    Ok(outs)
}

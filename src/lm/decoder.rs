//! The decoder: token ids in, hidden states and log-probabilities out.

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};

use super::accelerator::Accelerator;
use super::compute::{Compute, Pass};
use super::layer::{Keeping, Setting};
use super::ops::device::Operations;
use super::ops::{self, GradientSink};
use super::packed::{Packed, Unrolled};
use super::random::TensorRandom;
use super::weights::{Builder, Source, Weight, Weights};
use super::{DecoderConfig, LmError, LoraConfig, Training};

/// How a decoder computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Whether activations and products are bf16, on a device that has it. Trained weights and
    /// their gradients stay f32.
    pub bf16: bool,
    /// Whether a layer keeps only its input for the backward pass and computes the rest again.
    pub gradient_checkpointing: bool,
}

/// A decoder-only language model whose every trainable weight gets a gradient.
///
/// Numbers are f32 unless [`Decoder::working`] says otherwise. The same input gives the same bits.
pub struct Decoder {
    config: DecoderConfig,
    weights: Weights,
    lora: Option<LoraConfig>,
    /// Where the base weights came from, for the adapter's own description.
    base: Option<String>,
    device: Device,
    /// The kernels of the device, where it has some.
    accelerator: Option<Accelerator>,
    keeping: Keeping,
    pub(super) sink: GradientSink,
}

impl Decoder {
    /// Returns a decoder with random weights, all trainable: normal with deviation 0.02,
    /// projections that write to the residual stream scaled by 1 / sqrt(2 layers), norms one and
    /// biases zero (Radford et al. 2019).
    ///
    /// # Errors
    /// `Config` if the numbers of `config` do not fit together.
    pub fn random(config: &DecoderConfig, seed: u64, device: &Device) -> Result<Decoder, LmError> {
        Decoder::random_within(config, 0.02, seed, device)
    }

    /// As [`Decoder::random`] with another standard deviation of the weights. Decoders of little
    /// width learn to copy, which attention has to do, far sooner with 1 / sqrt(width).
    ///
    /// # Errors
    /// As [`Decoder::random`].
    pub fn random_within(
        config: &DecoderConfig,
        deviation: f64,
        seed: u64,
        device: &Device,
    ) -> Result<Decoder, LmError> {
        config.validate()?;
        let residual = 1.0 / (2.0 * config.n_layers as f64).sqrt();
        let mut source = |name: &str, shape: &[usize]| {
            let count = shape.iter().product();
            let values = if name.ends_with(".bias") {
                vec![0f32; count]
            } else if shape.len() == 1 {
                vec![1.0 - config.norm_offset(); count]
            } else {
                let writes = name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight");
                let deviation = if writes { deviation * residual } else { deviation };
                TensorRandom::new(seed, name).normal(count, deviation)
            };
            Ok(Tensor::from_vec(values, shape, device)?)
        };
        Decoder::build(config, &Training::Full, seed, device, None, &mut source)
    }

    /// Returns a decoder with the weights that `source` gives for each name and shape; adapters
    /// are random from `seed`.
    pub(super) fn build(
        config: &DecoderConfig,
        training: &Training,
        seed: u64,
        device: &Device,
        base: Option<String>,
        source: &mut Source<'_>,
    ) -> Result<Decoder, LmError> {
        let lora = match training {
            Training::Lora(lora) => {
                lora.validate()?;
                Some(lora.clone())
            }
            _ => None,
        };
        let accelerator = Accelerator::of(device)?;
        let weights = Builder { config, training, seed, device, source }.build()?;
        Ok(Decoder {
            config: config.clone(),
            weights,
            lora,
            base,
            device: device.clone(),
            accelerator,
            keeping: Keeping::default(),
            sink: GradientSink::default(),
        })
    }

    /// Returns a twin that shares the weights, trained ones included, and computes as asked.
    /// Frozen matrices are copied in bf16 where that is asked for.
    ///
    /// # Errors
    /// `Config` if the device has no bf16.
    pub fn working(&self, work: Work) -> Result<Decoder, LmError> {
        let dtype = if work.bf16 { DType::BF16 } else { DType::F32 };
        let accelerator = match &self.accelerator {
            Some(accelerator) => Some(accelerator.in_dtype(dtype)?),
            None if work.bf16 => {
                return Err(LmError::Config {
                    what: "bf16 is true and the model is on the CPU, which computes in f32"
                        .to_owned(),
                    expected: "bf16 = false, or a CUDA device".to_owned(),
                });
            }
            None => None,
        };
        let mut weights = self.weights.clone();
        if let Some(Accelerator { operations, .. }) = &accelerator {
            weights.map(|weight| match weight {
                Weight::Frozen(matrix) if matrix.rank() > 1 => {
                    operations.cast(matrix, dtype).map(Weight::Frozen)
                }
                other => Ok(other.clone()),
            })?;
        }
        let inputs_only = work.gradient_checkpointing;
        let keeping = Keeping { inputs_only, ..Keeping::default() };
        Ok(Decoder { accelerator, keeping, ..self.with_weights(weights) })
    }

    /// Returns a twin that shares the weights and computes with other operations on the same
    /// device.
    #[must_use]
    pub fn with_operations(&self, operations: Operations) -> Decoder {
        let accelerator = Some(Accelerator::new(operations));
        Decoder { accelerator, ..self.with_weights(self.weights.clone()) }
    }

    /// Returns the operations of the device, where it has kernels of its own.
    pub fn operations(&self) -> Option<&Operations> {
        self.accelerator.as_ref().map(|accelerator| &accelerator.operations)
    }

    /// Returns the bytes of activations that layers keep now for backward passes to come.
    pub fn kept_bytes(&self) -> usize {
        self.keeping.bytes.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Returns the shape of the decoder.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Returns the device that the weights are on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Returns the adapters' configuration, if adapters are trained.
    pub fn lora(&self) -> Option<&LoraConfig> {
        self.lora.as_ref()
    }

    /// Returns the decoder under another name of where its base weights came from, which an
    /// adapter's description gives.
    #[must_use]
    pub fn with_base(mut self, name: &str) -> Decoder {
        self.base = Some(name.to_owned());
        self
    }

    /// Returns where the base weights came from.
    pub(super) fn base(&self) -> Option<&str> {
        self.base.as_deref()
    }

    pub(super) fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Returns the state of every token after the last norm, `[tokens, hidden_size]`, in the
    /// numbers that the decoder computes in.
    ///
    /// # Errors
    /// `Batch` if lengths and tokens disagree, a sequence or branch is empty or longer than the
    /// context, a branch goes on from nothing, or a token is not in the vocabulary.
    pub fn hidden(&self, batch: &Packed) -> Result<Tensor, LmError> {
        if self.accelerator.is_none() && !ops::on_cpu(self.weights.embedding.tensor()) {
            return self.hidden_by_operations(batch);
        }
        batch.check(self.config.context_length, self.config.vocab_size)?;
        if self.accelerator.is_some() && !batch.branches.is_empty() {
            return self.hidden_unrolled(batch);
        }
        let setting = self.setting(batch)?;
        let mut x = self.embedded(batch, &setting)?;
        for layer in &self.weights.layers {
            x = layer.run(&x, &setting)?;
        }
        Ok(setting.last_norm(&x, &self.weights.norm)?)
    }

    /// Returns the states of a batch with branches on a device, whose attention knows none: each
    /// branch is computed behind a copy of its prefix.
    fn hidden_unrolled(&self, batch: &Packed) -> Result<Tensor, LmError> {
        let Unrolled { batch, rows } = batch.unrolled();
        let hidden = self.hidden(&batch)?;
        let rows = Tensor::from_slice(&rows, rows.len(), hidden.device())?;
        Ok(hidden.index_select(&rows, 0)?)
    }

    /// Returns the same as [`Decoder::hidden`] in f32 by one node of the graph for each operation,
    /// which is the way on devices without code of their own. `loss.backward()` works on it.
    ///
    /// # Errors
    /// As [`Decoder::hidden`].
    pub fn hidden_by_operations(&self, batch: &Packed) -> Result<Tensor, LmError> {
        batch.check(self.config.context_length, self.config.vocab_size)?;
        let host = (Compute::Host, None);
        let keeping = Keeping::default();
        let setting = Setting::new(&self.config, batch.spans(), &self.sink, host, keeping)?;
        let mut x = self.embedded(batch, &setting)?;
        for layer in &self.weights.layers {
            x = layer.by_operations(&x, &setting)?;
        }
        Ok(setting.norm(&x, self.weights.norm.tensor())?)
    }

    fn setting(&self, batch: &Packed) -> Result<Setting, LmError> {
        let accelerator = self.accelerator.as_ref();
        let compute = match accelerator {
            Some(accelerator) => accelerator.pass(&self.weights)?,
            None => Compute::Host,
        };
        let (keeping, means) = (self.keeping.clone(), (compute, accelerator));
        Ok(Setting::new(&self.config, batch.spans(), &self.sink, means, keeping)?)
    }

    /// Returns the embeddings of the tokens.
    fn embedded(&self, batch: &Packed, setting: &Setting) -> Result<Tensor, LmError> {
        let embedding = self.weights.embedding.tensor();
        let x = match &setting.compute {
            Compute::Host => ops::gather_rows(embedding, &batch.tokens, &self.sink)?,
            Compute::Device(Pass { operations, .. }) => {
                operations.gather_rows(embedding, &batch.tokens, &self.sink)?
            }
        };
        match self.config.embedding_scale() {
            Some(scale) => Ok((x * scale)?),
            None => Ok(x),
        }
    }

    /// Returns log p(targets[i] | the state in row rows[i] of `hidden`), `[rows.len()]` in f32.
    ///
    /// The logits are worked off in chunks, forward and backward: `[rows, vocabulary]` never exists
    /// whole on the CPU or on a device with kernels of its own.
    ///
    /// # Errors
    /// `Batch` if rows and targets differ in number, a row is not in `hidden` or a target not in
    /// the vocabulary.
    pub fn log_probs(
        &self,
        hidden: &Tensor,
        rows: &[u32],
        targets: &[u32],
    ) -> Result<Tensor, LmError> {
        let fail = |what: String, expected: String| Err(LmError::Batch { what, expected });
        let (count, vocabulary) = (hidden.dim(0)?, self.config.vocab_size);
        if rows.len() != targets.len() {
            return fail(
                format!("{} rows and {} targets", rows.len(), targets.len()),
                "one target for each row".to_owned(),
            );
        }
        if let Some(row) = rows.iter().find(|row| **row as usize >= count) {
            return fail(format!("row {row}"), format!("a row below {count}"));
        }
        if let Some(target) = targets.iter().find(|target| **target as usize >= vocabulary) {
            return fail(format!("target {target}"), format!("an id below {vocabulary}"));
        }
        let cap = self.config.logit_soft_cap;
        if let Some(Accelerator { operations, .. }) = &self.accelerator {
            let operations = &operations.in_dtype(hidden.dtype())?;
            let states = operations.gather_rows(hidden, rows, &self.sink)?;
            let head = self.head();
            let working = operations.cast(head, operations.dtype())?;
            return Ok(operations.log_probs(&states, head, working, targets, cap, &self.sink)?);
        }
        let states = ops::gather_rows(hidden, rows, &self.sink)?;
        Ok(ops::log_probs(&states, self.head(), targets, cap, &self.sink)?)
    }

    /// Returns the logits of every row of `hidden`, `[rows, vocabulary]` in f32.
    ///
    /// # Errors
    /// If the width of `hidden` is not the model's.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor, LmError> {
        let (hidden, head) = (hidden.to_dtype(DType::F32)?, self.head().to_dtype(DType::F32)?);
        let logits = ops::linear(&hidden, &head, &self.sink)?;
        Ok(match self.config.logit_soft_cap {
            Some(cap) => ops::composed::soft_cap(&logits, cap)?,
            None => logits,
        })
    }

    pub(super) fn head(&self) -> &Tensor {
        self.weights.head.as_ref().unwrap_or(&self.weights.embedding).tensor()
    }

    /// Returns the trainable variables by name, sorted: transformers' names, PEFT's for adapters.
    pub fn parameters(&self) -> Vec<(String, Var)> {
        let mut parameters = Vec::new();
        for (name, weight) in self.weights.base().into_iter().chain(self.weights.adapters()) {
            if let Weight::Trained(variable) = weight {
                parameters.push((name, variable.clone()));
            }
        }
        parameters.sort_by(|a, b| a.0.cmp(&b.0));
        parameters
    }

    /// Returns the gradients of `loss`, which was computed from [`Decoder::hidden`] of this
    /// decoder. It takes the place of `loss.backward()`, which is refused: weights have a way of
    /// their own into the store, without candle's passes over fresh memory. They are f32.
    ///
    /// # Errors
    /// Those of the operations.
    pub fn backward(&self, loss: &Tensor) -> Result<GradStore, LmError> {
        let weights: Vec<Tensor> = self
            .parameters()
            .into_iter()
            .map(|(_, variable)| variable.as_tensor().clone())
            .collect();
        Ok(self.sink.backward(loss, &weights)?)
    }

    /// Returns a twin whose results carry no gradient, for scoring and sampling.
    ///
    /// It shares the memory of this decoder: an update of a variable shows in it. For values that
    /// stay, see [`Decoder::snapshot`].
    #[must_use]
    pub fn detached(&self) -> Decoder {
        let mut weights = self.weights.clone();
        let shared =
            weights.map(|weight| Ok::<Weight, std::convert::Infallible>(weight.detached()));
        match shared {
            Ok(()) => self.with_weights(weights),
            Err(never) => match never {},
        }
    }

    /// Returns a twin without gradients that keeps the values of now in memory of its own; frozen
    /// weights are shared.
    ///
    /// # Errors
    /// If the device has no memory for the copy.
    pub fn snapshot(&self) -> Result<Decoder, LmError> {
        let mut weights = self.weights.clone();
        weights.map(|weight| match weight {
            Weight::Trained(variable) => variable.as_detached_tensor().copy().map(Weight::Frozen),
            Weight::Frozen(tensor) => Ok(Weight::Frozen(tensor.clone())),
        })?;
        Ok(self.with_weights(weights))
    }

    /// Returns a twin without gradients whose adapters are added to the weights; [`Decoder::save`]
    /// writes it as a whole model.
    ///
    /// # Errors
    /// If the device has no memory for the sums.
    pub fn merged(&self) -> Result<Decoder, LmError> {
        let mut weights = self.weights.clone();
        for layer in &mut weights.layers {
            for projection in layer.projections_mut() {
                *projection = projection.merged()?;
            }
        }
        let frozen = weights.map(|weight| Ok::<Weight, LmError>(weight.detached()));
        frozen.map(|()| Decoder { lora: None, ..self.with_weights(weights) })
    }

    fn with_weights(&self, weights: Weights) -> Decoder {
        Decoder {
            config: self.config.clone(),
            weights,
            lora: self.lora.clone(),
            base: self.base.clone(),
            device: self.device.clone(),
            accelerator: self.accelerator.clone(),
            keeping: self.keeping.clone(),
            sink: GradientSink::default(),
        }
    }
}

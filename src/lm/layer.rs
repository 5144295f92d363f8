//! One layer, forward and backward.
//!
//! ```text
//! x --+-- norm -- q, k, v -- rope -- attention -- o --(+)--+-- (middle)
//!     +------------------------------------------------+
//!
//! middle --+-- norm -- gate, up -- swiglu -- down --(+)-->
//!          +------------------------------------------+
//! ```
//!
//! There are two ways through it. [`Layer::by_operations`] makes one node of candle's graph for
//! each operation and runs on any device. On the CPU [`Layer::run`] makes a single node: it keeps
//! what the backward pass needs in a [`Tape`] and goes back through the layer by hand. candle
//! makes zeros and an addition for each of the twenty edges of a layer, and its addition of larger
//! tensors waits in a loop for a thread of its own, which costs more than the products where the
//! machine has other work. Gradients of weights go to the [`GradientSink`], so a layer run this
//! way needs [`super::Decoder::backward`]; candle's own `backward` is refused with an error.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Storage, Tensor, Var};

use super::DecoderConfig;
use super::ops::{self, GradientSink, Heads, Rotation};
use super::weights::{Layer, Projection, Weight};

/// What a layer needs beside its input and weights.
#[derive(Clone)]
pub(super) struct Setting {
    pub(super) heads: Heads,
    pub(super) epsilon: f64,
    pub(super) rotation: Rotation,
    pub(super) lengths: Vec<usize>,
    pub(super) sink: GradientSink,
    /// An input of every node, so that candle visits it even if nothing before it is trained.
    pub(super) anchor: Var,
}

impl Setting {
    /// Returns the setting for sequences of the given lengths.
    pub(super) fn new(
        config: &DecoderConfig,
        lengths: &[usize],
        sink: &GradientSink,
    ) -> Result<Setting> {
        Ok(Setting {
            heads: Heads {
                queries: config.n_heads,
                keys: config.n_kv_heads,
                width: config.head_dim,
            },
            epsilon: config.rms_norm_eps,
            rotation: Rotation::new(lengths, config.head_dim, config.rope_theta),
            lengths: lengths.to_vec(),
            sink: sink.clone(),
            anchor: Var::from_vec(vec![0f32], 1, &candle_core::Device::Cpu)?,
        })
    }
}

/// The product with a projection, and what its backward pass needs.
struct Applied {
    out: Tensor,
    /// (alpha / r) x A^T, where there is an adapter.
    low: Option<Tensor>,
}

impl Projection {
    fn is_trained(&self) -> bool {
        self.weight.is_trained() || self.adapter.is_some()
    }

    /// Returns the product with `x` without a graph.
    fn run(&self, x: &Tensor, sink: &GradientSink) -> Result<Applied> {
        let out = ops::linear(x, &self.weight.tensor().detach(), sink)?;
        let Some(adapter) = &self.adapter else { return Ok(Applied { out, low: None }) };
        let low = (ops::linear(x, &adapter.a.tensor().detach(), sink)? * adapter.scale)?;
        let high = ops::linear(&low, &adapter.b.tensor().detach(), sink)?;
        Ok(Applied { out: ops::sum(&out, &high)?, low: Some(low) })
    }

    /// Gives the gradients of the weights to the sink and returns that of `x`, if it is wanted.
    fn backward(
        &self,
        x: &Tensor,
        low: Option<&Tensor>,
        grad: &Tensor,
        want_x: bool,
        sink: &GradientSink,
    ) -> Result<Option<Tensor>> {
        collect(&self.weight, grad, x, sink)?;
        let adapted = match (&self.adapter, low) {
            (Some(adapter), Some(low)) => {
                collect(&adapter.b, grad, low, sink)?;
                let d_low = (ops::input_gradient(grad, adapter.b.tensor())? * adapter.scale)?;
                collect(&adapter.a, &d_low, x, sink)?;
                Some((d_low, adapter.a.tensor()))
            }
            _ => None,
        };
        if !want_x {
            return Ok(None);
        }
        let dx = ops::input_gradient(grad, self.weight.tensor())?;
        match adapted {
            Some((d_low, a)) => ops::sum(&dx, &ops::input_gradient(&d_low, a)?).map(Some),
            None => Ok(Some(dx)),
        }
    }
}

/// Gives grad^T x, the gradient of a weight, to the sink if the weight is trained.
fn collect(weight: &Weight, grad: &Tensor, x: &Tensor, sink: &GradientSink) -> Result<()> {
    if weight.is_trained() {
        sink.take(weight.tensor(), ops::weight_gradient(grad, x)?);
    }
    Ok(())
}

/// What the backward pass of a layer needs.
struct Tape {
    x: Tensor,
    normed: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mixed: Tensor,
    middle: Tensor,
    middle_normed: Tensor,
    gate: Tensor,
    up: Tensor,
    activated: Tensor,
    /// The adapters' inner values in the order q, k, v, o, gate, up, down.
    low: [Option<Tensor>; 7],
}

impl Layer {
    /// Returns the residual stream after the layer, one node of the graph for each operation.
    pub(super) fn by_operations(&self, x: &Tensor, setting: &Setting) -> Result<Tensor> {
        let Setting { heads, epsilon, rotation, lengths, sink, .. } = setting;
        let normed = ops::rms_norm(x, self.input_norm.tensor(), *epsilon)?;
        let query = ops::rope(&self.query.apply(&normed, sink)?, rotation)?;
        let key = ops::rope(&self.key.apply(&normed, sink)?, rotation)?;
        let value = self.value.apply(&normed, sink)?;
        let mixed = ops::attention(&query, &key, &value, lengths, *heads)?;
        let x = (x + self.output.apply(&mixed, sink)?)?;
        let normed = ops::rms_norm(&x, self.post_attention_norm.tensor(), *epsilon)?;
        let gate = self.gate.apply(&normed, sink)?;
        let up = self.up.apply(&normed, sink)?;
        let activated = ops::swiglu(&gate, &up)?;
        &x + self.down.apply(&activated, sink)?
    }

    /// Returns the residual stream after the layer on the CPU, a single node of the graph, or none
    /// if nothing is trained here or before.
    pub(super) fn run(&self, x: &Tensor, setting: &Setting) -> Result<Tensor> {
        let (out, tape) = self.forward(&x.detach(), setting)?;
        if !x.track_op() && !self.is_trained() {
            return Ok(out);
        }
        let node = Node { layer: self.clone(), setting: setting.clone(), tape, out };
        x.apply_op2(setting.anchor.as_tensor(), node)
    }

    fn is_trained(&self) -> bool {
        self.input_norm.is_trained()
            || self.post_attention_norm.is_trained()
            || self.projections().iter().any(|projection| projection.is_trained())
    }

    fn forward(&self, x: &Tensor, setting: &Setting) -> Result<(Tensor, Tape)> {
        let Setting { heads, epsilon, rotation, lengths, sink, .. } = setting;
        let normed = ops::rms_norm(x, &self.input_norm.tensor().detach(), *epsilon)?;
        let (query, key) = (self.query.run(&normed, sink)?, self.key.run(&normed, sink)?);
        let value = self.value.run(&normed, sink)?;
        let rotated_query = ops::rope(&query.out, rotation)?;
        let rotated_key = ops::rope(&key.out, rotation)?;
        let mixed = ops::attention(&rotated_query, &rotated_key, &value.out, lengths, *heads)?;
        let output = self.output.run(&mixed, sink)?;
        let middle = ops::sum(x, &output.out)?;
        let norm = self.post_attention_norm.tensor().detach();
        let middle_normed = ops::rms_norm(&middle, &norm, *epsilon)?;
        let gate = self.gate.run(&middle_normed, sink)?;
        let up = self.up.run(&middle_normed, sink)?;
        let activated = ops::swiglu(&gate.out, &up.out)?;
        let down = self.down.run(&activated, sink)?;
        let out = ops::sum(&middle, &down.out)?;
        let tape = Tape {
            x: x.clone(),
            normed,
            query: rotated_query,
            key: rotated_key,
            value: value.out,
            mixed,
            middle,
            middle_normed,
            gate: gate.out,
            up: up.out,
            activated,
            low: [query.low, key.low, value.low, output.low, gate.low, up.low, down.low],
        };
        Ok((out, tape))
    }
}

/// A layer in the graph.
struct Node {
    layer: Layer,
    setting: Setting,
    tape: Tape,
    out: Tensor,
}

impl Node {
    /// Returns the gradient of the layer's input, if it is wanted.
    fn backward(&self, grad: &Tensor, want_x: bool) -> Result<Option<Tensor>> {
        let middle = self.backward_feed_forward(grad)?;
        self.backward_attention(&middle, want_x)
    }

    /// Returns the gradient of the stream between attention and feed-forward.
    fn backward_feed_forward(&self, grad: &Tensor) -> Result<Tensor> {
        let Node { layer, tape, .. } = self;
        let low = |at: usize| tape.low[at].as_ref();
        let d_activated = self.through(&layer.down, &tape.activated, low(6), grad)?;
        let (d_gate, d_up) = ops::swiglu_backward(&tape.gate, &tape.up, &d_activated)?;
        let d_normed = ops::sum(
            &self.through(&layer.gate, &tape.middle_normed, low(4), &d_gate)?,
            &self.through(&layer.up, &tape.middle_normed, low(5), &d_up)?,
        )?;
        let d_stream = self.through_norm(&layer.post_attention_norm, &tape.middle, &d_normed)?;
        ops::sum(grad, &d_stream)
    }

    /// Returns the gradient of the layer's input from that of the stream after attention.
    fn backward_attention(&self, grad: &Tensor, want_x: bool) -> Result<Option<Tensor>> {
        let Node { layer, setting, tape, .. } = self;
        let low = |at: usize| tape.low[at].as_ref();
        let d_mixed = self.through(&layer.output, &tape.mixed, low(3), grad)?;
        let inputs = [&tape.query, &tape.key, &tape.value];
        let [d_query, d_key, d_value] =
            ops::attention_backward(inputs, &setting.lengths, setting.heads, &d_mixed)?;
        let d_query = ops::rope_backward(&setting.rotation, &d_query)?;
        let d_key = ops::rope_backward(&setting.rotation, &d_key)?;
        // Nothing needs the gradient of the normed input if neither the norm nor x does.
        let want_normed = want_x || layer.input_norm.is_trained();
        let mut d_normed: Option<Tensor> = None;
        for (projection, number, grad) in
            [(&layer.query, 0, &d_query), (&layer.key, 1, &d_key), (&layer.value, 2, &d_value)]
        {
            let part =
                projection.backward(&tape.normed, low(number), grad, want_normed, &setting.sink)?;
            d_normed = match (d_normed, part) {
                (Some(sum), Some(part)) => Some(ops::sum(&sum, &part)?),
                (sum, part) => sum.or(part),
            };
        }
        let Some(d_normed) = d_normed else { return Ok(None) };
        let d_stream = self.through_norm(&layer.input_norm, &tape.x, &d_normed)?;
        ops::sum(grad, &d_stream).map(Some)
    }

    /// Goes back through a projection whose input's gradient is wanted.
    fn through(
        &self,
        projection: &Projection,
        x: &Tensor,
        low: Option<&Tensor>,
        grad: &Tensor,
    ) -> Result<Tensor> {
        match projection.backward(x, low, grad, true, &self.setting.sink)? {
            Some(dx) => Ok(dx),
            None => candle_core::bail!("a wanted gradient was not computed"),
        }
    }

    /// Goes back through a norm.
    fn through_norm(&self, weight: &Weight, x: &Tensor, grad: &Tensor) -> Result<Tensor> {
        let want = [true, weight.is_trained()];
        let (dx, dw) =
            ops::rms_norm_backward(x, weight.tensor(), self.setting.epsilon, grad, want)?;
        if let Some(dw) = dw {
            self.setting.sink.take(weight.tensor(), dw.to_vec1()?);
        }
        match dx {
            Some(dx) => Ok(dx),
            None => candle_core::bail!("a wanted gradient was not computed"),
        }
    }
}

impl CustomOp2 for Node {
    fn name(&self) -> &'static str {
        "layer"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (storage, layout) = self.out.storage_and_layout();
        match &*storage {
            Storage::Cpu(storage) => Ok((storage.clone(), layout.shape().clone())),
            _ => candle_core::bail!("a layer of the CPU was given a tensor elsewhere"),
        }
    }

    fn bwd(
        &self,
        x: &Tensor,
        _: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        if !self.setting.sink.is_collecting() {
            candle_core::bail!(
                "the gradients of a decoder are computed by Decoder::backward(&loss), not by \
                 loss.backward()"
            );
        }
        Ok((self.backward(&grad.contiguous()?, x.track_op())?, None))
    }
}

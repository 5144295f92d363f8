//! One layer, forward and backward.
//!
//! ```text
//! x --+-- norm -- q, k, v -- [norm of heads] -- rope -- attention -- o -- [norm] --(+)-- (middle)
//!     +----------------------------------------------------------------------------+
//!
//! middle --+-- norm -- gate, up -- gated -- down -- [norm] --(+)-->
//!          +--------------------------------------------------+
//! ```
//!
//! What stands in brackets is there where the weights have it. Layers with a window have rotary
//! angles of their own ([`Positions`]).
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
use super::ops::{self, Activation, AttentionForm, Frequencies, GradientSink, Heads, Rotation};
use super::weights::{Layer, Projection, Weight};

/// What a layer needs beside its input and weights.
#[derive(Clone)]
pub(super) struct Setting {
    /// Of the layers that see everything.
    whole: Positions,
    /// Of the layers with a window.
    sliding: Positions,
    /// The norms' epsilon, and what they add to their weights.
    norm: (f64, f32),
    activation: Activation,
    pub(super) lengths: Vec<usize>,
    pub(super) sink: GradientSink,
    /// An input of every node, so that candle visits it even if nothing before it is trained.
    pub(super) anchor: Var,
}

/// What a token sees, and how positions turn features.
#[derive(Clone)]
struct Positions {
    form: AttentionForm,
    rotation: Rotation,
}

impl Setting {
    /// Returns the setting for sequences of the given lengths.
    pub(super) fn new(
        config: &DecoderConfig,
        lengths: &[usize],
        sink: &GradientSink,
    ) -> Result<Setting> {
        let heads =
            Heads { queries: config.n_heads, keys: config.n_kv_heads, width: config.head_dim };
        let form = AttentionForm {
            heads,
            scale: config.attention_scale(),
            window: None,
            soft_cap: config.attention_soft_cap,
        };
        let frequencies = config.rope_scaling.frequencies(config.head_dim, config.rope_theta);
        let rotation = Rotation::new(lengths, &frequencies);
        let local = match config.rope_local_theta {
            Some(theta) => Rotation::new(lengths, &Frequencies::plain(config.head_dim, theta)),
            None => rotation.clone(),
        };
        let window = config.sliding_window;
        Ok(Setting {
            whole: Positions { form, rotation },
            sliding: Positions { form: AttentionForm { window, ..form }, rotation: local },
            norm: (config.rms_norm_eps, config.norm_offset()),
            activation: config.activation,
            lengths: lengths.to_vec(),
            sink: sink.clone(),
            anchor: Var::from_vec(vec![0f32], 1, &candle_core::Device::Cpu)?,
        })
    }

    fn positions(&self, layer: &Layer) -> &Positions {
        if layer.sliding { &self.sliding } else { &self.whole }
    }

    /// Returns `x` normed by a weight as wide as its rows.
    pub(super) fn norm(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        ops::rms_norm(x, weight, self.norm.0, self.norm.1)
    }

    /// Returns `x`, `[tokens, heads * width]`, with every head normed by a weight of its width.
    fn norm_heads(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        self.norm(&by_heads(x, weight)?, weight)?.reshape(x.shape())
    }
}

/// Returns `x` with a row for each head: `[tokens * heads, width]`.
fn by_heads(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let width = weight.elem_count();
    x.contiguous()?.reshape((x.elem_count() / width.max(1), width))
}

/// The product with a projection, and what its backward pass needs.
struct Applied {
    out: Tensor,
    /// (alpha / r) x A^T, where there is an adapter.
    low: Option<Tensor>,
}

impl Projection {
    fn is_trained(&self) -> bool {
        let adapter = self.adapter.as_ref();
        // A detached decoder has adapters too, which are not trained.
        self.weight.is_trained()
            || self.bias.as_ref().is_some_and(Weight::is_trained)
            || adapter.is_some_and(|a| a.a.is_trained() || a.b.is_trained())
    }

    /// Returns the product with `x` without a graph.
    fn run(&self, x: &Tensor, sink: &GradientSink) -> Result<Applied> {
        let mut out = ops::linear(x, &self.weight.tensor().detach(), sink)?;
        if let Some(bias) = &self.bias {
            out = ops::add_bias(&out, &bias.tensor().detach(), sink)?;
        }
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
        if let Some(bias) = self.bias.as_ref().filter(|bias| bias.is_trained()) {
            sink.take(bias.tensor(), ops::column_sums(grad)?);
        }
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
    /// Queries and keys before their norm, where there is one.
    bare: Option<[Tensor; 2]>,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mixed: Tensor,
    /// What attention wrote, before its norm, where there is one.
    attended: Option<Tensor>,
    middle: Tensor,
    middle_normed: Tensor,
    gate: Tensor,
    up: Tensor,
    activated: Tensor,
    /// What the feed-forward part wrote, before its norm, where there is one.
    fed: Option<Tensor>,
    /// The adapters' inner values in the order q, k, v, o, gate, up, down.
    low: [Option<Tensor>; 7],
}

impl Layer {
    /// Returns the residual stream after the layer, one node of the graph for each operation.
    pub(super) fn by_operations(&self, x: &Tensor, setting: &Setting) -> Result<Tensor> {
        let Setting { lengths, sink, activation, .. } = setting;
        let Positions { form, rotation } = setting.positions(self);
        let normed = setting.norm(x, self.input_norm.tensor())?;
        let mut query = self.query.apply(&normed, sink)?;
        let mut key = self.key.apply(&normed, sink)?;
        if let Some(norms) = &self.head_norms {
            query = setting.norm_heads(&query, norms.query.tensor())?;
            key = setting.norm_heads(&key, norms.key.tensor())?;
        }
        let (query, key) = (ops::rope(&query, rotation)?, ops::rope(&key, rotation)?);
        let value = self.value.apply(&normed, sink)?;
        let mixed = ops::attention(&query, &key, &value, lengths, *form)?;
        let mut attended = self.output.apply(&mixed, sink)?;
        if let Some(norms) = &self.branch_norms {
            attended = setting.norm(&attended, norms.attention.tensor())?;
        }
        let x = (x + attended)?;
        let normed = setting.norm(&x, self.middle_norm.tensor())?;
        let gate = self.gate.apply(&normed, sink)?;
        let up = self.up.apply(&normed, sink)?;
        let mut fed = self.down.apply(&ops::gated(&gate, &up, *activation)?, sink)?;
        if let Some(norms) = &self.branch_norms {
            fed = setting.norm(&fed, norms.feed_forward.tensor())?;
        }
        &x + fed
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
        self.norms().iter().any(|(_, norm)| norm.is_trained())
            || self.projections().iter().any(|projection| projection.is_trained())
    }

    fn forward(&self, x: &Tensor, setting: &Setting) -> Result<(Tensor, Tape)> {
        let Setting { lengths, sink, activation, .. } = setting;
        let Positions { form, rotation } = setting.positions(self);
        let normed = setting.norm(x, &self.input_norm.tensor().detach())?;
        let (query, key) = (self.query.run(&normed, sink)?, self.key.run(&normed, sink)?);
        let value = self.value.run(&normed, sink)?;
        let (bare, [query_out, key_out]) = match &self.head_norms {
            None => (None, [query.out, key.out]),
            Some(norms) => {
                let normed = [
                    setting.norm_heads(&query.out, &norms.query.tensor().detach())?,
                    setting.norm_heads(&key.out, &norms.key.tensor().detach())?,
                ];
                (Some([query.out, key.out]), normed)
            }
        };
        let rotated_query = ops::rope(&query_out, rotation)?;
        let rotated_key = ops::rope(&key_out, rotation)?;
        let mixed = ops::attention(&rotated_query, &rotated_key, &value.out, lengths, *form)?;
        let output = self.output.run(&mixed, sink)?;
        let branches = self.branch_norms.as_ref();
        let (attended, written) =
            branch(setting, branches.map(|norms| &norms.attention), output.out)?;
        let middle = ops::sum(x, &written)?;
        let middle_normed = setting.norm(&middle, &self.middle_norm.tensor().detach())?;
        let gate = self.gate.run(&middle_normed, sink)?;
        let up = self.up.run(&middle_normed, sink)?;
        let activated = ops::gated(&gate.out, &up.out, *activation)?;
        let down = self.down.run(&activated, sink)?;
        let (fed, written) = branch(setting, branches.map(|norms| &norms.feed_forward), down.out)?;
        let out = ops::sum(&middle, &written)?;
        let tape = Tape {
            x: x.clone(),
            normed,
            bare,
            query: rotated_query,
            key: rotated_key,
            value: value.out,
            mixed,
            attended,
            middle,
            middle_normed,
            gate: gate.out,
            up: up.out,
            activated,
            fed,
            low: [query.low, key.low, value.low, output.low, gate.low, up.low, down.low],
        };
        Ok((out, tape))
    }
}

/// Returns what a branch writes to the stream, and what it was before its norm, if it has one.
fn branch(
    setting: &Setting,
    norm: Option<&Weight>,
    out: Tensor,
) -> Result<(Option<Tensor>, Tensor)> {
    match norm {
        None => Ok((None, out)),
        Some(weight) => {
            let normed = setting.norm(&out, &weight.tensor().detach())?;
            Ok((Some(out), normed))
        }
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
        let norm = layer.branch_norms.as_ref().map(|norms| &norms.feed_forward);
        let d_fed = self.through_branch(norm, tape.fed.as_ref(), grad)?;
        let d_activated = self.through(&layer.down, &tape.activated, low(6), &d_fed)?;
        let activation = self.setting.activation;
        let (d_gate, d_up) = ops::gated_backward(&tape.gate, &tape.up, activation, &d_activated)?;
        let d_normed = ops::sum(
            &self.through(&layer.gate, &tape.middle_normed, low(4), &d_gate)?,
            &self.through(&layer.up, &tape.middle_normed, low(5), &d_up)?,
        )?;
        let d_stream = self.through_norm(&layer.middle_norm, &tape.middle, &d_normed)?;
        ops::sum(grad, &d_stream)
    }

    /// Returns the gradient of the layer's input from that of the stream after attention.
    fn backward_attention(&self, grad: &Tensor, want_x: bool) -> Result<Option<Tensor>> {
        let Node { layer, setting, tape, .. } = self;
        let low = |at: usize| tape.low[at].as_ref();
        let Positions { form, rotation } = setting.positions(layer);
        let norm = layer.branch_norms.as_ref().map(|norms| &norms.attention);
        let d_attended = self.through_branch(norm, tape.attended.as_ref(), grad)?;
        let d_mixed = self.through(&layer.output, &tape.mixed, low(3), &d_attended)?;
        let inputs = [&tape.query, &tape.key, &tape.value];
        let [d_query, d_key, d_value] =
            ops::attention_backward(inputs, &setting.lengths, *form, &d_mixed)?;
        let mut d_query = ops::rope_backward(rotation, &d_query)?;
        let mut d_key = ops::rope_backward(rotation, &d_key)?;
        if let (Some(norms), Some([query, key])) = (&layer.head_norms, &tape.bare) {
            d_query = self.through_head_norm(&norms.query, query, &d_query)?;
            d_key = self.through_head_norm(&norms.key, key, &d_key)?;
        }
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

    /// Goes back through the norm of a branch, where there is one.
    fn through_branch(
        &self,
        norm: Option<&Weight>,
        x: Option<&Tensor>,
        grad: &Tensor,
    ) -> Result<Tensor> {
        match (norm, x) {
            (Some(norm), Some(x)) => self.through_norm(norm, x, grad),
            _ => Ok(grad.clone()),
        }
    }

    /// Goes back through the norm of every head.
    fn through_head_norm(&self, weight: &Weight, x: &Tensor, grad: &Tensor) -> Result<Tensor> {
        let (x, grad_by_heads) = (by_heads(x, weight.tensor())?, by_heads(grad, weight.tensor())?);
        self.through_norm(weight, &x, &grad_by_heads)?.reshape(grad.shape())
    }

    /// Goes back through a norm.
    fn through_norm(&self, weight: &Weight, x: &Tensor, grad: &Tensor) -> Result<Tensor> {
        let want = [true, weight.is_trained()];
        let (dx, dw) = ops::rms_norm_backward(x, weight.tensor(), self.setting.norm, grad, want)?;
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

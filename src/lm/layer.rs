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
//! each operation and runs on any device. [`Layer::run`] makes a single node: it keeps what the
//! backward pass needs in a [`Tape`] and goes back through the layer by hand, on the CPU or on a
//! device with kernels of its own ([`Compute`]). candle makes zeros and an addition for each of the
//! twenty edges of a layer, and its addition of larger tensors waits in a loop for a thread of its
//! own, which costs more than the products where the machine has other work. Gradients of weights
//! go to the [`GradientSink`], so a layer run this way needs [`super::Decoder::backward`]; candle's
//! own `backward` is refused with an error.
//!
//! With gradient checkpointing (Chen et al. 2016) the node keeps the layer's input only, and runs
//! the layer forward again when the backward pass comes to it: the same numbers, for a third more
//! work.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{Result, Tensor, Var};

use super::DecoderConfig;
use super::accelerator::Accelerator;
use super::compute::{Attended, Compute, Positions, Turn};
use super::ops::Rotation;
use super::ops::{
    self, Activation, AttentionForm, Backward, Frequencies, GradientSink, Heads, Span,
};
use super::weights::{Layer, Projection, Weight};

/// What a layer needs beside its input and weights.
#[derive(Clone)]
pub(super) struct Setting {
    pub(super) compute: Compute,
    /// Of the layers that see everything.
    whole: Positions,
    /// Of the layers with a window.
    sliding: Positions,
    /// The norms' epsilon, and what they add to their weights.
    norm: (f64, f32),
    activation: Activation,
    pub(super) spans: Arc<[Span]>,
    pub(super) sink: GradientSink,
    /// An input of every node, so that candle visits it even if nothing before it is trained.
    pub(super) anchor: Var,
    pub(super) keeping: Keeping,
}

/// What nodes keep for the backward pass.
#[derive(Clone, Default)]
pub(super) struct Keeping {
    /// Whether a layer's input only.
    pub(super) inputs_only: bool,
    /// Bytes that nodes keep now.
    pub(super) bytes: Arc<AtomicUsize>,
}

impl Setting {
    /// Returns the setting for sequences that lie in `spans`, on the device of `accelerator` or on
    /// the CPU.
    pub(super) fn new(
        config: &DecoderConfig,
        spans: Vec<Span>,
        sink: &GradientSink,
        (compute, accelerator): (Compute, Option<&Accelerator>),
        keeping: Keeping,
    ) -> Result<Setting> {
        let heads =
            Heads { queries: config.n_heads, keys: config.n_kv_heads, width: config.head_dim };
        let form = AttentionForm {
            heads,
            scale: config.attention_scale(),
            window: None,
            soft_cap: config.attention_soft_cap,
        };
        let turn = |frequencies: &Frequencies| match accelerator {
            Some(accelerator) => accelerator.turn(&spans, frequencies),
            None => Ok(Turn::Host(Rotation::of_spans(&spans, frequencies))),
        };
        let whole = turn(&config.rope_scaling.frequencies(config.head_dim, config.rope_theta))?;
        let local = match config.rope_local_theta {
            Some(theta) => turn(&Frequencies::plain(config.head_dim, theta))?,
            None => whole.clone(),
        };
        let device = match &compute {
            Compute::Host => &candle_core::Device::Cpu,
            Compute::Device(pass) => pass.operations.device(),
        };
        let window = config.sliding_window;
        Ok(Setting {
            whole: Positions { form, turn: whole },
            sliding: Positions { form: AttentionForm { window, ..form }, turn: local },
            norm: (config.rms_norm_eps, config.norm_offset()),
            activation: config.activation,
            spans: spans.into(),
            sink: sink.clone(),
            anchor: Var::from_vec(vec![0f32], 1, device)?,
            keeping,
            compute,
        })
    }

    fn positions(&self, layer: &Layer) -> &Positions {
        if layer.sliding { &self.sliding } else { &self.whole }
    }

    /// Returns the rows of `x` normed, in the graph.
    pub(super) fn last_norm(&self, x: &Tensor, weight: &Weight) -> Result<Tensor> {
        if let Compute::Host = self.compute {
            return self.norm(x, weight.tensor());
        }
        let out = self.compute.norm(&x.detach(), weight, self.norm)?;
        let (setting, weight) = (self.clone(), weight.clone());
        let trains = weight.is_trained();
        let body = LastNorm { setting, x: x.detach(), weight };
        ops::attach(x, &self.anchor, out, trains, body)
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

/// The last norm on a device.
struct LastNorm {
    setting: Setting,
    x: Tensor,
    weight: Weight,
}

impl Backward for LastNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn sink(&self) -> &GradientSink {
        &self.setting.sink
    }

    fn backward(&self, grad: &Tensor, _: bool) -> Result<Option<Tensor>> {
        let Setting { compute, norm, sink, .. } = &self.setting;
        compute.norm_backward(&self.x, &self.weight, *norm, grad, None, sink).map(Some)
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
    fn run(&self, x: &Tensor, compute: &Compute) -> Result<Applied> {
        let mut out = compute.linear(x, &self.weight)?;
        if let Some(bias) = &self.bias {
            out = compute.add_bias(out, bias)?;
        }
        let Some(adapter) = &self.adapter else { return Ok(Applied { out, low: None }) };
        let low = (compute.linear(x, &adapter.a)? * adapter.scale)?;
        let high = compute.linear(&low, &adapter.b)?;
        Ok(Applied { out: compute.sum(&out, &high)?, low: Some(low) })
    }

    /// Gives the gradients of the weights to the sink and returns that of `x`, added to `sum` if
    /// there is one; nothing if it is not wanted.
    fn backward(
        &self,
        (x, low): (&Tensor, Option<&Tensor>),
        grad: &Tensor,
        want_x: bool,
        sum: Option<Tensor>,
        setting: &Setting,
    ) -> Result<Option<Tensor>> {
        let Setting { compute, sink, .. } = setting;
        compute.collect(&self.weight, grad, x, sink)?;
        if let Some(bias) = &self.bias {
            compute.collect_bias(bias, grad, sink)?;
        }
        let adapted = match (&self.adapter, low) {
            (Some(adapter), Some(low)) => {
                compute.collect(&adapter.b, grad, low, sink)?;
                let d_low = (compute.input_gradient(&[(grad, &adapter.b)], None)? * adapter.scale)?;
                compute.collect(&adapter.a, &d_low, x, sink)?;
                Some((d_low, &adapter.a))
            }
            _ => None,
        };
        if !want_x {
            return Ok(None);
        }
        let mut parts = vec![(grad, &self.weight)];
        if let Some((d_low, a)) = &adapted {
            parts.push((d_low, a));
        }
        compute.input_gradient(&parts, sum).map(Some)
    }
}

/// What the backward pass of a layer needs.
struct Tape {
    x: Tensor,
    normed: Tensor,
    /// Queries and keys before their norm, where there is one.
    bare: Option<[Tensor; 2]>,
    attention: Attended,
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
        let Setting { spans, sink, activation, .. } = setting;
        let positions = setting.positions(self);
        let (form, rotation) = (&positions.form, positions.rotation()?);
        let normed = setting.norm(x, self.input_norm.tensor())?;
        let mut query = self.query.apply(&normed, sink)?;
        let mut key = self.key.apply(&normed, sink)?;
        if let Some(norms) = &self.head_norms {
            query = setting.norm_heads(&query, norms.query.tensor())?;
            key = setting.norm_heads(&key, norms.key.tensor())?;
        }
        let (query, key) = (ops::rope(&query, rotation)?, ops::rope(&key, rotation)?);
        let value = self.value.apply(&normed, sink)?;
        let mixed = ops::attention_of_spans(&query, &key, &value, spans, *form)?;
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

    /// Returns the residual stream after the layer, a single node of the graph, or none if nothing
    /// is trained here or before.
    pub(super) fn run(&self, x: &Tensor, setting: &Setting) -> Result<Tensor> {
        let (out, tape) = self.forward(&x.detach(), setting)?;
        let kept = match setting.keeping.inputs_only {
            true => Kept::Input(x.detach()),
            false => Kept::Tape(Box::new(tape)),
        };
        let trains = self.is_trained();
        let bytes = Bytes::new(kept.bytes(), &setting.keeping.bytes);
        let node = Node { layer: self.clone(), setting: setting.clone(), kept, _bytes: bytes };
        ops::attach(x, &setting.anchor, out, trains, node)
    }

    fn is_trained(&self) -> bool {
        self.norms().iter().any(|(_, norm)| norm.is_trained())
            || self.projections().iter().any(|projection| projection.is_trained())
    }

    fn forward(&self, x: &Tensor, setting: &Setting) -> Result<(Tensor, Tape)> {
        let Setting { compute, spans, activation, norm, .. } = setting;
        let normed = compute.norm(x, &self.input_norm, *norm)?;
        let (query, key) = (self.query.run(&normed, compute)?, self.key.run(&normed, compute)?);
        let value = self.value.run(&normed, compute)?;
        let (bare, [query_out, key_out]) = match &self.head_norms {
            None => (None, [query.out, key.out]),
            Some(norms) => {
                let normed = [
                    setting.run_head_norm(&query.out, &norms.query)?,
                    setting.run_head_norm(&key.out, &norms.key)?,
                ];
                (Some([query.out, key.out]), normed)
            }
        };
        let inputs = [query_out, key_out, value.out];
        let attention = compute.attention(inputs, spans, setting.positions(self))?;
        let output = self.output.run(&attention.mixed, compute)?;
        let branches = self.branch_norms.as_ref();
        let (attended, written) =
            branch(setting, branches.map(|norms| &norms.attention), output.out)?;
        let (middle, middle_normed) =
            compute.sum_and_norm(x, &written, &self.middle_norm, *norm)?;
        let gate = self.gate.run(&middle_normed, compute)?;
        let up = self.up.run(&middle_normed, compute)?;
        let activated = compute.gated(&gate.out, &up.out, *activation)?;
        let down = self.down.run(&activated, compute)?;
        let (fed, written) = branch(setting, branches.map(|norms| &norms.feed_forward), down.out)?;
        let out = compute.sum(&middle, &written)?;
        let tape = Tape {
            x: x.clone(),
            normed,
            bare,
            attention,
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

impl Tape {
    /// Returns the memory of what is kept.
    fn bytes(&self) -> usize {
        let Tape { x, normed, middle, middle_normed, .. } = self;
        let Attended { query, key, value, mixed, normalizers } = &self.attention;
        let all = [x, normed, query, key, value, mixed, middle, middle_normed];
        let all = all.into_iter().chain([&self.gate, &self.up, &self.activated]);
        let some = self.bare.iter().flatten().chain(&self.attended).chain(&self.fed);
        all.chain(some).chain(normalizers).chain(self.low.iter().flatten()).map(bytes_of).sum()
    }
}

/// Returns the memory of a tensor's numbers.
fn bytes_of(x: &Tensor) -> usize {
    x.elem_count() * x.dtype().size_in_bytes()
}

impl Setting {
    /// Returns `x` with every head normed, without a graph.
    fn run_head_norm(&self, x: &Tensor, weight: &Weight) -> Result<Tensor> {
        let by_heads = by_heads(x, weight.tensor())?;
        self.compute.norm(&by_heads, weight, self.norm)?.reshape(x.shape())
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
            let normed = setting.compute.norm(&out, weight, setting.norm)?;
            Ok((Some(out), normed))
        }
    }
}

/// What a node keeps of the forward pass.
enum Kept {
    Input(Tensor),
    Tape(Box<Tape>),
}

impl Kept {
    fn bytes(&self) -> usize {
        match self {
            Kept::Input(x) => bytes_of(x),
            Kept::Tape(tape) => tape.bytes(),
        }
    }
}

/// Bytes that are counted for as long as they are kept.
struct Bytes {
    count: usize,
    all: Arc<AtomicUsize>,
}

impl Bytes {
    fn new(count: usize, all: &Arc<AtomicUsize>) -> Bytes {
        all.fetch_add(count, Ordering::Relaxed);
        Bytes { count, all: all.clone() }
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        self.all.fetch_sub(self.count, Ordering::Relaxed);
    }
}

/// A layer in the graph.
struct Node {
    layer: Layer,
    setting: Setting,
    kept: Kept,
    _bytes: Bytes,
}

impl Backward for Node {
    fn name(&self) -> &'static str {
        "layer"
    }

    fn sink(&self) -> &GradientSink {
        &self.setting.sink
    }

    fn backward(&self, grad: &Tensor, want_input: bool) -> Result<Option<Tensor>> {
        let Node { layer, setting, .. } = self;
        match &self.kept {
            Kept::Tape(tape) => Way { layer, setting, tape }.backward(grad, want_input),
            Kept::Input(x) => {
                let (_, tape) = layer.forward(x, setting)?;
                Way { layer, setting, tape: &tape }.backward(grad, want_input)
            }
        }
    }
}

/// The way back through a layer.
struct Way<'a> {
    layer: &'a Layer,
    setting: &'a Setting,
    tape: &'a Tape,
}

impl Way<'_> {
    /// Returns the gradient of the layer's input, if it is wanted.
    fn backward(&self, grad: &Tensor, want_x: bool) -> Result<Option<Tensor>> {
        let middle = self.backward_feed_forward(grad)?;
        self.backward_attention(&middle, want_x)
    }

    /// Returns the gradient of the stream between attention and feed-forward.
    fn backward_feed_forward(&self, grad: &Tensor) -> Result<Tensor> {
        let Way { layer, tape, setting } = self;
        let low = |at: usize| tape.low[at].as_ref();
        let norm = layer.branch_norms.as_ref().map(|norms| &norms.feed_forward);
        let d_fed = self.through_branch(norm, tape.fed.as_ref(), grad)?;
        let d_activated = self.through(&layer.down, &tape.activated, low(6), &d_fed, None)?;
        let activation = setting.activation;
        let (d_gate, d_up) =
            setting.compute.gated_backward(&tape.gate, &tape.up, activation, &d_activated)?;
        let d_normed = self.through(&layer.gate, &tape.middle_normed, low(4), &d_gate, None)?;
        let d_normed =
            self.through(&layer.up, &tape.middle_normed, low(5), &d_up, Some(d_normed))?;
        self.through_norm(&layer.middle_norm, &tape.middle, &d_normed, Some(grad))
    }

    /// Returns the gradient of the layer's input from that of the stream after attention.
    fn backward_attention(&self, grad: &Tensor, want_x: bool) -> Result<Option<Tensor>> {
        let Way { layer, setting, tape } = self;
        let low = |at: usize| tape.low[at].as_ref();
        let norm = layer.branch_norms.as_ref().map(|norms| &norms.attention);
        let d_attended = self.through_branch(norm, tape.attended.as_ref(), grad)?;
        let d_mixed =
            self.through(&layer.output, &tape.attention.mixed, low(3), &d_attended, None)?;
        let positions = setting.positions(layer);
        let [mut d_query, mut d_key, d_value] = setting.compute.attention_backward(
            &tape.attention,
            &setting.spans,
            positions,
            &d_mixed,
        )?;
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
            let x = (&tape.normed, low(number));
            d_normed = projection.backward(x, grad, want_normed, d_normed, setting)?;
        }
        let Some(d_normed) = d_normed else { return Ok(None) };
        self.through_norm(&layer.input_norm, &tape.x, &d_normed, Some(grad)).map(Some)
    }

    /// Goes back through a projection whose input's gradient is wanted, added to `sum` if there is
    /// one.
    fn through(
        &self,
        projection: &Projection,
        x: &Tensor,
        low: Option<&Tensor>,
        grad: &Tensor,
        sum: Option<Tensor>,
    ) -> Result<Tensor> {
        match projection.backward((x, low), grad, true, sum, self.setting)? {
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
            (Some(norm), Some(x)) => self.through_norm(norm, x, grad, None),
            _ => Ok(grad.clone()),
        }
    }

    /// Goes back through the norm of every head.
    fn through_head_norm(&self, weight: &Weight, x: &Tensor, grad: &Tensor) -> Result<Tensor> {
        let (x, grad_by_heads) = (by_heads(x, weight.tensor())?, by_heads(grad, weight.tensor())?);
        self.through_norm(weight, &x, &grad_by_heads, None)?.reshape(grad.shape())
    }

    /// Goes back through a norm; `residual` is added to the gradient.
    fn through_norm(
        &self,
        weight: &Weight,
        x: &Tensor,
        grad: &Tensor,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        let Setting { compute, norm, sink, .. } = self.setting;
        compute.norm_backward(x, weight, *norm, grad, residual, sink)
    }
}

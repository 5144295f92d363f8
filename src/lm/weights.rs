//! The weights of a decoder: their names and shapes, which are trained, and adapters.

use candle_core::{Device, Tensor, Var};

use super::ops::{self, GradientSink};
use super::random::TensorRandom;
use super::{DecoderConfig, LmError};

/// What is trained.
#[derive(Clone, Debug, PartialEq)]
pub enum Training {
    /// Every weight.
    Full,
    /// Low-rank adapters beside frozen weights.
    Lora(LoraConfig),
    /// Nothing.
    Frozen,
}

/// Low-rank adapters (Hu et al. 2021) under PEFT's names: a projection W becomes
/// W + (lora_alpha / r) B A.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraConfig {
    /// Rank of the adapters.
    pub r: usize,
    /// Scale of the adapters, divided by `r`.
    pub lora_alpha: f64,
    /// Which projections get one: names as in [`PROJECTIONS`], or `all-linear` for all of them.
    pub target_modules: Vec<String>,
}

/// The projections of a layer by their names in transformers.
pub const PROJECTIONS: [&str; 7] =
    ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

impl LoraConfig {
    /// Checks rank, scale and module names.
    ///
    /// # Errors
    /// `TargetModule` for a name that no layer has, `Config` for anything else.
    pub fn validate(&self) -> Result<(), LmError> {
        let fail = |what: String, expected: &str| {
            Err(LmError::Config { what, expected: expected.to_owned() })
        };
        if self.r == 0 || self.r > 1 << 16 {
            return fail(format!("LoRA r is {}", self.r), "a number from 1 to 65536");
        }
        if !self.lora_alpha.is_finite() {
            return fail(format!("lora_alpha is {}", self.lora_alpha), "a number");
        }
        if self.target_modules.is_empty() {
            return fail("LoRA target_modules is empty".to_owned(), "at least one module");
        }
        for name in &self.target_modules {
            if name != "all-linear" && !PROJECTIONS.contains(&name.as_str()) {
                let modules = format!("{}, all-linear", PROJECTIONS.join(", "));
                return Err(LmError::TargetModule { name: name.clone(), modules });
            }
        }
        Ok(())
    }

    /// Returns the projections that get an adapter, in the order of the layer.
    pub fn targets(&self) -> Vec<&'static str> {
        let all = self.target_modules.iter().any(|name| name == "all-linear");
        let chosen = |name: &&str| all || self.target_modules.iter().any(|target| target == name);
        PROJECTIONS.into_iter().filter(|name| chosen(name)).collect()
    }
}

/// A weight that is trained, or one that is not and takes part in no gradient.
#[derive(Clone)]
pub(super) enum Weight {
    Trained(Var),
    Frozen(Tensor),
}

impl Weight {
    pub(super) fn new(tensor: Tensor, trained: bool) -> Result<Weight, LmError> {
        if trained {
            Ok(Weight::Trained(Var::from_tensor(&tensor)?))
        } else {
            Ok(Weight::Frozen(tensor))
        }
    }

    pub(super) fn tensor(&self) -> &Tensor {
        match self {
            Weight::Trained(variable) => variable.as_tensor(),
            Weight::Frozen(tensor) => tensor,
        }
    }

    pub(super) fn is_trained(&self) -> bool {
        matches!(self, Weight::Trained(_))
    }

    /// Returns the same weight, untrained, in the same memory.
    pub(super) fn detached(&self) -> Weight {
        Weight::Frozen(self.tensor().detach())
    }
}

/// The two factors beside a projection.
#[derive(Clone)]
pub(super) struct Adapter {
    /// A, `[r, in]`.
    pub(super) a: Weight,
    /// B, `[out, r]`.
    pub(super) b: Weight,
    pub(super) scale: f64,
}

/// A projection `[out, in]`, with or without a bias and an adapter.
#[derive(Clone)]
pub(super) struct Projection {
    pub(super) weight: Weight,
    pub(super) bias: Option<Weight>,
    pub(super) adapter: Option<Adapter>,
}

impl Projection {
    /// Returns the product of `x`, `[tokens, in]`, with the projection.
    pub(super) fn apply(&self, x: &Tensor, sink: &GradientSink) -> candle_core::Result<Tensor> {
        let mut out = ops::linear(x, self.weight.tensor(), sink)?;
        if let Some(bias) = &self.bias {
            out = ops::add_bias(&out, bias.tensor(), sink)?;
        }
        let Some(adapter) = &self.adapter else { return Ok(out) };
        let low = (ops::linear(x, adapter.a.tensor(), sink)? * adapter.scale)?;
        out + ops::linear(&low, adapter.b.tensor(), sink)?
    }

    /// Returns the projection with its adapter added to its weight.
    pub(super) fn merged(&self) -> candle_core::Result<Projection> {
        let weight = match &self.adapter {
            None => self.weight.detached(),
            Some(Adapter { a, b, scale }) => {
                let low = b.tensor().detach().matmul(&a.tensor().detach())?;
                let weight = self.weight.tensor().detach().to_dtype(low.dtype())?;
                Weight::Frozen((weight + (low * *scale)?)?)
            }
        };
        Ok(Projection { weight, bias: self.bias.clone(), adapter: None })
    }
}

/// The norms of every head of queries and keys, `[head_dim]`.
#[derive(Clone)]
pub(super) struct HeadNorms {
    pub(super) query: Weight,
    pub(super) key: Weight,
}

/// The norms of what attention and feed-forward write to the stream.
#[derive(Clone)]
pub(super) struct BranchNorms {
    pub(super) attention: Weight,
    pub(super) feed_forward: Weight,
}

/// One layer.
#[derive(Clone)]
pub(super) struct Layer {
    /// Whether it sees a window only.
    pub(super) sliding: bool,
    pub(super) input_norm: Weight,
    /// The norm in front of the feed-forward part.
    pub(super) middle_norm: Weight,
    pub(super) head_norms: Option<HeadNorms>,
    pub(super) branch_norms: Option<BranchNorms>,
    pub(super) query: Projection,
    pub(super) key: Projection,
    pub(super) value: Projection,
    pub(super) output: Projection,
    pub(super) gate: Projection,
    pub(super) up: Projection,
    pub(super) down: Projection,
}

/// All weights of a decoder.
#[derive(Clone)]
pub(super) struct Weights {
    pub(super) embedding: Weight,
    pub(super) layers: Vec<Layer>,
    pub(super) norm: Weight,
    /// The output layer, where it is not the embedding.
    pub(super) head: Option<Weight>,
}

/// The names of the norms of a layer. What stands in front of the feed-forward part is called
/// `post_attention_layernorm` where there are no branch norms, and that is the name of one of them
/// where there are.
const INPUT_NORM: &str = "input_layernorm";
const POST_ATTENTION_NORM: &str = "post_attention_layernorm";
const PRE_FEED_FORWARD_NORM: &str = "pre_feedforward_layernorm";
const POST_FEED_FORWARD_NORM: &str = "post_feedforward_layernorm";
const QUERY_NORM: &str = "self_attn.q_norm";
const KEY_NORM: &str = "self_attn.k_norm";

/// Returns the name of the norm in front of the feed-forward part.
fn middle_norm_name(branch_norms: bool) -> &'static str {
    if branch_norms { PRE_FEED_FORWARD_NORM } else { POST_ATTENTION_NORM }
}

/// Returns the transformers name of a norm of a layer.
fn norm_name(layer: usize, norm: &str) -> String {
    format!("model.layers.{layer}.{norm}.weight")
}

/// The folder of a projection inside a layer.
fn block_of(projection: &str) -> &'static str {
    match projection {
        "gate_proj" | "up_proj" | "down_proj" => "mlp",
        _ => "self_attn",
    }
}

/// Returns the transformers name of a projection of a layer, without `.weight`.
pub(super) fn projection_name(layer: usize, projection: &str) -> String {
    format!("model.layers.{layer}.{}.{projection}", block_of(projection))
}

/// Returns the shape `[out, in]` of a projection.
fn projection_shape(config: &DecoderConfig, projection: &str) -> [usize; 2] {
    let hidden = config.hidden_size;
    match projection {
        "q_proj" => [config.query_size(), hidden],
        "k_proj" | "v_proj" => [config.key_value_size(), hidden],
        "o_proj" => [hidden, config.query_size()],
        "down_proj" => [hidden, config.intermediate_size],
        _ => [config.intermediate_size, hidden],
    }
}

/// Returns whether a projection has a bias.
fn has_bias(config: &DecoderConfig, projection: &str) -> bool {
    match projection {
        "q_proj" | "k_proj" | "v_proj" => config.query_key_value_bias,
        "o_proj" => config.output_bias,
        _ => config.feed_forward_bias,
    }
}

/// Returns name and shape of every base weight.
pub(super) fn base_shapes(config: &DecoderConfig) -> Vec<(String, Vec<usize>)> {
    let hidden = config.hidden_size;
    let mut shapes =
        vec![("model.embed_tokens.weight".to_owned(), vec![config.vocab_size, hidden])];
    let mut norms = vec![(INPUT_NORM, hidden), (middle_norm_name(config.branch_norms), hidden)];
    if config.branch_norms {
        norms.extend([(POST_ATTENTION_NORM, hidden), (POST_FEED_FORWARD_NORM, hidden)]);
    }
    if config.query_key_norms {
        norms.extend([(QUERY_NORM, config.head_dim), (KEY_NORM, config.head_dim)]);
    }
    for layer in 0..config.n_layers {
        shapes.extend(norms.iter().map(|(name, width)| (norm_name(layer, name), vec![*width])));
        for projection in PROJECTIONS {
            let name = projection_name(layer, projection);
            let shape = projection_shape(config, projection);
            if has_bias(config, projection) {
                shapes.push((format!("{name}.bias"), vec![shape[0]]));
            }
            shapes.push((format!("{name}.weight"), shape.to_vec()));
        }
    }
    shapes.push(("model.norm.weight".to_owned(), vec![hidden]));
    if !config.tie_word_embeddings {
        shapes.push(("lm_head.weight".to_owned(), vec![config.vocab_size, hidden]));
    }
    shapes
}

/// Returns the PEFT name of a factor (`A` or `B`) of the adapter of a projection.
fn adapter_name(projection: &str, factor: &str) -> String {
    format!("base_model.model.{projection}.lora_{factor}.weight")
}

/// Gives the f32 tensor of a name and shape.
pub(super) type Source<'a> = dyn FnMut(&str, &[usize]) -> Result<Tensor, LmError> + 'a;

/// Makes the weights of a decoder from a source of tensors.
pub(super) struct Builder<'a> {
    pub(super) config: &'a DecoderConfig,
    pub(super) training: &'a Training,
    pub(super) seed: u64,
    pub(super) device: &'a Device,
    /// Returns the f32 tensor of a name and shape on the device.
    pub(super) source: &'a mut Source<'a>,
}

impl Builder<'_> {
    /// Returns all weights; each is asked of the source once.
    pub(super) fn build(&mut self) -> Result<Weights, LmError> {
        let hidden = self.config.hidden_size;
        let vocabulary = [self.config.vocab_size, hidden];
        let embedding = self.base("model.embed_tokens.weight", &vocabulary)?;
        let mut layers = Vec::new();
        for layer in 0..self.config.n_layers {
            layers.push(self.layer(layer)?);
        }
        let norm = self.base("model.norm.weight", &[hidden])?;
        let head = match self.config.tie_word_embeddings {
            true => None,
            false => Some(self.base("lm_head.weight", &vocabulary)?),
        };
        Ok(Weights { embedding, layers, norm, head })
    }

    fn layer(&mut self, layer: usize) -> Result<Layer, LmError> {
        let DecoderConfig { head_dim, branch_norms, query_key_norms, .. } = *self.config;
        let hidden = self.config.hidden_size;
        let sliding = self.config.is_sliding(layer);
        let mut norm = |name: &str, width| self.base(&norm_name(layer, name), &[width]);
        let head_norms = match query_key_norms {
            true => Some(HeadNorms {
                query: norm(QUERY_NORM, head_dim)?,
                key: norm(KEY_NORM, head_dim)?,
            }),
            false => None,
        };
        let branches = match branch_norms {
            true => Some(BranchNorms {
                attention: norm(POST_ATTENTION_NORM, hidden)?,
                feed_forward: norm(POST_FEED_FORWARD_NORM, hidden)?,
            }),
            false => None,
        };
        Ok(Layer {
            sliding,
            input_norm: norm(INPUT_NORM, hidden)?,
            middle_norm: norm(middle_norm_name(branch_norms), hidden)?,
            head_norms,
            branch_norms: branches,
            query: self.projection(layer, "q_proj")?,
            key: self.projection(layer, "k_proj")?,
            value: self.projection(layer, "v_proj")?,
            output: self.projection(layer, "o_proj")?,
            gate: self.projection(layer, "gate_proj")?,
            up: self.projection(layer, "up_proj")?,
            down: self.projection(layer, "down_proj")?,
        })
    }

    fn base(&mut self, name: &str, shape: &[usize]) -> Result<Weight, LmError> {
        let tensor = (self.source)(name, shape)?;
        Weight::new(tensor, *self.training == Training::Full)
    }

    fn projection(&mut self, layer: usize, name: &str) -> Result<Projection, LmError> {
        let full_name = projection_name(layer, name);
        let shape = projection_shape(self.config, name);
        let weight = self.base(&format!("{full_name}.weight"), &shape)?;
        let bias = match has_bias(self.config, name) {
            true => Some(self.base(&format!("{full_name}.bias"), &[shape[0]])?),
            false => None,
        };
        let adapter = match self.training {
            Training::Lora(lora) if lora.targets().contains(&name) => {
                Some(self.adapter(lora, &full_name, shape)?)
            }
            _ => None,
        };
        Ok(Projection { weight, bias, adapter })
    }

    /// Returns a fresh adapter: A uniform in +-1/sqrt(in), which is Kaiming's initialisation with
    /// a = sqrt(5) as PEFT has it, and B zero, so that the model begins unchanged.
    fn adapter(
        &self,
        lora: &LoraConfig,
        projection: &str,
        [out, inner]: [usize; 2],
    ) -> Result<Adapter, LmError> {
        let mut random = TensorRandom::new(self.seed, &adapter_name(projection, "A"));
        let a = random.uniform(lora.r * inner, 1.0 / (inner as f64).sqrt());
        let a = Tensor::from_vec(a, (lora.r, inner), self.device)?;
        let b = Tensor::from_vec(vec![0f32; out * lora.r], (out, lora.r), self.device)?;
        Ok(Adapter {
            a: Weight::new(a, true)?,
            b: Weight::new(b, true)?,
            scale: lora.lora_alpha / lora.r as f64,
        })
    }
}

impl Layer {
    /// Returns the projections in the order of [`PROJECTIONS`].
    pub(super) fn projections(&self) -> [&Projection; 7] {
        let Layer { query, key, value, output, gate, up, down, .. } = self;
        [query, key, value, output, gate, up, down]
    }

    /// Returns the norms by their names inside the layer.
    pub(super) fn norms(&self) -> Vec<(&'static str, &Weight)> {
        let middle = middle_norm_name(self.branch_norms.is_some());
        let mut norms = vec![(INPUT_NORM, &self.input_norm), (middle, &self.middle_norm)];
        if let Some(branches) = &self.branch_norms {
            norms.push((POST_ATTENTION_NORM, &branches.attention));
            norms.push((POST_FEED_FORWARD_NORM, &branches.feed_forward));
        }
        if let Some(heads) = &self.head_norms {
            norms.extend([(QUERY_NORM, &heads.query), (KEY_NORM, &heads.key)]);
        }
        norms
    }

    fn norms_mut(&mut self) -> Vec<&mut Weight> {
        let mut norms = vec![&mut self.input_norm, &mut self.middle_norm];
        if let Some(BranchNorms { attention, feed_forward }) = &mut self.branch_norms {
            norms.extend([attention, feed_forward]);
        }
        if let Some(HeadNorms { query, key }) = &mut self.head_norms {
            norms.extend([query, key]);
        }
        norms
    }

    pub(super) fn projections_mut(&mut self) -> [&mut Projection; 7] {
        let Layer { query, key, value, output, gate, up, down, .. } = self;
        [query, key, value, output, gate, up, down]
    }
}

impl Weights {
    /// Returns every base weight with its transformers name.
    pub(super) fn base(&self) -> Vec<(String, &Weight)> {
        let mut weights = vec![("model.embed_tokens.weight".to_owned(), &self.embedding)];
        for (number, layer) in self.layers.iter().enumerate() {
            for (name, norm) in layer.norms() {
                weights.push((norm_name(number, name), norm));
            }
            for (name, projection) in PROJECTIONS.iter().zip(layer.projections()) {
                let name = projection_name(number, name);
                if let Some(bias) = &projection.bias {
                    weights.push((format!("{name}.bias"), bias));
                }
                weights.push((format!("{name}.weight"), &projection.weight));
            }
        }
        weights.push(("model.norm.weight".to_owned(), &self.norm));
        if let Some(head) = &self.head {
            weights.push(("lm_head.weight".to_owned(), head));
        }
        weights
    }

    /// Returns every factor of every adapter with its PEFT name.
    pub(super) fn adapters(&self) -> Vec<(String, &Weight)> {
        let mut weights = Vec::new();
        for (number, layer) in self.layers.iter().enumerate() {
            for (name, projection) in PROJECTIONS.iter().zip(layer.projections()) {
                if let Some(adapter) = &projection.adapter {
                    let name = projection_name(number, name);
                    weights.push((adapter_name(&name, "A"), &adapter.a));
                    weights.push((adapter_name(&name, "B"), &adapter.b));
                }
            }
        }
        weights
    }

    /// Returns the matrices of all layers.
    pub(super) fn layer_matrices(&self) -> Vec<&Tensor> {
        let mut matrices = Vec::new();
        for projection in self.layers.iter().flat_map(Layer::projections) {
            matrices.push(projection.weight.tensor());
            if let Some(Adapter { a, b, .. }) = &projection.adapter {
                matrices.extend([a.tensor(), b.tensor()]);
            }
        }
        matrices
    }

    /// Replaces every weight by what `change` makes of it.
    pub(super) fn map<E>(
        &mut self,
        mut change: impl FnMut(&Weight) -> Result<Weight, E>,
    ) -> Result<(), E> {
        let mut apply = |weight: &mut Weight| -> Result<(), E> {
            *weight = change(weight)?;
            Ok(())
        };
        apply(&mut self.embedding)?;
        apply(&mut self.norm)?;
        self.head.iter_mut().try_for_each(&mut apply)?;
        for layer in &mut self.layers {
            layer.norms_mut().into_iter().try_for_each(&mut apply)?;
            for projection in layer.projections_mut() {
                apply(&mut projection.weight)?;
                projection.bias.iter_mut().try_for_each(&mut apply)?;
                if let Some(adapter) = &mut projection.adapter {
                    apply(&mut adapter.a)?;
                    apply(&mut adapter.b)?;
                }
            }
        }
        Ok(())
    }
}

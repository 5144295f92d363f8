//! The weights of an encoder, packed for products.

use std::path::Path;

use candle_core::Device;

use super::activation::Norm;
use super::config::EncoderConfig;
use super::product::Panels;
use crate::lm::LmError;
use crate::lm::safetensors::{OpenFile, TensorFile};

/// Parts of a BERT checkpoint that no vector depends on: the pooler, and positions written out by
/// old versions of transformers.
const UNUSED: &[&str] = &["pooler.dense.weight", "pooler.dense.bias", "embeddings.position_ids"];

/// A linear layer.
pub(super) struct Linear {
    /// `[in, out]`.
    pub(super) weight: Panels,
    /// `[out]`.
    pub(super) bias: Vec<f32>,
}

/// One layer.
pub(super) struct Layer {
    /// Queries, keys and values side by side: `[hidden, 3 hidden]`.
    pub(super) inputs: Linear,
    pub(super) output: Linear,
    pub(super) attention_norm: Norm,
    pub(super) up: Linear,
    pub(super) down: Linear,
    pub(super) norm: Norm,
}

/// All weights.
pub(super) struct Weights {
    /// `[vocab, hidden]`.
    pub(super) words: Vec<f32>,
    /// `[positions, hidden]`.
    pub(super) positions: Vec<f32>,
    /// The row of the first type, which all tokens are of: `[hidden]`.
    pub(super) first_type: Vec<f32>,
    pub(super) norm: Norm,
    pub(super) layers: Vec<Layer>,
}

/// The open file and the names in it.
struct Source<'a> {
    file: &'a OpenFile<'a>,
    prefix: &'static str,
    config: &'a EncoderConfig,
}

impl Weights {
    /// Reads the weights of a file whose names may begin with `bert.`; what else such a file holds
    /// are heads for other tasks.
    ///
    /// # Errors
    /// `Damaged`, `MissingTensor`, `Shape`, `Unsupported` with the tensor's name; `UnknownTensor`
    /// for parts of an encoder that are not computed here.
    pub(super) fn read(
        file: &TensorFile,
        path: &Path,
        config: &EncoderConfig,
    ) -> Result<Weights, LmError> {
        let open = file.open(path)?;
        let is_prefixed = open.names().any(|name| name.starts_with("bert."));
        let prefix = if is_prefixed { "bert." } else { "" };
        let source = Source { file: &open, prefix, config };
        source.refuse_unknown(path)?;
        let hidden = config.hidden_size;
        let mut first_type = source
            .load("embeddings.token_type_embeddings.weight", &[config.type_vocab_size, hidden])?;
        first_type.truncate(hidden);
        Ok(Weights {
            words: source
                .load("embeddings.word_embeddings.weight", &[config.vocab_size, hidden])?,
            positions: source
                .load("embeddings.position_embeddings.weight", &[config.positions, hidden])?,
            first_type,
            norm: source.norm("embeddings.LayerNorm")?,
            layers: (0..config.n_layers)
                .map(|number| source.layer(number))
                .collect::<Result<_, _>>()?,
        })
    }
}

impl Source<'_> {
    /// Refuses tensors of the encoder that have no place in it.
    fn refuse_unknown(&self, path: &Path) -> Result<(), LmError> {
        let is_known = |name: &str| {
            let part = name.strip_prefix("embeddings.").or_else(|| {
                let (number, part) = name.strip_prefix("encoder.layer.")?.split_once('.')?;
                let number: usize = number.parse().ok()?;
                (number < self.config.n_layers).then_some(part)
            });
            let Some((part, kind)) = part.and_then(|part| part.rsplit_once('.')) else {
                return false;
            };
            PARTS.contains(&part) && matches!(kind, "weight" | "bias")
        };
        let own = self.file.names().filter_map(|name| name.strip_prefix(self.prefix));
        let unknown: Vec<&str> =
            own.filter(|name| !UNUSED.contains(name) && !is_known(name)).collect();
        let Some(first) = unknown.first() else { return Ok(()) };
        Err(LmError::UnknownTensor {
            path: path.to_path_buf(),
            name: (*first).to_owned(),
            count: unknown.len(),
            hint: "the model has parts that this program does not compute".to_owned(),
        })
    }

    fn load(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LmError> {
        let name = format!("{}{name}", self.prefix);
        let (tensor, _) = self.file.load(&name, shape, &Device::Cpu)?;
        Ok(tensor.flatten_all()?.to_vec1()?)
    }

    fn norm(&self, name: &str) -> Result<Norm, LmError> {
        let width = [self.config.hidden_size];
        Ok(Norm {
            scale: self.load(&format!("{name}.weight"), &width)?,
            shift: self.load(&format!("{name}.bias"), &width)?,
            epsilon: self.config.layer_norm_eps as f32,
        })
    }

    /// Loads linear layers of one input, side by side.
    fn linear(&self, names: &[String], inner: usize, out: usize) -> Result<Linear, LmError> {
        let (mut weight, mut bias) = (Vec::new(), Vec::new());
        for name in names {
            weight.extend(self.load(&format!("{name}.weight"), &[out, inner])?);
            bias.extend(self.load(&format!("{name}.bias"), &[out])?);
        }
        Ok(Linear { weight: Panels::of_rows(&weight, names.len() * out, inner, inner), bias })
    }

    fn layer(&self, number: usize) -> Result<Layer, LmError> {
        let (hidden, inner) = (self.config.hidden_size, self.config.intermediate_size);
        let at = |part: &str| format!("encoder.layer.{number}.{part}");
        let inputs = ["query", "key", "value"].map(|part| at(&format!("attention.self.{part}")));
        Ok(Layer {
            inputs: self.linear(&inputs, hidden, hidden)?,
            output: self.linear(&[at("attention.output.dense")], hidden, hidden)?,
            attention_norm: self.norm(&at("attention.output.LayerNorm"))?,
            up: self.linear(&[at("intermediate.dense")], hidden, inner)?,
            down: self.linear(&[at("output.dense")], inner, hidden)?,
            norm: self.norm(&at("output.LayerNorm"))?,
        })
    }
}

/// The parts that have a weight, and some a bias.
const PARTS: &[&str] = &[
    "word_embeddings",
    "position_embeddings",
    "token_type_embeddings",
    "LayerNorm",
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "attention.output.LayerNorm",
    "intermediate.dense",
    "output.dense",
    "output.LayerNorm",
];

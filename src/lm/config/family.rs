//! Families: what the files of each call themselves, and what they leave unsaid.

use super::shape::refuse;
use super::{DecoderConfig, settings};
use crate::lm::LmError;

/// Whose `config.json` describes a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Llama 1 to 3, SmolLM2, TinyLlama.
    Llama,
    /// Qwen2 and Qwen2.5.
    Qwen2,
    /// Qwen3 without experts.
    Qwen3,
    /// Gemma 2.
    Gemma2,
    /// Gemma 3, text.
    Gemma3,
}

/// The sizes of a file that leaves them out, where its family has some.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub(super) vocabulary: usize,
    pub(super) hidden: usize,
    pub(super) intermediate: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
}

impl Family {
    /// Every family.
    pub const ALL: [Family; 5] =
        [Family::Llama, Family::Qwen2, Family::Qwen3, Family::Gemma2, Family::Gemma3];

    /// Returns the name in `model_type` of `config.json`.
    pub fn model_type(self) -> &'static str {
        match self {
            Family::Llama => "llama",
            Family::Qwen2 => "qwen2",
            Family::Qwen3 => "qwen3",
            Family::Gemma2 => "gemma2",
            Family::Gemma3 => "gemma3_text",
        }
    }

    /// Returns the name in `general.architecture` of a GGUF file.
    pub fn gguf_architecture(self) -> &'static str {
        match self {
            Family::Gemma3 => "gemma3",
            other => other.model_type(),
        }
    }

    /// Returns the class in `architectures` of `config.json`.
    pub(super) fn architecture(self) -> &'static str {
        match self {
            Family::Llama => "LlamaForCausalLM",
            Family::Qwen2 => "Qwen2ForCausalLM",
            Family::Qwen3 => "Qwen3ForCausalLM",
            Family::Gemma2 => "Gemma2ForCausalLM",
            Family::Gemma3 => "Gemma3ForCausalLM",
        }
    }

    pub(super) fn is_gemma(self) -> bool {
        matches!(self, Family::Gemma2 | Family::Gemma3)
    }

    /// Returns the name of the activation's field.
    pub(super) fn activation_field(self) -> &'static str {
        if self.is_gemma() { "hidden_activation" } else { "hidden_act" }
    }

    /// Returns transformers' sizes of the families whose files leave them out: the text part of a
    /// Gemma 3 with pictures says little more than its width.
    pub(super) fn sizes(self) -> Option<Sizes> {
        let gemma = |vocabulary| Sizes {
            vocabulary,
            hidden: 2304,
            intermediate: 9216,
            layers: 26,
            heads: 8,
        };
        match self {
            Family::Gemma2 => Some(gemma(256_000)),
            Family::Gemma3 => Some(gemma(262_208)),
            _ => None,
        }
    }

    /// Returns transformers' number of key-value heads where the file has none.
    pub(super) fn kv_heads(self, heads: usize) -> usize {
        match self {
            Family::Llama => heads,
            Family::Qwen2 | Family::Qwen3 => 32,
            Family::Gemma2 | Family::Gemma3 => 4,
        }
    }

    /// Returns transformers' width of a head where the file has none.
    pub(super) fn head_dim(self, hidden: usize, heads: usize) -> usize {
        match self {
            Family::Llama | Family::Qwen2 => hidden.checked_div(heads).unwrap_or(0),
            Family::Qwen3 => 128,
            Family::Gemma2 | Family::Gemma3 => 256,
        }
    }

    /// Returns transformers' longest sequence where the file has none.
    pub(super) fn context_length(self) -> usize {
        match self {
            Family::Llama => 2048,
            Family::Qwen2 | Family::Qwen3 => 32_768,
            Family::Gemma2 => 8192,
            Family::Gemma3 => 131_072,
        }
    }

    /// Checks that the family's `config.json` says exactly this shape.
    pub(super) fn validate(self, config: &DecoderConfig) -> Result<(), LmError> {
        let mut wanted = config.clone();
        if !wanted.sliding_layers.contains(&true) {
            wanted.sliding_layers.clear();
        }
        let said = settings::read(&settings::write(&wanted), std::path::Path::new("config.json"))?;
        if said == wanted {
            return Ok(());
        }
        let (said, wanted) = (format!("{said:#?}"), format!("{wanted:#?}"));
        let differ = said.lines().zip(wanted.lines()).find(|(said, wanted)| said != wanted);
        let (said, wanted) = differ.unwrap_or_default();
        let clean = |line: &str| line.trim().trim_end_matches(',').to_owned();
        refuse(
            format!("a {} model with {}", self.model_type(), clean(wanted)),
            &format!("what its config.json can say: {}", clean(said)),
        )
    }
}

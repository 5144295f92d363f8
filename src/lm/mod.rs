//! The language model: a trainable decoder, its weights on disk, its tokenizer; and the encoder
//! that makes vectors of texts.

mod accelerator;
mod adapter;
mod checkpoint;
mod compute;
mod config;
mod decoder;
mod device;
mod divergence;
mod encoder;
mod error;
mod fields;
mod gguf;
mod gguf_model;
mod gguf_tokenizer;
mod layer;
mod load;
pub mod ops;
mod packed;
mod random;
mod safetensors;
mod sample;
mod tokenizer;
mod weights;

pub use adapter::{AdapterFiles, load_adapted};
pub use candle_core::Device;
pub use config::{Activation, DecoderConfig, Family, RopeScaling, Yarn};
pub use decoder::{Decoder, Work};
pub use device::device;
pub use encoder::SentenceEncoder;
pub use error::{LmError, tensor_text};
pub use load::{LoadedModel, ModelDescription, ModelFormat, WeightsFile, load};
pub use packed::{Branch, Packed};
pub use sample::{
    Counts, Distribution, End, Prefix, Progress, Prompt, Request, Sample, Sampler, SamplerOptions,
    Samples, Watch,
};
pub use tokenizer::Tokenizer;
pub use weights::{LoraConfig, PROJECTIONS, Training};

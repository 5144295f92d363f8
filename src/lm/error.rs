//! What can go wrong with a model: which file, which tensor, what was found and what was expected.

use std::path::{Path, PathBuf};

/// A failure of loading, saving or running a language model.
#[derive(Debug, thiserror::Error)]
pub enum LmError {
    /// A file could not be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// There is no model at a path.
    #[error(
        "{path}: {found}; a model is a .gguf file, or a directory with config.json and \
         model.safetensors",
        path = path.display()
    )]
    NotAModel {
        /// The path as given.
        path: PathBuf,
        /// What is there instead.
        found: String,
    },
    /// A file is cut off or its bytes contradict each other.
    #[error("{path}: damaged: {what}; fetch or write the file again", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not hold, with the place where it is known.
        what: String,
    },
    /// A file is sound but asks for something this program does not do.
    #[error("{path}: {what}; {supported}", path = path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The setting and its value.
        what: String,
        /// What is supported instead.
        supported: String,
    },
    /// A setting of a model makes no sense.
    #[error("{what}; expected {expected}")]
    Config {
        /// The setting and its value.
        what: String,
        /// What it must be.
        expected: String,
    },
    /// A tensor that the model needs is not in its files.
    #[error(
        "{path}: tensor '{name}' is missing (the file holds {held}); check that config.json and \
         the weights belong together",
        path = path.display()
    )]
    MissingTensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Some names that the file holds.
        held: String,
    },
    /// A file holds tensors that the model has no place for.
    #[error(
        "{path}: {count} tensors have no place in this model, such as '{name}'; {hint}",
        path = path.display()
    )]
    UnknownTensor {
        /// The file.
        path: PathBuf,
        /// The first of them by name.
        name: String,
        /// How many there are.
        count: usize,
        /// What to check.
        hint: String,
    },
    /// A tensor has another shape than the model's configuration says.
    #[error(
        "{path}: tensor '{name}' has shape {found:?}, expected {expected:?}; check that \
         config.json and the weights belong together",
        path = path.display()
    )]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The shape in the file.
        found: Vec<usize>,
        /// The shape that the configuration implies.
        expected: Vec<usize>,
    },
    /// A LoRA target module does not exist.
    #[error("LoRA target module '{name}' does not exist; the modules are {modules}")]
    TargetModule {
        /// The name as given.
        name: String,
        /// The names that exist.
        modules: String,
    },
    /// A batch cannot be run through the model.
    #[error("{what}; expected {expected}")]
    Batch {
        /// What was found, with its position in the batch.
        what: String,
        /// What is expected.
        expected: String,
    },
    /// A request for samples or scores cannot be carried out.
    #[error("request {number}: {what}; expected {expected}")]
    Request {
        /// Which one, counted from 0.
        number: usize,
        /// What was found.
        what: String,
        /// What is expected.
        expected: String,
    },
    /// The cache of a sampler is too small or out of date.
    #[error("{what}; {next}")]
    Cache {
        /// What does not fit, in tokens or bytes.
        what: String,
        /// What to do about it.
        next: String,
    },
    /// The model gave no probabilities.
    #[error(
        "request {number}: the logits at position {position} give no probabilities ({what}); check \
         that the weights are numbers"
    )]
    NoProbabilities {
        /// The request, counted from 0.
        number: usize,
        /// The position in its sequence of the token that was wanted.
        position: usize,
        /// What was found.
        what: String,
    },
    /// A tokenizer cannot be built or trained.
    #[error("tokenizer: {what}; {next}")]
    Tokenizer {
        /// What was found.
        what: String,
        /// What to do about it.
        next: String,
    },
    /// The numeric library refused an operation, which is an error of this program or a lack of
    /// memory on the device.
    #[error("tensor operation failed: {}", tensor_text(.0))]
    Tensor(#[from] candle_core::Error),
}

/// Returns what a tensor error says, without the places in the program that candle adds where
/// `RUST_BACKTRACE` is set.
pub fn tensor_text(error: &candle_core::Error) -> String {
    match error {
        candle_core::Error::WithBacktrace { inner, .. } => tensor_text(inner),
        other => other.to_string(),
    }
}

impl LmError {
    /// Returns a function that attaches `path` to an error of the operating system.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> LmError {
        let path = path.to_path_buf();
        move |source| LmError::Io { path, source }
    }

    /// Returns the error for a file whose bytes do not hold together.
    pub(crate) fn damaged(path: &Path, what: impl Into<String>) -> LmError {
        LmError::Damaged { path: path.to_path_buf(), what: what.into() }
    }

    /// Returns the error for a file that asks for something this program does not do.
    pub(crate) fn unsupported(
        path: &Path,
        what: impl Into<String>,
        supported: impl Into<String>,
    ) -> LmError {
        LmError::Unsupported {
            path: path.to_path_buf(),
            what: what.into(),
            supported: supported.into(),
        }
    }
}

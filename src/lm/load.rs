//! Opening a model: a GGUF file, or a directory as transformers writes it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use serde_json::Value;

use super::gguf::GgufFile;
use super::safetensors::{OpenFile, TensorFile, missing};
use super::{Decoder, DecoderConfig, LmError, Tokenizer, Training, gguf_model};

/// A model as loaded.
pub struct LoadedModel {
    /// The decoder.
    pub decoder: Decoder,
    /// The tokenizer, if there is one beside the weights.
    pub tokenizer: Option<Tokenizer>,
    /// The text of the chat template (Jinja), if there is one.
    pub chat_template: Option<String>,
    /// What was loaded, for the record.
    pub description: ModelDescription,
}

/// What a model was loaded from.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelDescription {
    /// The path as given.
    pub path: PathBuf,
    /// How the weights were stored.
    pub format: ModelFormat,
    /// The files of the weights, in order of name.
    pub weights: Vec<WeightsFile>,
    /// The types that were widened to f32, sorted; empty if all were f32 already.
    pub dequantised_from: Vec<String>,
    /// Parts of the files that text needs nothing of and that were not loaded, with the number of
    /// their tensors: the pictures' side of a Gemma 3.
    pub left_out: Vec<String>,
}

/// How weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelFormat {
    /// One GGUF file.
    Gguf,
    /// One or more safetensors files.
    Safetensors,
}

/// One file of weights.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightsFile {
    /// The name of the file without folders.
    pub name: String,
    /// Its size.
    pub size_bytes: u64,
    /// Its BLAKE3 hash in hexadecimal digits.
    pub blake3: String,
}

/// Loads the model at `path`: a `.gguf` file, or a directory with `config.json`,
/// `model.safetensors` (or an index and its shards) and, if there, `tokenizer.json`,
/// `tokenizer_config.json` and `chat_template.jinja`.
///
/// Weights become f32. Adapters are made from `seed`.
///
/// # Errors
/// `NotAModel`, `Damaged`, `Unsupported`, `MissingTensor`, `UnknownTensor` or `Shape`, with file
/// and tensor; `Config` or `TargetModule` for the adapters' configuration.
pub fn load(
    path: &Path,
    training: &Training,
    seed: u64,
    device: &Device,
) -> Result<LoadedModel, LmError> {
    let not_a_model =
        |found: &str| LmError::NotAModel { path: path.to_path_buf(), found: found.to_owned() };
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(not_a_model("there is no such file"));
        }
        Err(error) => return Err(LmError::io(path)(error)),
    };
    if metadata.is_file() {
        return match begins_with_gguf(path)? {
            true => load_gguf(path, training, seed, device),
            false => Err(not_a_model("the file does not begin with 'GGUF'")),
        };
    }
    if path.join("config.json").is_file() {
        return Directory { path }.load(training, seed, device);
    }
    if path.join("adapter_config.json").is_file() {
        return Err(not_a_model("the directory holds an adapter and no model"));
    }
    Err(not_a_model("the directory has no config.json"))
}

/// Whether the file begins as GGUF files do.
pub(super) fn begins_with_gguf(path: &Path) -> Result<bool, LmError> {
    use std::io::Read as _;
    let mut start = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(4).read_to_end(&mut start))
        .map_err(LmError::io(path))?;
    Ok(start == b"GGUF")
}

/// Returns the error for tensors that no weight asks for.
fn unknown(path: &Path, names: &[String]) -> LmError {
    LmError::UnknownTensor {
        path: path.to_path_buf(),
        name: names.first().cloned().unwrap_or_default(),
        count: names.len(),
        hint: "the model has parts that this program does not compute".to_owned(),
    }
}

/// Checks that every id of the tokenizer has an embedding.
fn check_vocabulary(
    path: &Path,
    tokenizer: &Tokenizer,
    config: &DecoderConfig,
) -> Result<(), LmError> {
    let (ids, rows) = (tokenizer.vocab_size(), config.vocab_size);
    if ids > rows {
        let what = format!("the tokenizer has {ids} ids and the model {rows} embeddings");
        return Err(LmError::damaged(path, what));
    }
    Ok(())
}

fn load_gguf(
    path: &Path,
    training: &Training,
    seed: u64,
    device: &Device,
) -> Result<LoadedModel, LmError> {
    let mut file = GgufFile::open(path)?;
    let config = gguf_model::config(&mut file)?;
    let extra = gguf_model::unknown_tensors(&file, &config);
    if !extra.is_empty() {
        return Err(unknown(path, &extra));
    }
    let tokenizer = match file.get("tokenizer.ggml.model") {
        Some(_) => Some(Tokenizer::from_opened_gguf(&file)?),
        None => None,
    };
    if let Some(tokenizer) = &tokenizer {
        check_vocabulary(path, tokenizer, &config)?;
    }
    let (hash, size_bytes) = file.hash()?;
    let description = ModelDescription {
        path: path.to_path_buf(),
        format: ModelFormat::Gguf,
        weights: vec![weights_file(path, size_bytes, hash)],
        dequantised_from: file.quantised_types(),
        left_out: Vec::new(),
    };
    let chat_template = gguf_model::chat_template(&file);
    let mut source = |name: &str, shape: &[usize]| {
        Ok(gguf_model::load(&mut file, &config, name, shape)?.to_device(device)?)
    };
    let base = Some(path.display().to_string());
    let decoder = Decoder::build(&config, training, seed, device, base, &mut source)?;
    Ok(LoadedModel { decoder, tokenizer, chat_template, description })
}

fn weights_file(path: &Path, size_bytes: u64, hash: blake3::Hash) -> WeightsFile {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    WeightsFile { name, size_bytes, blake3: hash.to_hex().to_string() }
}

/// A directory as transformers writes it.
struct Directory<'a> {
    path: &'a Path,
}

impl Directory<'_> {
    fn load(
        &self,
        training: &Training,
        seed: u64,
        device: &Device,
    ) -> Result<LoadedModel, LmError> {
        let config_path = self.path.join("config.json");
        let text = std::fs::read_to_string(&config_path).map_err(LmError::io(&config_path))?;
        let config = DecoderConfig::from_json(&text, &config_path)?;
        // A file of settings that could be read is JSON.
        let pictures = self.json("config.json")?["model_type"] == "gemma3";
        let tokenizer_config = self.json("tokenizer_config.json")?;
        let tokenizer = self.tokenizer(&config_path, &tokenizer_config)?;
        if let Some(tokenizer) = &tokenizer {
            check_vocabulary(self.path, tokenizer, &config)?;
        }
        let mut weights = Shards::read(self.path, &config, pictures, device)?;
        let description = ModelDescription {
            path: self.path.to_path_buf(),
            format: ModelFormat::Safetensors,
            weights: std::mem::take(&mut weights.files),
            dequantised_from: weights.widened.iter().cloned().collect(),
            left_out: weights.left_out(),
        };
        let index_path = weights.path.clone();
        let mut source = |name: &str, _: &[usize]| {
            weights.tensors.remove(name).ok_or_else(|| {
                missing(&index_path, name, weights.tensors.keys().map(String::as_str))
            })
        };
        let base = Some(self.path.display().to_string());
        let decoder = Decoder::build(&config, training, seed, device, base, &mut source)?;
        let chat_template = self.chat_template(&tokenizer_config)?;
        Ok(LoadedModel { decoder, tokenizer, chat_template, description })
    }

    /// Returns the JSON of a file of the directory, null if it does not exist.
    fn json(&self, name: &str) -> Result<Value, LmError> {
        let path = self.path.join(name);
        if !path.is_file() {
            return Ok(Value::Null);
        }
        let text = std::fs::read_to_string(&path).map_err(LmError::io(&path))?;
        serde_json::from_str(&text)
            .map_err(|error| LmError::damaged(&path, format!("not JSON: {error}")))
    }

    /// Returns the tokenizer with the end-of-turn token that `tokenizer_config.json` names, else
    /// the first that `config.json` does.
    fn tokenizer(
        &self,
        config_path: &Path,
        tokenizer_config: &Value,
    ) -> Result<Option<Tokenizer>, LmError> {
        let path = self.path.join("tokenizer.json");
        if !path.is_file() {
            return Ok(None);
        }
        let tokenizer = Tokenizer::from_file(&path)?;
        let eos = &tokenizer_config["eos_token"];
        let named = eos.as_str().or_else(|| eos["content"].as_str());
        if let Some(name) = named {
            return tokenizer.with_eos(name).map(Some);
        }
        let name = config_path.file_name().unwrap_or_default().to_string_lossy();
        let eos = &self.json(&name)?["eos_token_id"];
        let id = eos.as_u64().or_else(|| eos[0].as_u64()).and_then(|id| u32::try_from(id).ok());
        Ok(Some(match id {
            Some(id) => tokenizer.with_eos_id(id),
            None => tokenizer,
        }))
    }

    /// Returns the text of the chat template: a file of its own, or a field of
    /// `tokenizer_config.json` that is a text or a list with one called `default`.
    fn chat_template(&self, tokenizer_config: &Value) -> Result<Option<String>, LmError> {
        let path = self.path.join("chat_template.jinja");
        if path.is_file() {
            return std::fs::read_to_string(&path).map(Some).map_err(LmError::io(&path));
        }
        let field = &tokenizer_config["chat_template"];
        if let Some(text) = field.as_str() {
            return Ok(Some(text.to_owned()));
        }
        let named = field.as_array().and_then(|list| {
            list.iter().find(|entry| entry["name"] == "default")?["template"].as_str()
        });
        Ok(named.map(str::to_owned))
    }
}

/// The tensors of all safetensors files of a directory.
struct Shards {
    /// The file or index, for messages.
    path: PathBuf,
    tensors: BTreeMap<String, Tensor>,
    files: Vec<WeightsFile>,
    widened: BTreeSet<String>,
    /// Whether the checkpoint is one of text and pictures, whose text part lies under a prefix.
    pictures: bool,
    /// The number of tensors of each part that was left out.
    skipped: BTreeMap<&'static str, usize>,
}

/// What a tensor of a checkpoint of text and pictures is.
enum Part<'a> {
    /// A weight of the text model, by its name there.
    Text(std::borrow::Cow<'a, str>),
    /// One of another part, by the part's name.
    Other(&'static str),
}

/// Returns what a name of a Gemma 3 checkpoint with pictures stands for, in the writing of
/// transformers up to 4.51 (`language_model.model.`) or since (`model.language_model.`).
fn part(name: &str) -> Part<'_> {
    for other in ["vision_tower", "multi_modal_projector"] {
        if name.strip_prefix("model.").unwrap_or(name).starts_with(other) {
            return Part::Other(other);
        }
    }
    match (name.strip_prefix("language_model."), name.strip_prefix("model.language_model.")) {
        (Some(rest), _) => Part::Text(rest.into()),
        (_, Some(rest)) => Part::Text(format!("model.{rest}").into()),
        _ => Part::Text(name.into()),
    }
}

impl Shards {
    fn read(
        directory: &Path,
        config: &DecoderConfig,
        pictures: bool,
        device: &Device,
    ) -> Result<Shards, LmError> {
        let single = directory.join("model.safetensors");
        let index = directory.join("model.safetensors.index.json");
        let (path, names) = if single.is_file() {
            (single, BTreeSet::from(["model.safetensors".to_owned()]))
        } else if index.is_file() {
            let names = shard_names(&index)?;
            (index, names)
        } else {
            return Err(LmError::NotAModel {
                path: directory.to_path_buf(),
                found: "the directory has no model.safetensors".to_owned(),
            });
        };
        let mut shards = Shards {
            path,
            tensors: BTreeMap::new(),
            files: Vec::new(),
            widened: BTreeSet::new(),
            pictures,
            skipped: BTreeMap::new(),
        };
        let expected: BTreeMap<String, Vec<usize>> =
            super::weights::base_shapes(config).into_iter().collect();
        for name in names {
            shards.read_file(&directory.join(name), &expected, config, device)?;
        }
        Ok(shards)
    }

    fn read_file(
        &mut self,
        path: &Path,
        expected: &BTreeMap<String, Vec<usize>>,
        config: &DecoderConfig,
        device: &Device,
    ) -> Result<(), LmError> {
        let file = TensorFile::read(path)?;
        let size_bytes = file.bytes().len() as u64;
        self.files.push(weights_file(path, size_bytes, blake3::hash(file.bytes())));
        let open: OpenFile<'_> = file.open(path)?;
        let mut extra = Vec::new();
        for name in open.names() {
            let known = match if self.pictures { part(name) } else { Part::Text(name.into()) } {
                Part::Text(known) => known,
                Part::Other(other) => {
                    *self.skipped.entry(other).or_default() += 1;
                    continue;
                }
            };
            let Some(shape) = expected.get(&*known) else {
                if !is_redundant(&known, config) {
                    extra.push(name.to_owned());
                }
                continue;
            };
            let (tensor, dtype) = open.load(name, shape, device)?;
            if dtype != DType::F32 {
                self.widened.insert(dtype.as_str().to_uppercase());
            }
            self.tensors.insert(known.into_owned(), tensor);
        }
        match extra.is_empty() {
            true => Ok(()),
            false => Err(unknown(path, &extra)),
        }
    }
}

impl Shards {
    fn left_out(&self) -> Vec<String> {
        self.skipped.iter().map(|(part, count)| format!("{part}: {count} tensors")).collect()
    }
}

/// Returns whether a tensor holds nothing that the other tensors do not say: a tied output layer
/// written out, or the rotary frequencies of old files.
fn is_redundant(name: &str, config: &DecoderConfig) -> bool {
    (config.tie_word_embeddings && name == "lm_head.weight")
        || name.ends_with("rotary_emb.inv_freq")
}

/// Returns the files that an index names.
fn shard_names(index: &Path) -> Result<BTreeSet<String>, LmError> {
    let text = std::fs::read_to_string(index).map_err(LmError::io(index))?;
    let json: Value = serde_json::from_str(&text)
        .map_err(|error| LmError::damaged(index, format!("not JSON: {error}")))?;
    let Some(map) = json["weight_map"].as_object() else {
        return Err(LmError::damaged(index, "field 'weight_map' is missing"));
    };
    let mut names = BTreeSet::new();
    for value in map.values() {
        match value.as_str() {
            // A shard lies beside its index; a name with folders could point anywhere.
            Some(name) if Path::new(name).file_name() == Some(name.as_ref()) => {
                names.insert(name.to_owned());
            }
            _ => {
                let what = format!("'weight_map' names {value}, expected a file beside the index");
                return Err(LmError::damaged(index, what));
            }
        }
    }
    Ok(names)
}

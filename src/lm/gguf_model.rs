//! A decoder in a GGUF file: its configuration, its weights under transformers' names.
//!
//! llama.cpp writes some things another way than transformers, and leaves others to its own code:
//!
//! | what | here |
//! |---|---|
//! | rows of query and key projections of `llama` are permuted | [`unpermute`] |
//! | norm weights of Gemma are stored with the 1 that its norms add | taken off in [`load`] |
//! | Llama 3's stretched frequencies are a tensor of divisors | [`llama3_scaling`] |
//! | Gemma's pattern of windows and the scale of its largest model are not stored | [`gemma`] |

use candle_core::Tensor;

use super::config::RopeScaling;
use super::gguf::{GgufFile, Value};
use super::{Activation, DecoderConfig, Family, LmError};

/// What is supported, for messages.
const SUPPORTED: &str = "the architectures 'llama', 'qwen2', 'qwen3', 'gemma2' and 'gemma3' are \
                         supported, in one file, without experts, with plain or linearly scaled \
                         rotary positions";

/// The tensor of divisors of the rotary frequencies.
const FREQUENCY_DIVISORS: &str = "rope_freqs.weight";

/// The keys of a file, below the name of its architecture.
struct Keys<'a> {
    file: &'a GgufFile,
    family: Family,
}

impl Keys<'_> {
    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.family.gguf_architecture())
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.file.get(&self.key(key))
    }

    fn size(&self, key: &str) -> Result<Option<usize>, LmError> {
        self.file.get_size(&self.key(key))
    }

    fn needed(&self, key: &str) -> Result<usize, LmError> {
        self.size(key)?.ok_or_else(|| {
            LmError::damaged(self.file.path(), format!("'{}' is missing", self.key(key)))
        })
    }

    /// Returns a number as its shortest decimal form: the header keeps it as f32, so that 1e-5
    /// arrives as 9.999999747378752e-06.
    fn number(&self, key: &str) -> Result<Option<f64>, LmError> {
        Ok(self.file.get_float(&self.key(key))?.map(shortest))
    }

    fn refuse<T>(&self, what: String) -> Result<T, LmError> {
        Err(LmError::unsupported(self.file.path(), what, SUPPORTED))
    }

    /// Refuses what would change the computation.
    fn refuse_other_shapes(&self, head_dim: usize) -> Result<(), LmError> {
        let mut unwanted = vec!["expert_count"];
        if !is_gemma(self.family) {
            unwanted.push("attention.sliding_window");
        }
        for key in unwanted {
            if self.size(key)?.unwrap_or(0) > 0 {
                return self.refuse(format!("{} is {:?}", self.key(key), self.get(key)));
            }
        }
        for key in ["rope.dimension_count", "attention.value_length"] {
            if self.size(key)?.is_some_and(|width| width != head_dim) {
                let what = format!("{} is {:?} with heads of", self.key(key), self.get(key));
                return self.refuse(format!("{what} {head_dim}"));
            }
        }
        if self.file.get_size("split.count")?.unwrap_or(1) > 1 {
            return self.refuse(format!("split.count is {:?}", self.file.get("split.count")));
        }
        Ok(())
    }

    fn rope_scaling(&self) -> Result<RopeScaling, LmError> {
        let factor = match self.number("rope.scaling.factor")? {
            Some(factor) => Some(factor),
            None => self.number("rope.scale_linear")?,
        };
        match self.file.get_text(&self.key("rope.scaling.type"))? {
            Some("none") => Ok(RopeScaling::None),
            None | Some("linear") => Ok(match factor {
                Some(factor) if factor != 0.0 && factor != 1.0 => RopeScaling::Linear { factor },
                _ => RopeScaling::None,
            }),
            Some(other) => self.refuse(format!("{} is '{other}'", self.key("rope.scaling.type"))),
        }
    }

    fn has(&self, tensor: &str) -> bool {
        self.file.tensor_names().any(|name| name == tensor)
    }
}

fn is_gemma(family: Family) -> bool {
    matches!(family, Family::Gemma2 | Family::Gemma3)
}

/// Returns the configuration.
///
/// # Errors
/// `Unsupported` for another architecture, rope scaling, experts or windows where the family has
/// none; `Damaged` if a key is missing.
pub(super) fn config(file: &mut GgufFile) -> Result<DecoderConfig, LmError> {
    let mut config = read(file)?;
    if file.tensor_names().any(|name| name == FREQUENCY_DIVISORS) {
        config.rope_scaling = llama3_scaling(file, &config)?;
    }
    config.validate().map_err(|error| LmError::damaged(file.path(), error.to_string()))?;
    Ok(config)
}

fn read(file: &GgufFile) -> Result<DecoderConfig, LmError> {
    let family = match file.get_text("general.architecture")? {
        None => {
            return Err(LmError::damaged(file.path(), "'general.architecture' is missing"));
        }
        Some(name) => Family::ALL
            .into_iter()
            .find(|family| family.gguf_architecture() == name)
            .ok_or_else(|| {
                let what = format!("general.architecture is '{name}'");
                LmError::unsupported(file.path(), what, SUPPORTED)
            })?,
    };
    let keys = Keys { file, family };
    let hidden_size = keys.needed("embedding_length")?;
    let n_heads = keys.needed("attention.head_count")?;
    let head_dim = match keys.size("attention.key_length")? {
        Some(width) => width,
        None => hidden_size.checked_div(n_heads).unwrap_or(0),
    };
    keys.refuse_other_shapes(head_dim)?;
    let vocab_size = match keys.size("vocab_size")? {
        Some(size) => size,
        None => file.get_texts("tokenizer.ggml.tokens")?.map_or(0, <[String]>::len),
    };
    let mut config = DecoderConfig {
        family,
        vocab_size,
        hidden_size,
        intermediate_size: keys.needed("feed_forward_length")?,
        n_layers: keys.needed("block_count")?,
        n_heads,
        n_kv_heads: keys.size("attention.head_count_kv")?.unwrap_or(n_heads),
        head_dim,
        rope_theta: keys.number("rope.freq_base")?.unwrap_or(10_000.0),
        rope_scaling: keys.rope_scaling()?,
        rms_norm_eps: keys.number("attention.layer_norm_rms_epsilon")?.unwrap_or(1e-5),
        query_key_norms: keys.has("blk.0.attn_q_norm.weight"),
        query_key_value_bias: keys.has("blk.0.attn_q.bias"),
        output_bias: keys.has("blk.0.attn_output.bias"),
        feed_forward_bias: keys.has("blk.0.ffn_up.bias"),
        context_length: keys.needed("context_length")?,
        tie_word_embeddings: !keys.has("output.weight"),
        ..DecoderConfig::default()
    };
    if is_gemma(family) {
        gemma(&mut config, &keys)?;
    }
    Ok(config)
}

/// Sets what Gemma adds, as llama.cpp has it in its code (`llama-model.cpp`).
fn gemma(config: &mut DecoderConfig, keys: &Keys<'_>) -> Result<(), LmError> {
    let gemma3 = config.family == Family::Gemma3;
    config.norm_adds_one = true;
    config.branch_norms = true;
    config.embedding_scaled = true;
    config.activation = Activation::GeluTanh;
    // The models of 27 billion weights, known by their layers, divide by the width per head.
    let widest = config.n_layers == if gemma3 { 62 } else { 46 };
    config.query_scalar = Some(match widest {
        true => config.hidden_size as f64 / config.n_heads.max(1) as f64,
        false => config.head_dim as f64,
    });
    let every;
    if gemma3 {
        config.sliding_window = Some(keys.needed("attention.sliding_window")?);
        config.rope_local_theta = Some(keys.number("rope.freq_base_swa")?.unwrap_or(10_000.0));
        every = keys.size("attention.sliding_window_pattern")?.unwrap_or(6);
        config.logit_soft_cap = keys.number("final_logit_softcapping")?;
    } else {
        config.sliding_window = Some(keys.size("attention.sliding_window")?.unwrap_or(4096));
        every = 2;
        config.attention_soft_cap = Some(keys.number("attn_logit_softcapping")?.unwrap_or(50.0));
        config.logit_soft_cap = Some(keys.number("final_logit_softcapping")?.unwrap_or(30.0));
    }
    // A number of layers beyond any model's is refused later, and not allocated for here.
    let layers = 0..config.n_layers.min(1 << 16);
    let sliding = layers.map(|layer| every == 0 || !(layer + 1).is_multiple_of(every));
    config.sliding_layers = sliding.collect();
    if !config.sliding_layers.contains(&true) {
        config.sliding_layers.clear();
    }
    Ok(())
}

/// Returns the scaling that the divisors of the frequencies stand for: that of Llama 3.1 and later,
/// whose other numbers are the same for every published model.
fn llama3_scaling(file: &mut GgufFile, config: &DecoderConfig) -> Result<RopeScaling, LmError> {
    let divisors = file.load(FREQUENCY_DIVISORS, &[config.head_dim / 2])?.to_vec1::<f32>()?;
    let factor = divisors.iter().copied().fold(1.0, f32::max);
    let scaling = RopeScaling::Llama3 {
        factor: shortest(f64::from(factor)),
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_length: 8192,
    };
    let plain = RopeScaling::None.frequencies(config.head_dim, config.rope_theta).values;
    let scaled = scaling.frequencies(config.head_dim, config.rope_theta).values;
    let agrees = |((divisor, plain), scaled): ((&f32, f32), f32)| {
        (plain / divisor - scaled).abs() <= 1e-4 * scaled
    };
    let plain_rope = config.rope_scaling == RopeScaling::None;
    if plain_rope && divisors.iter().zip(plain).zip(scaled).all(agrees) {
        return Ok(scaling);
    }
    let what = format!("{FREQUENCY_DIVISORS} is not Llama 3's with a factor of {factor}");
    Err(LmError::unsupported(file.path(), what, SUPPORTED))
}

/// Returns the shortest decimal number that is the same f32.
fn shortest(number: f64) -> f64 {
    (number as f32).to_string().parse().unwrap_or(number)
}

/// Returns the name that llama.cpp gives a weight with a transformers name.
fn gguf_name(name: &str, config: &DecoderConfig) -> Option<String> {
    match name {
        "model.embed_tokens.weight" => return Some("token_embd.weight".to_owned()),
        "model.norm.weight" => return Some("output_norm.weight".to_owned()),
        "lm_head.weight" => return Some("output.weight".to_owned()),
        _ => {}
    }
    let (rest, kind) = name.strip_prefix("model.layers.")?.rsplit_once('.')?;
    let (layer, part) = rest.split_once('.')?;
    let part = match part {
        "input_layernorm" => "attn_norm",
        "post_attention_layernorm" if config.branch_norms => "post_attention_norm",
        "post_attention_layernorm" | "pre_feedforward_layernorm" => "ffn_norm",
        "post_feedforward_layernorm" => "post_ffw_norm",
        "self_attn.q_norm" => "attn_q_norm",
        "self_attn.k_norm" => "attn_k_norm",
        "self_attn.q_proj" => "attn_q",
        "self_attn.k_proj" => "attn_k",
        "self_attn.v_proj" => "attn_v",
        "self_attn.o_proj" => "attn_output",
        "mlp.gate_proj" => "ffn_gate",
        "mlp.up_proj" => "ffn_up",
        "mlp.down_proj" => "ffn_down",
        _ => return None,
    };
    Some(format!("blk.{layer}.{part}.{kind}"))
}

/// Returns a weight by its transformers name, in f32 and in transformers' order of rows.
///
/// # Errors
/// If it is missing or has another shape.
pub(super) fn load(
    file: &mut GgufFile,
    config: &DecoderConfig,
    name: &str,
    shape: &[usize],
) -> Result<Tensor, LmError> {
    let gguf = gguf_name(name, config).unwrap_or_else(|| name.to_owned());
    let tensor = file.load(&gguf, shape)?;
    if config.norm_adds_one && name.ends_with("norm.weight") {
        return Ok((tensor - 1.0)?);
    }
    if config.family == Family::Llama && name.contains(".q_proj.") {
        return unpermute(&tensor, config.n_heads);
    }
    if config.family == Family::Llama && name.contains(".k_proj.") {
        return unpermute(&tensor, config.n_kv_heads);
    }
    Ok(tensor)
}

/// Returns the names of tensors that a model of this shape has no place for.
pub(super) fn unknown_tensors(file: &GgufFile, config: &DecoderConfig) -> Vec<String> {
    let known: std::collections::BTreeSet<String> = super::weights::base_shapes(config)
        .iter()
        .filter_map(|(name, _)| gguf_name(name, config))
        .collect();
    let unknown = |name: &&str| !known.contains(*name) && *name != FREQUENCY_DIVISORS;
    file.tensor_names().filter(unknown).map(str::to_owned).collect()
}

/// Returns the rows of a query or key projection (or the numbers of its bias) in transformers'
/// order.
///
/// llama.cpp rotates neighbouring features (2j, 2j + 1) and writes the rows of each head in that
/// order; transformers rotates feature j with feature j + width / 2. Row 2j + h of the file is
/// therefore row h * width / 2 + j here. Without this the model still writes fluent text, with
/// a worse likelihood.
fn unpermute(weight: &Tensor, heads: usize) -> Result<Tensor, LmError> {
    let rows = weight.dim(0)?;
    let half = rows / heads / 2;
    Ok(weight
        .reshape((heads, half, 2, weight.elem_count() / rows))?
        .transpose(1, 2)?
        .contiguous()?
        .reshape(weight.shape())?)
}

/// Returns the text of the chat template, if the file has one.
pub(super) fn chat_template(file: &GgufFile) -> Option<String> {
    match file.get("tokenizer.chat_template") {
        Some(Value::Text(text)) => Some(text.clone()),
        _ => None,
    }
}

//! A Llama-shaped model in a GGUF file: its configuration, its weights under transformers' names.

use candle_core::Tensor;

use super::gguf::{GgufFile, Value};
use super::{DecoderConfig, LmError};

/// Returns the configuration.
///
/// # Errors
/// `Unsupported` for another architecture, rope scaling, experts or sliding windows; `Damaged` if
/// a key is missing.
pub(super) fn config(file: &GgufFile) -> Result<DecoderConfig, LmError> {
    let supported = "only the Llama shape with plain rotary positions is supported";
    let refuse = |what: String| Err(LmError::unsupported(file.path(), what, supported));
    match file.get_text("general.architecture")? {
        Some("llama") => {}
        Some(other) => return refuse(format!("general.architecture is '{other}'")),
        None => return Err(LmError::damaged(file.path(), "'general.architecture' is missing")),
    }
    match file.get_text("llama.rope.scaling.type")? {
        None | Some("none") => {}
        Some(other) => return refuse(format!("llama.rope.scaling.type is '{other}'")),
    }
    for key in ["llama.expert_count", "llama.attention.sliding_window"] {
        if file.get_size(key)?.unwrap_or(0) > 0 {
            return refuse(format!("{key} is {:?}", file.get(key)));
        }
    }
    let size = |key: &str| -> Result<usize, LmError> {
        let key = format!("llama.{key}");
        file.get_size(&key)?
            .ok_or_else(|| LmError::damaged(file.path(), format!("'{key}' is missing")))
    };
    let (hidden_size, n_heads) = (size("embedding_length")?, size("attention.head_count")?);
    let head_dim = match file.get_size("llama.attention.key_length")? {
        Some(width) => width,
        None => hidden_size.checked_div(n_heads).unwrap_or(0),
    };
    for key in ["llama.rope.dimension_count", "llama.attention.value_length"] {
        if file.get_size(key)?.is_some_and(|width| width != head_dim) {
            return refuse(format!("{key} is {:?} with heads of {head_dim}", file.get(key)));
        }
    }
    let vocab_size = match file.get_size("llama.vocab_size")? {
        Some(size) => size,
        None => file.get_texts("tokenizer.ggml.tokens")?.map_or(0, <[String]>::len),
    };
    // The header keeps it as f32: 1e-5 arrives as 9.999999747378752e-06.
    let epsilon = file.get_float("llama.attention.layer_norm_rms_epsilon")?.unwrap_or(1e-5);
    let config = DecoderConfig {
        vocab_size,
        hidden_size,
        intermediate_size: size("feed_forward_length")?,
        n_layers: size("block_count")?,
        n_heads,
        n_kv_heads: file.get_size("llama.attention.head_count_kv")?.unwrap_or(n_heads),
        head_dim,
        rope_theta: file.get_float("llama.rope.freq_base")?.unwrap_or(10_000.0),
        rms_norm_eps: shortest(epsilon),
        context_length: size("context_length")?,
        tie_word_embeddings: !file.tensor_names().any(|name| name == "output.weight"),
    };
    config.validate().map_err(|error| LmError::damaged(file.path(), error.to_string()))?;
    Ok(config)
}

/// Returns the shortest decimal number that is the same f32.
fn shortest(number: f64) -> f64 {
    (number as f32).to_string().parse().unwrap_or(number)
}

/// Returns the name that llama.cpp gives a weight with a transformers name.
fn gguf_name(name: &str) -> Option<String> {
    match name {
        "model.embed_tokens.weight" => return Some("token_embd.weight".to_owned()),
        "model.norm.weight" => return Some("output_norm.weight".to_owned()),
        "lm_head.weight" => return Some("output.weight".to_owned()),
        _ => {}
    }
    let rest = name.strip_prefix("model.layers.")?.strip_suffix(".weight")?;
    let (layer, part) = rest.split_once('.')?;
    let part = match part {
        "input_layernorm" => "attn_norm",
        "post_attention_layernorm" => "ffn_norm",
        "self_attn.q_proj" => "attn_q",
        "self_attn.k_proj" => "attn_k",
        "self_attn.v_proj" => "attn_v",
        "self_attn.o_proj" => "attn_output",
        "mlp.gate_proj" => "ffn_gate",
        "mlp.up_proj" => "ffn_up",
        "mlp.down_proj" => "ffn_down",
        _ => return None,
    };
    Some(format!("blk.{layer}.{part}.weight"))
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
    let gguf = gguf_name(name).unwrap_or_else(|| name.to_owned());
    let tensor = file.load(&gguf, shape)?;
    if name.ends_with("q_proj.weight") {
        return unpermute(&tensor, config.n_heads);
    }
    if name.ends_with("k_proj.weight") {
        return unpermute(&tensor, config.n_kv_heads);
    }
    Ok(tensor)
}

/// Returns the names of tensors that a model of this shape has no place for.
pub(super) fn unknown_tensors(file: &GgufFile, config: &DecoderConfig) -> Vec<String> {
    let known: Vec<String> = super::weights::base_shapes(config)
        .iter()
        .filter_map(|(name, _)| gguf_name(name))
        .collect();
    let known: std::collections::BTreeSet<&str> = known.iter().map(String::as_str).collect();
    file.tensor_names().filter(|name| !known.contains(name)).map(str::to_owned).collect()
}

/// Returns the rows of a query or key projection in transformers' order.
///
/// llama.cpp rotates neighbouring features (2j, 2j + 1) and writes the rows of each head in that
/// order; transformers rotates feature j with feature j + width / 2. Row 2j + h of the file is
/// therefore row h * width / 2 + j here. Without this the model still writes fluent text, with
/// a worse likelihood.
fn unpermute(weight: &Tensor, heads: usize) -> Result<Tensor, LmError> {
    let (rows, inner) = weight.dims2()?;
    let half = rows / heads / 2;
    Ok(weight
        .reshape((heads, half, 2, inner))?
        .transpose(1, 2)?
        .contiguous()?
        .reshape((rows, inner))?)
}

/// Returns the text of the chat template, if the file has one.
pub(super) fn chat_template(file: &GgufFile) -> Option<String> {
    match file.get("tokenizer.chat_template") {
        Some(Value::Text(text)) => Some(text.clone()),
        _ => None,
    }
}

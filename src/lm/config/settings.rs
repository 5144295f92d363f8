//! `config.json`, read and written.
//!
//! Rope settings come in two writings: `rope_theta` and `rope_scaling` up to transformers 4, a
//! `rope_parameters` with both since 5, there by kind of layer for Gemma 3. The first is what is
//! written, since both versions read it.

use std::path::Path;

use serde_json::{Value, json};

use super::{Activation, DecoderConfig, Family, RopeScaling};
use crate::lm::LmError;
use crate::lm::fields::Fields;

/// More layers than any model has: kinds of layers are made for no more.
const LAYERS_MAX: usize = 1 << 16;

/// What this program runs, for messages.
const SUPPORTED: &str = "the model types 'llama', 'qwen2', 'qwen3', 'gemma2', 'gemma3_text' and \
                         'gemma3' (its text part) are supported, unquantised";

/// Reads the settings of a decoder.
pub(super) fn read(json: &Value, path: &Path) -> Result<DecoderConfig, LmError> {
    let outer = Fields { json, path };
    let name = outer.text("model_type")?.unwrap_or("null");
    // A Gemma 3 with pictures keeps the settings of its text part apart.
    let (family, fields) = match Family::ALL.iter().find(|family| family.model_type() == name) {
        Some(family) => (*family, outer),
        None if name == "gemma3" => (Family::Gemma3, Fields { json: &json["text_config"], path }),
        None => {
            let what = format!("model_type is {}", json["model_type"]);
            return Err(outer.unsupported(what, SUPPORTED));
        }
    };
    outer.only("quantization_config", &Value::Null, SUPPORTED)?;
    let sizes = family.sizes();
    let needed = |name: &str, other: Option<usize>| match other {
        Some(other) => Ok(fields.optional_size(name)?.unwrap_or(other)),
        None => fields.size(name),
    };
    let hidden_size = needed("hidden_size", sizes.map(|s| s.hidden))?;
    let n_heads = needed("num_attention_heads", sizes.map(|s| s.heads))?;
    let n_layers = needed("num_hidden_layers", sizes.map(|s| s.layers))?;
    let optional = |name: &str, other: usize| {
        Ok::<usize, LmError>(fields.optional_size(name)?.unwrap_or(other))
    };
    let context_length = optional("max_position_embeddings", family.context_length())?;
    let mut config = DecoderConfig {
        family,
        vocab_size: needed("vocab_size", sizes.map(|s| s.vocabulary))?,
        hidden_size,
        intermediate_size: needed("intermediate_size", sizes.map(|s| s.intermediate))?,
        n_layers,
        n_heads,
        n_kv_heads: optional("num_key_value_heads", family.kv_heads(n_heads))?,
        head_dim: optional("head_dim", family.head_dim(hidden_size, n_heads))?,
        rms_norm_eps: fields.number("rms_norm_eps")?.unwrap_or(1e-6),
        activation: read_activation(fields, family)?,
        context_length,
        tie_word_embeddings: match outer.optional_flag("tie_word_embeddings")? {
            Some(tied) => tied,
            None => fields.optional_flag("tie_word_embeddings")?.unwrap_or(family.is_gemma()),
        },
        ..DecoderConfig::default()
    };
    read_rope(&mut config, fields)?;
    match family {
        Family::Llama => read_llama(&mut config, fields)?,
        Family::Qwen2 | Family::Qwen3 => read_qwen(&mut config, fields)?,
        Family::Gemma2 | Family::Gemma3 => read_gemma(&mut config, fields)?,
    }
    Ok(config)
}

fn read_activation(fields: Fields<'_>, family: Family) -> Result<Activation, LmError> {
    let name = family.activation_field();
    let default = if family.is_gemma() { "gelu_pytorch_tanh" } else { "silu" };
    match fields.text(name)?.unwrap_or(default) {
        "silu" | "swish" => Ok(Activation::Silu),
        "gelu_pytorch_tanh" | "gelu_new" => Ok(Activation::GeluTanh),
        other => Err(fields.unsupported(
            format!("{name} is \"{other}\""),
            "the activations 'silu' and 'gelu_pytorch_tanh' are supported",
        )),
    }
}

/// Sets the biases of all projections of attention.
fn read_attention_bias(config: &mut DecoderConfig, fields: Fields<'_>) -> Result<(), LmError> {
    let bias = fields.flag("attention_bias")?;
    config.query_key_value_bias = bias;
    config.output_bias = bias;
    Ok(())
}

fn read_llama(config: &mut DecoderConfig, fields: Fields<'_>) -> Result<(), LmError> {
    config.feed_forward_bias = fields.flag("mlp_bias")?;
    read_attention_bias(config, fields)
}

fn read_qwen(config: &mut DecoderConfig, fields: Fields<'_>) -> Result<(), LmError> {
    match config.family {
        Family::Qwen3 => {
            config.query_key_norms = true;
            read_attention_bias(config, fields)?;
        }
        _ => config.query_key_value_bias = true,
    }
    let window = fields.optional_size("sliding_window")?;
    if fields.flag("use_sliding_window")? {
        config.sliding_window =
            window.or(fields.json.get("sliding_window").is_none().then_some(4096));
    }
    let first = fields.optional_size("max_window_layers")?.unwrap_or(28);
    let windowed = config.sliding_window.is_some();
    read_layers(config, fields, |layer| windowed && layer >= first)
}

fn read_gemma(config: &mut DecoderConfig, fields: Fields<'_>) -> Result<(), LmError> {
    if fields.flag("use_bidirectional_attention")? {
        let what = "use_bidirectional_attention is true".to_owned();
        return Err(fields.unsupported(what, "attention to earlier tokens is supported"));
    }
    config.norm_adds_one = true;
    config.branch_norms = true;
    config.embedding_scaled = true;
    config.query_scalar = Some(fields.number("query_pre_attn_scalar")?.unwrap_or(256.0));
    read_attention_bias(config, fields)?;
    // Null switches a cap off; a file without the field has the family's.
    let cap = |name: &str, other: Option<f64>| match fields.json.get(name) {
        None => Ok(other),
        Some(_) => fields.number(name),
    };
    let gemma3 = config.family == Family::Gemma3;
    config.attention_soft_cap = cap("attn_logit_softcapping", (!gemma3).then_some(50.0))?;
    config.logit_soft_cap = cap("final_logit_softcapping", (!gemma3).then_some(30.0))?;
    if gemma3 && config.attention_soft_cap.is_some() {
        let what = format!("attn_logit_softcapping is {}", fields.json["attn_logit_softcapping"]);
        return Err(fields.unsupported(what, "for Gemma 3 it is null: transformers ignores it"));
    }
    config.query_key_norms = gemma3;
    config.sliding_window = fields.optional_size("sliding_window")?;
    if fields.json.get("sliding_window").is_none() {
        config.sliding_window = Some(4096);
    }
    let every = match gemma3 {
        true => fields.optional_size("sliding_window_pattern")?.unwrap_or(6),
        false => 2,
    };
    read_layers(config, fields, |layer| every == 0 || !(layer + 1).is_multiple_of(every))
}

/// Sets which layers have a window: `layer_types`, else the family's rule.
fn read_layers(
    config: &mut DecoderConfig,
    fields: Fields<'_>,
    rule: impl Fn(usize) -> bool,
) -> Result<(), LmError> {
    let layers = match fields.get("layer_types") {
        None => (0..config.n_layers.min(LAYERS_MAX)).map(rule).collect(),
        Some(Value::Array(kinds)) => kinds
            .iter()
            .map(|kind| match kind.as_str() {
                Some("sliding_attention") => Ok(true),
                Some("full_attention") => Ok(false),
                _ => Err(fields.unsupported(
                    format!("layer_types names {kind}"),
                    "'full_attention' and 'sliding_attention' are supported",
                )),
            })
            .collect::<Result<Vec<bool>, LmError>>()?,
        Some(other) => return Err(fields.wrong("layer_types", "a list of texts", other)),
    };
    if layers.contains(&true) {
        config.sliding_layers = layers;
    } else if !layers.is_empty() && layers.len() != config.n_layers {
        let what = format!("layer_types names {} of {} layers", layers.len(), config.n_layers);
        return Err(LmError::damaged(fields.path, what));
    }
    Ok(())
}

fn read_rope(config: &mut DecoderConfig, fields: Fields<'_>) -> Result<(), LmError> {
    if fields.number("partial_rotary_factor")?.is_some_and(|part| part != 1.0) {
        let what = format!("partial_rotary_factor is {}", fields.json["partial_rotary_factor"]);
        return Err(fields.unsupported(what, "rotary positions over whole heads are supported"));
    }
    let by_kind = config.family == Family::Gemma3;
    let theta = fields.number("rope_theta")?;
    let parameters = Fields { json: &fields.json["rope_parameters"], path: fields.path };
    let scaling = Fields { json: &fields.json["rope_scaling"], path: fields.path };
    let (name, whole) = match by_kind {
        true => (
            "rope_parameters.full_attention",
            Fields { json: &parameters.json["full_attention"], path: fields.path },
        ),
        false => ("rope_parameters", parameters),
    };
    let (name, given) =
        if scaling.json.is_null() { (name, whole) } else { ("rope_scaling", scaling) };
    if !by_kind
        && (given.get("full_attention").is_some() || given.get("sliding_attention").is_some())
    {
        let what = format!("{name} is {}", given.json);
        return Err(fields.unsupported(what, "one rope for all layers is supported here"));
    }
    if by_kind && parameters.get("rope_theta").is_some() {
        let what = format!("rope_parameters is {}", parameters.json);
        return Err(fields.unsupported(what, "for Gemma 3 it has a part for each kind of layer"));
    }
    config.rope_scaling = RopeScaling::read(name, given, config.context_length)?;
    let default = if by_kind { 1_000_000.0 } else { 10_000.0 };
    config.rope_theta =
        given.number("rope_theta")?.or(whole.number("rope_theta")?).or(theta).unwrap_or(default);
    if by_kind {
        let local = Fields { json: &parameters.json["sliding_attention"], path: fields.path };
        let name = "rope_parameters.sliding_attention";
        if RopeScaling::read(name, local, config.context_length)? != RopeScaling::None {
            let what = format!("{name} is {}", local.json);
            return Err(fields.unsupported(what, "layers with a window have the plain rope"));
        }
        let theta = match local.number("rope_theta")? {
            Some(theta) => Some(theta),
            None => fields.number("rope_local_base_freq")?,
        };
        config.rope_local_theta = Some(theta.unwrap_or(10_000.0));
    }
    Ok(())
}

/// Returns the settings as transformers reads them.
pub(super) fn write(config: &DecoderConfig) -> Value {
    let family = config.family;
    let activation = match config.activation {
        Activation::Silu => "silu",
        Activation::GeluTanh => "gelu_pytorch_tanh",
    };
    let mut json = json!({
        "architectures": [family.architecture()],
        "model_type": family.model_type(),
        "attention_dropout": 0.0,
        "dtype": "float32",
        "head_dim": config.head_dim,
        family.activation_field(): activation,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "max_position_embeddings": config.context_length,
        "num_attention_heads": config.n_heads,
        "num_hidden_layers": config.n_layers,
        "num_key_value_heads": config.n_kv_heads,
        "rms_norm_eps": config.rms_norm_eps,
        "rope_theta": config.rope_theta,
        "tie_word_embeddings": config.tie_word_embeddings,
        "torch_dtype": "float32",
        "vocab_size": config.vocab_size,
    });
    if let Some(scaling) = config.rope_scaling.write() {
        json["rope_scaling"] = scaling;
    }
    if family != Family::Qwen2 {
        json["attention_bias"] = json!(config.query_key_value_bias);
    }
    match family {
        Family::Llama => json["mlp_bias"] = json!(config.feed_forward_bias),
        Family::Qwen2 | Family::Qwen3 => {
            json["use_sliding_window"] = json!(config.sliding_window.is_some());
            json["sliding_window"] = json!(config.sliding_window);
            json["max_window_layers"] = json!(config.n_layers);
            write_layers(config, &mut json);
        }
        Family::Gemma2 | Family::Gemma3 => {
            json["sliding_window"] = json!(config.sliding_window);
            json["query_pre_attn_scalar"] = config.query_scalar.map_or(Value::Null, whole);
            json["attn_logit_softcapping"] = json!(config.attention_soft_cap);
            json["final_logit_softcapping"] = json!(config.logit_soft_cap);
            write_layers(config, &mut json);
        }
    }
    if let Some(theta) = config.rope_local_theta {
        json["rope_local_base_freq"] = json!(theta);
    }
    json
}

/// Returns a number without a fraction where it has none: some fields are whole to transformers.
fn whole(number: f64) -> Value {
    match number.fract() == 0.0 && number.abs() < 1e15 {
        true => json!(number as i64),
        false => json!(number),
    }
}

fn write_layers(config: &DecoderConfig, json: &mut Value) {
    let kind = |layer| match config.is_sliding(layer) {
        true => "sliding_attention",
        false => "full_attention",
    };
    let kinds: Vec<&str> = (0..config.n_layers).map(kind).collect();
    json["layer_types"] = json!(kinds);
}

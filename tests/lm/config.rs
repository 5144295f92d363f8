//! `config.json`: every family, both writings of rope settings, and what is refused.

use std::path::Path;

use serde_json::{Value, json};
use swirldb::lm::{Activation, DecoderConfig, Family, LmError, RopeScaling, Yarn};

use super::{families, tiny};

fn read(json: &Value) -> Result<DecoderConfig, LmError> {
    DecoderConfig::from_json(&json.to_string(), Path::new("config.json"))
}

/// Returns settings with all sizes, and those of `more`.
fn settings(model_type: &str, more: Value) -> Value {
    let mut json = json!({
        "model_type": model_type, "vocab_size": 61, "hidden_size": 24, "intermediate_size": 40,
        "num_hidden_layers": 7, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 6,
    });
    for (key, value) in more.as_object().unwrap() {
        json[key] = value.clone();
    }
    json
}

#[test]
fn what_is_written_is_read() {
    let yarn = RopeScaling::Yarn(Yarn {
        factor: 4.0,
        original_length: 16,
        beta_fast: 32.0,
        beta_slow: 1.0,
        attention_factor: 1.25,
    });
    let more = vec![tiny(), DecoderConfig { rope_scaling: yarn, ..tiny() }];
    for config in [more, families()].concat() {
        config.validate().unwrap();
        assert_eq!(read(&config.to_json(Some(1))).unwrap(), config);
    }
}

#[test]
fn rope_settings_are_read_in_both_writings() {
    let scaling = json!({
        "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    });
    let mut parameters = scaling.clone();
    parameters["rope_theta"] = json!(500_000.0);
    let old = settings("llama", json!({ "rope_theta": 500_000.0, "rope_scaling": scaling }));
    let new = settings("llama", json!({ "rope_parameters": parameters }));
    let config = read(&old).unwrap();
    assert_eq!(config, read(&new).unwrap());
    assert_eq!(config.rope_theta, 500_000.0);
    assert!(matches!(config.rope_scaling, RopeScaling::Llama3 { factor: 32.0, .. }));

    let old = settings(
        "gemma3_text",
        json!({
            "rope_theta": 2e6, "rope_local_base_freq": 3e4,
            "rope_scaling": { "type": "linear", "factor": 8.0 },
        }),
    );
    let new = settings(
        "gemma3_text",
        json!({ "rope_parameters": {
            "full_attention": { "rope_type": "linear", "factor": 8.0, "rope_theta": 2e6 },
            "sliding_attention": { "rope_type": "default", "rope_theta": 3e4 },
        } }),
    );
    let config = read(&old).unwrap();
    assert_eq!(config, read(&new).unwrap());
    assert_eq!((config.rope_theta, config.rope_local_theta), (2e6, Some(3e4)));
    assert_eq!(config.rope_scaling, RopeScaling::Linear { factor: 8.0 });
}

#[test]
fn what_is_left_out_is_what_transformers_takes() {
    let plain = read(&settings("llama", json!({}))).unwrap();
    let sizes = DecoderConfig { context_length: 2048, rms_norm_eps: 1e-6, n_layers: 7, ..tiny() };
    assert_eq!(plain, DecoderConfig { tie_word_embeddings: false, ..sizes.clone() });

    let gemma2 = read(&settings("gemma2", json!({}))).unwrap();
    assert_eq!(gemma2.sliding_layers, [true, false, true, false, true, false, true]);
    let expected = DecoderConfig {
        family: Family::Gemma2,
        norm_adds_one: true,
        branch_norms: true,
        activation: Activation::GeluTanh,
        embedding_scaled: true,
        query_scalar: Some(256.0),
        attention_soft_cap: Some(50.0),
        logit_soft_cap: Some(30.0),
        sliding_window: Some(4096),
        sliding_layers: gemma2.sliding_layers.clone(),
        context_length: 8192,
        ..sizes
    };
    assert_eq!(gemma2, expected);
    // Null is not the same as nothing.
    let uncapped = json!({ "attn_logit_softcapping": null, "final_logit_softcapping": null });
    let uncapped = read(&settings("gemma2", uncapped)).unwrap();
    assert_eq!((uncapped.attention_soft_cap, uncapped.logit_soft_cap), (None, None));

    let gemma3 = read(&settings("gemma3_text", json!({}))).unwrap();
    assert_eq!(gemma3.sliding_layers, [true, true, true, true, true, false, true]);
    assert!(gemma3.query_key_norms && gemma3.attention_soft_cap.is_none());
    assert_eq!((gemma3.rope_theta, gemma3.rope_local_theta), (1e6, Some(1e4)));

    // A window that is not used is none.
    let qwen = json!({ "sliding_window": 8, "use_sliding_window": false });
    let qwen = read(&settings("qwen2", qwen)).unwrap();
    assert_eq!((qwen.sliding_window, qwen.sliding_layers.len()), (None, 0));
    assert!(qwen.query_key_value_bias && !qwen.output_bias);
    let qwen = json!({ "sliding_window": 8, "use_sliding_window": true, "max_window_layers": 5 });
    let qwen = read(&settings("qwen3", qwen)).unwrap();
    assert_eq!(qwen.sliding_window, Some(8));
    assert_eq!(qwen.sliding_layers, [false, false, false, false, false, true, true]);
}

#[test]
fn the_text_part_of_a_model_with_pictures_says_little() {
    // All that a Gemma 3 of four billion weights says of its text part.
    let config = read(&json!({
        "model_type": "gemma3", "vision_config": {},
        "text_config": {
            "hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text",
            "num_hidden_layers": 34, "sliding_window": 1024,
            "rope_scaling": { "factor": 8.0, "rope_type": "linear" },
        },
    }))
    .unwrap();
    assert_eq!((config.vocab_size, config.n_heads, config.n_kv_heads), (262_208, 8, 4));
    assert_eq!((config.head_dim, config.context_length), (256, 131_072));
    assert!(config.tie_word_embeddings && config.is_sliding(0) && !config.is_sliding(5));
}

#[test]
fn settings_that_are_not_computed_are_refused_by_name() {
    for (model_type, more, part) in [
        ("mistral", json!({}), "model_type is \"mistral\""),
        ("gemma", json!({}), "'gemma2'"),
        ("qwen3_moe", json!({}), "model_type is \"qwen3_moe\""),
        ("gemma2", json!({ "hidden_activation": "gelu" }), "hidden_activation is \"gelu\""),
        ("gemma2", json!({ "use_bidirectional_attention": true }), "use_bidirectional"),
        ("gemma2", json!({ "sliding_window": null }), "sliding_window is not given"),
        ("gemma2", json!({ "final_logit_softcapping": 0 }), "final_logit_softcapping is 0"),
        ("gemma3_text", json!({ "attn_logit_softcapping": 50.0 }), "transformers ignores it"),
        ("gemma3_text", json!({ "layer_types": ["sliding_attention"] }), "1 kinds of 7 layers"),
        ("qwen3", json!({ "layer_types": ["linear_attention"] }), "\"linear_attention\""),
        ("qwen3", json!({ "layer_types": ["full_attention"] }), "names 1 of 7 layers"),
        ("qwen2", json!({ "rope_scaling": { "type": "dynamic", "factor": 2 } }), "dynamic"),
        (
            "qwen2",
            json!({ "rope_parameters": { "full_attention": { "rope_theta": 1.0 } } }),
            "one rope for all layers",
        ),
        (
            "gemma3_text",
            json!({ "rope_parameters": { "rope_theta": 1.0, "rope_type": "default" } }),
            "a part for each kind of layer",
        ),
        (
            "gemma3_text",
            json!({ "rope_parameters": {
                "sliding_attention": { "rope_type": "linear", "factor": 2.0 },
            } }),
            "layers with a window have the plain rope",
        ),
        (
            "llama",
            json!({ "rope_scaling": { "rope_type": "yarn", "factor": 2, "truncate": false } }),
            "truncate is false",
        ),
        (
            "llama",
            json!({ "rope_scaling": { "rope_type": "linear", "factor": -2 } }),
            "factor of the rope scaling is -2",
        ),
        ("llama", json!({ "num_hidden_layers": 1_u64 << 60 }), "number of layers is"),
        ("gemma2", json!({ "num_hidden_layers": 1_u64 << 60 }), "number of layers is"),
    ] {
        let error = read(&settings(model_type, more)).unwrap_err().to_string();
        assert!(error.contains(part), "{part}: {error}");
        assert!(error.contains("config.json"), "{error}");
    }
}

#[test]
fn a_shape_that_its_family_cannot_say_is_refused() {
    for (config, part) in [
        (DecoderConfig { query_key_norms: true, ..tiny() }, "query_key_norms: true"),
        (DecoderConfig { output_bias: true, ..tiny() }, "output_bias: true"),
        (DecoderConfig { family: Family::Qwen2, ..tiny() }, "query_key_value_bias: false"),
        (DecoderConfig { logit_soft_cap: Some(30.0), ..tiny() }, "logit_soft_cap: Some("),
    ] {
        let error = config.validate().unwrap_err();
        assert!(matches!(error, LmError::Config { .. }), "{error}");
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
}

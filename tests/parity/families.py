"""Writes small random checkpoints of every family and what transformers computes with them.

fixtures/models/<name>: weights in f16, bf16 or f32, config.json as transformers 5 writes it, and
expected.safetensors with `tokens` of two sequences one after another, their `lengths`, the `logits`
of each run by itself, and for the mean negative log-likelihood of every token after the first of
its sequence: `loss` and `grad.<name>` of every weight. Sequences are longer than every window.
Biases and norms are random, and nothing is near zero.
"""

import json
import pathlib
import shutil

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3Config,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

FIXTURES = pathlib.Path(__file__).parents[2] / "fixtures" / "models"
SHAPE = dict(
    vocab_size=96,
    hidden_size=24,
    intermediate_size=40,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=128,
    bos_token_id=0,
    eos_token_id=1,
    pad_token_id=None,
)
LENGTHS = [40, 23]
TOKENS = [(7 * i * i + 3 * i + 11) % 96 for i in range(sum(LENGTHS))]


def randomise(model, seed):
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() >= 2:
                # Larger than the usual 0.02, so that attention is far from uniform.
                parameter.normal_(0, 0.3)
            elif name.endswith("bias"):
                parameter.normal_(0, 0.3)
            else:
                parameter.uniform_(0.5, 1.5)
                if "Gemma" in type(model).__name__:
                    # Its norms add one.
                    parameter.sub_(1)


def write(name, seed, model, dtype=torch.float16, old=None):
    """`old` changes config.json to what transformers 4 wrote."""
    directory = FIXTURES / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    randomise(model, seed)
    model.to(dtype).save_pretrained(directory)
    # Read again, for the narrow type has rounded buffers too.
    model = type(model).from_pretrained(directory, dtype=torch.float32).eval()
    model.set_attn_implementation("eager")
    sequences = torch.tensor(TOKENS).split(LENGTHS)
    logits = [model(tokens[None]).logits[0] for tokens in sequences]
    losses = [
        torch.nn.functional.cross_entropy(row[:-1], tokens[1:], reduction="none")
        for row, tokens in zip(logits, sequences)
    ]
    loss = torch.cat(losses).mean()
    loss.backward()
    expected = {
        "tokens": torch.tensor(TOKENS, dtype=torch.int32),
        "lengths": torch.tensor(LENGTHS, dtype=torch.int32),
        "logits": torch.cat(logits).detach(),
        "loss": loss.detach()[None],
    }
    for parameter_name, parameter in model.named_parameters():
        if parameter.grad is None:
            continue
        ours = parameter_name.replace("model.language_model.", "model.")
        expected["grad." + ours] = parameter.grad
    save_file({k: v.contiguous() for k, v in expected.items()}, directory / "expected.safetensors")
    path = directory / "config.json"
    config = json.loads(path.read_text())
    if old:
        old(config)
        path.write_text(json.dumps(config, indent=2) + "\n")
    (directory / "generation_config.json").unlink(missing_ok=True)
    stored = load_file(directory / "model.safetensors")
    print(name, loss.item(), sum(t.numel() for t in stored.values()), config)


def old_gemma3(config):
    full = config.pop("rope_parameters")
    config["rope_theta"] = full["full_attention"].pop("rope_theta")
    config["rope_scaling"] = full["full_attention"]
    config["rope_local_base_freq"] = full["sliding_attention"]["rope_theta"]
    config["sliding_window_pattern"] = 3
    del config["layer_types"]


def old_qwen2(config):
    config["rope_theta"] = config.pop("rope_parameters")["rope_theta"]
    config["sliding_window"] = 8
    config["max_window_layers"] = 1
    del config["layer_types"]


write(
    "llama3-tiny",
    11,
    LlamaForCausalLM(
        LlamaConfig(
            **SHAPE,
            attention_bias=True,
            mlp_bias=True,
            tie_word_embeddings=True,
            rope_parameters={
                "rope_type": "llama3",
                "rope_theta": 500.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 32,
            },
        )
    ),
)
write(
    "qwen2-tiny",
    12,
    Qwen2ForCausalLM(
        Qwen2Config(
            **SHAPE,
            tie_word_embeddings=False,
            use_sliding_window=True,
            sliding_window=8,
            max_window_layers=1,
            rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
        )
    ),
    dtype=torch.bfloat16,
    old=old_qwen2,
)
write(
    "qwen3-tiny",
    13,
    Qwen3ForCausalLM(
        Qwen3Config(
            **SHAPE,
            head_dim=8,
            tie_word_embeddings=True,
            rope_parameters={
                "rope_type": "yarn",
                "rope_theta": 10000.0,
                "factor": 4.0,
                "original_max_position_embeddings": 32,
            },
        )
    ),
)
write(
    "gemma2-tiny",
    14,
    Gemma2ForCausalLM(
        Gemma2Config(
            **SHAPE,
            head_dim=8,
            query_pre_attn_scalar=12,
            sliding_window=8,
            attn_logit_softcapping=2.5,
            final_logit_softcapping=4.0,
            attn_implementation="eager",
        )
    ),
)
GEMMA3 = dict(
    head_dim=8,
    query_pre_attn_scalar=12,
    sliding_window=8,
    layer_types=["sliding_attention", "sliding_attention", "full_attention"],
    rope_parameters={
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
    },
)
write("gemma3-tiny", 15, Gemma3ForCausalLM(Gemma3TextConfig(**SHAPE, **GEMMA3)), old=old_gemma3)
write(
    "gemma3-pictures-tiny",
    16,
    Gemma3ForConditionalGeneration(
        Gemma3Config(
            text_config=dict(**SHAPE, **GEMMA3),
            vision_config=dict(
                hidden_size=8,
                intermediate_size=8,
                num_hidden_layers=1,
                num_attention_heads=1,
                image_size=16,
                patch_size=8,
            ),
            mm_tokens_per_image=4,
        )
    ),
)

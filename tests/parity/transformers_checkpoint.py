"""Writes small random Llama checkpoints and what transformers computes with them.

fixtures/models/llama-tiny: tied embeddings, a head width that is not hidden / heads.
fixtures/models/llama-tiny-untied: a separate output layer, in two shards.

Beside each checkpoint, expected.safetensors holds `tokens`, `logits`, and for the mean negative
log-likelihood of every token after the first: `loss` and `grad.<name>` of every weight.
"""

import json
import pathlib
import shutil

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

FIXTURES = pathlib.Path(__file__).parents[2] / "fixtures" / "models"
SHAPE = dict(
    vocab_size=128,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=256,
    rms_norm_eps=1e-5,
    hidden_act="silu",
    attention_bias=False,
    mlp_bias=False,
    bos_token_id=0,
    eos_token_id=1,
)
TOKENS = [(7 * i * i + 3 * i + 11) % 128 for i in range(150)]


def write(name, seed, shards, **more):
    directory = FIXTURES / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(**SHAPE, **more)).float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            # Larger than the usual 0.02, so that attention is far from uniform.
            if parameter.dim() == 2:
                parameter.normal_(0, 0.25)
            else:
                parameter.uniform_(0.5, 1.5)
    size = "30KB" if shards else "10MB"
    model.save_pretrained(directory, max_shard_size=size)
    tokens = torch.tensor([TOKENS])
    logits = model(tokens).logits[0]
    targets = tokens[0, 1:]
    loss = torch.nn.functional.cross_entropy(logits[:-1], targets)
    loss.backward()
    expected = {"tokens": tokens[0].int(), "logits": logits.detach(), "loss": loss.detach()[None]}
    for parameter_name, parameter in model.named_parameters():
        expected["grad." + parameter_name] = parameter.grad
    save_file({k: v.contiguous() for k, v in expected.items()}, directory / "expected.safetensors")
    config = json.loads((directory / "config.json").read_text())
    print(
        name,
        float(loss),
        config.get("rope_parameters"),
        sorted(p.name for p in directory.iterdir()),
    )


write(
    "llama-tiny",
    1,
    False,
    head_dim=10,
    tie_word_embeddings=True,
    rope_parameters={"rope_type": "default", "rope_theta": 500.0},
)
write(
    "llama-tiny-untied",
    2,
    True,
    tie_word_embeddings=False,
    rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
)

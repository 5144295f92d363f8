"""Times forward and backward of SmolLM2's shape over 256 tokens in PyTorch, f32 on the CPU.

    python step_time.py THREADS

The shortest of several rounds, as tests/lm/timing.rs prints it. LoRA by peft: r = 8 on all linear
layers.
"""

import sys
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

torch.set_num_threads(int(sys.argv[1]))
tokens = torch.arange(257)[None] * 7919 % 49152


def measure(name, model):
    forward = backward = processor = 1e9
    for _ in range(6):
        start, used = time.perf_counter(), time.process_time()
        logits = model(tokens[:, :256], use_cache=False).logits[0]
        loss = torch.nn.functional.cross_entropy(logits, tokens[0, 1:])
        forward = min(forward, time.perf_counter() - start)
        start = time.perf_counter()
        if loss.requires_grad:
            loss.backward()
            backward = min(backward, time.perf_counter() - start)
        processor = min(processor, time.process_time() - used)
        model.zero_grad(set_to_none=True)
    backward = backward if backward < 1e9 else 0
    print(
        f"{name}: forward {forward * 1e3:.0f} ms, backward {backward * 1e3:.0f} ms, "
        f"both {(forward + backward) * 1e3:.0f} ms, processor {processor * 1e3:.0f} ms"
    )


config = LlamaConfig(
    vocab_size=49152,
    hidden_size=576,
    intermediate_size=1536,
    num_hidden_layers=30,
    num_attention_heads=9,
    num_key_value_heads=3,
    max_position_embeddings=8192,
    rms_norm_eps=1e-5,
    tie_word_embeddings=True,
    rope_parameters={"rope_type": "default", "rope_theta": 100000.0},
)
model = LlamaForCausalLM(config).float().train()
with torch.no_grad():
    measure("frozen", model)
measure("full", model)
lora = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
measure("lora", get_peft_model(model, lora))

"""Times an AdamW step of SmolLM2-135M's shape in PyTorch on a card.

    python cuda_peer.py

As tests/lm/device/card.rs does: 8 x 2,048 tokens; the median of several steps after a warm-up.
Needs torch with CUDA and transformers; without them it says so and ends with 1.
"""

import sys
import time

try:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
except ImportError as error:
    sys.exit(f"PyTorch is not compared: {error}")
if not torch.cuda.is_available():
    sys.exit("PyTorch is not compared: it sees no card")

SEQUENCES, LENGTH, ROUNDS = 8, 2048, 10


def measure(name, dtype, compiled=False, autocast=False):
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    torch.manual_seed(1)
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
    model = LlamaForCausalLM(config).to("cuda", dtype).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01, fused=True)
    run = torch.compile(model) if compiled else model
    tokens = torch.arange(SEQUENCES * LENGTH, device="cuda").reshape(SEQUENCES, LENGTH)
    tokens = tokens * 7919 % 49152

    def step():
        with torch.autocast("cuda", torch.bfloat16, enabled=autocast):
            loss = run(tokens, labels=tokens, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    first = [step() for _ in range(3)][0]
    times = []
    for _ in range(ROUNDS):
        torch.cuda.synchronize()
        start = time.perf_counter()
        last = step()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    median = sorted(times)[ROUNDS // 2]
    memory = torch.cuda.max_memory_reserved() / 2**30
    print(
        f"PyTorch {torch.__version__}, {name}: {median * 1e3:.1f} ms for a step "
        f"({min(times) * 1e3:.1f} the shortest), {SEQUENCES * LENGTH / median:.0f} tokens/s, "
        f"at most {memory:.1f} GiB; loss {first:.3f} to {last:.3f}",
        flush=True,
    )


measure("bf16", torch.bfloat16)
measure("f32", torch.float32)
for name, arguments in [
    ("f32 with bf16 autocast", {"dtype": torch.float32, "autocast": True}),
    ("bf16, torch.compile", {"dtype": torch.bfloat16, "compiled": True}),
    ("autocast, torch.compile", {"dtype": torch.float32, "autocast": True, "compiled": True}),
]:
    try:
        measure(name, **arguments)
    except Exception as error:  # torch.compile needs a C compiler and headers on the machine
        print(f"PyTorch, {name}: {type(error).__name__}: {str(error)[:200]}", flush=True)

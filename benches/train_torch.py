"""One case of train.py in PyTorch: prints one line of JSON. See tests/train/timing.rs for ours.

    python train_torch.py CASE FOLDER STEPS SHAPE

FOLDER holds the model and the adapters that ours wrote; SHAPE is what ours says of the cases.
Attention is torch's fused kernel (sdpa), AdamW the fused one, logits are f32 and computed for the
rows that carry loss alone.
"""

import json
import sys
import time
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

THREADS = 2


def token(at: torch.Tensor) -> torch.Tensor:
    """Returns the tokens at some places of the text that is measured."""
    return at * 7919 % 49152


def forget_peak() -> None:
    """Forgets the greatest memory so far, so that reading a model is not part of it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        # The number is that of the whole process then.
        pass


def peak_kb() -> int:
    """Returns the greatest memory in kB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def texts(size: str, shape: dict) -> list[tuple[int, range]]:
    """Returns length and places with loss of every forward pass of a step."""
    if size != "nested":
        return [(int(size), range(1, int(size) + 1))]
    out = []
    for number in range(shape["actions"]):
        start = shape["prompt"] + number * (shape["action"] + shape["observation"])
        out.append((start + shape["action"], range(start, start + shape["action"])))
    return out


def train(model, passes: list[tuple[int, range]], steps: int) -> dict:
    """Makes optimiser steps of some forward passes each; their losses are averaged over tokens."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.0, fused=True)
    count = sum(len(places) for _, places in passes)
    model.train()
    forget_peak()
    seconds, losses = [], []
    for _ in range(steps):
        start = time.perf_counter()
        total = 0.0
        for length, places in passes:
            tokens = token(torch.arange(length))[None]
            places = torch.arange(places.start, places.stop)
            # All rows are the default, which needs no copy of the states.
            rows = 0 if len(places) == length else places - 1
            out = model(input_ids=tokens, use_cache=False, logits_to_keep=rows)
            loss = torch.nn.functional.cross_entropy(
                out.logits[0], token(places), reduction="sum"
            )
            loss = loss / count
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(trained, 1.0, foreach=True)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(total)
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds, "losses": losses, "peak_kb": peak_kb()}


def decode(model, rounds: int, shape: dict) -> dict:
    """Decodes `rounds` times one token after the prompts, and then all."""
    model.eval()
    model.generation_config.eos_token_id = None
    places = torch.arange(shape["prompt_tokens"])[None]
    ids = token(places + 31 * torch.arange(shape["prompts"])[:, None])
    forget_peak()

    def run(new: int):
        start = time.perf_counter()
        out = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, do_sample=False,
            use_cache=True, pad_token_id=0,
        )
        return time.perf_counter() - start, out[:, ids.shape[1]:].tolist()

    first, seconds, tokens = [], [], []
    with torch.inference_mode():
        for _ in range(rounds):
            first.append(run(1)[0])
            took, tokens = run(shape["new_tokens"])
            seconds.append(took)
    return {"first": first, "seconds": seconds, "tokens": tokens, "peak_kb": peak_kb()}


def main() -> None:
    case, folder, steps, shape = sys.argv[1:]
    folder, steps, shape = Path(folder), int(steps), json.loads(shape)
    torch.set_num_threads(THREADS)
    model = AutoModelForCausalLM.from_pretrained(
        folder / "model", dtype=torch.float32, attn_implementation="sdpa"
    )
    if case == "decode":
        measured = decode(model, steps, shape)
    else:
        kind, size = case.split("-")
        if kind == "lora":
            model = PeftModel.from_pretrained(model, folder / "adapter", is_trainable=True)
        measured = train(model, texts(size, shape), steps)
    print(json.dumps(measured))


if __name__ == "__main__":
    main()

"""Writes fixtures/models/greedy.json: what transformers' generate gives for the small checkpoints.

    python tests/parity/greedy.py fixtures/models

Needs torch and transformers (see README.md).
"""

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

NAMES = ["llama-tiny", "llama3-tiny", "qwen2-tiny", "qwen3-tiny", "gemma2-tiny", "gemma3-tiny"]


def main() -> None:
    directory = Path(sys.argv[1])
    out = {}
    for name in NAMES:
        model = AutoModelForCausalLM.from_pretrained(
            directory / name, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        vocabulary = model.config.vocab_size
        prompt = [(i * i * 7 + i) % vocabulary for i in range(21)]
        # No token ends the text, and none of the prompt is padding.
        model.generation_config.eos_token_id = None
        ids = torch.tensor([prompt])
        mask = torch.ones_like(ids)
        with torch.no_grad():
            ids = model.generate(
                ids, attention_mask=mask, max_new_tokens=20, do_sample=False, pad_token_id=0
            )
        out[name] = {"prompt": prompt, "tokens": ids[0, len(prompt):].tolist()}
    (directory / "greedy.json").write_text(json.dumps(out) + "\n")


main()

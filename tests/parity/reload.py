"""Loads with transformers and peft what the decoder saved, and prints the losses to compare.

    cargo test lm::parity::save_for_reload -- --ignored --nocapture

which prints DIRECTORY and our losses.
    python reload.py DIRECTORY
"""

import pathlib
import sys

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer


def loss(model, tokens):
    with torch.no_grad():
        logits = model(tokens).logits[0]
    return f"{float(torch.nn.functional.cross_entropy(logits[:-1], tokens[0, 1:])):.5f}"


fixtures = pathlib.Path(__file__).parents[2] / "fixtures" / "models"
for directory in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    name = directory.name
    tokens = load_file(fixtures / name / "expected.safetensors")["tokens"][None].long()
    model = AutoModelForCausalLM.from_pretrained(directory / "full", attn_implementation="eager")
    print(name, type(model).__name__, model.dtype)
    print(name, "full", loss(model, tokens))
    adapted = PeftModel.from_pretrained(model, directory / "adapter")
    print(name, "adapter", loss(adapted, tokens))
    merged = AutoModelForCausalLM.from_pretrained(directory / "merged", attn_implementation="eager")
    print(name, "merged", loss(merged, tokens))
    tokenizer = AutoTokenizer.from_pretrained(directory / "full")
    ids = tokenizer("to be or not", add_special_tokens=False).input_ids
    print(name, "tokenizer", ids, tokenizer.eos_token)

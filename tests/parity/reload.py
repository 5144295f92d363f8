"""Loads with transformers and peft what the decoder saved, and prints the losses to compare.

    cargo test lm::parity::save_for_reload -- --ignored --nocapture

which prints DIRECTORY and our losses.
    python reload.py DIRECTORY
"""

import pathlib
import sys

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

directory = pathlib.Path(sys.argv[1])
tokens = torch.tensor([[(7 * i * i + 3 * i + 11) % 128 for i in range(150)]])


def loss(model):
    with torch.no_grad():
        logits = model(tokens).logits[0]
    return float(torch.nn.functional.cross_entropy(logits[:-1], tokens[0, 1:]))


model = AutoModelForCausalLM.from_pretrained(directory / "full")
print("full", loss(model))
tokenizer = AutoTokenizer.from_pretrained(directory / "full")
ids = tokenizer("to be or not", add_special_tokens=False).input_ids
print("tokenizer", ids, tokenizer.eos_token)
print("adapter", loss(PeftModel.from_pretrained(model, directory / "adapter")))

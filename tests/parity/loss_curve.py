"""Trains in PyTorch what a run of swirl was trained on, and compares the losses step by step.

    python loss_curve.py DB RUN [--swirl PROGRAM] [--steps 20] [--tolerance 1e-3]

The run is one of objective 'sft', `full = true` or with adapters. From the program come its tokens
(`swirl export DB --run RUN`), its options, and what it measured (`FROM metrics`); here
the model is read by transformers (a GGUF file is dequantised), attention is eager, numbers are f32,
adapters are peft's, and the optimiser is torch's AdamW. Adapters begin as ours do: A is computed
again from the seed, in this file. So is the learning rate, which is compared too. Every sequence
is a forward pass of its own. Exits with 1 where a loss is further away than the tolerance, or a
learning rate is another one.

Runs on human-labelled search trajectories (AgentProcessBench's HotPotQA part), once all weights and
once adapters; in a checkout after `make model`:

    swirl import DB hotpotqa_queries_00-19.jsonl.zst --source hotpotqa
    swirl DB -c "FROM subtrajectories |> WHERE process > .5
        |> TRAIN WITH (model = 'models/SmolLM2-135M-Instruct.Q4_1.gguf', full = true,
                       max_steps = 20, tokens_per_step = 1024, tokens_per_batch = 1024,
                       max_length = 1024, truncation = 'drop', weight_decay = 0.01) AS whole"
    swirl DB -c "... |> TRAIN WITH (model = '...', max_steps = 20, ..., seed = 3) AS adapters"
    python loss_curve.py DB whole
    python loss_curve.py DB adapters
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
WARMUP_RATIO = 0.03
MASK = 0xFFFFFFFF


def rotate(word, count: int):
    """Returns a word of 32 bits turned left."""
    return ((word << count) | (word >> (32 - count))) & MASK


def blake3_of_chunk(data: bytes) -> bytes:
    """Returns the BLAKE3 hash of at most 1,024 bytes (O'Connor et al. 2020, section 2.2)."""
    start = [0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A,
             0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19]
    permutation = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8]
    mixes = [(0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
             (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)]
    value = list(start)
    blocks = [data[at:at + 64] for at in range(0, max(len(data), 1), 64)]
    for number, block in enumerate(blocks):
        # Chunk start, and chunk end with root.
        flags = (1 if number == 0 else 0) | (2 | 8 if number == len(blocks) - 1 else 0)
        words = list(np.frombuffer(block.ljust(64, b"\0"), "<u4").astype(object))
        state = value + start[:4] + [0, 0, len(block), flags]
        for _ in range(7):
            for at, (a, b, c, d) in enumerate(mixes):
                for word, right, left in ((words[2 * at], 16, 12), (words[2 * at + 1], 8, 7)):
                    state[a] = (state[a] + state[b] + word) & MASK
                    state[d] = rotate(state[d] ^ state[a], 32 - right)
                    state[c] = (state[c] + state[d]) & MASK
                    state[b] = rotate(state[b] ^ state[c], 32 - left)
            words = [words[at] for at in permutation]
        value = [state[at] ^ state[at + 8] for at in range(8)]
    return np.array(value, "<u4").tobytes()


def chacha20(key: bytes, blocks: int) -> np.ndarray:
    """Returns the first words of ChaCha20's stream (RFC 8439), nonce 0, a counter of 64 bits."""
    state = np.zeros((16, blocks), np.uint64)
    state[:4] = np.frombuffer(b"expand 32-byte k", "<u4").astype(np.uint64)[:, None]
    state[4:12] = np.frombuffer(key, "<u4").astype(np.uint64)[:, None]
    state[12] = np.arange(blocks)
    x = state.copy()
    rounds = [(0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
              (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)]
    for _ in range(10):
        for a, b, c, d in rounds:
            for to, source, other, count in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8),
                                             (c, d, b, 7)):
                x[to] = (x[to] + x[source]) & MASK
                x[other] = rotate(x[other] ^ x[to], count)
    return ((x + state) & MASK).T.reshape(-1)


def uniform(seed: int, name: str, shape: tuple[int, int], bound: float) -> torch.Tensor:
    """Returns the numbers that src/lm/random.rs makes for a tensor of this name."""
    key = blake3_of_chunk(b"swirldb lm tensor 1" + seed.to_bytes(8, "little") + name.encode())
    count = shape[0] * shape[1]
    words = chacha20(key, -(-count // 8))
    numbers = (words[0::2] | (words[1::2] << np.uint64(32)))[:count]
    unit = (numbers >> np.uint64(11)).astype(np.float64) / 2.0**53
    return torch.from_numpy(((2.0 * unit - 1.0) * bound).astype(np.float32).reshape(shape))


def learning_rate(options: dict, steps_total: int, step: int) -> float:
    """Returns the learning rate of an optimiser step, from 1, as the options describe it."""
    peak = options["learning_rate"]
    if peak is None:
        peak = 2e-5 if options["full"] else 2e-4
    warmup = options["warmup_steps"]
    if warmup is None:
        ratio = options["warmup_ratio"]
        warmup = math.ceil((WARMUP_RATIO if ratio is None else ratio) * steps_total)
    warmup = min(warmup, steps_total)
    if step <= warmup:
        return peak * step / warmup
    progress = min(1.0, (step - 1 - warmup) / max(1, steps_total - warmup))
    return {
        "cosine": peak * 0.5 * (1.0 + math.cos(math.pi * progress)),
        "linear": peak * (1.0 - progress),
        "constant": peak,
    }[options["lr_scheduler_type"]]


def load(path: Path) -> torch.nn.Module:
    """Returns the model that swirl trained, as transformers reads it."""
    if not path.exists():
        sys.exit(f"loss_curve: {path} is not there: start where the run was started")
    folder, file = (path, None) if path.is_dir() else (path.parent, path.name)
    return AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=file, dtype=torch.float32, attn_implementation="eager"
    )


def with_adapters(model: torch.nn.Module, options: dict, stored: str | None) -> torch.nn.Module:
    """Returns the model with peft's adapters, which hold the numbers that ours begin with."""
    targets = options["target_modules"] or ["all-linear"]
    targets = PROJECTIONS if "all-linear" in targets else targets
    rank, alpha = options["r"] or 16, options["lora_alpha"] or 32.0
    config = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules=targets, task_type="CAUSAL_LM"
    )
    model = get_peft_model(model, config)
    started = {}
    if stored:
        from safetensors.torch import load_file

        path = Path(stored)
        started = load_file(path / "adapter_model.safetensors" if path.is_dir() else path)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_" not in name:
                continue
            name = name.replace(".default.", ".")
            if "lora_B" in name:
                parameter.zero_()
            else:
                shape = tuple(parameter.shape)
                parameter.copy_(uniform(options["seed"], name, shape, 1 / math.sqrt(shape[1])))
            if started and not torch.equal(started[name], parameter):
                sys.exit(f"loss_curve: {name} of {stored} is not what the seed gives")
    return model


def optimiser(model: torch.nn.Module, options: dict) -> torch.optim.Optimizer:
    """Returns AdamW; norms and biases do not decay."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": options["weight_decay"]},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]
    betas = (options["adam_beta1"], options["adam_beta2"])
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, betas=betas, eps=options["adam_epsilon"])


def forward(model: torch.nn.Module, sequence: dict) -> torch.Tensor:
    """Returns the sum of -log p over the action tokens of a sequence."""
    tokens = torch.tensor(sequence["tokens"])
    places = [at for a in sequence["actions"] for at in range(a["start"], a["end"])]
    places = torch.tensor(places)
    out = model(input_ids=tokens[None], use_cache=False, logits_to_keep=places - 1)
    return torch.nn.functional.cross_entropy(out.logits[0], tokens[places], reduction="sum")


def train(model: torch.nn.Module, options: dict, steps: dict[int, list], total: int):
    """Trains and yields step, loss, learning rate and norm of the gradient."""
    optimizer = optimiser(model, options)
    trained = [p for p in model.parameters() if p.requires_grad]
    limit = options["max_grad_norm"]
    model.train()
    for step, sequences in steps.items():
        count = sum(a["end"] - a["start"] for s in sequences for a in s["actions"])
        loss = 0.0
        for sequence in sequences:
            part = forward(model, sequence) / count
            part.backward()
            loss += part.item()
        norm = torch.nn.utils.clip_grad_norm_(trained, limit if limit > 0 else math.inf)
        rate = learning_rate(options, total, step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        yield step, loss, rate, norm.item()


def run(program: str, *arguments: str) -> str:
    """Returns what the program writes, or stops with what it says."""
    done = subprocess.run([program, *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"loss_curve: {program} {' '.join(arguments)}\n{done.stderr}")
    return done.stdout


def read_tokens(given: argparse.Namespace) -> tuple[dict, dict[int, list]]:
    """Returns the head of the file of tokens, and the sequences of each of the first steps."""
    path = given.tokens
    if path is None:
        path = Path(given.folder) / "tokens.jsonl"
        run(given.swirl, "export", given.db, "--run", given.run, "--to", str(path))
    with path.open() as lines:
        head = json.loads(next(lines))
        if head.get("swirldb") != "tokens 1":
            sys.exit(f"loss_curve: {path} is no file of tokens: {str(head)[:80]}")
        steps: dict[int, list] = {}
        for line in lines:
            batch = json.loads(line)
            if batch["step"] > given.steps:
                break
            steps.setdefault(batch["step"], []).extend(batch["sequences"])
    return head, steps


def read_metrics(given: argparse.Namespace) -> dict[tuple[int, str], float]:
    """Returns what swirl measured, by step and name."""
    if given.metrics is not None:
        text = given.metrics.read_text()
    else:
        name = given.run.replace("'", "''")
        statement = f"FROM metrics |> WHERE run = '{name}'"
        text = run(given.swirl, given.db, "--read-only", "--format", "jsonl", "-c", statement)
    rows = [json.loads(line) for line in text.splitlines()]
    step = lambda row: row["training_step"] if "training_step" in row else row["step"]
    return {(step(row), row["name"]): row["value"] for row in rows}


def arguments() -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(prog="loss_curve.py")
    parser.add_argument("db", help="the database")
    parser.add_argument("run", help="the run")
    parser.add_argument("--swirl", default="swirl", help="the program")
    parser.add_argument("--steps", type=int, default=20, help="how many are compared")
    parser.add_argument("--tolerance", type=float, default=1e-3, help="of a loss, absolute")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=Path, help="a file of tokens, instead of asking")
    parser.add_argument("--metrics", type=Path, help="rows of metrics as JSON lines, likewise")
    return parser.parse_args()


def main() -> None:
    """Compares, with a folder for what is asked of the program."""
    given = arguments()
    with tempfile.TemporaryDirectory() as folder:
        given.folder = folder
        compare(given)


def compare(given: argparse.Namespace) -> None:
    """Trains, prints both curves and judges them."""
    torch.set_num_threads(given.threads)
    head, steps = read_tokens(given)
    options, metrics = head["options"], read_metrics(given)
    if options["objective"] != "sft":
        sys.exit(f"loss_curve: objective '{options['objective']}', expected 'sft'")
    if options["loss_agg_mode"] not in (None, "token-mean"):
        sys.exit(f"loss_curve: loss_agg_mode '{options['loss_agg_mode']}', expected token-mean")
    missing = [step for step in steps if (step, "loss") not in metrics]
    if not steps or missing:
        sys.exit(f"loss_curve: run '{given.run}' has no loss of step {missing[:1] or 1}")
    model = load(Path(head["model"]))
    if not options["full"]:
        model = with_adapters(model, options, head.get("adapter"))
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    sizes = [len(s["tokens"]) for sequences in steps.values() for s in sequences]
    print(f"{given.run}: {trained:,} trained weights, {len(steps)} steps, {len(sizes)} sequences, "
          f"{sum(sizes):,} tokens")
    print("step   swirl      torch      difference  learning rate  norm (swirl, torch)")
    worst, rates, norms, losses = 0.0, 0.0, 0.0, []
    for step, loss, rate, norm in train(model, options, steps, head["steps_total"]):
        ours = {name: metrics[step, name] for name in ("loss", "learning_rate", "grad_norm")}
        difference = abs(ours["loss"] - loss)
        # A number that is none is far away, not near.
        worst = max(worst, difference if math.isfinite(difference) else math.inf)
        rates = max(rates, abs(ours["learning_rate"] - rate) / max(rate, 1e-30))
        norms = max(norms, abs(ours["grad_norm"] - norm) / norm)
        losses.append(loss)
        print(f"{step:4}  {ours['loss']:9.6f}  {loss:9.6f}  {difference:10.2e}  {rate:13.4e}  "
              f"{ours['grad_norm']:9.4f} {norm:9.4f}", flush=True)
    print(f"largest difference of a loss {worst:.2e} (at most {given.tolerance:g}); relative: of a "
          f"learning rate {rates:.1e}, of a norm {norms:.1e}")
    print(f"torch's loss went from {losses[0]:.4f} to {losses[-1]:.4f}")
    if worst > given.tolerance or rates > 1e-9:
        sys.exit(1)


if __name__ == "__main__":
    main()

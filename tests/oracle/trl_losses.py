"""Writes what TRL's own loss functions say of random log-probabilities, for a test to compare with.

    python tests/oracle/trl_losses.py tests/goldens/train/trl_losses.json

Needs the Python packages trl (1.16.0 wrote the golden), torch and transformers; a CPU will do. The
trainers' `_compute_loss` runs as it is, on a stand-in for the trainer whose model returns the
log-probabilities of the case. Each case holds options under our names, the actions, and TRL's loss
with its derivatives by autograd. `kto` gets the batch's own log-ratios where TRL has those of
mismatched pairs, which is the one difference between the two. Not part of `make test`.
"""

import json
import sys
from collections import defaultdict
from types import SimpleNamespace

import torch
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.kto_trainer import KTOTrainer

LENGTHS = [3, 1, 5, 2, 4, 6]


def trainer(**fields) -> SimpleNamespace:
    """Returns a stand-in for a trainer on one process."""
    same = lambda value, **_: value
    accelerator = SimpleNamespace(
        device=torch.device("cpu"), gather=same, gather_for_metrics=same, reduce=same,
        sync_gradients=True,
    )
    return SimpleNamespace(
        accelerator=accelerator, model=SimpleNamespace(training=True), aux_loss_enabled=False,
        _metrics=defaultdict(lambda: defaultdict(list)), _total_train_tokens=0, _tp_size=1,
        **fields,
    )


def padded(rows: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns rows filled up with zeros, and where they are."""
    values = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(row)) for row in rows], batch_first=True)
    return values, mask


class Model:
    """Returns the log-probabilities that it was made with."""

    training = True

    def __init__(self, log_probs: torch.Tensor):
        zeros = torch.zeros_like(log_probs)
        self.outputs = SimpleNamespace(
            log_probs=log_probs, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool()
        )

    def __call__(self, **_):
        return self.outputs


def batch(mask: torch.Tensor) -> dict:
    """Returns inputs with one prompt token before every completion."""
    whole = torch.cat([torch.zeros(len(mask), 1), mask], dim=1)
    tokens = torch.zeros(whole.shape, dtype=torch.long)
    ones = torch.ones_like(tokens)
    return {"input_ids": tokens, "attention_mask": ones, "completion_mask": whole}


def dpo(options: dict, now: list, start: list) -> torch.Tensor:
    # Ours takes chosen and rejected in turns, TRL all chosen ones first.
    order = list(range(0, len(now), 2)) + list(range(1, len(now), 2))
    values, mask = padded([now[at] for at in order])
    sums = torch.stack([start[at].sum() for at in order])
    chosen, rejected = sums.chunk(2)
    inputs = batch(mask) | {"ref_chosen_logps": chosen, "ref_rejected_logps": rejected}
    me = trainer(
        ld_alpha=None, precompute_ref_logps=True, f_divergence_type="reverse_kl",
        loss_types=[options.get("loss_type", "sigmoid")], loss_weights=[1.0], use_weighting=False,
        beta=options["beta"], label_smoothing=options.get("label_smoothing", 0.0),
    )
    return DPOTrainer._compute_loss(me, Model(values), inputs, False)


def kto(options: dict, now: list, start: list, weights: list) -> torch.Tensor:
    values, mask = padded(now)
    sums = torch.stack([row.sum() for row in start])
    labels = torch.tensor([weight > 0 for weight in weights])
    own = torch.stack([row.sum() for row in now]).detach()
    inputs = batch(mask) | {"label": labels, "ref_logps": sums, "ref_KL_logps": sums}
    me = trainer(
        precompute_ref_logps=True, loss_type=options.get("loss_type", "apo_zero_unpaired"),
        calculate_KL=options.get("loss_type") == "kto", beta=options["beta"],
        desirable_weight=options.get("desirable_weight", 1.0),
        undesirable_weight=options.get("undesirable_weight", 1.0),
        _compute_kl_logps=lambda model, inputs: own,
    )
    return KTOTrainer._compute_loss(me, Model(values), inputs, False)


def grpo(options: dict, now: list, start: list, weights: list) -> torch.Tensor:
    values, mask = padded(now)
    old, _ = padded(start)
    kinds = {"token-mean": "bnpo", "seq-mean-token-mean": "grpo", "seq-mean-token-sum": "luspo"}
    prompt = torch.zeros(len(mask), 1, dtype=torch.long)
    inputs = {
        "prompt_ids": prompt, "prompt_mask": torch.ones_like(prompt),
        "completion_ids": torch.zeros(mask.shape, dtype=torch.long), "completion_mask": mask,
        "advantages": torch.tensor(weights), "old_per_token_logps": old, "ref_per_token_logps": old,
    }
    me = trainer(
        loss_type=kinds[options["loss_agg_mode"]], top_entropy_quantile=1.0, use_vllm=False,
        off_policy_mask_threshold=None, importance_sampling_level="token",
        beta=options.get("kl_loss_coef", 0.0), epsilon_low=options["epsilon"],
        epsilon_high=options["epsilon_high"], current_gradient_accumulation_steps=1,
        _entropy_bonus_enabled=False,
        args=SimpleNamespace(delta=options["clip_ratio_c"], use_bias_correction_kl=False),
        _get_per_token_logps_and_entropies=lambda *_, **__: (values, values.detach(), None),
    )
    return GRPOTrainer._compute_loss(me, Model(values), inputs)


def cases() -> list[dict]:
    """Returns the options of all cases."""
    pairs = [{"loss_type": "sigmoid"}, {"loss_type": "ipo"}, {"loss_type": "hinge"},
             {"loss_type": "robust", "label_smoothing": 0.2}]
    out = [{"objective": "dpo", "beta": beta} | pair for pair in pairs for beta in (0.1, 0.7)]
    for loss_type in ("kto", "apo_zero_unpaired"):
        for scale in ({}, {"desirable_weight": 1.5, "undesirable_weight": 0.25}):
            out.append({"objective": "kto", "beta": 0.3, "loss_type": loss_type} | scale)
    for mode in ("token-mean", "seq-mean-token-mean", "seq-mean-token-sum"):
        for kl in ({}, {"kl_loss_coef": 0.5, "kl_loss_type": "k3"}):
            clip = {"epsilon": 0.2, "epsilon_high": 0.3, "clip_ratio_c": 1.6}
            out.append({"objective": "ppo", "loss_agg_mode": mode} | clip | kl)
    return out


def main() -> None:
    generator = torch.Generator().manual_seed(7)
    out = []
    for options in cases():
        draw = lambda n, scale: (torch.rand(n, generator=generator) * scale)
        start = [-draw(n, 3.0) - 0.7 for n in LENGTHS]
        now = [(row + draw(len(row), 1.4) - 0.7).requires_grad_() for row in start]
        objective = options["objective"]
        weights = {
            "dpo": [1.0, -1.0] * 3, "kto": [1.0, 0.0, 0.0, 1.0, 1.0, 0.0],
            "ppo": [0.8, -1.2, -0.3, 1.5, -2.0, 0.6],
        }[objective]
        if objective == "dpo":
            loss = dpo(options, now, start)
        else:
            loss = {"kto": kto, "ppo": grpo}[objective](options, now, start, weights)
        loss.backward()
        actions = [
            {"weight": w, "now": n.tolist(), "start": s.tolist(), "derivatives": n.grad.tolist()}
            for w, n, s in zip(weights, now, start)
        ]
        out.append({"options": options, "loss": loss.item(), "actions": actions})
    lines = ",\n".join(json.dumps(case) for case in out)
    with open(sys.argv[1], "w") as file:
        file.write(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()

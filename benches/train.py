"""Measures training and decoding beside PyTorch, on the CPU with two threads.

    make bench-train                             all rows, three rounds in turns
    make bench-train ARGS="--rounds 1 --only 256"
    make bench-train ARGS="--write"              the table goes into README.md too

The shape is SmolLM2-135M's, weights and adapters are random and the same for both: ours writes
them, transformers and peft read them. A process does one case: it reads the model, makes one step
that is not counted and some that are; then the other system's turn. Losses of all steps, and the
decoded tokens, have to be the same, or the row is void. Ours are the pieces of the trainer, driven
by tests/train/timing.rs; PyTorch's side is train_torch.py. What the whole trainer does, and how
long it waits for data, is measured with the program itself on synthetic trajectories.
"""

import argparse
import datetime
import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from report import duration, processor
from run import CACHE, built_driver, built_program, environment

HERE = Path(__file__).resolve().parent
MODEL = HERE.parent / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
BEGIN = "<!-- the table of the last run: make bench-train ARGS=--write -->"
END = "<!-- end of the table of training -->"
THREADS = "2"
TOLERANCE = 1e-3

# Case, title, and by how much a time is divided: sub-trajectories that are trained in it.
CASES = [
    ("full-256", "A step of all weights, 256 tokens", 1),
    ("full-1024", "A step of all weights, 1,024 tokens", 1),
    ("lora-256", "A step of adapters (r = 16, all linear layers), 256 tokens", 1),
    ("lora-1024", "A step of adapters, 1,024 tokens", 1),
    ("full-nested", "All weights, each of 5 sub-trajectories of a trajectory", 5),
    ("lora-nested", "Adapters, each of 5 sub-trajectories of a trajectory", 5),
    ("decode", "A greedy token at 8 prompts of 128 tokens, 64 new tokens each", 1),
]

STATEMENT = """FROM subtrajectories |> WHERE process > .5
|> TRAIN WITH (model = '{model}', full = true, max_steps = 5, tokens_per_step = 1024,
               tokens_per_batch = 1024, max_length = 1024, truncation = 'drop') AS waits"""


class Bench:
    """Where everything lies, and how one case is run by each system."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.folder = options.folder
        self.steps = options.steps
        self.python = options.python or environment(HERE / "train-requirements.txt")
        driver = options.driver or built_driver()
        # Copies, so that a build elsewhere does not change them between two rounds.
        self.driver = Path(shutil.copy2(driver, self.folder / "driver"))
        self.program = Path(shutil.copy2(options.swirl or built_program(), self.folder / "swirl"))
        self.shape = self.swirl("setup")

    def run(self, command: list, **settings: str) -> str:
        """Returns what a process writes, on both ways."""
        threads = {f"{name}_NUM_THREADS": THREADS for name in ("RAYON", "OMP", "MKL")}
        environment = {**os.environ, **threads, **settings}
        done = subprocess.run(
            [str(part) for part in command], capture_output=True, text=True, env=environment
        )
        if done.returncode != 0:
            sys.exit(f"bench: {command[0]} failed:\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def measured(self, text: str) -> dict:
        """Returns the line of JSON in what a process wrote."""
        lines = [line for line in text.splitlines() if line.startswith("{")]
        if not lines:
            sys.exit(f"bench: no measurement in:\n{text}")
        return json.loads(lines[-1])

    def swirl(self, case: str) -> dict:
        test = ["--exact", "train::timing::steps_beside_pytorch", "--ignored", "--nocapture"]
        text = self.run(
            [self.driver, *test], SWIRL_BENCH_CASE=case, SWIRL_BENCH_MODEL=str(self.folder),
            SWIRL_BENCH_STEPS=str(self.steps + 1),
        )
        return self.measured(text)

    def torch(self, case: str) -> dict:
        command = [self.python, "-B", HERE / "train_torch.py", case, self.folder]
        return self.measured(self.run([*command, self.steps + 1, json.dumps(self.shape)]))

    def versions(self) -> str:
        code = "import torch, transformers as t, peft as p; " \
               "print('PyTorch', torch.__version__, 'transformers', t.__version__, " \
               "'peft', p.__version__)"
        program = self.run([self.program, "--version"]).strip()
        words = self.run([self.python, "-c", code]).strip().splitlines()[-1].split()
        pairs = [f"{name} {version}" for name, version in zip(words[0::2], words[1::2])]
        return f"{program.replace('swirl ', 'swirldb ')}, {', '.join(pairs)}"

    def branches(self) -> str:
        """Returns a sentence on samples packed as branches, beside separate sequences."""
        test = ["--exact", "lm::timing::branches_beside_separate_sequences", "--ignored",
                "--nocapture"]
        measured = self.measured(self.run([self.driver, *test]))
        packed, separate = measured["packed"], measured["separate"]
        times = [statistics.median(side["seconds"]) for side in (packed, separate)]
        return (
            f"Four samples of 40 tokens at each of five states of one trajectory, forward and "
            f"backward in 6 layers of that width: packed as branches of it {duration(times[0])} "
            f"({packed['tokens']:,} tokens), as separate sequences {duration(times[1])} "
            f"({separate['tokens']:,} tokens), {times[1] / times[0]:.1f} times as long."
        )

    def waits(self) -> str:
        """Returns a sentence on a few steps of the program itself, and its waits for data."""
        if not MODEL.exists():
            return "Waiting for data: not measured, since `make model` was not run."
        database, world = self.folder / "db", self.folder / "world.jsonl"
        with world.open("w") as out:
            subprocess.run([self.program, "synth"], stdout=out, check=True)
        self.run([self.program, "import", database, world])
        self.run([self.program, database, "-c", STATEMENT.format(model=MODEL)])
        rows = self.run([self.program, database, "--read-only", "--format", "jsonl",
                         "-c", "FROM metrics |> WHERE run = 'waits'"])
        values: dict[str, list[float]] = {}
        for line in rows.splitlines():
            row = json.loads(line)
            # The first step is not counted.
            if row.get("training_step", row.get("step")) > 1:
                values.setdefault(row["name"], []).append(row["value"])
        speed = statistics.median(values["tokens_per_s"])
        waited = "is not measured by this program"
        if "data_ms" in values:
            waited = f"{statistics.median(values['data_ms']):.2f} ms"
        return (
            f"The trainer itself, all weights of SmolLM2-135M-Instruct, steps of at most 1,024 "
            f"tokens: {speed:,.0f} tokens/s; its wait for data in a step: {waited}."
        )


def per_token(sample: dict, shape: dict) -> list[float]:
    """Returns the seconds of each decoded token, without those of reading the prompts."""
    tokens = shape["prompts"] * (shape["new_tokens"] - 1)
    return [(all - first) / tokens for first, all in zip(sample["first"], sample["seconds"])]


def difference(swirl: dict, torch: dict) -> str | None:
    """Returns in what the answers of the two differ, if they do."""
    if "losses" not in swirl:
        pairs = zip(sum(swirl["tokens"], []), sum(torch["tokens"], []))
        other = sum(a != b for a, b in pairs)
        return f"{other} decoded tokens differ" if other else None
    worst = max(abs(a - b) for a, b in zip(swirl["losses"], torch["losses"]))
    # A number that is none is not small.
    return None if worst <= TOLERANCE else f"losses differ by {worst:.1e}"


def measure(bench: Bench, case: str, rounds: int) -> dict:
    """Returns times and memory of both systems, taken in turns."""
    seconds: dict[str, list[float]] = {"swirl": [], "torch": []}
    peaks: dict[str, list[int]] = {"swirl": [], "torch": []}
    void = None
    if (load := os.getloadavg()[0]) > 1.5:
        print(f"bench: the machine is busy (load {load:.1f}), which slows PyTorch more than swirl: "
              "its threads wait for each other after every operation", file=sys.stderr)
    for round in range(rounds):
        samples = {}
        for name, run in (("swirl", bench.swirl), ("torch", bench.torch)):
            sample = samples[name] = run(case)
            times = per_token(sample, bench.shape) if case == "decode" else sample["seconds"]
            seconds[name].append(statistics.median(times[1:]))
            peaks[name].append(sample["peak_kb"])
            print(f"bench: {case}, round {round + 1}, {name}: "
                  f"{', '.join(duration(t) for t in times)}; "
                  f"{sample['peak_kb'] / 1e3:,.0f} MB", file=sys.stderr)
        void = void or difference(samples["swirl"], samples["torch"])
    return {"seconds": seconds, "peaks": peaks, "void": void}


def row(title: str, share: int, outcome: dict) -> str:
    """Returns a row of the table."""
    cells = [title]
    middle = {name: statistics.median(times) for name, times in outcome["seconds"].items()}
    for name, times in outcome["seconds"].items():
        low, high = (duration(pick(times) / share) for pick in (min, max))
        cells.append(f"{duration(middle[name] / share)} ({low} to {high})")
    ratio = middle["swirl"] / middle["torch"]
    judged = "swirl" if ratio < 1 else "PyTorch (loss)"
    cells.append(outcome["void"] or f"{ratio:.2f}, {judged}")
    cells += [f"{statistics.median(peaks) / 1e3:,.0f} MB" for peaks in outcome["peaks"].values()]
    return "| " + " | ".join(cells) + " |"


def arguments() -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(prog="make bench-train")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3, help="counted steps of a case in a round")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    parser.add_argument("--swirl", type=Path, help="the program (default: the one just built)")
    parser.add_argument("--driver", type=Path, help="the tests' binary (default: built now)")
    parser.add_argument("--python", type=Path, help="a Python with the peers (default: installed)")
    parser.add_argument("--folder", type=Path, default=CACHE / "bench-train")
    return parser.parse_args()


def main() -> None:
    """Measures and prints the table."""
    options = arguments()
    shutil.rmtree(options.folder, ignore_errors=True)
    options.folder.mkdir(parents=True)
    try:
        bench = Bench(options)
        today = datetime.date.today().isoformat()
        shape = bench.shape
        lines = [
            f"{today}, {processor()}, {THREADS} threads; {bench.versions()}.",
            f"{options.rounds} rounds in turns, {options.steps} steps each; median (least to "
            f"greatest). A trajectory here: a prompt of {shape['prompt']} tokens, "
            f"{shape['actions']} actions of {shape['action']}, observations of "
            f"{shape['observation']}.",
            "",
            "| | swirl | PyTorch | ratio, winner | memory, swirl | memory, PyTorch |",
            "|---|---|---|---|---|---|",
        ]
        for case, title, share in CASES:
            if options.only in case:
                lines.append(row(title, share, measure(bench, case, options.rounds)))
        lines += ["", bench.branches(), "", bench.waits()]
    finally:
        shutil.rmtree(options.folder, ignore_errors=True)
    table = "\n".join(lines)
    print(table)
    if options.write:
        readme = HERE / "README.md"
        text = readme.read_text()
        begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
        readme.write_text(f"{text[:begin]}\n\n{table}\n\n{text[end:]}")


if __name__ == "__main__":
    main()

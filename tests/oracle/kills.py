"""Kills training runs with SIGKILL again and again, resumes them, and compares what they end with.

    python tests/oracle/kills.py PROGRAM [--kills 20] [--seed 1] [--folder DIR] [--keep]

Makes a small database and a small model with the program itself. For each kind of run (all weights,
adapters, ppo and kto, which keep what the start policy said in the run's folder) it trains once
undisturbed and once killed at moments drawn from the seed: at a step, while a checkpoint is being
written (a folder `.unfinished-` is there), and before the first step. The last checkpoints have to
be the same byte for byte, the metrics and the examples the same row for row, and the database has
to pass `swirl verify`. Metrics that are times, or counts since the run went on, are left out. No
packages are needed. Exits with 1 if anything differs.

A killed process loses what was in its memory, not what the system had been handed to write: this
shows the order of writes, and says nothing about a machine that loses power.
"""

import argparse
import hashlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

STEPS = 24
SAVE_STEPS = 3
SIZES = f"max_steps = {STEPS}, save_steps = {SAVE_STEPS}, tokens_per_step = 1024, " \
        "tokens_per_batch = 512"
GOOD = "FROM subtrajectories |> WHERE process > .5"
LABELLED = "FROM subtrajectories |> WHERE process IS NOT NULL"
LABEL = "CASE WHEN process > .5 THEN 1 ELSE 0 END"

# A name, the rows, and the options of a run.
KINDS = [
    ("full", GOOD, "full = true, learning_rate = 0.001, weight_decay = 0.01"),
    ("adapters", GOOD, "learning_rate = 0.001, seed = 5"),
    ("ppo", LABELLED, f"objective = 'ppo', reward = '{LABEL}', learning_rate = 0.001"),
    ("kto", LABELLED, f"objective = 'kto', reward = '{LABEL}', full = true, "
                      "learning_rate = 0.0001, eval_dataset = 'held_out', eval_steps = 5, "
                      "load_best_model_at_end = true"),
]

# Metrics that tell of this life of the run and not of the run.
OF_A_LIFE = ("tokens_per_s", "num_tokens", "data_ms")


@dataclass
class Kill:
    """When a process is killed: at a step, in a checkpoint behind it, or before the first step."""

    moment: str
    step: int
    delay: float


@dataclass
class Life:
    """What became of one process."""

    resumed_at: int = 0
    step: int = 0
    killed: bool = False
    unfinished: list[str] = field(default_factory=list)
    newest: int = 0
    text: str = ""


class World:
    """The program and its database."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.program, self.folder = program, folder
        self.database, self.model = folder / "db", folder / "model"

    def run(self, *given: object) -> str:
        """Returns what the program writes; stops with what it says."""
        command = [str(part) for part in (self.program, *given)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"kills: {' '.join(command)} ended with {done.returncode}\n{done.stderr}")
        return done.stdout

    def make(self) -> None:
        """Makes the database, the model, and a held-out set."""
        world = self.folder / "world.jsonl"
        world.write_text(self.run("synth", "--questions", 60, "--samples", 4))
        self.run("import", self.database, world)
        self.run("model", self.database, self.model, "--hidden-size", 96, "--layers", 3)
        self.run(self.database, "-c", "FROM subtrajectories |> WHERE split = 'dev' "
                                      "AND process > .5 |> SAVE AS held_out")

    def start(self, kind: tuple[str, str, str], run: str) -> list[str]:
        """Returns the command that begins a run."""
        rows, options = f"{kind[1]} AND split = 'train'", kind[2]
        statement = f"{rows} |> TRAIN WITH (model = '{self.model}', {options}, {SIZES}) AS {run}"
        return [str(self.program), str(self.database), "-c", statement]

    def resume(self, run: str) -> list[str]:
        """Returns the command that goes on with a run."""
        return [str(self.program), "train", str(self.database), "--resume", run]

    def runs(self, run: str) -> Path:
        """Returns the folder of a run."""
        return self.database / "runs" / run

    def rows(self, statement: str) -> list[dict]:
        """Returns the rows of a statement, as JSON."""
        text = self.run(self.database, "--read-only", "--format", "jsonl", "-c", statement)
        return [json.loads(line) for line in text.splitlines()]


def names(folder: Path, start: str) -> list[str]:
    """Returns the entries of a folder that begin so; none if it is not there."""
    try:
        return sorted(entry.name for entry in folder.iterdir() if entry.name.startswith(start))
    except FileNotFoundError:
        return []


def live(command: list[str], folder: Path, kill: Kill | None) -> Life:
    """Runs a process to its end, or until it is killed."""
    life = Life()
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )

    def read() -> None:
        for line in process.stderr:
            life.text += line
            words = line.split()
            if line.startswith("going on behind step"):
                life.resumed_at = int(words[-1])
            elif line.startswith("step ") and "/" in words[1]:
                life.step = int(words[1].split("/")[0])

    reader = threading.Thread(target=read)
    reader.start()
    while process.poll() is None and kill is not None:
        if is_due(kill, life, folder):
            until = time.monotonic() + kill.delay
            # On a busy machine steps may come faster than they did in the undisturbed run.
            last = 1 if kill.moment == "start" else STEPS - 1
            while time.monotonic() < until and life.step < last:
                time.sleep(0.0002)
            process.kill()
            break
        time.sleep(0.0002)
    code = process.wait()
    reader.join()
    life.killed = code == -9
    if code not in (0, -9):
        sys.exit(f"kills: {' '.join(command)} ended with {code}\n{life.text}")
    life.unfinished = names(folder, ".unfinished-") + names(folder, ".start")
    steps = [int(name.split("-")[1]) for name in names(folder, "checkpoint-")]
    life.newest = max(steps, default=0)
    return life


def is_due(kill: Kill, life: Life, folder: Path) -> bool:
    """Returns whether the moment has come, but for its delay."""
    if kill.moment == "start":
        return folder.is_dir()
    if life.step < kill.step:
        return False
    return kill.moment == "step" or bool(names(folder, ".unfinished-"))


def plan(rng: random.Random, count: int, pace: float, head: float) -> list[Kill]:
    """Returns kills whose steps rise: at steps, two in five in checkpoints, one in five before.

    `pace` is the time of a step and `head` that up to the first one, in seconds.
    """
    moments = ["checkpoint", "start", "checkpoint", "step", "step"]
    moments = [moments[number % len(moments)] for number in range(count)]
    rng.shuffle(moments)
    last = STEPS - SAVE_STEPS - 1
    steps = sorted(rng.choices(range(1, last), k=count))
    delays = {"step": 2 * pace, "checkpoint": 0.03, "start": head}
    return [Kill(m, s, rng.uniform(0, delays[m])) for m, s in zip(moments, steps)]


def files(folder: Path, run: str) -> dict[str, str]:
    """Returns the SHA-256 of every file of a checkpoint; texts may name the run."""
    out = {}
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        if path.suffix != ".safetensors":
            data = data.replace(run.encode(), b"RUN")
        out[path.name] = hashlib.sha256(data).hexdigest()
    return out


def metrics(world: World, run: str) -> list[str]:
    """Returns what was measured of a run, but for what tells of one life of it."""
    rows = world.rows(f"FROM metrics |> WHERE run = '{run}'")
    kept = [row for row in rows if row["name"] not in OF_A_LIFE]
    return sorted(json.dumps({**row, "run": ""}) for row in kept)


def examples(world: World, run: str) -> list[str]:
    """Returns what became of each action of a run."""
    rows = world.rows(f"FROM examples |> WHERE run = '{run}'")
    return sorted(json.dumps({**row, "run": ""}) for row in rows)


def compare(world: World, reference: str, killed: str) -> bool:
    """Prints what is equal of two runs; returns whether everything is."""
    equal = True
    checkpoints = [names(world.runs(run), "checkpoint-") for run in (reference, killed)]
    print(f"  checkpoints {', '.join(checkpoints[0])}")
    if checkpoints[0] != checkpoints[1]:
        print(f"  OTHER CHECKPOINTS: {', '.join(checkpoints[1])}")
        return False
    for name in checkpoints[0]:
        ours, others = (files(world.runs(run) / name, run) for run in (reference, killed))
        for file in sorted(ours | others):
            same = ours.get(file) == others.get(file)
            equal &= same
            if not same or file.endswith(".safetensors") and name == f"checkpoint-{STEPS}":
                print(f"  {name}/{file}: {'equal' if same else 'DIFFERS'}, sha256 "
                      f"{ours.get(file, 'none')[:16]} and {others.get(file, 'none')[:16]}")
    for title, read in (("metrics", metrics), ("examples", examples)):
        ours, others = read(world, reference), read(world, killed)
        same = ours == others and len(ours) > 0
        equal &= same
        print(f"  {len(ours)} rows of {title}: {'equal' if same else 'DIFFER'}")
        if not same:
            only = sorted(set(ours) ^ set(others))
            print(f"    {len(only)} rows in one of both alone, such as {only[:2]}")
    return equal


def attempt(world: World, kind: tuple[str, str, str], count: int, rng: random.Random):
    """Trains undisturbed and killed; returns how often it was killed and whether all is equal."""
    name = kind[0]
    reference, killed = f"{name}_undisturbed", f"{name}_killed"
    began = time.perf_counter()
    life = live(world.start(kind, reference), world.runs(reference), None)
    took = time.perf_counter() - began
    print(f"{name}: {life.step} steps undisturbed in {took:.1f} s", flush=True)
    folder, kills = world.runs(killed), 0
    # Half of the time is taken by steps, the rest by reading, rendering and the start policy.
    for number, kill in enumerate(plan(rng, count, took / 2 / STEPS, took / 4)):
        command = world.resume(killed) if number else world.start(kind, killed)
        life = live(command, folder, kill)
        kills += life.killed
        left = f", left {', '.join(life.unfinished)}" if life.unfinished else ""
        state = "killed" if life.killed else "ENDED BEFORE THE KILL,"
        print(f"  from step {life.resumed_at:2}: {state} at step {life.step or life.resumed_at:2} "
              f"({kill.moment}, {kill.delay * 1e3:.1f} ms later), newest checkpoint "
              f"{life.newest}{left}", flush=True)
        if not life.killed:
            break
    life = live(world.resume(killed), folder, None)
    print(f"  from step {life.resumed_at:2}: to the end, step {life.step}")
    return kills, compare(world, reference, killed)


def main() -> None:
    """Runs all kinds and judges them."""
    parser = argparse.ArgumentParser(prog="kills.py")
    parser.add_argument("program", type=Path)
    parser.add_argument("--kills", type=int, default=20, help="in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="kinds of runs, with commas between")
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary one)")
    parser.add_argument("--keep", action="store_true", help="leave the folder in place")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="kills-"))
    folder.mkdir(parents=True, exist_ok=True)
    # A copy, so that a build elsewhere does not change it.
    program = Path(shutil.copy2(given.program, folder / "program"))
    world = World(program, folder)
    world.make()
    wanted = given.only.split(",") if given.only else [name for name, _, _ in KINDS]
    kinds = [kind for kind in KINDS if kind[0] in wanted]
    rng = random.Random(given.seed)
    print(f"seed {given.seed}, {given.kills} kills, {STEPS} steps, a checkpoint every {SAVE_STEPS}")
    kills, equal = 0, True
    for number, kind in enumerate(kinds):
        count = given.kills // len(kinds) + (number < given.kills % len(kinds))
        done, same = attempt(world, kind, count, rng)
        kills, equal = kills + done, equal and same
    # It exits with 3 where something does not fit.
    world.run("verify", world.database)
    print(f"{kills} kills; verify finds nothing; {'all equal' if equal else 'NOT EQUAL'}")
    if not given.keep:
        shutil.rmtree(folder, ignore_errors=True)
    if not equal or kills < given.kills:
        sys.exit(1)


if __name__ == "__main__":
    main()

"""Kills imports, deletions and compactions with SIGKILL, and looks whether anything is lost.

    python3 tests/oracle/store_kills.py PROGRAM [--kills 40] [--steps 60000] [--seed 7]

After every kill `swirl verify` must find nothing, and no trajectory that an earlier look has seen
may be missing. At the end the import runs to its end, and a dataset of all steps must have the hash
of the same dataset of a database that was let be.
"""

import argparse
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GONE = "DELETE FROM trajectories WHERE question_id LIKE '%7'"


def run(program: str, *arguments: str) -> str:
    """Returns what the program prints, which must end well."""
    done = subprocess.run([program, *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{arguments}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def killed(program: str, seconds: float, *arguments: str) -> bool:
    """Starts the program and kills it after a while; returns whether it was still at work."""
    work = subprocess.Popen([program, *arguments], stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL)
    try:
        work.wait(seconds)
        return False
    except subprocess.TimeoutExpired:
        work.send_signal(signal.SIGKILL)
        work.wait()
        return True


def count(program: str, database: str) -> int:
    """Returns how many trajectories there are."""
    asked = "SELECT count(*) FROM trajectories"
    return int(run(program, database, "--read-only", "--format", "csv", "-c", asked).split()[-1])


def content(program: str, database: str) -> str:
    """Returns the hash over all steps that are there."""
    saved = "FROM subtrajectories |> ORDER BY trajectory_id, step |> SAVE AS all_of_it"
    run(program, database, "-c", saved)
    shown = run(program, database, "--format", "csv", "-c", "SHOW DATASET all_of_it")
    return re.search(r"hash,(\w+)", shown).group(1)


def verified(program: str, database: str) -> None:
    """Ends where anything disagrees."""
    told = run(program, "verify", database)
    if "everything agrees" not in told:
        sys.exit(told)


def main() -> None:
    """Kills, looks, and goes on."""
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--steps", type=int, default=60_000)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    program, chance = str(Path(options.program).resolve()), random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        data, database, let_be = (f"{folder}/{name}" for name in ("steps.jsonl", "db", "let_be"))
        with open(data, "w", encoding="utf-8") as out:
            subprocess.run([program, "synth", "--shape", "bench", "--steps", str(options.steps)],
                           stdout=out, check=True)
        began = time.monotonic()
        run(program, "import", let_be, data)
        whole = time.monotonic() - began
        # One record, so that there is a database to be killed.
        first = f"{folder}/first.jsonl"
        Path(first).write_text(Path(data).read_text(encoding="utf-8").split("\n", 1)[0] + "\n",
                               encoding="utf-8")
        run(program, "import", database, first)
        seen, kills, tries = 1, 0, 0
        works = [("import", database, data)] * 3 + [("compact", database), (database, "-c", GONE)]
        while kills < options.kills:
            work = works[tries % len(works)]
            tries += 1
            kills += killed(program, chance.uniform(0.01, 0.9 * whole), *work)
            verified(program, database)
            now = count(program, database)
            if work[0] == "import" and now < seen:
                sys.exit(f"{seen} trajectories were there, now {now}")
            seen = now
        run(program, "import", database, data)
        run(program, "compact", database)
        verified(program, database)
        one, other = content(program, database), content(program, let_be)
        if one != other:
            sys.exit(f"the hash over all steps is {one}, expected {other}")
        print(f"{kills} kills in {tries} tries; verify found nothing; nothing lost; {one[:12]}")


if __name__ == "__main__":
    main()

"""The systems that are measured. Each runs in a process of its own, whose peak memory is read
from the kernel when it ends.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
TIME = re.compile(r"^time: ([0-9.]+) ms$", re.MULTILINE)


class Failed(Exception):
    """A system did not do what was asked; the text says why."""


@dataclass
class Sample:
    """What one run of one system gave."""

    seconds: list[float]
    answer: list[tuple] = field(default_factory=list)
    peak_bytes: int = 0
    disk_bytes: int = 0


@dataclass
class Finished:
    """A process that has ended."""

    output: str
    errors: str
    seconds: float
    peak_bytes: int


def run(command: list, folder: Path) -> Finished:
    """Runs a command to its end; `Failed` with its last words if it does not end well."""
    output, errors = folder / "output", folder / "errors"
    with output.open("wb") as out, errors.open("wb") as err:
        start = time.perf_counter()
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    words = errors.read_text(errors="replace")
    if child.returncode != 0:
        last = words.strip().splitlines()[-1:] or ["no message"]
        raise Failed(f"{Path(command[0]).name} ended with {child.returncode}: {last[0]}")
    return Finished(output.read_text(), words, seconds, usage.ru_maxrss * 1024)


def disk_bytes(path: Path) -> int:
    """Returns the bytes of a file or of all files below a folder."""
    files = path.rglob("*") if path.is_dir() else path.parent.glob(path.name + "*")
    return sum(file.stat().st_size for file in files if file.is_file())


def remove(path: Path) -> None:
    """Removes a database with the files beside it."""
    if path.is_dir():
        shutil.rmtree(path)
    for file in path.parent.glob(path.name + "*"):
        file.unlink()


class Swirl:
    """The program of this repository."""

    name = "swirl"

    def __init__(self, program: Path, folder: Path) -> None:
        self.program = program
        self.folder = folder

    def version(self) -> str:
        return run([self.program, "--version"], self.folder).output.strip()

    def load(self, database: Path, data: Path) -> Sample:
        remove(database)
        done = run([self.program, "import", database, data], self.folder)
        return Sample([done.seconds], [], done.peak_bytes, disk_bytes(database))

    def answer(self, database: Path, statement: str) -> list[tuple]:
        # Not for reading only: the first statement with full text writes the index.
        command = [self.program, database, "--format", "jsonl", "-c", statement]
        lines = run(command, self.folder).output.splitlines()
        return [tuple(json.loads(line).values()) for line in lines]

    def query(self, database: Path, statement: str, repeats: int) -> Sample:
        script = self.folder / "script.sql"
        script.write_text(".timer on\n" + f"{statement};\n" * repeats)
        done = run([self.program, database, "--read-only", "-f", script], self.folder)
        times = [float(found) / 1_000 for found in TIME.findall(done.errors)]
        if len(times) != repeats:
            raise Failed(f"{len(times)} times for {repeats} statements")
        return Sample(times, [], done.peak_bytes)

    def start(self, database: Path, statement: str) -> Sample:
        command = [self.program, database, "--read-only", "-c", statement]
        done = run(command, self.folder)
        return Sample([done.seconds], [], done.peak_bytes)


class Peer:
    """A system that Python drives, in a process of its own (`peer.py`)."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder

    def ask(self, verb: str, **request: object) -> Sample:
        request = {key: str(value) if isinstance(value, Path) else value
                   for key, value in request.items()}
        words = json.dumps({"system": self.name, "verb": verb, **request})
        done = run([sys.executable, "-B", HERE / "peer.py", words], self.folder)
        answer = json.loads(done.output)
        rows = [tuple(row) for row in answer.get("rows", [])]
        return Sample(answer.get("seconds", []), rows, done.peak_bytes)

    def version(self) -> str:
        return str(self.ask("version").answer[0][0])

    def load(self, database: Path, data: Path) -> Sample:
        remove(database)
        sample = self.ask("load", database=database, data=data)
        sample.disk_bytes = disk_bytes(database)
        return sample

    def answer(self, database: Path, statement: str) -> list[tuple]:
        return self.ask("query", database=database, statement=statement, repeats=1).answer

    def query(self, database: Path, statement: str, repeats: int) -> Sample:
        return self.ask("query", database=database, statement=statement, repeats=repeats)

    def start(self, database: Path, statement: str) -> Sample:
        return self.ask("start", database=database, statement=statement)


class Bench:
    """The systems, the data and the databases of one run."""

    def __init__(self, program: Path, folder: Path, steps: int, seed: int) -> None:
        self.folder = folder
        self.steps = steps
        self.seed = seed
        self.program = program
        self.systems = [Swirl(program, folder), Peer("duckdb", folder), Peer("sqlite", folder)]
        self._loaded: set[str] = set()

    def data(self, steps: int) -> Path:
        """Returns chat JSONL of so many steps, written the first time."""
        path = self.folder / f"steps-{steps}.jsonl"
        if not path.exists():
            options = ["--shape", "bench", "--steps", str(steps), "--seed", str(self.seed)]
            with path.with_suffix(".partial").open("wb") as out:
                done = subprocess.run([self.program, "synth", *options], stdout=out)
            if done.returncode != 0:
                sys.exit("bench: swirl synth failed")
            path.with_suffix(".partial").rename(path)
        return path

    def path(self, system: Swirl | Peer) -> Path:
        """Returns where a system keeps its database."""
        return self.folder / f"{system.name}.db"

    def load(self, system: Swirl | Peer, steps: int) -> Sample:
        """Makes the database of a system anew."""
        self._loaded.discard(system.name)
        sample = system.load(self.path(system), self.data(steps))
        if steps == self.steps:
            self._loaded.add(system.name)
        return sample

    def database(self, system: Swirl | Peer) -> Path:
        """Returns the database of a system, holding all steps."""
        if system.name not in self._loaded:
            self.load(system, self.steps)
        return self.path(system)

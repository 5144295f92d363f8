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

# A statement that takes long is repeated less often: until so much time has passed in a process.
REPEATING_SECONDS = 60

APPENDED = (
    "SELECT count(DISTINCT trajectory_id) AS n, count(*) AS steps, "
    "sum(observation_chars) AS chars FROM steps"
)


class Failed(Exception):
    """A system did not do what was asked; the text says why."""


@dataclass
class Sample:
    """What one run of one system gave."""

    seconds: list[float]
    answer: list[tuple] = field(default_factory=list)
    peak_bytes: int = 0
    disk_bytes: int = 0
    # The same work without what makes it durable, where a system leaves that to others.
    unsynced_seconds: float | None = None


@dataclass
class Finished:
    """A process that has ended."""

    output: str
    errors: str
    seconds: float
    peak_bytes: int


def run(command: list, folder: Path, **settings: str) -> Finished:
    """Runs a command to its end; `Failed` with its last words if it does not end well.

    `settings` are variables of its environment.
    """
    output, errors = folder / "output", folder / "errors"
    with output.open("wb") as out, errors.open("wb") as err:
        start = time.perf_counter()
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
            env={**os.environ, **settings},
        )
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    words = errors.read_text(errors="replace")
    if child.returncode != 0:
        lines = words.strip().splitlines() or ["no message"]
        told = next((line for line in lines if line.startswith("error")), lines[-1])
        raise Failed(f"{Path(command[0]).name} ended with {child.returncode}: {told}")
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
    """The program of this repository; the tests' binary (`driver`) where its API is measured."""

    name = "swirl"
    reads_chat = True

    def __init__(self, program: Path, driver: Path | None, folder: Path) -> None:
        self.program = program
        self.driver = driver
        self.folder = folder

    def version(self) -> str:
        return run([self.program, "--version"], self.folder).output.strip()

    def load(self, database: Path, data: Path, *options: str) -> Sample:
        remove(database)
        done = run([self.program, "import", database, data, *options], self.folder)
        return Sample([done.seconds], [], done.peak_bytes, disk_bytes(database))

    def load_flat(self, database: Path, data: Path) -> Sample:
        return self.load(database, data, "--as", "steps")

    def answer(self, database: Path, statement: str) -> list[tuple]:
        # Not for reading only: the first statement with full text writes the index.
        command = [self.program, database, "--format", "jsonl", "-c", statement]
        lines = run(command, self.folder).output.splitlines()
        return [tuple(json.loads(line).values()) for line in lines]

    check = answer

    def query(self, database: Path, statement: str, repeats: int) -> Sample:
        once = self.repeat(database, statement, 1).seconds[0]
        return self.repeat(database, statement, min(repeats, int(REPEATING_SECONDS / once) + 1))

    def repeat(self, database: Path, statement: str, repeats: int) -> Sample:
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

    def index(self, database: Path) -> None:
        """Does nothing: ids are found without an index of one's own."""

    def drive(self, name: str, request: dict) -> tuple[dict, int]:
        """Returns what a test of `tests/store/timing.rs` measured, and its peak memory."""
        test = ["--exact", f"store::timing::{name}", "--ignored", "--nocapture"]
        words = json.dumps(request, default=str)
        done = run([self.driver, *test], self.folder, SWIRL_BENCH=words)
        words = f"{done.output}\n{done.errors}".splitlines()
        lines = [line for line in words if line.startswith("{")]
        if not lines:
            raise Failed(f"no measurement by store::timing::{name} of the tests' binary")
        return json.loads(lines[-1]), done.peak_bytes

    def fetch(self, database: Path, ids: list, steps: list, repeats: int) -> tuple[dict, int]:
        request = {"db": database, "trajectories": ids, "steps": steps, "repeats": repeats}
        return self.drive("fetches_beside_peers", request)

    def trajectories(self, database: Path, ids: list, steps: list, repeats: int) -> Sample:
        told, peak_bytes = self.fetch(database, ids, steps, repeats)
        return Sample(told["trajectory_seconds"], [tuple(told["check"])], peak_bytes)

    def steps(self, database: Path, steps: list, repeats: int) -> Sample:
        # It wants a trajectory too.
        told, peak_bytes = self.fetch(database, [steps[0][0]], steps, repeats)
        return Sample(told["steps_seconds"], [tuple(told["check"])], peak_bytes)

    def append(self, database: Path, data: Path, writers: int, count: int) -> Sample:
        remove(database)
        request = {"db": database, "data": data, "writers": writers, "count": count}
        told, peak_bytes = self.drive("appends_beside_peers", request)
        appended = self.answer(database, APPENDED)
        return Sample([told["seconds"] / told["count"]], appended, peak_bytes)


class Peer:
    """A system that Python drives, in a process of its own (`peer.py`)."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        # LanceDB has tables of flat rows, and no SQL over them.
        self.reads_chat = name != "lancedb"

    def ask(self, verb: str, **request: object) -> Sample:
        words = json.dumps({"system": self.name, "verb": verb, **request}, default=str)
        done = run([sys.executable, "-B", HERE / "peer.py", words], self.folder)
        answer = json.loads(done.output)
        rows = [tuple(row) for row in answer.get("rows", [])]
        return Sample(answer.get("seconds", []), rows, done.peak_bytes)

    def version(self) -> str:
        return str(self.ask("version").answer[0][0])

    def load(self, database: Path, data: Path, verb: str = "load") -> Sample:
        remove(database)
        sample = self.ask(verb, database=database, data=data)
        sample.disk_bytes = disk_bytes(database)
        return sample

    def load_flat(self, database: Path, data: Path) -> Sample:
        return self.load(database, data, "load_flat")

    def answer(self, database: Path, statement: str) -> list[tuple]:
        return self.query(database, statement, 1).answer

    def check(self, database: Path, statement: str) -> list[tuple]:
        return self.ask("check", database=database, statement=statement).answer

    def query(self, database: Path, statement: str, repeats: int) -> Sample:
        return self.ask(
            "query", database=database, statement=statement, repeats=repeats,
            seconds_max=REPEATING_SECONDS,
        )

    def start(self, database: Path, statement: str) -> Sample:
        return self.ask("start", database=database, statement=statement)

    def index(self, database: Path) -> None:
        """Makes the index by which trajectories are found."""
        seconds = self.ask("index", database=database).seconds[0]
        print(f"bench: {self.name} made its index in {seconds:.2f} s", file=sys.stderr)

    def trajectories(self, database: Path, ids: list, steps: list, repeats: int) -> Sample:
        return self.ask(
            "trajectories", database=database, ids=ids, steps=steps, repeats=repeats
        )

    def steps(self, database: Path, steps: list, repeats: int) -> Sample:
        return self.ask("steps", database=database, steps=steps, repeats=repeats)

    def append(self, database: Path, data: Path, writers: int, _: int) -> Sample:
        def appended(synced: bool) -> Sample:
            remove(database)
            return self.ask(
                "append", database=database, data=data, writers=writers, synced=synced
            )
        sample = appended(True)
        if self.name == "lancedb":
            sample.unsynced_seconds = appended(False).seconds[0]
        return sample


class Bench:
    """The systems, the data and the databases of one run."""

    def __init__(
        self, program: Path, driver: Path | None, folder: Path, steps: int, seed: int
    ) -> None:
        self.folder = folder
        self.steps = steps
        self.seed = seed
        self.program = program
        peers = [Peer(name, folder) for name in ("duckdb", "sqlite", "lancedb")]
        self.own = Swirl(program, driver, folder)
        self.systems = [self.own, *peers]
        self._loaded: set[str] = set()
        self._indexed: set[str] = set()
        self._chosen: dict[tuple[int, int], list[list]] = {}

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

    def flat(self) -> Path:
        """Returns all steps as flat Parquet, written the first time."""
        path = self.folder / "steps.parquet"
        if not path.exists():
            self.run_flat("write", self.data(self.steps), path)
        return path

    def chosen(self, count: int, seed: int) -> list[list]:
        """Returns so many random steps, each by its trajectory and its number."""
        if (count, seed) not in self._chosen:
            done = self.run_flat("choose", self.flat(), str(count), str(seed))
            self._chosen[count, seed] = json.loads(done.output)
        return self._chosen[count, seed]

    def fresh(self, count: int) -> Path:
        """Returns chat JSONL of so many trajectories to append, written the first time."""
        path = self.folder / f"fresh-{count}.jsonl"
        if not path.exists():
            self.run_flat("renew", self.data(self.steps), path, str(count))
        return path

    def run_flat(self, *arguments: object) -> Finished:
        return run([sys.executable, "-B", HERE / "flat.py", *arguments], self.folder)

    def path(self, system: Swirl | Peer, purpose: str = "all") -> Path:
        """Returns where a system keeps its database for a purpose."""
        return self.folder / f"{purpose}-{system.name}.db"

    def load(self, system: Swirl | Peer, steps: int) -> Sample:
        """Makes the database of a system anew, from chat JSONL."""
        self._loaded.discard(system.name)
        self._indexed.discard(system.name)
        sample = system.load(self.path(system), self.data(steps))
        if steps == self.steps:
            self._loaded.add(system.name)
        return sample

    def database(self, system: Swirl | Peer) -> Path:
        """Returns the database of a system, holding all steps."""
        if system.name not in self._loaded:
            if system.reads_chat:
                self.load(system, self.steps)
            else:
                system.load_flat(self.path(system), self.flat())
                self._loaded.add(system.name)
        return self.path(system)

    def indexed(self, system: Swirl | Peer) -> Path:
        """Returns the database of a system, with an index of trajectories."""
        database = self.database(system)
        if system.name not in self._indexed:
            system.index(database)
            self._indexed.add(system.name)
        return database

    def flat_bytes(self) -> int:
        """Returns the size of the flat file; 0 if no row asked for it."""
        return disk_bytes(self.folder / "steps.parquet")

    def compacted_bytes(self) -> int:
        """Compacts the program's database and returns its size; 0 if no row made one."""
        own = self.own
        database = self.path(own)
        if not database.exists():
            return 0
        done = subprocess.run([own.program, "compact", database], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"bench: swirl compact failed:\n{done.stderr}")
        return disk_bytes(database) - self.text_index_bytes()

    def text_index_bytes(self) -> int:
        """Returns the size of the program's index of full text; 0 if no row made one."""
        return disk_bytes(self.path(self.own) / "text")

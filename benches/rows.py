"""The rows of the table. A new one is a `Query`, or a class with a `title` and `measure`.

Every row checks first that all systems answer the same; one whose answers differ is void. A
system that fails is void by itself. Then the systems take turns, round by round, so that a slow
minute of the machine hits all of them.
"""

import math
import statistics
import sys
import time
from dataclasses import dataclass, field

from systems import Bench, Failed, Peer, Sample, Swirl, remove

# Of the repeats of a statement in one process the first ones warm caches and are not counted.
REPEATS = 23
WARM_UP = 3

# A load that takes so long is not repeated where its first time can count.
LONG_SECONDS = 60

# A system whose rounds of a row have taken so long altogether takes no further one.
ROUNDS_SECONDS = 300


@dataclass
class Outcome:
    """What a row gave: samples by system, or why there are none."""

    title: str
    # Whether times are shown as how often that is in a second.
    as_rate: bool = False
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    # Why a system has none.
    failed: dict[str, str] = field(default_factory=dict)
    # Why the whole row counts for nothing.
    void: str = ""

    def seconds(self, system: str) -> list[float]:
        """Returns one number per round: the median of its repeats."""
        return [statistics.median(sample.seconds) for sample in self.samples[system]]


def is_close(one: object, other: object) -> bool:
    """Returns whether two values of an answer agree; numbers up to rounding."""
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)
    return one == other


def agree(one: list[tuple], other: list[tuple]) -> bool:
    """Returns whether two answers hold the same rows, in any order."""
    if len(one) != len(other):
        return False
    def key(row: tuple) -> tuple:
        return tuple((value is None, str(value)) for value in row)
    pairs = zip(sorted(one, key=key), sorted(other, key=key), strict=True)
    return all(len(a) == len(b) and all(map(is_close, a, b)) for a, b in pairs)


def warm(seconds: list[float]) -> list[float]:
    """Returns the times without the first ones."""
    return seconds[min(WARM_UP, len(seconds) - 1):]


class Row:
    """One line of the table."""

    title: str
    rounds_max = 1_000
    as_rate = False
    # Whether the program is measured through its API, by the tests' binary.
    driven = False

    def has(self, system: Swirl | Peer) -> bool:
        """Returns whether a system can do this at all."""
        return True

    def answer(self, bench: Bench, system: Swirl | Peer) -> list[tuple]:
        """Returns what must be equal between systems."""
        raise NotImplementedError

    def sample(self, bench: Bench, system: Swirl | Peer) -> Sample:
        """Returns one round of one system."""
        raise NotImplementedError

    def measure(self, bench: Bench, rounds: int) -> Outcome:
        """Checks the answers, then measures in turns."""
        outcome = Outcome(self.title, self.as_rate)
        print(f"bench: {self.title}", file=sys.stderr)
        answers = {}
        for system in filter(self.has, bench.systems):
            try:
                answers[system.name] = self.answer(bench, system)
            except Failed as reason:
                outcome.failed[system.name] = str(reason)
        for name, answer in answers.items():
            peer, expected = list(answers.items())[-1]
            if not answer or not agree(answer, expected):
                outcome.void = f"{name} {answer[:3]}, {peer} {expected[:3]}"
                return outcome
        taken = dict.fromkeys(answers, 0.0)
        for _ in range(min(rounds, self.rounds_max)):
            for system in bench.systems:
                if taken.get(system.name, ROUNDS_SECONDS) < ROUNDS_SECONDS:
                    start = time.monotonic()
                    self.round(bench, system, outcome)
                    taken[system.name] += time.monotonic() - start
        return outcome

    def round(self, bench: Bench, system: Swirl | Peer, outcome: Outcome) -> None:
        """Adds a round of a system to the outcome, unless the system has failed."""
        if system.name in outcome.failed:
            return
        try:
            outcome.samples.setdefault(system.name, []).append(self.sample(bench, system))
        except Failed as reason:
            outcome.failed[system.name] = str(reason)
            del outcome.samples[system.name]


class Import(Row):
    """Chat JSONL to a database on disk."""

    rounds_max = 3
    CHECK = (
        "SELECT count(*) AS n, count(DISTINCT trajectory_id) AS trajectories, "
        "sum(observation_chars) AS chars, avg(reward) AS reward, count(process) AS labels, "
        "avg(process) AS process FROM steps"
    )

    def __init__(self, part: int) -> None:
        self.part = part
        share = "" if part == 1 else f" (1/{part} of the data)"
        self.title = f"Import chat JSONL{share}"
        self.first: dict[str, Sample] = {}

    def has(self, system: Swirl | Peer) -> bool:
        return system.reads_chat

    def answer(self, bench: Bench, system: Swirl | Peer) -> list[tuple]:
        sample = bench.load(system, bench.steps // self.part)
        if sum(sample.seconds) >= LONG_SECONDS:
            self.first[system.name] = sample
        return system.answer(bench.path(system), self.CHECK)

    def sample(self, bench: Bench, system: Swirl | Peer) -> Sample:
        first = self.first.pop(system.name, None)
        return first or bench.load(system, bench.steps // self.part)


class LoadFlat(Row):
    """Parquet with a row a step to a database on disk, durable at the end."""

    title = "Load flat steps from Parquet"
    rounds_max = 3
    CHECK = (
        "SELECT count(*) AS n, count(DISTINCT trajectory_id) AS trajectories, "
        "sum(step * observation_chars) AS chars, sum(length(observation)) AS observation, "
        "sum(length(action)) AS action, sum(length(arguments)) AS arguments, "
        "sum(length(question)) AS question, avg(reward) AS reward, count(process) AS labels, "
        "avg(process) AS process FROM steps"
    )

    def answer(self, bench: Bench, system: Swirl | Peer) -> list[tuple]:
        database = bench.path(system, "flat")
        try:
            system.load_flat(database, bench.flat())
            return system.check(database, self.CHECK)
        finally:
            remove(database)

    def sample(self, bench: Bench, system: Swirl | Peer) -> Sample:
        database = bench.path(system, "flat")
        try:
            return system.load_flat(database, bench.flat())
        finally:
            remove(database)


class Query(Row):
    """A statement, repeated in one process on data already loaded."""

    def __init__(self, title: str, statement: str, **own: str) -> None:
        """`own` holds other wordings by system: `Query(.., swirl="FROM steps |> ..")`.

        LanceDB has no SQL; its wording is the condition of the rows to count.
        """
        self.title = title
        self.statement = statement
        self.own = own

    def has(self, system: Swirl | Peer) -> bool:
        return system.name != "lancedb" or system.name in self.own

    def wording(self, system: Swirl | Peer) -> str:
        return self.own.get(system.name, self.statement)

    def answer(self, bench: Bench, system: Swirl | Peer) -> list[tuple]:
        return system.answer(bench.database(system), self.wording(system))

    def sample(self, bench: Bench, system: Swirl | Peer) -> Sample:
        sample = system.query(bench.database(system), self.wording(system), REPEATS)
        sample.seconds = warm(sample.seconds)
        return sample


class Trajectories(Row):
    """Single trajectories by id, one after the other, with the texts of all steps."""

    title = "One trajectory by id"
    driven = True
    COUNT = 200

    def answer(self, bench: Bench, system: Swirl | Peer) -> list[tuple]:
        return self.fetched(bench, system).answer

    def sample(self, bench: Bench, system: Swirl | Peer) -> Sample:
        return self.fetched(bench, system)

    def fetched(self, bench: Bench, system: Swirl | Peer) -> Sample:
        """Returns the times of the second time that each is fetched; it is in memory then.

        The answer is about the chosen step of each.
        """
        steps = bench.chosen(self.COUNT, seed=1)
        ids = list(dict.fromkeys(id for id, _ in steps))
        sample = system.trajectories(bench.indexed(system), ids, steps, 2)
        if len(sample.seconds) != 2 * len(ids):
            raise Failed(f"{len(sample.seconds)} times for {2 * len(ids)} fetches")
        sample.seconds = sample.seconds[len(ids):]
        return sample


class Steps(Row):
    """Action and observation of many random steps, asked for at once."""

    COUNT = 2_000
    title = f"{COUNT:,} random steps with text"
    driven = True

    def answer(self, bench: Bench, system: Swirl | Peer) -> list[tuple]:
        return system.steps(bench.indexed(system), bench.chosen(self.COUNT, seed=2), 1).answer

    def sample(self, bench: Bench, system: Swirl | Peer) -> Sample:
        chosen = bench.chosen(self.COUNT, seed=2)
        sample = system.steps(bench.indexed(system), chosen, REPEATS)
        sample.seconds = warm(sample.seconds)
        return sample


class Appends(Row):
    """Trajectories of six steps into a new database, one at a time, acknowledged when durable."""

    COUNT = 400
    as_rate = True
    driven = True

    def __init__(self, writers: int) -> None:
        self.writers = writers
        self.title = f"Durable appends per second, {writers} writer{'s' if writers > 1 else ''}"

    def answer(self, bench: Bench, system: Swirl | Peer) -> list[tuple]:
        return self.appended(bench, system, 3 * self.writers).answer

    def sample(self, bench: Bench, system: Swirl | Peer) -> Sample:
        sample = self.appended(bench, system, self.COUNT)
        if sample.answer[0][:2] != (self.COUNT, 6 * self.COUNT):
            raise Failed(f"{self.COUNT} trajectories appended, {sample.answer[:3]} found")
        return sample

    def appended(self, bench: Bench, system: Swirl | Peer, count: int) -> Sample:
        database = bench.path(system, "append")
        try:
            return system.append(database, bench.fresh(count), self.writers, count)
        finally:
            remove(database)


class Start(Query):
    """A process that opens the database, answers once and ends."""

    def sample(self, bench: Bench, system: Swirl | Peer) -> Sample:
        return system.start(bench.database(system), self.wording(system))


FOUR_CONDITIONS = (
    "tool = 'search' AND reward > 0.5 AND observation_chars > 1000 AND model = 'qwen-3-32b'"
)
FOUR_PREDICATES = f"SELECT count(*) AS n FROM steps WHERE {FOUR_CONDITIONS}"

NEIGHBOURS = (
    "SELECT count(*) AS n FROM (SELECT tool, lead(tool) OVER (PARTITION BY trajectory_id "
    "ORDER BY step) AS next FROM steps) WHERE tool = 'search' AND next = 'python'"
)

# A word that some results of tools have, and no other word contains.
ERROR_WORD = "permission"

LIKE = f"observation LIKE '%{ERROR_WORD}%'"

# One letter for each step, then a pattern over the letters.
LETTERS = (
    "CASE tool WHEN 'search' THEN 's' WHEN 'python' THEN 'p' WHEN 'shell' THEN 'h' ELSE 'o' END"
)

ROWS: list[Row] = [
    Import(4),
    Import(1),
    LoadFlat(),
    Query(
        "Group by tool, mean reward",
        "SELECT tool, count(*) AS n, avg(reward) AS reward FROM steps GROUP BY tool",
    ),
    Query("Count under four predicates", FOUR_PREDICATES, lancedb=FOUR_CONDITIONS),
    Query(
        "Adjacent pair of steps",
        NEIGHBOURS,
        swirl="FROM steps |> MATCH a:{tool = 'search'} b:{tool = 'python'} "
        "|> AGGREGATE count(*) AS n",
    ),
    Query("Adjacent pair of steps (LEAD)", NEIGHBOURS),
    Query(
        "Pattern with gaps",
        "SELECT count(*) AS n FROM (SELECT string_agg({letter}, '' ORDER BY step) AS word "
        "FROM steps GROUP BY trajectory_id) WHERE regexp_matches(word, 's.*p.*h')".format(
            letter=LETTERS
        ),
        swirl="FROM steps |> MATCH a:{tool = 'search'} .* b:{tool = 'python'} .* "
        "c:{tool = 'shell'} |> AGGREGATE count(*) AS n",
        sqlite="SELECT count(*) AS n FROM (SELECT group_concat({letter}, '') AS word FROM "
        "(SELECT * FROM steps ORDER BY trajectory_id, step) GROUP BY trajectory_id) "
        "WHERE word LIKE '%s%p%h%'".format(letter=LETTERS),
    ),
    Query(
        "Full text and pattern",
        "SELECT count(*) AS n FROM (SELECT observation LIKE '%{word}%' AS hit, lead(tool) OVER ("
        "PARTITION BY trajectory_id ORDER BY step) AS next FROM steps) "
        "WHERE hit AND next = 'python'".format(word=ERROR_WORD),
        swirl="FROM steps |> MATCH a:{{matches(observation, '{word}')}} b:{{tool = 'python'}} "
        "|> AGGREGATE count(*) AS n".format(word=ERROR_WORD),
    ),
    Query(
        "All sub-trajectories with prefix lengths",
        "SELECT count(*) AS n, max(prefix) AS longest FROM (SELECT sum("
        "observation_chars) OVER (PARTITION BY trajectory_id ORDER BY step ROWS UNBOUNDED "
        "PRECEDING) AS prefix FROM steps)",
    ),
    Query(
        "LIKE over all observations",
        f"SELECT count(*) AS n FROM steps WHERE {LIKE}",
        lancedb=LIKE,
    ),
    Start("Open, count under four predicates, close", FOUR_PREDICATES, lancedb=FOUR_CONDITIONS),
    # Last, since they give the peers an index.
    Trajectories(),
    Steps(),
    Appends(1),
    Appends(8),
]

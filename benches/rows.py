"""The rows of the table. A new one is a `Query`, or a class with a `title` and `measure`.

Every row checks first that all systems answer the same; one whose answers differ is void. Then
the systems take turns, round by round, so that a slow minute of the machine hits all of them.
"""

import math
import statistics
import sys
from dataclasses import dataclass, field

from systems import Bench, Failed, Peer, Sample, Swirl

# Of the repeats of a statement in one process the first ones warm caches and are not counted.
REPEATS = 23
WARM_UP = 3


@dataclass
class Outcome:
    """What a row gave: samples by system, or why there are none."""

    title: str
    samples: dict[str, list[Sample]] = field(default_factory=dict)
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


class Row:
    """One line of the table."""

    title: str
    # Whether a round is repeated after the first.
    rounds_max = 1_000

    def answer(self, bench: Bench, system: Swirl | Peer) -> list[tuple]:
        """Returns what must be equal between systems."""
        raise NotImplementedError

    def sample(self, bench: Bench, system: Swirl | Peer) -> Sample:
        """Returns one round of one system."""
        raise NotImplementedError

    def measure(self, bench: Bench, rounds: int) -> Outcome:
        """Checks the answers, then measures in turns."""
        outcome = Outcome(self.title)
        print(f"bench: {self.title}", file=sys.stderr)
        try:
            answers = [self.answer(bench, system) for system in bench.systems]
            for system, answer in zip(bench.systems, answers, strict=True):
                if not answer or not agree(answer, answers[-1]):
                    peer = bench.systems[-1].name
                    outcome.void = f"{system.name} {answer[:3]}, {peer} {answers[-1][:3]}"
                    return outcome
            for _ in range(min(rounds, self.rounds_max)):
                for system in bench.systems:
                    sample = self.sample(bench, system)
                    outcome.samples.setdefault(system.name, []).append(sample)
        except Failed as reason:
            outcome.void = str(reason)
        return outcome


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

    def answer(self, bench: Bench, system: Swirl | Peer) -> list[tuple]:
        bench.load(system, bench.steps // self.part)
        return system.answer(bench.path(system), self.CHECK)

    def sample(self, bench: Bench, system: Swirl | Peer) -> Sample:
        return bench.load(system, bench.steps // self.part)


class Query(Row):
    """A statement, repeated in one process on data already loaded."""

    def __init__(self, title: str, statement: str, **own: str) -> None:
        """`own` holds other wordings by system: `Query(.., swirl="FROM steps |> ..")`."""
        self.title = title
        self.statement = statement
        self.own = own

    def wording(self, system: Swirl | Peer) -> str:
        return self.own.get(system.name, self.statement)

    def answer(self, bench: Bench, system: Swirl | Peer) -> list[tuple]:
        return system.answer(bench.database(system), self.wording(system))

    def sample(self, bench: Bench, system: Swirl | Peer) -> Sample:
        sample = system.query(bench.database(system), self.wording(system), REPEATS)
        sample.seconds = sample.seconds[WARM_UP:]
        return sample


class Start(Query):
    """A process that opens the database, answers once and ends."""

    def sample(self, bench: Bench, system: Swirl | Peer) -> Sample:
        return system.start(bench.database(system), self.wording(system))


FOUR_PREDICATES = (
    "SELECT count(*) AS n FROM steps WHERE tool = 'search' AND reward > 0.5 "
    "AND observation_chars > 1000 AND model = 'qwen-3-32b'"
)

NEIGHBOURS = (
    "SELECT count(*) AS n FROM (SELECT tool, lead(tool) OVER (PARTITION BY trajectory_id "
    "ORDER BY step) AS next FROM steps) WHERE tool = 'search' AND next = 'python'"
)

# A word that some results of tools have, and no other word contains.
ERROR_WORD = "permission"

# One letter for each step, then a pattern over the letters.
LETTERS = (
    "CASE tool WHEN 'search' THEN 's' WHEN 'python' THEN 'p' WHEN 'shell' THEN 'h' ELSE 'o' END"
)

ROWS: list[Row] = [
    Import(4),
    Import(1),
    Query(
        "Group by tool, mean reward",
        "SELECT tool, count(*) AS n, avg(reward) AS reward FROM steps GROUP BY tool",
    ),
    Query("Count under four predicates", FOUR_PREDICATES),
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
    Start("Open, count under four predicates, close", FOUR_PREDICATES),
]

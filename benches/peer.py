"""One request to one peer, in this process; the answer is a line of JSON.

Times are taken inside, so that starting Python is not held against a peer; what a user would wait
for (connecting, committing, closing) is inside the time.
"""

import itertools
import json
import os
import sqlite3
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import flat

# One row per generated message, as a user who knows the data would write it for DuckDB: explicit
# types (no guessing pass), one pass over the file, the observation taken by position.
DUCKDB_LOAD = """
CREATE TABLE steps AS
SELECT id AS trajectory_id, i // 2 AS step, source, model, question_id, sample_index, reward,
       m.tool_calls[1].function.name AS tool,
       m.tool_calls[1].function.arguments AS arguments,
       m.content AS action,
       coalesce(r.content, '') AS observation,
       length(coalesce(r.content, '')) AS observation_chars,
       coalesce(r.is_error, false) AS observation_error,
       TRY_CAST(step_labels ->> ('$."' || (i - 1) || '"') AS DOUBLE) / 2 + .5 AS process
FROM (
    SELECT *, messages[i] AS m, messages[i + 1] AS r
    FROM (
        SELECT *, generate_subscripts(messages, 1) AS i
        FROM read_json(?, format = 'newline_delimited', maximum_object_size = 67108864, columns = {
            id: 'VARCHAR', source: 'VARCHAR', model: 'VARCHAR', question_id: 'VARCHAR',
            sample_index: 'BIGINT', created_at: 'BIGINT', reward: 'DOUBLE',
            step_labels: 'JSON', final_label: 'BIGINT',
            messages: 'STRUCT(role VARCHAR, content VARCHAR, tool_call_id VARCHAR,
                is_error BOOLEAN, tool_calls STRUCT(id VARCHAR, "type" VARCHAR,
                    "function" STRUCT("name" VARCHAR, arguments VARCHAR))[])[]'
        })
    )
)
WHERE m.role = 'assistant'
"""

# Without the question, which chat JSONL has in its messages.
CHAT_COLUMNS = flat.COLUMNS[:-1]
NO_RESULT = {"content": ""}

TRAJECTORY = (
    "SELECT step, action, arguments, observation FROM steps WHERE trajectory_id = {id} "
    "ORDER BY step"
)
APPENDED = (
    "SELECT count(DISTINCT trajectory_id) AS n, count(*) AS steps, "
    "sum(observation_chars) AS chars FROM steps"
)


def steps_of(path: str):
    """Yields one row per generated message of a file of chat JSONL."""
    for record in flat.records_of(path):
        yield from flat.rows_of(record, NO_RESULT)


def declared(columns: list) -> str:
    """Returns columns as a table of steps declares them."""
    return ", ".join(f"{name} {kind}" for name, kind, _ in columns)


def marks(columns: list) -> str:
    """Returns one row of places for values."""
    return f"({', '.join('?' * len(columns))})"


class DuckDB:
    """DuckDB with its defaults: all cores, its own memory limit."""

    def __init__(self) -> None:
        import duckdb
        self.module = duckdb

    def version(self) -> str:
        return f"DuckDB {self.module.__version__}"

    def connect(self, database: str, read_only: bool):
        return self.module.connect(database, read_only=read_only)

    def load(self, database: str, data: str) -> None:
        with self.connect(database, False) as connection:
            connection.execute(DUCKDB_LOAD, [data])

    def load_flat(self, database: str, data: str) -> None:
        with self.connect(database, False) as connection:
            connection.execute("CREATE TABLE steps AS SELECT * FROM read_parquet(?)", [data])

    def rows(self, connection, statement: str) -> list:
        return connection.execute(statement).fetchall()

    check = rows

    def index(self, database: str) -> None:
        with self.connect(database, False) as connection:
            connection.execute("CREATE INDEX by_trajectory ON steps (trajectory_id)")

    def trajectory(self, connection):
        """Returns a function from an id to the steps with their texts."""
        connection.execute(f"PREPARE one AS {TRAJECTORY.format(id='$1')}")
        return lambda id: connection.execute(f"EXECUTE one('{id}')").fetchall()

    def steps(self, connection, wanted: list) -> list:
        """Returns action and observation of each wanted (trajectory, step)."""
        import pyarrow
        columns = [pyarrow.array(column) for column in zip(*wanted, strict=True)]
        connection.register("wanted", pyarrow.table(columns, ["trajectory_id", "step"]))
        return connection.execute(
            "SELECT action, observation FROM steps JOIN wanted USING (trajectory_id, step)"
        ).fetchall()

    def writers(self, database: str, count: int) -> list:
        """Returns functions that append the rows of a trajectory: cursors of one connection."""
        connection = self.connect(database, False)
        connection.execute(f"CREATE TABLE steps ({declared(flat.COLUMNS)})")
        # One statement is one transaction; it is faster than executemany in one.
        places = ", ".join([marks(flat.COLUMNS)] * flat.APPENDED_STEPS)

        def writer(cursor):
            def append(rows: list) -> None:
                values = list(itertools.chain.from_iterable(rows))
                cursor.execute(f"INSERT INTO steps VALUES {places}", values)
            return append
        return [writer(connection.cursor()) for _ in range(count)]


class SQLite:
    """SQLite with its defaults; a load is one transaction."""

    def version(self) -> str:
        return f"SQLite {sqlite3.sqlite_version}"

    def connect(self, database: str, read_only: bool):
        mode = "?mode=ro" if read_only else ""
        return sqlite3.connect(f"file:{database}{mode}", uri=True)

    def fill(self, database: str, columns: list, rows) -> None:
        connection = self.connect(database, False)
        connection.execute(f"CREATE TABLE steps ({declared(columns)})")
        connection.executemany(f"INSERT INTO steps VALUES {marks(columns)}", rows)
        connection.commit()
        connection.close()

    def load(self, database: str, data: str) -> None:
        self.fill(database, CHAT_COLUMNS, steps_of(data))

    def load_flat(self, database: str, data: str) -> None:
        self.fill(database, flat.COLUMNS, flat.read(data))

    def rows(self, connection, statement: str) -> list:
        return connection.execute(statement).fetchall()

    check = rows

    def index(self, database: str) -> None:
        connection = self.connect(database, False)
        connection.execute("CREATE UNIQUE INDEX by_step ON steps (trajectory_id, step)")
        connection.commit()
        connection.close()

    def trajectory(self, connection):
        """Returns a function from an id to the steps with their texts."""
        statement = TRAJECTORY.format(id="?")
        return lambda id: connection.execute(statement, (id,)).fetchall()

    def steps(self, connection, wanted: list) -> list:
        """Returns action and observation of each wanted (trajectory, step)."""
        connection.execute("CREATE TEMP TABLE IF NOT EXISTS wanted (id TEXT, number INTEGER)")
        connection.execute("DELETE FROM wanted")
        connection.executemany("INSERT INTO wanted VALUES (?, ?)", wanted)
        return connection.execute(
            "SELECT action, observation FROM wanted CROSS JOIN steps "
            "ON trajectory_id = id AND step = number"
        ).fetchall()

    def writers(self, database: str, count: int) -> list:
        """Returns functions that append the rows of a trajectory, through one connection."""
        # Taking turns at one connection is faster than a connection a thread, and both are faster
        # than SQLite's own waiting, which sleeps and asks again; processes are slower too.
        turn = threading.Lock()
        connection = sqlite3.connect(
            database, timeout=60, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"CREATE TABLE steps ({declared(flat.COLUMNS)})")

        def append(rows: list) -> None:
            with turn:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany(f"INSERT INTO steps VALUES {marks(flat.COLUMNS)}", rows)
                connection.execute("COMMIT")
        return [append] * count


class LanceDB:
    """LanceDB with its defaults. It syncs nothing, so whoever wants its writes durable does."""

    # Whether appends are made durable.
    synced = True

    def __init__(self) -> None:
        # Its warnings would be the last words of a failure.
        os.environ["RUST_LOG"] = "off"
        import lancedb
        self.module = lancedb

    def version(self) -> str:
        return f"LanceDB {self.module.__version__}"

    def connect(self, database: str, read_only: bool):
        return self.module.connect(database).open_table("steps")

    def load_flat(self, database: str, data: str) -> None:
        self.module.connect(database).create_table("steps", flat.reader(data))
        Synced(database).sync()

    def rows(self, table, condition: str) -> list:
        """Returns the number of rows that meet a condition: what LanceDB answers by itself."""
        return [[table.count_rows(condition)]]

    def check(self, table, statement: str) -> list:
        """Returns the rows of a statement that DuckDB runs over all that LanceDB hands out."""
        import duckdb
        with duckdb.connect() as connection:
            connection.register("steps", table.search().to_batches())
            return connection.execute(statement).fetchall()

    def index(self, database: str) -> None:
        from lancedb.index import BTree
        self.connect(database, False).create_index("trajectory_id", config=BTree())

    def trajectory(self, table):
        """Returns a function from an id to the steps with their texts."""
        columns = ["step", "action", "arguments", "observation"]
        def steps(id: str) -> list:
            found = table.search().where(f"trajectory_id = '{id}'").select(columns)
            return self.tuples(found.to_arrow().sort_by("step"), columns)
        return steps

    def steps(self, table, wanted: list) -> list:
        """Returns action and observation of each wanted (trajectory, step).

        Two questions, first for row numbers and then for texts, are faster than one.
        """
        ids = ", ".join(f"'{id}'" for id in dict.fromkeys(id for id, _ in wanted))
        keys = table.search().where(f"trajectory_id IN ({ids})").select(["trajectory_id", "step"])
        keys = keys.with_row_id(True).to_arrow()
        among = set(map(tuple, wanted))
        rows = self.tuples(keys, ["trajectory_id", "step", "_rowid"])
        found = table.take_row_ids([row for id, step, row in rows if (id, step) in among])
        texts = ["action", "observation"]
        return self.tuples(found.select(texts).to_arrow(), texts)

    def tuples(self, found, columns: list[str]) -> list[tuple]:
        """Returns an Arrow table's rows."""
        return list(zip(*(found[name].to_pylist() for name in columns), strict=True))

    def writers(self, database: str, count: int) -> list:
        """Returns functions that append the rows of a trajectory, through one open table."""
        table = self.module.connect(database).create_table("steps", schema=flat.schema())
        synced = Synced(database)

        def append(rows: list) -> None:
            table.add(flat.table_of(rows))
            if self.synced:
                synced.sync()
        return [append] * count


class Synced:
    """Makes the files and folders below a folder durable, those already synced excepted."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.files: set[Path] = set()

    def sync(self) -> None:
        """Syncs what has come since the last time."""
        for folder, _, files in os.walk(self.folder):
            fresh = {Path(folder, file) for file in files} - self.files
            for path in [*fresh, Path(folder)] if fresh else []:
                try:
                    handle = os.open(path, os.O_RDONLY)
                except FileNotFoundError:
                    # A file that had its name for a moment, of another writer.
                    continue
                os.fsync(handle)
                os.close(handle)
            self.files |= fresh


def append(system, database: str, data: str, writers: int) -> dict:
    """Appends the trajectories of a file to a new database, one at a time, from threads."""
    groups = itertools.groupby(flat.flat_rows(data), key=lambda row: row[0])
    trajectories = [list(rows) for _, rows in groups]
    appends = system.writers(database, writers)

    def work(number: int) -> None:
        for rows in trajectories[number::writers]:
            appends[number](rows)

    with ThreadPoolExecutor(writers) as pool:
        start = time.perf_counter()
        list(pool.map(work, range(writers)))
        seconds = time.perf_counter() - start
    connection = system.connect(database, False)
    return {"rows": system.check(connection, APPENDED), "seconds": [seconds / len(trajectories)]}


def fetch_trajectories(system, connection, request: dict) -> dict:
    """Fetches trajectories one by one; the answer is about some steps of theirs."""
    texts, seconds = {}, []
    one = system.trajectory(connection)
    for _ in range(request["repeats"]):
        for id in request["ids"]:
            start = time.perf_counter()
            steps = one(id)
            seconds.append(time.perf_counter() - start)
            texts[id] = {step: observation for step, _, _, observation in steps}
    found = [texts[id][step] or "" for id, step in request["steps"]]
    return {"rows": [[len(found), sum(map(len, found))]], "seconds": seconds}


def fetch_steps(system, connection, request: dict) -> dict:
    """Fetches steps, all at once."""
    seconds = []
    for _ in range(request["repeats"]):
        start = time.perf_counter()
        steps = system.steps(connection, request["steps"])
        seconds.append(time.perf_counter() - start)
    chars = sum(len(observation or "") for _, observation in steps)
    return {"rows": [[len(steps), chars]], "seconds": seconds}


def query(system, connection, request: dict) -> dict:
    """Runs a statement again and again, while there is time."""
    seconds: list[float] = []
    while len(seconds) < request["repeats"] and sum(seconds) < request["seconds_max"]:
        start = time.perf_counter()
        rows = system.rows(connection, request["statement"])
        seconds.append(time.perf_counter() - start)
    return {"rows": rows, "seconds": seconds}


def check(system, connection, request: dict) -> dict:
    """Runs a statement about what was loaded."""
    return {"rows": system.check(connection, request["statement"])}


READING = {
    "trajectories": fetch_trajectories,
    "steps": fetch_steps,
    "query": query,
    "check": check,
}


def answer(request: dict) -> dict:
    """Does what is asked and returns rows and seconds."""
    system = {"duckdb": DuckDB, "sqlite": SQLite, "lancedb": LanceDB}[request["system"]]()
    verb, database = request["verb"], request.get("database")
    if verb == "version":
        return {"rows": [[system.version()]]}
    if verb == "append":
        system.synced = request["synced"]
        return append(system, database, request["data"], request["writers"])
    start = time.perf_counter()
    if verb in ("load", "load_flat"):
        getattr(system, verb)(database, request["data"])
        return {"seconds": [time.perf_counter() - start]}
    if verb == "index":
        system.index(database)
        return {"seconds": [time.perf_counter() - start]}
    connection = system.connect(database, True)
    if verb == "start":
        rows = system.rows(connection, request["statement"])
        if hasattr(connection, "close"):
            connection.close()
        return {"rows": rows, "seconds": [time.perf_counter() - start]}
    return READING[verb](system, connection, request)


if __name__ == "__main__":
    json.dump(answer(json.loads(sys.argv[1])), sys.stdout)

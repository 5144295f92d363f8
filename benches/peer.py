"""One request to one peer, in this process; the answer is a line of JSON.

Times are taken inside, so that starting Python is not held against a peer; what a user would wait
for (connecting, committing, closing) is inside the time.
"""

import json
import sqlite3
import sys
import time

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

SQLITE_COLUMNS = (
    "trajectory_id TEXT, step INTEGER, source TEXT, model TEXT, question_id TEXT, "
    "sample_index INTEGER, reward REAL, tool TEXT, arguments TEXT, action TEXT, observation TEXT, "
    "observation_chars INTEGER, observation_error INTEGER, process REAL"
)


def steps_of(path: str):
    """Yields one row per generated message of a file of chat JSONL."""
    with open(path, encoding="utf-8") as file:
        for line in file:
            record = json.loads(line)
            messages = record["messages"]
            labels = record.get("step_labels", {})
            head = (record["id"], record["source"], record["model"], record["question_id"],
                    record["sample_index"], record["reward"])
            step = 0
            for i, message in enumerate(messages):
                if message["role"] != "assistant":
                    continue
                step += 1
                calls = message.get("tool_calls") or [{"function": {}}]
                call = calls[0]["function"]
                result = messages[i + 1] if i + 1 < len(messages) else {"content": ""}
                label = labels.get(str(i))
                yield (head[0], step, *head[1:], call.get("name"), call.get("arguments"),
                       message["content"], result["content"], len(result["content"]),
                       result.get("is_error", False), None if label is None else label / 2 + 0.5)


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


class SQLite:
    """SQLite with its defaults; the load is one transaction."""

    def version(self) -> str:
        return f"SQLite {sqlite3.sqlite_version}"

    def connect(self, database: str, read_only: bool):
        mode = "?mode=ro" if read_only else ""
        return sqlite3.connect(f"file:{database}{mode}", uri=True)

    def load(self, database: str, data: str) -> None:
        connection = self.connect(database, False)
        connection.execute(f"CREATE TABLE steps ({SQLITE_COLUMNS})")
        marks = ", ".join("?" * (SQLITE_COLUMNS.count(",") + 1))
        connection.executemany(f"INSERT INTO steps VALUES ({marks})", steps_of(data))
        connection.commit()
        connection.close()


def answer(request: dict) -> dict:
    """Does what is asked and returns rows and seconds."""
    system = {"duckdb": DuckDB, "sqlite": SQLite}[request["system"]]()
    if request["verb"] == "version":
        return {"rows": [[system.version()]]}
    start = time.perf_counter()
    if request["verb"] == "load":
        system.load(request["database"], request["data"])
        return {"seconds": [time.perf_counter() - start]}
    connection = system.connect(request["database"], True)
    if request["verb"] == "start":
        rows = connection.execute(request["statement"]).fetchall()
        connection.close()
        return {"rows": rows, "seconds": [time.perf_counter() - start]}
    seconds = []
    for _ in range(request["repeats"]):
        start = time.perf_counter()
        rows = connection.execute(request["statement"]).fetchall()
        seconds.append(time.perf_counter() - start)
    connection.close()
    return {"rows": rows, "seconds": seconds}


if __name__ == "__main__":
    json.dump(answer(json.loads(sys.argv[1])), sys.stdout)

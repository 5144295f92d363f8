"""The flat form of the data: one Parquet file with zstd, a row a step, which every system loads.

The rows of a trajectory are neighbours, in order. Columns are those of the peers' tables, and the
question, which is the same in all rows of a trajectory. What a step does not have is null: tool
and arguments without a call, the observation without a result, the label without a judge.

    python flat.py write DATA FILE          makes the file of chat JSONL
    python flat.py choose FILE COUNT SEED   prints random steps as JSON
    python flat.py renew DATA FILE COUNT    makes chat JSONL of trajectories to append

These run in processes of their own: what the one that measures once held would count as the
memory of every process it starts.
"""

import itertools
import json
import random
import sys
from pathlib import Path

# In the order of `rows_of`, with the types of SQL and of Arrow.
COLUMNS = [
    ("trajectory_id", "TEXT", "string"),
    ("step", "INTEGER", "int32"),
    ("source", "TEXT", "string"),
    ("model", "TEXT", "string"),
    ("question_id", "TEXT", "string"),
    ("sample_index", "INTEGER", "int32"),
    ("reward", "DOUBLE", "float64"),
    ("tool", "TEXT", "string"),
    ("arguments", "TEXT", "string"),
    ("action", "TEXT", "string"),
    ("observation", "TEXT", "string"),
    ("observation_chars", "INTEGER", "int32"),
    ("observation_error", "INTEGER", "bool"),
    ("process", "DOUBLE", "float64"),
    ("question", "TEXT", "string"),
]

# A row group; about 75 MB of text, and enough of them for all cores.
GROUP_ROWS = 32_768
BATCH_ROWS = 4_096

# The steps of a trajectory that is appended.
APPENDED_STEPS = 6

NOTHING = {"content": None, "is_error": None}


def records_of(path: str | Path):
    """Yields the records of a file of chat JSONL."""
    with open(path, encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def rows_of(record: dict, no_result: dict = NOTHING):
    """Yields one row per generated message, without the question."""
    messages = record["messages"]
    labels = record.get("step_labels", {})
    head = (record["source"], record["model"], record["question_id"], record["sample_index"],
            record["reward"])
    step = 0
    for i, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        step += 1
        calls = message.get("tool_calls") or [{"function": {}}]
        call = calls[0]["function"]
        result = messages[i + 1] if i + 1 < len(messages) else no_result
        label = labels.get(str(i))
        yield (record["id"], step, *head, call.get("name"), call.get("arguments"),
               message["content"], result["content"], len(result["content"] or ""),
               result.get("is_error", False), None if label is None else label / 2 + 0.5)


def flat_rows(data: str | Path):
    """Yields the rows of the flat form: those of each record, with its question."""
    for record in records_of(data):
        question = record["messages"][0]["content"]
        for row in rows_of(record):
            yield (*row, question)


def schema():
    """Returns the columns as Arrow has them."""
    import pyarrow

    return pyarrow.schema([(name, kind) for name, _, kind in COLUMNS])


def table_of(rows: list[tuple]):
    """Returns rows as an Arrow table."""
    import pyarrow

    columns = zip(zip(*rows, strict=True), schema(), strict=True)
    arrays = [pyarrow.array(column, field.type) for column, field in columns]
    return pyarrow.table(arrays, schema=schema())


def write(data: Path, path: Path) -> None:
    """Writes chat JSONL as flat Parquet, a row group at a time."""
    import pyarrow.parquet

    rows = flat_rows(data)
    partial = path.with_suffix(".partial")
    with pyarrow.parquet.ParquetWriter(partial, schema(), compression="zstd") as writer:
        while group := list(itertools.islice(rows, GROUP_ROWS)):
            writer.write_table(table_of(group))
    partial.rename(path)


def reader(path: str | Path, columns: list[str] | None = None):
    """Returns a reader of the batches of a flat file."""
    import pyarrow
    import pyarrow.parquet

    file = pyarrow.parquet.ParquetFile(path)
    batches = file.iter_batches(BATCH_ROWS, columns=columns)
    chosen = [field for field in file.schema_arrow if columns is None or field.name in columns]
    return pyarrow.RecordBatchReader.from_batches(pyarrow.schema(chosen), batches)


def read(path: str | Path, columns: list[str] | None = None):
    """Yields the rows of a flat file as tuples."""
    for batch in reader(path, columns):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def choose(path: str | Path, count: int, seed: int) -> list[tuple[str, int]]:
    """Returns so many random steps by trajectory and number, in random order."""
    import pyarrow.parquet

    rng = random.Random(seed)
    total = pyarrow.parquet.ParquetFile(path).metadata.num_rows
    rows = set(rng.sample(range(total), min(count, total)))
    steps = read(path, ["trajectory_id", "step"])
    chosen = [step for row, step in enumerate(steps) if row in rows]
    rng.shuffle(chosen)
    return chosen


def renew(data: Path, path: Path, count: int) -> None:
    """Writes trajectories under new names: the first steps of those of the data, so many each."""
    def cut():
        for record in records_of(data):
            places = [i for i, m in enumerate(record["messages"]) if m["role"] == "assistant"]
            if len(places) >= APPENDED_STEPS:
                end = [*places, len(record["messages"])][APPENDED_STEPS]
                yield {**record, "messages": record["messages"][:end]}

    # Over again, where the data has fewer.
    records = itertools.cycle(itertools.islice(cut(), count))
    with path.open("w", encoding="utf-8") as out:
        for number, record in zip(range(count), records):
            labels = {place: label for place, label in record.get("step_labels", {}).items()
                      if int(place) < len(record["messages"])}
            fresh = {**record, "id": f"new-{number:06}", "step_labels": labels}
            fresh.pop("final_label", None)
            out.write(json.dumps(fresh, ensure_ascii=False) + "\n")


def main(command: str, path: str, *rest: str) -> None:
    """Does what the command line asks for."""
    if command == "write":
        write(Path(path), Path(rest[0]))
    elif command == "renew":
        renew(Path(path), Path(rest[0]), int(rest[1]))
    else:
        json.dump(choose(path, *map(int, rest)), sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Measures sealed corpora beside tantivy-py, bm25s, SQLite's FTS5 and LanceDB.

    make bench-search                                        300,000 documents
    make bench-search ARGS="--documents 20000 --rounds 2"    a quick look
    make bench-search ARGS="--write"                         the table goes into README.md too

Documents are the observations of `swirl synth --shape bench`, to each of which some of 200,000 rare
words are added. Every system indexes title and text and answers 200 queries of two or three rare
words and 200 of four frequent ones, the ten best, OR. Systems take turns; each answers all queries
twice in a round, and the second time counts. The peers have an environment of their own.
"""

import argparse
import json
import os
import random
import shutil
import sqlite3
import statistics
import subprocess
import sys
import time
from pathlib import Path

from run import CACHE, built_program, enter_environment

HERE = Path(__file__).resolve().parent
BEGIN = "<!-- the table of the last run: make bench-search ARGS=--write -->"
END = "<!-- end of the table of search -->"


def make_documents(program: Path, folder: Path, count: int) -> Path:
    """Writes documents as JSON lines: id, title, text."""
    path = folder / "documents.jsonl"
    rng = random.Random(11)
    made = subprocess.Popen(
        [program, "synth", "--shape", "bench", "--steps", str(count)], stdout=subprocess.PIPE
    )
    number = 0
    with path.open("w") as out:
        for line in made.stdout:
            record = json.loads(line)
            for message in record["messages"]:
                if message["role"] != "tool" or number >= count:
                    continue
                rare = " ".join(f"rare{rng.randrange(200_000)}" for _ in range(5))
                title = f"{message.get('name') or 'result'} {number}"
                text = f"{message['content']} {rare}"
                out.write(json.dumps({"id": f"{number:08}", "title": title, "text": text}) + "\n")
                number += 1
    made.wait()
    return path


def read(path: Path):
    """Yields documents as (id, title, text)."""
    with path.open() as lines:
        for line in lines:
            document = json.loads(line)
            yield document["id"], document["title"], document["text"]


def make_queries(path: Path) -> dict[str, list[str]]:
    """Returns queries of rare words and of frequent ones, drawn from the documents."""
    rng = random.Random(12)
    counts: dict[str, int] = {}
    for number, (_, _, text) in enumerate(read(path)):
        if number < 5_000:
            for word in set(text.split()):
                if word.isalpha() and word.islower() and len(word) > 3:
                    counts[word] = counts.get(word, 0) + 1
    frequent = sorted(counts, key=lambda word: (-counts[word], word))[:300]
    rare = [f"rare{n}" for n in range(200_000)]
    return {
        "rare": [" ".join(rng.sample(rare, rng.randint(2, 3))) for _ in range(200)],
        "frequent": [" ".join(rng.sample(frequent, 4)) for _ in range(200)],
    }


def p50_p95(times: list[float]) -> tuple[float, float]:
    """Returns the median and the 95th percentile, in milliseconds."""
    times = sorted(times)
    return tuple(1e3 * times[round(share * (len(times) - 1))] for share in (0.5, 0.95))


class System:
    """One system: builds an index in a folder and answers queries from it."""

    name: str

    def __init__(self, folder: Path) -> None:
        self.folder = folder / self.name

    def build(self, path: Path) -> None:
        raise NotImplementedError

    def search(self, query: str) -> int:
        """Answers a query and returns how many documents were found."""
        raise NotImplementedError

    def times(self, queries: list[str], _: str) -> tuple[float, float]:
        for query in queries:
            self.search(query)
        took = []
        for query in queries:
            begin = time.perf_counter()
            self.search(query)
            took.append(time.perf_counter() - begin)
        return p50_p95(took)

    def timed_build(self, path: Path) -> float:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        begin = time.perf_counter()
        self.build(path)
        return time.perf_counter() - begin


class Swirl(System):
    name = "swirl"

    def __init__(self, folder: Path, program: Path) -> None:
        super().__init__(folder)
        self.program = program

    def run(self, *arguments: object) -> str:
        done = subprocess.run(
            [self.program, "corpus", *map(str, arguments)], capture_output=True, text=True
        )
        if done.returncode != 0:
            sys.exit(f"bench: {done.stderr}")
        return done.stderr

    def build(self, path: Path) -> None:
        self.run("create", self.folder / "db", "c", path)

    def times(self, queries: list[str], kind: str) -> tuple[float, float]:
        topics = self.folder / f"{kind}.tsv"
        topics.write_text("".join(f"{n}\t{query}\n" for n, query in enumerate(queries)))
        told = self.run(
            "eval", self.folder / "db", "c", "--topics", topics, "--to", self.folder / "run",
            "-k", 10, "--passes", 2, "--read-only",
        )
        words = told.split("searched")[1].replace(",", " ").split()
        return float(words[words.index("p50") + 1]), float(words[words.index("p95") + 1])


class Tantivy(System):
    name = "tantivy"

    def build(self, path: Path) -> None:
        import tantivy

        schema = tantivy.SchemaBuilder()
        schema.add_text_field("id", stored=True, tokenizer_name="raw")
        schema.add_text_field("title")
        schema.add_text_field("body")
        self.index = tantivy.Index(schema.build(), path=str(self.folder))
        writer = self.index.writer(512 << 20, num_threads=2)
        for id, title, text in read(path):
            writer.add_document(tantivy.Document(id=id, title=title, body=text))
        writer.commit()
        writer.wait_merging_threads()
        self.index.reload()
        self.searcher = self.index.searcher()

    def search(self, query: str) -> int:
        parsed = self.index.parse_query(query, ["title", "body"])
        return len(self.searcher.search(parsed, 10).hits)


class Bm25s(System):
    name = "bm25s"

    def build(self, path: Path) -> None:
        import bm25s

        texts = [f"{title}\n{text}" for _, title, text in read(path)]
        self.retriever = bm25s.BM25(method="lucene", k1=0.9, b=0.4)
        self.retriever.index(bm25s.tokenize(texts, show_progress=False), show_progress=False)

    def search(self, query: str) -> int:
        import bm25s

        tokens = bm25s.tokenize([query], show_progress=False)
        return len(self.retriever.retrieve(tokens, k=10, show_progress=False).documents[0])


class Fts5(System):
    name = "sqlite"

    def build(self, path: Path) -> None:
        self.database = sqlite3.connect(self.folder / "db")
        self.database.execute("CREATE VIRTUAL TABLE docs USING fts5(id UNINDEXED, title, body)")
        self.database.executemany("INSERT INTO docs VALUES (?, ?, ?)", read(path))
        self.database.execute("INSERT INTO docs(docs) VALUES ('optimize')")
        self.database.commit()

    def search(self, query: str) -> int:
        words = " OR ".join(f'"{word}"' for word in query.split())
        statement = "SELECT id FROM docs WHERE docs MATCH ? ORDER BY rank LIMIT 10"
        return len(self.database.execute(statement, (words,)).fetchall())


class Lance(System):
    name = "lancedb"

    def build(self, path: Path) -> None:
        # Its warnings would fill the screen.
        os.environ["RUST_LOG"] = "off"
        import lancedb

        database = lancedb.connect(str(self.folder))
        documents = read(path)

        def batches():
            while True:
                rows = [
                    {"id": id, "body": f"{title}\n{text}"}
                    for (id, title, text), _ in zip(documents, range(10_000))
                ]
                if not rows:
                    return
                yield rows

        batch = batches()
        self.table = database.create_table("docs", next(batch))
        for rows in batch:
            self.table.add(rows)
        self.table.create_fts_index("body", use_tantivy=False, with_position=False)

    def search(self, query: str) -> int:
        return len(self.table.search(query, query_type="fts").limit(10).select(["id"]).to_list())


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(prog="make bench-search")
    parser.add_argument("--documents", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="systems, with commas between")
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    parser.add_argument("--swirl", type=Path, help="the program (default: the one just built)")
    parser.add_argument("--folder", type=Path, default=CACHE / "bench-search")
    options = parser.parse_args()
    enter_environment(HERE / "search.py", HERE / "search-requirements.txt")

    shutil.rmtree(options.folder, ignore_errors=True)
    options.folder.mkdir(parents=True)
    program = Path(shutil.copy2(options.swirl or built_program(), options.folder / "program"))
    path = make_documents(program, options.folder, options.documents)
    queries = make_queries(path)
    systems = [Swirl(options.folder, program)]
    systems += [kind(options.folder) for kind in (Tantivy, Bm25s, Fts5, Lance)]
    wanted = options.only.split(",") if options.only else [system.name for system in systems]
    systems = [system for system in systems if system.name in wanted]
    builds: dict[str, list[float]] = {}
    answers: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for round in range(options.rounds):
        for system in systems:
            # The slow ones are built once.
            if round == 0 or system.name in ("swirl", "tantivy"):
                print(f"bench: round {round + 1}, {system.name} builds", file=sys.stderr)
                builds.setdefault(system.name, []).append(system.timed_build(path))
            for kind, texts in queries.items():
                answers.setdefault((system.name, kind), []).append(system.times(texts, kind))
    count = sum(1 for _ in read(path))
    megabytes = path.stat().st_size / 1e6
    lines = [
        f"{count:,} documents, {megabytes:,.0f} MB; {options.rounds} rounds in turns, medians.",
        "",
        "| system | index | rare words, p50 / p95 | four frequent words, p50 / p95 |",
        "|---|---|---|---|",
    ]
    for system in systems:
        cells = [system.name, f"{statistics.median(builds[system.name]):.1f} s"]
        for kind in queries:
            rounds = answers[system.name, kind]
            half, most = (statistics.median(r[at] for r in rounds) for at in (0, 1))
            cells.append(f"{half:.3f} / {most:.3f} ms")
        lines.append("| " + " | ".join(cells) + " |")
    table = "\n".join(lines)
    print(table)
    shutil.rmtree(options.folder, ignore_errors=True)
    if options.write:
        readme = HERE / "README.md"
        text = readme.read_text()
        begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
        readme.write_text(f"{text[:begin]}\n\n{table}\n\n{text[end:]}")


if __name__ == "__main__":
    main()

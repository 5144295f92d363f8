"""Builds a corpus of a retrieval collection with the program and compares what it finds with peers.

    python tests/oracle/retrieval_oracle.py target/debug/swirl CORPUS TOPICS QRELS [--ids position]

Needs the Python packages pytrec-eval-terrier, bm25s and numba. Two things are compared. The figures
of `swirl corpus eval` (printed) with those pytrec_eval computes from the run that it writes: they
must be equal to four places. And scores with bm25s's (method "lucene", the same k1 and b): for that
the texts are cut into lower-case words by a rule of this script and joined by blanks, so that both
sides have the same terms; every score of the 1,000 best must agree to 1e-4. CORPUS is what `swirl
corpus create` reads as JSON lines. Not part of `make test`: it needs data and peers that the tests
must do without.
"""

import argparse
import gzip
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

MEASURES = {
    "nDCG@10": "ndcg_cut_10", "R@100": "recall_100", "AP": "map", "RR": "recip_rank", "P@30": "P_30"
}


def lines(path: Path):
    """Yields the lines of a file, compressed or not."""
    if path.suffix == ".zst":
        shown = subprocess.run(["zstd", "-dc", path], capture_output=True, check=True).stdout
        yield from shown.decode().splitlines()
    else:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt") as file:
            yield from file


def documents(path: Path):
    """Yields id and words of each document."""
    for line in lines(path):
        record = json.loads(line)
        id = record.get("_id", record.get("id"))
        yield str(id), words(f"{record.get('title') or ''} {record['text']}")


def words(text: str) -> list[str]:
    """Returns words that every analysis leaves as they are."""
    return re.findall(r"[a-z0-9]+", text.lower())


def read_run(path: Path) -> dict[str, dict[str, float]]:
    run: dict[str, dict[str, float]] = {}
    for line in lines(path):
        topic, _, document, _, score, _ = line.split()
        run.setdefault(topic, {})[document] = float(score)
    return run


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    qrels: dict[str, dict[str, int]] = {}
    for line in lines(path):
        columns = line.split()
        if columns[0] == "query-id":
            continue
        topic, document, grade = columns[0], columns[-2], int(columns[-1])
        qrels.setdefault(topic, {})[document] = grade
    return qrels


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("program", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("topics", type=Path)
    parser.add_argument("qrels", type=Path)
    parser.add_argument("--ids", default="id")
    options = parser.parse_args()
    import bm25s
    import pytrec_eval

    folder = Path(tempfile.mkdtemp())

    def swirl(*arguments: object) -> str:
        command = [options.program, "corpus", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(done.stderr)
        return done.stdout

    swirl("create", folder / "db", "whole", options.corpus)
    asked = [word for name in MEASURES for word in ("--measure", name)]
    told = swirl(
        "eval", folder / "db", "whole", "--topics", options.topics, "--qrels", options.qrels,
        "--to", folder / "run", "--ids", options.ids, *asked,
    )
    print(told, end="")
    ours = {line.split("\t")[0]: float(line.split("\t")[2]) for line in told.splitlines()}
    qrels = read_qrels(options.qrels)
    found = pytrec_eval.RelevanceEvaluator(qrels, set(MEASURES.values())).evaluate(
        {topic: of for topic, of in read_run(folder / "run").items() if topic in qrels}
    )
    wrong = 0
    for name, theirs in MEASURES.items():
        # Topics without an answer count as 0.
        mean = sum(values[theirs] for values in found.values()) / len(qrels)
        if abs(mean - ours[name]) > 0.00005 + 1e-9:
            wrong += 1
            print(f"different: {name}: {ours[name]}, pytrec_eval {mean:.6f}")
    all_documents = list(documents(options.corpus))
    plain = folder / "plain.jsonl"
    plain.write_text(
        "".join(json.dumps({"id": id, "text": " ".join(of)}) + "\n" for id, of in all_documents)
    )
    swirl("create", folder / "db", "plain", plain, "--analyzer", "neutral")
    topics = []
    for number, line in enumerate(lines(options.qrels)):
        topics.append(words(" ".join(all_documents[number * 7 % len(all_documents)][1][:12])))
        if number == 200:
            break
    (folder / "topics.tsv").write_text(
        "".join(f"{n}\t{' '.join(of)}\n" for n, of in enumerate(topics) if of)
    )
    swirl("eval", folder / "db", "plain", "--topics", folder / "topics.tsv", "--to", folder / "run")
    run = read_run(folder / "run")
    retriever = bm25s.BM25(method="lucene", k1=0.9, b=0.4)
    retriever.index([of for _, of in all_documents], show_progress=False)
    ids = [id for id, _ in all_documents]
    compared, most = 0, 0.0
    for topic, of in enumerate(topics):
        scores = retriever.get_scores(of) if of else []
        by_id = dict(zip(ids, scores))
        for document, score in run.get(str(topic), {}).items():
            compared += 1
            most = max(most, abs(score - float(by_id[document])))
    wrong += most > 1e-4
    print(f"{compared} scores compared with bm25s, largest difference {most:.2g}; {wrong} wrong")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()

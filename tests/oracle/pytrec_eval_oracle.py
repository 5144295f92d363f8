"""Measures random rankings with the program and with pytrec_eval, which is trec_eval's own code.

    python tests/oracle/pytrec_eval_oracle.py target/debug/swirl [RUN QRELS ...]

Needs the Python package pytrec_eval (pytrec-eval-terrier has it built). Judgements and runs are
random, with what is rarely thought of: tied scores, scores that single precision ties, negative
and zero relevance, topics without relevant documents, without judgements, without documents. Pairs
of files are measured as they are. A figure that differs in the first four places is printed; the
last line counts. Not part of `make test`: it needs a peer that the tests must do without.
"""

import itertools
import random
import subprocess
import sys
import tempfile
from pathlib import Path

# Our name, trec_eval's, and the least relevance.
MEASURES = [
    ("nDCG", "ndcg", 1), ("nDCG@1", "ndcg_cut_1", 1), ("nDCG@10", "ndcg_cut_10", 1),
    ("nDCG@100", "ndcg_cut_100", 1), ("R@5", "recall_5", 1), ("R@100", "recall_100", 1),
    ("AP", "map", 1), ("AP@10", "map_cut_10", 1), ("RR", "recip_rank", 1), ("P@1", "P_1", 1),
    ("P@30", "P_30", 1), ("AP(rel=2)", "map", 2), ("P(rel=2)@5", "P_5", 2),
    ("R(rel=2)@10", "recall_10", 2), ("RR(rel=2)", "recip_rank", 2),
]
CASES = 60


def make(rng: random.Random) -> tuple[dict, dict]:
    """Returns judgements and a run, topic to document to number."""
    qrels, run = {}, {}
    for topic in range(rng.randint(2, 12)):
        documents = [f"d{n}" for n in range(rng.randint(2, 200))]
        grades = rng.choice([[0, 1], [-2, -1, 0, 1, 2, 3], [0], [-1, 0], [1, 5, 20]])
        judged = rng.sample(documents, rng.randint(1, len(documents)))
        ranked = rng.sample(documents, rng.randint(1, len(documents)))
        steps = rng.choice([2, 10, 10**9])
        if rng.random() < 0.85 or topic == 0:
            qrels[f"t{topic}"] = {document: rng.choice(grades) for document in judged}
            # Where all are negative, trec_eval reads memory that it did not write, and may crash.
            qrels[f"t{topic}"][judged[0]] = max(grades)
        if rng.random() < 0.85 or topic == 0:
            scores = {document: rng.randrange(steps) / steps * 20 - 4 for document in ranked}
            run[f"t{topic}"] = scores
    return qrels, run


def write(qrels: dict, run: dict, folder: Path) -> tuple[Path, Path]:
    """Writes both as trec_eval reads them; ranks are left at 0, since they must not count."""
    judged = [f"{t} 0 {d} {grade}" for t, of in qrels.items() for d, grade in of.items()]
    ranked = [f"{t} Q0 {d} 0 {score!r} tag" for t, of in run.items() for d, score in of.items()]
    (folder / "qrels").write_text("\n".join(judged) + "\n")
    (folder / "run").write_text("\n".join(ranked) + "\n")
    return folder / "qrels", folder / "run"


def read(path: Path, columns: tuple[int, int, int], kind: type) -> dict:
    """Reads a file of columns: topic, document, number; a header is passed over."""
    out: dict = {}
    for line in path.read_text().splitlines():
        parts = line.split()
        if len(parts) == 3:
            parts.insert(1, "0")
        if parts[0] != "query-id":
            topic, document, number = (parts[column] for column in columns)
            out.setdefault(topic, {})[document] = kind(number)
    return out


def theirs(qrels: dict, run: dict) -> dict:
    """Returns pytrec_eval's figures by our measure and topic, with the mean over all judged."""
    import pytrec_eval

    out = {}
    for ours, name, level in MEASURES:
        base, cutoff = name.rpartition("_")[::2] if name[-1].isdigit() else (name, "")
        asked = {f"{base}.{cutoff}" if cutoff else name}
        evaluator = pytrec_eval.RelevanceEvaluator(qrels, asked, relevance_level=level)
        values = {topic: found[name] for topic, found in evaluator.evaluate(run).items()}
        out.update({(ours, topic): value for topic, value in values.items()})
        out[ours, "all"] = sum(values.values()) / len(qrels)
    return out


def ours(program: Path, qrels: Path, run: Path) -> dict:
    """Returns the program's figures by measure and topic."""
    command = [program, "corpus", "eval", "--run", run, "--qrels", qrels]
    for name, _, _ in MEASURES:
        command += ["--measure", name]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise ValueError((done.stderr or done.stdout).strip())
    rows = (line.split("\t") for line in done.stdout.splitlines())
    return {(measure, topic): float(value) for measure, topic, value in rows}


def differences(mine: dict, yours: dict) -> list[str]:
    """Returns what differs by more than rounding to four places, and what only one has."""
    out = []
    for key in sorted(mine.keys() | yours.keys()):
        one, other = mine.get(key), yours.get(key)
        if one is None or other is None or abs(one - other) > 0.5001e-4:
            out.append(f"{key[0]} of {key[1]}: {one} != {other}")
    return out


def main() -> None:
    """Measures everything and tells what differs."""
    try:
        import pytrec_eval  # noqa: F401
    except ImportError:
        sys.exit("pytrec_eval is not installed: pip install pytrec-eval-terrier")
    program = Path(sys.argv[1] if len(sys.argv) > 1 else "target/debug/swirl").resolve()
    rng = random.Random(4)
    figures = different = 0
    with tempfile.TemporaryDirectory() as name:
        files = [Path(path) for path in sys.argv[2:]]
        given = [(qrels, run, read(qrels, (0, 2, 3), int), read(run, (0, 2, 4), float))
                 for run, qrels in zip(files[::2], files[1::2], strict=True)]
        made = (make(rng) for _ in range(CASES))
        drawn = ((*write(qrels, run, Path(name)), qrels, run) for qrels, run in made)
        for qrels_path, run_path, qrels, run in itertools.chain(given, drawn):
            mine, yours = ours(program, qrels_path, run_path), theirs(qrels, run)
            figures += len(yours)
            problems = differences(mine, yours)
            different += len(problems)
            print("".join(f"{problem}\n" for problem in problems), end="")
    print(f"{figures} figures, {different} different")
    sys.exit(different > 0)


if __name__ == "__main__":
    main()

"""Measures swirl beside DuckDB, SQLite and LanceDB on the same synthetic trajectories.

    make bench                                  all rows at 300,000 steps
    make bench SCALE=10m                        the same at ten million
    make bench ARGS="--steps 20000 --rounds 3"  a quick look
    make bench ARGS="--write"                   the table goes into benches/README.md too

The peers live in an environment of their own outside the checkout. Everything written lies in one
folder that is removed at the end. What has no statement (fetching by id, appending) is measured
through the program's API, by tests/store/timing.rs in the binary of the tests.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "swirldb"


def environment(requirements: Path) -> Path:
    """Returns the Python of the peers' environment, made first if need be."""
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    folder = CACHE / f"bench-venv-{digest}"
    python = folder / "bin" / "python"
    if (folder / "complete").exists():
        return python
    print(f"bench: installing the peers into {folder}", file=sys.stderr)
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", folder]).returncode == 0
    if not made:
        sys.exit("bench: python3 -m venv failed (on Debian: apt-get install python3-venv)")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if subprocess.run([*pip, "--requirement", requirements]).returncode != 0:
        sys.exit("bench: pip could not install the peers: is PyPI (or a mirror) within reach?")
    (folder / "complete").touch()
    return python


def enter_environment(script: Path, requirements: Path) -> None:
    """Starts `script` again under the Python of the peers' environment, made first if need be."""
    python = environment(requirements)
    if Path(sys.prefix) == python.parent.parent:
        return
    os.execv(python, [str(python), "-B", str(script), *sys.argv[1:]])


def built_program() -> Path:
    """Returns the program as `make build` left it."""
    command = ["cargo", "metadata", "--no-deps", "--format-version", "1", "--locked"]
    answer = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True)
    if answer.returncode != 0:
        sys.exit(f"bench: cargo metadata failed:\n{answer.stderr}")
    return Path(json.loads(answer.stdout)["target_directory"]) / "debug" / "swirl"


def built_driver() -> Path:
    """Returns the binary of the tests, built if need be."""
    command = ["cargo", "test", "--no-run", "--locked", "--message-format", "json"]
    answer = subprocess.run(command, cwd=HERE.parent, stdout=subprocess.PIPE, text=True)
    if answer.returncode != 0:
        sys.exit("bench: cargo test --no-run failed")
    messages = [json.loads(line) for line in answer.stdout.splitlines() if line.startswith("{")]
    built = [m for m in messages if m.get("executable") and "test" in m["target"]["kind"]]
    return Path(built[0]["executable"])


def number(text: str) -> int:
    """Returns a number as written: `20000`, `300k` or `10m`."""
    factor = {"k": 1_000, "m": 1_000_000}.get(text[-1:].lower(), 1)
    return int(text if factor == 1 else text[:-1]) * factor


def arguments() -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(prog="make bench", description="swirl beside its peers")
    scale = os.environ.get("SCALE") or "300k"
    parser.add_argument("--steps", type=number, default=scale,
                        help="steps in the data (default: SCALE, or 300k)")
    parser.add_argument("--seed", type=int, default=7, help="seed of the data")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds of a row")
    parser.add_argument("--only", action="append", default=[],
                        help="rows whose title contains this; may be given several times")
    parser.add_argument("--systems", default="", metavar="NAME,..",
                        help="these systems alone, such as swirl,duckdb")
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    parser.add_argument("--keep", action="store_true", help="leave data and databases in place")
    parser.add_argument("--folder", type=Path, default=CACHE / "bench", help="where to work")
    parser.add_argument("--swirl", type=Path, help="the program (default: the one just built)")
    parser.add_argument("--driver", type=Path,
                        help="the tests' binary (default: built if a row needs it)")
    return parser.parse_args()


def main() -> None:
    """Measures all rows and prints the table."""
    options = arguments()
    enter_environment(HERE / "run.py", HERE / "requirements.txt")
    import report
    import rows
    from systems import Bench

    shutil.rmtree(options.folder, ignore_errors=True)
    options.folder.mkdir(parents=True)
    only = [title.lower() for title in options.only or [""]]
    chosen = [row for row in rows.ROWS if any(title in row.title.lower() for title in only)]
    # Copies, so that a build elsewhere does not change them between two rounds.
    program = Path(shutil.copy2(options.swirl or built_program(), options.folder / "swirl"))
    driver = None
    if any(row.driven for row in chosen):
        driver = Path(shutil.copy2(options.driver or built_driver(), options.folder / "driver"))
    bench = Bench(program, driver, options.folder, options.steps, options.seed)
    if options.systems:
        names = options.systems.split(",")
        if unknown := set(names) - {system.name for system in bench.systems}:
            sys.exit(f"bench: there is no system {', '.join(sorted(unknown))}")
        bench.systems = [system for system in bench.systems if system.name in names]
    try:
        outcomes = [row.measure(bench, options.rounds) for row in chosen]
        table = report.render(bench, outcomes, options.rounds)
    finally:
        if not options.keep:
            shutil.rmtree(options.folder, ignore_errors=True)
    print(table)
    if options.write:
        report.write(HERE / "README.md", table)


if __name__ == "__main__":
    main()

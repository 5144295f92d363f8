"""The table, as Markdown."""

import datetime
import os
import platform
import statistics
from pathlib import Path

from rows import Outcome
from systems import Bench

BEGIN = "<!-- the table of the last run: make bench ARGS=--write -->"
END = "<!-- end of the table -->"


def processor() -> str:
    """Returns the name of the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def duration(seconds: float) -> str:
    """Returns a time with three digits: `12.3 ms`, `4.56 s`."""
    value, unit = (seconds, "s") if seconds >= 1 else (seconds * 1_000, "ms")
    return f"{value:.{max(0, 2 - len(str(int(value))) + 1)}f} {unit}"


def times(outcome: Outcome, system: str) -> str:
    """Returns the median over the rounds, with the least and the greatest."""
    rounds = outcome.seconds(system)
    middle = duration(statistics.median(rounds))
    return f"{middle} ({duration(min(rounds))} to {duration(max(rounds))})"


def ratio(outcome: Outcome, own: str) -> str:
    """Returns own time over that of the best peer; a loss is called one."""
    medians = {name: statistics.median(outcome.seconds(name)) for name in outcome.samples}
    best = min((name for name in medians if name != own), key=medians.__getitem__)
    value = medians[own] / medians[best]
    return f"{value:.2f} of {best}{' (loss)' if value > 1 else ''}"


def line(cells: list[str]) -> str:
    """Returns a row of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def space(outcomes: list[Outcome], names: list[str]) -> list[str]:
    """Returns the rows of peak memory and bytes on disk."""
    out = []
    for outcome in (outcome for outcome in outcomes if outcome.samples):
        samples = outcome.samples
        def middle(pick, name: str) -> str:
            return f"{statistics.median(pick(sample) for sample in samples[name]) / 1e6:,.0f} MB"
        peaks = [middle(lambda sample: sample.peak_bytes, name) for name in names]
        out.append(line([outcome.title + ": peak memory", *peaks]))
        if any(sample.disk_bytes for sample in samples[names[0]]):
            disks = [middle(lambda sample: sample.disk_bytes, name) for name in names]
            out.append(line([outcome.title + ": on disk", *disks]))
    return out


def render(bench: Bench, outcomes: list[Outcome], rounds: int) -> str:
    """Returns the table with machine, versions and date."""
    names = [system.name for system in bench.systems]
    versions = ", ".join(system.version() for system in bench.systems)
    today = datetime.date.today().isoformat()
    out = [
        f"{today}, {processor()}, {os.cpu_count()} cores; {versions}.",
        f"{bench.steps:,} steps from seed {bench.seed}; at most {rounds} interleaved rounds; "
        "median (least to greatest).",
        "",
        line(["operation", *names, "ratio to the best peer"]),
        line(["---"] * (len(names) + 2)),
    ]
    for outcome in outcomes:
        if outcome.void:
            out.append(line([outcome.title, f"void: {outcome.void}", *[""] * len(names)]))
            continue
        cells = [times(outcome, name) for name in names]
        out.append(line([outcome.title, *cells, ratio(outcome, names[0])]))
    out += ["", line(["space", *names]), line(["---"] * (len(names) + 1))]
    out += space(outcomes, names)
    return "\n".join(out)


def write(readme: Path, table: str) -> None:
    """Replaces the table in the README."""
    text = readme.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    readme.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}")

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
    """Returns a time with three digits: `27.5 µs`, `12.3 ms`, `4.56 s`."""
    scales = [(1, "s"), (1_000, "ms"), (1_000_000, "µs")]
    value, unit = next(
        ((seconds * by, unit) for by, unit in scales if seconds * by >= 1), (seconds * 1e6, "µs")
    )
    return f"{value:.{max(0, 2 - len(str(int(value))) + 1)}f} {unit}"


def rate(seconds: float) -> str:
    """Returns how often a time is in a second, with three digits: `45.6 /s`, `1,234 /s`."""
    value = 1 / seconds
    return f"{value:,.{max(0, 3 - len(str(int(value))))}f} /s"


def times(outcome: Outcome, system: str) -> str:
    """Returns the median over the rounds, with the least and the greatest."""
    if system in outcome.failed:
        return f"void: {outcome.failed[system]}"
    if system not in outcome.samples:
        return "-"
    shown = rate if outcome.as_rate else duration
    rounds = outcome.seconds(system)
    low, high = (max, min) if outcome.as_rate else (min, max)
    text = f"{shown(statistics.median(rounds))} ({shown(low(rounds))} to {shown(high(rounds))})"
    unsynced = [sample.unsynced_seconds for sample in outcome.samples[system]]
    return f"{text}; not durable {shown(statistics.median(unsynced))}" if all(unsynced) else text


def ratio(outcome: Outcome, own: str) -> str:
    """Returns own time over that of the best peer; a loss is called one."""
    medians = {name: statistics.median(outcome.seconds(name)) for name in outcome.samples}
    if own not in medians or len(medians) < 2:
        return "-"
    best = min((name for name in medians if name != own), key=medians.__getitem__)
    value = medians[own] / medians[best]
    return f"{value:.2f} of {best}{' (loss)' if value > 1 else ''}"


def line(cells: list[str]) -> str:
    """Returns a row of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def megabytes(count: float) -> str:
    """Returns bytes as megabytes."""
    return f"{count / 1e6:,.0f} MB"


def space(outcomes: list[Outcome], names: list[str]) -> list[str]:
    """Returns the rows of peak memory and bytes on disk."""
    out = []
    for outcome in (outcome for outcome in outcomes if outcome.samples):
        samples = outcome.samples
        def middle(pick, name: str) -> str:
            if name not in samples:
                return "-"
            return megabytes(statistics.median(pick(sample) for sample in samples[name]))
        peaks = [middle(lambda sample: sample.peak_bytes, name) for name in names]
        out.append(line([outcome.title + ": peak memory", *peaks]))
        if any(sample.disk_bytes for some in samples.values() for sample in some):
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
    if compacted := bench.compacted_bytes():
        after = [megabytes(compacted), *["-"] * (len(names) - 1)]
        out.append(line(["Import chat JSONL: on disk after swirl compact", *after]))
    if bench.flat_bytes():
        same = [f"{megabytes(bench.flat_bytes())}, a file for all", *[""] * (len(names) - 1)]
        out.append(line(["The flat steps as Parquet with zstd", *same]))
    if bench.text_index_bytes():
        index = [megabytes(bench.text_index_bytes()), *["-"] * (len(names) - 1)]
        out.append(line(["Index of full text: on disk", *index]))
    return "\n".join(out)


def write(readme: Path, table: str) -> None:
    """Replaces the table in the README."""
    text = readme.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    readme.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}")

"""Lets calls to the operating system fail, one after the other, and looks whether anything is lost.

    python3 tests/oracle/store_faults.py PROGRAM [--every 7] [--steps 12000] [--only fsync]

A library put before the C library counts calls of a kind that speak of files of the database, and
lets one of them, or all from one on, fail: `fsync` and `fdatasync` with EIO, writes with ENOSPC or
EIO, renames with EIO. Work is an import into a database that holds something, a deletion, a
compaction. Wherever the call fails the program must end with a message and no panic; `swirl verify`
must find nothing afterwards, nothing that was there may be missing, and the work done again must
come to its end.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from store_kills import GONE

LIBRARY = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long count;

static int speaks_of_the_database(int file) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    const char *of = getenv("FAULT_PATH");
    return of && strstr(path, of) != NULL;
}

static int fails(const char *kind) {
    const char *asked = getenv("FAULT_KIND");
    if (!asked || strcmp(asked, kind) != 0) return 0;
    long at = atol(getenv("FAULT_AT")), now = atomic_fetch_add(&count, 1) + 1;
    const char *counted = getenv("FAULT_COUNT");
    if (counted) {
        FILE *out = fopen(counted, "w");
        if (out) { fprintf(out, "%ld", now); fclose(out); }
    }
    return getenv("FAULT_ALL") ? now >= at : now == at;
}

#define NEXT(name) __typeof__(name) *next = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)
#define FAILED (errno = atoi(getenv("FAULT_ERRNO")), -1)

int fsync(int file) {
    NEXT(fsync);
    return speaks_of_the_database(file) && fails("fsync") ? FAILED : next(file);
}
int fdatasync(int file) {
    NEXT(fdatasync);
    return speaks_of_the_database(file) && fails("fsync") ? FAILED : next(file);
}
ssize_t write(int file, const void *bytes, size_t length) {
    NEXT(write);
    return speaks_of_the_database(file) && fails("write") ? FAILED : next(file, bytes, length);
}
ssize_t pwrite(int file, const void *bytes, size_t length, off_t at) {
    NEXT(pwrite);
    return speaks_of_the_database(file) && fails("write") ? FAILED : next(file, bytes, length, at);
}
ssize_t pwrite64(int file, const void *bytes, size_t length, off64_t at) {
    NEXT(pwrite64);
    return speaks_of_the_database(file) && fails("write") ? FAILED : next(file, bytes, length, at);
}
int rename(const char *from, const char *to) {
    NEXT(rename);
    const char *of = getenv("FAULT_PATH");
    return of && strstr(to, of) && fails("rename") ? FAILED : next(from, to);
}
"""

EIO, ENOSPC = 5, 28

# Kind, error, and whether the disk stays as it is from then on.
FAULTS = [("fsync", EIO, False), ("fsync", EIO, True), ("write", ENOSPC, True),
          ("write", EIO, False), ("rename", EIO, False)]

class Told:
    """What a program said and how it ended."""

    def __init__(self, done: subprocess.CompletedProcess) -> None:
        self.code = done.returncode
        self.text = done.stdout + done.stderr


def run(program: str, *arguments: str, **environment: str) -> Told:
    """Runs the program."""
    done = subprocess.run([program, *arguments], capture_output=True, text=True,
                          env={**os.environ, **environment})
    return Told(done)


class Wrong(Exception):
    """What must not be."""


def good(program: str, *arguments: str) -> str:
    """Returns what the program prints, which must end well."""
    told = run(program, *arguments)
    if told.code != 0:
        raise Wrong(f"{arguments}: exit code {told.code}\n{told.text}")
    return told.text


def ids(program: str, database: str) -> set[str]:
    """Returns the trajectories that are there."""
    asked = "SELECT trajectory_id FROM trajectories"
    printed = good(program, database, "--read-only", "--format", "csv", "-c", asked)
    return set(printed.split()[1:])


def verified(program: str, database: str) -> None:
    """Fails where anything disagrees."""
    told = good(program, "verify", database)
    if "everything agrees" not in told:
        raise Wrong(told)


class Trial:
    """Work on a copy of a database, with faults."""

    def __init__(self, program: str, folder: Path, before: Path, library: Path) -> None:
        self.program, self.folder, self.before, self.library = program, folder, before, library
        self.database = folder / "faulty.db"
        self.counted = folder / "counted"
        self.gone: set[str] = set()

    def work(self, work: list[str], fault: tuple[str, int, bool], at: int) -> Told:
        """Does the work on a fresh copy; the call `at` fails."""
        shutil.rmtree(self.database, ignore_errors=True)
        shutil.copytree(self.before, self.database)
        self.counted.unlink(missing_ok=True)
        kind, error, stays = fault
        environment = {
            "LD_PRELOAD": str(self.library), "FAULT_KIND": kind, "FAULT_ERRNO": str(error),
            "FAULT_AT": str(at), "FAULT_PATH": self.database.name,
            "FAULT_COUNT": str(self.counted), **({"FAULT_ALL": "1"} if stays else {}),
        }
        return run(self.program, *self.arguments(work), **environment)

    def arguments(self, work: list[str]) -> list[str]:
        """Puts the database into the command."""
        return [str(self.database) if word == "DB" else word for word in work]

    def calls(self, work: list[str], fault: tuple[str, int, bool]) -> int:
        """Counts the calls of a kind when none fails."""
        told = self.work(work, fault, 1 << 60)
        if told.code != 0:
            sys.exit(f"{work}: {told.text}")
        return int(self.counted.read_text()) if self.counted.exists() else 0

    def look(self, work: list[str], fault: tuple[str, int, bool], at: int, kept: set[str]) -> bool:
        """Lets one call fail, and looks; returns whether the program noticed."""
        told = self.work(work, fault, at)
        if "panicked" in told.text or told.code < 0:
            raise Wrong(f"exit code {told.code}\n{told.text}")
        if told.code != 0 and "error" not in told.text:
            raise Wrong(f"no message\n{told.text}")
        verified(self.program, str(self.database))
        there = ids(self.program, str(self.database))
        lost = kept - there
        # A deletion is done whole or not at all.
        if lost and not (work[0] == "DB" and lost == self.gone):
            raise Wrong(f"{len(lost)} trajectories are lost\n{told.text}")
        good(self.program, *self.arguments(work))
        verified(self.program, str(self.database))
        return told.code != 0


def main() -> None:
    """Lets calls fail, kind by kind."""
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--every", type=int, default=7, help="of so many calls one fails")
    parser.add_argument("--steps", type=int, default=12_000)
    parser.add_argument("--only", default="", help="one kind of call")
    options = parser.parse_args()
    program = str(Path(options.program).resolve())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "fault.c").write_text(LIBRARY, encoding="utf-8")
        library = folder / "fault.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, folder / "fault.c", "-ldl"],
                       check=True)
        data, first, before = folder / "steps.jsonl", folder / "first.jsonl", folder / "before.db"
        with data.open("wb") as out:
            subprocess.run([program, "synth", "--shape", "bench", "--steps", str(options.steps)],
                           stdout=out, check=True)
        lines = data.read_text(encoding="utf-8").splitlines(keepends=True)
        first.write_text("".join(lines[: len(lines) // 4]), encoding="utf-8")
        good(program, "import", str(before), str(first))
        kept = ids(program, str(before))
        trial = Trial(program, folder, before, library)
        shutil.copytree(before, trial.database)
        good(program, str(trial.database), "-c", GONE)
        trial.gone = kept - ids(program, str(trial.database))
        works = [["import", "DB", str(data)], ["compact", "DB"], ["DB", "-c", GONE]]
        total = noticed = wrong = 0
        for fault in FAULTS:
            if options.only not in fault[0]:
                continue
            for work in works:
                calls = trial.calls(work, fault)
                points = range(1, calls + 1, options.every)
                told = 0
                for at in points:
                    try:
                        told += trial.look(work, fault, at, kept)
                    except Wrong as reason:
                        wrong += 1
                        error = os.strerror(fault[1])
                        print(f"WRONG: {work[0]}: {fault[0]} {at} fails, {error}: {reason}")
                total, noticed = total + len(points), noticed + told
                stays = ", and all after" if fault[2] else ""
                print(f"{work[0] if work[0] != 'DB' else 'delete'}: {len(points)} of {calls} calls "
                      f"of {fault[0]} failed with {os.strerror(fault[1])}{stays}; {told} told",
                      flush=True)
        if wrong:
            sys.exit(f"{wrong} of {total} faults went wrong")
        print(f"{total} faults, {noticed} told; verify found nothing; nothing lost")


if __name__ == "__main__":
    main()

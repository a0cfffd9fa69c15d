"""A version that verifies, loads and answers, made once: what a pretended training hands in as its result.

<kit>/base/     the tiny encoder, exported as it is served
<kit>/version/  a head for `LABELS`, and a report that the gate finds better
"""

from __future__ import annotations

import fcntl
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from tests.fakes.tiny_encoder import make_tiny_base

LABELS = ("bug", "refund")
DIMENSIONS = 32


def make_kit(folder: Path) -> Path:
    """The kit in `folder`, made by whoever comes first. Imports torch in this process."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            make_tiny_base(folder / "base")
            _make_version(folder / "version")
            (folder / "done").touch()
    return folder


def _make_version(folder: Path) -> None:
    from tests.fakes.fake_trainer import report_of
    from trainer.model.head import Head

    folder.mkdir()
    chance = np.random.default_rng(0)
    weight = chance.normal(0, 1, (len(LABELS), DIMENSIONS)).astype(np.float32)
    Head(LABELS, weight, np.zeros(len(LABELS), np.float32), 1.0, 0.0).save(folder)
    (folder / "report.json").write_text(json.dumps(asdict(report_of(5))))
    (folder / "evidence.json").write_text(json.dumps({"trained_on": [], "out_of_fold": {}}))

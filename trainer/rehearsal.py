"""A training of one step that is thrown away: libraries put much off until it is needed for the first time.

With the packaged base, on a CPU, and on texts of ours. Nothing that a later training computes depends on it.
"""

from __future__ import annotations

import ctypes
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from storage.records import Source, Split
from storage.snapshots import SnapshotContent, SnapshotLabel, SnapshotRow
from trainer.bases import PACKAGED, resolve
from trainer.learn import learn
from trainer.protocol import JobSpec, Progress
from trainer.strangers import STRANGERS

LABELS, ROWS = 2, 16
ONE_STEP = {"least_steps": 1, "most_steps": 1, "epochs": 1}


class _Wanted(Exception):
    pass


def rehearse(wanted: Callable[[], bool]) -> None:
    """Returns early once `wanted` says so.

    Raises:
        ConfigurationError: the packaged base is not here.
    """

    def go_on(_: Progress | None = None) -> None:
        if wanted():
            raise _Wanted

    try:
        go_on()
        base = resolve(PACKAGED)
        with tempfile.TemporaryDirectory(prefix="rehearsal-") as folder:
            spec = JobSpec("rehearsal", 1, "", PACKAGED, recipe=ONE_STEP)
            learn(_snapshot(), base, None, spec, Path(folder) / "staging", go_on, "cpu")
    except _Wanted:
        return
    _give_back()


def _give_back() -> None:
    """What was freed goes back to the system: 130 MB that the GNU library would keep while the process waits."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def _snapshot() -> SnapshotContent:
    labels = tuple(SnapshotLabel(number, f"label {number}", "") for number in range(1, LABELS + 1))
    rows = tuple(
        SnapshotRow(number, text, labels[number % LABELS].name, Split.TRAIN, Source.COMMAND)
        for number, text in enumerate(STRANGERS[:ROWS], start=1)
    )
    return SnapshotContent("", "rehearsal", labels, rows, 0)

"""Learning against what people would otherwise use, on the whole test files of BANKING77 and CLINC150.

Every method learns from the same samples (`learning.samples`) and answers the whole test file, each run in a process of
its own on one core. Runs of hours can be stopped: what was measured is kept in learning/measured.jsonl, and the next
run goes on from there. SetFit lives in a virtual environment of its own (PUPIL_SETFIT, or build/setfit; made with
`python -m venv build/setfit && build/setfit/bin/pip install setfit "torch>=2.13,<2.14"`); without it its column is left
out. Test files are opened here and nowhere else; no setting is chosen by what is read from them.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks import report
from tests.benchmarks.learning.figures import (
    CALIBRATION,
    GROWTH,
    SETFIT_ITERATIONS,
    SMALL,
    TABLE,
    certainty,
    figures,
    growth,
    table,
)
from tests.benchmarks.learning.records import Key, Records
from tests.benchmarks.learning.samples import ALL, FULL, SETS, Pair, Task, out_of_scope, pool, task
from tests.benchmarks.report import Figure
from trainer.bases import PACKAGED, resolve

ROOT = Path(__file__).parents[2]
SETFIT = Path(os.environ.get("PUPIL_SETFIT") or ROOT / "build" / "setfit")
SETFIT_BATCH, SETFIT_EPOCHS = 16, 1
OURS = ("instant", "instant with pool", "whole", "grow")
OLD_LABELS, OLD_SHOTS, NEW_LABELS, NEW_SHOTS = 20, 16, 10, 10
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


@dataclass(frozen=True)
class Cell:
    """One method on one sample."""

    name: str
    shots: int
    seed: int
    method: str
    part: str = TABLE
    labels: int = ALL

    @property
    def key(self) -> Key:
        name = self.name if self.labels == ALL else f"{self.name}, {self.labels} labels"
        return (self.part, name, self.shots, self.seed, self.method)


def cells() -> Iterator[Cell]:
    """Every cell of the table, what matters most first: a run that is stopped has measured that."""
    for shots in (8, 5, 1, 16, 64, FULL):
        # SetFit makes pairs: its time grows with the square of nothing less, so it is measured where it can be.
        setfit_seeds = {8: 3, 1: 1, 5: 1, 16: 1}.get(shots, 0)
        slow_seeds = 3 if 0 < shots <= 8 else 1
        for seed in range(3):
            for name in SETS:
                for method in ("words", "instant", "instant with pool", "whole"):
                    if (shots, method) != (FULL, "instant with pool"):  # every text is labelled: there is no pool
                        yield Cell(name, shots, seed, method)
                if seed < setfit_seeds:
                    yield Cell(name, shots, seed, "setfit")
                if seed < slow_seeds:
                    yield Cell(name, shots, seed, "plain")
                    yield Cell(name, shots, seed, "scratch")


def small_cells() -> Iterator[Cell]:
    """Calibration with few texts in all, and new labels for a version."""
    for seed in range(3):
        for name in SETS:
            for labels, shots in SMALL:
                for method in ("instant", "whole"):
                    yield Cell(name, shots, seed, method, CALIBRATION, labels)
        yield Cell("banking77", OLD_SHOTS, seed, "grow", GROWTH, OLD_LABELS + NEW_LABELS)


def run() -> list[Figure]:
    measure_missing([*small_cells(), *cells()])
    records = Records()
    print(table(records))
    return every_figure(records)


def measure_missing(wanted: Iterable[Cell]) -> None:
    """Run every cell that is not recorded yet, and record it. Runs of different methods may go side by side."""
    records = Records()
    for cell in wanted:
        if records.get(cell.key) is None and (values := measure(cell)) is not None:
            records.add(cell.key, values, ours=cell.method in OURS)
            print(cell, json.dumps({name: values[name] for name in values if name != "phases"}), flush=True)


def every_figure(records: Records) -> list[Figure]:
    return [*figures(records), *certainty(records), *growth(records)]


def measure(cell: Cell) -> dict[str, Any] | None:
    """Run one cell; None where its method cannot run here."""
    sample = task(cell.name, cell.shots, cell.seed, cell.labels)
    job: dict[str, Any] = {"train": sample.train, "test": sample.test, "seed": cell.seed}
    if cell.method == "setfit":
        if not (SETFIT / "bin" / "python").exists():
            return None
        settings = {"iterations": SETFIT_ITERATIONS, "batch": SETFIT_BATCH, "epochs": SETFIT_EPOCHS}
        job |= {"encoder": str(resolve(PACKAGED)), **settings}
        script = Path(__file__).parent / "learning" / "setfit_run.py"
        return _child([str(SETFIT / "bin" / "python"), str(script)], job)
    method = cell.method
    if method == "instant with pool":
        job["pool"], method = pool(sample), "instant"
    if method == "grow":
        job["train"], job["newer"] = _old_and_new(sample)
    if cell.name == "clinc150" and cell.part == TABLE and method in OURS:
        job["outside"] = out_of_scope("test")
    return _child([sys.executable, "-m", "tests.benchmarks.learning.runs", method], job)


def _old_and_new(sample: Task) -> tuple[list[Pair], list[Pair]]:
    """The texts of the labels that are there from the start, and fewer of each label that comes later."""
    old = set(random.Random(sample.seed).sample(sample.labels, OLD_LABELS))
    later = [label for label in sample.labels if label not in old]
    newer = [[row for row in sample.train if row[1] == label][:NEW_SHOTS] for label in later]
    return [row for row in sample.train if row[1] in old], [row for rows in newer for row in rows]


def _child(command: list[str], job: dict[str, Any]) -> dict[str, Any]:
    done = subprocess.run(
        command,
        input=json.dumps(job),
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | ONE_THREAD,
        cwd=ROOT,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")
    values: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return values


def main(methods: list[str]) -> None:
    """Measure the cells of these methods that are missing; without any only show what was measured."""
    measure_missing(cell for cell in [*small_cells(), *cells()] if cell.method in methods)
    measured = Records()
    print(f"{table(measured)}\n\n{report.table(every_figure(measured))}")


if __name__ == "__main__":
    main(sys.argv[1:])

"""`python -m tests.benchmarks NAME | all | report`: run one benchmark, run each, or print what was measured.

A benchmark is a module `bench_<name>.py` beside this file with a function `run() -> list[Figure]`; it raises `Skipped`
where something it needs is not there. `all` gives each a process of its own, so that none warms another's caches.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.report import FOLDER, Skipped, read, table, write

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as `pupil` does; no use once NumPy is imported


def names() -> list[str]:
    return sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))


def run(name: str) -> int:
    """Run one benchmark; 0 also if it was skipped: a target that was missed is a fact, not a failure."""
    try:
        figures = importlib.import_module(f"tests.benchmarks.bench_{name}").run()
    except Skipped as skipped:
        print(f"{name}: skipped, {skipped}")
        return 0
    path = write(name, figures)
    print(f"{read(path)[0]}\n\n{table(figures)}\n")
    return 0


def run_all() -> int:
    codes = [
        subprocess.run([sys.executable, "-m", "tests.benchmarks", name], check=False).returncode for name in names()
    ]
    return max(codes, default=0)


def report() -> int:
    paths = sorted(FOLDER.glob("*.json"))
    for path in paths:
        heading, figures = read(path)
        print(f"{heading}\n\n{table(figures)}\n")
    if not paths:
        print(f"Nothing was measured yet; {FOLDER} is empty. Run: make bench")
    return 0


def main(arguments: list[str]) -> int:
    match arguments:
        case ["all"]:
            return run_all()
        case ["report"]:
            return report()
        case [name] if name in names():
            return run(name)
    print(
        f"usage: python -m tests.benchmarks NAME | all | report\nNAME is one of: {', '.join(names())}", file=sys.stderr
    )
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

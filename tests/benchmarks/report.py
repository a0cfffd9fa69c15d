"""What a benchmark measured: figures as JSON in build/bench/, and as a table for people."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

FOLDER = Path(__file__).parents[2] / "build" / "bench"


class Skipped(Exception):
    """A benchmark cannot run here; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number, compared with a peer measured in the same run where there is one."""

    name: str
    value: float
    unit: str
    peer: str | None = None
    """What it is compared with."""
    ratio: float | None = None
    """`value` divided by the peer's."""
    target: float | None = None
    """What `ratio` should reach; `value`, where there is no peer."""
    better: Literal["higher", "lower"] = "higher"

    @property
    def met(self) -> bool | None:
        """Whether the target was reached; None without one."""
        if self.target is None:
            return None
        measured = self.value if self.ratio is None else self.ratio
        return measured >= self.target if self.better == "higher" else measured <= self.target


def compared(name: str, value: float, unit: str, peer: str, peer_value: float, **more: Any) -> Figure:
    """A figure with the ratio to its peer's value; `more` are fields of Figure."""
    return Figure(name, value, unit, peer, value / peer_value, **more)


def write(name: str, figures: Sequence[Figure], folder: Path = FOLDER, command: str | None = None) -> Path:
    """Write `<folder>/<name>.json` with date, machine and the command that repeats it (None: the benchmark's)."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "command": command or f"python -m tests.benchmarks {name}",
        "figures": [asdict(figure) for figure in figures],
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def read(path: Path) -> tuple[str, list[Figure]]:
    """(a heading with name, date and machine; the figures) of a written file."""
    content = json.loads(path.read_text(encoding="utf-8"))
    figures = [Figure(**figure) for figure in content["figures"]]
    return f"{path.stem}: {content['date']}, {content['machine']}", figures


def table(figures: Sequence[Figure]) -> str:
    """Aligned columns: name, value, comparison, target."""
    rows = [("figure", "value", "compared with", "target"), *map(_row, figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _row(figure: Figure) -> tuple[str, str, str, str]:
    comparison = "" if figure.peer is None or figure.ratio is None else f"{figure.ratio:.3g} x {figure.peer}"
    sign = ">=" if figure.better == "higher" else "<="
    unit = " x" if figure.ratio is not None else f" {figure.unit}"
    target = "" if figure.target is None else f"{sign} {figure.target:g}{unit}: {'met' if figure.met else 'missed'}"
    return figure.name, f"{figure.value:.4g} {figure.unit}", comparison, target


def machine() -> str:
    """Cores, processor and system in words."""
    return f"{os.cpu_count()} cores, {_processor()}, {platform.system()}, Python {platform.python_version()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())

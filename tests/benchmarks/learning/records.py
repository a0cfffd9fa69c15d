"""What was measured so far, one JSON line per cell and method, so that a run of many hours can be stopped and go on.

Lines of ours carry a digest of the code they were measured with: after a change of that code they are measured anew.
Comments and docstrings do not count as code.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.benchmarks.report import machine

FILE = Path(__file__).parent / "measured.jsonl"
TRAINER = Path(__file__).parents[3] / "trainer"
PART = (
    "dataset",
    "measured",
    "champion",
    "learn",
    "start",
    "finetune",
    "network",
    "bases",
    "evaluate",
    "export",
    "graph",
)
PART_OF_MODEL = ("encoder", "head", "logistic", "calibration", "scope")
"""Modules of the trainer that decide what is learned and measured; the others carry jobs and files."""

SAME = {
    "79be6c3bcb9a": {"2d0e7534daf6", "3c5fcefa6338", "c1677f00ed6a", "58ef794be8fb", "c61750dc35cb", "8885c6e52cf0"},
    "709ba17d9fa5": {"db02fab9d7dc"},
    "3ea5fda51f7a": {"e1dc65a97f9c"},
}
"""New code to older code that learns the same, looked at by hand: a vector that is a copy, who opens a graph, a setting
that there was not, new labels of a version, on which only "grow" depends (its lines are newer), and a champion's labels
that are known by id, which changes nothing where none was renamed or merged; more words for a lack of memory; and
checkpoints, networks that stay in memory, and a base that was exported before: every file of a version of MiniLM came
out byte for byte as before, on the processors with VNNI that all lines were measured on (on others int8 overflowed and
no longer does). And rows that are embedded once for all trainings of a job: the candidate is the same to the last byte,
and where its shadows begin differs in the last bits, by the texts that share a batch. And reports that tell how much
surer of golden texts a candidate is. The last two are the gate's pairs, of heads and of fine-tuned bodies, which tell
that as well: 22 pairs of heads came out as before to the last digit."""

Key = tuple[str, str, int, int, str]
"""(part, data set, shots, seed, method)"""


def learning_code() -> str:
    """Twelve hex digits that change when the code that learns does."""
    total = hashlib.sha256()
    paths = [*(TRAINER / f"{name}.py" for name in PART), *(TRAINER / "model" / f"{name}.py" for name in PART_OF_MODEL)]
    for path in filter(Path.exists, paths):
        total.update(ast.dump(bare(ast.parse(path.read_text(encoding="utf-8")))).encode())
    return total.hexdigest()[:12]


class Records:
    """The measured lines; `code` is what lines of ours must carry to count."""

    def __init__(self, path: Path = FILE, code: str | None = None) -> None:
        self._path = path
        self.code = code or learning_code()
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self._lines = [json.loads(line) for line in lines]

    def get(self, key: Key, machine: str | None = None) -> dict[str, Any] | None:
        """The newest measurement of this cell that still counts; `machine`: on that one."""
        line = self._newest(key, machine)
        return None if line is None else line["values"]

    def machine(self, key: Key) -> str | None:
        """On which it was measured."""
        line = self._newest(key)
        return None if line is None else line["machine"]

    def _newest(self, key: Key, machine: str | None = None) -> dict[str, Any] | None:
        counts = {"", self.code, *SAME.get(self.code, ())}
        for line in reversed(self._lines):
            if tuple(line["key"]) == key and line["code"] in counts and machine in (None, line["machine"]):
                return line
        return None

    def add(self, key: Key, values: dict[str, Any], *, ours: bool) -> None:
        line = {
            "key": list(key),
            "code": self.code if ours else "",
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "values": values,
        }
        self._lines.append(line)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def all(self, part: str) -> Iterator[tuple[Key, dict[str, Any]]]:
        """Every measurement of a part that counts, newest of each cell."""
        keys = dict.fromkeys(tuple(line["key"]) for line in self._lines if line["key"][0] == part)
        for key in keys:
            if (values := self.get(key)) is not None:
                yield key, values


def bare(tree: ast.Module) -> ast.Module:
    """The tree without docstrings, which are expressions that are only a string."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [  # type: ignore[attr-defined]
                part for part in body if not (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))
            ]
    return tree

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
PART_OF_MODEL = ("encoder", "head", "logistic", "calibration", "scope", "quieter")
"""Modules of the trainer that decide what is learned and measured; the others carry jobs and files."""

SAME = {
    "fd1888011234": {"5ef11220715e", "d99009d110e6", "317ad6952b5f", "0330a47baab4", "bc67b74143b0"},
    "d577dc272104": {"8fe178fdc4cb", "709ba17d9fa5", "db02fab9d7dc"},
    "af0311f00683": {"b0be7e6a1c23", "b15f8e24fa9d", "7e0022ae2f76", "673b987c105c", "743a8e3eaae5"},
}
"""New code to older code that learns the same, looked at by hand: names that changed (the first and the last); reports
of the gate's pairs of heads that tell how much surer of golden texts a candidate is: 22 pairs came out as before to the
last digit; and (all three) signs of life, lineage, a rate of 0, what a head over the base is gone on from, and a
champion some of whose texts were relabelled since, which is no case here: without any champion, with the same rows,
with newer ones and going on from it, five tiny versions came out as before, byte for byte. Since then: a champion that
has learned what was forgotten is not gone on from (here nothing is); where the packaged encoder's share is written
down; and a champion's answers about a label that it lacks are held out from that label's texts, which concerns the
gate's pairs with a new label and `corrected` among the figures of growth (both measured anew); and a version that goes
on from another keeps in mind which rows that one had learned, also where they are gone, which no case here has.
Clipping multiplies by no 1 any more: a whole training came out as before, byte for byte."""

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

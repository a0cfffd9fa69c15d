"""Asks `tests.faults.bot_process` for bots."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from tests.fakes.running import ROOT, environment


class Nursery:
    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.bot_process"],
            cwd=ROOT,
            env=environment(OPENBLAS_NUM_THREADS="1"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._line() == "ready"

    def close(self) -> None:
        """Every bot that is left ends with it."""
        self._process.communicate()

    def fork(self, order: dict[str, Any]) -> int:
        """Pid of a new bot."""
        assert self._process.stdin is not None
        print(json.dumps(order), file=self._process.stdin, flush=True)
        return int(self._line())

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

"""An acknowledged label survives SIGKILL; and the harness that says so can see the mistake it looks for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def kill(directory: Path, *options: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.integration.kill_storage", str(directory), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    assert result["acknowledged"] > result["kills"], f"the harness stored next to nothing: {done.stderr}"
    return result


@pytest.mark.long
def test_two_hundred_kills_lose_no_acknowledged_label(tmp_path: Path) -> None:
    result = kill(tmp_path, "--kills", "200")
    assert (result["kills"], result["lost"], result["problems"]) == (200, 0, [])


def test_an_early_acknowledgement_would_be_seen(tmp_path: Path) -> None:
    assert kill(tmp_path, "--kills", "30", "--bug", "ack-early")["lost"] > 0

"""Bad input as a person at the command line meets it: one sentence, exit code 1, no traceback, nothing lost.

Here: files and texts through the real program, and a trainer that is down. Elsewhere: a port in use, a second bot on
the same data (tests/e2e/test_process.py); a wrong token, an unknown label and texts of every kind in the chat
(test_chat_robustness.py, test_chat_teaching.py); the same over HTTP (test_api.py).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.running import ROOT, environment
from tests.fakes.tiny_encoder import make_tiny_encoder

NOWHERE = "http://127.0.0.1:9"


def pupil(data: Path, *arguments: str, **variables: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr)"""
    done = subprocess.run(
        [sys.executable, "-m", "bot", *arguments, "--data", str(data)],
        cwd=ROOT,
        env=environment(PUPIL_TRAINER_URL=NOWHERE, **variables),
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


def refusal(data: Path, *arguments: str, **variables: str) -> str:
    code, out, err = pupil(data, *arguments, **variables)
    assert (code, out) == (1, "")
    assert err.startswith("Error: ")
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1
    return err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x00\x01\x02\xff\xfe", "UTF-8"),
        (b"question,class\nit crashes,bug\n", "text"),
        (b"text,label\nit crashes,bug\n,bug\n", "empty"),
        (b"text,label\n" + b"x" * 4001 + b",bug\n", "4,001"),
        (b"", "empty"),
    ],
    ids=["no text at all", "wrong columns", "empty text", "4,001 characters", "empty file"],
)
def test_file_that_cannot_be_imported_changes_nothing(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "labels.csv"
    file.write_bytes(content)
    assert words in refusal(tmp_path / "data", "labels", "import", str(file), "--classifier", "triage")
    assert "no classifier" in refusal(tmp_path / "data", "models")


def test_with_a_trainer_that_is_down_labels_are_kept_and_the_rest_says_so(tmp_path: Path) -> None:
    file, data, base = tmp_path / "labels.csv", tmp_path / "data", make_tiny_encoder(tmp_path / "base")
    rows = "".join(f"text {number} about it,{'bug' if number % 2 else 'praise'}\n" for number in range(40))
    file.write_text("text,label\n" + rows)
    code, out, _ = pupil(data, "labels", "import", str(file), "--classifier", "triage", PUPIL_BASE=str(base))
    assert (code, "40 new texts" in out) == (0, True)
    assert NOWHERE in refusal(data, "predict", "hello", PUPIL_BASE=str(base))
    code, out, _ = pupil(data, "labels", "list")
    assert (code, "praise" in out) == (0, True)

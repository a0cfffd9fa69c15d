"""A spare process rehearses: it changes nothing about the training that comes, and makes nobody wait."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from storage.errors import ConfigurationError
from tests.fakes.lessons import WORDS, make_snapshot, one_torch_thread
from tests.fakes.tiny_encoder import make_tiny_encoder
from trainer import rehearsal
from trainer.learn import learn
from trainer.protocol import JobSpec


@pytest.fixture(autouse=True)
def _tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one_torch_thread()
    base = make_tiny_encoder(tmp_path / "tiny", texts=WORDS.values())
    monkeypatch.setattr(rehearsal, "resolve", lambda _: base)


def trained(folder: Path) -> dict[str, Any]:
    """The files of a version, without the times in its report and its card."""
    recipe = {"least_steps": 4, "most_steps": 4, "frozen_layers": 1}
    spec = JobSpec("j1", 1, "a" * 64, "tiny", recipe=recipe)
    learn(make_snapshot(), folder.parent / "tiny", None, spec, folder, lambda _: None, "cpu")
    files: dict[str, Any] = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "README.md"}
    report = json.loads(files.pop("report.json"))
    return files | {"report": {name: report[name] for name in report if name not in ("seconds", "milliseconds")}}


@pytest.mark.slow
def test_a_training_after_a_rehearsal_gives_the_same_files(tmp_path: Path) -> None:
    before = trained(tmp_path / "before")
    rehearsal.rehearse(lambda: False)
    assert trained(tmp_path / "after") == before


def test_it_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []
    real = rehearsal.learn

    def learn(*arguments: Any) -> str | None:
        made.append(arguments[4].parent)
        return real(*arguments)

    monkeypatch.setattr(rehearsal, "learn", learn)
    rehearsal.rehearse(lambda: False)
    assert [folder.exists() for folder in made] == [False]


@pytest.mark.parametrize("asked", [1, 2, 5])
def test_it_stops_when_somebody_waits(asked: int) -> None:
    times = 0

    def wanted() -> bool:
        nonlocal times
        times += 1
        return times >= asked

    rehearsal.rehearse(wanted)
    assert times == asked


def test_without_the_packaged_base_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> Path:
        raise ConfigurationError("The base encoder is not installed.")

    monkeypatch.setattr(rehearsal, "resolve", missing)
    with pytest.raises(ConfigurationError):
        rehearsal.rehearse(lambda: False)

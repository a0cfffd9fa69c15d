"""The learning benchmark itself: fair samples, records that go on where a run stopped, figures that say the truth."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.learning import records as records_module
from tests.benchmarks.learning.figures import figures
from tests.benchmarks.learning.records import Records
from tests.benchmarks.learning.samples import FULL, sample

ROWS = [(f"text {number}", f"label {number % 3}") for number in range(60)] + [("text 0", "label 0")]


def test_fewer_shots_are_part_of_more_and_every_label_has_as_many() -> None:
    few, many = sample(ROWS, 2, seed=0), sample(ROWS, 8, seed=0)
    assert set(few) < set(many)
    assert [label for _, label in many] == ["label 0"] * 8 + ["label 1"] * 8 + ["label 2"] * 8


def test_another_seed_is_another_sample_and_all_is_every_text_once() -> None:
    assert set(sample(ROWS, 8, seed=0)) != set(sample(ROWS, 8, seed=1))
    assert sorted(sample(ROWS, FULL, seed=0)) == sorted(set(ROWS))


def key(method: str, shots: int = 8, seed: int = 0) -> records_module.Key:
    return ("table", "banking77", shots, seed, method)


def test_what_was_measured_is_there_after_a_restart(tmp_path: Path) -> None:
    Records(tmp_path / "m.jsonl", "code1").add(key("words"), {"accuracy": 0.5}, ours=False)
    assert Records(tmp_path / "m.jsonl", "code1").get(key("words")) == {"accuracy": 0.5}
    assert Records(tmp_path / "m.jsonl", "code1").get(key("setfit")) is None


def test_ours_is_measured_anew_after_a_change_and_peers_are_not(tmp_path: Path) -> None:
    records = Records(tmp_path / "m.jsonl", "code1")
    records.add(key("whole"), {"accuracy": 0.8}, ours=True)
    records.add(key("setfit"), {"accuracy": 0.7}, ours=False)
    changed = Records(tmp_path / "m.jsonl", "code2")
    assert changed.get(key("whole")) is None
    assert changed.get(key("setfit")) == {"accuracy": 0.7}
    assert [found[0] for found in changed.all("table")] == [key("setfit")]


def test_older_code_that_learns_the_same_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Records(tmp_path / "m.jsonl", "older").add(key("whole"), {"accuracy": 0.8}, ours=True)
    assert Records(tmp_path / "m.jsonl", "newer").get(key("whole")) is None
    monkeypatch.setattr(records_module, "SAME", {"newer": {"older"}})
    assert Records(tmp_path / "m.jsonl", "newer").get(key("whole")) == {"accuracy": 0.8}


def test_comments_and_docstrings_are_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "finetune.py"
    monkeypatch.setattr(records_module, "TRAINER", tmp_path)
    source.write_text('"""One."""\nRATE = 1\n')
    first = records_module.learning_code()
    source.write_text('"""Two."""\n# why\nRATE = 1\n')
    assert records_module.learning_code() == first
    source.write_text('"""Two."""\nRATE = 2\n')
    assert records_module.learning_code() != first


def test_the_figures_compare_the_same_samples(tmp_path: Path) -> None:
    records = Records(tmp_path / "m.jsonl", "code")
    convincing, level = [[100, 20, 2, 0, 0, 0]], [[100, 5, 5, 0, 0, 0]]
    for seed, (tally, instant, setfit) in enumerate([(convincing, 0.84, 0.80), (level, 0.83, 0.84)]):
        whole = {"accuracy": 0.85, "tally": tally, "seconds": 30.0, "seconds_with_evidence": 80.0}
        records.add(key("whole", seed=seed), whole, ours=True)
        records.add(key("instant", seed=seed), {"accuracy": instant, "seconds": 1.0}, ours=True)
        records.add(key("setfit", seed=seed), {"accuracy": setfit, "seconds": 300.0}, ours=False)
    found = {figure.name: figure for figure in figures(records)}
    assert found["gain over SetFit, 8 shots, mean"].value == pytest.approx(2.0)
    assert found["gain over SetFit, 8 shots, least of the samples"].value == pytest.approx(-1.0)
    assert found["gain over SetFit, 8 shots, least of the samples"].met is False
    assert found["banking77, 8 shots, deep"].ratio == pytest.approx(0.1)
    assert found["banking77, 8 shots, deep"].met is True
    assert found["banking77, 8 shots, deep with its evidence"].met is False
    assert found["the gate's choice below the better kind, worst of 1 means"].value == pytest.approx(1.0)

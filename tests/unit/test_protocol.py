"""Messages survive the wire, newer peers may add fields, and what has another shape is refused in one sentence."""

from __future__ import annotations

import json
import typing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import InvalidInput
from storage.records import EvaluationReport, LabelReport, PairedOutcome, Split
from trainer.protocol import ArtifactFiles, Health, JobSpec, JobStatus, Phase, Progress, RunState, from_json, to_json

SPEC = {"job_id": "a" * 8, "attempt": 1, "snapshot": "b" * 64, "base": "all-MiniLM-L6-v2"}
numbers = st.floats(allow_nan=False, allow_infinity=False)
progress = st.builds(Progress, seq=st.integers(1), phase=st.sampled_from(Phase), fraction=numbers, loss=numbers)


@given(
    st.builds(
        JobStatus,
        job_id=st.text(),
        attempt=st.integers(),
        state=st.sampled_from(RunState),
        events=st.lists(progress, max_size=3).map(tuple),
        artifact=st.none() | st.text(),
        error=st.none() | st.text(),
        retryable=st.booleans(),
    )
)
def test_status_survives_the_wire(status: JobStatus) -> None:
    assert from_json(JobStatus, to_json(status)) == status


def test_report_survives_the_wire() -> None:
    report = EvaluationReport(
        outcomes=(PairedOutcome(1, "bug", Split.GOLDEN, "bug", "praise"),),
        candidate_accuracy=0.5,
        champion_accuracy=1.0,
        candidate_macro_f1=0.5,
        champion_macro_f1=1.0,
        labels=(LabelReport("größe", 1, 0.5, 0.5, 1.0),),
        confusion=((1, 0), (0, 1)),
        calibration_error=0.1,
        champion="v0+3",
        train_rows=8,
        golden_rows=1,
        seconds={"training": 2},
    )
    again = from_json(EvaluationReport, to_json(report).encode())
    assert again == report
    assert isinstance(again.seconds["training"], float)


def test_unknown_keys_are_ignored_and_missing_ones_default() -> None:
    spec = from_json(JobSpec, json.dumps(SPEC | {"colour": "blue"}))
    assert (spec.champion, spec.seed, spec.recipe) == (None, 0, {})


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"attempt": "1"}, "int was expected"),
        ({"attempt": True}, "int was expected"),
        ({"attempt": None}, "int was expected"),
        ({"recipe": [1]}, "dict was expected"),
        ({"champion": 3}, "str was expected"),
        ({"base": {}}, "str was expected"),
    ],
)
def test_value_of_another_type_is_refused(change: dict[str, Any], word: str) -> None:
    with pytest.raises(InvalidInput, match=word):
        from_json(JobSpec, json.dumps(SPEC | change))


def test_missing_field_is_named() -> None:
    with pytest.raises(InvalidInput, match="snapshot is missing"):
        from_json(JobSpec, json.dumps({key: value for key, value in SPEC.items() if key != "snapshot"}))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe\xfa",
        "null",
        "[]",
        "{",
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"version":' + "9" * 5000 + "}",
        '{"complete":true,"files":"manifest.json"}',
    ],
    ids=range(9),
)
@pytest.mark.parametrize("kind", [JobSpec, Health, ArtifactFiles])
def test_what_is_no_message_is_refused(kind: type, text: str | bytes) -> None:
    with pytest.raises(InvalidInput, match="not a valid"):
        from_json(kind, text)


def test_number_too_large_for_a_float_is_refused() -> None:
    with pytest.raises(InvalidInput):
        from_json(Progress, '{"seq":1,"phase":"training","fraction":' + "9" * 400 + "}")


EVENT = {"seq": 1, "phase": "training", "fraction": 0.5}


def test_annotations_are_looked_up_once_for_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up: list[type] = []
    look_up = typing.get_type_hints
    monkeypatch.setattr(typing, "get_type_hints", lambda kind: looked_up.append(kind) or look_up(kind))
    rows = json.dumps({"job_id": "a", "attempt": 1, "state": "running", "events": [EVENT] * 9})
    assert len(from_json(JobStatus, rows).events) == 9
    assert looked_up.count(Progress) <= 1


def test_lone_surrogate_can_be_sent() -> None:
    spec = JobSpec("a" * 8, 1, "b" * 64, "x", recipe={"note": "\ud800"})
    assert from_json(JobSpec, to_json(spec).encode()) == spec


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_any_json_is_a_message_or_a_sentence(value: Any) -> None:
    with pytest.raises(InvalidInput):
        from_json(Health, json.dumps(value))

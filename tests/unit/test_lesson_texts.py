"""The first lesson's texts: complete, clean, and neither alike nor split unfairly."""

from __future__ import annotations

import json
from collections import Counter
from importlib import resources
from typing import Any

import pytest

from storage.records import MAX_LABEL, MAX_TEXT, normalise

FOLDER = resources.files("bot") / "lesson"


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / "triage.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def descriptions() -> dict[str, str]:
    found: dict[str, str] = json.loads((FOLDER / "triage.labels.json").read_text(encoding="utf-8"))
    return found


def test_every_row_has_a_text_a_label_and_whether_it_is_kept(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        assert set(row) == {"text", "label", "kept"}
        assert 0 < len(row["text"].strip()) <= MAX_TEXT
        assert isinstance(row["kept"], bool)


def test_there_are_six_described_labels_and_no_other(rows: list[dict[str, Any]], descriptions: dict[str, str]) -> None:
    assert len(descriptions) == 6
    assert {row["label"] for row in rows} == set(descriptions)
    assert all(0 < len(name) <= MAX_LABEL for name in descriptions)
    assert all(descriptions.values())


def test_every_label_has_at_least_48_texts_of_which_ten_are_kept(rows: list[dict[str, Any]]) -> None:
    assert min(Counter(row["label"] for row in rows).values()) >= 48
    assert set(Counter(row["label"] for row in rows if row["kept"]).values()) == {10}


def test_no_text_is_there_twice(rows: list[dict[str, Any]]) -> None:
    assert len({normalise(row["text"]) for row in rows}) == len(rows)


def test_no_two_texts_share_most_of_their_words(rows: list[dict[str, Any]]) -> None:
    words = [set(normalise(row["text"]).split()) for row in rows]
    for position, first in enumerate(words):
        for second in words[:position]:
            assert len(first & second) / len(first | second) < 0.6, (first, second)


def test_kept_texts_are_about_as_long_as_the_others(rows: list[dict[str, Any]]) -> None:
    lengths: dict[bool, list[int]] = {True: [], False: []}
    for row in rows:
        lengths[row["kept"]].append(len(row["text"]))
    kept, taught = (sum(lengths[which]) / len(lengths[which]) for which in (True, False))
    assert 0.8 < kept / taught < 1.25


def test_texts_of_one_label_do_not_begin_alike(rows: list[dict[str, Any]]) -> None:
    beginnings = Counter((row["label"], *normalise(row["text"]).split()[:3]) for row in rows)
    assert beginnings.most_common(1)[0][1] <= 3

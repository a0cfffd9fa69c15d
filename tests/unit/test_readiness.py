"""When a training makes sense, in words."""

from __future__ import annotations

import pytest

from bot.services.readiness import missing_to_train, until_training, what_to_try, why_not
from storage.records import CandidateKind, Label, LabelCount, Schedule


def counts(*trained: int) -> list[LabelCount]:
    names = ("bug", "praise", "billing", "outage")
    return [
        LabelCount(Label(number, "g", 1, names[number]), train=train, golden=0) for number, train in enumerate(trained)
    ]


@pytest.mark.parametrize(
    ("trained", "missing"),
    [((), 10), ((0, 0), 10), ((4, 2), 4), ((50, 2), 3), ((5, 5), 0), ((5, 5, 0), 0), ((3, 4, 1), 3)],
)
def test_missing_counts_the_two_best_labels(trained: tuple[int, ...], missing: int) -> None:
    assert missing_to_train(counts(*trained)) == missing


def test_refusal_names_the_label_that_is_short() -> None:
    assert "`praise` has 2" in (why_not(counts(12, 2), 14, "") or "")
    assert "bug" not in (why_not(counts(12, 2), 14, "") or "")


def test_one_label_cannot_be_trained() -> None:
    assert "fewer than two labels" in (why_not(counts(40), 40, "") or "")


def test_nothing_new_is_a_reason_only_after_a_version() -> None:
    assert why_not(counts(9, 9), 0, "v2") == "Nothing is new since v2 was trained. Label a few more texts first."
    assert why_not(counts(9, 9), 18, "") is None
    assert why_not(counts(9, 9), 1, "v2") is None


def test_countdown_goes_from_possible_to_scheduled() -> None:
    schedule = Schedule("g", 1, None, 20, "UTC", enabled=True, last_slot=None)
    assert until_training(counts(5, 2), 7, schedule) == 3
    assert until_training(counts(9, 9), 13, schedule) == 7
    assert until_training(counts(9, 90), 99, schedule) == 0
    assert until_training(counts(9, 9), 13, None) is None


@pytest.mark.parametrize(
    ("trained", "new", "newest", "hours", "asked", "kind", "words"),
    [
        ((9, 9), 1, "v2", 1.0, True, "deep", "asked"),
        ((4, 2), 6, "", None, True, "instant", "at least 2 labels need 5"),
        ((9, 9), 0, "v2", 999.0, True, "instant", "Nothing is new"),
        ((9, 9), 18, "", None, False, "deep", "no version yet"),
        ((9, 9), 9, "v2", 1.0, False, "instant", "waits for 10"),
        ((9, 9), 10, "v2", 1.0, False, "deep", "10 new"),
        ((9, 9), 9, "v2", 168.0, False, "deep", "9 new"),
        ((9, 9), 9, "v2", -9e4, False, "deep", "9 new"),
        ((900, 900), 35, "v2", 1.0, False, "instant", "waits for 36"),
        ((900, 900), 36, "v2", 1.0, False, "deep", "36 new"),
        ((5, 5, 1, 0), 11, "", None, False, "deep", "11 labels"),
    ],
)
def test_what_is_tried_and_why(
    trained: tuple[int, ...],
    new: int,
    newest: str,
    hours: float | None,
    asked: bool,
    kind: str,
    words: str,
) -> None:
    attempt = what_to_try(counts(*trained), new, newest, hours, asked=asked)
    assert attempt.kind is CandidateKind(kind)
    assert words in attempt.reason


def test_many_labels_with_few_texts_each_are_left_to_the_head() -> None:
    many = [LabelCount(Label(n, "g", 1, f"label{n}"), train=5 if n < 2 else 1, golden=0) for n in range(20)]
    attempt = what_to_try(many, 28, "", None, asked=False)
    assert attempt.kind is CandidateKind.INSTANT
    assert "28 texts for 20 labels" in attempt.reason

"""When a training makes sense, in words."""

from __future__ import annotations

import pytest

from bot.services.readiness import missing_to_train, until_training, why_not
from storage.records import Label, LabelCount, Schedule


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

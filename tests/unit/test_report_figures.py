"""What follows from a report: counts by hand, intervals and chances against SciPy, sentences word for word."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest

from storage.records import CandidateKind, Certainty, EvaluationReport, LabelReport, PairedOutcome, Split
from storage.report_figures import (
    Flips,
    LabelChange,
    Mistake,
    OtherKind,
    calibration_words,
    chance_better,
    chance_words,
    coverage_words,
    figures,
    flip_words,
    flips,
    interval_words,
    knows_its_origin,
    label_changes,
    mistakes,
    origin_words,
    other_words,
    percent,
    scope_words,
    surer,
    surer_words,
    weight_words,
    wilson,
)
from trainer.protocol import from_json

CERTAINTY = Certainty(0.098, 0.84, 0.61, 0.95, 0.043, 0.97)

ROWS = (
    # id, label, champion, candidate
    (1, "bug", "bug", "bug"),
    (2, "bug", "idea", "bug"),
    (3, "bug", "idea", "bug"),
    (4, "idea", "idea", "bug"),
    (5, "idea", "spam", "bug"),
    (6, "idea", "spam", "spam"),
    (7, "spam", "gone", "spam"),
    (8, "spam", "spam", "bug"),
)
OUTCOMES = tuple(
    PairedOutcome(number, label, Split.GOLDEN if number == 8 else Split.TRAIN, champion, candidate)
    for number, label, champion, candidate in ROWS
)

OLD = {
    "outcomes": [
        {"example_id": 4, "label": "bug", "split": "golden", "champion": "idea", "candidate": "bug"},
        {"example_id": 9, "label": "idea", "split": "train", "champion": "idea", "candidate": "idea"},
    ],
    "candidate_accuracy": 1.0,
    "champion_accuracy": 0.5,
    "candidate_macro_f1": 1.0,
    "champion_macro_f1": 0.4,
    "labels": [
        {"label": "bug", "rows": 1, "precision": 1.0, "recall": 1.0, "champion_recall": 0.0},
        {"label": "idea", "rows": 1, "precision": 1.0, "recall": 1.0, "champion_recall": 1.0},
    ],
    "confusion": [[1, 0], [0, 1]],
    "calibration_error": 0.12,
    "champion": "v1",
    "train_rows": 80,
    "golden_rows": 4,
    "seconds": {"training": 12.5},
}
"""A report as Pupil stored it before kinds, certainty, size and latency were in it."""

TODAY = EvaluationReport(
    (
        PairedOutcome(1, "bug", Split.TRAIN, "billing", "bug"),
        PairedOutcome(2, "billing", Split.TRAIN, "billing", "bug"),
        PairedOutcome(3, "bug", Split.TRAIN, "bug", "bug"),
        PairedOutcome(4, "bug", Split.GOLDEN, "gone", "billing"),
    ),
    0.5, 0.5, 0.4, 0.3,
    (LabelReport("bug", 3, 2 / 3, 2 / 3, 1 / 3), LabelReport("billing", 1, 0.0, 0.0, 1.0)), ((2, 1), (1, 0)),
    0.028, "v3", 300, 1, {"measuring": 21.7, "training": 14.2},
    kind=CandidateKind.DEEP, other_accuracy=0.25, started_from="v3", certainty=CERTAINTY, encoder_bytes=22_900_000,
    milliseconds=4.2,
)  # fmt: skip
"""A small report with everything in it; its counts agree with its outcomes."""


def measured(outcomes: Sequence[PairedOutcome] = OUTCOMES) -> EvaluationReport:
    labels = tuple(LabelReport(name, 3, 0.5, 0.5, 0.5) for name in ("bug", "idea", "spam"))
    confusion = ((3, 0, 0), (2, 0, 1), (1, 0, 1))
    return EvaluationReport(
        tuple(outcomes), 0.5, 0.375, 0.4, 0.3, labels, confusion, 0.028, "v3", 300, 26, {"training": 20.0},
        kind=CandidateKind.DEEP, other_accuracy=0.4, certainty=CERTAINTY, encoder_bytes=22_900_000, milliseconds=4.2,
    )  # fmt: skip


# Counting


def test_rows_that_differ_are_fixed_broken_or_wrong_in_another_way() -> None:
    assert flips(OUTCOMES) == Flips(fixed=(2, 3, 7), broken=(4, 8), still_wrong=(5,))
    assert flips(OUTCOMES).total == 6
    assert flips(OUTCOMES[::-1]) == flips(OUTCOMES)  # rows come fold by fold


def test_labels_change_by_the_rows_they_gain_and_lose_the_largest_net_first() -> None:
    assert label_changes(OUTCOMES) == (
        LabelChange("bug", 3, 2, 0),
        LabelChange("idea", 3, 0, 1),
        LabelChange("spam", 2, 1, 1),
    )
    assert [change.net for change in label_changes(OUTCOMES)] == [2, -1, 0]


def test_mistakes_are_what_lies_beside_the_diagonal_most_first() -> None:
    assert mistakes(["bug", "idea", "spam"], [[3, 0, 0], [2, 0, 1], [1, 0, 1]]) == (
        Mistake("idea", "bug", 2),
        Mistake("idea", "spam", 1),
        Mistake("spam", "bug", 1),
    )
    assert mistakes([], ()) == ()


def test_the_other_kind_is_compared_on_the_rows_it_was_measured_on() -> None:
    # Of the seven train rows the candidate has four right; the golden one is not among them.
    assert figures(measured()).other == OtherKind(CandidateKind.INSTANT, 0.4, 4 / 7, 7)
    instant = figures(replace(measured(), kind=CandidateKind.INSTANT)).other
    assert instant is not None
    assert instant.kind is CandidateKind.DEEP
    assert figures(replace(measured(), other_accuracy=None)).other is None


def test_a_report_without_rows_has_figures_that_promise_nothing() -> None:
    found = figures(replace(measured(()), candidate_accuracy=0.0, champion_accuracy=0.0))
    assert (found.rows, found.accuracy, found.chance_better, found.other) == (0, (0.0, 1.0), None, None)


# Probabilities


@pytest.mark.parametrize(("right", "rows"), [(0, 5), (5, 5), (86, 92), (1, 3), (1800, 2000)])
def test_the_interval_is_wilsons(right: int, rows: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    expected = stats.binomtest(right, rows).proportion_ci(0.95, method="wilson")
    assert wilson(right, rows) == pytest.approx((expected.low, expected.high), abs=1e-6)


@pytest.mark.parametrize(("better", "worse"), [(1, 0), (0, 1), (6, 1), (12, 12), (0, 40), (700, 640), (30_000, 30_200)])
def test_the_chance_to_be_better_is_the_posterior_of_the_sign_test(better: int, worse: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    assert chance_better(better, worse) == pytest.approx(stats.beta(better + 1, worse + 1).sf(0.5), abs=1e-6)


def test_without_a_row_that_tells_them_apart_nothing_is_said_about_the_chance() -> None:
    assert chance_better(0, 0) is None
    assert chance_words(None) == ""


def test_what_golden_labels_gained_is_the_mean_of_what_is_known() -> None:
    def row(split: Split, gained: float | None) -> PairedOutcome:
        return PairedOutcome(1, "bug", split, "bug", "bug", gained)

    rows = [row(Split.GOLDEN, gained) for gained in (0.05, None, 0.03)]
    assert surer([*rows, row(Split.TRAIN, 0.9)]) == pytest.approx(0.04)
    assert surer([row(Split.GOLDEN, None)]) is None


def test_what_golden_labels_gained_is_told_in_points() -> None:
    assert [surer_words(gained) for gained in (0.042, -0.01, 0.004, None)] == [
        "golden texts' labels 4 points more probable",
        "golden texts' labels 1 point less probable",
        "golden texts' labels as probable as before",
        "",
    ]


def test_no_chance_is_told_as_certain() -> None:
    assert [chance_words(chance) for chance in (1.0, 0.964, 0.002)] == [
        "> 99 % likely better",
        "96 % likely better",
        "< 1 % likely better",
    ]


# Sentences


def test_coverage_says_how_much_is_answered_for_which_precision_from_where() -> None:
    said = "Answers 84 % of the texts if 95 % of the answers have to be right, from confidence 0.61."
    assert coverage_words(CERTAINTY) == said
    untold = coverage_words(replace(CERTAINTY, coverage=0.0, coverage_from=None))
    assert untold == "From which confidence 95 % of the answers are right cannot be told yet."


def test_scope_says_what_is_caught_and_what_is_turned_away() -> None:
    assert scope_words(CERTAINTY) == (
        "Recognises 97 % of everyday texts about other things, and mistakes 4.3 % of its own for such."
    )
    assert "Does not tell" in scope_words(replace(CERTAINTY, strangers_caught=0.0, turned_away=0.0))


def test_calibration_says_before_and_after_or_only_what_is_known() -> None:
    assert calibration_words(0.028, 0.098) == ("Its confidence is off by 2.8 % on average (9.8 % before calibration).")
    assert calibration_words(0.028, None) == "Its confidence is off by 2.8 % on average."


@pytest.mark.parametrize(
    ("kind", "started_from", "words"),
    [
        (CandidateKind.DEEP, "base", "fine-tuned from the base encoder"),
        (CandidateKind.DEEP, "v12", "fine-tuned from v12"),
        (CandidateKind.DEEP, "support v3", "fine-tuned from support v3"),
        (CandidateKind.DEEP, "base, because it is gone", "fine-tuned from the base encoder, because it is gone"),
        (CandidateKind.INSTANT, "base", "the head alone, over the base encoder"),
        (CandidateKind.INSTANT, "v12", "the head alone, over the base encoder"),
    ],
)
def test_the_origin_names_the_kind_and_where_training_began(kind: CandidateKind, started_from: str, words: str) -> None:
    assert origin_words(kind, started_from) == words


def test_small_numbers_read_as_people_say_them() -> None:
    assert [percent(share) for share in (0.9348, 0.95, 1.0, 0.0)] == ["93.5 %", "95 %", "100 %", "0 %"]
    assert interval_words((0.865, 0.97)) == "86.5 to 97 %"
    assert flip_words(6, 1, 2) == "9 answers differ: 6 became right, 1 wrong, 2 wrong in another way"
    assert flip_words(1, 0, 0) == "1 answer differs: 1 became right, 0 wrong"
    assert flip_words(0, 0, 0) == "no answer differs"
    assert weight_words(22_900_000, 4.2) == "23 MB, 4.2 ms per text"
    assert weight_words(310_000, 0.0) == "0.3 MB"
    assert (weight_words(0, 0.0), weight_words(0, 4.2)) == ("", "4.2 ms per text")


def test_the_other_kind_is_named_with_both_accuracies() -> None:
    assert other_words(OtherKind(CandidateKind.INSTANT, 0.88, 0.931, 80)) == (
        "On 80 of these texts it gets 93.1 %, the head alone 88 %."
    )
    assert "fine-tuning 88 %" in other_words(OtherKind(CandidateKind.DEEP, 0.88, 0.931, 80))
    assert other_words(None) == ""


# Old reports


def test_a_report_of_the_old_shape_is_read_and_claims_nothing_that_was_not_measured() -> None:
    old = from_json(EvaluationReport, json.dumps(OLD))
    found = figures(old)
    assert not knows_its_origin(old)
    assert (found.rows, found.other, found.flips.fixed) == (2, None, (4,))
    assert (old.certainty, weight_words(old.encoder_bytes, old.milliseconds)) == (None, "")


def test_a_report_of_today_knows_its_origin() -> None:
    assert knows_its_origin(measured())
    assert knows_its_origin(replace(measured(()), certainty=None))  # nothing to measure on, but timed

"""The report: its numbers are those of the outcomes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from storage.records import EvaluationReport, PairedOutcome, Split
from trainer.evaluate import Judged, calibration_error, evaluate, pair
from trainer.protocol import from_json, to_json

LABELS = ("bug", "praise", "refund")


def report(truth: Sequence[str], champion: Sequence[str], candidate: Sequence[str]) -> EvaluationReport:
    outcomes = pair(range(len(truth)), truth, Split.TRAIN, champion, candidate)
    judged = [Judged(outcome, 0.9, 0.6, outcome.label == "praise") for outcome in outcomes]
    return evaluate(
        judged, LABELS, champion="v3+2", train_rows=40, golden_rows=5, seconds={"training": 1.5}, encoder_bytes=7
    )


def test_accuracy_f1_and_confusion_are_the_candidates() -> None:
    found = report(["bug", "bug", "praise", "refund"], ["bug"] * 4, ["bug", "praise", "praise", "refund"])
    assert (found.candidate_accuracy, found.champion_accuracy) == (0.75, 0.5)
    assert found.candidate_macro_f1 == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert found.champion_macro_f1 == pytest.approx((2 / 3) / 3)
    assert found.confusion == ((1, 1, 0), (0, 1, 0), (0, 0, 1))
    bug = found.labels[0]
    assert (bug.label, bug.rows, bug.precision, bug.recall, bug.champion_recall) == ("bug", 2, 1.0, 0.5, 1.0)


def test_pairs_keep_their_columns_apart() -> None:
    (outcome,) = pair([7], ["bug"], Split.GOLDEN, ["praise"], ["refund"])
    assert outcome == PairedOutcome(7, "bug", Split.GOLDEN, champion="praise", candidate="refund")
    (outcome,) = pair([7], ["bug"], Split.GOLDEN, ["praise"], ["refund"], [-0.25])
    assert outcome.surer == -0.25


def test_a_label_without_rows_is_listed_and_does_not_lower_the_f1() -> None:
    found = report(["bug", "praise"], ["bug", "praise"], ["bug", "praise"])
    assert found.candidate_macro_f1 == 1.0
    assert found.labels[2].rows == 0


def test_a_champions_answer_that_is_no_label_any_more_is_wrong() -> None:
    found = report(["bug", "praise"], ["archived", "praise"], ["bug", "praise"])
    assert (found.champion_accuracy, found.labels[0].champion_recall) == (0.5, 0.0)


def test_nothing_to_measure_on_gives_zeros() -> None:
    found = report([], [], [])
    assert (found.candidate_accuracy, found.candidate_macro_f1, found.calibration_error) == (0.0, 0.0, 0.0)
    assert len(found.confusion) == len(found.labels) == 3


def test_the_report_survives_its_json_form() -> None:
    found = report(["bug", "praise"], ["bug", "bug"], ["bug", "praise"])
    assert from_json(EvaluationReport, to_json(found)) == found


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    right = np.array([True] * 8 + [False] * 2)
    assert calibration_error(np.full(10, 0.8), right) == pytest.approx(0.0)
    assert calibration_error(np.full(10, 0.95), right) == pytest.approx(0.15)
    # Gaps of opposite sign in different bins do not cancel out.
    assert calibration_error(np.array([0.3, 1.0]), np.array([True, False])) == pytest.approx(0.85)


class TestCertainty:
    def test_calibration_before_and_after_come_from_the_two_confidences(self) -> None:
        found = report(["bug"] * 10, ["bug"] * 10, ["bug"] * 10)
        assert found.certainty is not None
        assert found.calibration_error == pytest.approx(0.1)  # always 0.9, always right
        assert found.certainty.calibration_error_before == pytest.approx(0.4)

    def test_the_coverage_is_told_with_its_threshold_or_not_at_all(self) -> None:
        many, few = (report(["bug"] * n, ["bug"] * n, ["bug"] * n).certainty for n in (40, 4))
        assert many is not None
        assert few is not None
        assert (many.coverage, many.coverage_from) == (1.0, 0.9)
        assert (few.coverage, few.coverage_from) == (0.0, None)

    def test_rows_turned_away_are_counted(self) -> None:
        found = report(["bug", "praise", "bug", "bug"], ["bug"] * 4, ["bug"] * 4)
        assert found.certainty is not None
        assert found.certainty.turned_away == 0.25

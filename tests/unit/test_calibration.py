"""Confidence: a temperature that few rows and wrong labels do not upset, and thresholds that keep their word."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import bdtrc

from trainer.model.calibration import FALSE_PROMISE, calibrate, precision_threshold
from trainer.model.logistic import log_softmax

Floats = NDArray[np.float32]


def draw(rows: int, classes: int, seed: int = 0, scale: float = 2) -> tuple[Floats, NDArray[np.int64]]:
    """Logits, and targets drawn by their own softmax: calibrated as they are."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(rows, classes)).astype(np.float32) * np.float32(scale)
    # The class with the highest logit + Gumbel noise is a draw from the softmax.
    return logits, (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)


class TestTemperature:
    def test_an_underconfident_model_is_sharpened_and_an_overconfident_one_softened(self) -> None:
        logits, targets = draw(3000, 5)
        assert calibrate(logits, targets)[0] == pytest.approx(1.0, abs=0.07)
        assert calibrate(logits / np.float32(4), targets)[0] == pytest.approx(0.25, abs=0.03)
        assert calibrate(logits * np.float32(3), targets)[0] == pytest.approx(3.0, abs=0.3)

    def test_without_rows_or_without_a_choice_it_is_the_belief_before(self) -> None:
        assert calibrate(np.zeros((0, 3), np.float32), np.zeros(0, int)) == (0.7, 0.5)
        assert calibrate(np.zeros((9, 1), np.float32), np.zeros(9, int)) == (1.0, 0.0)

    @pytest.mark.parametrize(("rows", "temperature"), [(2, 0.62), (25, 0.31), (75, 0.20)])
    def test_few_rows_that_are_all_right_are_believed_step_by_step(self, rows: int, temperature: float) -> None:
        targets = np.arange(rows) % 2
        logits = np.eye(2, dtype=np.float32)[targets] * np.float32(0.5)
        assert calibrate(logits, targets)[0] == pytest.approx(temperature, abs=0.01)

    def test_few_rows_that_are_all_wrong_do_not_flatten_every_answer(self) -> None:
        logits = np.eye(2, dtype=np.float32)[np.arange(6) % 2] * np.float32(9)
        assert calibrate(logits, (np.arange(6) + 1) % 2)[0] < 1.0

    def test_wrong_labels_do_not_make_every_answer_unsure(self) -> None:
        """Plain likelihood goes from 0.96 to 1.75 here."""
        logits, targets = draw(600, 6, scale=4)
        before, _ = calibrate(logits, targets)
        targets[:60] = (targets[:60] + 1 + np.arange(60) % 5) % 6
        assert calibrate(logits, targets)[0] == pytest.approx(before, abs=0.2)

    def test_answers_that_are_often_wrong_are_not_taken_for_wrong_labels(self) -> None:
        """Half of the answers are wrong as the logits say: no share of wrong labels explains that better."""
        logits, targets = draw(2000, 4, scale=1)
        assert (logits.argmax(1) == targets).mean() < 0.6
        assert calibrate(logits, targets)[0] == pytest.approx(1.0, abs=0.12)

    @pytest.mark.parametrize("seed", range(4))
    def test_a_boastful_model_cannot_blame_the_labels(self, seed: int) -> None:
        """Three times too sure, 150 rows: were the share of wrong labels free, seed 2 would get 1.5 instead of 2.2."""
        logits, targets = draw(150, 4, seed, scale=1)
        assert calibrate(logits * np.float32(3), targets)[0] > 2

    def test_about_one_in_twenty_falls_below_the_threshold(self) -> None:
        logits = np.random.default_rng(0).normal(size=(2000, 6)).astype(np.float32) * np.float32(3)
        temperature, below = calibrate(logits, logits.argmax(1))
        confidence = np.exp(log_softmax(logits / np.float32(temperature))).max(1)
        assert 0.005 < (confidence < below).mean() < 0.08
        assert below <= 0.6


class TestPrecision:
    def test_the_lowest_confidence_that_keeps_the_precision(self) -> None:
        """100 right answers above 0.5, then half of them wrong: 90 % ends a little below 0.5."""
        confidences = np.linspace(1, 0.01, 200)
        right = (np.arange(200) < 100) | (np.arange(200) % 2 == 0)
        threshold, coverage = precision_threshold(confidences, right, 0.9)
        answered = confidences >= threshold
        assert coverage == pytest.approx(answered.mean())
        assert 0.5 < coverage < 0.65
        assert right[answered].mean() > 0.9

    def test_the_bound_is_that_of_a_binomial(self) -> None:
        """At the threshold the wanted precision is refuted at 80 %, with one answer more it is not."""
        rng = np.random.default_rng(4)
        confidences = rng.random(300)
        right = rng.random(300) < 0.6 + 0.4 * confidences
        threshold, _ = precision_threshold(confidences, right, 0.85)
        refuted = []
        for at in np.sort(confidences):
            answered = confidences >= at
            hits, count = int(right[answered].sum()), int(answered.sum())
            refuted.append(hits > 0 and bdtrc(hits - 1, count, 0.85) <= FALSE_PROMISE)
        assert threshold == np.sort(confidences)[int(np.argmax(refuted))]

    @pytest.mark.parametrize(("precision", "needed"), [(0.95, 32), (0.9, 16), (0.8, 8)])
    def test_few_right_answers_promise_nothing(self, precision: float, needed: int) -> None:
        assert precision_threshold(np.full(needed - 1, 0.9), np.ones(needed - 1, bool), precision) == (np.inf, 0.0)
        assert precision_threshold(np.full(needed, 0.9), np.ones(needed, bool), precision) == (0.9, 1.0)

    def test_rows_of_equal_confidence_are_answered_together_or_not_at_all(self) -> None:
        confidences = np.repeat([0.9, 0.5], [40, 40])
        right = np.repeat([True, False], [60, 20])
        assert precision_threshold(confidences, right, 0.9) == (0.9, 0.5)
        assert precision_threshold(confidences[::-1], right[::-1], 0.9) == (0.9, 0.5)

    def test_a_confident_mistake_is_outweighed_by_what_follows(self) -> None:
        confidences = np.linspace(1, 0.5, 100)
        assert precision_threshold(confidences, np.arange(100) > 0, 0.95)[1] == 1.0

    def test_no_rows_and_no_right_rows_promise_nothing(self) -> None:
        assert precision_threshold(np.zeros(0), np.zeros(0, bool), 0.9) == (np.inf, 0.0)
        assert precision_threshold(np.full(50, 0.9), np.zeros(50, bool), 0.5) == (np.inf, 0.0)

    @pytest.mark.parametrize("precision", [0.0, 1.0, 95.0])
    def test_a_precision_that_is_none_is_refused(self, precision: float) -> None:
        with pytest.raises(ValueError, match="not between 0 and 1"):
            precision_threshold(np.ones(3), np.ones(3, bool), precision)

    def test_lengths_that_differ_are_refused(self) -> None:
        with pytest.raises(ValueError, match="do not fit"):
            precision_threshold(np.ones(3), np.ones(2, bool), 0.9)

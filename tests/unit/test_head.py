"""The head: what labels teach it, how sure it is, and what its file refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file
from sklearn.linear_model import LogisticRegression

from storage.errors import ArtifactError
from trainer.model.calibration import Reliability
from trainer.model.head import Head, fit_head, label_text
from trainer.model.logistic import fit_logistic, log_softmax, one_hot

Floats = NDArray[np.float32]


def unit(values: NDArray[np.float64]) -> Floats:
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def task(classes: int, rows: int, noise: float = 0.8, seed: int = 0) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Label vectors, row vectors and targets of a made-up task of 32 dimensions."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, 32))
    targets = np.arange(rows) % classes
    names = unit(centres + 0.5 * rng.normal(size=centres.shape))
    return names, unit(centres[targets] + noise * rng.normal(size=(rows, 32))), targets


@pytest.mark.parametrize(
    ("name", "description", "text"),
    [
        ("refund_request", "", "refund request"),
        ("refundRequest", "", "refund request"),
        ("top-up/failed", "", "top up failed"),
        ("bug", " something is broken ", "bug: something is broken"),
    ],
)
def test_a_label_is_read_as_words(name: str, description: str, text: str) -> None:
    assert label_text(name, description) == text


def test_the_regression_reaches_scikit_learns_optimum() -> None:
    _, vectors, targets = task(5, 120, noise=2.0)
    weight, bias = fit_logistic(vectors, one_hot(targets, 5))
    theirs = LogisticRegression(C=10, max_iter=500, tol=1e-6).fit(vectors, targets)
    ours = np.exp(log_softmax(vectors @ weight.T + bias))
    assert np.abs(ours - theirs.predict_proba(vectors)).max() < 5e-3


def test_names_alone_already_answer() -> None:
    names, vectors, targets = task(6, 60)
    fit = fit_head([f"l{i}" for i in range(6)], names, np.zeros((0, 32), np.float32), [])
    assert fit.out_of_fold.shape == (0, 6)
    assert (fit.head.logits(vectors).argmax(1) == targets).mean() > 0.8


def test_rows_overrule_misleading_names() -> None:
    names, vectors, targets = task(4, 120)
    fit = fit_head(list("abcd"), np.roll(names, 1, axis=0), vectors, targets)
    assert (fit.out_of_fold.argmax(1) == targets).mean() > 0.8
    assert (fit.head.logits(vectors).argmax(1) == targets).mean() > 0.9


def test_wrong_labels_do_not_spoil_a_good_prior() -> None:
    labels = list("abcdef")
    names, vectors, targets = task(6, 1200)
    prior = fit_head(labels, names, vectors[:120], targets[:120]).head
    chance = np.random.default_rng(0)
    taught = targets[:240].copy()
    wrong = chance.random(240) < 0.3
    taught[wrong] = chance.integers(0, 6, int(wrong.sum()))
    after = fit_head(labels, names, vectors[:240], taught, prior=prior).head
    before, now = ((head.logits(vectors[240:]).argmax(1) == targets[240:]).mean() for head in (prior, after))
    assert now > before - 0.01


def test_out_of_fold_answers_have_not_seen_their_row() -> None:
    """With labels drawn at random there is nothing to learn; a leak would show as a high accuracy."""
    rng = np.random.default_rng(2)
    names, vectors, _ = task(4, 200)
    targets = rng.integers(0, 4, 200)
    fit = fit_head(list("abcd"), names, vectors, targets)
    assert (fit.head.logits(vectors).argmax(1) == targets).mean() > 0.4
    assert (fit.out_of_fold.argmax(1) == targets).mean() < 0.36


@pytest.mark.parametrize("rows", [0, 1, 2, 3])
@pytest.mark.parametrize("classes", [1, 2, 3])
def test_any_small_number_of_rows_and_labels_works(classes: int, rows: int) -> None:
    names, vectors, targets = task(classes, rows)
    fit = fit_head([f"l{i}" for i in range(classes)], names, vectors, targets)
    probabilities = fit.head.probabilities(names)
    assert np.allclose(probabilities.sum(1), 1, atol=1e-5)
    assert 0 <= fit.head.abstain_below <= 0.6


def test_a_class_without_rows_is_found_by_its_name() -> None:
    names, vectors, targets = task(5, 100)
    seen = targets != 4
    fit = fit_head(list("abcde"), names, vectors[seen], targets[seen])
    assert (fit.head.logits(vectors[~seen]).argmax(1) == 4).mean() > 0.7


def test_equal_texts_with_contradicting_labels_do_not_break_the_fit() -> None:
    names, vectors, _ = task(2, 20)
    fit = fit_head(list("ab"), names, np.repeat(vectors[:1], 20, axis=0), np.arange(20) % 2)
    assert np.isfinite(fit.head.weight).all()
    assert fit.head.probabilities(vectors[:1]).max() < 0.75


def test_a_fit_is_the_same_every_time() -> None:
    names, vectors, targets = task(3, 50)
    first, second = (fit_head(list("abc"), names, vectors, targets, seed=7) for _ in range(2))
    assert np.array_equal(first.head.weight, second.head.weight)
    assert np.array_equal(first.out_of_fold, second.out_of_fold)


class TestCorrection:
    def prior(self) -> tuple[Head, Floats, Floats, NDArray[np.int64]]:
        names, vectors, targets = task(4, 80)
        return fit_head(list("abcd"), names, vectors, targets).head, names, vectors, targets

    def test_without_newer_information_the_answers_stay(self) -> None:
        head, names, vectors, targets = self.prior()
        right = head.logits(vectors).argmax(1) == targets
        fit = fit_head(list("abcd"), names, vectors[right], targets[right], prior=head)
        assert np.allclose(fit.head.logits(vectors), head.logits(vectors), atol=1e-4)
        assert (fit.head.temperature, fit.head.abstain_below) == (head.temperature, head.abstain_below)

    def test_a_contradicting_label_changes_its_answer_and_few_others(self) -> None:
        head, names, vectors, targets = self.prior()
        newer = targets.copy()
        newer[0] = (targets[0] + 1) % 4
        fit = fit_head(list("abcd"), names, vectors, newer, prior=head)
        before, after = head.logits(vectors).argmax(1), fit.head.logits(vectors).argmax(1)
        assert after[0] == newer[0]
        assert (before[1:] != after[1:]).mean() < 0.1

    def test_its_own_label_does_not_help_a_row_out_of_fold(self) -> None:
        head, names, vectors, targets = self.prior()
        newer = targets.copy()
        newer[0] = (targets[0] + 1) % 4
        fit = fit_head(list("abcd"), names, vectors, newer, prior=head)
        assert fit.out_of_fold[0].argmax() == targets[0]

    @pytest.mark.parametrize("shown", [1, 3])
    def test_rows_of_a_new_label_are_no_easier_out_of_fold_than_fresh_ones(self, shown: int) -> None:
        """A new label's row of the head is made of its texts: a text that had part in it would find itself."""
        names, vectors, targets = task(60, 1200, noise=2.2)
        labels, old, number = [str(index) for index in range(60)], targets < 50, np.arange(1200)
        learned = old & (number < 300)
        head = fit_head(labels[:50], names[:50], vectors[learned], targets[learned]).head
        taught = learned | (~old & (number < 60 * shown))
        fit = fit_head(labels, names, vectors[taught], targets[taught], prior=head)
        fresh = ~old & ~taught
        after = (fit.head.logits(vectors[fresh]).argmax(1) == targets[fresh]).mean()
        said = (fit.out_of_fold.argmax(1) == targets[taught])[~old[taught]].mean()
        assert said <= after + 0.25

    def test_the_only_text_there_is_does_not_speak_for_itself(self) -> None:
        names, vectors, targets = task(2, 40)
        head = fit_head(["a"], names[:1], vectors[targets == 0], targets[targets == 0]).head
        text = vectors[targets == 0][:1]  # it looks like the old label
        fit = fit_head(["a", "b"], names, text, [1], prior=head)
        assert fit.out_of_fold.argmax(1).tolist() == [0]

    def test_reordered_labels_keep_their_answers(self) -> None:
        head, names, vectors, _ = self.prior()
        fit = fit_head(list("dcba"), names[::-1], vectors[:0], [], prior=head)
        assert np.allclose(fit.head.logits(vectors), head.logits(vectors)[:, ::-1], atol=1e-4)

    def test_a_new_label_answers_from_its_first_rows(self) -> None:
        names, vectors, targets = task(5, 100)
        old = targets < 4
        head = fit_head(list("abcd"), names[:4], vectors[old], targets[old]).head
        shown = old | (np.arange(100) < 20)
        fit = fit_head(list("abcde"), names, vectors[shown], targets[shown], prior=head)
        answers = fit.head.logits(vectors).argmax(1)
        assert (answers[~shown] == 4).mean() > 0.7
        assert (answers[old] == targets[old]).mean() > 0.9

    def test_new_labels_with_a_text_each_leave_the_others_theirs(self) -> None:
        """Texts of one trade have much in common, so a new row is near all of them."""
        names, vectors, targets = task(60, 1200)
        common = np.float32(4.0) * unit(np.ones((1, 32)))
        names, vectors = unit(names + common), unit(vectors + common)
        labels, old = [str(index) for index in range(60)], targets < 50
        learned = old & (np.arange(1200) < 300)
        head = fit_head(labels[:50], names[:50], vectors[learned], targets[learned]).head
        shown = learned | (~old & (np.arange(1200) < 60))
        fit = fit_head(labels, names, vectors[shown], targets[shown], prior=head)
        before, after = (head.logits(vectors).argmax(1) == targets, fit.head.logits(vectors).argmax(1) == targets)
        assert after[old & ~shown].mean() > before[old & ~shown].mean() - 0.005
        assert after[~old & ~shown].mean() > 0.4


class TestFile:
    head = Head(("bug", "größe"), np.eye(2, 3, dtype=np.float32), np.zeros(2, np.float32), 0.7, 0.3)

    def test_it_comes_back_as_it_was(self, tmp_path: Path) -> None:
        self.head.save(tmp_path)
        again = Head.load(tmp_path)
        assert again.labels == self.head.labels
        assert (again.temperature, again.abstain_below) == (0.7, 0.3)
        assert np.array_equal(again.weight, self.head.weight)

    def test_what_its_thresholds_come_from_comes_back(self, tmp_path: Path) -> None:
        names, vectors, targets = task(3, 60)
        head = fit_head(list("abc"), names, vectors, targets).head
        head.save(tmp_path)
        again = Head.load(tmp_path)
        assert head.reliability is not None
        assert again.reliability is not None
        assert len(again.reliability.right) == 60
        assert again.reliability.threshold(0.9) == head.reliability.threshold(0.9)

    def test_a_damaged_reliability_is_refused(self, tmp_path: Path) -> None:
        damaged = Reliability(np.ones(3, np.float32), np.ones(2, bool))
        replace(self.head, reliability=damaged).save(tmp_path)
        with pytest.raises(ArtifactError, match="do not fit"):
            Head.load(tmp_path)

    def test_the_same_head_is_the_same_bytes(self, tmp_path: Path) -> None:
        contents = set()
        for number in range(5):
            (tmp_path / str(number)).mkdir()
            self.head.save(tmp_path / str(number))
            contents.add((tmp_path / str(number) / "head.safetensors").read_bytes())
        assert len(contents) == 1

    def test_a_number_that_is_not_finite_is_refused(self, tmp_path: Path) -> None:
        Head(("a", "b"), np.full((2, 3), np.nan, np.float32), np.zeros(2, np.float32), 1.0, 0.0).save(tmp_path)
        with pytest.raises(ArtifactError, match="not finite"):
            Head.load(tmp_path)

    def test_shapes_that_do_not_fit_the_labels_are_refused(self, tmp_path: Path) -> None:
        Head(("a", "b", "c"), np.eye(2, 3, dtype=np.float32), np.zeros(2, np.float32), 1.0, 0.0).save(tmp_path)
        with pytest.raises(ArtifactError, match="3 labels"):
            Head.load(tmp_path)

    def test_a_temperature_of_zero_is_refused(self, tmp_path: Path) -> None:
        Head(("a", "b"), np.eye(2, 3, dtype=np.float32), np.zeros(2, np.float32), 0.0, 0.0).save(tmp_path)
        with pytest.raises(ArtifactError, match="temperature"):
            Head.load(tmp_path)

    def test_a_missing_or_foreign_file_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ArtifactError, match="cannot be read"):
            Head.load(tmp_path)
        save_file({"weight": np.zeros((2, 3), np.float32)}, tmp_path / "head.safetensors")
        with pytest.raises(ArtifactError, match="cannot be read"):
            Head.load(tmp_path)

"""The curve through accuracies, what it promises, and which label it names."""

from __future__ import annotations

import numpy as np
import pytest

from bot.inference.forecast import FOLDS, SHARES, Curve, _fit, accuracy, gain, measure, wanting

SIZES = np.array(SHARES) * 0.8


def curve(right: list[float], rows: int = 400, targets: np.ndarray | None = None) -> Curve:
    """As if so large a share of `rows` rows had been answered right at each size."""
    hits = np.arange(rows)[None, None, :] < np.array(right)[:, None, None] * rows
    chance = np.random.default_rng(0)
    hits = hits[:, :, chance.permutation(rows)]
    given = np.arange(rows) % 2 if targets is None else targets
    return Curve(rows, SIZES * rows, hits, given, np.bincount(given))


@pytest.mark.parametrize(("ceiling", "fall", "exponent"), [(0.95, 0.1, 0.5), (1.0, 0.2, 0.3), (0.8, 0.05, 1.0)])
def test_a_power_law_is_found_again(ceiling: float, fall: float, exponent: float) -> None:
    through = ceiling - fall * (SIZES / SIZES[-1]) ** -exponent
    found = [float(each[0]) for each in _fit(SIZES, through[:, None])]
    assert found == pytest.approx([ceiling, fall, exponent], abs=1e-6)


def test_a_curve_neither_falls_nor_leaves_100_percent() -> None:
    worse = np.array([0.9, 0.89, 0.88, 0.87, 0.86])[:, None]
    ceiling, fall, _ = _fit(SIZES, worse)
    assert fall[0] == 0
    assert ceiling[0] == pytest.approx(0.88)
    steep = np.array([0.2, 0.4, 0.6, 0.8, 0.98])[:, None]
    ceiling, _, _ = _fit(SIZES, steep)
    assert ceiling[0] <= 1


def test_more_labels_bring_less_the_more_there_are() -> None:
    rising = curve([0.6, 0.68, 0.74, 0.78, 0.8])
    near, far = gain(rising, 100), gain(rising, 400)
    assert 0 < near.expected < far.expected < 4 * near.expected
    for found in (near, far):
        assert found.low < found.expected < found.high
    expected, low, high = accuracy(rising, 400)
    assert low < expected < high <= 1
    assert expected - accuracy(rising, 0)[0] == pytest.approx(far.expected)


def test_the_interval_is_narrower_with_more_rows() -> None:
    small, large = (gain(curve([0.6, 0.68, 0.74, 0.78, 0.8], rows), rows) for rows in (100, 4000))
    assert large.high - large.low < 0.8 * (small.high - small.low)


def test_the_same_rows_give_the_same_forecast() -> None:
    rising = curve([0.6, 0.68, 0.74, 0.78, 0.8])
    assert gain(rising, 100) == gain(rising, 100)


def test_where_everything_is_right_nothing_is_promised() -> None:
    found = gain(curve([1.0] * 5), 100)
    assert found.expected == 0
    assert found.high < 0.01


def test_the_label_with_errors_and_few_texts_would_gain_most() -> None:
    # Label 0: 300 texts, 90 % right; label 1: 40, half right; label 2: 20, all right.
    targets = np.repeat([0, 1, 2], [300, 40, 20])
    right = np.concatenate([np.arange(300) % 10 > 0, np.arange(40) % 2 > 0, np.ones(20, bool)])
    hits = np.stack([right & (np.arange(360) % 7 > 5 - step) for step in range(4)] + [right])[:, None, :]
    found = Curve(360, SIZES * 360, hits, targets, np.bincount(targets))
    lacking = wanting(found)
    assert (lacking.label, lacking.rows, lacking.right) == (1, 40, 0.5)
    empty = Curve(360, SIZES * 360, hits, targets, np.bincount(targets, minlength=4))
    assert (wanting(empty).label, wanting(empty).right) == (3, None)


def test_every_row_is_asked_of_heads_that_have_not_seen_it(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = np.random.default_rng(0)
    targets = np.arange(60) % 3
    vectors = chance.normal(size=(60, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    learned: list[int] = []

    class Remembering:
        """Right exactly on what it has seen."""

        def __init__(self, seen: np.ndarray, given: np.ndarray) -> None:
            self.seen, self.given = seen, given
            self.head = self

        def logits(self, asked: np.ndarray) -> np.ndarray:
            known = (asked @ self.seen.T > 0.9999).any(1)
            assert not known.any()
            return np.zeros((len(asked), 3))

    def fit(labels: object, names: object, seen: np.ndarray, given: np.ndarray, **more: object) -> Remembering:
        learned.append(len(given))
        return Remembering(seen, given)

    monkeypatch.setattr("bot.inference.forecast.fit_head", fit)
    found = measure(["a", "b", "c"], vectors[:3], vectors, targets)
    assert found.right.shape == (len(SHARES), 2, 60)
    assert sorted(set(learned)) == [12, 19, 29, 38, 48]
    assert len(learned) == 2 * FOLDS * len(SHARES)
    assert found.sizes.tolist() == pytest.approx([12, 19.2, 28.8, 38.4, 48])
    assert found.right.mean() == pytest.approx(1 / 3)  # label 0 is said everywhere

"""Words left out, neighbours and doubtful rows, on vectors made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from bot.inference.insight import MOST_WORDS, Material, doubted, nearest, weighed, without_words
from storage.records import Label, LabelledText, Source, Split
from trainer.model.head import Head
from trainer.model.suspects import NotJudged


def test_each_word_is_left_out_once_and_the_rest_stays_as_it_was() -> None:
    assert without_words("please  refund me") == [
        ("please", "refund me"),
        ("refund", "please   me"),
        ("me", "please  refund"),
    ]


@pytest.mark.parametrize("text", ["", "word", "  word ", "😀" * 4000])
def test_a_single_word_cannot_be_left_out(text: str) -> None:
    assert without_words(text) == []


def test_of_a_long_text_the_first_words_are_tried() -> None:
    words = without_words(" ".join(str(n) for n in range(500)))
    assert [word for word, _ in words] == [str(n) for n in range(MOST_WORDS)]


def test_words_are_ordered_by_what_the_answer_loses_without_them() -> None:
    head = Head(("bug", "idea"), np.eye(2, dtype=np.float32), np.zeros(2, np.float32), 1.0, 0.0)
    whole = np.array([1, 0], np.float32)
    left = np.array([[1, 0], [-1, 1], [0.5, 0]], np.float32)
    found = weighed(head, whole, ["the", "crash", "app"], left)
    assert [(word.word, word.label, word.flips) for word in found] == [
        ("crash", "idea", True),
        ("app", "bug", False),
        ("the", "bug", False),
    ]
    assert found[0].before == pytest.approx(np.e / (np.e + 1))
    assert found[0].after == pytest.approx(1 / (1 + np.e**2))
    assert weighed(head, whole, [], left[:0]) == []


def test_the_nearest_come_first_and_equal_ones_in_their_order() -> None:
    vectors = np.array([[0, 1], [1, 0], [0.8, 0.6], [1, 0]], np.float32)
    assert nearest(np.array([1, 0], np.float32), vectors, 3) == [
        (1, pytest.approx(1.0)),
        (3, pytest.approx(1.0)),
        (2, pytest.approx(0.8)),
    ]
    assert nearest(np.array([1, 0], np.float32), vectors[:0], 3) == []


def material(rows: int, wrong: int = 0) -> Material:
    """Two well separated labels; the first `wrong` rows have the other one's."""
    chance = np.random.default_rng(0)
    truth = np.arange(rows) % 2
    vectors = chance.normal(0, 0.1, (rows, 8)).astype(np.float32)
    vectors[np.arange(rows), truth] += 1
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    targets = np.where(np.arange(rows) < wrong, 1 - truth, truth)
    labels = [Label(10 + n, "g", 1, name) for n, name in enumerate(("bug", "idea"))]
    texts = [
        LabelledText(100 + n, f"text {n}", labels[target].name, Split.TRAIN, Source.FILE)
        for n, target in enumerate(targets)
    ]
    return Material(labels, texts, np.eye(8, dtype=np.float32)[:2], vectors, targets)


def test_rows_with_the_label_of_the_others_are_doubted_and_the_right_one_is_suggested() -> None:
    found = doubted(material(240, wrong=4))
    assert not isinstance(found, NotJudged)
    assert {(each.id, each.given, each.suggested) for each in found} == {
        (100 + n, (n + 1) % 2, n % 2) for n in range(4)
    }


def test_a_few_labels_are_not_judged_and_nothing_is_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.inference.insight.fit_head", None)
    refused = doubted(material(199, wrong=4))
    assert isinstance(refused, NotJudged)
    assert "There are 199 labels so far" in refused.reason

"""Agreement against a well-kept library, and what is told of it."""

from __future__ import annotations

import krippendorff
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bot.services.agreement import LEAST_TEXTS, agreement, nominal_alpha
from storage.opinions import SharedOpinion
from storage.records import EventKind

MATRICES = st.integers(2, 5).flatmap(
    lambda people: st.lists(
        st.lists(st.one_of(st.none(), st.integers(0, 4)), min_size=people, max_size=people), min_size=2, max_size=25
    )
)
"""[texts][people] of labels; None: that person said nothing about that text."""


def counts_of(matrix: list[list[int | None]]) -> np.ndarray:
    return np.array([[row.count(value) for value in range(5)] for row in matrix])


@given(MATRICES)
def test_alpha_is_what_the_library_computes(matrix: list[list[int | None]]) -> None:
    data = np.array([[np.nan if value is None else value for value in row] for row in matrix]).T
    told = {value for row in matrix if sum(one is not None for one in row) > 1 for value in row if value is not None}
    assume(len(told) > 1)
    expected = krippendorff.alpha(reliability_data=data, level_of_measurement="nominal")
    assert nominal_alpha(counts_of(matrix)) == pytest.approx(expected)


def test_where_nothing_can_differ_there_is_no_alpha() -> None:
    assert nominal_alpha(np.array([[2, 0], [3, 0]])) is None
    assert nominal_alpha(np.array([[1, 0], [0, 1]])) is None
    assert nominal_alpha(np.zeros((0, 2))) is None


def said(example: int, who: str, label: int, kind: EventKind = EventKind.VOTE) -> SharedOpinion:
    return SharedOpinion(example, "text", who, label, kind, 1.0, ruled=False)


def test_it_is_told_from_ten_texts_on_by_label_and_by_person() -> None:
    pairs = [(said(n, "a", n % 2), said(n, "b", n % 2 if n else 1)) for n in range(LEAST_TEXTS)]
    opinions = [one for pair in pairs for one in pair]
    few = agreement(opinions[:-2], {0, 1})
    assert (few.texts, few.alpha, few.people) == (LEAST_TEXTS - 1, None, ())
    found = agreement(opinions, {0, 1})
    assert found.texts == LEAST_TEXTS
    assert found.alpha == pytest.approx(0.808, abs=1e-3)
    assert [label for label, _ in found.labels] == [0, 1]
    assert found.people == (("a", 0.9, 10), ("b", 0.9, 10))


def test_rulings_and_labels_out_of_use_are_no_independent_opinions() -> None:
    opinions = [one for n in range(12) for one in (said(n, "a", 1), said(n, "lead", 1, EventKind.RULING))]
    assert agreement(opinions, {1}).texts == 0
    opinions = [one for n in range(12) for one in (said(n, "a", 1), said(n, "b", 2))]
    assert agreement(opinions, {1}).texts == 0

"""The identity of a text, and the tables in records that others rely on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.records import FINAL_STATES, LEGAL_CHANGES, JobState, LabelCount, normalise, text_hash, version_name
from tests.unit.test_snapshots import make_label

TEXTS = st.text(max_size=60)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("It  crashes\n", "it crashes"),
        ("ＦＵＬＬ width", "full WIDTH"),
        ("Straße", "STRASSE"),
        ("ﬁne", "FINE"),
        ("e\u0301", "é"),
        ("a\u00a0b", "a b"),
    ],
)
def test_what_reads_the_same_is_the_same(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)
    assert text_hash(one) == text_hash(other)


@pytest.mark.parametrize(("one", "other"), [("a b", "ab"), ("crash", "crash!"), ("é", "e"), ("👍", "👎")])
def test_what_reads_differently_stays_apart(one: str, other: str) -> None:
    assert text_hash(one) != text_hash(other)


@given(text=TEXTS)
def test_space_around_and_between_does_not_count(text: str) -> None:
    assert normalise(f"  {text}\t\n") == normalise(text)
    assert "  " not in normalise(text)
    assert normalise(text.replace(" ", " \n ")) == normalise(text)


@given(text=TEXTS)
def test_a_hash_is_64_hex_digits(text: str) -> None:
    assert len(text_hash(text)) == 64
    assert set(text_hash(text)) <= set("0123456789abcdef")


def test_the_state_machine_is_closed_and_final_states_are_final() -> None:
    assert set(LEGAL_CHANGES) == set(JobState)
    assert {state for state, targets in LEGAL_CHANGES.items() if not targets} == FINAL_STATES
    assert all(JobState.CANCELLED in LEGAL_CHANGES[state] for state in JobState if not state.is_final)


def test_a_version_is_named_with_its_revision() -> None:
    assert [version_name(12, 7), version_name(12), version_name(0, 3), version_name(0)] == [
        "v12+7",
        "v12",
        "v0+3",
        "v0",
    ]


def test_a_count_is_of_both_splits() -> None:
    assert LabelCount(make_label(), train=7, golden=2).total == 9

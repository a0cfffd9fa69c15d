"""Whose turn it is: a table, and a queue in which owners come and go at random."""

from __future__ import annotations

from collections import Counter
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.turns import in_turn

OWNERS = st.sampled_from("abcd")


@pytest.mark.parametrize(
    ("waiting", "last", "order"),
    [
        ("", {}, ""),
        ("aaa", {}, "012"),
        ("aab", {}, "021"),
        ("aaab", {"a": 1}, "3012"),
        ("ab", {"a": 1, "b": 2}, "01"),
        ("ab", {"a": 2, "b": 1}, "10"),
        ("aabbc", {"a": 3, "b": 1}, "42031"),
        ("abc", {"a": 5}, "120"),
    ],
    ids=["nobody", "one owner", "two", "had a turn", "longest ago", "longest ago, second", "rounds", "newcomers"],
)
def test_owners_in_turn_and_within_one_who_came_first(waiting: str, last: dict[str, int], order: str) -> None:
    assert in_turn(waiting, last) == [int(place) for place in order]


@given(waiting=st.lists(OWNERS), last=st.dictionaries(OWNERS, st.integers(1, 9)))
def test_the_order_is_what_comes_of_taking_one_after_the_other(waiting: list[str], last: dict[str, int]) -> None:
    left, turns, taken = list(range(len(waiting))), dict(last), []
    numbers = count(max(last.values(), default=0) + 1)
    while left:
        place = left.pop(in_turn([waiting[each] for each in left], turns)[0])
        turns[waiting[place]] = next(numbers)
        taken.append(place)
    assert in_turn(waiting, last) == taken


@given(steps=st.lists(st.one_of(OWNERS, st.none()), max_size=60))
def test_no_owner_waits_while_another_gets_two_turns(steps: list[str | None]) -> None:
    """An owner: a job of theirs arrives; None: the next job is taken."""
    waiting: list[tuple[str, int]] = []
    turns: dict[str, int] = {}
    passed: dict[str, Counter[str]] = {}
    """By owner that waits: who had how many turns since it began to, or since its own last one."""
    for number, step in enumerate(steps, start=1):
        if step is not None:
            waiting.append((step, number))
            passed.setdefault(step, Counter())
            continue
        if not waiting:
            continue
        owner, arrived = waiting.pop(in_turn([each for each, _ in waiting], turns)[0])
        turns[owner] = number
        assert arrived < min((other for each, other in waiting if each == owner), default=number + 1)
        passed[owner] = Counter()
        if all(each != owner for each, _ in waiting):
            del passed[owner]
        for each, seen in passed.items():
            if each != owner:
                seen[owner] += 1
                assert seen[owner] < 2, f"{owner} had two turns while {each} waited"

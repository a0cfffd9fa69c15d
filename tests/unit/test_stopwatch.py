"""Seconds by kind of work: each counts once, whatever is inside what."""

from __future__ import annotations

import pytest

from trainer.stopwatch import Stopwatch


def test_what_is_inside_interrupts_what_is_around_it() -> None:
    now = 0.0
    watch = Stopwatch("other", lambda: now)
    now = 1.0
    with watch.on("train"):
        now = 3.0
        with watch.on("embed"):
            now = 7.0
        now = 15.0
    now = 31.0
    assert watch.seconds() == {"other": 1.0 + 16.0, "train": 2.0 + 8.0, "embed": 4.0}
    assert sum(watch.seconds().values()) == now


def test_a_failure_ends_its_kind_of_work() -> None:
    now = 0.0
    watch = Stopwatch("other", lambda: now)

    def fail() -> None:
        nonlocal now
        with watch.on("train"):
            now = 2.0
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    now = 5.0
    assert watch.seconds() == {"other": 3.0, "train": 2.0}

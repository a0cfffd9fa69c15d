"""A trainer is waited for, but not for ever."""

from __future__ import annotations

import pytest

from bot.services.patience import Patience

HOUR = 3600.0


@pytest.fixture
def patience() -> Patience:
    return Patience(1000.0, lease=60.0, deadline=6 * HOUR)


def test_silence_is_borne_for_one_lease(patience: Patience) -> None:
    assert not patience.is_lost(1060.0)
    assert patience.is_lost(1060.1)
    patience.heard(1060.0, waiting=False)
    assert not patience.is_lost(1120.0)


def test_answers_do_not_lengthen_the_deadline(patience: Patience) -> None:
    end = 1000.0 + 6 * HOUR
    patience.heard(end - 1, waiting=False)
    assert not patience.is_over(end)
    assert patience.is_over(end + 0.1)


def test_who_waits_in_the_queue_does_not_use_up_time(patience: Patience) -> None:
    begins = 1000.0 + 20 * HOUR
    patience.heard(begins, waiting=True)
    assert not patience.is_over(begins + 6 * HOUR)
    assert patience.is_over(begins + 6 * HOUR + 0.1)

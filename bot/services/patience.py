"""How long a trainer is waited for: pure arithmetic over readings of a monotonic clock, in seconds."""

from __future__ import annotations

STALL_SECONDS = 900.0
"""Without a new step for this long, an attempt is given up: the trainer answers but the job hangs."""
AWAY_SECONDS = 900.0
"""So long an attempt waits for a trainer that cannot be reached to take it, or to hand out its model: an attempt is a
training, not a try to reach somebody, and a host that is restarted, or a cable, takes minutes."""


class Patience:
    """With one attempt. A job that waits behind others on the trainer neither hangs nor uses up its time."""

    def __init__(self, now: float, *, lease: float, deadline: float) -> None:
        """Args:
        lease: longest silence of the trainer.
        deadline: longest time that the job may run.
        """
        self._lease = lease
        self._deadline = deadline
        self._contact = self._moved = self._begun = now

    def heard(self, now: float, *, waiting: bool, moved: bool) -> None:
        """The trainer has answered: the job waits there, or it runs and has made a step or none."""
        self._contact = now
        if waiting:
            self._begun = now
        if waiting or moved:
            self._moved = now

    def is_lost(self, now: float) -> bool:
        """The trainer has been silent for too long."""
        return now - self._contact > self._lease

    def is_stalled(self, now: float) -> bool:
        """The job runs and has made no step for too long."""
        return now - self._moved > STALL_SECONDS

    def is_over(self, now: float) -> bool:
        """The job has run for too long."""
        return now - self._begun > self._deadline

"""How long a trainer is waited for: pure arithmetic over readings of a monotonic clock, in seconds.

Whether a run stands still is for the trainer to say: it knows of one for which a cluster has no host yet.
"""

from __future__ import annotations

AWAY_SECONDS = 900.0
"""So long an attempt waits for a trainer that cannot be reached to take it, or to hand out its model: an attempt is a
training, not a try to reach somebody, and a host that is restarted, or a cable, takes minutes."""


class Patience:
    """With one attempt. A job that waits behind others on the trainer does not use up its time."""

    def __init__(self, now: float, *, lease: float, deadline: float) -> None:
        """Args:
        lease: longest silence of the trainer.
        deadline: longest time that the job may run.
        """
        self._lease = lease
        self._deadline = deadline
        self._contact = self._begun = now

    def heard(self, now: float, *, waiting: bool) -> None:
        """The trainer has answered: the job waits there, or it runs."""
        self._contact = now
        if waiting:
            self._begun = now

    def is_lost(self, now: float) -> bool:
        """The trainer has been silent for too long."""
        return now - self._contact > self._lease

    def is_over(self, now: float) -> bool:
        """The job has run for too long."""
        return now - self._begun > self._deadline

"""The jobs that wait, and which of them is next: owners in turn (see `storage.turns`). Runs nothing."""

from __future__ import annotations

from storage.turns import in_turn
from trainer.attempt import Attempt


class Queue:
    """Lives on one event loop. What has ended while it waited (it was cancelled) is passed over."""

    def __init__(self) -> None:
        self._waiting: list[Attempt] = []
        self._last: dict[str, int] = {}
        """By owner: the number of the newest turn."""
        self._turns = 0

    def add(self, job: Attempt) -> None:
        self._waiting.append(job)

    def take(self) -> Attempt | None:
        """The next one, which has its turn now; None: nobody waits."""
        order = self._in_order()
        if not order:
            return None
        self._waiting.remove(order[0])
        self._turns += 1
        self._last[order[0].spec.owner] = self._turns
        return order[0]

    def tell(self, running: int) -> None:
        """Let everybody who waits know how many end before their turn; `running`: those that run now."""
        for place, job in enumerate(self._in_order()):
            job.stand(running + place)

    def _in_order(self) -> list[Attempt]:
        self._waiting = [job for job in self._waiting if not job.is_over]
        return [self._waiting[place] for place in in_turn([job.spec.owner for job in self._waiting], self._last)]

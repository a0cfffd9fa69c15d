"""The contract between the trainer's queue and whatever computes: a child process here, a cluster elsewhere.

An executor is a dumb, replaceable runner. It is told to work off one run folder (see `trainer.run_folder`) and says
when nothing of that work is alive any more. What came of it stands in the folder, not in the executor: progress in
events.jsonl, the outcome in result.json, written last. So an executor needs no opinion about success, and one that
loses its memory loses nothing that matters.

`tests/contract/test_executors.py` checks every implementation against this page.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

GRACE = 10.0
"""Seconds a run gets to end by itself once it was asked to stop."""


@dataclass(frozen=True, slots=True)
class Exit:
    """How a run ended, as far as the executor can see."""

    clean: bool
    """It ended by itself and reported no trouble. Says nothing about result.json."""
    how: str
    """Completes the sentence "The training process ...": "was killed by SIGKILL", "ended with exit code 3"."""
    out_of_memory: bool = False
    """Most likely: the kernel gives no reason, but nobody else is known to have killed it."""


class Run(ABC):
    """One piece of work that was started. All methods may be called at the same time from several tasks of one loop."""

    @property
    def waits(self) -> bool:
        """It was accepted but has not begun: a cluster has no host free for it. No sign of life is to be expected."""
        return False

    @abstractmethod
    async def wait(self) -> Exit:
        """Return when nothing of the run is alive: no process, no remote task, no grandchild, no open file.

        Any number of callers may wait; later callers get the same answer at once. Cancelling a caller only ends that
        caller's wait. Must also return when the run dies without a word (killed, node lost).
        """

    @abstractmethod
    async def stop(self, grace: float = GRACE) -> Exit:
        """Ask the run to end; after `grace` seconds end it by force; then answer as `wait` does.

        Idempotent: stopping twice, or a run that has ended, is no error. It need not prevent a result that was being
        written at that moment: the queue looks into the folder afterwards.
        """


class Executor(ABC):
    """Starts runs. Passes no secret on: neither in arguments nor in the environment of a run."""

    @property
    def slots(self) -> int:
        """How many runs may be started before one of them has ended."""
        return 1

    async def check(self) -> None:
        """Asked once before the first job, to tell an operator what is set up wrongly.

        Raises:
            ConfigurationError: it can never work like this.
            TrainerUnavailable: it cannot be reached now.
        """
        return

    @abstractmethod
    async def start(self, run_id: str, folder: Path) -> Run:
        """Have the work in `folder` done, once.

        Args:
            run_id: "<job>-<attempt>"; names the run in logs and, where there is one, in the cluster. Starting an id
                that is still alive answers the run that is there: two calls are one run.
            folder: a run folder that the work can read and write. Where workers have other disks, bringing it there
                and events and result back while it runs is up to the executor.

        Raises:
            TrainerUnavailable: it could not be started now; trying again later may work.
        """

    async def prepare(self) -> None:
        """A run is to be expected soon. May make its start quicker, may do nothing; changes nothing else about it.

        Raises:
            TrainerUnavailable: nothing could be prepared. `start` is as good as without.
        """
        return

    @abstractmethod
    async def close(self) -> None:
        """Stop every run and end what was prepared, with a short grace, and return when none is alive. Idempotent."""

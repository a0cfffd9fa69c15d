"""Base encoders as artifacts: exported once, in a run of their own beside the trainings, so that a bot without torch
can answer before anything was trained. Does not know how an export is made.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from storage.errors import InvalidInput, TrainerUnavailable, TrainingFailed
from trainer.executors.base import Executor
from trainer.protocol import RunState
from trainer.run_folder import BaseTask, RunFolder
from trainer.store import Store

_LONGEST_NAME = 1000
PRECISIONS = ("int8", "fp32")


class Exports:
    """Owns the runs it starts until they end; closing the executor ends them."""

    def __init__(self, store: Store, executor: Executor) -> None:
        self._store = store
        self._executor = executor
        self._tasks: dict[str, asyncio.Task[str]] = {}

    async def artifact(self, base: str, wait: float, precision: str = "int8") -> str | None:
        """Artifact id of the exported base encoder; None if it is not ready after `wait` seconds.

        Raises:
            InvalidInput: no base can have that name.
            TrainingFailed: it cannot be exported, in one sentence.
            TrainerUnavailable: the export was interrupted; asking again starts it anew.
        """
        if not base or len(base) > _LONGEST_NAME or not base.isprintable():
            raise InvalidInput("That is no name of a base encoder.")
        if precision not in PRECISIONS:
            raise InvalidInput(f"The precision {precision[:20]} is unknown; {' and '.join(PRECISIONS)} are possible.")
        if (known := await self._store.exported(base, precision)) is not None:
            return known.name
        folder = self._store.base_folder(base, precision)
        task = self._tasks.get(folder.path.name)
        if task is None:
            task = self._tasks[folder.path.name] = asyncio.create_task(self._export(base, folder, precision))
        done, _ = await asyncio.wait({task}, timeout=wait)
        if not done:
            return None
        # A failure is told once; after that the next question is a new attempt.
        self._tasks.pop(folder.path.name, None)
        return task.result()

    @property
    def folders(self) -> list[Path]:
        """Run folders of the exports under way."""
        return [self._store.root / "bases" / name for name in self._tasks]

    async def close(self) -> None:
        """Wait for the ends of the runs; the executor was closed before."""
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _export(self, base: str, folder: RunFolder, precision: str) -> str:
        folder.create(BaseTask(base, precision))
        run = await self._executor.start(f"base-{folder.path.name}", folder.path)
        ending = await run.wait()
        result = folder.result()
        if result is None:
            reason = f"The export of {base} {ending.how} before it was finished"
            if ending.out_of_memory:
                reason += ", most likely because memory ran out. Give the trainer more memory"
            raise TrainerUnavailable(f"{reason}. Try again.")
        if result.state is not RunState.SUCCEEDED or result.artifact is None:
            kind = TrainerUnavailable if result.retryable else TrainingFailed
            raise kind(result.error or f"The base encoder {base} could not be exported.")
        self._store.adopt(folder.outputs / result.artifact, result.artifact)
        folder.clear()
        self._tasks.pop(folder.path.name, None)  # from here on the store answers
        return result.artifact

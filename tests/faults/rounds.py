"""A scenario is one round in a world; it is played as often as it is asked for, each time with other moments.

    @rounds(row="2")
    async def test_bot_killed_between_promotion_and_swap_starts_with_the_new_champion(world: World) -> None: ...

FAULT_ROUNDS, FAULT_REAL_ROUNDS and FAULT_SEED decide how often and where the moments fall; `make faults` sets them. A
round that fails costs its world: the next one begins with another. With FAULT_RESULTS, a folder, what came of every
scenario is written there.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.world import World

Round = Callable[[World], Awaitable[None]]

ROUNDS = int(os.environ.get("FAULT_ROUNDS", "1"))
REAL_ROUNDS = int(os.environ.get("FAULT_REAL_ROUNDS", "0"))
SEED = os.environ.get("FAULT_SEED", "1")
THOROUGH = ROUNDS > 1
"""Then every scenario has a world of its own, so that what a world finds at its end is told of the right one."""


def rounds(*, row: str, slow: bool = False, real: bool = False) -> Callable[[Round], Callable[[Any], None]]:
    """Makes a test of a round, with the module's fixture `stage`.

    Args:
        row: of the table of faults in tests/README.md.
        slow: only `make faults` plays it.
        real: with real trainings.
    """

    def decorate(one: Round) -> Callable[[Any], None]:
        def test(stage: Stage) -> None:
            if slow and not THOROUGH:
                pytest.skip("a slow one, which `make faults` plays")
            stage.play(one, row, REAL_ROUNDS if real else ROUNDS)

        test.__doc__ = one.__doc__
        return test

    return decorate


class Stage:
    """Worlds of one kind, one after the other."""

    def __init__(self, folder: Path, make: Callable[[Path], World]) -> None:
        self._folder = folder
        self._make = make
        self._runner = asyncio.Runner()
        self._world: World | None = None
        self._worlds = 0

    def play(self, one: Round, row: str, times: int) -> None:
        name = one.__name__.removeprefix("test_").replace("_", " ")
        began, wrong = time.monotonic(), []
        for number in range(times):
            seed = f"{SEED}:{name}:{number}"
            try:
                self._runner.run(self._round(one, seed))
            except BaseException as error:
                told = self._lose_world()
                if not isinstance(error, Exception):
                    raise
                wrong.append(f"round {number}, seed {seed!r}: {type(error).__name__}: {error}\n{told}")
        if THOROUGH and not wrong:
            try:
                self.close()
            except Exception as error:
                wrong.append(f"after the last round: {error}")
        note(name, row, times, times - len(wrong), time.monotonic() - began)
        assert not wrong, f"{len(wrong)} of {times} rounds went wrong:\n" + "\n".join(wrong[:3])

    async def _round(self, one: Round, seed: str) -> None:
        if self._world is None:
            self._worlds += 1
            self._world = self._make(self._folder / str(self._worlds))
            self._world.chance = random.Random(seed)
            await self._world.__aenter__()
        self._world.chance = random.Random(seed)
        self._world.script()
        await one(self._world)

    def _lose_world(self) -> str:
        world, self._world = self._world, None
        if world is None:
            return ""
        told = world.told()
        error = RuntimeError("lost")
        self._runner.run(world.__aexit__(type(error), error, None))
        return told

    def close(self) -> None:
        """The world ends in peace and is checked."""
        world, self._world = self._world, None
        if world is not None:
            self._runner.run(world.__aexit__(None, None, None))

    def end(self) -> None:
        try:
            self.close()
        finally:
            self._runner.close()


def note(name: str, row: str, times: int, right: int, seconds: float) -> None:
    folder = os.environ.get("FAULT_RESULTS")
    if folder:
        told = {"scenario": name, "row": row, "rounds": times, "right": right, "seconds": round(seconds, 1)}
        (Path(folder) / f"{name.replace(' ', '-')[:150]}.json").write_text(json.dumps(told))

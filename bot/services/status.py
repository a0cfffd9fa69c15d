"""How the whole thing is doing, in numbers an operator can act on."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections import deque
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from bot.services.serving import Serving
from storage.artifacts import size_of_all
from storage.classifiers import Classifiers
from storage.errors import PupilError
from trainer.protocol import Health


class TrainerHealth(Protocol):
    async def health(self) -> Health: ...


class LoopLag:
    """Measures how late the event loop runs its timers: the largest delay of the last minute, in milliseconds."""

    INTERVAL = 0.25

    def __init__(self) -> None:
        self._delays: deque[float] = deque(maxlen=int(60 / self.INTERVAL))

    async def run(self) -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(self.INTERVAL)
            self._delays.append(max(0.0, time.perf_counter() - before - self.INTERVAL))

    @property
    def milliseconds(self) -> float:
        return round(1000 * max(self._delays, default=0.0), 1)


class StatusService:
    def __init__(
        self,
        classifiers: Classifiers,
        serving: Serving,
        trainer: TrainerHealth,
        lag: LoopLag,
        space: Path,
        models: Path,
    ) -> None:
        self._classifiers = classifiers
        self._serving = serving
        self._trainer = trainer
        self._lag = lag
        self._space = space
        self._models = models
        self._started = time.time()

    async def status(self) -> dict[str, Any]:
        latencies = self._serving.latencies
        return {
            "version": version("pupil"),
            "uptime_seconds": round(time.time() - self._started, 1),
            "classifiers": len(await self._classifiers.list()),
            "queries": latencies.answered,
            "waiting": self._serving.waiting,
            "latency_ms": {"p50": round(latencies.quantile(0.5), 2), "p99": round(latencies.quantile(0.99), 2)},
            "loop_lag_ms": self._lag.milliseconds,
            "trainer": await self._trainer_state(),
            "models_bytes": await asyncio.to_thread(size_of_all, self._models),
            "disk_free_bytes": shutil.disk_usage(self._space).free,
        }

    async def _trainer_state(self) -> dict[str, Any]:
        try:
            async with asyncio.timeout(2.0):
                health = await self._trainer.health()
        except (PupilError, TimeoutError) as error:
            return {"reachable": False, "why": str(error) or "It did not answer within 2 s."}
        told = {
            "reachable": True,
            "device": health.device,
            "gpus": health.gpus or None,
            "waiting": health.jobs_waiting,
            "running": health.jobs_running,
            "gpu_free_bytes": health.free_gpu_bytes,
            "memory_free_bytes": health.free_memory_bytes,
            "disk_free_bytes": health.free_disk_bytes,
            "uptime_seconds": health.seconds_up,
            "version": health.pupil,
            "torch": health.torch,
        }
        return {name: value for name, value in told.items() if value is not None}

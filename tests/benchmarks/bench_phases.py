"""Where the time of a training goes: from the request to the version that answers, phase by phase, cold and prepared.

The real services, a real trainer process of this host and MiniLM; 8 texts for each of 6 and 77 labels (BANKING77) and
of 150 (CLINC150). "Cold": nothing was prepared, and the request itself is the first that the trainer hears. "Spare":
the trainer was told by a schedule whose slot comes near, and its spare process has done its imports.

Phases, in wall seconds; they follow each other without a gap and add up to the total:

    queue      request → the trainer has accepted the job: labels frozen, snapshot written and sent
    start      → the training begins: a process, its imports, the base verified
    embed      texts to vectors, by the network and as served
    train      optimizer steps of shadows and candidate, the frozen layers' cache included
    export     networks read, copied, saved, written as they are served, loaded and compared
    evaluate   heads fitted, answers judged, report and model card
    transfer   artifact sealed, its end noticed, files fetched and verified
    swap       gate, loading, trial, the pointer and the engine. A candidate that the gate keeps out is promoted by hand

The overhead is the total without train and embed: what a training costs however few texts there are. It counts what is
done for shadows too, as they are exported like the candidate.
"""

from __future__ import annotations

import asyncio
import json
import logging
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from bot.app import System, open_system
from bot.services.people import Actor, Role
from bot.services.slots import next_slots
from bot.services.training import Requested
from storage.records import Classifier, JobState, Source, TrainingJob, VersionState
from storage.settings import Settings, load_settings
from tests.benchmarks.bench_loop import first_by_hash
from tests.benchmarks.data import intents
from tests.benchmarks.report import Figure

GUILD = "1"
LEAD = Actor(GUILD, "lead", "Lead", Role.LEAD)
SHOTS = 8
CASES = ((6, "banking77", 3), (77, "banking77", 1), (150, "clinc150", 1))
"""Labels, where their texts are from, and how often it is measured."""
COLD, SPARE = "cold", "spare"
TARGETS = {COLD: 6.0, SPARE: 2.0}
"""Seconds of overhead at most."""
PHASES = ("queue", "start", "embed", "train", "export", "evaluate", "transfer", "swap")
PARTS = {"embed": ("embed",), "train": ("train",), "export": ("load", "export"), "evaluate": ("head", "other")}
"""Phases by what the training's own stopwatch calls their parts."""
NIGHTLY = "30 2 * * *"
QUIET = 1.0
"""Seconds without any work after which a spare process has loaded what it loads."""
PATIENCE = 120.0
MEGABYTE = 1 << 20


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_measure(Path(folder)))


async def _measure(data: Path) -> list[Figure]:
    texts = {labels: _texts(name, labels) for labels, name, _ in CASES}
    settings = load_settings(data=data, log_level="WARNING")
    figures, memory = [], 0
    async with open_system(settings) as system:
        bench = Bench(system, settings)
        for labels, _, repeats in CASES:
            for how in (COLD, SPARE):
                trainings = []
                for number in range(repeats):
                    classifier = await bench.taught(f"{how}-{labels}-{number}", texts[labels])
                    if how == SPARE:
                        memory = max(memory, await bench.prepare(classifier))
                    trainings.append(await bench.train(classifier))
                    print(f"{labels} labels, {how}: {trainings[-1]}", flush=True)
                figures += _figures(labels, how, trainings)
    return [*figures, Figure("memory of an idle spare process (PSS)", memory / MEGABYTE, "MB", better="lower")]


@dataclass(frozen=True, slots=True)
class Timed:
    """One training."""

    seconds: dict[str, float]
    """By phase."""
    kind: str
    by_hand: bool
    """The gate kept it out, so that the swap was asked for."""

    @property
    def total(self) -> float:
        return sum(self.seconds.values())

    @property
    def overhead(self) -> float:
        return self.total - self.seconds["train"] - self.seconds["embed"]

    def __str__(self) -> str:
        phases = ", ".join(f"{phase} {self.seconds[phase]:.2f}" for phase in PHASES)
        promoted = "promoted by hand" if self.by_hand else "promoted"
        return f"{self.total:.2f} s, overhead {self.overhead:.2f} ({phases}); {self.kind}, {promoted}"


class Bench:
    def __init__(self, system: System, settings: Settings) -> None:
        self._system, self._services, self._settings = system, system.services, settings

    async def taught(self, name: str, rows: Sequence[tuple[str, str]]) -> Classifier:
        """A classifier that has learned the rows at once, and a bot that has nothing left to do."""
        await self._services.labeling.import_rows(LEAD, name, rows, Source.FILE)
        classifier = await self._system.stores.classifiers.get(GUILD, name)
        await self._system.serving.settle(classifier)
        return classifier

    async def prepare(self, classifier: Classifier) -> int:
        """Let a slot come near; bytes (PSS) of the spare process once it has nothing more to load."""
        training = self._services.training
        await training.schedule(LEAD, classifier, NIGHTLY, None)
        (night,) = next_slots(NIGHTLY, "UTC", datetime.now(UTC), count=1)
        await training.tick(night - timedelta(seconds=60))
        await training.schedule(LEAD, classifier, None, None)
        return await _idle_spare(time.monotonic() + PATIENCE)

    async def train(self, classifier: Classifier) -> Timed:
        """Ask, wait, and see to it that the result answers."""
        training, began = self._services.training, time.time()
        async with _heard("artifact.fetched") as fetched:
            asked = await training.request(LEAD, classifier)
            if not isinstance(asked, Requested):
                raise RuntimeError(asked.reason)
            update = await training.wait(GUILD, asked.job.id)
        if update.job.state is not JobState.SUCCEEDED or update.version is None or update.report is None:
            raise RuntimeError(f"The training ended as {update.job.state.value}: {update.job.error}")
        by_hand = update.version.state is VersionState.CANDIDATE
        if by_hand:
            await self._services.promotion.promote(LEAD, classifier, update.version.number)
        seconds = self._phases(update.job, began, fetched[-1], time.time())
        return Timed(seconds, update.report.kind.value, by_hand)

    def _phases(self, job: TrainingJob, began: float, fetched: float, swapped: float) -> dict[str, float]:
        """From what the run left in its folder: when files appeared, and its stopwatch in its log."""
        folder = self._settings.space / "trainer" / "jobs" / job.id / str(job.attempt)
        learned = next(line for line in _lines(folder / "output.log") if line["event"] == "candidate.learned")
        spent: dict[str, float] = learned["spent"]
        accepted, begun = (folder / "job.json").stat().st_mtime, learned["time"] - sum(spent.values())
        inside = {phase: sum(spent.get(part, 0.0) for part in parts) for phase, parts in PARTS.items()}
        return inside | {
            "queue": accepted - began,
            "start": begun - accepted,
            "transfer": fetched - learned["time"],
            "swap": swapped - fetched,
        }


def _figures(labels: int, how: str, trainings: Sequence[Timed]) -> list[Figure]:
    """Medians. The overhead first, as it has the target."""

    def figure(name: str, values: Sequence[float], target: float | None = None) -> Figure:
        return Figure(f"{labels} labels, {how}: {name}", median(values), "s", target=target, better="lower")

    return [
        figure("overhead", [each.overhead for each in trainings], TARGETS[how]),
        figure("total", [each.total for each in trainings]),
        *(figure(phase, [each.seconds[phase] for each in trainings]) for phase in PHASES),
    ]


def _texts(name: str, labels: int) -> list[tuple[str, str]]:
    rows = first_by_hash(intents(name, "train"), SHOTS)
    chosen = sorted({label for _, label in rows if label != "oos"})[:labels]
    return [(text, label) for text, label in rows if label in chosen]


@asynccontextmanager
async def _heard(event: str) -> AsyncIterator[list[float]]:
    """The moments at which this process logs `event`, as Unix time."""
    moments: list[float] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage() == event:
                moments.append(record.created)

    ear, log = Ear(logging.INFO), logging.getLogger("trainer.download")
    level = log.level
    log.setLevel(logging.INFO)
    log.addHandler(ear)
    try:
        yield moments
    finally:
        log.removeHandler(ear)
        log.setLevel(level)


async def _idle_spare(deadline: float) -> int:
    """Wait until the spare process works no more; its proportional share of memory in bytes (Linux)."""
    before, since = -1, time.monotonic()
    while time.monotonic() < deadline:
        pid = next(
            (pid for pid in _descendants("self") if b"\0spare\0" in Path(f"/proc/{pid}/cmdline").read_bytes()), None
        )
        worked = -1 if pid is None else _ticks(pid)
        if worked != before:
            before, since = worked, time.monotonic()
        elif pid is not None and time.monotonic() - since > QUIET:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
            return next(int(line.split()[1]) * 1024 for line in rollup if line.startswith("Pss:"))
        await asyncio.sleep(0.05)
    raise RuntimeError("The trainer keeps no spare process, or that never comes to rest.")


def _descendants(pid: str) -> list[str]:
    """Every process below `pid`."""
    children = [child for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()]
    return [*children, *(further for child in children for further in _descendants(child))]


def _ticks(pid: str) -> int:
    """Processor time so far, in the kernel's ticks."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("{")]

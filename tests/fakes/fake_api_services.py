"""The fake services, with what only the HTTP API and the command line ask for: imports, guilds, the lesson."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from bot.services.labeling import ImportReceipt
from bot.services.people import Actor, Role
from bot.services.system import Services
from bot.services.updates import JobUpdate
from storage.errors import Conflict, NotFound
from storage.records import Classifier, Source
from tests.fakes.fake_services import FakeClassifiers, FakeLabeling, FakeServices, FakeTraining, Memory, check

STEPS = ("names", "teach", "train", "ask")


class ApiClassifiers(FakeClassifiers):
    async def guilds(self) -> Sequence[str]:
        return sorted({classifier.guild for classifier in self._memory.classifiers})


class ApiLabeling(FakeLabeling):
    def __init__(self, memory: Memory, classifiers: FakeClassifiers) -> None:
        super().__init__(memory)
        self._classifiers = classifiers
        self.sources: list[Source] = []

    async def import_rows(
        self, actor: Actor, classifier_name: str, rows: Sequence[tuple[str, str]], source: Source
    ) -> ImportReceipt:
        actor.require(Role.LEAD, "import texts")
        checked = [(check(text), label) for text, label in rows]
        classifier = await self._find_or_create(actor, classifier_name)
        known = {label.name for label in self._memory.labels_of(classifier)}
        missing = [name for name in dict.fromkeys(label for _, label in checked) if name not in known]
        for name in missing:
            await self._classifiers.create_label(actor, classifier, name)
        for text, label in checked:
            await self.label(actor, classifier, text, label, source)
        self.sources.append(source)
        return ImportReceipt(classifier, "batch", len(checked), 0, 0, missing)

    async def _find_or_create(self, actor: Actor, name: str) -> Classifier:
        try:
            return await self._classifiers.resolve(actor.guild, name)
        except NotFound:
            return await self._classifiers.create(actor, name)


class ApiTraining(FakeTraining):
    async def job(self, guild: str, job_id: str) -> JobUpdate:
        if not any((job.guild, job.id) == (guild, job_id) for job in self._memory.jobs):
            raise NotFound("There is no such training here.")
        return await super().job(guild, job_id)


class FakeLesson:
    """Four steps in order; each is done at once, and the third keeps what was there."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.actors: list[Actor] = []

    async def begin(self, actor: Actor) -> None:
        self.actors.append(actor)

    async def step(self, actor: Actor, name: str) -> dict[str, Any]:
        self.actors.append(actor)
        if name not in STEPS:
            raise NotFound(f"The lesson has no step `{name}`.")
        if len(self.done) == len(STEPS) or name != STEPS[len(self.done)]:
            raise Conflict("This step's turn has not come.")
        self.done.append(name)
        return await self.state()

    async def state(self) -> dict[str, Any]:
        steps = [self._step(position, name) for position, name in enumerate(STEPS)]
        return {"classifier": "triage", "labels": ["bug"], "kept": 60, "running": None, "steps": steps, "samples": []}

    def _step(self, position: int, name: str) -> dict[str, Any]:
        done = name in self.done
        measured = done and name != "train"
        return {
            "id": name,
            "title": name.title(),
            "state": "done" if done else "ready" if position == len(self.done) else "locked",
            "accuracy": (0.7 + 0.05 * position) if measured else None,
            "correct": 42 if measured else None,
            "asked": 60 if measured else None,
            "version": "v0" if measured else None,
            "note": None,
            "progress": None,
            "verdict": {"promote": False, "reason": "Kept v0."} if done and name == "train" else None,
        }


class FakeApiServices(FakeServices):
    """`services` is what `add_api` and the command line are given."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.classifiers = ApiClassifiers(self.memory)
        self.labeling: ApiLabeling = ApiLabeling(self.memory, self.classifiers)
        self.training: ApiTraining = ApiTraining(self.memory)
        self.lesson = FakeLesson()

    @property
    def services(self) -> Services:
        return cast(Services, self)

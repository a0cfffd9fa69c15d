"""The first lesson: a sample classifier, asked the same kept questions after each step, so that one sees it learn.

Steps: ask with the label names only → load the lesson's labels → train → ask again. The ordinary gate and the default
seed decide; "kept, because ..." is a valid ending. The kept questions are never labelled by the lesson; one that
somebody labels in the chat is left out of the measuring from then on.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from dataclasses import asdict, dataclass, field, replace
from importlib import resources
from typing import Any

from bot.services.classifiers import ClassifierService
from bot.services.labeling import LabelingService
from bot.services.people import Actor
from bot.services.serving import Serving
from bot.services.training import Requested, TrainingService
from bot.services.updates import JobUpdate
from storage.errors import Conflict, NotFound
from storage.records import Classifier, JobState, Source, normalise, text_hash
from storage.stores import Stores

log = logging.getLogger(__name__)

NAME = "triage"
SAMPLES = 12
"""Kept questions whose answers are shown one by one."""

FOREIGN = (
    f"There is a classifier `{NAME}` already that the lesson has not made, and it would be taught the lesson's texts. "
    "Take the lesson in a data directory of its own: `pupil demo --data FOLDER`, with a new folder."
)

TITLES = {
    "names": "Ask with label names only",
    "teach": "Load the lesson",
    "train": "Train",
    "ask": "Ask again",
}


@dataclass(frozen=True, slots=True)
class Measurement:
    """How many of the kept questions were answered right, by which version."""

    correct: int
    asked: int
    version: str
    answers: dict[str, str]
    """text → the label answered, for the questions shown one by one. A right one under the lesson's name for it."""


@dataclass(slots=True)
class Course:
    """How far the lesson has come. Stored as JSON; the lesson goes on after a restart."""

    measured: dict[str, dict[str, Any]] = field(default_factory=dict)
    job: str | None = None
    refusal: str | None = None
    classifier: int | None = None
    """Id of the lesson's classifier; None: not made yet, or in a lesson begun before this was stored."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """The texts the project ships."""

    descriptions: dict[str, str]
    taught: list[tuple[str, str]]
    kept: list[tuple[str, str]]


def load_lesson() -> Lesson:
    folder = resources.files("bot") / "lesson"
    lines = (folder / f"{NAME}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines if line.strip()]
    return Lesson(
        descriptions=json.loads((folder / f"{NAME}.labels.json").read_text(encoding="utf-8")),
        taught=[(row["text"], row["label"]) for row in rows if not row["kept"]],
        kept=[(row["text"], row["label"]) for row in rows if row["kept"]],
    )


class LessonService:
    def __init__(
        self,
        stores: Stores,
        classifiers: ClassifierService,
        labeling: LabelingService,
        training: TrainingService,
        serving: Serving,
        *,
        guild: str,
        channels: tuple[str, str] | None,
    ) -> None:
        """`channels`: where people ask (the lesson becomes its default) and where the training is shown."""
        self._database = stores.database
        self._classifiers = classifiers
        self._examples = stores.examples
        self._labeling = labeling
        self._training = training
        self._serving = serving
        self._guild = guild
        self._channels = channels
        self._lesson: Lesson | None = None
        self._busy: str | None = None

    @property
    def lesson(self) -> Lesson:
        if self._lesson is None:
            self._lesson = load_lesson()
        return self._lesson

    async def begin(self, actor: Actor) -> Classifier:
        """The lesson's classifier, made from its label names when it is not there yet.

        Raises:
            NotAllowed. Conflict: somebody has one of that name, or the lesson's is archived.
        """
        course = await self._course()
        try:
            found = await self._classifiers.resolve(self._guild, NAME)
            if found.id != course.classifier and not (course.classifier is None and course.measured):
                raise Conflict(FOREIGN)
            return found
        except NotFound:
            classifier = await self._classifiers.create(actor, NAME)
            # Stored first: what is interrupted here is still the lesson's.
            await self._save(replace(course, classifier=classifier.id))
            for name, description in self.lesson.descriptions.items():
                await self._classifiers.create_label(actor, classifier, name, description)
            # The lesson trains when the newcomer says so, not in the middle of the night before it was taught.
            await self._training.schedule(actor, classifier, None, None)
            if self._channels is not None:
                await self._classifiers.use(actor, self._channels[0], NAME)
            return classifier

    async def step(self, actor: Actor, name: str) -> dict[str, Any]:
        """Takes one step and returns the state. "train" returns at once; the state tells how far it has come.

        Raises:
            NotFound (no such step), Conflict (its turn has not come, or one is being taken), NotAllowed.
        """
        if name not in TITLES:
            raise NotFound(f"The lesson has no step `{name[:40]}`. Its steps are {', '.join(TITLES)}.")
        if self._busy is not None:
            raise Conflict(f"The step «{TITLES[self._busy]}» is still being taken. Wait for it to end.")
        self._busy = name
        try:
            await self._take(actor, name)
        finally:
            self._busy = None
        return await self.state()

    async def _take(self, actor: Actor, name: str) -> None:
        course = await self._course()
        if name not in self._open_steps(course, await self._job(course)):
            raise Conflict(f"«{TITLES[name]}» comes later in the lesson. Take the step before it first.")
        classifier = await self.begin(actor)
        course.classifier = classifier.id
        if name == "train":
            await self._train(actor, classifier, course)
        else:
            if name == "teach":
                await self._labeling.import_rows(actor, NAME, self.lesson.taught, Source.LESSON)
            await self._serving.settle(classifier)
            course.measured[name] = asdict(await self._measure(classifier))
        await self._save(course)
        log.info("lesson.step", extra={"step": name})

    async def _train(self, actor: Actor, classifier: Classifier, course: Course) -> None:
        outcome = await self._training.request(
            actor, classifier, "the first lesson", self._channels and self._channels[1]
        )
        if isinstance(outcome, Requested):
            course.job, course.refusal = outcome.job.id, None
            return
        newest = await self._training.status(classifier)
        if newest is not None and newest.job.state is JobState.SUCCEEDED:  # somebody has trained it in the chat
            course.job, course.refusal = newest.job.id, None
        else:
            course.refusal = outcome.reason

    async def _measure(self, classifier: Classifier) -> Measurement:
        """Asks every kept question that nobody has labelled, the way a person would."""
        known = {text_hash(row.text) for row in await self._examples.current(classifier.guild, classifier.id)}
        questions = [(text, label) for text, label in self.lesson.kept if text_hash(text) not in known]
        answers = await asyncio.gather(*(self._serving.answer(classifier, text) for text, _ in questions))
        ids = await self._labeling.label_ids(classifier)  # also by the lesson's name for a label that was renamed
        wanted = dict(questions)
        given = {text: answer.scores[0].label for (text, _), answer in zip(questions, answers, strict=True)}
        right = {text for text, label in given.items() if ids.get(normalise(label)) == ids.get(normalise(wanted[text]))}
        return Measurement(
            correct=len(right),
            asked=len(questions),
            version=answers[0].version if answers else await self._serving.version_of(classifier),
            answers={text: wanted[text] if text in right else label for text, label in given.items()},
        )

    # The state, as the page and `pupil demo` show it

    async def state(self) -> dict[str, Any]:
        course = await self._course()
        job = await self._job(course)
        opened = self._open_steps(course, job)
        running = self._busy or ("train" if job and not job.job.state.is_final else None)
        return {
            "classifier": NAME,
            "labels": list(self.lesson.descriptions),
            "kept": len(self.lesson.kept),
            "running": running,
            "steps": [self._step(name, course, job, opened, running) for name in TITLES],
            "samples": self._samples(course),
        }

    def _step(
        self, name: str, course: Course, job: JobUpdate | None, opened: set[str], running: str | None
    ) -> dict[str, Any]:
        measured = course.measured.get(name, {})
        done = bool(measured) or (name == "train" and job is not None and job.job.state is JobState.SUCCEEDED)
        state = "running" if running == name else "done" if done else "ready" if name in opened else "locked"
        asked = measured.get("asked")
        return {
            "id": name,
            "title": TITLES[name],
            "state": state,
            "accuracy": measured["correct"] / asked if asked else None,
            "correct": measured.get("correct"),
            "asked": asked,
            "version": measured.get("version"),
            "note": self._note(name, course, job),
            "progress": _progress(job) if name == "train" else None,
            "verdict": _verdict(job) if name == "train" else None,
        }

    def _note(self, name: str, course: Course, job: JobUpdate | None) -> str:
        if name == "train":
            if course.refusal:
                return course.refusal
            if job is not None and job.job.error:
                return job.job.error
        return {
            "names": "The model has seen no example: it compares your text with the names of the labels.",
            "teach": f"{len(self.lesson.taught)} labelled texts; the head learns from them at once.",
            "train": "The encoder itself is fine-tuned, then measured against what answers now.",
            "ask": "The same questions once more, answered by the version that serves now.",
        }[name]

    def _samples(self, course: Course) -> list[dict[str, Any]]:
        """Questions spread evenly over the labels, each with what every step has answered."""
        stride = max(1, len(self.lesson.kept) // SAMPLES)
        return [
            {
                "text": text,
                "label": label,
                "answers": {
                    step: measured["answers"][text]
                    for step, measured in course.measured.items()
                    if text in measured["answers"]
                },
            }
            for text, label in self.lesson.kept[::stride][:SAMPLES]
        ]

    def _open_steps(self, course: Course, job: JobUpdate | None) -> set[str]:
        """Steps that may be taken now: the next one, and asking again whenever training has been."""
        if "names" not in course.measured:
            return {"names"}
        if "teach" not in course.measured:
            return {"teach"}
        if job is None or job.job.state in {JobState.FAILED, JobState.CANCELLED, JobState.ABANDONED}:
            return {"train"}
        return {"ask"} if job.job.state is JobState.SUCCEEDED else set()

    async def _course(self) -> Course:
        stored = await self._database.get_state("lesson")
        return Course(**json.loads(stored)) if stored else Course()

    async def _save(self, course: Course) -> None:
        await self._database.set_state("lesson", json.dumps(asdict(course)))

    async def _job(self, course: Course) -> JobUpdate | None:
        return None if course.job is None else await self._training.job(self._guild, course.job)


def _progress(job: JobUpdate | None) -> dict[str, Any] | None:
    if job is None or job.job.state.is_final:
        return None
    if job.progress is None:
        return {"phase": "queued", "fraction": 0.0, "eta_seconds": None, "waited": time.time() - job.job.created_at}
    return {
        "phase": job.progress.phase.value,
        "fraction": job.progress.fraction,
        "eta_seconds": job.progress.eta_seconds,
    }


def _verdict(job: JobUpdate | None) -> dict[str, Any] | None:
    if job is None or job.decision is None:
        return None
    return {"promote": job.decision.promote, "reason": job.decision.reason}

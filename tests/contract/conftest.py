"""A real database in a temporary directory, with the repositories on it and one classifier in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from storage.classifiers import Classifiers
from storage.database import Database
from storage.examples import Examples
from storage.jobs import Jobs
from storage.pins import Pins
from storage.predictions import Predictions
from storage.records import Classifier, JobState, Label, ModelVersion, TrainingJob
from storage.registry import Registry
from storage.schedules import Schedules
from storage.trials import Trials

GUILD = "g1"


@dataclass(frozen=True)
class Store:
    """Every repository on one database."""

    db: Database
    classifiers: Classifiers
    examples: Examples
    predictions: Predictions
    jobs: Jobs
    registry: Registry
    schedules: Schedules
    pins: Pins
    trials: Trials

    @classmethod
    def on(cls, db: Database) -> Store:
        return cls(
            db,
            Classifiers(db),
            Examples(db),
            Predictions(db),
            Jobs(db),
            Registry(db),
            Schedules(db),
            Pins(db),
            Trials(db),
        )


@dataclass(frozen=True)
class Triage:
    """A classifier of GUILD with two labels."""

    classifier: Classifier
    bug: Label
    question: Label

    @property
    def id(self) -> int:
        return self.classifier.id


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Database(tmp_path / "pupil.db") as db:
        yield Store.on(db)


@pytest.fixture
async def triage(store: Store) -> Triage:
    return await make_triage(store, GUILD)


async def make_triage(store: Store, guild: str, name: str = "triage") -> Triage:
    classifier = await store.classifiers.create(guild, name, "maria", "base", 1.0)
    bug = await store.classifiers.add_label(guild, classifier.id, "bug")
    question = await store.classifiers.add_label(guild, classifier.id, "question", "people who ask")
    return Triage(classifier, bug, question)


def make_job(classifier: Classifier, id: str, **fields: object) -> TrainingJob:
    values: dict[str, object] = {
        "key": f"key of {id}",
        "snapshot": "s" * 64,
        "champion": 0,
        "state": JobState.QUEUED,
        "attempt": 0,
        "requested_by": "maria",
        "reason": "asked for",
        "created_at": 10.0,
        "updated_at": 10.0,
    }
    return TrainingJob(id=id, guild=classifier.guild, classifier_id=classifier.id, **(values | fields))  # type: ignore[arg-type]


def make_version(classifier: Classifier, job_id: str | None = None) -> ModelVersion:
    return ModelVersion(
        guild=classifier.guild,
        classifier_id=classifier.id,
        number=99,
        artifact="a" * 64,
        job_id=job_id,
        snapshot="s" * 64,
        last_event_id=0,
        labels=("bug", "question"),
        decision="better by 5",
        report="{}",
        created_at=20.0,
    )

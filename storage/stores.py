"""All repositories over one database, so that whoever needs several is handed one thing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from storage.classifiers import Classifiers
from storage.database import Database
from storage.examples import Examples
from storage.jobs import Jobs
from storage.pins import Pins
from storage.predictions import Predictions
from storage.registry import Registry
from storage.schedules import Schedules
from storage.trials import Trials


@dataclass(frozen=True, slots=True)
class Stores:
    database: Database
    """For its small key/value table."""
    classifiers: Classifiers
    examples: Examples
    predictions: Predictions
    jobs: Jobs
    registry: Registry
    schedules: Schedules
    pins: Pins
    trials: Trials

    @classmethod
    def over(cls, database: Database) -> Self:
        return cls(
            database,
            Classifiers(database),
            Examples(database),
            Predictions(database),
            Jobs(database),
            Registry(database),
            Schedules(database),
            Pins(database),
            Trials(database),
        )

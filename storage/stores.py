"""All repositories over one database, so that whoever needs several is handed one thing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from storage.classifiers import Classifiers
from storage.database import Database
from storage.drafts import Drafts
from storage.examples import Examples
from storage.guilds import Guilds
from storage.imports import Imports
from storage.jobs import Jobs
from storage.keeping import Keeping
from storage.kept import KeptLabels
from storage.label_changes import LabelChanges
from storage.listing import Listing
from storage.opinions import Opinions
from storage.pins import Pins
from storage.predictions import Predictions
from storage.privacy import Privacy
from storage.proposals import Proposals
from storage.registry import Registry
from storage.reverts import Reverts
from storage.rounds import Rounds
from storage.rules import Rules
from storage.schedules import Schedules
from storage.trials import Trials
from storage.writes import Writes


@dataclass(frozen=True, slots=True)
class Stores:
    database: Database
    """For its small key/value table."""
    classifiers: Classifiers
    examples: Examples
    opinions: Opinions
    writes: Writes
    predictions: Predictions
    jobs: Jobs
    registry: Registry
    schedules: Schedules
    rounds: Rounds
    guilds: Guilds
    privacy: Privacy
    listing: Listing
    imports: Imports
    drafts: Drafts
    label_changes: LabelChanges
    reverts: Reverts
    rules: Rules
    proposals: Proposals
    kept: KeptLabels
    pins: Pins
    trials: Trials
    keeping: Keeping

    @classmethod
    def over(cls, database: Database, *, captured: bool = False) -> Self:
        """`captured`: whether chat messages that were made examples are learned from."""
        return cls(
            database,
            Classifiers(database, captured=captured),
            Examples(database, captured=captured),
            Opinions(database),
            Writes(database),
            Predictions(database),
            Jobs(database),
            Registry(database),
            Schedules(database),
            Rounds(database, captured=captured),
            Guilds(database),
            Privacy(database),
            Listing(database),
            Imports(database),
            Drafts(database),
            LabelChanges(database),
            Reverts(database),
            Rules(database),
            Proposals(database),
            KeptLabels(database),
            Pins(database),
            Trials(database),
            Keeping(database),
        )

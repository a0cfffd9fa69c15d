"""What becomes of a model that has come home: the gate decides, it is registered, and a better one goes live.

It knows neither trainers nor attempts. Taking the same artifact in twice gives one version: a bot that died in between
does it again.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from dataclasses import dataclass
from pathlib import Path

from bot.services.promotion import PromotionService, decide, kept_for_pins
from storage.errors import ArtifactError, Busy, Conflict, InvalidInput
from storage.records import (
    Classifier,
    EvaluationReport,
    ModelVersion,
    PromotionDecision,
    PromotionPolicy,
    TrainingJob,
    VersionState,
)
from storage.snapshots import read_snapshot
from storage.stores import Stores
from trainer.protocol import from_json, to_json

log = logging.getLogger(__name__)

POLICY = PromotionPolicy()


@dataclass(frozen=True, slots=True)
class TakenIn:
    number: int
    """Of the version."""
    promoted: bool
    """Whether the gate let it in; a pinned test that it breaks keeps it out all the same."""
    error: str | None
    """Why it could not go live all the same."""


class Candidates:
    def __init__(self, stores: Stores, promotion: PromotionService, *, snapshots: Path) -> None:
        self._classifiers = stores.classifiers
        self._registry = stores.registry
        self._promotion = promotion
        self._snapshots = snapshots

    async def take_in(self, job: TrainingJob, directory: Path) -> TakenIn:
        """Decides about the job's model, whose files are in `directory`, named after the artifact.

        Raises:
            ArtifactError: it has no report that can be read. Others as the stores.
        """
        report = _report(directory)
        classifier = await self._classifiers.by_id(job.guild, job.classifier_id)
        decision = _with_start(await self._decide(job, classifier, report), report)
        version = await self._registry.add(await self._version(job, directory.name, report, decision))
        error = None
        if decision.promote and version.state is VersionState.CANDIDATE:
            try:
                await self._go_live(classifier, version, job.champion, report)
            except (Conflict, ArtifactError, Busy) as refused:
                error = f"v{version.number} was better but could not go live: {refused}"
                # The card shows the decision, which is to say so.
                told = f"{version.decision} It could not go live: {refused}"
                await self._registry.note_decision(classifier.guild, classifier.id, version.number, told)
        return TakenIn(version.number, decision.promote, error)

    async def _go_live(
        self, classifier: Classifier, version: ModelVersion, expected: int, report: EvaluationReport
    ) -> None:
        """Unless it breaks a pinned test: then that is the decision. Raises Conflict, ArtifactError, Busy."""
        trial = await self._promotion.pass_gate(classifier, version.number, expected, version.decision)
        if trial.broken:
            kept = kept_for_pins(trial, report)
            await self._registry.note_decision(classifier.guild, classifier.id, version.number, kept)
            log.info("version.kept", extra={"version": version.number, "broken_pins": trial.broken})

    async def _decide(self, job: TrainingJob, classifier: Classifier, report: EvaluationReport) -> PromotionDecision:
        decision = decide(report, POLICY, report.champion)
        if not decision.promote:
            return decision
        wait = "A lead can make it live with /model promote."
        if classifier.archived:
            reason = f"{decision.reason} It waits, because `{classifier.name}` was archived during the training. {wait}"
        elif await self._promotion.rests(classifier):
            reason = f"{decision.reason} It waits all the same, because someone rolled back. {wait}"
        elif await self._registry.champion(job.guild, job.classifier_id) != job.champion:
            reason = f"{decision.reason} It waits, because another version went live during the training. {wait}"
        else:
            return decision
        return dataclasses.replace(decision, promote=False, reason=reason)

    async def _version(
        self, job: TrainingJob, artifact: str, report: EvaluationReport, decision: PromotionDecision
    ) -> ModelVersion:
        content = await asyncio.to_thread(read_snapshot, self._snapshots / f"{job.snapshot}.jsonl")
        return ModelVersion(
            guild=job.guild,
            classifier_id=job.classifier_id,
            number=0,
            artifact=artifact,
            job_id=job.id,
            snapshot=job.snapshot,
            last_event_id=content.last_event_id,
            labels=tuple(label.name for label in content.labels),
            decision=decision.reason,
            report=to_json(report),
            created_at=time.time(),
        )


def _report(directory: Path) -> EvaluationReport:
    """Raises ArtifactError where there is none that can be read: nothing could be decided."""
    try:
        return from_json(EvaluationReport, (directory / "report.json").read_bytes())
    except (OSError, InvalidInput) as error:
        raise ArtifactError(f"The model {directory.name[:12]} has no report that can be read: {error}") from None


def _with_start(decision: PromotionDecision, report: EvaluationReport) -> PromotionDecision:
    """The decision, with why training did not begin at the version of another classifier that it should have."""
    if not report.started_from.startswith("base, "):
        return decision
    return dataclasses.replace(decision, reason=f"{decision.reason} Training began at the {report.started_from}.")

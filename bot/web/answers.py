"""What the API says about the nouns of `storage.records`, as plain data. Pure functions; knows no requests.

Times are Unix seconds, confidences and accuracies are shares in [0, 1]. Fields are added, never renamed.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from bot.services.classifiers import Stats
from bot.services.labeling import ImportReceipt
from bot.services.updates import JobUpdate
from storage.errors import InvalidInput
from storage.records import (
    EvaluationReport,
    LabelCount,
    ModelVersion,
    Origin,
    Prediction,
    Promotion,
    Sureness,
    TrainingJob,
    VersionState,
    normalise,
    version_name,
)
from storage.report_figures import Figures, figures, knows_its_origin
from trainer.protocol import Progress, from_json

Json = dict[str, Any]


def prediction(answer: Prediction) -> Json:
    return {
        "label": answer.label,
        "confidence": answer.confidence,
        "labels": [{"label": score.label, "confidence": score.confidence} for score in answer.scores],
        "abstained": answer.abstained,
        "outside": answer.outside,
        "cut": answer.cut,
        "version": answer.version,
        "milliseconds": answer.milliseconds,
    }


def classifier(stats: Stats) -> Json:
    return {
        "name": stats.classifier.name,
        "guild": stats.classifier.guild,
        "base": stats.classifier.base,
        "based_on": None if stats.classifier.based_on is None else origin(stats.classifier.based_on),
        "precision": stats.classifier.settings.precision,
        "version": stats.version,
        "labels": len(stats.labels),
        "examples": sum(count.total for count in stats.labels),
        "new_since": stats.new_since,
        "created_at": stats.classifier.created_at,
    }


def sureness(name: str, found: Sureness) -> Json:
    """From which confidence on it answers: `promised` says whether the wanted precision is kept."""
    return {"classifier": name} | dataclasses.asdict(found)


def origin(source: Origin) -> Json:
    return {"classifier": source.classifier, "version": version_name(source.number), "artifact": source.artifact}


def labels(counts: Sequence[LabelCount], ids: Mapping[str, int]) -> list[Json]:
    """`ids`: see `LabelingService.label_ids`."""
    names: dict[int, list[str]] = {}
    for name, label_id in ids.items():
        names.setdefault(label_id, []).append(name)
    return [
        {
            "label": count.label.name,
            "formerly": sorted({*names.get(count.label.id, ())} - {normalise(count.label.name)}),
            "description": count.label.description,
            "train": count.train,
            "golden": count.golden,
            "total": count.total,
        }
        for count in counts
    ]


def imported(receipt: ImportReceipt) -> Json:
    return {
        "classifier": receipt.classifier.name,
        "batch": receipt.batch,
        "new": receipt.new,
        "votes": receipt.votes,
        "unchanged": receipt.unchanged,
        "new_labels": list(receipt.new_labels),
    }


def bare_job(job: TrainingJob) -> Json:
    """A job by itself, without what became of it."""
    return {
        "id": job.id,
        "state": job.state.value,
        "attempt": job.attempt,
        "reason": job.reason,
        "requested_by": job.requested_by,
        "created_at": job.created_at,
        "updated_at": job.updated_at,
        "version": None if job.version is None else version_name(job.version),
        "error": job.error,
    }


def job(update: JobUpdate) -> Json:
    """A job with its progress and, once it has succeeded, the gate's decision and its numbers."""
    decision = update.decision
    return bare_job(update.job) | {
        "classifier": update.classifier.name,
        "serving": update.serving,
        "ahead": update.ahead,
        "progress": None if update.progress is None else progress(update.progress),
        "decision": None if decision is None else dataclasses.asdict(decision),
        "report": None if update.report is None else report(update.report),
    }


def progress(event: Progress) -> Json:
    return {
        "phase": event.phase.value,
        "fraction": event.fraction,
        "epoch": event.epoch,
        "epochs": event.epochs,
        "step": event.step,
        "steps": event.steps,
        "loss": _finite(event.loss),
        "eta_seconds": _finite(event.eta_seconds),
    }


def report(measured: EvaluationReport) -> Json:
    """Everything that a report says but its single outcomes; an addition to `summary`.

    `confusion` holds counts [true][answered] in the order of `labels`, `flips` the ids of the examples that candidate
    and champion answer differently: only the candidate right, only the champion right, both wrong.
    """
    found = figures(measured)
    change = {one.label: one for one in found.changes}
    return summary(measured, found) | {
        "labels": [
            dataclasses.asdict(label)
            | {
                "fixed": change[label.label].fixed if label.label in change else 0,
                "broken": change[label.label].broken if label.label in change else 0,
            }
            for label in measured.labels
        ],
        "confusion": [list(row) for row in measured.confusion],
        "flips": dataclasses.asdict(found.flips),
    }


def summary(measured: EvaluationReport, found: Figures | None = None) -> Json:
    """A report in few numbers, for lists of versions. None stands for what was not measured when it was written.

    `accuracy_interval` holds 95 %; `chance_better` is the probability that the candidate is right more often than the
    champion, `surer` what golden texts' right labels gained in probability; `other_kind` the kind of candidate that was
    not chosen, with the accuracy of both on the same rows.
    """
    found = found or figures(measured)
    certainty, known = measured.certainty, knows_its_origin(measured)
    return {
        "rows": len(measured.outcomes),
        "accuracy": measured.candidate_accuracy,
        "accuracy_interval": list(found.accuracy),
        "champion_accuracy": measured.champion_accuracy,
        "champion_accuracy_interval": list(found.champion_accuracy),
        "macro_f1": measured.candidate_macro_f1,
        "champion_macro_f1": measured.champion_macro_f1,
        "better": len(found.flips.fixed),
        "worse": len(found.flips.broken),
        "chance_better": found.chance_better,
        "surer": found.surer,
        "calibration_error": _finite(measured.calibration_error),
        "certainty": None if certainty is None else dataclasses.asdict(certainty),
        "champion": measured.champion,
        "kind": measured.kind.value if known else None,
        "other_kind": None if found.other is None else dataclasses.asdict(found.other),
        "started_from": measured.started_from if known else None,
        "train_rows": measured.train_rows,
        "golden_rows": measured.golden_rows,
        "encoder_bytes": measured.encoder_bytes or None,
        "milliseconds": measured.milliseconds or None,
        "seconds": measured.seconds,
    }


def version(model: ModelVersion) -> Json:
    """`report` is None where there is none, or none that can be read."""
    return {
        "number": model.number,
        "version": version_name(model.number),
        "state": model.state.value,
        "live": model.state is VersionState.CHAMPION,
        "labels": list(model.labels),
        "decision": model.decision,
        "report": _summary_of(model.report),
        "artifact": model.artifact,
        "snapshot": model.snapshot,
        "job": model.job_id,
        "created_at": model.created_at,
        "files_deleted_at": model.files_deleted_at,
    }


def _summary_of(report: str) -> Json | None:
    try:
        return summary(from_json(EvaluationReport, report))
    except InvalidInput:
        return None


def promotion(swap: Promotion) -> Json:
    return {
        "version": version_name(swap.number),
        "previous": version_name(swap.previous),
        "by": swap.by,
        "reason": swap.reason,
        "created_at": swap.created_at,
    }


def _finite(number: float | None) -> float | None:
    """JSON has no NaN: a loss that is none is told as none."""
    return number if number is not None and math.isfinite(number) else None

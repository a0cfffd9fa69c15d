"""What people get today: the champion's answers to rows it has not seen, through the one predict path.

Version 0 is the base encoder with the instant head; a later version is its encoder with its head, corrected by newer
labels just as the bot corrects it. Rows a version was trained on are answered by its stored out-of-fold labels, or left
out, as are those that it learned under another label than they have now. It knows nothing of the candidate.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.artifacts import read_manifest
from storage.errors import ArtifactError
from trainer.dataset import Dataset, Rows
from trainer.measured import Measured, named
from trainer.model.encoder import Encoder
from trainer.model.head import Fit, Head, called_now, fit_head

Floats = NDArray[np.float32]
EVIDENCE_FILE = "evidence.json"


@dataclass(frozen=True)
class Encoded:
    """A dataset through one served encoder: float32 unit vectors [K, d], [train, d], [golden, d]."""

    names: Floats
    train: Floats
    golden: Floats


@dataclass(frozen=True)
class Champion:
    """The champion's answers by example id, and which train rows it has learned from."""

    answers: dict[int, str]
    """For golden rows, and for the train rows that can be evidence."""
    trained_on: frozenset[int]
    sure: dict[int, float]
    """Its probability of the right label, for golden rows."""


def encode_dataset(
    encoder: Encoder, data: Dataset, threads: int, on_batch: Callable[[], None] = lambda: None
) -> Encoded:
    """Every text of the dataset as served; `on_batch` is called again and again meanwhile."""
    return Encoded(
        encoder.encode_many(data.label_texts, threads, on_batch),
        encoder.encode_many(data.train.texts, threads, on_batch),
        encoder.encode_many(data.golden.texts, threads, on_batch),
    )


def base_champion(head: Head, twins: Measured, encoded: Encoded, data: Dataset) -> Champion:
    """Version 0: the instant head over the base encoder; its twins answer the rows that it has learned."""
    return _with_golden(twins.answers(data.labels), frozenset(), head, encoded, data)


def trained_champion(
    directory: Path, data: Dataset, threads: int, seed: int, on_batch: Callable[[], None] = lambda: None
) -> Champion:
    """A version in its artifact directory, with what the labels since then have changed about it.

    Raises:
        ArtifactError: its encoder, head or evidence cannot be read.
    """
    evidence = read_evidence(directory)
    encoded = encode_dataset(Encoder.load(directory), data, threads, on_batch)
    known = _known_labels(directory)
    head, called = _as_called_now(Head.load(directory), known, data)
    newer = np.array([number not in evidence.trained_on for number in data.train.ids], bool)
    relabelled = _relabelled(evidence, called, data)
    told = {number: called.get(label) for number, label in evidence.out_of_fold.items() if number not in relabelled}
    answers = {number: label for number, label in told.items() if label and number in evidence.trained_on}
    if newer.any() or relabelled or head.labels != data.labels or (known and {*known} != {*data.label_ids}):
        prior = head if head.labels else None
        fit: Fit = fit_head(data.labels, encoded.names, encoded.train, data.train.targets, prior=prior, seed=seed)
        head = fit.head
        ids = [number for number, new in zip(data.train.ids, newer, strict=True) if new]
        answers |= named(ids, fit.out_of_fold[newer], data.labels)
    return _with_golden(answers, evidence.trained_on, head, encoded, data)


@dataclass(frozen=True)
class Evidence:
    """What a version keeps for the next comparison: no texts, only example ids and label names."""

    trained_on: frozenset[int]
    out_of_fold: dict[int, str]
    """The answer of a twin that had not seen the row, for the rows that were held out from one."""
    learned: Mapping[int, str] = field(default_factory=dict)
    """The label under which each row was learned; {} in versions that were made before this was kept."""

    def save(self, directory: Path) -> None:
        value = {
            "trained_on": sorted(self.trained_on),
            "out_of_fold": {str(number): label for number, label in sorted(self.out_of_fold.items())},
            "learned": _by_label(self.learned),
        }
        (directory / EVIDENCE_FILE).write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def read_evidence(directory: Path) -> Evidence:
    """evidence.json of an artifact.

    Raises:
        ArtifactError: missing, or of another shape.
    """
    try:
        value: dict[str, Any] = json.loads((directory / EVIDENCE_FILE).read_text(encoding="utf-8"))
        return Evidence(
            frozenset(int(number) for number in value["trained_on"]),
            {int(number): str(label) for number, label in value["out_of_fold"].items()},
            {int(number): label for label, numbers in value.get("learned", {}).items() for number in numbers},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"The evidence of the model in {directory} cannot be read: {error!r}.") from None


def _by_label(learned: Mapping[int, str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for number, label in sorted(learned.items()):
        found.setdefault(label, []).append(number)
    return found


def _relabelled(evidence: Evidence, called: Mapping[str, str | None], data: Dataset) -> frozenset[int]:
    """The train rows that were learned under another label; one that was renamed or merged is the same label."""
    now = zip(data.train.ids, data.train.targets, strict=True)
    learned = evidence.learned
    return frozenset(n for n, target in now if n in learned and called.get(learned[n]) != data.labels[target])


def _known_labels(directory: Path) -> dict[int, str]:
    """What the champion calls its labels, by id, in the order of its head; {} where its artifact does not say."""
    try:
        return {label["id"]: label["name"] for label in read_manifest(directory).labels}
    except (ArtifactError, KeyError):
        return {}


def _as_called_now(head: Head, known: Mapping[int, str], data: Dataset) -> tuple[Head, dict[str, str | None]]:
    """Labels may have been renamed or merged since: (the head with today's names, today's name of each old one).

    None: a label that is in use no more. An answer with it is no answer today, so it is no evidence either.
    """
    if tuple(known.values()) != head.labels:
        return head, {label: label for label in head.labels}
    names = data.names
    called = {old: names.get(data.merged.get(label, label)) for label, old in known.items()}
    return called_now(head, tuple(known), names, data.merged), called


def can_be_evidence(champion: Champion, rows: Rows) -> NDArray[np.int64]:
    """Positions of the train rows to which the champion has an answer that it did not learn."""
    return np.array([index for index, number in enumerate(rows.ids) if number in champion.answers], np.int64)


def _with_golden(
    answers: dict[int, str], trained_on: frozenset[int], head: Head, encoded: Encoded, data: Dataset
) -> Champion:
    logits, ids = head.logits(encoded.golden), data.golden.ids
    sure = head.probability_of(data.golden.targets, logits)
    return Champion(answers | named(ids, logits, head.labels), trained_on, dict(zip(ids, sure.tolist(), strict=True)))

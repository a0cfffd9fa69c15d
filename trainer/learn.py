"""The whole job: a snapshot becomes a candidate, its evidence and a report, as files in a staging directory.

    dataset -> champion's answers -> shadow on 80 % -> candidate on everything -> export -> head -> report

The shadow is the candidate's twin that has not seen a fifth of the rows: it answers them for the candidate, and its
logits calibrate the candidate's head. Everything is measured on exported, quantized encoders, through the functions
that serve. It does not know jobs, HTTP or the database; the caller seals the directory.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from storage.errors import ConfigurationError
from storage.records import PairedOutcome, Split
from storage.snapshots import SnapshotContent
from trainer.bases import read_settings
from trainer.card import write_card
from trainer.champion import (
    Champion,
    Evidence,
    base_champion,
    can_be_evidence,
    encode_dataset,
    trained_champion,
)
from trainer.dataset import Dataset, Rows, hold_out, read_dataset
from trainer.evaluate import Judged, evaluate, pair
from trainer.export import export_encoder
from trainer.finetune import CosineHead, Recipe, count_steps, finetune, first_rows
from trainer.meter import Meter
from trainer.model.encoder import Encoder
from trainer.model.head import Head, calibrate
from trainer.network import Network
from trainer.protocol import JobSpec, Phase, Progress, to_json

log = logging.getLogger(__name__)

Floats = NDArray[np.float32]
Numbers = NDArray[np.int64]
REPORT_FILE = "report.json"


def learn(
    snapshot: SnapshotContent,
    base: Path,
    champion: Path | None,
    spec: JobSpec,
    staging: Path,
    progress: Callable[[Progress], None],
    device: str,
) -> None:
    """Train, measure and export; `staging` then holds every file of an artifact but its manifest.

    `base` is a resolved base encoder, `champion` the directory of the serving version's artifact (None: version 0),
    `device` "auto", "cpu" or "cuda". `progress` is called from this thread, a few times a second at most, with `seq`
    from 1 and a fraction that never falls. Deterministic on one CPU for a snapshot, champion and seed.

    Raises:
        TrainingFailed: nothing can be learned from the snapshot, or the training diverged.
        ArtifactError: the champion or an export does not verify.
        ConfigurationError: the base or the device cannot be used.
    """
    recipe = Recipe.of(spec.recipe)
    data = read_dataset(snapshot)
    staging.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="learn-", suffix=".part", dir=staging.parent) as scratch:
        run = _Run(data, base, champion, spec, recipe, Path(scratch), _device(device), Meter(progress))
        run.go(staging, snapshot.classifier)
    log.info("candidate.learned", extra={"job": spec.job_id, "rows": len(data.train), "seconds": run.meter.seconds})


@dataclass(frozen=True)
class _Start:
    """Where shadow and candidate begin. Both begin alike, so that one can speak for the other."""

    directory: Path
    continuing: bool


@dataclass(frozen=True)
class _Measured:
    """Logits of rows that the model behind them was not trained on, as served."""

    rows: Rows
    split: Split
    logits: Floats


@dataclass
class _Run:
    """One job's inputs; each method is one stage."""

    data: Dataset
    base: Path
    champion: Path | None
    spec: JobSpec
    recipe: Recipe
    scratch: Path
    device: torch.device
    meter: Meter

    def go(self, staging: Path, classifier: str) -> None:
        data, meter = self.data, self.meter
        meter.plan(_plan(data, self.recipe, continuing=False))
        meter.enter(Phase.PREPARING)
        champion = self._serving()
        start = self._start(champion)
        kept, held = self._split(champion, start)
        meter.plan(_plan(data, self.recipe, start.continuing))
        meter.enter(Phase.MEASURING)
        rows = self._tune(start, data.train.only(kept), self.scratch / "shadow")
        held_out = self._measure(export_encoder(self.scratch / "shadow", self.scratch / "shadow"), rows, held)
        meter.enter(Phase.TRAINING)
        rows = self._tune(start, data.train, staging)
        meter.enter(Phase.EXPORTING)
        encoder = export_encoder(staging, staging)
        head = self._head(rows, held_out)
        head.save(staging)
        meter.enter(Phase.EVALUATING)
        golden = _Measured(data.golden, Split.GOLDEN, head.logits(encoder.encode_many(data.golden.texts, _threads())))
        _evidence(data, held_out).save(staging)
        judged = [*_judge(held_out, champion, head), *_judge(golden, champion, head)]
        meter.finish()
        report = evaluate(
            judged,
            data.labels,
            champion=self.spec.champion_version,
            train_rows=len(data.train),
            golden_rows=len(data.golden),
            seconds=meter.seconds,
            encoder_bytes=encoder.bytes,
        )
        (staging / REPORT_FILE).write_text(to_json(report), encoding="utf-8")
        write_card(staging, classifier=classifier, spec=self.spec, report=report)

    def _serving(self) -> Champion:
        """What people get today. Version 0 is measured on the base as it is served: exported and quantized."""
        if self.champion is not None:
            return trained_champion(self.champion, self.data, _threads(), self.spec.seed)
        encoder = export_encoder(self.base, self.scratch / "base")
        return base_champion(encode_dataset(encoder, self.data, _threads()), self.data, self.spec.seed)

    def _start(self, champion: Champion) -> _Start:
        """The base, as long as that is quick: evidence is then widest and nothing drifts from version to version.

        For many rows training goes on from the champion. Its shadow has then seen the champion's rows, so only newer
        rows can be evidence; with too few of those it is the base again.
        """
        newer = sum(number not in champion.trained_on for number in self.data.train.ids)
        many = len(self.data.train) >= self.recipe.continue_from and newer >= self.recipe.least_newer
        if self.champion is None or not many or not _alike(self.champion, self.base):
            return _Start(self.base, continuing=False)
        return _Start(self.champion, continuing=True)

    def _split(self, champion: Champion, start: _Start) -> tuple[Numbers, Numbers]:
        among = can_be_evidence(champion, self.data.train)
        if start.continuing:
            newer = [self.data.train.ids[index] not in champion.trained_on for index in among]
            among = among[np.array(newer, bool)]
        # Half of the possible evidence at most, so that a few newer rows are not all withheld from the shadow.
        share = min(self.recipe.held_out, 0.5 * len(among) / len(self.data.train))
        return hold_out(self.data.train, share, self.spec.seed, among)

    def _tune(self, start: _Start, rows: Rows, out: Path) -> Floats:
        """Train on `rows` and the labels' names, write the network to `out`; the folded rows of the head [K, d]."""
        network = Network(start.directory).to(self.device)
        names = network.embed(self.data.label_texts)
        first = first_rows(network.embed(rows.texts), rows.targets, names, self.recipe.name_weight)
        head = CosineHead(first, self.recipe.scale).to(self.device)
        texts = [*rows.texts, *self.data.label_texts]
        targets = np.concatenate([rows.targets, np.arange(len(self.data.labels))])
        steps = finetune(network, head, texts, targets, self.recipe, seed=self.spec.seed, continuing=start.continuing)
        for step in steps:
            self.meter.step(step)
        network.save(out)
        return head.weight()

    def _measure(self, shadow: Encoder, rows: Floats, held: Numbers) -> _Measured:
        texts = self.data.train.only(held)
        return _Measured(texts, Split.TRAIN, shadow.encode_many(texts.texts, _threads()) @ rows.T)

    def _head(self, rows: Floats, held_out: _Measured) -> Head:
        temperature, abstain_below = calibrate(held_out.logits, held_out.rows.targets)
        return Head(self.data.labels, rows, np.zeros(len(rows), np.float32), temperature, abstain_below)


def _evidence(data: Dataset, held_out: _Measured) -> Evidence:
    answers = [data.labels[best] for best in held_out.logits.argmax(1)]
    return Evidence(frozenset(data.train.ids), dict(zip(held_out.rows.ids, answers, strict=True)))


def _judge(measured: _Measured, champion: Champion, head: Head) -> list[Judged]:
    confidence = head.calibrated(measured.logits).max(axis=1)
    answers = [head.labels[best] for best in measured.logits.argmax(1)]
    truth = [head.labels[target] for target in measured.rows.targets]
    before = [champion.answers[number] for number in measured.rows.ids]
    outcomes: list[PairedOutcome] = pair(measured.rows.ids, truth, measured.split, before, answers)
    return [Judged(outcome, float(sure)) for outcome, sure in zip(outcomes, confidence, strict=True)]


def _alike(champion: Path, base: Path) -> bool:
    """Whether the champion can be trained on as one of `base`: a base configured since then begins anew."""
    return all(
        (champion / name).read_bytes() == (base / name).read_bytes() for name in ("config.json", "tokenizer.json")
    ) and read_settings(champion) == read_settings(base)


def _plan(data: Dataset, recipe: Recipe, continuing: bool) -> dict[Phase, float]:
    """Expected share of each phase, in optimizer steps of batch 32 (about 0.15 s on two cores)."""
    rows = len(data.train)
    epochs = recipe.continue_epochs if continuing else recipe.epochs
    return {
        Phase.PREPARING: 30.0 + rows / 50,
        Phase.MEASURING: 25.0 + rows / 100 + count_steps(round(rows * (1 - recipe.held_out)), recipe, epochs),
        Phase.TRAINING: 10.0 + rows / 100 + count_steps(rows, recipe, epochs),
        Phase.EXPORTING: 15.0,
        Phase.EVALUATING: 1.0,
    }


def _device(wanted: str) -> torch.device:
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError("The device is cuda, but this machine has no GPU that torch can use. Set device=auto.")
    if wanted not in ("cpu", "cuda"):
        raise ConfigurationError(f'The device "{wanted}" is unknown; auto, cpu and cuda are possible.')
    return torch.device(wanted)


def _threads() -> int:
    return min(4, os.cpu_count() or 1)

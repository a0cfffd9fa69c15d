"""The whole job: a snapshot becomes a candidate, its evidence and a report, as files in a staging directory.

    dataset -> instant head -> champion -> shadows answer for both -> candidate on everything -> export -> report

Two kinds of candidate are tried on the same rows: the instant head over the base encoder, and the fine-tuned network.
A shadow is a candidate's twin that has not seen some of the rows: it answers them for the candidate, and its logits
calibrate the candidate's head. Everything is measured on exported, quantized encoders, through the functions that
serve. It does not know jobs, HTTP or the database; the caller seals the directory.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from itertools import count
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from storage.errors import ConfigurationError, TrainingFailed
from storage.records import CandidateKind, Split
from storage.snapshots import SnapshotContent
from trainer.bases import NEEDED, read_settings, weights_digest
from trainer.card import write_card
from trainer.champion import (
    Champion,
    Encoded,
    Evidence,
    base_champion,
    can_be_evidence,
    encode_dataset,
    trained_champion,
)
from trainer.checkpoint import Checkpoints, Tensors
from trainer.dataset import Dataset, Fold, read_dataset
from trainer.evaluate import Judged, evaluate, pair
from trainer.export import export_encoder, is_export
from trainer.finetune import CosineHead, Recipe, count_steps, finetune, first_rows, is_short_of_memory
from trainer.graph import Known
from trainer.measured import Measured, Said, cross_fit, plan_folds, plan_newer
from trainer.meter import Meter
from trainer.model.calibration import Reliability, calibrate
from trainer.model.encoder import ENCODER_FILES, Encoder
from trainer.model.head import Fit, Head, fit_head
from trainer.model.scope import prototypes_of
from trainer.network import TOKENIZER_FILES, Network
from trainer.protocol import JobSpec, Phase, Progress, to_json
from trainer.ranks import call_in, team
from trainer.start import Start, alike, began_at, choose_start
from trainer.stopwatch import Stopwatch
from trainer.strangers import STRANGERS

log = logging.getLogger(__name__)

Floats = NDArray[np.float32]
REPORT_FILE = "report.json"


def learn(
    snapshot: SnapshotContent,
    base: Path,
    champion: Path | None,
    spec: JobSpec,
    staging: Path,
    progress: Callable[[Progress], None],
    device: str,
    *,
    start: Path | None = None,
    checkpoint: Path | None = None,
    exported: Path | None = None,
) -> str | None:
    """Train, measure and export; `staging` then holds every file of an artifact but its manifest.

    `base` is a resolved base encoder, `champion` the directory of the serving version's artifact (None: version 0),
    `device` "auto", "cpu" or "cuda". `progress` is called from this thread, a few times a second at most, with `seq`
    from 1 and a fraction that never falls. Deterministic on one CPU for a snapshot, champion, start and seed.
    `start` is the directory of another classifier's version that stands in for the base (see `trainer.start`).
    `checkpoint` is a directory, made on the first need, in which an earlier attempt may have left how far it came.
    `exported` is the directory of an artifact of `base`, exported from the same weights.

    Returns:
        The artifact id of the version from whose weights the candidate's were trained: the start, or the champion,
        the name of its directory. None: the base's.

    Raises:
        TrainingFailed: nothing can be learned from the snapshot, the training diverged, or memory is too short.
        ArtifactError: the champion or an export does not verify.
        ConfigurationError: the base or the device cannot be used.
    """
    recipe, watch = Recipe.of(spec.recipe), Stopwatch("other")
    origin, data = choose_start(start, spec.start_name, base, read_dataset(snapshot))
    staging.mkdir(parents=True, exist_ok=True)
    # Memory outside: where it is short, clearing up may fail for the same reason.
    with _memory(), tempfile.TemporaryDirectory(prefix="learn-", suffix=".part", dir=staging.parent) as scratch:
        kept = Path(scratch) / "checkpoint" if checkpoint is None else checkpoint
        chosen = _device(device)
        run = _Run(
            data, base, exported, origin, champion, spec, recipe, Path(scratch), kept, chosen, Meter(progress), watch
        )
        with team(Path(scratch), recipe.workers, chosen):
            began_at = run.go(staging, snapshot.classifier)
    facts = {"job": spec.job_id, "rows": len(data.train), "seconds": run.meter.seconds, "spent": watch.seconds()}
    log.info("candidate.learned", extra=facts)
    return began_at


@dataclass(frozen=True)
class _Instant:
    """The base encoder as served and the instant head over it: version 0, and the candidate that costs nothing."""

    directory: Path
    """Of the encoder's files."""
    encoder: Encoder
    encoded: Encoded
    fit: Fit


@dataclass(frozen=True)
class _Tuned:
    """A network after its training, on the CPU, and the folded rows of its head [K, d]."""

    network: Network
    head: Floats


@dataclass
class _Run:
    """One job's inputs; each method is one stage."""

    data: Dataset
    base: Path
    exported: Path | None
    origin: Start
    champion: Path | None
    spec: JobSpec
    recipe: Recipe
    scratch: Path
    kept: Path
    device: torch.device
    meter: Meter
    watch: Stopwatch
    """What the seconds went to, over all phases: train, embed, export, load, head, other."""
    loaded: dict[Path, tuple[Network, Tensors]] = field(default_factory=dict)
    """Networks, and their weights as they were read."""
    begun: tuple[Floats, Floats] | None = None
    """Vectors of the names and of the train rows before any training."""
    known: Known = field(default_factory=Known)
    newest: Encoder | None = None
    """The encoder that was exported last: all have one tokenizer."""

    @cached_property
    def checkpoints(self) -> Checkpoints:
        """For whoever trains the same with the same libraries on the same kind of device."""
        parts = [replace(self.spec, job_id="", attempt=0), self.recipe]
        base = [weights_digest(self.base), str(read_settings(self.base))]
        began = self.origin.artifact or ""  # the start that is asked for may be missing in one of two attempts
        texts = [*map(to_json, parts), *base, began, torch.__version__, self.device.type]
        digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()
        return Checkpoints(self.kept, digest, self.recipe.checkpoint_seconds)

    def go(self, staging: Path, classifier: str) -> str | None:
        """Artifact id of the version that the candidate's weights were trained from; None: the base."""
        data, meter = self.data, self.meter
        meter.plan(_plan(data, self.recipe, [], continuing=False))
        meter.enter(Phase.PREPARING)
        instant = self._instant()
        serving = self._serving()
        start, folds = self._start(serving)
        meter.plan(_plan(data, self.recipe, folds, start.continuing))
        meter.enter(Phase.MEASURING)
        with self.watch.on("head"):
            quick = cross_fit(data, folds, lambda fold: _twin(instant.encoded, data, fold, self.spec.seed))
        champion = serving or base_champion(instant.fit.head, quick, instant.encoded, data)
        deep = self._shadows(start, folds)
        kind = choose(deep, quick, serves_instant=serving is None)
        measured, other = (deep, quick) if kind is CandidateKind.DEEP else (quick, deep)
        meter.enter(Phase.TRAINING)
        tuned = self._tune(start, np.arange(len(data.train)), "candidate") if kind is CandidateKind.DEEP else None
        if tuned is not None:
            with self.watch.on("load"):
                tuned.network.save(staging)
        meter.enter(Phase.EXPORTING)
        if tuned is None:
            encoder, encoded, head = self._keep(instant, staging), instant.encoded, instant.fit.head
        else:
            encoder, encoded = self._export(staging, tuned.network, staging)
            head = _head(data, tuned.head, measured, encoded)
        head.save(staging)
        meter.enter(Phase.EVALUATING)
        golden = _golden(data, encoded, head)
        with self.watch.on("embed"):
            strangers, milliseconds = _strangers(encoder)
        learned = dict(zip(data.train.ids, (data.labels[target] for target in data.train.targets), strict=True))
        trained_on = frozenset(data.train.ids)
        if tuned is not None and start.continuing and serving is not None:
            trained_on |= serving.trained_on  # the weights know it, also where it is no longer among the rows
        Evidence(trained_on, measured.answers(data.labels), learned).save(staging)
        judged = [*_judge(measured, champion, head), *_judge(golden, champion, head)]
        meter.finish()
        report = evaluate(
            judged,
            data.labels,
            champion=self.spec.champion_version,
            train_rows=len(data.train),
            golden_rows=len(data.golden),
            seconds=meter.seconds,
            encoder_bytes=encoder.bytes,
            strangers_caught=float(head.outside(strangers).mean()),
        )
        report = replace(
            report,
            kind=kind,
            other_accuracy=_share(other),
            started_from=self.spec.champion_version.partition("+")[0] if start.continuing else start.told,
            milliseconds=milliseconds,
        )
        (staging / REPORT_FILE).write_text(to_json(report), encoding="utf-8")
        write_card(staging, classifier=classifier, spec=self.spec, report=report)
        return start.artifact if kind is CandidateKind.DEEP else None

    def _instant(self) -> _Instant:
        directory = self.exported
        if directory is not None and is_export(directory, self.base, self.recipe.precision):
            with self.watch.on("export"):
                encoder = self.newest = Encoder.load(directory)
            encoded = self._encode(encoder)
        else:
            directory = self.scratch / "base"
            encoder, encoded = self._export(self.base, self._network(self.base), directory)
        targets = self.data.train.targets
        with self.watch.on("head"):
            fit = fit_head(self.data.labels, encoded.names, encoded.train, targets, seed=self.spec.seed)
        return _Instant(directory, encoder, encoded, fit)

    def _serving(self) -> Champion | None:
        """What people get today; None: version 0, whose answers are those of the instant head's twins."""
        if self.champion is None:
            return None
        return trained_champion(self.champion, self.data, _threads(), self.spec.seed, self.meter.beat)

    def _start(self, serving: Champion | None) -> tuple[Start, list[Fold]]:
        """Where shadows and candidate begin, all alike, as one speaks for the other; and which rows are evidence.

        From the origin, the base as a rule, as long as that is quick: evidence is then widest and nothing drifts from
        version to version. For many rows training goes on from the champion, if that began at the same origin and is
        more than a head over the base, and if nothing that it has learned was forgotten since (`JobSpec.anew`). Its
        shadow has then seen the champion's rows, so only newer rows can be evidence; with too few of those it is the
        origin again.
        """
        rows, recipe, seed = self.data.train, self.recipe, self.spec.seed
        start, unseen = self.origin, self.origin.unseen
        if serving is None or self.champion is None:
            return start, plan_folds(rows, unseen, recipe.evidence, seed)
        newer = np.array([i for i in unseen if rows.ids[i] not in serving.trained_on], np.int64)
        many = len(rows) >= recipe.continue_from and len(newer) >= recipe.least_newer
        same = alike(self.champion, self.base) and began_at(self.champion) == start.artifact
        if many and same and not self.spec.anew and weights_digest(self.champion) != weights_digest(self.base):
            start = replace(start, directory=self.champion, artifact=self.champion.name, continuing=True)
            return start, plan_newer(rows, newer, recipe.evidence, seed)
        among = np.intersect1d(can_be_evidence(serving, rows), unseen)
        return start, plan_folds(rows, among, recipe.evidence, seed)

    def _shadows(self, start: Start, folds: Sequence[Fold]) -> Measured:
        """What fine-tuned twins say about the rows they have not seen, as served."""

        share, numbers = 1 / len(folds) if folds else 0.0, count(1)

        def answer(fold: Fold) -> Said:
            name = f"shadow-{next(numbers)}"
            told = self.checkpoints.stage(f"{name}-told")
            if (before := told.read()) is not None:  # an earlier attempt was through with this one
                self.meter.skip(share)
                return Said(**{name: tensor.numpy() for name, tensor in before.tensors.items()})
            out = self.scratch / "shadow"
            tuned = self._tune(start, fold.kept, name, share)
            _, encoded = self._export(start.directory, tuned.network, out)
            said = _said(encoded, encoded.train[fold.held] @ tuned.head.T, self.data, fold)
            told.keep(1, {field.name: torch.tensor(getattr(said, field.name)) for field in fields(said)})
            self.checkpoints.stage(name).drop()
            return said

        return cross_fit(self.data, folds, answer)

    def _tune(self, start: Start, kept: NDArray[np.int64], name: str, share: float = 1.0) -> _Tuned:
        """Train on the train rows at `kept` and the labels' names. It is `share` of its phase's work, and `name` in the
        checkpoints.
        """
        network, rows = self._network(start.directory).to(self.device), self.data.train.only(kept)
        names, vectors = self._beginning(network)
        first = first_rows(vectors[kept], rows.targets, names, self.recipe.name_weight)
        head = CosineHead(first, self.recipe.scale).to(self.device)
        texts = [*rows.texts, *self.data.label_texts]
        targets = np.concatenate([rows.targets, np.arange(len(self.data.labels))])
        recipe, seed, continuing = self.recipe, self.spec.seed, start.continuing
        call_in(network, first, texts, targets, recipe, seed=seed, continuing=continuing)
        stage = self.checkpoints.stage(name)
        self.meter.begin(share)
        beat = self.meter.beat
        steps = finetune(
            network, head, texts, targets, recipe, seed=seed, continuing=continuing, stage=stage, on_batch=beat
        )
        with self.watch.on("train"):
            for step in steps:
                self.meter.step(step)
        return _Tuned(network.as_loaded(), head.weight())

    def _beginning(self, network: Network) -> tuple[Floats, Floats]:
        """Vectors of the labels' names and of all train rows, [K, d] and [n, d], where every training begins."""
        if self.begun is None:
            texts, beat = self.data.train.texts, self.meter.beat
            with self.watch.on("embed"):
                self.begun = network.embed(self.data.label_texts), network.embed(texts, beat)
        return self.begun

    def _network(self, directory: Path) -> Network:
        """The network in `directory` as it was read, until the next call: every shadow begins at the same one."""
        with self.watch.on("load"):
            if directory in self.loaded:
                network, weights = self.loaded[directory]
                network.body.load_state_dict(weights)
                return network
            torch.manual_seed(self.spec.seed)  # a pooler, which nobody uses, is drawn where the file has none
            network = Network(directory)
            weights = {name: tensor.clone() for name, tensor in network.body.state_dict().items()}
            self.loaded[directory] = network, weights
            return network

    def _export(self, source: Path, network: Network, out: Path) -> tuple[Encoder, Encoded]:
        """The network as it would be served, and the dataset through it. `source`: whose configuration it has."""
        with self.watch.on("export"):
            encoder = self.newest = export_encoder(
                source, out, precision=self.recipe.precision, network=network, known=self.known, alike=self.newest
            )
        return encoder, self._encode(encoder)

    def _encode(self, encoder: Encoder) -> Encoded:
        with self.watch.on("embed"):
            return encode_dataset(encoder, self.data, _threads(), self.meter.beat)

    def _keep(self, instant: _Instant, staging: Path) -> Encoder:
        """The base's own files as those of a version."""
        for name in (*NEEDED, *TOKENIZER_FILES):
            if (self.base / name).is_file():
                shutil.copyfile(self.base / name, staging / name)
        for name in (*ENCODER_FILES, "canary.json"):
            shutil.copyfile(instant.directory / name, staging / name)
        return instant.encoder


def choose(deep: Measured, instant: Measured, *, serves_instant: bool) -> CandidateKind:
    """Which kind of candidate stands for election: the one that is right more often on the same unseen rows.

    Where the champion is the instant head itself there is nothing to choose; on a tie it is the fine-tuned one, which
    gains more from the rows that its shadows have not seen.
    """
    if serves_instant or instant.right() <= deep.right():
        return CandidateKind.DEEP
    return CandidateKind.INSTANT


def _twin(encoded: Encoded, data: Dataset, fold: Fold, seed: int) -> Said:
    """The instant head of the rows that are kept, asked about those that are held out."""
    kept = encoded.train[fold.kept]
    head = fit_head(data.labels, encoded.names, kept, data.train.targets[fold.kept], seed=seed).head
    return _said(encoded, head.logits(encoded.train[fold.held]), data, fold)


def _said(encoded: Encoded, logits: Floats, data: Dataset, fold: Fold) -> Said:
    held, kept = encoded.train[fold.held], encoded.train[fold.kept]
    return Said.about(held, logits, kept, data.train.targets[fold.kept], encoded.names)


def _head(data: Dataset, rows: Floats, measured: Measured, encoded: Encoded) -> Head:
    """The fine-tuned head with what its shadows tell about its certainty."""
    temperature, abstain_below = calibrate(measured.said.logits, measured.rows.targets)
    scope = measured.scope(prototypes_of(encoded.train, data.train.targets, encoded.names))
    reliability = Reliability.of(measured.said.logits, measured.rows.targets, temperature)
    return Head(data.labels, rows, np.zeros(len(rows), np.float32), temperature, abstain_below, scope, reliability)


def _golden(data: Dataset, encoded: Encoded, head: Head) -> Measured:
    logits = head.logits(encoded.golden)
    said = Said.about(encoded.golden, logits, encoded.train, data.train.targets, encoded.names)
    return Measured(data.golden, Split.GOLDEN, said)


def _judge(measured: Measured, champion: Champion, head: Head) -> list[Judged]:
    logits = measured.said.logits
    confidence = head.calibrated(logits).max(axis=1)
    uncalibrated = replace(head, temperature=1.0).calibrated(logits).max(axis=1)
    outside = measured.outside(head.scope)
    answers = [head.labels[best] for best in logits.argmax(1)]
    truth = [head.labels[target] for target in measured.rows.targets]
    ids = measured.rows.ids
    before = [champion.answers[number] for number in ids]
    now_sure = zip(ids, head.probability_of(measured.rows.targets, logits).tolist(), strict=True)
    was_sure = champion.sure
    surer = [round(sure - was_sure[number], 5) if number in was_sure else None for number, sure in now_sure]
    outcomes = pair(ids, truth, measured.split, before, answers, surer)
    columns = zip(outcomes, confidence, uncalibrated, outside, strict=True)
    return [Judged(outcome, float(sure), float(raw), bool(out)) for outcome, sure, raw, out in columns]


def _strangers(encoder: Encoder) -> tuple[Floats, float]:
    """Vectors of texts about other things, and the median milliseconds that one took alone."""
    vectors, taken = [], []
    for text in STRANGERS:
        began = time.perf_counter()
        vectors.append(encoder.encode(text))
        taken.append(1000 * (time.perf_counter() - began))
    return np.stack(vectors), round(float(np.median(taken)), 2)


def _share(measured: Measured) -> float | None:
    return measured.right() / len(measured.rows) if len(measured.rows) else None


@contextmanager
def _memory() -> Iterator[None]:
    """A training that does not fit is one sentence; torch reports it as a RuntimeError of its own wording."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_short_of_memory(error):
            raise
        raise TrainingFailed(
            "The training needs more memory than this machine has free. Lower batch or cache_bytes in the recipe, "
            "or give the trainer more memory."
        ) from error


def _plan(data: Dataset, recipe: Recipe, folds: Sequence[Fold], continuing: bool) -> dict[Phase, float]:
    """Expected share of each phase, in optimizer steps of batch 32 (about 0.08 s on two cores)."""
    rows = len(data.train)
    epochs = recipe.continue_epochs if continuing else recipe.epochs
    shadows = [len(fold.kept) for fold in folds] or [round(rows * 2 / 3)] * 3
    return {
        Phase.PREPARING: 60.0 + rows / 25,
        Phase.MEASURING: sum(50.0 + rows / 50 + count_steps(kept, recipe, epochs) for kept in shadows),
        Phase.TRAINING: 20.0 + rows / 50 + count_steps(rows, recipe, epochs),
        Phase.EXPORTING: 30.0,
        Phase.EVALUATING: 2.0,
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

"""Real models for simulated classifiers, and the pairs among them, measured as the trainer measures.

Evidence is the product's: cross-fit answers on the same folds, the champion's stored ones for rows it was trained on,
its answers of today for newer and golden rows. Instant models are `fit_head` over cached vectors, fine-tuned ones are
whole runs of `learn`. It knows nothing of the gate's rule; of a pair it tells counts.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.records import PairedOutcome, Split
from storage.snapshots import SnapshotContent
from tests.benchmarks.data import intents
from tests.benchmarks.learning.pairs import Draw, Numbers, mislabelled, snapshot, tally
from tests.benchmarks.learning.samples import Pair
from tests.benchmarks.report import FOLDER
from trainer.bases import PACKAGED, resolve
from trainer.champion import Encoded, read_evidence
from trainer.dataset import Dataset, Fold, Rows, read_dataset
from trainer.evaluate import pair as paired
from trainer.export import export_encoder
from trainer.finetune import Recipe
from trainer.learn import learn
from trainer.measured import Said, cross_fit, named, plan_folds
from trainer.model.encoder import Encoder
from trainer.model.head import Head, fit_head, label_text
from trainer.protocol import JobSpec

Floats = NDArray[np.float32]
Chances = dict[str, float]
"""Probability of each label."""

FILES = {"banking77": ("train",), "clinc150": ("train", "valid")}
"""Never the test files: the gate's numbers are chosen on these pairs."""
ZEROED, NOISE = (0.2, 0.9), (0.5, 2.0)
"""Damaged features: share of the dimensions that are zero, or length of the noise added to a unit vector."""

LEAST = 0.01
"""Probabilities below it count as this one: a single row should not decide."""


@cache
def pool(name: str) -> list[Pair]:
    """Every text of a data set that pairs may use. Raises Skipped."""
    return [row for split in FILES[name] for row in intents(name, split)]


@dataclass(frozen=True)
class View:
    """A draw through one encoder: float32 unit vectors of the texts [n, d] and of the labels' names [K, d]."""

    texts: Floats
    names: Floats

    def of(self, data: Dataset, draw: Draw) -> Encoded:
        names = self.names[[draw.labels.index(label) for label in data.labels]]
        return Encoded(names, self.texts[list(data.train.ids)], self.texts[list(data.golden.ids)])


@dataclass(frozen=True)
class Version:
    """What the trainer leaves behind: encoder, head, and what its shadows said about its train rows."""

    kind: str
    view: View
    head: Head
    trained_on: frozenset[int]
    out_of_fold: Mapping[int, str]
    chances: Mapping[int, Chances] | None = None
    """The same as calibrated probabilities; None where only the answers were kept."""


@dataclass(frozen=True)
class Today:
    """Somebody who answers: by example id where that is evidence, and the head that people get."""

    kind: str
    view: View
    head: Head
    answers: Mapping[int, str]
    chances: Mapping[int, Chances] | None = None


Fault = Callable[[Dataset, Numbers], tuple[Numbers, Numbers]]
"""(what is known, positions of the rows to learn) to (positions, classes) that a faulty training learns instead."""


def sound(data: Dataset, rows: Numbers) -> tuple[Numbers, Numbers]:
    return rows, data.train.targets[rows]


def bootstrap(seed: int) -> Fault:
    """As many rows, drawn with replacement: another model of the same worth."""

    def fault(data: Dataset, rows: Numbers) -> tuple[Numbers, Numbers]:
        chosen = np.sort(np.random.default_rng([seed, 2]).choice(rows, len(rows)))
        return chosen, data.train.targets[chosen]

    return fault


def lost(label: int, taken_for: int | None) -> Fault:
    """One label's rows dropped, or learned as another label's."""

    def fault(data: Dataset, rows: Numbers) -> tuple[Numbers, Numbers]:
        targets = data.train.targets[rows]
        mine = targets == label
        return (rows[~mine], targets[~mine]) if taken_for is None else (rows, np.where(mine, taken_for, targets))

    return fault


def instant(draw: Draw, view: View, content: SnapshotContent, seed: int, fault: Fault = sound) -> Version:
    """An instant head as the trainer's candidate, with its twins' answers."""
    data = read_dataset(content)
    encoded = view.of(data, draw)

    def fit(rows: Numbers) -> Head:
        learned, targets = fault(data, rows)
        return fit_head(data.labels, encoded.names, encoded.train[learned], targets, seed=seed).head

    def answer(fold: Fold) -> Said:
        logits = fit(fold.kept).logits(encoded.train[fold.held])
        kept = encoded.train[fold.kept]
        return Said.about(encoded.train[fold.held], logits, kept, data.train.targets[fold.kept], encoded.names)

    twins = cross_fit(data, _folds(data, seed), answer)
    head = fit(np.arange(len(data.train)))
    chances = _chances(twins.rows.ids, twins.said.logits, head)
    return Version("instant", view, head, frozenset(data.train.ids), twins.answers(data.labels), chances)


def deep(draw: Draw, content: SnapshotContent, seed: int, label_texts: Sequence[str]) -> Version:
    """A fine-tuned candidate: one run of the trainer's whole job against version 0."""
    with tempfile.TemporaryDirectory() as folder:
        staging = Path(folder) / "version"
        spec = JobSpec("b" * 8, 1, "a" * 64, PACKAGED, seed=seed)
        learn(content, resolve(PACKAGED), None, spec, staging, lambda _: None, "cpu")
        encoder, evidence = Encoder.load(staging), read_evidence(staging)
        view = View(encoder.encode_many(draw.texts), encoder.encode_many(label_texts))
        return Version("deep", view, Head.load(staging), evidence.trained_on, evidence.out_of_fold)


def version_zero(draw: Draw, view: View, content: SnapshotContent, seed: int) -> Today:
    """The instant head of all rows of a snapshot, which its twins speak for."""
    data = read_dataset(content)
    now = instant(draw, view, content, seed)
    golden = named(data.golden.ids, now.head.logits(view.texts[list(data.golden.ids)]), now.head.labels)
    return Today("v0", view, now.head, dict(now.out_of_fold) | golden)


def today(version: Version, draw: Draw, content: SnapshotContent, seed: int) -> Today:
    """A version with what the labels since then have changed about it: `trainer.champion.trained_champion`."""
    data = read_dataset(content)
    encoded = version.view.of(data, draw)
    newer = np.array([number not in version.trained_on for number in data.train.ids], bool)
    answers = {number: label for number, label in version.out_of_fold.items() if number in version.trained_on}
    chances = None if version.chances is None else dict(version.chances)
    head = version.head
    if newer.any() or head.labels != data.labels:
        fit = fit_head(data.labels, encoded.names, encoded.train, data.train.targets, prior=head, seed=seed)
        head = fit.head
        ids = [number for number, new in zip(data.train.ids, newer, strict=True) if new]
        answers |= named(ids, fit.out_of_fold[newer], data.labels)
        if chances is not None:
            chances |= _chances(ids, fit.out_of_fold[newer], head)
    answers |= named(data.golden.ids, head.logits(encoded.golden), head.labels)
    return Today(version.kind, version.view, head, answers, chances)


def outcomes(champion: Today, candidate: Version, draw: Draw, content: SnapshotContent) -> list[PairedOutcome]:
    """What the report says: every row to which both have an answer that they did not learn."""
    data = read_dataset(content)
    heard = dict(candidate.out_of_fold)
    strange = [row for row in (*data.train.ids, *data.golden.ids) if row not in candidate.trained_on]
    heard |= named(strange, candidate.head.logits(candidate.view.texts[strange]), candidate.head.labels)
    found: list[PairedOutcome] = []
    for rows, split in ((data.train, Split.TRAIN), (data.golden, Split.GOLDEN)):
        known = [(i, n) for i, n in enumerate(rows.ids) if n in champion.answers and n in heard]
        ids = [n for _, n in known]
        truth = [data.labels[rows.targets[i]] for i, _ in known]
        found += paired(ids, truth, split, [champion.answers[n] for n in ids], [heard[n] for n in ids])
    return found


def compare(
    mode: str, champion: Today, candidate: Version, draw: Draw, content: SnapshotContent, *, stands: bool = True
) -> dict[str, Any]:
    """One pair for the records: what the gate sees, by label, and the truth [texts, b, c]."""
    before, after = (
        _right_answers(champion.head, champion.view, draw),
        _right_answers(candidate.head, candidate.view, draw),
    )
    return {
        "mode": mode,
        "champion": champion.kind,
        "candidate": candidate.kind,
        "stands": stands,
        "truth": [len(draw.truth), int((after & ~before).sum()), int((before & ~after).sum())],
        "counts": tally(outcomes(champion, candidate, draw, content)),
        "sureness": _sureness(champion, candidate, draw, content),
    }


def damaged(view: View, seed: int) -> View:
    """Features that went wrong: dimensions that are always zero, or noise of each text's own."""
    rng = np.random.default_rng([seed, 3])
    if rng.random() < 0.5:
        kept = np.asarray(rng.random(view.names.shape[1]) >= rng.uniform(*ZEROED), np.float32)
        return View(_unit(view.texts * kept), _unit(view.names * kept))
    length = rng.uniform(*NOISE) / np.sqrt(view.names.shape[1])
    return View(_unit(_noisy(view.texts, length, rng)), _unit(_noisy(view.names, length, rng)))


def head_pairs(draw: Draw, view: View, seed: int) -> Iterator[dict[str, Any]]:
    """Ten pairs of instant models."""
    rng = np.random.default_rng([seed, 4])
    before, now = snapshot(draw, draw.old), snapshot(draw, draw.train)
    confused = _confused(view) if rng.random() < 0.5 else None
    label, other = rng.choice(len(draw.labels), 2, replace=False).tolist()
    worse = damaged(view, seed)

    old, new = instant(draw, view, before, seed), instant(draw, view, now, seed)
    serving = today(old, draw, now, seed)
    yield compare("more labels", serving, new, draw, now)
    yield compare("bootstrap", serving, instant(draw, view, now, seed, bootstrap(seed)), draw, now)
    again = instant(draw, view, before, seed, bootstrap(seed))
    yield compare("bootstrap", today(old, draw, before, seed), again, draw, before)
    for mode, rows in (
        ("wrong labels, newer", draw.young),
        ("wrong labels, all", np.concatenate([draw.train, draw.golden])),
    ):
        wrong = snapshot(draw, draw.train, mislabelled(draw, rows, confused, seed))
        spoiling = instant(draw, view, wrong, seed)
        yield compare(mode, today(old, draw, wrong, seed), spoiling, draw, wrong)
        if mode == "wrong labels, all":
            yield compare("right labels made wrong", today(new, draw, wrong, seed), spoiling, draw, wrong)
    spoilt = instant(draw, view, snapshot(draw, draw.old, mislabelled(draw, draw.old, confused, seed)), seed)
    yield compare("wrong labels, repaired", today(spoilt, draw, now, seed), new, draw, now)
    fault = lost(label, other if rng.random() < 0.5 else None)
    yield compare("lost label", serving, instant(draw, view, now, seed, fault), draw, now)
    yield compare("damaged features", serving, instant(draw, worse, now, seed), draw, now)
    yield compare("damage undone", today(instant(draw, worse, before, seed), draw, now, seed), new, draw, now)


def new_label_pairs(draw: Draw, view: View, seed: int) -> Iterator[dict[str, Any]]:
    """One pair of instant models, of which the champion has never learned one of the labels."""
    label = int(np.random.default_rng([seed, 6]).choice(len(draw.labels)))
    others = [number for number in range(len(draw.labels)) if number != label]
    now = snapshot(draw, draw.train)
    without = instant(draw, view, snapshot(draw, draw.old, labels=others), seed)
    yield compare("new label", today(without, draw, now, seed), instant(draw, view, now, seed), draw, now)


def deep_pairs(draw: Draw, view: View, seed: int) -> Iterator[dict[str, Any]]:
    """Six or seven pairs of two trainings: old rows and all rows; every second time something is wrong with the latter,
    or right labels, learned by the former, were made wrong."""
    rng = np.random.default_rng([seed, 5])
    texts = [label_text(label) for label in draw.labels]
    before, now = snapshot(draw, draw.old), snapshot(draw, draw.train)
    taught, mode, sound_run = now, "more labels", seed // 2 % 2 == 0
    if not sound_run:
        mode = ("wrong labels, newer", "right labels made wrong", "lost label")[int(rng.integers(3))]
        rows = draw.young if mode == "wrong labels, newer" else np.concatenate([draw.train, draw.golden])
        given = mislabelled(draw, rows, _confused(view) if rng.random() < 0.5 else None, seed)
        if mode == "lost label":
            label, other = rng.choice(len(draw.labels), 2, replace=False).tolist()
            given = np.where(draw.targets == label, other, draw.targets)
        taught = snapshot(draw, draw.train, given)
        if mode == "right labels made wrong":
            before = now
    # Who lost a label did so in training: what is known, and what the gate measures with, is right.
    known = now if mode == "lost label" else taught
    old, new = deep(draw, before, seed, texts), deep(draw, taught, seed, texts)
    quick_old, quick = instant(draw, view, before, seed), instant(draw, view, known, seed)
    data = read_dataset(known)
    deeper = _right(new, data) >= _right(quick, data)
    yield compare("instant to deep", version_zero(draw, view, before, seed), old, draw, before)
    yield compare(f"{mode}, instant to deep", version_zero(draw, view, known, seed), new, draw, known)
    serving = today(old, draw, known, seed)
    yield compare(f"{mode}, deep to deep", serving, new, draw, known, stands=deeper)
    yield compare(f"{mode}, deep to instant", serving, quick, draw, known, stands=not deeper)
    yield compare(f"{mode}, instant to deep", today(quick_old, draw, known, seed), new, draw, known, stands=deeper)
    yield compare("deep to instant", today(new, draw, known, seed), quick, draw, known, stands=not deeper)
    if not sound_run:
        right = instant(draw, view, now, seed)
        yield compare(f"{mode}, repaired", today(new, draw, now, seed), right, draw, now, stands=False)


class Base:
    """The packaged base encoder's vectors of whole data sets, computed once and kept in build/bench/."""

    def __init__(self, folder: Path = FOLDER / "vectors") -> None:
        self._folder = folder
        self._encoder: Encoder | None = None
        self._known: dict[str, Floats] = {}

    def view(self, name: str, draw: Draw) -> View:
        if name not in self._known:
            self._known[name] = self._encode(name, [text for text, _ in pool(name)])
        labels = sorted({label for _, label in pool(name)})
        names = self._encode(f"{name}-labels", [label_text(label) for label in labels])
        return View(self._known[name][draw.source], names[[labels.index(label) for label in draw.labels]])

    def _encode(self, name: str, texts: Sequence[str]) -> Floats:
        if self._encoder is None:
            with tempfile.TemporaryDirectory() as folder:
                self._encoder = export_encoder(resolve(PACKAGED), Path(folder))
        key = hashlib.sha256("\0".join([self._encoder.digest, *texts]).encode()).hexdigest()[:12]
        path = self._folder / f"{name}-{key}.npy"
        if not path.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part.npy")
            np.save(part, self._encoder.encode_many(texts))
            part.rename(path)
        vectors: Floats = np.load(path)
        return vectors


def _sureness(champion: Today, candidate: Version, draw: Draw, content: SnapshotContent) -> list[list[float] | None]:
    """By split [rows, mean and standard deviation of the candidate's log probability of the right label minus the
    champion's, the same of the probability]. None for train rows where a model only kept its answers.
    """
    data = read_dataset(content)
    golden = list(data.golden.ids)
    asked = (_chances(golden, m.head.logits(m.view.texts[golden]), m.head) for m in (champion, candidate))
    return [
        _surer(data, data.train, champion.chances, candidate.chances),
        _surer(data, data.golden, *asked),
    ]


def _surer(
    data: Dataset, rows: Rows, champion: Mapping[int, Chances] | None, candidate: Mapping[int, Chances] | None
) -> list[float] | None:
    if champion is None or candidate is None:
        return None
    both = [(i, n) for i, n in enumerate(rows.ids) if n in champion and n in candidate]
    before, after = (
        np.array([side[n].get(data.labels[rows.targets[i]], 0.0) for i, n in both]).clip(LEAST, 1)
        for side in (champion, candidate)
    )
    logs, plain = np.log(after) - np.log(before), after - before
    return [len(both), *(round(float(v), 5) for v in (logs.mean(), logs.std(), plain.mean(), plain.std()))]


def _chances(ids: Sequence[int], logits: Floats, head: Head) -> dict[int, Chances]:
    return {
        number: dict(zip(head.labels, row, strict=True))
        for number, row in zip(ids, head.calibrated(logits).tolist(), strict=True)
    }


def _folds(data: Dataset, seed: int) -> list[Fold]:
    """As for a champion that has an answer to every row."""
    return plan_folds(data.train, np.arange(len(data.train)), Recipe().evidence, seed)


def _right(version: Version, data: Dataset) -> int:
    truth = {number: data.labels[target] for number, target in zip(data.train.ids, data.train.targets, strict=True)}
    return sum(version.out_of_fold[number] == label for number, label in truth.items() if number in version.out_of_fold)


def _right_answers(head: Head, view: View, draw: Draw) -> NDArray[np.bool_]:
    """[m] whether each text of the truth gets its label."""
    answers = named(draw.truth.tolist(), head.logits(view.texts[draw.truth]), head.labels)
    return np.array([answers[row] == draw.labels[draw.targets[row]] for row in draw.truth.tolist()], bool)


def _confused(view: View) -> Numbers:
    """[K] the label whose name is most like each label's."""
    likeness = view.names @ view.names.T
    np.fill_diagonal(likeness, -np.inf)
    nearest: Numbers = likeness.argmax(1)
    return nearest


def _noisy(vectors: Floats, length: float, rng: np.random.Generator) -> Floats:
    return vectors + (length * rng.normal(size=vectors.shape)).astype(np.float32)


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    units: Floats = (vectors / np.maximum(lengths, 1e-6)).astype(np.float32)
    return units

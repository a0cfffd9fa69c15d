"""Unit vectors to calibrated probabilities: the linear head as served, its file form, and how labels become one.

`fit_head` is the instant recipe: it makes a head from label names alone, from a few labels, or as a correction of a
promoted version's head. NumPy and SciPy only, so that bot and trainer call the same function. It knows neither the
encoder nor where rows come from. Numbers without another source were measured on BANKING77, CLINC150 and a
four-class emotion set (trainer/LOG.md).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from storage.errors import ArtifactError
from trainer.model.calibration import Reliability, calibrate
from trainer.model.logistic import Floats, fit_logistic, log_softmax, one_hot
from trainer.model.scope import Scope, fit_scope, prototypes_of

HEAD_FILE = "head.safetensors"
NAME_WEIGHTS = (0.0, 3.0, 6.0, 10.0, 20.0)
"""Candidates for how much the cosine to a label's own name counts beside the regression."""
FREQUENCY_REMOVED = 0.75
"""Share of the log frequency of a label's rows that is taken out of its logit: rows come in the proportions in which
somebody taught, not in those in which it will be asked. Six neighbouring labels of BANKING77, three with 2 rows and
three with 150: recall of the rare ones 45 % without, 79 % with 0.75, 88 % with 1; of the others 97, 94 and 91 %."""
SHARES = tuple(np.float32(share) for share in (0, 0.25, 0.5, 0.75, 1))
"""Of a correction, see `_share`."""
POOL_LEFT_OUT, POOL_WEIGHT = 0.3, 0.3
"""Share of the unlabelled texts that self-training leaves out, and what a fully sure one counts in rows."""
FEW_ROWS = 4
"""With fewer rows than this in some class, cross-validation cannot choose the weight of the names."""

Integers = NDArray[np.integer]


@dataclass(frozen=True)
class Head:
    """logits = vectors @ weight.T + bias; probabilities = softmax(logits / temperature). Immutable, thread-safe."""

    labels: tuple[str, ...]
    weight: Floats
    """[K, d]"""
    bias: Floats
    """[K]"""
    temperature: float
    abstain_below: float
    """Confidence in [0, 1] under which the answer should be "not sure"."""
    scope: Scope | None = None
    """What tells texts that belong to no label; None where that was not fitted."""
    reliability: Reliability | None = None
    """What thresholds for a wanted precision come from; None where that was not measured."""

    def logits(self, vectors: Floats) -> Floats:
        """[n, d] to [n, K]."""
        return vectors @ self.weight.T + self.bias

    def probabilities(self, vectors: Floats) -> Floats:
        """[n, d] to [n, K]; rows sum to 1."""
        return self.calibrated(self.logits(vectors))

    def calibrated(self, logits: Floats) -> Floats:
        """Logits [n, K] to probabilities [n, K]."""
        return np.exp(log_softmax(logits / np.float32(self.temperature)))

    def probability_of(self, classes: NDArray[np.int64], logits: Floats) -> Floats:
        """Of one class [n] in each row of logits [n, K]: [n]."""
        chosen: Floats = self.calibrated(logits)[np.arange(len(classes)), classes]
        return chosen

    def outside(self, vectors: Floats) -> NDArray[np.bool_]:
        """[n, d] to [n]: True where a text looks like nothing that was taught. Without a scope never."""
        if self.scope is None:
            return np.zeros(len(vectors), bool)
        return self.scope.outside(vectors, self.logits(vectors))

    def save(self, directory: Path) -> None:
        """Write head.safetensors; labels and scalars go into its metadata."""
        about = {
            "labels": self.labels,
            "temperature": float(self.temperature),
            "abstain_below": float(self.abstain_below),
        }
        tensors: dict[str, NDArray[Any]] = {
            "weight": np.ascontiguousarray(self.weight),
            "bias": np.ascontiguousarray(self.bias),
        }
        tensors |= self.scope.tensors() if self.scope else {}
        tensors |= self.reliability.tensors() if self.reliability else {}
        # One entry: safetensors writes several in no fixed order, and the same head should be the same bytes.
        save_file(tensors, directory / HEAD_FILE, metadata={"head": json.dumps(about, ensure_ascii=False)})

    @classmethod
    def load(cls, directory: Path) -> Head:
        """Read head.safetensors.

        Raises:
            ArtifactError: missing, not a head, shapes that do not fit the labels, or numbers that are not finite.
        """
        path = directory / HEAD_FILE
        try:
            with safe_open(path, framework="numpy") as file:
                about = json.loads((file.metadata() or {})["head"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
            labels = tuple(str(name) for name in about["labels"])
            weight, bias = tensors.pop("weight"), tensors.pop("bias")
            parts = {name.partition(".")[0] for name in tensors}
            scope = Scope.from_tensors(tensors) if "scope" in parts else None
            reliability = Reliability.from_tensors(tensors) if "reliability" in parts else None
            scalars = (float(about["temperature"]), float(about["abstain_below"]))
            head = cls(labels, weight, bias, *scalars, scope, reliability)
        except ArtifactError:
            raise
        except Exception as error:  # safetensors raises its own bare Exception subclass
            raise ArtifactError(f"The head {path} cannot be read: {error!r}.") from None
        head._check(path)
        return head

    def _check(self, path: Path) -> None:
        count = len(self.labels)
        if count == 0 or self.weight.ndim != 2 or len(self.weight) != count or self.bias.shape != (count,):
            raise ArtifactError(
                f"The head {path} has {count} labels but weights {self.weight.shape} and biases {self.bias.shape}."
            )
        scalars = (self.temperature, self.abstain_below)
        if not (np.isfinite(self.weight).all() and np.isfinite(self.bias).all() and np.isfinite(scalars).all()):
            raise ArtifactError(f"The head {path} holds numbers that are not finite.")
        if self.scope is not None and self.scope.prototypes.shape != self.weight.shape:
            raise ArtifactError(
                f"The head {path} has weights {self.weight.shape} and prototypes {self.scope.prototypes.shape}."
            )
        if self.temperature <= 0:
            raise ArtifactError(f"The head {path} has the temperature {self.temperature}; it must be positive.")


@dataclass(frozen=True)
class Fit:
    """A fitted head and what it would have said about each row without having seen it."""

    head: Head
    out_of_fold: Floats
    """[n, K] logits, before the temperature."""
    folds: int
    """0 where there was nothing to cross-fit."""
    name_weight: float = 0.0
    """g: how much the cosine to a label's own name counts beside the regression."""


def called_now(head: Head, ids: Sequence[int], names: Mapping[int, str], merged: Mapping[int, int]) -> Head:
    """A head as its labels are called by now, so that a renamed label keeps what was learned about it.

    Args:
        ids: of `head.labels`, in their order.
        names: of the labels that are in use, by id.
        merged: id of a label → id of the one that it was merged into. Its row stands for that one where it has none of
            its own. Rows of labels that are in use no more are left out; the result may have no label at all.
    """
    rows: dict[int, int] = {}
    for row, own in enumerate(ids):
        label = own if own in names else merged.get(own, own)
        if label in names and (label == own or label not in ids):
            rows.setdefault(label, row)
    labels, kept = tuple(names[label] for label in rows), list(rows.values())
    if labels == head.labels:
        return head
    scope = head.scope
    if scope is not None:
        scope = replace(scope, prototypes=scope.prototypes[kept], typical=scope.typical[kept])
    return replace(head, labels=labels, weight=head.weight[kept], bias=head.bias[kept], scope=scope)


def label_text(name: str, description: str = "") -> str:
    """What the encoder reads for a label: ("refund_request", "wants money back") -> "refund request: wants money back".

    Underscores, hyphens, slashes and camelCase become spaces.
    """
    spaced = re.sub(r"([a-z])([A-Z])", r"\1 \2", name)
    words = " ".join(re.sub(r"[_\-/]+", " ", spaced).split()).lower()
    return f"{words}: {description.strip()}" if description.strip() else words


def fit_head(
    labels: Sequence[str],
    label_vectors: Floats,
    vectors: Floats,
    targets: Sequence[int] | Integers,
    *,
    prior: Head | None = None,
    pool: Floats | None = None,
    seed: int = 0,
) -> Fit:
    """The instant recipe: a head for `labels` from their names and the rows so far.

    `label_vectors` [K, d] are the encoded `label_text`s, `vectors` [n, d] the rows, `targets` [n] their classes; n may
    be 0, K may be 1, classes may have no rows. Without `prior`: multinomial logistic regression in which each label's
    name is one more row, plus g * cosine(text, label name); with `pool` [m, d], vectors of texts without labels, it
    then learns once more from its own surer answers to them. With `prior` (a version's head over the same encoder):
    its logits plus a correction, see `_correct`; a label it lacks gets a row of its own. Deterministic for a seed.
    """
    rows = _Rows(
        np.asarray(vectors, np.float32).reshape(-1, label_vectors.shape[1]),
        np.asarray(targets, np.int64).reshape(-1),
        np.asarray(label_vectors, np.float32),
    )
    if prior is None:
        return _fit_from_names(tuple(labels), rows, seed, pool)
    return _correct(tuple(labels), rows, prior, seed)


@dataclass(frozen=True)
class _Rows:
    """Rows and label names of one fit."""

    vectors: Floats
    targets: NDArray[np.int64]
    names: Floats

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def classes(self) -> int:
        return len(self.names)

    def only(self, keep: NDArray[np.bool_]) -> _Rows:
        return replace(self, vectors=self.vectors[keep], targets=self.targets[keep])


Line = tuple[Floats, Floats]
"""Weight [K, d] and bias [K]."""


def _fit_from_names(labels: tuple[str, ...], rows: _Rows, seed: int, pool: Floats | None = None) -> Fit:
    weight, bias = _regress(rows)
    folds = _folds(rows.targets, seed)
    held_out = _cross_fit(rows, folds, lambda part: _regress(part, start=(weight, bias)))
    gain = _name_weight(rows, held_out)
    held_out += gain * (rows.vectors @ rows.names.T)
    temperature, abstain_below = calibrate(held_out, rows.targets)
    if pool is not None and len(pool):
        weight, bias = _learn_from_itself(rows, np.asarray(pool, np.float32), (weight, bias), gain)
    scope = fit_scope(rows.vectors, rows.targets, rows.names, held_out)
    reliability = Reliability.of(held_out, rows.targets, temperature)
    head = Head(labels, weight + np.float32(gain) * rows.names, bias, temperature, abstain_below, scope, reliability)
    return Fit(head, held_out, int(folds.max(initial=-1)) + 1, gain)


def _learn_from_itself(rows: _Rows, pool: Floats, line: Line, gain: float) -> Line:
    """One round of self-training: the regression once more, with its own answers to the pool as further rows.

    The least sure share of the pool is left out; the rest counts by its margin, and little.
    """
    logits = pool @ (line[0] + np.float32(gain) * rows.names).T + line[1]
    ordered = np.sort(np.exp(log_softmax(logits)), axis=1)
    margins = ordered[:, -1] - (ordered[:, -2] if rows.classes > 1 else 0.0)
    sure = margins >= np.quantile(margins, POOL_LEFT_OUT)
    vectors = np.concatenate([rows.vectors, rows.names, pool[sure]])
    targets = np.concatenate([rows.targets, np.arange(rows.classes), logits[sure].argmax(1)])
    weights = np.concatenate([np.ones(len(rows) + rows.classes), POOL_WEIGHT * margins[sure]]).astype(np.float32)
    return _even(rows, fit_logistic(vectors, one_hot(targets, rows.classes), weights=weights, start=line))


def _regress(rows: _Rows, start: Line | None = None) -> Line:
    """The regression over rows and names, frequency taken out."""
    both = np.concatenate([rows.vectors, rows.names])
    classes = one_hot(np.concatenate([rows.targets, np.arange(rows.classes)]), rows.classes)
    return _even(rows, fit_logistic(both, classes, start=start))


def _even(rows: _Rows, line: Line) -> Line:
    """Logit adjustment (Menon et al. 2021): nothing changes where all labels have as many rows."""
    counts = np.bincount(rows.targets, minlength=rows.classes) + 1.0  # the name is a row
    weight, bias = line
    return weight, bias - np.float32(FREQUENCY_REMOVED) * np.log(counts / counts.mean()).astype(np.float32)


def _name_weight(rows: _Rows, held_out: Floats) -> float:
    """How much the cosine to the label's name counts (g).

    Names help most with few rows; cross-validation may keep them only if they are better by half a standard error.
    """
    few = np.bincount(rows.targets, minlength=rows.classes).min() < FEW_ROWS
    if few:
        return 10.0 if rows.classes <= 10 else 5.0
    cosines = rows.vectors @ rows.names.T
    right = [float(((held_out + g * cosines).argmax(1) == rows.targets).mean()) for g in NAME_WEIGHTS]
    best = int(np.argmax(right))
    error = float(np.sqrt(right[best] * (1 - right[best]) / len(rows)))
    return NAME_WEIGHTS[best] if right[best] - right[0] >= 0.5 * error else 0.0


def _correct(labels: tuple[str, ...], rows: _Rows, prior: Head, seed: int) -> Fit:
    """The prior's logits plus a regularised correction that the rows ask for.

    A row that the prior answers right is an anchor: its target is the prior's own answer, so it holds that answer in
    place and pulls at nothing. A row that it answers wrong has its label as target. Without newer information nothing
    pulls, and the head stays what it is. Temperature and threshold stay the prior's: its own rows are no evidence.
    """
    extended = _extend(labels, rows, prior)
    weight, bias = _correction(extended, rows)
    folds = _folds(rows.targets, seed) if len(rows) > 1 else np.zeros(len(rows), np.int64)
    before, change = np.zeros((2, len(rows), rows.classes), np.float32)
    for fold in range(int(folds.max(initial=-1)) + 1):
        out = folds == fold
        kept = rows.only(~out)
        twin = _extend(labels, kept, prior)  # the row of a label that the prior lacks is made of its rows
        fold_weight, fold_bias = _correction(twin, kept)
        before[out] = twin.logits(rows.vectors[out])
        change[out] = rows.vectors[out] @ fold_weight.T + fold_bias
    share = _share(before, change, rows.targets)
    head = replace(extended, weight=extended.weight + share * weight, bias=extended.bias + share * bias)
    return Fit(head, before + share * change, int(folds.max(initial=-1)) + 1)


def _correction(extended: Head, rows: _Rows) -> Line:
    """What the rows ask for beside the prior's own answers; nothing where all of these are right."""
    before = extended.logits(rows.vectors)
    wrong = before.argmax(1) != rows.targets
    if not wrong.any():
        return np.zeros_like(extended.weight), np.zeros_like(extended.bias)
    aims = np.exp(log_softmax(before))
    aims[wrong] = one_hot(rows.targets[wrong], rows.classes)
    return fit_logistic(rows.vectors, aims, offset=before)


def _share(before: Floats, change: Floats, targets: NDArray[np.int64]) -> np.float32:
    """How much of the correction helps rows that had no part in it; all of it where that makes no difference.

    Wrong labels are mistakes of the prior too: with 20 % of them a full correction cost 2 points, 8 where the prior had
    learned some, the share chosen here none (12 simulated tasks, trainer/LOG.md).
    """
    if not len(targets):
        return SHARES[-1]
    right = [((before + share * change).argmax(1) == targets).sum() for share in SHARES]
    return max(zip(right, SHARES, strict=True))[1]


def _extend(labels: tuple[str, ...], rows: _Rows, prior: Head) -> Head:
    """The prior's rows in the order of `labels`; a label it lacks gets the mean of its rows and name, scaled alike.

    Its bias is such that on average it has the logit of a usual wrong label. With the mean bias it won everywhere: ten
    new labels of BANKING77 with one text each cost the other 67 labels 12 points, now 1 (trainer/LOG.md).
    """
    known = {name: index for index, name in enumerate(prior.labels)}
    scale = float(np.linalg.norm(prior.weight, axis=1).mean())
    means = prototypes_of(rows.vectors, rows.targets, rows.names)
    weight = np.float32(scale) * means
    usual = rows.vectors if len(rows) else rows.names
    bias = (prior.logits(usual).mean() - (usual @ weight.T).mean(axis=0)).astype(np.float32)
    here = [index for index, name in enumerate(labels) if name in known]
    there = [known[labels[index]] for index in here]
    weight[here], bias[here] = prior.weight[there], prior.bias[there]
    scope = prior.scope
    if scope is not None:
        prototypes, typical = means, np.full(len(labels), scope.typical.mean(), np.float32)
        prototypes[here], typical[here] = scope.prototypes[there], scope.typical[there]
        scope = replace(scope, prototypes=prototypes, typical=typical)
    return replace(prior, labels=labels, weight=weight, bias=bias, scope=scope)


def _folds(targets: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """A fold number per row, classes spread evenly. Ten folds where rows are few, fewer where each fit is long."""
    count = len(targets)
    wanted = 10 if count < 400 else 5 if count < 5000 else 3
    if count < 2:
        return np.full(count, -1, np.int64)
    shuffled = np.random.default_rng(seed).permutation(count)
    by_class = shuffled[np.argsort(targets[shuffled], kind="stable")]
    folds = np.empty(count, np.int64)
    folds[by_class] = np.arange(count) % min(wanted, count)
    return folds


def _cross_fit(rows: _Rows, folds: NDArray[np.int64], fit: Callable[[_Rows], Line]) -> Floats:
    """[n, K] logits, each row's from a fit that did not see it."""
    held_out = np.zeros((len(rows), rows.classes), np.float32)
    if len(rows) == 1:
        weight, bias = fit(rows.only(np.zeros(1, bool)))
        return rows.vectors @ weight.T + bias
    for fold in range(int(folds.max(initial=-1)) + 1):
        out = folds == fold
        weight, bias = fit(rows.only(~out))
        held_out[out] = rows.vectors[out] @ weight.T + bias
    return held_out

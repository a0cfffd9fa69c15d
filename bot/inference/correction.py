"""A head that follows newer labels at once, in closed form, until it is fitted again.

Each newer row asks for as much more of its own label's logit as makes the head answer it with that label, surely. The
weights change as little as they can for that, on texts like those that the head was fitted on least of all. Always
solved anew from the fitted head and all newer rows, so that nothing can drift: a row that is left out was never there.
This module knows neither the encoder nor where rows come from. Numbers were chosen on the training files of BANKING77
and CLINC150 (bot/inference/LOG.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from trainer.model.head import Head
from trainer.model.logistic import Floats, log_softmax, one_hot
from trainer.model.scope import Scope, prototypes_of

CONFIDENCE = 0.8
"""With which a newer row is answered. With 0.6 the other texts gain less, with 0.9 they lose more where they lose."""
ROW_SLACK = 0.03
"""Keeps two texts that are nearly the same but labelled differently from tearing at the weights. With 0.01 other texts
lose more where they lose. It is a share of a row's own kernel: with a fixed slack a row close to an anchor, say one
whose label is changed, did not reach its label."""
ANCHOR_SLACK = 0.1
"""Squared logits of change at an anchor that count as much as a change of 1 in a weight. Without anchors a correction
spreads over everything: up to 2.4 points lost."""
MOST_ANCHORS = 64
"""Those nearest to the newer rows: as good as all, and as quick with a thousand labels; 32 lose a little."""

Integers = NDArray[np.integer]


def correct(
    head: Head, labels: Sequence[str], vectors: Floats, targets: Sequence[int] | Integers, new_names: Floats
) -> Head:
    """`head` for `labels`, answering the newer rows with their labels.

    Args:
        head: as it was fitted, with at least one label.
        vectors: [m, d] unit vectors of the rows that are newer than the head, in any order; `targets` [m] their classes
            in `labels`. Below 1 ms for some tens of rows.
        new_names: [n, d] the encoded names of those `labels` that the head lacks, in order; each begins with its name
            as its only row. Labels of the head that are not in `labels` are left out.
    """
    labels = tuple(labels)
    missing = [index for index, name in enumerate(labels) if name not in head.labels]
    rows = np.concatenate([new_names, vectors]).astype(np.float32)
    classes = np.concatenate([missing, np.asarray(targets, np.int64)]).astype(np.int64)
    if not len(rows):
        return head if labels == head.labels else _relabelled(head, labels, rows, classes)
    before = _relabelled(head, labels, rows, classes)
    wanted = np.float32(1 + ROW_SLACK) * _wanted(before, rows, classes)  # so a lone row gets just what it lacks
    return replace(before, weight=before.weight + least_change(rows, wanted, _anchors(head, rows)))


def least_change(rows: Floats, wanted: Floats, anchors: Floats) -> Floats:
    """The change C [K, d] of the weights that gives rows [m, d] the further logits `wanted` [m, K].

    It minimises |C|^2 + |anchors C'|^2 / ANCHOR_SLACK + the rows' squared misses, each over ROW_SLACK times that row's
    kernel: ridge regression, solved in its dual form, m x m after the anchors [n, d] were taken out of the rows.
    """
    between = anchors @ anchors.T
    between[np.diag_indices_from(between)] += np.float32(ANCHOR_SLACK)
    free = rows - np.linalg.solve(between, anchors @ rows.T).T @ anchors
    kernel = free @ rows.T
    kernel[np.diag_indices_from(kernel)] *= np.float32(1 + ROW_SLACK)
    return (np.linalg.solve(kernel, wanted).T @ free).astype(np.float32, copy=False)


def _wanted(head: Head, rows: Floats, classes: NDArray[np.int64]) -> Floats:
    """[m, K]: what each row's own logit lacks to CONFIDENCE; 0 for the others, and where nothing is lacking.

    Only the own logit is raised: lowering the rival as well took other texts away from the rival.
    """
    own = np.take_along_axis(log_softmax(head.logits(rows) / np.float32(head.temperature)), classes[:, None], 1)
    with np.errstate(divide="ignore"):  # sure beyond float32, or the only label: lacks minus infinity
        odds = own - np.log(-np.expm1(own))
    lack = np.maximum(np.log(CONFIDENCE / (1 - CONFIDENCE)) - odds, 0.0) * head.temperature
    return one_hot(classes, len(head.labels)) * lack.astype(np.float32)


def _relabelled(head: Head, labels: tuple[str, ...], rows: Floats, classes: NDArray[np.int64]) -> Head:
    """The head's rows in the order of `labels`; one that it lacks answers everywhere alike, as a usual wrong label."""
    known = {name: index for index, name in enumerate(head.labels)}
    here = [index for index, name in enumerate(labels) if name in known]
    there = [known[labels[index]] for index in here]
    weight: Floats = np.zeros((len(labels), head.weight.shape[1]), np.float32)
    bias: Floats = np.full(len(labels), head.logits(rows).mean() if len(rows) else 0.0, np.float32)
    weight[here], bias[here] = head.weight[there], head.bias[there]
    scope = _rescoped(head.scope, here, there, rows, classes, weight.shape) if head.scope else None
    return replace(head, labels=labels, weight=weight, bias=bias, scope=scope)


def _rescoped(
    scope: Scope, here: list[int], there: list[int], rows: Floats, classes: NDArray[np.int64], shape: tuple[int, ...]
) -> Scope:
    """A new label looks like the mean of its rows and name, and is expected to be as tight as the others."""
    prototypes = prototypes_of(rows, classes, np.zeros(shape, np.float32))
    typical = np.full(shape[0], scope.typical.mean(), np.float32)
    prototypes[here], typical[here] = scope.prototypes[there], scope.typical[there]
    return replace(scope, prototypes=prototypes, typical=typical)


def _anchors(head: Head, rows: Floats) -> Floats:
    """[n, d] where the fitted head should stay as it is: what the texts of labels near the rows look like."""
    anchors = (head.weight if head.scope is None else head.scope.prototypes).astype(np.float32)
    if head.scope is None:
        anchors /= np.maximum(np.linalg.norm(anchors, axis=1, keepdims=True), np.float32(1e-6))
    if len(anchors) <= MOST_ANCHORS:
        return anchors
    nearest = (anchors @ rows.T).max(axis=1)
    return anchors[np.argpartition(-nearest, MOST_ANCHORS)[:MOST_ANCHORS]]

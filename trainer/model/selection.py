"""Which unlabelled texts to ask people about, and why each.

A share is drawn at random, whatever the model says: only those texts may become golden, since what a model picks is
harder than what people send. The others are texts that the head is unsure of and that stand for many others like them.
It does not know texts, people or how a question looks; it sees unit vectors and the head's probabilities.

The greedy choice maximises  sum over candidates j of (1 - margin_j) * max over covered i of likeness(i, j),  that is
facility location (Nemhauser, Wolsey and Fisher 1978: greedy reaches at least 63 % of the best) weighted by doubt. What
is labelled, picked or asked about elsewhere counts as covered, so that likes are not asked about together.

Labels needed to be as good as with 16 random ones per label, as a share of those (batches of one text per label; 2 to 3
seeds, training texts only, 2,000 of them kept apart for measuring; differences below 0.05 are noise):

    ============================================  ======  =========  ============  ===========
    task                                          margin  all by us  1/4 by lot    half by lot
    ============================================  ======  =========  ============  ===========
    BANKING77, from 2 texts per label               0.55       0.42          0.48         0.52
    BANKING77, from names alone                     0.41       0.25          0.30            -
    CLINC150, from 2 texts per label                0.44       0.47          0.54         0.54
    6 broad labels, to 64 per label (two tasks)     0.73       0.42          0.43         0.58
    ============================================  ======  =========  ============  ===========

"margin" is the smallest difference of the two best probabilities, near-copies (cosine above 0.75) skipped. With few
broad labels and few texts it can be worse than the lot; ours was ahead at the end of all six such curves (100 or
400 texts; names without meaning or 20 % wrong labels among them), so that it starts at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from trainer.model.logistic import Floats

RANDOM_SHARE = 0.25
"""Costs 0.01 to 0.07 in the table above."""
CANDIDATES = 1500
"""How many of the least sure texts are looked at: likeness takes the square of it in memory, 9 MB. Ten questions at a
time, BANKING77, labels needed (as above, one run): 0.39 with 1,500; 0.43 with 500; more than 0.51 with 200."""
UNLIKE = 0.3
"""Cosine from which on two texts say something of each other. Three others needed 6-13 % more labels (two runs)."""


class Reason(StrEnum):
    """Why a text was chosen."""

    RANDOM = "random"
    """By lot, independent of any model: may become golden."""
    MARGIN = "margin"
    """By the model: must never become golden."""


@dataclass(frozen=True, slots=True)
class Pick:
    """One text to ask about."""

    position: int
    """Row of the pool."""
    reason: Reason


def select(
    vectors: Floats,
    probabilities: Floats,
    wanted: int,
    *,
    seed: int,
    taken: Iterable[int] = (),
    known: Floats | None = None,
    reserved: NDArray[np.bool_] | None = None,
    random_share: float = RANDOM_SHARE,
) -> list[Pick]:
    """Up to `wanted` positions of the pool, random ones and others mixed; fewer where the pool has no more.

    `vectors` [m, d] are the pool's unit vectors, `probabilities` [m, K] the current head's answers (from names alone
    where nothing is labelled). `taken` are positions that somebody else is being asked about: skipped, as is every text
    whose vector equals one that was taken or picked. `known` [n, d] are the labelled texts' vectors.
    `reserved` [m] marks texts that the model may not pick, meant for those whose hash makes them golden: else the model
    takes the hard ones first, and what is left for the lot is too easy.

    Deterministic for a seed; use a new seed for each call, or the same lot is drawn again.
    """
    rng = np.random.default_rng(seed)
    lot = rng.permutation(len(vectors)).tolist()
    by_lot = _by_lot(probabilities.shape[1], wanted, random_share, float(rng.random()))
    slots = set(rng.permutation(wanted)[:by_lot].tolist())
    held = sorted(set(taken))
    free = _distinct(vectors, lot, held)
    drawn = free[:by_lot]
    allowed = [p for p in free[by_lot:] if reserved is None or not reserved[p]]
    covered = [vectors[held], vectors[drawn]] + ([] if known is None else [known])
    sought = _most_telling(vectors, probabilities, allowed, wanted - by_lot, np.concatenate(covered))
    return _mixed(drawn, sought, slots)


def _by_lot(classes: int, wanted: int, share: float, lot: float) -> int:
    """How many are drawn at random; a fraction is drawn for, so that the share holds for single questions too."""
    return wanted if classes < 2 else min(wanted, int(share * wanted + lot))


def _distinct(vectors: Floats, order: list[int], held: list[int]) -> list[int]:
    """The positions of `order` without those held, and each vector once."""
    seen = {vectors[position].tobytes() for position in held}
    kept = []
    for position in order:
        content = vectors[position].tobytes()
        if content not in seen:
            seen.add(content)
            kept.append(position)
    return kept


def _most_telling(vectors: Floats, probabilities: Floats, allowed: list[int], count: int, covered: Floats) -> list[int]:
    """`count` of the allowed positions, the most telling first."""
    if count == 0 or not allowed:
        return []
    positions = np.sort(allowed)
    two_best = np.sort(probabilities[positions], axis=1)[:, -2:]
    margins = two_best[:, 1] - two_best[:, 0]
    near = np.argsort(margins, kind="stable")[: max(count, CANDIDATES)]
    chosen = _cover(vectors[positions[near]], 1 - margins[near], covered, count)
    return [int(position) for position in positions[near][chosen]]


def _cover(vectors: Floats, weights: Floats, covered: Floats, count: int) -> list[int]:
    """Greedy facility location: rows [c, d] with weights [c] >= 0, in the order of gain.

    Lazy: a gain can only shrink, so one that is still the largest after an update is the largest of all (Minoux 1978).
    """
    likeness = _likeness(vectors, vectors)
    reached = _likeness(vectors, covered).max(axis=1, initial=0.0)
    gains = np.array([weights @ np.maximum(column - reached, 0) for column in likeness])
    fresh = np.zeros(len(vectors), np.int64)
    chosen: list[int] = []
    while len(chosen) < min(count, len(vectors)):
        best = int(gains.argmax())
        if fresh[best] == len(chosen):
            chosen.append(best)
            reached = np.maximum(reached, likeness[best])
            gains[best] = -1.0
        else:
            gains[best] = weights @ np.maximum(likeness[best] - reached, 0)
            fresh[best] = len(chosen)
    return chosen


def _likeness(left: Floats, right: Floats) -> Floats:
    """[a, d] and [b, d] unit vectors to [a, b] in [0, 1]: the cosine above `UNLIKE`, scaled and squared."""
    above: Floats = np.maximum((left @ right.T - np.float32(UNLIKE)) / np.float32(1 - UNLIKE), 0)
    return np.square(above)


def _mixed(drawn: list[int], sought: list[int], slots: set[int]) -> list[Pick]:
    """Both in one list, the random ones at `slots`: whoever answers only the first few has answered both kinds."""
    lots = [Pick(position, Reason.RANDOM) for position in drawn]
    others = [Pick(position, Reason.MARGIN) for position in sought]
    picks = []
    for slot in range(len(lots) + len(others)):
        source = lots if (slot in slots and lots) or not others else others
        picks.append(source.pop(0))
    return picks

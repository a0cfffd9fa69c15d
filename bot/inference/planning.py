"""Which texts of a pool to ask people about next: vectors and answers of what serves, then `trainer.model.selection`.

Knows neither who is asked nor what a question looks like.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from bot.inference.engine import Served
from bot.inference.threads import in_background
from bot.inference.vectors import Vectors
from storage.events import falls_golden
from storage.records import PoolText
from trainer.model.selection import Pick, select

NICENESS = 10
"""As refits: answers come first."""


async def plan(
    vectors: Vectors,
    served: Served,
    guild: str,
    pool: Sequence[PoolText],
    known: Sequence[str],
    wanted: int,
    *,
    wants_golden: bool,
    seed: int,
) -> list[Pick]:
    """Up to `wanted` positions of `pool`, the most telling and random ones mixed (see `select`).

    `known` are labelled texts. While golden texts are wanted, those whose hash makes them golden are left to the lot.

    Raises:
        StorageError, Busy, ArtifactError: a text could not be encoded.
    """
    pool_vectors = await vectors.of(guild, served.encoder, [each.text for each in pool])
    known_vectors = await vectors.of(guild, served.encoder, known)
    probabilities = served.head.probabilities(pool_vectors)
    reserved = np.array([wants_golden and falls_golden(each.hash) for each in pool], bool)
    choose = partial(select, pool_vectors, probabilities, wanted, seed=seed, known=known_vectors, reserved=reserved)
    return await in_background(choose, NICENESS)

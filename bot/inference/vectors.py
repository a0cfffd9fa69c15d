"""Vectors of stored texts: from the database's cache first, the rest through the engine's bulk lane, saved back.

Work and memory are bounded by chunks; what was computed before an error stays cached, so a retry goes on from there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bot.inference.engine import Engine
from storage.examples import Examples
from storage.records import text_hash
from trainer.model.encoder import Encoder

READ_CHUNK = 500
"""Vectors per database read: 0.8 MB at 384 dimensions."""

ENCODE_CHUNK = 64
"""Texts per visit of the bulk lane, and vectors per write: about a quarter of a second on one core."""


class Vectors:
    def __init__(self, examples: Examples, engine: Engine) -> None:
        self._examples = examples
        self._engine = engine

    async def prepare(self, guild: str, encoder: Encoder, texts: Sequence[str]) -> None:
        """Have every text's vector cached, whatever there is room for in memory; `of` is quick afterwards.

        Raises:
            StorageError, Busy, ArtifactError: what came before is saved.
        """
        for start in range(0, len(texts), READ_CHUNK):
            await self.of(guild, encoder, texts[start : start + READ_CHUNK])

    async def of(self, guild: str, encoder: Encoder, texts: Sequence[str]) -> NDArray[np.float32]:
        """[len(texts), d] float32 unit vectors in the order of `texts`.

        A text is known by its normalised form, as an example is: two spellings of one example have one vector.

        Raises:
            As `prepare`.
        """
        vectors = np.empty((len(texts), encoder.dimensions), np.float32)
        for start in range(0, len(texts), READ_CHUNK):
            part = texts[start : start + READ_CHUNK]
            await self._fill(vectors[start : start + READ_CHUNK], guild, encoder, part)
        return vectors

    async def _fill(self, vectors: NDArray[np.float32], guild: str, encoder: Encoder, texts: Sequence[str]) -> None:
        hashes = [text_hash(text) for text in texts]
        cached = await self._examples.vectors(guild, encoder.digest, hashes)
        missing = []
        for index, key in enumerate(hashes):
            vector = _decode(cached.get(key), encoder.dimensions)
            if vector is None:
                missing.append(index)
            else:
                vectors[index] = vector
        for start in range(0, len(missing), ENCODE_CHUNK):
            chunk = missing[start : start + ENCODE_CHUNK]
            vectors[chunk] = await self._engine.encode(encoder, [texts[index] for index in chunk], guild=guild)
            rows = [(hashes[index], _encode(vectors[index])) for index in chunk]
            await self._examples.save_vectors(guild, encoder.digest, rows)


def _decode(stored: bytes | None, dimensions: int) -> NDArray[np.float32] | None:
    """The vector of little-endian float32 bytes; None if there is none or it cannot be one."""
    if stored is None or len(stored) != 4 * dimensions:
        return None
    vector = np.frombuffer(stored, "<f4")
    return vector if np.isfinite(vector).all() else None


def _encode(vector: NDArray[np.float32]) -> bytes:
    return vector.astype("<f4").tobytes()

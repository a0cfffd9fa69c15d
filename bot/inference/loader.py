"""An artifact directory to a model that may serve: verified, loaded, warmed up and compared with its canary.

All of it happens aside, in threads of its own, so a model that fails here never touched the one that answers. This
module does not know which version is champion; `trainer.model` knows the files.
"""

from __future__ import annotations

import errno
import json
import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from bot.inference.memory import available_memory, give_back
from bot.inference.threads import in_background, nicely
from storage.artifacts import Manifest, read_manifest, verify
from storage.errors import ArtifactError, Busy, PupilError
from trainer.model.encoder import ENCODER_FILES, Encoder, open_graph
from trainer.model.head import HEAD_FILE, Head

log = logging.getLogger(__name__)

MEMORY_FACTOR = 3.0
"""Available memory must be this many times the files that are read: while a session is made, the file's bytes, the
parsed graph and the packed weights exist side by side (measured: 2.6 and 2.8 for files of 24 and 59 MB)."""

CANARY_COSINE = 0.99
"""Least cosine to the vectors the trainer's host computed. Processors round int8 differently (cosines of 0.999); a
wrong tokenizer, pooling or weight is far below."""

NICENESS = 10
"""By how much the threads that hash, open graphs and try them are nicer than the others (Linux): queries come first.
What holds the interpreter for long is not done in them: waiting for a core with it would stop everybody (LOG.md)."""

LACKS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})
"""The operating system's words for too many open files, and too little memory or too many threads."""

MODEL_TYPES = frozenset(
    {"albert", "bert", "camembert", "deberta-v2", "distilbert", "electra", "modernbert", "mpnet", "roberta"}
) | {"xlm-roberta"}
"""What config.json may say a version is: those that a trainer makes (`trainer.bases.MODEL_TYPES`, which a bot cannot
import). Nothing here reads the weights beside it, but whoever exports a version, or trains on from it, will."""

_Files = tuple[str, str, str]
"""The sha256 of each of `ENCODER_FILES`: two artifacts that agree here hold the same encoder."""


_turn = threading.Lock()
"""One load at a time in this process, so that the memory each of them counts on is still there when it takes it."""

_encoders: WeakValueDictionary[_Files, Encoder] = WeakValueDictionary()
"""Encoders in use, so that a thousand classifiers on one base hold one session. Used by whoever holds `_turn`."""


async def load(directory: Path, *, memory: Callable[[], int | None] = available_memory) -> tuple[Encoder, Head | None]:
    """The encoder and, of a version, the head of the artifact in `directory`; a base encoder has no head.

    An encoder that is in use already is shared; it is freed when nothing serves it any more.

    Args:
        memory: tells the bytes that may still be taken, or None if unknown.

    Raises:
        ArtifactError: the files are not those of the manifest, do not fit each other, or do not compute what they did
            on the trainer's host.
        Busy: there is too little memory, or too many files are open, to load them now; the files may be sound.
    """
    return await in_background(partial(_load, directory, memory), 0)


def _load(directory: Path, memory: Callable[[], int | None]) -> tuple[Encoder, Head | None]:
    try:
        with _turn:
            began = time.perf_counter()
            manifest = nicely(partial(verify, directory), NICENESS)
            _check_config(directory, manifest)
            files = _encoder_files(directory, manifest)
            shared = _encoders.get(files)
            encoder = shared or _open(directory, manifest, memory)
            nicely(partial(_warm_up, encoder, directory), NICENESS)
            nicely(partial(_compare_canary, encoder, directory), NICENESS)
            head = _head(directory, manifest, encoder)
            _encoders[files] = encoder
            give_back()  # what only the loading took: 30 MB
    except Exception as error:
        if (lack := _lack(error)) is not None:
            sentence = f"The model {directory.name[:12]} cannot be loaded now ({lack}). Try again in a moment."
            raise Busy(sentence, retry_after=30.0) from error
        if isinstance(error, PupilError):
            raise
        raise ArtifactError(f"The model {directory.name[:12]} cannot be loaded: {error!r}.") from error
    facts = {"artifact": directory.name[:12], "shared": shared is not None}
    log.info("model.loaded", extra=facts | {"seconds": round(time.perf_counter() - began, 3)})
    return encoder, head


def _lack(error: BaseException | None) -> str | None:
    """What this process or host has run out of, where that is behind the error: it says nothing about the files."""
    while error is not None:
        if isinstance(error, MemoryError):
            return "out of memory"
        if isinstance(error, OSError) and error.errno in LACKS:
            return error.strerror
        error = error.__cause__ or error.__context__
    return None


def _check_config(directory: Path, manifest: Manifest) -> None:
    """Refuse a version that asks to run code of its own, or is of a kind that no trainer of ours makes."""
    if "config.json" not in manifest.files:
        return
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    if "auto_map" in config:
        raise ArtifactError(
            f"The model {directory.name[:12]} asks to run its own code (auto_map); that is refused. Train again."
        )
    if config.get("model_type") not in MODEL_TYPES:
        raise ArtifactError(
            f'The model {directory.name[:12]} is a "{config.get("model_type")}", which this Pupil does not know. '
            "Train again."
        )


def size_of(directory: Path) -> int:
    """Bytes of the encoder that loading this artifact would add; 0 where the same encoder is in memory already.

    Raises:
        ArtifactError: there is no manifest, or it names no encoder.
    """
    manifest = read_manifest(directory)
    return 0 if _encoder_files(directory, manifest) in _encoders else _encoder_bytes(manifest)


def memory_to_load(size: int) -> int:
    """Bytes that must be free while an encoder of `size` bytes is loaded."""
    return int(MEMORY_FACTOR * size)


def _encoder_bytes(manifest: Manifest) -> int:
    return sum(manifest.files[name].bytes for name in ENCODER_FILES)


def _open(directory: Path, manifest: Manifest, memory: Callable[[], int | None]) -> Encoder:
    needed = memory_to_load(_encoder_bytes(manifest))
    available = memory()
    if available is not None and available < needed:
        raise Busy(
            f"The model {directory.name[:12]} was not loaded: it needs {_megabytes(needed)} of memory and "
            f"{_megabytes(available)} are available. Free some memory and try again.",
            retry_after=30.0,
        )
    files = _encoder_files(directory, manifest)
    alike = (encoder for (_, tokenizer, _), encoder in _encoders.items() if tokenizer == files[1])
    return Encoder.load(
        directory,
        hashes=files,
        alike=next(alike, None),
        open_session=lambda path: nicely(partial(open_graph, path), NICENESS),
    )


def _encoder_files(directory: Path, manifest: Manifest) -> _Files:
    missing = [name for name in ENCODER_FILES if name not in manifest.files]
    if missing:
        raise ArtifactError(f"The model {directory.name[:12]} has no {missing[0]}. Train again.")
    graph, tokenizer, description = (manifest.files[name].sha256 for name in ENCODER_FILES)
    return graph, tokenizer, description


def _warm_up(encoder: Encoder, directory: Path) -> None:
    """Run short and full-length texts, so that no person's question is the first: the session plans and allocates."""
    for text in ("a", "warm up", "word " * encoder.max_tokens):
        if not np.isfinite(encoder.encode(text)).all():
            raise ArtifactError(f"The model {directory.name[:12]} computes numbers that are not finite. Train again.")


def _compare_canary(encoder: Encoder, directory: Path) -> None:
    """Encode the texts of canary.json ({"texts": [n], "vectors": [n, d]}) and compare with its vectors."""
    texts, expected = _read_canary(directory)
    if not texts or expected.shape != (len(texts), encoder.dimensions):
        raise ArtifactError(
            f"The model {directory.name[:12]} has a canary of {len(texts)} texts and vectors {expected.shape}; "
            f"[{len(texts)}, {encoder.dimensions}] was expected. Train again."
        )
    lowest = float(np.einsum("nd,nd->n", encoder.encode_many(texts), expected).min())
    if not lowest >= CANARY_COSINE:  # written so that NaN fails, too
        raise ArtifactError(
            f"The model {directory.name[:12]} does not compute here what it did where it was trained "
            f"(cosine {lowest:.3f} on a canary text, {CANARY_COSINE} is required). Train again."
        )


def _read_canary(directory: Path) -> tuple[list[str], NDArray[np.float32]]:
    try:
        canary = json.loads((directory / "canary.json").read_text(encoding="utf-8"))
        texts = [str(text) for text in canary["texts"]]
        vectors = np.asarray(canary["vectors"], np.float32)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"The model {directory.name[:12]} has no usable canary.json ({error}). Train again."
        ) from None
    return texts, vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _head(directory: Path, manifest: Manifest, encoder: Encoder) -> Head | None:
    """The head of a version, with the labels of its manifest and the dimensions of its encoder; None for a base."""
    if manifest.kind == "base":
        return None
    if HEAD_FILE not in manifest.files:
        raise ArtifactError(f"The model {directory.name[:12]} is a version but has no {HEAD_FILE}. Train again.")
    head = Head.load(directory)
    labels = tuple(label["name"] for label in manifest.labels)
    if head.labels != labels:
        raise ArtifactError(
            f"The model {directory.name[:12]} has {len(labels)} labels in its manifest and {len(head.labels)} in its "
            "head, or in another order. Train again."
        )
    if head.weight.shape[1] != encoder.dimensions:
        raise ArtifactError(
            f"The model {directory.name[:12]} has a head for {head.weight.shape[1]} dimensions and an encoder of "
            f"{encoder.dimensions}. Train again."
        )
    return head


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.0f} MB"

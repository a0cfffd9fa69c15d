"""Text to unit vector, as served: tokenizer and ONNX session, one text per call.

One text per call on purpose: dynamic int8 takes one activation scale per call, so in a batch the answer to a question
would depend on who else asks at that moment (up to 1.6 logits, 0.5-3 % of labels). Alone, it depends on the text.
Parallelism comes from threads. This module does not know labels, training, or where a directory came from.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from storage.errors import ArtifactError

# The runtime reads this once, as it is imported: it would write a device id into the home directory and report home.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime as ort

ENCODER_FILES = ("encoder.onnx", "tokenizer.json", "encoder.json")
OUTPUT = "unit_vector"
CHUNK = 64
"""Texts that a thread of `encode_many` takes at a time: one future for each of 50,000 texts takes 100 MB."""


class Reading(NamedTuple):
    """What an encoder makes of one text."""

    vector: NDArray[np.float32]
    """[dimensions], L2 norm 1."""
    cut: bool
    """Whether the text has more than `max_tokens` tokens, so that its end was not read."""


class Encoder:
    """An exported encoder in memory. Every method may be called from several threads at once."""

    def __init__(
        self,
        session: ort.InferenceSession,
        tokenizer: Tokenizer,
        max_tokens: int,
        dimensions: int,
        digest: str,
        size: int,
    ) -> None:
        self._session = session
        self._tokenizer = tokenizer
        self.max_tokens = max_tokens
        """Tokens of a text that are read, the two special ones included; the rest is cut."""
        self.dimensions = dimensions
        self.digest = digest
        """sha256 over the three files: the key of every cache of its vectors."""
        self.bytes = size
        """Size of the three files: a lower bound of the memory it takes."""

    @classmethod
    def load(
        cls,
        directory: Path,
        *,
        hashes: Sequence[str] = (),
        alike: Encoder | None = None,
        open_session: Callable[[str], ort.InferenceSession] | None = None,
    ) -> Encoder:
        """Open encoder.onnx, tokenizer.json and encoder.json of `directory`.

        Args:
            hashes: sha256 of the three files where they are known already; else they are read for them.
            alike: an encoder with the same tokenizer.json, whose tokenizer is shared: it takes 15 ms to make, in which
                no other thread has the interpreter.
            open_session: opens a graph as `open_graph` does, which is the longest part and needs no interpreter.

        Raises:
            ArtifactError: a file is missing, unreadable, or does not fit the others.
        """
        paths = [directory / name for name in ENCODER_FILES]
        graph, vocabulary, description = paths
        hashes = hashes or [hashlib.sha256(_read(path)).hexdigest() for path in paths]
        try:
            settings = json.loads(_read(description))
            max_tokens, dimensions = int(settings["max_tokens"]), int(settings["dimensions"])
            if alike is not None and alike.max_tokens == max_tokens:
                tokenizer = alike._tokenizer
            else:
                tokenizer = _tokenizer(_read(vocabulary), max_tokens)
            # From the path: given the bytes, the runtime holds the interpreter for 30 ms while it copies them.
            session = (open_session or open_graph)(str(graph))
        except ArtifactError:
            raise
        except Exception as error:  # both libraries raise bare Exception subclasses of their own
            raise ArtifactError(f"The encoder in {directory} cannot be loaded: {_first_line(error)}") from None
        size = sum(path.stat().st_size for path in paths)
        encoder = cls(session, tokenizer, max_tokens, dimensions, digest_of(hashes), size)
        encoder._check_shapes(directory)
        return encoder

    def read(self, text: str) -> Reading:
        """The text's vector, which depends on this text alone, and whether the text was too long to be read whole."""
        tokens = self._tokenizer.encode(text)
        ids = np.asarray([tokens.ids], dtype=np.int64)
        # A copy: a view would keep the whole session's memory for as long as somebody keeps the vector.
        return Reading(self._session.run([OUTPUT], {"input_ids": ids})[0][0].copy(), bool(tokens.overflowing))

    def encode(self, text: str) -> NDArray[np.float32]:
        """The text's vector: float32 [dimensions], L2 norm 1."""
        return self.read(text).vector

    def encode_many(
        self, texts: Sequence[str], threads: int = 1, on_batch: Callable[[], None] = lambda: None
    ) -> NDArray[np.float32]:
        """Vectors [len(texts), dimensions], bit for bit those of `encode`, computed in `threads` threads.

        `on_batch` is called from this thread, after every CHUNK texts.
        """
        if not texts:
            return np.zeros((0, self.dimensions), np.float32)
        vectors = np.empty((len(texts), self.dimensions), np.float32)

        def encode_some(start: int, end: int) -> None:
            for index in range(start, min(end, len(texts))):
                vectors[index] = self.encode(texts[index])

        starts = range(0, len(texts), CHUNK)
        if threads <= 1:
            for start in starts:
                encode_some(start, start + CHUNK)
                on_batch()
            return vectors
        with ThreadPoolExecutor(threads, thread_name_prefix="encode") as pool:
            for _ in pool.map(encode_some, starts, (start + CHUNK for start in starts)):
                on_batch()
        return vectors

    def _check_shapes(self, directory: Path) -> None:
        inputs = [port.name for port in self._session.get_inputs()]
        outputs = [port.name for port in self._session.get_outputs()]
        if inputs != ["input_ids"] or OUTPUT not in outputs:
            raise ArtifactError(
                f"The encoder in {directory} maps {inputs} to {outputs}; input_ids to {OUTPUT} was expected."
            )
        try:
            vector = self.encode("shape")
        except Exception as error:  # onnxruntime raises bare Exception subclasses of its own
            raise ArtifactError(f"The encoder in {directory} cannot run: {_first_line(error)}") from None
        if vector.shape != (self.dimensions,) or not np.isclose(np.linalg.norm(vector), 1.0, atol=1e-3):
            raise ArtifactError(
                f"The encoder in {directory} does not yield unit vectors of {self.dimensions} numbers "
                f"(shape {vector.shape}, norm {np.linalg.norm(vector):.3g})."
            )


def open_graph(path: str) -> ort.InferenceSession:
    """An inference session of the graph at `path`; raises what onnxruntime raises."""
    return ort.InferenceSession(path, _session_options(), providers=["CPUExecutionProvider"])


def _session_options() -> ort.SessionOptions:
    """One thread per call and no spinning: callers bring their own threads and idle ones must not burn a core."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # Plans are kept per input length; texts have many lengths.
    options.enable_mem_pattern = False
    # Processors without VNNI multiply int8 in pairs that overflow 16 bits, unless told not to; others ignore it.
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.log_severity_level = 3
    return options


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"The encoder's file {path} cannot be read: {error.strerror or error}.") from None


def _tokenizer(vocabulary: bytes, max_tokens: int) -> Tokenizer:
    tokenizer = Tokenizer.from_str(vocabulary.decode("utf-8"))
    # Published tokenizers often have padding and another truncation baked in.
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length=max_tokens)
    return tokenizer


def digest_of(hashes: Sequence[str]) -> str:
    """The encoder that the sha256 of each of `ENCODER_FILES` make: vectors are cached under it."""
    total = hashlib.sha256()
    for each in hashes:
        total.update(bytes.fromhex(each))
    return total.hexdigest()


def _first_line(error: Any) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]

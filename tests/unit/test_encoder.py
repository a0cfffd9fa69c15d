"""The encoder as served: the answer depends on the text alone, and a broken directory is refused."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import get_ident

import numpy as np
import pytest

from storage.errors import ArtifactError
from tests.fakes.tiny_encoder import make_tiny_base
from trainer.model.encoder import Encoder

TEXTS = ["the app crashes", "I want my money back please", "", "ok", "word " * 300, "größe 😀"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_base(tmp_path_factory.mktemp("encoder") / "base")


@pytest.fixture
def copy(base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(base, tmp_path / "copy"))


def test_vectors_are_unit_float32_of_the_promised_width(base: Path) -> None:
    encoder = Encoder.load(base)
    vectors = encoder.encode_many(TEXTS)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(TEXTS), encoder.dimensions) == (len(TEXTS), 32)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_many_and_one_give_the_same_bits_in_any_order_and_thread(base: Path) -> None:
    encoder = Encoder.load(base)
    alone = np.stack([encoder.encode(text) for text in TEXTS])
    assert np.array_equal(encoder.encode_many(TEXTS, threads=3), alone)
    assert np.array_equal(encoder.encode_many(TEXTS[::-1]), alone[::-1])
    with ThreadPoolExecutor(8) as pool:
        crowd = list(pool.map(encoder.encode, TEXTS * 20))
    assert all(np.array_equal(vector, alone[index % len(TEXTS)]) for index, vector in enumerate(crowd))


@pytest.mark.parametrize("threads", [1, 3])
def test_whoever_waits_for_many_hears_of_every_batch_in_their_own_thread(base: Path, threads: int) -> None:
    encoder, heard = Encoder.load(base), []
    texts = TEXTS * 25
    vectors = encoder.encode_many(texts, threads, lambda: heard.append(get_ident()))
    assert heard == [get_ident()] * 3  # 150 texts, 64 at a time
    assert np.array_equal(vectors, np.tile(encoder.encode_many(TEXTS), (25, 1)))


def test_no_texts_give_no_rows(base: Path) -> None:
    assert Encoder.load(base).encode_many([]).shape == (0, 32)


def test_a_long_text_is_cut_and_says_so(base: Path) -> None:
    encoder = Encoder.load(base)
    assert encoder.max_tokens == 64
    assert encoder.read("bug " * 63).cut
    assert encoder.read("bug").vector.flags.owndata  # a view would keep the session's memory
    assert not encoder.read("bug " * 62).cut
    assert np.array_equal(encoder.encode("bug " * 62 + "refund refund"), encoder.encode("bug " * 62))


def test_padding_that_is_baked_into_the_tokenizer_is_ignored(base: Path, copy: Path) -> None:
    description = json.loads((copy / "tokenizer.json").read_text())
    description["padding"] = {
        "strategy": {"Fixed": 50},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "[PAD]",
    }
    (copy / "tokenizer.json").write_text(json.dumps(description))
    assert np.array_equal(Encoder.load(copy).encode("ok"), Encoder.load(base).encode("ok"))


def test_the_digest_names_the_files_and_nothing_else(base: Path, copy: Path) -> None:
    assert Encoder.load(base).digest == Encoder.load(copy).digest
    (copy / "encoder.json").write_text(json.dumps({"max_tokens": 8, "dimensions": 32}))
    assert Encoder.load(base).digest != Encoder.load(copy).digest


@pytest.mark.parametrize("name", ["encoder.onnx", "tokenizer.json", "encoder.json"])
def test_a_missing_or_broken_file_is_an_artifact_error(copy: Path, name: str) -> None:
    (copy / name).write_bytes((copy / name).read_bytes()[:20])
    with pytest.raises(ArtifactError, match="cannot be loaded"):
        Encoder.load(copy)
    (copy / name).unlink()
    with pytest.raises(ArtifactError, match=name):
        Encoder.load(copy)


def test_another_width_than_promised_is_refused(copy: Path) -> None:
    (copy / "encoder.json").write_text(json.dumps({"max_tokens": 64, "dimensions": 31}))
    with pytest.raises(ArtifactError, match="31 numbers"):
        Encoder.load(copy)

"""Loading real artifacts: what may serve is loaded aside and shared; what must not is refused and changes nothing."""

from __future__ import annotations

import asyncio
import errno
import gc
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bot.inference.engine import Engine, Served
from bot.inference.loader import MODEL_TYPES, NICENESS, load
from bot.inference.memory import available_memory
from storage import artifacts
from storage.artifacts import seal
from storage.errors import ArtifactError, Busy
from tests.fakes.fake_encoder import until
from tests.fakes.tiny_encoder import make_tiny_base
from trainer import bases as bases_module
from trainer.model import encoder as encoder_module
from trainer.model.encoder import Encoder
from trainer.model.head import Head

LABELS = ("bug", "praise")


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two exported encoders that differ in their weights alone."""
    folder = tmp_path_factory.mktemp("bases")
    return [make_tiny_base(folder / f"seed{seed}", seed=seed) for seed in (0, 1)]


def head(dimensions: int = 32, labels: tuple[str, ...] = LABELS, fill: float = 0.1) -> Head:
    weight = np.full((len(labels), dimensions), fill, np.float32)
    return Head(labels, weight, np.arange(len(labels), dtype=np.float32), 1.0, 0.0)


@pytest.fixture(autouse=True)
def _nothing_in_memory() -> None:
    """Encoders are shared by the process, and the traceback of an earlier test may still hold one."""
    gc.collect()


Make = Callable[..., Path]


@pytest.fixture
def make(bases: list[Path], tmp_path: Path) -> Make:
    """Seals an artifact: `make(seed, head, spoil)`, where `spoil(staging)` changes files before they are hashed."""
    count = iter(range(100))

    def build(
        seed: int = 0, head: Head | None = None, spoil: Callable[[Path], object] | None = None, kind: str = "version"
    ) -> Path:
        staging = tmp_path / "models" / f"{next(count)}.part"
        shutil.copytree(bases[seed], staging)
        if head is not None:
            head.save(staging)
        if spoil is not None:
            spoil(staging)
        labels = [{"id": index, "name": name, "description": ""} for index, name in enumerate(LABELS)]
        sealed = seal(staging, tmp_path / "models", kind, labels if kind == "version" else [], {}, 0.0)  # type: ignore[arg-type]
        return tmp_path / "models" / sealed

    return build


async def test_a_version_is_loaded_with_its_head_and_computes_what_its_files_do(make: Make, bases: list[Path]) -> None:
    encoder, loaded = await load(make(0, head()))
    assert np.array_equal(encoder.encode("the app crashes"), Encoder.load(bases[0]).encode("the app crashes"))
    assert loaded is not None
    assert loaded.labels == LABELS


async def test_a_base_encoder_has_no_head(make: Make) -> None:
    _, loaded = await load(make(kind="base"))
    assert loaded is None


async def test_artifacts_with_the_same_encoder_share_it_and_it_is_freed_with_the_last(make: Make) -> None:
    one, other = make(0, head(fill=0.1)), make(0, head(fill=0.2))
    (first, _), (second, _), (different, _) = await asyncio.gather(load(one), load(other), load(make(1, head())))
    assert first is second
    assert first is not different
    freed = weakref.ref(first)
    del first, second
    await until(lambda: freed() is None)  # the loading thread may still be on its way out


@pytest.mark.parametrize(
    "name", ["encoder.onnx", "encoder.json", "tokenizer.json", "head.safetensors", "canary.json", "manifest.json"]
)
async def test_a_changed_byte_in_any_file_is_refused(make: Make, name: str) -> None:
    directory = make(0, head())
    content = bytearray((directory / name).read_bytes())
    content[len(content) // 2] ^= 1
    (directory / name).write_bytes(content)
    with pytest.raises(ArtifactError, match=directory.name[:12]):
        await load(directory)


async def test_a_directory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError):
        await load(tmp_path / "nothing")


def _other_canary(staging: Path) -> None:
    canary = json.loads((staging / "canary.json").read_text())
    canary["vectors"] = canary["vectors"][1:] + canary["vectors"][:1]
    (staging / "canary.json").write_text(json.dumps(canary))


def _canary_of_nan(staging: Path) -> None:
    canary = json.loads((staging / "canary.json").read_text())
    canary["vectors"] = [[float("nan")] * len(vector) for vector in canary["vectors"]]
    (staging / "canary.json").write_text(json.dumps(canary))


def _config(staging: Path, **more: Any) -> None:
    path = staging / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | more))


def test_every_kind_that_a_trainer_makes_is_known_here() -> None:
    assert bases_module.MODEL_TYPES == MODEL_TYPES


def _cut_graph(staging: Path) -> None:
    content = (staging / "encoder.onnx").read_bytes()
    (staging / "encoder.onnx").write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    ("loaded_head", "spoil", "reason"),
    [
        (None, None, "no head.safetensors"),
        (head(dimensions=16), None, "16 dimensions"),
        (head(labels=("praise", "bug")), None, "another order"),
        (head(labels=("bug",)), None, "2 labels in its manifest and 1"),
        (head(fill=float("nan")), None, "not finite"),
        (head(), _cut_graph, "cannot be loaded"),
        (head(), _other_canary, "cosine"),
        (head(), _canary_of_nan, "cosine"),
        (head(), lambda staging: (staging / "canary.json").unlink(), "canary.json"),
        (head(), lambda staging: (staging / "canary.json").write_text('{"texts": [], "vectors": []}'), "canary"),
        (head(), lambda staging: (staging / "canary.json").write_text("[]"), "canary.json"),
        (head(), lambda staging: (staging / "encoder.json").unlink(), "no encoder.json"),
        (head(), lambda staging: (staging / "encoder.json").write_text("{}"), "cannot be loaded"),
        (head(), lambda staging: _config(staging, auto_map={"AutoModel": "modeling_x.X"}), "run its own code"),
        (head(), lambda staging: _config(staging, model_type="surprise"), 'is a "surprise"'),
        (head(), lambda staging: (staging / "config.json").write_text("[]"), "cannot be loaded"),
    ],
)
async def test_files_that_verify_but_do_not_fit_are_refused_with_the_reason(
    make: Make, loaded_head: Head | None, spoil: Callable[[Path], object] | None, reason: str
) -> None:
    with pytest.raises(ArtifactError, match=reason):
        await load(make(0, loaded_head, spoil))


async def test_too_little_memory_is_refused_with_the_number_but_a_shared_encoder_needs_none(make: Make) -> None:
    encoder, _ = await load(make(0, head()), memory=lambda: 10**12)
    assert (await load(make(0, head(fill=0.3)), memory=lambda: 1000))[0] is encoder
    with pytest.raises(Busy, match=r"\d+ MB of memory and 0 MB are available"):
        await load(make(1, head()), memory=lambda: 1000)


@pytest.mark.parametrize("error", [OSError(errno.EMFILE, os.strerror(errno.EMFILE)), MemoryError()])
async def test_what_the_process_lacks_says_nothing_about_the_files(
    make: Make, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    directory = make(0, head())

    def fail(path: Path) -> str:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(artifacts, "sha256_of", fail)
        with pytest.raises(Busy, match=r"cannot be loaded now \((Too many open files|out of memory)\)"):
            await load(directory)
    await load(directory)


async def test_where_the_system_does_not_tell_its_memory_nobody_is_refused(make: Make) -> None:
    encoder, _ = await load(make(0, head()), memory=lambda: None)
    assert encoder.dimensions == 32


def test_the_smaller_of_machine_and_container_memory_counts(tmp_path: Path) -> None:
    machine = tmp_path / "meminfo"
    machine.write_text("MemTotal:  4000 kB\nMemAvailable:  3000 kB\n")
    assert available_memory(machine, tmp_path) == 3_072_000
    (tmp_path / "memory.max").write_text("2000000\n")
    (tmp_path / "memory.current").write_text("1500000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 100000\n")
    assert available_memory(machine, tmp_path) == 600_000
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory(machine, tmp_path) == 3_072_000
    assert available_memory(tmp_path / "none", tmp_path) is None


async def test_a_failed_load_leaves_the_champion_answering(make: Make) -> None:
    async with Engine() as engine:
        encoder, champion = await load(make(0, head()))
        assert champion is not None
        engine.serve(Served(1, 1, 0, encoder, champion))
        before = await engine.answer(1, "the app crashes")
        with pytest.raises(ArtifactError):
            await load(make(1, head(dimensions=16)))
        after = await engine.answer(1, "the app crashes")
    assert (after.version, after.scores) == (before.version, before.scores)


async def test_queries_are_answered_while_a_slow_load_goes_on(make: Make) -> None:
    loading = threading.Event()
    go_on = threading.Event()

    def slow() -> None:
        loading.set()
        go_on.wait(30)

    async with Engine() as engine:
        encoder, champion = await load(make(0, head()))
        assert champion is not None
        engine.serve(Served(1, 1, 0, encoder, champion))
        loading_task = asyncio.create_task(load(make(1, head()), memory=slow))
        while not loading.is_set():
            await asyncio.sleep(0.002)
        began = time.monotonic()
        for index in range(50):
            await engine.answer(1, f"question {index}")
        assert not loading_task.done()
        assert time.monotonic() - began < 5
        go_on.set()
        await loading_task


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a thread has no priority of its own")
async def test_opening_a_graph_is_nicer_than_answering(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def priority() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    def open_graph(path: str) -> Any:
        seen.append(priority())
        return encoder_module.open_graph(path)

    seen: list[int] = []
    before = priority()
    monkeypatch.setattr("bot.inference.loader.open_graph", open_graph)
    await load(make(0, head()))
    assert seen == [min(19, before + NICENESS)]
    assert priority() == before


async def test_encoders_with_one_vocabulary_share_its_tokenizer(make: Make) -> None:
    """Making one stops every thread for 15 ms."""
    first, _ = await load(make(0, head()))
    second, _ = await load(make(1, head()))
    assert second is not first
    assert second._tokenizer is first._tokenizer
    by_itself = Encoder.load(make(1, head()))
    assert second.encode("the app crashes").tolist() == by_itself.encode("the app crashes").tolist()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system does not tell what a process takes")
def test_what_was_freed_is_handed_back_before_memory_is_told() -> None:
    program = (
        "from bot.inference.memory import available_memory\n"
        "def resident(): return int(open('/proc/self/statm').read().split()[1]) * 4096\n"
        "blocks = [bytes(100_000) for _ in range(2000)]\n"  # 200 MB, too small each to be handed back by themselves
        "last = blocks.pop()\n"
        "del blocks\n"
        "before = resident()\n"
        "available_memory()\n"
        "print(before - resident())\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert int(result.stdout) > 100_000_000

"""The bot's side against real servers, some of which misbehave: cut, silent, forged, damaged."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

import trainer.download
import trainer.transport
from storage.artifacts import seal, verify
from storage.errors import ArtifactError, DiskFull, InvalidInput, NotFound, TrainerUnavailable, TrainingFailed
from storage.records import Source, Split
from storage.snapshots import SnapshotContent, SnapshotLabel, SnapshotRow, write_snapshot
from tests.fakes.tiny_encoder import make_tiny_encoder
from tests.fakes.trainer_bench import KEY, Bench, bench
from trainer.client import TrainerClient
from trainer.executors.subprocess import SubprocessExecutor
from trainer.protocol import JobSpec, Phase, Progress, RunState


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer.download, "_PAUSE", 0.01)
    monkeypatch.setattr(trainer.transport, "PAUSES", (0.01, 0.01, 0.01))


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path) as made:
        yield made


def make_artifact(root: Path, size: int = 300_000) -> Path:
    staging = root / "staging"
    staging.mkdir(parents=True)
    (staging / "model.safetensors").write_bytes(b"".join(i.to_bytes(4, "big") for i in range(size // 4)))
    (staging / "README.md").write_text("a model")
    (staging / "report.json").write_text("")
    return root / seal(staging, root, "version", ({"id": 1, "name": "bug", "description": ""},), {}, 0.0)


class Proxy:
    """A TCP proxy that cuts, changes or holds back what the trainer answers."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.cut_after: list[int] = []  # bytes let through, one entry per connection; then no limit
        self.flip: list[int] = []  # offset of a byte to change, one entry per connection
        self.silent = False
        self.connections = 0
        self.passed = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        limit = self.cut_after.pop(0) if self.cut_after else 1 << 60
        flip = self.flip.pop(0) if self.flip else -1
        there, up = await asyncio.open_connection("127.0.0.1", self.port)
        forward = asyncio.create_task(self._forward(reader, up))
        sent = 0
        try:
            while sent < limit and (data := await there.read(min(1 << 14, limit - sent))):
                if sent <= flip < sent + len(data):
                    data = data[: flip - sent] + bytes([data[flip - sent] ^ 1]) + data[flip - sent + 1 :]
                sent += len(data)
                self.passed += len(data)
                if self.silent:
                    await asyncio.sleep(60)
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            forward.cancel()
            writer.close()
            up.close()

    async def _forward(self, reader: asyncio.StreamReader, up: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 14):
            up.write(data)
            await up.drain()


@asynccontextmanager
async def through_proxy(served: Bench) -> AsyncIterator[tuple[TrainerClient, Proxy]]:
    proxy = Proxy(int(served.url.rpartition(":")[2]))
    async with proxy.running() as url, TrainerClient(url, KEY, timeout=1.0) as client:
        yield client, proxy


# Artifacts


async def test_artifact_comes_home_verified(served: Bench, tmp_path: Path) -> None:
    artifact = make_artifact(served.store.artifacts)
    fetched = await served.client.fetch_artifact(artifact.name, tmp_path / "models")
    assert fetched == tmp_path / "models" / artifact.name
    assert verify(fetched).files.keys() == {"model.safetensors", "README.md", "report.json"}
    assert [path.name for path in fetched.parent.iterdir()] == [artifact.name]


async def test_download_resumes_where_the_connection_broke(served: Bench, tmp_path: Path) -> None:
    artifact = make_artifact(served.store.artifacts)
    async with through_proxy(served) as (client, proxy):
        proxy.cut_after = [100_000, 100_000]
        fetched = await client.fetch_artifact(artifact.name, tmp_path / "models")
        assert verify(fetched)
        assert proxy.connections == 3
        assert proxy.passed < 310_000  # no byte of the model came twice


async def test_download_that_was_given_up_goes_on_later(
    served: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = make_artifact(served.store.artifacts)
    async with through_proxy(served) as (client, proxy):
        proxy.cut_after = [200_000, *[0] * 20]
        with pytest.raises(TrainerUnavailable):
            await client.fetch_artifact(artifact.name, tmp_path / "models")
        assert not (tmp_path / "models" / artifact.name).exists()
        proxy.cut_after, proxy.passed = [], 0
        await client.fetch_artifact(artifact.name, tmp_path / "models")
        assert proxy.passed < 150_000


async def test_changed_byte_is_found_and_the_file_fetched_once_more(served: Bench, tmp_path: Path) -> None:
    artifact = make_artifact(served.store.artifacts)
    async with through_proxy(served) as (client, proxy):
        proxy.flip = [150_000]
        assert verify(await client.fetch_artifact(artifact.name, tmp_path / "models"))
        assert 600_000 < proxy.passed < 700_000


async def test_artifact_that_stays_damaged_is_refused(served: Bench, tmp_path: Path) -> None:
    artifact = make_artifact(served.store.artifacts)
    weights = artifact / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(ArtifactError, match=r"model\.safetensors.*damaged twice"):
        await served.client.fetch_artifact(artifact.name, tmp_path / "models")
    assert not (tmp_path / "models" / artifact.name).exists()


async def test_foreign_manifest_is_refused(served: Bench, tmp_path: Path) -> None:
    artifact = make_artifact(served.store.artifacts)
    other = artifact.rename(artifact.with_name("e" * 64))
    with pytest.raises(ArtifactError, match="belongs to another id"):
        await served.client.fetch_artifact(other.name, tmp_path / "models")


async def test_damaged_copy_at_home_is_replaced_and_a_good_one_is_not_fetched(served: Bench, tmp_path: Path) -> None:
    artifact = make_artifact(served.store.artifacts)
    async with through_proxy(served) as (client, proxy):
        fetched = await client.fetch_artifact(artifact.name, tmp_path / "models")
        proxy.passed = 0
        await client.fetch_artifact(artifact.name, tmp_path / "models")
        assert proxy.passed == 0
        (fetched / "README.md").write_text("another")
        assert verify(await client.fetch_artifact(artifact.name, tmp_path / "models"))


async def test_missing_room_is_told_before_the_download(
    served: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = make_artifact(served.store.artifacts)
    monkeypatch.setattr("trainer.download.shutil.disk_usage", lambda path: type("U", (), {"free": 1000})())
    with pytest.raises(DiskFull, match="needs 300,007 bytes more"):
        await served.client.fetch_artifact(artifact.name, tmp_path / "models")


async def test_unknown_artifact_is_not_found(served: Bench, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        await served.client.fetch_artifact("e" * 64, tmp_path / "models")


async def test_champion_is_given_back_once_and_used(served: Bench, tmp_path: Path) -> None:
    champion = make_artifact(tmp_path / "models")
    async with through_proxy(served) as (client, proxy):
        await client.give_artifact(champion)
        assert verify(served.store.artifacts / champion.name)
        connections = proxy.connections
        await client.give_artifact(champion)
        assert proxy.connections == connections
    spec = served.spec()
    await served.client.put_snapshot(served.snapshot())
    await served.client.submit(type(spec)(spec.job_id, 1, spec.snapshot, spec.base, champion=champion.name))
    status = await served.outcome()
    fetched = await served.client.fetch_artifact(status.artifact or "", tmp_path / "models")
    assert '"champion": true' in (fetched / "README.md").read_text()


async def test_only_missing_files_are_given(served: Bench, tmp_path: Path) -> None:
    champion = make_artifact(tmp_path / "models")
    part = served.store.artifacts / f"{champion.name}.part"
    part.mkdir()
    (part / "model.safetensors").write_bytes((champion / "model.safetensors").read_bytes())
    (champion / "model.safetensors").unlink()  # it could not be sent
    await served.client.give_artifact(champion)
    assert verify(served.store.artifacts / champion.name)


async def test_an_artifact_that_two_trainings_need_at_once_arrives_whole(served: Bench, tmp_path: Path) -> None:
    champion = make_artifact(tmp_path / "models")
    await asyncio.gather(*(served.client.give_artifact(champion) for _ in range(8)))
    assert verify(served.store.artifacts / champion.name)


async def test_given_artifact_that_does_not_verify_is_dropped(served: Bench, tmp_path: Path) -> None:
    champion = make_artifact(tmp_path / "models")
    part = served.store.artifacts / f"{champion.name}.part"
    part.mkdir()
    (part / "README.md").write_text("something else")
    with pytest.raises(InvalidInput, match="dropped"):
        await served.client.give_artifact(champion)
    await served.client.give_artifact(champion)
    assert verify(served.store.artifacts / champion.name)


# Misbehaving servers


async def test_nobody_there_is_told_soon(unused_port: int) -> None:
    async with TrainerClient(f"http://127.0.0.1:{unused_port}", KEY, timeout=1.0) as client:
        with pytest.raises(TrainerUnavailable, match="cannot be reached"):
            await client.health()


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_trainer_that_is_not_known_yet_is_unavailable() -> None:
    async with TrainerClient(None, KEY) as client:
        with pytest.raises(TrainerUnavailable, match="not started"):
            await client.health()


async def test_silent_server_is_given_up_after_the_time_out(served: Bench, tmp_path: Path) -> None:
    artifact = make_artifact(served.store.artifacts)
    async with through_proxy(served) as (client, proxy):
        proxy.silent = True
        for call in (client.health(), client.poll("a" * 8, wait=0.2), client.fetch_artifact(artifact.name, tmp_path)):
            began = time.monotonic()
            with pytest.raises(TrainerUnavailable, match="in time"):
                await call
            assert 0.9 < time.monotonic() - began < 2.5


async def test_dropped_connection_is_tried_again(served: Bench) -> None:
    async with through_proxy(served) as (client, proxy):
        proxy.cut_after = [0, 0]
        assert (await client.health()).version == 1


async def test_wrong_key_is_unavailable_and_says_so(served: Bench) -> None:
    async with TrainerClient(served.url, "x" * 32) as client:
        with pytest.raises(TrainerUnavailable, match="refused our key"):
            await client.health()


async def test_first_of_two_keys_is_used(served: Bench) -> None:
    async with TrainerClient(served.url, f"{KEY}\nold-key-of-sixteen") as client:
        assert (await client.health()).jobs_waiting == 0


@pytest.mark.parametrize("status", [200, 302, 404, 500])
async def test_answer_without_our_trainers_signature_is_not_believed(status: int) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response(
            {"version": 1, "device": "cpu", "free_gpu_bytes": None, "jobs_waiting": 0, "jobs_running": 0},
            status=status,
            headers={"Location": "http://127.0.0.1:1/", "Pupil-Signature": hashlib.sha256().hexdigest()},
        )

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with TrainerClient(f"http://127.0.0.1:{runner.addresses[0][1]}/under/a/path/", KEY) as client:
            with pytest.raises(TrainerUnavailable, match="does not sign like our trainer"):
                await client.health()
    finally:
        await runner.cleanup()


async def test_noise_instead_of_http_is_unavailable() -> None:
    async def noise(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail ready\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(noise, "127.0.0.1", 0)
    async with server, TrainerClient(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", KEY) as client:
        with pytest.raises(TrainerUnavailable):
            await client.health()


# The real work


@pytest.mark.slow
async def test_base_is_exported_once_by_a_real_child(tmp_path: Path) -> None:
    base = make_tiny_encoder(tmp_path / "tiny base")
    async with bench(tmp_path, SubprocessExecutor(), timeout=60) as served:
        first, second = await asyncio.gather(
            served.client.base_artifact(str(base), tmp_path / "models"),
            served.client.base_artifact(str(base), tmp_path / "models"),
        )
        assert first == second
        assert verify(first).kind == "base"
        assert (first / "encoder.onnx").is_file()
        exact = await served.client.base_artifact(str(base), tmp_path / "models", "fp32")
        precisions = [json.loads((each / "encoder.json").read_text())["precision"] for each in (first, exact)]
        assert precisions == ["int8", "fp32"]
        with pytest.raises(TrainingFailed, match="nobody/nothing"):
            await served.client.base_artifact("nobody/nothing", tmp_path / "models")


@pytest.mark.long
async def test_a_real_training_that_is_killed_resumes_and_makes_the_same_version(tmp_path: Path) -> None:
    snapshot, base = many_rows(tmp_path), make_tiny_encoder(tmp_path / "base")
    recipe = {"checkpoint_seconds": 0.0, "least_steps": 200}
    whole = JobSpec("a" * 8, 1, snapshot.stem, str(base), recipe=recipe)
    async with bench(tmp_path, SubprocessExecutor(), timeout=60) as served:
        await served.client.put_snapshot(snapshot)
        await served.client.submit(whole)
        status = await served.outcome()
        assert status.state is RunState.SUCCEEDED, status.error
        assert [event.seq for event in status.events] == list(range(1, len(status.events) + 1))
        directory = await served.client.fetch_artifact(status.artifact or "", tmp_path / "models")

        killed = replace(whole, job_id="b" * 8)
        await served.client.submit(killed)
        events: list[Progress] = []
        after = 0
        while not any(event.phase is Phase.TRAINING and event.step for event in events):
            events += (await served.client.poll("b" * 8, after, wait=20)).events
            after = events[-1].seq
        run = served.store.job_folder("b" * 8, 1)
        os.kill(pid_of_run(run.path), signal.SIGKILL)
        assert (await served.outcome("b" * 8)).retryable
        await served.client.submit(replace(killed, attempt=2))
        resumed = await served.outcome("b" * 8)
        again = await served.client.fetch_artifact(resumed.artifact or "", tmp_path / "models")
    steps = [(event.phase, event.step) for event in resumed.events if event.step]
    assert all(phase is Phase.TRAINING for phase, _ in steps)  # nothing that was measured is measured again
    for name in ("model.safetensors", "head.safetensors", "encoder.onnx", "evidence.json"):
        assert (directory / name).read_bytes() == (again / name).read_bytes(), name
    manifest = verify(directory)
    assert manifest.kind == "version"
    assert [label["name"] for label in manifest.labels] == ["bug", "praise"]
    assert manifest.lineage["snapshot"] == snapshot.stem
    assert {"torch", "python"} <= manifest.lineage["libraries"].keys()


def many_rows(folder: Path) -> Path:
    labels = (SnapshotLabel(1, "bug", ""), SnapshotLabel(2, "praise", ""))
    words = {"bug": "the app crashes with an error number", "praise": "thank you for the great support number"}
    rows = tuple(
        SnapshotRow(i, f"{words[label]} {i}", label, Split.GOLDEN if i % 10 == 0 else Split.TRAIN, Source.COMMAND)
        for i, label in enumerate(["bug", "praise"] * 20, start=1)
    )
    root = folder / "snapshots"
    return root / f"{write_snapshot(SnapshotContent('1', 'triage', labels, rows, 40), root)}.jsonl"


def pid_of_run(folder: Path) -> int:
    """The process that works in a run folder, found by its arguments."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if str(folder).encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                return int(entry.name)
    raise AssertionError(f"nobody works in {folder}")

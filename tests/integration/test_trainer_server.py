"""The trainer as its bot meets it: a real server on loopback, real child processes, pretended trainings."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from storage.artifacts import read_manifest, verify
from storage.errors import ConfigurationError, Conflict, InvalidInput, NotFound, TrainerUnavailable
from tests.fakes.trainer_bench import KEY, Bench, bench, gone, is_alive, is_own_group, told_to_process
from trainer.client import TrainerClient
from trainer.executors.subprocess import SubprocessExecutor
from trainer.protocol import JobStatus, RunState
from trainer.retention import Limits
from trainer.server import require_key
from trainer.signing import EMPTY, sign_request
from trainer.store import Store


@pytest.fixture
async def trainer(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path) as made:
        yield made


async def ask(
    trainer: Bench, method: str, path: str, body: bytes = b"", *, headers: dict[str, str] | None = None, key: str = KEY
) -> tuple[int, str]:
    """A request as written, signed unless `headers` are given; status and sentence."""
    signed = sign_request(key, method, path, hashlib.sha256(body).hexdigest()) if headers is None else headers
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.request(method, URL(trainer.url + path, encoded=True), data=body or None, headers=signed) as response,
    ):
        return response.status, json.loads(await response.read() or b"{}").get("error", "")


# Jobs


async def test_job_runs_to_an_artifact_with_its_events(trainer: Bench) -> None:
    await trainer.submit()
    status = await trainer.outcome()
    assert status.state is RunState.SUCCEEDED
    assert [event.seq for event in status.events] == [1, 2, 3, 4]
    assert [event.fraction for event in status.events] == [0.0, 0.2, 0.5, 0.9]
    folder = await trainer.client.fetch_artifact(status.artifact or "", trainer.folder / "models")
    assert json.loads((folder / "README.md").read_text())["rows"] == ["the app crashes", "thank you"]


async def test_a_run_gets_the_version_it_starts_from_and_what_that_has_learned(trainer: Bench) -> None:
    await trainer.submit()
    theirs = (await trainer.outcome()).artifact or ""
    sent = trainer.snapshot("another text")
    await trainer.client.put_snapshot(sent)
    spec = replace(trainer.spec(job="b" * 8), snapshot=sent.stem, start=theirs, start_name="support v3")
    await trainer.client.submit(spec)
    status = await trainer.outcome("b" * 8)
    folder = await trainer.client.fetch_artifact(status.artifact or "", trainer.folder / "models")
    told, lineage = json.loads((folder / "README.md").read_text()), read_manifest(folder).lineage
    assert set(told["inputs"]) == {f"{sent.stem}.jsonl", theirs, f"{trainer.snapshot().stem}.jsonl"}
    assert (lineage["start"], lineage["learned"]) == (theirs, [sent.stem, trainer.snapshot().stem])


async def test_a_job_whose_start_is_not_here_is_done_without_it(trainer: Bench) -> None:
    await trainer.client.put_snapshot(trainer.snapshot())
    spec = replace(trainer.spec(), start="e" * 64, start_name="support v3")
    await trainer.client.submit(spec)
    assert (await trainer.client.submit(spec)).attempt == 1
    status = await trainer.outcome()
    assert status.state is RunState.SUCCEEDED
    folder = await trainer.client.fetch_artifact(status.artifact or "", trainer.folder / "models")
    assert read_manifest(folder).lineage["start"] is None


async def test_a_start_that_has_learned_the_very_snapshot_is_laid_out_once(trainer: Bench) -> None:
    await trainer.submit()
    theirs = (await trainer.outcome()).artifact or ""
    await trainer.client.submit(replace(trainer.spec(job="b" * 8), start=theirs))
    assert (await trainer.outcome("b" * 8)).state is RunState.SUCCEEDED


async def test_submitting_twice_is_one_run(trainer: Bench) -> None:
    spec = trainer.spec([["sleep", 0.3]])
    await trainer.client.put_snapshot(trainer.snapshot())
    await asyncio.gather(*(trainer.client.submit(spec) for _ in range(5)))
    await trainer.outcome()
    assert (await trainer.client.submit(spec)).state is RunState.SUCCEEDED  # also when it is over
    assert len((await trainer.outcome()).events) == 1
    assert list(trainer.store.job_folders(spec.job_id)) == [1]


async def test_higher_attempt_ends_the_lower_and_a_lower_one_is_refused(trainer: Bench) -> None:
    await trainer.submit([["sleep", 60]])
    pid = await trainer.started()
    second = await trainer.submit([["event", 0.5]], attempt=2)
    assert not is_alive(pid)
    assert (await trainer.outcome()).attempt == 2
    with pytest.raises(Conflict, match="attempt 2 has begun"):
        await trainer.client.submit(trainer.spec([["sleep", 60]]))
    with pytest.raises(Conflict, match="other content"):
        await trainer.client.submit(trainer.spec([["sleep", 1]], attempt=second.attempt))


async def reached(trainer: Bench, seq: int) -> None:
    """Return once the job has got to that event; one poll may end with another change, such as its start."""
    async with asyncio.timeout(60):
        while not (await trainer.client.poll("a" * 8, after=seq - 1, wait=5)).events:
            pass


def found_by(trainer: Bench, artifact: str | None) -> list[str]:
    """The attempts whose checkpoint was there when the artifact's attempt began."""
    found: list[str] = json.loads((trainer.store.artifacts / str(artifact) / "README.md").read_text())["found"]
    return found


@pytest.mark.parametrize("end", ["killed", "superseded", "killed twice"])
async def test_a_later_attempt_goes_on_from_the_checkpoint_of_the_earlier(trainer: Bench, end: str) -> None:
    await trainer.submit([["checkpoint"], ["event", 0.1], ["sleep", 60] if end == "superseded" else ["kill"]])
    await reached(trainer, 2)
    attempt = 2
    if end != "superseded":
        assert (await trainer.outcome()).retryable
    if end == "killed twice":  # the second time before it came to a checkpoint of its own
        await trainer.submit([["kill"]], attempt=2)
        await trainer.outcome()
        attempt = 3
    await trainer.submit(attempt=attempt)
    assert found_by(trainer, (await trainer.outcome()).artifact) == ["of attempt 1"]
    assert list(trainer.store.root.glob("jobs/*/*/checkpoint")) == []


async def test_a_checkpoint_outlives_the_trainer(tmp_path: Path) -> None:
    async with bench(tmp_path) as first:
        await first.submit([["checkpoint"], ["event", 0.1], ["sleep", 60]])
        await reached(first, 2)
    async with bench(tmp_path) as second:
        await second.submit(attempt=2)
        assert found_by(second, (await second.outcome()).artifact) == ["of attempt 1"]


@pytest.mark.parametrize("when", ["running", "failed"])
async def test_a_cancelled_job_leaves_no_checkpoint(trainer: Bench, when: str) -> None:
    await trainer.submit([["checkpoint"], ["event", 0.1], ["sleep", 60] if when == "running" else ["kill"]])
    await reached(trainer, 2)
    if when == "failed":
        await trainer.outcome()
        assert trainer.run_file("checkpoint").is_dir()
    await trainer.client.cancel("a" * 8)
    assert not trainer.run_file("checkpoint").exists()


async def test_what_fails_for_good_leaves_no_checkpoint(trainer: Bench) -> None:
    await trainer.submit([["checkpoint"], ["fail", "There is nothing to learn."]])
    assert not (await trainer.outcome()).retryable
    assert not trainer.run_file("checkpoint").exists()


async def test_jobs_run_one_after_the_other_in_order(trainer: Bench) -> None:
    await trainer.submit([["sleep", 0.5]], job="a" * 8)
    await trainer.submit([["sleep", 0.1]], job="b" * 8)
    await trainer.started("a" * 8)
    health = await trainer.client.health()
    assert (health.jobs_running, health.jobs_waiting) == (1, 1)
    await trainer.outcome("b" * 8)
    assert (await trainer.client.poll("a" * 8, wait=0)).state is RunState.SUCCEEDED


async def submit_for(trainer: Bench, owner: str, job: str, script: list[Any]) -> JobStatus:
    await trainer.client.put_snapshot(trainer.snapshot())
    return await trainer.client.submit(replace(trainer.spec(script, job=job * 8), owner=owner))


async def test_owners_run_in_turn_and_whoever_waits_knows_its_place(trainer: Bench) -> None:
    for job in "abc":
        await submit_for(trainer, "busy", job, [["sleep", 60]])
    await trainer.started("a" * 8)
    assert (await submit_for(trainer, "calm", "d", [["sleep", 60]])).ahead == 1
    # What is polled for tells its place at once when it changes: first it was second, now it is third.
    assert (await trainer.client.poll("b" * 8, wait=0)).ahead == 2
    news = asyncio.create_task(trainer.client.poll("b" * 8, wait=60))
    await asyncio.sleep(0.2)
    await trainer.client.cancel("a" * 8)
    assert (await asyncio.wait_for(news, 30)).ahead == 1
    await trainer.started("d" * 8)
    assert (await trainer.client.poll("d" * 8, wait=0)).ahead == 0
    await trainer.client.cancel("b" * 8)  # while it waits
    assert (await trainer.client.poll("c" * 8, wait=0)).ahead == 1
    await trainer.client.cancel("d" * 8)
    await trainer.started("c" * 8)
    assert not trainer.run_file("pid", "b" * 8).exists()


async def test_the_owner_is_no_part_of_what_a_job_is(trainer: Bench) -> None:
    await submit_for(trainer, "", "a", [["sleep", 60]])
    assert (await submit_for(trainer, "somebody", "a", [["sleep", 60]])).attempt == 1


async def test_poll_answers_at_once_on_a_new_event(trainer: Bench) -> None:
    await trainer.submit([["sleep", 1.0], ["event", 0.5], ["sleep", 60]])
    await trainer.started()
    began = time.monotonic()
    status = await trainer.client.poll("a" * 8, after=1, wait=30)
    assert [event.seq for event in status.events] == [2]
    assert time.monotonic() - began < 5
    began = time.monotonic()
    assert len((await trainer.client.poll("a" * 8, after=0, wait=30)).events) == 2
    assert time.monotonic() - began < 0.5  # it was there already


async def test_poll_without_news_answers_after_the_wait(trainer: Bench) -> None:
    await trainer.submit([["sleep", 60]])
    await trainer.started()
    began = time.monotonic()
    status = await trainer.client.poll("a" * 8, after=1, wait=0.7)
    assert (status.events, status.state) == ((), RunState.RUNNING)
    assert 0.6 < time.monotonic() - began < 3


async def test_reconnecting_readers_miss_and_double_no_event(trainer: Bench) -> None:
    script = [step for i in range(1, 60) for step in (["event", i / 100], ["sleep", 0.01])]
    await trainer.submit(script)
    seen: list[int] = []
    while True:
        # Most of these connections are cut before or while the answer comes.
        try:
            async with asyncio.timeout(0.03):
                status = await trainer.client.poll("a" * 8, after=seen[-1] if seen else 0, wait=5)
        except TimeoutError:
            continue
        seen += [event.seq for event in status.events]
        assert seen == list(range(1, len(seen) + 1))
        if status.state is RunState.SUCCEEDED and not status.events:
            break
    assert len(seen) == 60


async def test_cancel_is_idempotent_and_ends_the_process(trainer: Bench) -> None:
    await trainer.submit([["deaf"], ["grandchild"], ["sleep", 60]])
    pid = await trainer.started()
    assert is_own_group(pid)
    while not trainer.run_file("grandchild").exists():
        await asyncio.sleep(0.05)
    await asyncio.gather(trainer.client.cancel("a" * 8), trainer.client.cancel("a" * 8))
    assert not is_alive(pid)
    assert await gone(int(trainer.run_file("grandchild").read_text()), 2)
    await trainer.client.cancel("a" * 8)
    await trainer.client.cancel("f" * 8)
    assert (await trainer.outcome()).state is RunState.CANCELLED


async def test_waiting_job_can_be_cancelled(trainer: Bench) -> None:
    await trainer.submit([["sleep", 60]], job="a" * 8)
    await trainer.submit(job="b" * 8)
    await trainer.client.cancel("b" * 8)
    assert (await trainer.client.poll("b" * 8, wait=0)).state is RunState.CANCELLED
    assert not trainer.run_file("pid", "b" * 8).exists()


async def test_a_job_whose_models_are_still_being_checked_can_be_cancelled(
    trainer: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    checking, checked = asyncio.Event(), asyncio.Event()

    async def slow(*_: str) -> None:
        checking.set()
        await checked.wait()

    monkeypatch.setattr(trainer.store, "exported", slow)
    submitting = asyncio.create_task(trainer.submit([["sleep", 60]]))
    await asyncio.wait_for(checking.wait(), 10)
    cancelling = asyncio.create_task(trainer.client.cancel("a" * 8))
    await asyncio.sleep(0.1)
    checked.set()
    await asyncio.gather(submitting, cancelling)
    assert (await trainer.client.poll("a" * 8, wait=0)).state is RunState.CANCELLED


async def test_cancelling_a_finished_job_changes_nothing(trainer: Bench) -> None:
    await trainer.submit()
    await trainer.outcome()
    await trainer.client.cancel("a" * 8)
    assert (await trainer.outcome()).state is RunState.SUCCEEDED


@pytest.mark.parametrize(
    ("step", "retryable", "sentence"),
    [
        (
            ["kill"],
            True,
            "killed by SIGKILL before it was finished, most likely because memory ran out. "
            "Lower batch or cache_bytes in the recipe, or give the trainer more memory.",
        ),
        (["exit", 3], True, "exit code 3"),
        (["disk_full"], True, "no room for writing a model of 123 bytes"),
        (["crash"], True, "unexpected RuntimeError"),
        (["fail", "3 texts are too few; label 5 more."], False, "3 texts are too few; label 5 more."),
    ],
    ids=["killed", "exit", "disk full", "crash", "too few"],
)
async def test_failure_says_whether_another_attempt_may_help(
    trainer: Bench, step: list[Any], retryable: bool, sentence: str
) -> None:
    await trainer.submit([["event", 0.1], step])
    status = await trainer.outcome()
    assert status.state is RunState.FAILED
    assert status.retryable is retryable
    assert sentence in (status.error or "")
    assert len(status.events) == 2  # what it had said before is kept


async def test_export_that_is_killed_is_told_with_its_likely_cause(tmp_path: Path) -> None:
    kill_oneself = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
    async with bench(tmp_path, SubprocessExecutor(kill_oneself)) as trainer:
        with pytest.raises(TrainerUnavailable, match=r"likely because memory ran out\. Give the trainer more memory\."):
            await trainer.client.base_artifact("tiny", tmp_path / "models")


async def test_failed_job_does_not_hold_up_the_next(trainer: Bench) -> None:
    await trainer.submit([["kill"]], job="a" * 8)
    await trainer.submit(job="b" * 8)
    assert (await trainer.outcome("b" * 8)).state is RunState.SUCCEEDED


async def test_hung_job_is_ended(tmp_path: Path) -> None:
    async with bench(tmp_path, stall_limit=1.5) as trainer:
        await trainer.submit([["sleep", 60]])
        status = await trainer.outcome()
    assert (status.state, status.retryable) == (RunState.FAILED, True)
    assert "no progress" in (status.error or "")


async def test_job_without_its_snapshot_or_champion_is_refused(trainer: Bench) -> None:
    spec = trainer.spec()
    with pytest.raises(Conflict, match="snapshot"):
        await trainer.client.submit(spec)
    await trainer.client.put_snapshot(trainer.snapshot())
    with pytest.raises(Conflict, match="model eeeeeeee"):
        await trainer.client.submit(type(spec)(spec.job_id, 1, spec.snapshot, spec.base, champion="e" * 64))
    with pytest.raises(NotFound):
        await trainer.client.poll(spec.job_id)


async def test_damaged_snapshot_counts_as_missing_and_is_replaced(trainer: Bench) -> None:
    path = trainer.snapshot()
    await trainer.client.put_snapshot(path)
    stored = trainer.store.snapshots / path.name
    stored.write_bytes(stored.read_bytes().replace(b"app", b"apq"))
    with pytest.raises(Conflict, match="snapshot"):
        await trainer.client.submit(trainer.spec())
    await trainer.submit()
    assert (await trainer.outcome()).state is RunState.SUCCEEDED


@pytest.mark.parametrize("asked", [False, True], ids=["submitted", "asked for first"])
async def test_damaged_champion_counts_as_missing_and_is_given_again(trainer: Bench, asked: bool) -> None:
    await trainer.submit()
    made = (await trainer.outcome()).artifact or ""
    champion = await trainer.client.fetch_artifact(made, trainer.folder / "models")
    (trainer.store.artifacts / made / "README.md").write_text("truncated")
    spec = replace(trainer.spec(job="b" * 8), champion=made)
    if not asked:
        with pytest.raises(Conflict, match="Give it back first"):
            await trainer.client.submit(spec)
    await trainer.client.give_artifact(champion)
    await trainer.client.submit(spec)
    assert (await trainer.outcome("b" * 8)).state is RunState.SUCCEEDED
    verify(trainer.store.artifacts / made)


EXPORT = """
import sys
from pathlib import Path
from storage.artifacts import seal
from trainer.protocol import RunState
from trainer.run_folder import Result, RunFolder
folder = RunFolder(Path(sys.argv[1]))
folder.staging.mkdir()
(folder.staging / "encoder.onnx").write_bytes(bytes(1000))
folder.finish(Result(RunState.SUCCEEDED, seal(folder.staging, folder.outputs, "base", (), {}, 0.0)))
"""


async def test_damaged_base_is_exported_anew(tmp_path: Path) -> None:
    async with bench(tmp_path, SubprocessExecutor([sys.executable, "-c", EXPORT])) as trainer:
        first = await trainer.client.base_artifact("tiny", tmp_path / "models")
        (trainer.store.artifacts / first.name / "encoder.onnx").write_bytes(b"truncated")
        again = await trainer.client.base_artifact("tiny", tmp_path / "elsewhere")
        assert again.name == first.name
        verify(trainer.store.artifacts / first.name)


# Restart


async def test_restart_keeps_finished_jobs_and_reports_the_running_one(tmp_path: Path) -> None:
    async with TrainerClient(None, KEY) as onlooker, bench(tmp_path) as first:
        onlooker.url = first.url
        await first.submit(job="a" * 8)
        done = await first.outcome("a" * 8)
        await first.submit([["event", 0.4], ["sleep", 60]], job="b" * 8)
        pid = await first.started("b" * 8)
        await first.submit(job="c" * 8)
        polling = asyncio.create_task(onlooker.poll("b" * 8, after=2, wait=60))
        await asyncio.sleep(0.3)
        began = time.monotonic()
    assert (await polling).state is RunState.FAILED
    assert time.monotonic() - began < 8  # nobody who waits holds up the end
    assert not is_alive(pid)
    async with bench(tmp_path) as second:
        assert await second.outcome("a" * 8) == done
        await second.client.fetch_artifact(done.artifact or "", tmp_path / "models")
        for job in ("b" * 8, "c" * 8):
            status = await second.outcome(job)
            assert (status.state, status.retryable) == (RunState.FAILED, True)
        again = await second.submit([["event", 0.4]], job="b" * 8, attempt=2)
        assert (await second.outcome(again.job_id)).state is RunState.SUCCEEDED


async def test_second_trainer_on_the_same_folder_is_refused(trainer: Bench) -> None:
    with pytest.raises(ConfigurationError, match="Another trainer"):
        async with Store(trainer.store.root).opened(patience=0.2):
            pass


async def test_what_is_old_goes_at_the_start_and_after_a_job_and_the_bot_gives_it_again(tmp_path: Path) -> None:
    async with bench(tmp_path) as first:
        await first.submit()
        made = (await first.outcome()).artifact or ""
        champion = await first.client.fetch_artifact(made, tmp_path / "models")
        long_ago(first.store.artifacts / made)
        long_ago(first.run_file("result.json"))  # after a start nobody knows that its bot came for it
    async with bench(tmp_path) as second:
        await vanished(second.store.artifacts / made)
        spec = replace(second.spec(job="b" * 8), champion=made)
        with pytest.raises(Conflict, match="Give it back first"):
            await second.client.submit(spec)
        await second.client.give_artifact(champion)
        await second.client.submit(spec)
        assert (await second.outcome("b" * 8)).state is RunState.SUCCEEDED
        long_ago(second.store.artifacts / made)
        await second.submit(job="c" * 8)
        await second.outcome("c" * 8)
        await vanished(second.store.artifacts / made)


async def test_a_job_that_waits_keeps_what_it_was_given(tmp_path: Path) -> None:
    async with bench(tmp_path, limits=Limits(days=1e-9, gigabytes=1e-9)) as trainer:
        await trainer.submit()
        made = (await trainer.outcome()).artifact or ""
        await trainer.client.fetch_artifact(made, tmp_path / "models")
        await trainer.submit([["sleep", 60]], job="b" * 8)
        await trainer.client.submit(replace(trainer.spec(job="c" * 8), champion=made))
        long_ago(trainer.store.artifacts / made)
        other = trainer.store.artifacts / ("e" * 64)
        other.mkdir()
        long_ago(other)
        await trainer.client.cancel("b" * 8)
        await vanished(other)
        assert (trainer.store.artifacts / made).is_dir()
        assert (await trainer.outcome("c" * 8)).state is RunState.SUCCEEDED


def long_ago(path: Path) -> None:
    os.utime(path, (1, 1))


async def vanished(path: Path) -> None:
    async with asyncio.timeout(60):
        while path.exists():
            await asyncio.sleep(0.02)


# Strangers


async def test_secrets_are_in_no_childs_arguments_or_environment(
    trainer: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DISCORD_TOKEN", "PUPIL_API_KEY", "HF_TOKEN", "SOMETHING_NEW"):
        monkeypatch.setenv(name, "planted-secret")
    await trainer.submit([["sleep", 60]])
    told = told_to_process(await trainer.started())
    assert b"planted-secret" not in told
    assert KEY.encode() not in told
    assert b"PATH=" in told


async def test_job_runs_at_low_priority(trainer: Bench) -> None:
    await trainer.submit([["sleep", 60]])
    pid = await trainer.started()
    assert os.getpriority(os.PRIO_PROCESS, pid) >= min(19, os.getpriority(os.PRIO_PROCESS, 0) + 10)
    assert int(Path(f"/proc/{pid}/oom_score_adj").read_text()) >= 500


async def test_request_that_is_not_ours_is_refused(trainer: Bench) -> None:
    path = "/v1/health"
    good = sign_request(KEY, "GET", path)
    assert (await ask(trainer, "GET", path, headers=good))[0] == 200
    refused = {
        "unsigned": {},
        "wrong key": sign_request("x" * 32, "GET", path),
        "replayed": good,
        "old": sign_request(KEY, "GET", path, now=time.time() - 301),
        "other path": sign_request(KEY, "GET", "/v1/jobs/aaaaaaaa"),
        "other method": sign_request(KEY, "DELETE", path),
        "not ASCII": good | {"Pupil-Signature": "é" * 64},
    }
    for name, headers in refused.items():
        status, sentence = await ask(trainer, "GET", path, headers=headers)
        assert (status, bool(sentence)) == (401, True), name
    assert (await ask(trainer, "GET", "/v1/nothing", headers={}))[0] == 401  # a stranger learns no routes


async def test_body_must_be_the_signed_one(trainer: Bench) -> None:
    headers = sign_request(KEY, "PUT", "/v1/jobs/aaaaaaaa", hashlib.sha256(b"{}").hexdigest())
    status, sentence = await ask(trainer, "PUT", "/v1/jobs/aaaaaaaa", b"[]", headers=headers)
    assert (status, "damaged" in sentence) == (400, True)


def stream(port: int, head: str, limit: int) -> tuple[bytes, int]:
    """Send a request head and then zeros until the server hangs up; its answer and how many bytes it took."""
    sent, answer, piece = 0, b"", bytes(1 << 16)
    if "chunked" in head:
        piece = b"10000\r\n" + piece + b"\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(head.encode())
        try:
            while sent < limit:
                connection.sendall(piece)
                sent += len(piece)
        except OSError:
            pass
        try:
            while data := connection.recv(1 << 16):
                answer += data
        except OSError:
            pass
    return answer, sent


@pytest.mark.parametrize(
    ("signed", "length", "expected"),
    [
        (False, "Content-Length: 5000000000", b"401"),
        (True, "Content-Length: 5000000000", b"413"),
        (False, "Transfer-Encoding: chunked", b"401"),
        (True, "Transfer-Encoding: chunked", b"411"),
        (True, "Content-Length: 5000000000\r\nContent-Encoding: gzip", b"415"),
    ],
)
async def test_endless_body_is_refused_cheaply(trainer: Bench, signed: bool, length: str, expected: bytes) -> None:
    path = f"/v1/snapshots/{EMPTY}"
    headers = sign_request(KEY if signed else "x" * 32, "PUT", path)
    head = f"PUT {path} HTTP/1.1\r\nHost: x\r\n{length}\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    answer, _ = await asyncio.to_thread(stream, int(trainer.url.rpartition(":")[2]), head + "\r\n", 5_000_000_000)
    assert answer.split(b" ", 2)[1:2] in ([expected], [])  # a reset may overtake the answer, but nothing else may come
    assert time.monotonic() - began < 8
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB
    assert (await trainer.client.health()).jobs_running == 0


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("PUT", "/v1/jobs/aaaaaaaa", b"[" * 60_000, 400),
        ("PUT", "/v1/jobs/aaaaaaaa", b'{"a":' * 10_000, 400),
        ("PUT", "/v1/jobs/aaaaaaaa", b"x" * 70_000, 413),
        ("PUT", "/v1/jobs/aaaaaaaa", b"", 400),
        ("GET", "/v1/jobs/..%2f..%2fkey", b"", 400),
        ("GET", "/v1/jobs/aaaaaaaa?after=x", b"", 400),
        ("GET", "/v1/jobs/aaaaaaaa?wait=nan", b"", 400),
        ("GET", "/v1/jobs/aaaaaaaa?after=-1", b"", 400),
        ("GET", "/v1/jobs/aaaaaaaa", b"", 404),
        ("GET", f"/v1/artifacts/{'a' * 64}/..%2f..%2flock", b"", 400),
        ("GET", f"/v1/artifacts/..%2f{'a' * 64}/manifest.json", b"", 400),
        ("GET", f"/v1/artifacts/{'a' * 64}/pytorch_model.bin", b"", 400),
        ("GET", f"/v1/artifacts/{'a' * 64}/manifest.json", b"", 404),
        ("GET", f"/v1/artifacts/{'A' * 64}", b"", 400),
        ("PUT", f"/v1/artifacts/{'a' * 64}/..%2fx", b"x", 400),
        ("PUT", "/v1/snapshots/..%2f..%2fx", b"x", 400),
        ("PUT", f"/v1/snapshots/{'a' * 64}", b"x", 400),
        ("GET", "/v1/bases/%00", b"", 400),
        ("GET", "/v1/nothing", b"", 404),
        ("POST", "/v1/health", b"", 405),
    ],
)
async def test_malformed_request_is_refused_in_one_sentence(
    trainer: Bench, method: str, path: str, body: bytes, expected: int
) -> None:
    before = sorted(path for path in trainer.folder.rglob("*"))
    status, sentence = await ask(trainer, method, path, body)
    assert status == expected
    assert sentence.endswith(".")
    assert "Traceback" not in sentence
    assert sorted(path for path in trainer.folder.rglob("*")) == before  # nothing was left behind


async def test_spec_of_another_job_is_refused(trainer: Bench) -> None:
    from trainer.protocol import to_json

    status, sentence = await ask(trainer, "PUT", "/v1/jobs/bbbbbbbb", to_json(trainer.spec()).encode())
    assert (status, "differ" in sentence) == (400, True)
    with pytest.raises(InvalidInput, match="attempt"):
        await trainer.client.submit(trainer.spec(attempt=0))


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.4", "::", "gpu.example"])
def test_public_address_without_a_key_is_refused(host: str) -> None:
    with pytest.raises(ConfigurationError, match="there is no key"):
        require_key(host, key_given=False)
    require_key(host, key_given=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_loopback_needs_no_key_of_the_operators(host: str) -> None:
    require_key(host, key_given=False)


async def test_port_in_use_is_told_in_one_sentence(tmp_path: Path) -> None:
    from tests.fakes.fake_job import COMMAND
    from trainer.executors.subprocess import SubprocessExecutor
    from trainer.server import serving

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"port {port}"):
            async with serving(Store(tmp_path), SubprocessExecutor(COMMAND), [KEY], port=port):
                pass


async def test_sigstopped_job_can_still_be_cancelled(trainer: Bench) -> None:
    await trainer.submit([["sleep", 60]])
    pid = await trainer.started()
    os.kill(pid, signal.SIGSTOP)
    await trainer.client.cancel("a" * 8)
    assert not is_alive(pid)

"""The bot's own trainer: quick to start, started again when it dies, and gone when the bot is gone."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

import bot.local_trainer
from bot.app import open_trainer
from bot.local_trainer import LocalTrainer
from storage.errors import TrainerUnavailable
from storage.settings import Settings
from tests.fakes.tiny_encoder import make_tiny_encoder
from tests.fakes.trainer_bench import appeared, gone, is_alive, told_to_process
from tests.fakes.trainer_process import command, start_sleeping_job
from trainer.client import TrainerClient, local_trainer_command
from trainer.protocol import JobStatus

HEAVY = ("libtorch", "onnxruntime", "sklearn", "pandas", "transformers", "scipy")


def local(folder: Path) -> LocalTrainer:
    return LocalTrainer(folder / "trainer", Settings(data=folder), command=command)


async def test_real_trainer_answers_and_loads_nothing_heavy(tmp_path: Path) -> None:
    async with LocalTrainer(tmp_path / "trainer", Settings(data=tmp_path, device="cpu")) as trainer:
        assert (await trainer.client.health()).device == "cpu"
        assert heavy_libraries(trainer) == []


@pytest.mark.slow
async def test_trainer_that_exported_a_base_has_loaded_nothing_heavy_itself(tmp_path: Path) -> None:
    base = make_tiny_encoder(tmp_path / "base")
    async with LocalTrainer(tmp_path / "trainer", Settings(data=tmp_path)) as trainer:
        assert (await trainer.client.base_artifact(str(base), tmp_path / "models")).is_dir()
        assert heavy_libraries(trainer) == []


def heavy_libraries(trainer: LocalTrainer) -> list[str]:
    """What a look into the process finds; `sys.modules` of another process cannot be asked."""
    loaded = Path(f"/proc/{trainer.pid}/maps").read_text()
    return [name for name in HEAVY if name in loaded]


async def test_what_lies_in_the_working_directory_is_no_module_of_anybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secrets.py").write_text("raise SystemExit('somebody else')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    async with LocalTrainer(tmp_path / "trainer", Settings(data=tmp_path)) as trainer:
        assert (await trainer.client.health()).jobs_running == 0


async def test_leaving_ends_it_with_exit_code_zero(tmp_path: Path) -> None:
    async with local(tmp_path) as trainer:
        process = trainer._process
    assert process is not None
    assert process.returncode == 0


async def test_leaving_ends_a_running_job(tmp_path: Path) -> None:
    async with local(tmp_path) as trainer:
        await start_sleeping_job(trainer, tmp_path)
        job = int(await appeared(tmp_path / "trainer/jobs/aaaaaaaa/1/pid"))
        began = time.monotonic()
    assert time.monotonic() - began < 6
    assert not is_alive(job)


async def test_killed_trainer_is_started_again_and_knows_its_jobs(tmp_path: Path) -> None:
    async with local(tmp_path) as trainer:
        await start_sleeping_job(trainer, tmp_path)
        job = int(await appeared(tmp_path / "trainer/jobs/aaaaaaaa/1/pid"))
        first = trainer.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        assert await gone(job, 10)
        status = await until_it_answers(trainer)
        assert trainer.pid != first
        assert (status.retryable, "stopped" in (status.error or "")) == (True, True)


async def until_it_answers(trainer: LocalTrainer) -> JobStatus:
    deadline = time.monotonic() + 20
    while True:
        try:
            return await trainer.client.poll("a" * 8, wait=0)
        except TrainerUnavailable:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)


async def test_killed_bot_leaves_no_orphan(tmp_path: Path) -> None:
    bot_process = subprocess.Popen([sys.executable, "-m", "tests.fakes.trainer_process", "bot", str(tmp_path)])
    try:
        server = int(await appeared(tmp_path / "trainer.pid"))
        job = int(await appeared(tmp_path / "trainer/jobs/aaaaaaaa/1/pid"))
        assert is_alive(server)
        assert is_alive(job)
    finally:
        bot_process.kill()
        bot_process.wait()
    assert await gone(job, 10)
    assert await gone(server, 10)


async def test_key_is_private_and_told_to_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISCORD_TOKEN", "planted-secret")
    async with local(tmp_path) as trainer:
        path = tmp_path / "trainer" / "key"
        key = path.read_text().strip()
        await start_sleeping_job(trainer, tmp_path)
        job = int(await appeared(tmp_path / "trainer/jobs/aaaaaaaa/1/pid"))
        for pid in (trainer.pid, job):
            assert pid is not None
            told = told_to_process(pid)
            assert key.encode() not in told
            assert b"planted-secret" not in told
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert len(key) == 64


async def test_trainer_that_cannot_start_does_not_stop_the_bot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bot.local_trainer, "START_LIMIT", 1.0)

    def broken(data: Path, key_file: Path, device: str) -> tuple[list[str], dict[str, str]]:
        return [sys.executable, "-c", "print('hello')"], {}

    async with LocalTrainer(tmp_path / "trainer", Settings(data=tmp_path), command=broken) as trainer:
        with pytest.raises(TrainerUnavailable, match="not started"):
            await trainer.client.health()


# The command `pupil-trainer serve`


def serve(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "trainer", "serve", "--data", str(folder), *arguments]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_serve_makes_a_key_and_ends_cleanly_on_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    process = serve(tmp_path / "data", "--port", "0")
    assert process.stdout is not None
    ready = json.loads(process.stdout.readline())
    key = (tmp_path / "data" / "trainer.key").read_text()
    async with TrainerClient(f"http://127.0.0.1:{ready['port']}", key) as client:
        assert (await client.health()).jobs_running == 0
    process.send_signal(number)
    _, errors = process.communicate(timeout=15)
    assert process.returncode == 0
    assert "Traceback" not in errors
    assert key.strip() not in errors


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--host", "0.0.0.0"], "there is no key"),
        (["--key-file", "missing.key"], "cannot be read"),
        (["--host", "0.0.0.0", "--key-file", "good.key"], "--plain-http"),
        (["--host", "203.0.113.7", "--key-file", "good.key", "--plain-http"], "cannot listen"),
        (["--tls-cert", "good.key"], "go together"),
        (["--tls-cert", "good.key", "--tls-key", "good.key"], "cannot be used together"),
        (["--key-file", "open.key"], "chmod 600"),
        (["--key-file", "short.key"], "at least 16 characters"),
        (["--data", "good.key", "--key-file", "good.key"], "creating the data directory"),
        (["--data", "good.key"], "creating the data directory"),
    ],
)
def test_serve_that_cannot_start_says_why_in_one_sentence(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    for name, key, mode in (("good", "k" * 32, 0o600), ("open", "k" * 32, 0o644), ("short", "abc", 0o600)):
        (tmp_path / f"{name}.key").write_text(key)
        (tmp_path / f"{name}.key").chmod(mode)
    places = [str(tmp_path / word) if word.endswith(".key") else word for word in arguments]
    process = serve(tmp_path / "data", *places)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert sentence in errors
    assert "Traceback" not in errors


async def test_serve_takes_both_keys_of_its_file_and_a_bot_with_the_same_file_the_first(tmp_path: Path) -> None:
    path = tmp_path / "trainer.key"
    path.write_text(f"{'n' * 32}\n{'o' * 32}\n")
    path.chmod(0o600)
    process = serve(tmp_path / "data", "--port", "0", "--key-file", str(path))
    assert process.stdout is not None
    url = f"http://127.0.0.1:{json.loads(process.stdout.readline())['port']}"
    try:
        for key in "no":
            async with TrainerClient(url, key * 32) as client:
                assert (await client.health()).jobs_running == 0
        async with open_trainer(Settings(data=tmp_path, trainer_url=url, trainer_key_file=path)) as client:
            assert (await client.health()).jobs_running == 0
    finally:
        process.terminate()
        process.communicate(timeout=15)


def test_serve_refuses_an_unknown_log_level_as_written_wrongly(tmp_path: Path) -> None:
    process = serve(tmp_path / "data", "--log-level", "verbose")
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "--log-level" in errors
    assert "Traceback" not in errors


def test_command_and_environment_of_a_local_trainer_hold_no_key(tmp_path: Path) -> None:
    arguments, environment = local_trainer_command(tmp_path, tmp_path / "key")
    assert str(tmp_path / "key") in arguments
    assert not {name for name in environment if name.endswith(("TOKEN", "KEY", "SECRET"))}

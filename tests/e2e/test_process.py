"""`pupil run` as a process: its ready line, its end, what refuses to start, and a restart while it trains."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
from pathlib import Path

import pytest

from tests.fakes.running import BotProcess, call, make_base, make_texts, start_bot, start_process

LABELS = ("bug", "refund", "account")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return make_base(tmp_path / "base")


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def refusal(*arguments: str, **variables: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of a run that should not come up."""
    process = await start_process("bot", "run", *arguments, **variables)
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, out.decode(), err.decode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_ready_line_then_a_clean_end_with_exit_code_0(tmp_path: Path, base: Path, number: int) -> None:
    bot = await start_bot(tmp_path / "data", base)
    assert re.fullmatch(r"Pupil is ready: http://127\.0\.0\.1:\d+/\n", bot.lines[0])
    assert (await bot.call("GET", "/status"))["trainer"]["reachable"]
    trainers = children(bot.pid)
    assert trainers
    assert await bot.end(number) == 0
    assert not any(is_running(pid) for pid in trainers)


@pytest.mark.slow
async def test_base_of_the_first_classifier_is_here_before_anybody_asks(tmp_path: Path, base: Path) -> None:
    bot = await start_bot(tmp_path / "data", base)
    try:
        async with asyncio.timeout(120):
            while not [*(tmp_path / "data").glob("*/models/*/encoder.onnx")]:
                await asyncio.sleep(0.1)
    finally:
        assert await bot.end() == 0


async def test_second_bot_on_the_same_data_is_refused_and_told_the_pid(tmp_path: Path, base: Path) -> None:
    bot = await start_bot(tmp_path / "data", base)
    try:
        code, out, err = await refusal("--data", str(tmp_path / "data"), "--port", "0")
    finally:
        assert await bot.end() == 0
    assert (code, out) == (1, "")
    assert str(bot.pid) in err
    assert "Traceback" not in err


async def test_port_in_use_is_one_sentence(tmp_path: Path, base: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        code, out, err = await refusal("--data", str(tmp_path / "data"), "--port", port, PUPIL_BASE=str(base))
    assert (code, out) == (1, "")
    assert f"Error: Port {port} is in use by another program." in err
    assert "Traceback" not in err


async def ended(bot: BotProcess, job: str) -> dict[str, object]:
    for _ in range(300):
        state = await bot.call("GET", f"/jobs/{job}")
        if state["state"] in {"succeeded", "failed", "cancelled", "abandoned"}:
            return state
        await asyncio.sleep(0.2)
    raise AssertionError(f"The job did not end: {state}")


@pytest.mark.slow
async def test_bot_that_is_restarted_in_a_training_brings_it_to_its_end(tmp_path: Path, base: Path) -> None:
    """Asked to end; in `test_restart_in_chat.py` it is killed."""
    recipe = '{"frozen_layers": 0, "body_rate": 0.005, "epochs": 20}'
    bot = await start_bot(tmp_path / "data", base, PUPIL_RECIPE=recipe)
    rows = [{"text": text, "label": label} for text, label in make_texts(240, LABELS)]
    await bot.call("POST", "/classifiers/triage/examples", rows)
    job = (await bot.call("POST", "/classifiers/triage/train"))["id"]
    while (await bot.call("GET", f"/jobs/{job}"))["progress"] is None:
        await asyncio.sleep(0.05)
    assert await bot.end() == 0

    again = await start_bot(tmp_path / "data", base, PUPIL_RECIPE=recipe)
    try:
        state = await ended(again, job)
        assert state["state"] == "succeeded", state
        versions = (await again.call("GET", "/classifiers/triage/versions"))["versions"]
        assert [version["number"] for version in versions] == [1]
        labels = await again.call("GET", "/classifiers/triage/labels")
        assert sum(label["train"] + label["golden"] for label in labels) == 240
    finally:
        assert await again.end() == 0


@pytest.mark.slow
async def test_bot_killed_four_times_while_labels_arrive_has_every_acknowledged_one(tmp_path: Path, base: Path) -> None:
    acknowledged: set[str] = set()
    texts = iter(make_texts(5000, LABELS, seed=3))

    async def add(bot: BotProcess) -> None:
        while True:
            text, label = next(texts)
            answer = await call(bot.url, "POST", "/classifiers/triage/examples", [{"text": text, "label": label}])
            assert answer["new"] == 1
            acknowledged.add(text)

    for _ in range(4):
        bot = await start_bot(tmp_path / "data", base)
        adding = [asyncio.create_task(add(bot)) for _ in range(8)]
        await asyncio.sleep(0.4)
        await bot.end(signal.SIGKILL)
        await asyncio.gather(*adding, return_exceptions=True)
    bot = await start_bot(tmp_path / "data", base)
    try:
        # Giving them again says what was there: an acknowledged text that is new would have been lost.
        rows = [{"text": text, "label": label} for text, label in make_texts(5000, LABELS, seed=3)]
        sent = [row for row in rows if row["text"] in acknowledged]
        answer = await bot.call("POST", "/classifiers/triage/examples", sent)
        assert len(sent) > 100
        assert answer["new"] == 0
        assert answer["unchanged"] == len(sent)
    finally:
        assert await bot.end() == 0

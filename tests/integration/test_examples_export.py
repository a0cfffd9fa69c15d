"""Exporting over HTTP and from the command line: the same file as in the chat, from the services that run."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from bot import __main__ as entry
from bot.api_client import NOTICE
from bot.cli import main
from bot.cli.connect import _serve_here
from bot.playground.objects import GUILD_ID
from storage.records import Source
from storage.settings import load_settings
from tests.fakes.real_stage import RealStage, real_stage
from tests.fakes.tiny_encoder import make_tiny_base


@pytest.fixture
async def stage(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[RealStage]:
    base = make_tiny_base(tmp_path_factory.mktemp("base") / "tiny")
    async with real_stage(tmp_path, base, monkeypatch) as stage:
        await stage.teach(await stage.classifier(), [("=1+1", "bug"), ("why?", "question")])
        yield stage


@pytest.fixture
async def url(stage: RealStage) -> AsyncIterator[str]:
    settings = load_settings(data=stage.data)
    async with _serve_here(stage.services, settings) as url:
        (settings.space / NOTICE).write_text(json.dumps({"url": url, "pid": os.getpid()}))
        yield url


async def test_examples_are_had_as_json_lines_or_csv(url: str) -> None:
    path = f"{url}/api/v1/classifiers/triage/examples"
    async with aiohttp.ClientSession() as session:
        async with session.get(path) as response:
            assert response.content_type == "application/x-ndjson"
            texts = [json.loads(line)["text"] for line in (await response.text()).splitlines()]
        async with session.get(path, params={"format": "csv"}) as response:
            assert response.content_type == "text/csv"
            table = await response.read()
        async with session.get(path, params={"format": "xlsx"}) as response:
            refusal = (response.status, await response.json())
        async with session.get(path, params={"guild": "999"}) as response:
            elsewhere = response.status
    assert texts == ["=1+1", "why?"]
    assert b"'=1+1,bug" in table
    assert refusal == (400, {"error": "`format` must be `jsonl` or `csv`."})
    assert elsewhere == 404


async def test_the_command_writes_a_file_that_an_import_takes(
    stage: RealStage, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def run(*arguments: str) -> tuple[int, str]:
        code = await asyncio.to_thread(entry.run, main, [*arguments, "--data", str(stage.data)])
        said = capsys.readouterr()
        aside.append(said.err)
        return code, said.out

    aside: list[str] = []
    triage = await stage.services.classifiers.resolve(GUILD_ID, "triage")
    await stage.system.stores.examples.add_unlabelled(GUILD_ID, triage.id, ["who knows"], "1", Source.FILE, 1.0)
    for name in ("all.csv", "all.jsonl"):
        file = str(tmp_path / name)
        assert await run("labels", "export", file) == (0, f"Wrote {file} ({os.path.getsize(file):,} bytes).\n")
        assert os.stat(file).st_mode & 0o777 == 0o600
        code, told = await run("labels", "import", file, "--classifier", name.replace(".", "-"))
        assert (code, told.split(":")[1].split(".")[0]) == (0, " 2 new texts")
        assert aside[-1] == f"One text has no label in {name} and is left out.\n"
        copy = await stage.services.classifiers.resolve(GUILD_ID, name.replace(".", "-"))
        rows = await stage.system.stores.examples.current(GUILD_ID, copy.id)
        assert [(row.text, row.label) for row in rows] == [("=1+1", "bug"), ("why?", "question")]
        await stage.system.stores.database.write(
            lambda tables: tables.execute("UPDATE classifiers SET archived = 1 WHERE name <> 'triage'").rowcount
        )
    assert (await run("labels", "export", str(tmp_path / "all.xlsx")))[0] == 1
    assert (await run("labels", "export", str(tmp_path / "no" / "all.csv")))[0] == 1

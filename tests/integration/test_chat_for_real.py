"""The chat over the real services, told as short stories; the doubles of `fake_services` take no part here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.real_stage import RealStage, real_stage
from tests.fakes.tiny_encoder import make_tiny_base


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
async def stage(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RealStage]:
    async with real_stage(tmp_path, base, monkeypatch) as stage:
        await stage.classifier()
        yield stage


async def test_a_label_given_in_the_chat_answers_the_next_question_also_after_a_restart(stage: RealStage) -> None:
    saved = await stage.ada.command("label", text="the app crashes", label="bug")
    assert saved.text.startswith("Saved as `bug` (#1).")
    assert "Taught: `bug` (#1)" in (await stage.jonas.command("ask", text="The app  crashes")).text
    await stage.restart()
    assert "Taught: `bug` (#1)" in (await stage.jonas.command("ask", text="the app crashes")).text
    undone = await stage.ada.click(saved, "Undo")
    assert "it has no label now" in undone.text

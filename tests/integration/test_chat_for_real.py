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


async def test_who_labels_a_text_hears_what_others_say_about_it(stage: RealStage) -> None:
    await stage.ada.command("label", text="it crashes", label="bug")
    tie = await stage.jonas.command("label", text="it crashes", label="idea")
    assert "Ada says `bug`: a tie, so the text counts for neither until a lead settles it" in tie.text
    won = await stage.maria.command("label", text="it crashes", label="bug")
    assert "Jonas says `idea`; it counts as yours." in won.text
    asked = await stage.person("ada").command("label", text="it crashes", label="question")
    assert "a tie" in asked.text
    again = await stage.ada.command("label", text="it crashes", label="bug")
    assert "Jonas says `idea`; it counts as yours." in again.text
    lost = await stage.jonas.command("label", text="it crashes", label="question")
    assert "Maria says `bug`, Ada says `bug`: it stays `bug`." in lost.text


async def test_autocomplete_warns_that_a_text_has_a_label(stage: RealStage) -> None:
    await stage.ada.command("label", text="it crashes", label="question")
    offered = await stage.jonas.autocomplete("label", focused="label", text="It  crashes")
    assert [choice["value"] for choice in offered if "its label now" in choice["name"]] == ["question"]
    assert not any("its label now" in one["name"] for one in await stage.jonas.autocomplete("label", focused="label"))


async def test_a_long_list_of_labels_has_pages(stage: RealStage) -> None:
    await stage.classifier("wide", " ".join(f"label-{number}" for number in range(90)))
    first = await stage.ada.command("labels list", classifier="wide")
    assert "Page 1 of 3" in first.text
    last = await stage.ada.click(await stage.ada.click(first, "▶"), "▶")
    assert "Page 3 of 3" in last.text
    assert last.buttons == ["◀"]

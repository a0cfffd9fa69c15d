"""Chat messages as examples: off until the operator says otherwise, and then their author's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.playground.objects import GUILD_ID
from bot.services.people import Actor
from storage.errors import NotFound
from storage.records import Example, Source
from tests.fakes.real_stage import RealStage, real_stage
from tests.fakes.tiny_encoder import make_tiny_base


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
async def stage(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RealStage]:
    async with real_stage(tmp_path, base, monkeypatch, capture_messages=True) as stage:
        await stage.classifier()
        yield stage


async def example(stage: RealStage, text: str) -> Example | None:
    return await stage.system.stores.examples.find(GUILD_ID, 1, text)


async def test_a_message_becomes_an_example_of_its_author(stage: RealStage) -> None:
    message = await stage.jonas.say("the app crashes again")
    form = await stage.ada.menu("Label", message)
    assert form.kind == "modal"
    assert form.components[0]["component"]["value"] == "the app crashes again"
    saved = await stage.ada.submit(form, text="the app crashes again", label="bug")
    assert saved.ephemeral
    assert saved.text.startswith("Saved as `bug` (#1).")
    stored = await stage.system.stores.examples.find(GUILD_ID, 1, "the app crashes again")
    assert stored is not None
    assert (stored.source, stored.submitted_by) == (Source.MESSAGE, stage.jonas.id)
    assert "Taught: `bug`" in (await stage.ada.command("ask", text="the app crashes again")).text
    assert "1 text" in (await stage.jonas.command("privacy show")).text
    await stage.restart()
    again = await stage.ada.submit(form, text="the app crashes again", label="bug")
    assert "Confirmed as `bug` (#1)." in again.text


async def test_who_has_opted_out_is_not_stored_by_others(stage: RealStage) -> None:
    message = await stage.jonas.say("the app crashes again")
    form = await stage.ada.menu("Label", message)
    await stage.jonas.command("privacy opt-out")
    refused = await stage.ada.submit(form, text="the app crashes again", label="bug")
    assert "Who wrote this message has opted out" in refused.text
    assert await example(stage, "the app crashes again") is None


async def test_a_misspelt_label_and_an_empty_message_leave_nothing_behind(stage: RealStage) -> None:
    classifier = (await stage.system.stores.classifiers.list())[0]
    with pytest.raises(NotFound, match="no label"):
        await stage.services.labeling.label_message(member(stage), classifier, "the app crashes again", "bgu", "7")
    assert await example(stage, "the app crashes again") is None
    empty = await stage.jonas.say("", files=[("a.txt", b"x")])
    assert "no text to label" in (await stage.ada.menu("Label", empty)).text


def member(stage: RealStage) -> Actor:
    return Actor(GUILD_ID, stage.ada.id, "Ada")


async def test_switched_off_again_nothing_captured_is_learned_from(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with real_stage(tmp_path, base, monkeypatch) as stage:
        triage = await stage.classifier()
        await stage.teach(triage, [(f"text {n}", ("bug", "idea")[n % 2]) for n in range(40)])
        await stage.services.labeling.label_message(member(stage), triage, "from a message", "bug", "7")
        content = await stage.services.training._freeze(triage)
        assert "from a message" not in {row.text for row in content.rows}
        assert len(content.rows) == 40
        await stage.system.serving.settle(triage)
        assert (await stage.system.serving.answer(triage, "from a message")).version == "v0+40"
        assert "Taught" not in (await stage.ada.command("ask", text="from a message")).text
        assert sum(count.total for count in await stage.services.classifiers.labels(triage)) == 40
        assert "from a message" in (await stage.ada.command("examples search", query="message")).text
        refused = await stage.ada.menu("Label", await stage.jonas.say("the app crashes again"))
        assert "capture is off" in refused.text

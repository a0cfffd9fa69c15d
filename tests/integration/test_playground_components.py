"""The real discord.py client against the playground: buttons, selects, modals, Components V2."""

from __future__ import annotations

import pytest

from storage.errors import InvalidInput, NotFound
from tests.fakes.playground_bot import Connected, served

ANSWERS = {"why": "because", "label": ["spam"], "sure": "y", "public": True}


async def test_button_edits_the_message_it_sits_on() -> None:
    async with served() as playground, Connected(playground):
        maria, ada = playground.person("maria"), playground.person("ada")
        first = await maria.command("count")
        second = await ada.click(first, "Clicked 0")
        assert second.kind == "update"
        assert second.text == "count 1"
        third = await maria.click(second, "count:1")
        assert third.buttons == ["Clicked 2"]
        assert len(maria.messages()) == 1
        assert third.message is not None
        assert third.message["interaction_metadata"]["user"]["username"] == "maria"


async def test_button_that_is_gone_is_named_with_those_that_are_there() -> None:
    async with served() as playground, Connected(playground):
        maria = playground.person("maria")
        reply = await maria.command("count")
        await maria.click(reply, "Clicked 0")
        with pytest.raises(NotFound, match="It has: 'Clicked 1'"):
            await maria.click(reply, "Clicked 0")


async def test_button_on_somebody_elses_ephemeral_message_is_out_of_reach() -> None:
    async with served() as playground, Connected(playground):
        reply = await playground.person("maria").command("pick", private=True)
        with pytest.raises(NotFound, match="gone"):
            await playground.person("jonas").select(reply, "bug")


async def test_menu_on_somebody_elses_ephemeral_message_is_out_of_reach() -> None:
    async with served() as playground, Connected(playground):
        reply = await playground.person("maria").command("pick", private=True)
        with pytest.raises(NotFound, match="gone"):
            await playground.person("jonas").menu("Echo", reply)


async def test_select_delivers_values_and_the_reply_comes_after_a_silent_defer() -> None:
    async with served() as playground, Connected(playground):
        maria = playground.person("maria")
        reply = await maria.select(await maria.command("pick"), ["Bug", "billing"])
        assert reply.kind == "message"
        assert reply.text == "picked ['bug', 'billing']"
        assert reply.ephemeral


@pytest.mark.parametrize("values", [[], ["nonsense"], ["bug", "billing", "bug"]])
async def test_select_refuses_what_it_does_not_offer(values: list[str]) -> None:
    async with served() as playground, Connected(playground):
        maria = playground.person("maria")
        reply = await maria.command("pick")
        with pytest.raises(InvalidInput):
            await maria.select(reply, values)


async def test_modal_delivers_text_select_radio_checkbox_and_file() -> None:
    async with served() as playground, Connected(playground):
        maria = playground.person("maria")
        form = await maria.command("survey")
        assert form.kind == "modal"
        assert form.modal is not None
        assert form.modal["title"] == "Survey"
        reply = await maria.submit(form, **ANSWERS, file=[("z.csv", b"zz")])
        assert reply.text == "['because', ['spam'], 'y', True] [b'zz']"
        assert reply.ephemeral


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"why": ""}, "'Why' must be filled in"),
        ({"why": "x" * 21}, "it has 21"),
        ({"label": ["eggs"]}, "does not offer 'eggs'"),
        ({"sure": "perhaps"}, "'Sure\\?'"),
        ({"label": []}, "needs 1 to 1 choices; 0 were made"),
    ],
)
async def test_modal_refuses_what_it_does_not_take(change: dict, sentence: str) -> None:
    async with served() as playground, Connected(playground):
        maria = playground.person("maria")
        form = await maria.command("survey")
        with pytest.raises(InvalidInput, match=sentence):
            await maria.submit(form, **ANSWERS | change)


async def test_modal_of_another_person_cannot_be_sent() -> None:
    async with served() as playground, Connected(playground):
        form = await playground.person("maria").command("survey")
        with pytest.raises(NotFound, match="no longer open"):
            await playground.person("ada").submit(form, **ANSWERS)


async def test_components_v2_message_is_shown_and_its_nested_button_works() -> None:
    async with served() as playground, Connected(playground):
        maria = playground.person("maria")
        reply = await maria.command("card")
        assert reply.message is not None
        assert reply.message["flags"] == 1 << 15
        assert reply.text == "## Training"
        assert reply.buttons == ["Clicked 0"]
        ids = [part["id"] for part in (reply.components[0], *reply.components[0]["components"])]
        assert len(set(ids)) == 3, "every component has a numeric id of its own"

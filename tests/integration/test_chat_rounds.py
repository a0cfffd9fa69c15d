"""/teach over the real client, services and database: a round of questions from its first to its last."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.playground.objects import GUILD_ID
from bot.playground.reply import Reply
from bot.services.people import Actor
from storage.errors import NotAllowed, NotFound
from storage.events import falls_golden
from storage.records import Classifier, Round, Source, Split, text_hash
from tests.fakes.real_stage import LEAD, RealStage, real_stage
from tests.fakes.tiny_encoder import make_tiny_base

FEW = "bug question idea"
MANY = " ".join(f"label-{number}" for number in range(60))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
async def stage(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RealStage]:
    async with real_stage(tmp_path, base, monkeypatch) as stage:
        yield stage


async def pooled(stage: RealStage, texts: list[str], labels: str = FEW) -> Classifier:
    classifier = await stage.classifier("triage", labels)
    await stage.system.stores.examples.add_unlabelled(GUILD_ID, classifier.id, texts, LEAD.id, Source.FILE, 1.0)
    return classifier


def shown(reply: Reply, texts: list[str]) -> str:
    """The text that a card asks about."""
    return next(text for text in texts if f"> {text}\n" in reply.text + "\n")


async def test_a_round_asks_one_text_after_the_other_on_one_card(stage: RealStage) -> None:
    texts = ["it crashes", "how do I pay", "make it blue"]
    triage = await pooled(stage, texts)
    first = await stage.ada.command("teach", count=2)
    assert first.ephemeral
    assert "Teach triage · 1 of 2" in first.text
    assert "3 texts without a label" in first.text
    assert first.buttons == ["bug", "question", "idea", "Unsure", "Skip"]
    second = await stage.ada.click(first, "question")
    assert second.message is not None
    assert first.message is not None
    assert second.message["id"] == first.message["id"], "the card advances in place"
    assert "Saved as `question` (#" in second.text
    assert "2 of 2" in second.text
    assert shown(second, texts) != shown(first, texts)
    done = await stage.ada.click(second, "Skip")
    assert "Thank you: 1 text taught. The next answers know it already." in done.text
    assert "taught 1, skipped 1 · 2 texts without a label" in done.text
    assert done.buttons == ["Teach more", "Undo"]
    labelled = await stage.system.stores.examples.current(GUILD_ID, triage.id)
    assert [(row.text, row.label) for row in labelled] == [(shown(first, texts), "question")]
    more = await stage.ada.click(done, "Teach more")
    assert shown(more, texts) not in {shown(first, texts), shown(second, texts)}, "what was skipped is not asked again"


async def test_undo_takes_the_label_back_and_asks_again_also_after_a_restart(stage: RealStage) -> None:
    texts = ["it crashes", "how do I pay", "make it blue"]
    triage = await pooled(stage, texts)
    first = await stage.ada.command("teach", count=3)
    second = await stage.ada.click(first, "bug")
    assert "Undo" in second.buttons
    await stage.restart()
    back = await stage.ada.click(second, "Undo")
    assert "Took `bug` back." in back.text
    assert "1 of 3" in back.text
    assert shown(back, texts) == shown(first, texts)
    assert await stage.system.stores.examples.current(GUILD_ID, triage.id) == []
    again = await stage.ada.click(back, "idea")
    assert shown(again, texts) == shown(second, texts), "the question that was open is asked after it"
    assert [row.label for row in await stage.system.stores.examples.current(GUILD_ID, triage.id)] == ["idea"]


async def test_a_double_click_answers_one_question(stage: RealStage) -> None:
    texts = [f"text number {number}" for number in range(6)]
    triage = await pooled(stage, texts)
    first = await stage.ada.command("teach")
    await stage.ada.click(first, "bug")
    # The playground shows the newest card; a second delivery of the old click carries the old id.
    rows = await stage.system.stores.rounds.questions(GUILD_ID, await only_round(stage))
    actor = Actor(GUILD_ID, stage.ada.id, "Ada")
    labels = await stage.system.stores.classifiers.labels(GUILD_ID, triage.id)
    step = await stage.services.teaching.label_by_id(actor, rows[0].round, 1, labels[1].id)
    assert step.answered == 1
    assert [row.label for row in await stage.system.stores.examples.current(GUILD_ID, triage.id)] == ["bug"]


async def test_a_double_click_on_undo_takes_one_label_back(stage: RealStage) -> None:
    texts = ["it crashes", "how do I pay", "make it blue"]
    triage = await pooled(stage, texts)
    card = await stage.ada.command("teach", count=3)
    for _ in range(2):
        card = await stage.ada.click(card, "bug")
    buttons = [button for row in card.components for button in row["components"]]
    pressed = next(button["custom_id"] for button in buttons if button["label"] == "Undo")
    actor, (_, round_id, _, position) = Actor(GUILD_ID, stage.ada.id, "Ada"), pressed.split(":")
    for _ in range(2):  # the second is delivered when the card shows another question already
        step = await stage.services.teaching.undo(actor, round_id, int(position))
        assert (step.answered, step.last) == (1, 1)
        assert len(await stage.system.stores.examples.current(GUILD_ID, triage.id)) == 1
    assert step.undone is None
    assert (await stage.services.teaching.undo(actor, round_id)).answered == 0  # an older card names no position


async def only_round(stage: RealStage) -> str:
    return await stage.system.stores.database.read(
        lambda connection: str(connection.execute("SELECT id FROM rounds").fetchone()[0])
    )


async def test_two_people_are_asked_about_different_texts(stage: RealStage) -> None:
    texts = [f"text number {number}" for number in range(8)]
    await pooled(stage, texts)
    ada, jonas = await stage.ada.command("teach", count=4), await stage.jonas.command("teach", count=4)
    seen = {"ada": {shown(ada, texts)}, "jonas": {shown(jonas, texts)}}
    for _ in range(3):
        ada, jonas = await stage.ada.click(ada, "bug"), await stage.jonas.click(jonas, "bug")
        seen["ada"].add(shown(ada, texts))
        seen["jonas"].add(shown(jonas, texts))
    assert len(seen["ada"]) == len(seen["jonas"]) == 4
    assert not seen["ada"] & seen["jonas"]


async def test_an_empty_pool_says_how_to_fill_it_and_a_used_up_one_ends_the_round(stage: RealStage) -> None:
    await stage.classifier("triage", FEW)
    assert "No unlabelled text waits in `triage`" in (await stage.ada.command("teach")).text
    await stage.system.stores.examples.add_unlabelled(GUILD_ID, 1, ["only one"], LEAD.id, Source.FILE, 1.0)
    asked = await stage.ada.command("teach")
    busy = await stage.jonas.command("teach")
    assert "1 unlabelled text, but none for you now." in busy.text
    done = await stage.ada.click(asked, "Unsure")
    assert "Nothing was taught this time." in done.text
    assert "There is no other text for you to look at just now." in done.text
    assert "> only one" in (await stage.jonas.command("teach")).text


async def test_with_60_labels_there_are_pages_and_a_name_can_be_typed(stage: RealStage) -> None:
    texts = [f"text number {number}" for number in range(5)]
    triage = await pooled(stage, texts, MANY)
    card = await stage.ada.command("teach", count=3)
    assert card.buttons == ["▶", "Type it", "Unsure", "Skip"]
    second = await stage.ada.click(card, "▶")
    assert second.buttons == ["◀", "▶", "Type it", "Unsure", "Skip"]
    assert len(second.components[0]["components"][0]["options"]) == 25
    form = await stage.ada.click(second, "Type it")
    wrong = await stage.ada.submit(form, label="labl-59")
    assert "has no label `labl-59`. Did you mean" in wrong.text
    assert "1 of 3" in wrong.text
    right = await stage.ada.submit(await stage.ada.click(wrong, "Type it"), label="Label-59")
    assert "Saved as `label-59`" in right.text
    chosen = await stage.ada.select(right, right.components[0]["components"][0]["options"][3]["value"])
    assert "3 of 3" in chosen.text
    assert len(await stage.system.stores.examples.current(GUILD_ID, triage.id)) == 2


async def test_what_the_model_picked_is_never_golden_and_its_ranking_is_hidden_for_what_may_be(
    stage: RealStage,
) -> None:
    golden = [text for text in (f"perhaps golden {n}" for n in range(400)) if falls_golden(text_hash(text))][:12]
    plain = [text for text in (f"plain {n}" for n in range(400)) if not falls_golden(text_hash(text))][:40]
    triage = await pooled(stage, golden + plain, " ".join(f"label-{n}" for n in range(12)))
    await stage.teach(triage, [(f"a taught text {n}", f"label-{n % 12}") for n in range(36)])
    order = [label.label.name for label in await stage.services.classifiers.labels(triage)]
    card = await stage.ada.command("teach", count=52)
    for _ in range(52):
        text = shown(card, golden + plain)
        offered = [option["label"] for option in card.components[0]["components"][0]["options"]]
        if text in golden:
            assert offered == order
        card = await stage.ada.select(card, offered[0])
    rows = {row.text: row.split for row in await stage.system.stores.examples.current(GUILD_ID, triage.id)}
    picked = {
        question.text
        for question in await stage.system.stores.rounds.questions(GUILD_ID, await only_round(stage))
        if question.picked_by_model
    }
    assert picked
    assert not picked & set(golden), "while golden texts are wanted, the model leaves them to the lot"
    assert all(rows[text] is Split.TRAIN for text in picked)
    assert all(rows[text] is Split.GOLDEN for text in golden)


async def test_of_two_quick_answers_to_one_question_the_first_counts(stage: RealStage) -> None:
    await pooled(stage, ["only one"])
    triage, ada = (await stage.services.classifiers.list(GUILD_ID))[0], Actor(GUILD_ID, stage.ada.id, "Ada")
    step = await stage.services.teaching.begin(ada, triage, 1)
    answers = [stage.services.teaching.label(ada, step.round.id, 1, label) for label in ("bug", "idea")]
    receipts = [answer.receipt for answer in await asyncio.gather(*answers)]
    assert [receipt is not None for receipt in receipts] == [True, False]
    undone = await stage.services.teaching.undo(ada, step.round.id)
    assert undone.undone is not None
    assert undone.undone.now is None, "nothing is left of the second"


async def test_a_text_that_the_model_asked_for_does_not_become_golden(stage: RealStage) -> None:
    text = next(text for text in (f"perhaps golden {n}" for n in range(400)) if falls_golden(text_hash(text)))
    await pooled(stage, [text])
    rounds, ada = stage.system.stores.rounds, Actor(GUILD_ID, stage.ada.id, "Ada")
    waiting = await rounds.pool(GUILD_ID, 1, 1)
    await rounds.create(Round("r", GUILD_ID, 1, ada.id, 1, 1.0))
    await rounds.ask(GUILD_ID, "r", waiting[0].example_id, picked_by_model=True, now=1.0)
    await stage.services.teaching.label(ada, "r", 1, "bug")
    assert [row.split for row in await stage.system.stores.examples.current(GUILD_ID, 1)] == [Split.TRAIN]


async def test_questions_belong_to_one_person_and_one_server(stage: RealStage) -> None:
    await pooled(stage, ["it crashes", "how do I pay"])
    await stage.ada.command("teach")
    round_id = await only_round(stage)
    with pytest.raises(NotAllowed, match="somebody else"):
        await stage.services.teaching.look(Actor(GUILD_ID, stage.jonas.id, "Jonas"), round_id)
    for call in (
        stage.services.teaching.label(Actor("2", stage.ada.id, "Ada"), round_id, 1, "bug"),
        stage.services.teaching.undo(Actor("2", stage.ada.id, "Ada"), round_id),
    ):
        with pytest.raises(NotFound):
            await call


async def test_the_codebook_is_told_beside_the_question(stage: RealStage) -> None:
    await pooled(stage, ["it crashes"])
    labels = await stage.system.stores.classifiers.labels(GUILD_ID, 1)
    for number in range(4):
        await stage.system.stores.rules.add(
            GUILD_ID, 1, labels[0].id, f"rule {number}: what crashes", None, "maria", 1.0
        )
    card = await stage.ada.command("teach")
    assert "Your team's rules:\n`bug` — rule 1: what crashes\n" in card.text
    assert "rule 0" not in card.text


async def test_hostile_texts_are_shown_and_do_nothing(stage: RealStage) -> None:
    texts = ["@everyone `look` **bold** <@&1>", "\u202egnirts \u2066mixed", "😀" * 4000]
    await pooled(stage, texts)
    card = await stage.ada.command("teach", count=3)
    for _ in range(3):
        assert "@everyone" not in card.text
        assert card.message is not None
        assert not card.message["mention_everyone"]
        card = await stage.ada.click(card, "bug")
    assert "3 texts taught" in card.text

"""What the model knows and where it doubts, over the wire and the real services: suspects, why, compare, forecast."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

import bot.chat.cogs.insight as insight_cog
import bot.services.suspects as suspects_module
from bot.playground.reply import Reply
from bot.services.forecast import Forecast, InTheMaking
from bot.services.people import Actor, Role
from storage.errors import InvalidInput, NotAllowed, NotFound, TrainerUnavailable
from storage.label_changes import ChangeKind
from storage.records import (
    Classifier,
    EvaluationReport,
    LabelReport,
    ModelVersion,
    PairedOutcome,
    Source,
    Split,
)
from tests.fakes.real_stage import LEAD, RealStage, real_stage
from tests.fakes.tiny_encoder import make_tiny_base
from trainer.protocol import to_json

TOPICS = {
    "bug": "crashes error broken freezes screen startup",
    "question": "how do change password reset login",
    "idea": "please add dark mode feature settings",
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = [*TOPICS.values(), " ".join(map(str, range(80))), "bug question idea"]
    return make_tiny_base(tmp_path_factory.mktemp("base") / "tiny", texts=texts)


@pytest.fixture
async def stage(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RealStage]:
    async with real_stage(tmp_path, base, monkeypatch) as stage:
        yield stage


def texts(label: str, count: int) -> list[str]:
    """Sentences that share words with the others of their label."""
    words = TOPICS[label].split()
    return [f"{words[n % 6]} {words[(n + 1 + n // 6) % 6]} {words[(n * 5 + 2) % 6]} {n}" for n in range(count)]


def sorted_rows(count: int = 75) -> list[tuple[str, str]]:
    return [(text, label) for label in TOPICS for text in texts(label, count)]


WRONG = [("crashes error broken screen", "idea"), ("password reset login change", "bug")]
"""Rows that everybody can see are wrong."""


HOSTILE = "@everyone `x` \u202e **bold** <@1> ||boo|| ```"
MEMBER = Actor(LEAD.guild, "5", "Ada")
STRANGER = Actor("elsewhere", "6", "Eve", Role.LEAD)


async def doubtful(
    stage: RealStage, labels: str = "bug question idea", more: tuple[tuple[str, str], ...] = ()
) -> Classifier:
    triage = await stage.classifier(labels=labels)
    await stage.teach(triage, [*sorted_rows(), *WRONG, *more])
    return triage


async def label_of(stage: RealStage, classifier: Classifier, text: str) -> str | None:
    example = await stage.system.stores.examples.find(classifier.guild, classifier.id, text)
    assert example is not None
    label = await stage.system.stores.examples.current_label(classifier.guild, example.id)
    return label.name if label else None


def asked_about(reply: Reply) -> str:
    """The text on a card."""
    return next(line for line in reply.text.splitlines() if line.startswith("> "))[2:]


# Doubtful labels


async def test_a_lead_walks_the_doubtful_labels_and_settles_each_with_one_click(stage: RealStage) -> None:
    triage = await doubtful(stage)
    first = await stage.maria.command("suspects")
    assert first.ephemeral
    assert {asked_about(first)} <= {text for text, _ in WRONG}
    assert re.search(r"It is labelled `bug` by setup <t:\d+:R>\.\nThe other texts speak for `question`\.", first.text)
    assert "triage · 1 of 2, most doubtful first" in first.text
    assert first.buttons == ["Keep bug", "Change to question", "Other…", "Skip"]

    second = await stage.maria.click(first, "Change to question")
    assert second.text.splitlines()[1] == "Changed to `question`."
    assert "2 of 2" in second.text
    assert await label_of(stage, triage, WRONG[1][0]) == "question"

    back = await stage.maria.click(second, "Undo")
    assert "Taken back." in back.text
    assert "1 of 2" in back.text
    assert await label_of(stage, triage, WRONG[1][0]) == "bug"

    second = await stage.maria.click(back, "Skip")
    assert second.buttons == ["Keep idea", "Change to bug", "Other…", "Skip"]
    end = await stage.maria.click(second, "Keep idea")
    assert "Kept `idea`" in end.text
    assert "That was the last one. 2 labels of `triage` had looked wrong." in end.text
    assert await label_of(stage, triage, WRONG[0][0]) == "idea"
    assert "2 of 2" in (await stage.maria.click(end, "Undo")).text


async def test_a_ruling_counts_in_the_next_answers(stage: RealStage) -> None:
    triage = await doubtful(stage)
    await stage.maria.click(await stage.maria.command("suspects"), "Change to question")
    await stage.system.serving.settle(triage)
    opinions = await stage.system.stores.opinions.of(triage.guild, triage.id, range(1, 400))
    assert [said.label for said in opinions if said.name == "Maria"] == ["question"]
    assert "Taught: `question`" in (await stage.ada.command("ask", text=WRONG[1][0])).text


async def test_what_was_kept_is_not_asked_again_until_its_label_changes_also_after_a_restart(stage: RealStage) -> None:
    triage = await doubtful(stage)
    first = await stage.maria.command("suspects")
    kept = asked_about(first)
    await stage.maria.click(first, "Keep bug")
    await stage.restart()
    again = await stage.maria.command("suspects")
    assert asked_about(again) != kept
    assert "1 of 1" in again.text
    await stage.services.labeling.label(LEAD, triage, kept, "idea", Source.COMMAND)
    shown = [asked_about(await stage.maria.command("suspects"))]
    shown.append(asked_about(await stage.maria.click(await stage.maria.command("suspects"), "Skip")))
    assert kept in shown


async def test_buttons_work_after_a_restart(stage: RealStage) -> None:
    triage = await doubtful(stage)
    first = await stage.maria.command("suspects")
    await stage.restart()
    second = await stage.maria.click(first, "Skip")
    assert "2 of 2" in second.text
    await stage.restart()
    end = await stage.maria.click(second, "Change to bug")
    assert await label_of(stage, triage, WRONG[0][0]) == "bug"
    await stage.restart()
    assert "Taken back" in (await stage.maria.click(end, "Undo")).text
    assert await label_of(stage, triage, WRONG[0][0]) == "idea"


async def test_two_clicks_at_once_are_one_ruling(stage: RealStage) -> None:
    triage = await doubtful(stage)
    first = await stage.maria.command("suspects")
    replies = await asyncio.gather(*(stage.maria.click(first, "Change to question") for _ in range(2)))
    assert [("Changed to `question`" in reply.text, "2 of 2" in reply.text) for reply in replies] == [(True, True)] * 2
    rulings = "SELECT count(*) FROM label_events WHERE kind = 'ruling'"
    assert await stage.system.stores.database.read(lambda db: db.execute(rulings).fetchone()[0]) == 1
    taken = await asyncio.gather(*(stage.maria.click(replies[0], "Undo") for _ in range(2)))
    assert sorted("already" in reply.text for reply in taken) == [False, True]
    assert await label_of(stage, triage, WRONG[1][0]) == "bug"


async def test_a_card_that_is_out_of_date_changes_nothing(stage: RealStage) -> None:
    triage = await doubtful(stage)
    first = await stage.maria.command("suspects")
    doubt = await stage.services.suspects.look(LEAD, triage)
    assert isinstance(doubt, suspects_module.Doubted)
    example, bug = doubt.doubt.example_id, doubt.doubt.label.id
    await stage.services.suspects.change(LEAD, triage, example, bug, "idea")
    for button in ("Change to question", "Keep bug"):
        assert "Somebody was faster: this text is `idea` now" in (await stage.maria.click(first, button)).text
    assert await label_of(stage, triage, WRONG[1][0]) == "idea"
    again = await stage.services.suspects.look(LEAD, triage, doubt.event, 0)
    assert isinstance(again, suspects_module.Doubted)
    assert again.doubt.text == WRONG[0][0]  # what has been settled is passed over
    assert asked_about(await stage.maria.click(first, "Skip")) == WRONG[0][0]


async def test_another_label_than_the_suggested_one_is_chosen_among_more_than_25(stage: RealStage) -> None:
    triage = await doubtful(stage, labels="bug question idea " + " ".join(f"extra-{n}" for n in range(30)))
    first = await stage.maria.command("suspects")
    picker = await stage.maria.click(first, "Other…")
    assert "Page 1 of 2; 32 labels in all" in picker.text
    assert "· 1 of 4" in (await stage.maria.click(picker, "Back")).text
    picker = await stage.maria.click(await stage.maria.click(first, "Other…"), "▶")
    form = await stage.maria.click(picker, "Type it")
    refused = await stage.maria.submit(form, label="no such label")
    assert "has no label `no such label`" in refused.text
    assert await label_of(stage, triage, WRONG[1][0]) == "bug"
    least = next(row["components"][0]["options"][-1]["value"] for row in picker.components)
    chosen = await stage.maria.select(picker, least)
    assert f"Changed to `{least}`." in chosen.text
    assert await label_of(stage, triage, WRONG[1][0]) == least
    assert "· 1 of 4" in (await stage.maria.click(chosen, "Undo")).text


async def test_with_few_labels_it_is_said_why_there_is_no_list(stage: RealStage) -> None:
    triage = await stage.classifier()
    assert "There are 0 labels so far" in (await stage.maria.command("suspects")).text
    await stage.teach(triage, sorted_rows(10))
    assert "There are 30 labels so far. Below about 200" in (await stage.maria.command("suspects")).text


async def test_where_nothing_looks_wrong_that_is_said(stage: RealStage) -> None:
    await stage.teach(await stage.classifier(), sorted_rows())
    assert "No label of `triage` looks wrong." in (await stage.maria.command("suspects")).text


async def test_only_leads_see_and_settle_doubtful_labels(stage: RealStage) -> None:
    triage = await doubtful(stage)
    assert "Only a lead may" in (await stage.ada.command("suspects")).text
    service = stage.services.suspects
    for call in (
        lambda: service.look(MEMBER, triage),
        lambda: service.keep(MEMBER, triage, 1, 1),
        lambda: service.doubt_again(MEMBER, triage, 1),
        lambda: service.change(MEMBER, triage, 1, 1, "idea"),
        lambda: service.text(MEMBER, triage, 1),
    ):
        with pytest.raises(NotAllowed):
            await call()


async def test_another_server_reaches_no_doubtful_label(stage: RealStage) -> None:
    triage = await doubtful(stage)
    foreign, service = replace(triage, guild=STRANGER.guild), stage.services.suspects
    other = await stage.classifier("other", "bug idea")
    for call in (
        lambda: service.keep(STRANGER, foreign, 1, 1),
        lambda: service.doubt_again(STRANGER, foreign, 1),
        lambda: service.change(STRANGER, foreign, 1, 1, "idea"),
        lambda: service.text(STRANGER, foreign, 1),
        lambda: service.text(LEAD, other, 1),
        lambda: service.keep(LEAD, other, 1, 1),
    ):
        with pytest.raises(NotFound):
            await call()
    with pytest.raises(NotFound):
        await stage.services.classifiers.resolve(STRANGER.guild, "triage")


async def test_the_list_is_made_once_for_all_who_ask(stage: RealStage, monkeypatch: pytest.MonkeyPatch) -> None:
    triage = await doubtful(stage)
    calls: list[int] = []
    doubted = suspects_module.doubted
    monkeypatch.setattr(suspects_module, "doubted", lambda material: calls.append(1) or doubted(material))
    replies = await asyncio.gather(*(stage.services.suspects.look(LEAD, triage) for _ in range(3)))
    assert replies[0] == replies[2]
    first = await stage.maria.command("suspects")
    await stage.maria.click(await stage.maria.click(first, "Change to question"), "Skip")
    assert len(calls) == 1
    await stage.maria.command("suspects")
    assert len(calls) == 2


async def test_a_list_that_takes_long_is_announced(stage: RealStage, monkeypatch: pytest.MonkeyPatch) -> None:
    await doubtful(stage)
    monkeypatch.setattr(insight_cog, "PATIENCE", 0.0)
    waiting = await stage.maria.command("suspects")
    assert "the first one comes here" in waiting.text
    assert "1 of 2" in (await stage.maria.next(waiting)).text


async def test_hostile_texts_do_nothing_on_a_card(stage: RealStage) -> None:
    words = "crashes error broken screen " * 8
    await doubtful(stage, more=((f"{words} {HOSTILE}", "question"), (f"{words} {'😀 ' * 1800}", "question")))
    card = await stage.maria.command("suspects")
    shown = ""
    while "last one" not in card.text:
        shown += card.text
        card = await stage.maria.click(card, "Skip")
    assert "everyone" in shown
    assert "@everyone" not in shown
    assert "more characters)" in shown


# Why


async def test_why_shows_the_nearest_texts_who_taught_them_and_the_words_that_count(stage: RealStage) -> None:
    triage = await stage.classifier()
    await stage.teach(triage, sorted_rows(12))
    asked = await stage.ada.command("ask", text="password please crashes error")
    why = await stage.ada.click(asked, "Why")
    assert why.kind == "update"
    assert "**Why `bug`" in why.text
    lines = [line for line in why.text.splitlines() if "likeness" in line]
    assert [line.split()[0] for line in lines] == ["`bug`"] * 3 + [lines[3].split()[0]] * 2
    assert all(re.fullmatch(r"`\w+` by setup <t:\d+:R> · likeness 0\.\d\d", line) for line in lines)
    assert re.search(r"without `(crashes|error)`: \d+ % → \d+ %, `(idea|question)` instead", why.text)
    assert why.buttons == ["Fix it", "Back"]
    assert "Why" in (await stage.ada.click(why, "Back")).buttons


async def test_fix_it_starts_a_correction(stage: RealStage) -> None:
    triage = await stage.classifier()
    await stage.teach(triage, sorted_rows(12))
    why = await stage.ada.command("why", text="password please crashes error")
    assert why.ephemeral
    picker = await stage.ada.click(why, "Fix it")
    fixed = await stage.ada.select(picker, "question")
    assert "Taught: `question`" in fixed.text
    assert await label_of(stage, triage, "password please crashes error") == "question"


async def test_golden_texts_are_no_evidence(stage: RealStage) -> None:
    triage = await stage.classifier()
    await stage.teach(triage, sorted_rows(40))
    rows = await stage.system.stores.examples.current(triage.guild, triage.id)
    golden = next(row for row in rows if row.split is Split.GOLDEN)
    why = await stage.ada.command("why", text=golden.text)
    assert f"This very text was labelled `{golden.label}`" in why.text
    assert "the same text" not in why.text
    train = next(row for row in rows if row.split is Split.TRAIN)
    assert "the same text" in (await stage.ada.command("why", text=train.text.upper())).text


async def test_why_is_about_the_version_that_answers_now_and_names_both(stage: RealStage) -> None:
    triage = await stage.classifier()
    await stage.teach(triage, sorted_rows(12))
    asked = await stage.ada.command("ask", text="password please crashes error")
    given = re.search(r"v0\+\d+", asked.text)
    assert given is not None
    assert "had answered" not in (await stage.ada.click(asked, "Why")).text
    await stage.teach(triage, [("password please crashes error now", "question")])
    why = await stage.ada.click(await stage.ada.click(asked, "Back"), "Why")
    assert re.search(rf"{re.escape(given[0])} had answered.*this is about v0\+\d+, which answers now", why.text)


async def test_before_anything_was_taught_only_the_names_count(stage: RealStage) -> None:
    await stage.classifier()
    assert "only their names were compared" in (await stage.ada.command("why", text="it crashes again")).text
    await stage.services.classifiers.create(LEAD, "bare", [])
    assert "no labels" in (await stage.ada.command("why", text="x", classifier="bare")).text


async def test_answers_about_messages_have_no_why(stage: RealStage) -> None:
    triage = await stage.classifier()
    message = await stage.jonas.say("the app crashes")
    assert "Why" not in (await stage.ada.menu("Predict", message)).buttons
    kept = await stage.services.prediction.ask(LEAD, triage, "secret", Source.MESSAGE)
    with pytest.raises(InvalidInput, match="not stored"):
        await stage.services.why.of(MEMBER, kept.id)


async def test_why_says_what_becomes_of_the_text(stage: RealStage) -> None:
    triage = await stage.classifier()
    assert "for labelling" not in (await stage.ada.command("why", text="it crashes")).text
    await stage.services.setup.choose(LEAD, triage.id, learn_from_questions=True)
    kept = await stage.ada.command("why", text="it crashes again")
    assert "This text may be shown to your team for labelling." in kept.text
    await stage.ada.command("privacy opt-out")
    out = await stage.ada.command("why", text="it crashes once more")
    assert "You have opted out, so this text is not stored." in out.text


async def test_another_server_gets_no_why(stage: RealStage) -> None:
    triage = await stage.classifier()
    asked = await stage.services.prediction.ask(LEAD, triage, "it crashes", Source.COMMAND)
    with pytest.raises(NotFound):
        await stage.services.why.of(STRANGER, asked.id)


@pytest.mark.parametrize("text", [HOSTILE, "😀" * 2000, "😀 " * 1900, "word", "\u202e \u202e"])
async def test_why_takes_any_text(stage: RealStage, text: str) -> None:
    triage = await stage.classifier()
    await stage.teach(triage, [*sorted_rows(12), (HOSTILE + " x", "bug")])
    why = await stage.ada.command("why", text=text)
    assert "**Why `" in why.text
    assert "@everyone" not in why.text
    assert "\u202e" not in why.text.partition("Words that matter")[2]


# Two versions


def outcome(example: int, first: str, second: str) -> PairedOutcome:
    return PairedOutcome(example, "bug", Split.TRAIN, first, second)


def report(champion: str, outcomes: list[PairedOutcome], recall: tuple[float, float] = (0.5, 0.75)) -> str:
    rows = len(outcomes)
    right = [sum(getattr(row, who) == row.label for row in outcomes) / rows for who in ("candidate", "champion")]
    labels = (LabelReport("bug", rows, 1.0, recall[1], recall[0]),)
    return to_json(
        EvaluationReport(
            *(tuple(outcomes), right[0], right[1], right[0], right[1], labels, ((rows,),), 0.1, champion, 40, 4),
            encoder_bytes=24_000_000,
            milliseconds=1.3,
        )
    )


async def add_version(stage: RealStage, classifier: Classifier, report: str) -> None:
    await stage.system.stores.registry.add(
        ModelVersion(classifier.guild, classifier.id, 99, "a" * 64, None, "s" * 64, 0, ("bug",), "", report, 20.0)
    )


async def three_versions(stage: RealStage) -> Classifier:
    """v1 against v0, v2 against v1, v3 against v2; v1 and v3 share texts 3 and 4."""
    triage = await stage.classifier()
    await stage.teach(triage, [(f"crashes {HOSTILE} {n}", "bug") for n in range(6)])
    await add_version(stage, triage, report("v0+6", [outcome(n, "idea", "bug") for n in (1, 2)]))
    older = [outcome(1, "bug", "bug"), outcome(2, "idea", "bug"), outcome(3, "idea", "bug"), outcome(4, "bug", "idea")]
    await add_version(stage, triage, report("v1", older))
    await add_version(stage, triage, report("v2+1", [outcome(n, "bug", "bug") for n in (3, 4, 5, 6)], (0.75, 0.75)))
    return triage


async def test_a_version_beside_the_one_it_was_measured_against(stage: RealStage) -> None:
    await three_versions(stage)
    card = await stage.ada.command("model compare", a="v1", b="v2")
    assert card.ephemeral
    assert card.text.splitlines()[:2] == [
        "v1 and v2 of triage",
        "**v2 cannot be told from v1: 2 answers became right and 1 wrong, of 4 texts that both were asked.**",
    ]
    assert "right in 75 %" in card.text
    assert "24 MB, 1.3 ms per text" in card.text
    assert "3 answers differ: 2 became right, 1 wrong." in card.text
    assert card.text.count("fixed: crashes") == 2
    assert "@everyone" not in card.text
    assert re.search(r"bug +0\.50 +0\.75", card.text)
    assert (await stage.ada.command("model compare", a="v2", b="1")).text == card.text


async def test_v0_is_compared_with_a_version_that_was_measured_against_it(stage: RealStage) -> None:
    await three_versions(stage)
    card = await stage.ada.command("model compare", a="v0", b="v1")
    assert (
        "v1 is probably better than v0+6 (88 % likely): 2 answers became right and none wrong, of 2 texts" in card.text
    )
    assert "the base encoder with the labels of that time" in card.text
    assert "v0 keeps no figures of its own" in (await stage.ada.command("model compare", a="v3", b="v0")).text


async def test_versions_that_share_texts_are_compared_on_those_and_others_are_not_judged(stage: RealStage) -> None:
    triage = await three_versions(stage)
    apart = await stage.ada.command("model compare", a="v1", b="v3")
    assert "were measured on different texts" in apart.text
    assert "What flipped" not in apart.text
    await add_version(stage, triage, report("v3", [outcome(n, "bug", "bug") for n in (3, 4)]))
    shared = await stage.ada.command("model compare", a="v2", b="v4")
    assert (
        "v4 cannot be told from v2: 1 answer became right and none wrong, of 2 texts that both were asked"
        in shared.text
    )


async def test_versions_that_cannot_be_compared_are_refused_in_words(stage: RealStage) -> None:
    triage = await three_versions(stage)
    await add_version(stage, triage, "{}")
    for first, second, words in (
        ("v1", "v1", "the same version"),
        ("v1", "v9", "has no version v9"),
        ("v1", "v4", "report of v4 cannot be read"),
        ("v1", HOSTILE, "That is no version"),
    ):
        assert words in (await stage.ada.command("model compare", a=first, b=second)).text
    for focused in ("a", "b"):
        options = {"a": "", "b": ""}
        found = await stage.ada.autocomplete("model compare", focused=focused, **options)
        assert [choice["value"] for choice in found] == ["v4", "v3", "v2", "v1", "v0"]


async def test_comparing_shows_no_text_of_another_server(stage: RealStage) -> None:
    triage = await three_versions(stage)
    foreign = replace(triage, guild=STRANGER.guild)
    with pytest.raises(NotFound):
        await stage.services.comparison.compare(foreign, 1, 2)


# What more labels would bring


async def test_stats_tell_what_more_labels_would_bring(stage: RealStage) -> None:
    triage = await stage.classifier()
    await stage.teach(triage, sorted_rows(10))
    assert "A forecast takes 60 texts to learn from" in (await stage.ada.command("stats")).text
    await stage.teach(triage, [*sorted_rows(40), *WRONG])
    while isinstance(found := await stage.services.forecast.of(triage), InTheMaking):
        pass
    assert isinstance(found, Forecast)
    assert found.gain.low <= found.gain.expected <= found.gain.high
    told = (await stage.ada.command("stats")).text
    assert re.search(r"\+\d+ labels like those so far ≈ [+−]\d+\.\d points \(−?\d+\.\d to −?\d+\.\d\)", told)
    assert re.search(r"`\w+` would gain most: \d+ texts, right in \d+ %\.", told)
    preview = await stage.services.curation.preview(LEAD, triage, ChangeKind.RENAME, found.label, "renamed")
    await stage.services.curation.confirm(LEAD, preview.draft_id)
    async with asyncio.timeout(150):
        while f"`{found.label}` would gain most" in (told := (await stage.ada.command("stats")).text):
            pass  # the last known one is told while a newer one is made
    assert "would gain most" in told


async def test_stats_do_not_wait_for_a_forecast(stage: RealStage, monkeypatch: pytest.MonkeyPatch) -> None:
    import bot.services.forecast as forecast_module

    triage = await stage.classifier()
    await stage.teach(triage, sorted_rows(30))
    monkeypatch.setattr(forecast_module, "PATIENCE", 0.0)
    await stage.system.stores.examples.add_unlabelled(triage.guild, triage.id, ["one waits"], "1", Source.FILE, 1.0)
    early = await stage.ada.command("stats")
    assert "It is being computed; ask again in a moment." in early.text
    assert "1 without a label, for /teach" in early.text
    monkeypatch.setattr(forecast_module, "PATIENCE", 120.0)
    stage.ada.timeout = 150  # it is made at the lowest priority: on a busy machine that takes its time
    known = await stage.ada.click(early, "Look again")
    assert "would gain most" in known.text
    assert known.buttons == []
    # The last known one is told while a newer one is made.
    monkeypatch.setattr(forecast_module, "PATIENCE", 0.0)
    await stage.teach(triage, [("crashes again", "bug")])
    assert "would gain most" in (await stage.ada.command("stats")).text


async def test_stats_say_why_there_is_no_forecast_and_the_next_look_tries_again(
    stage: RealStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    triage = await stage.classifier()
    await stage.teach(triage, sorted_rows(30))
    forecast, away = stage.services.forecast, "The trainer cannot be reached. Try again in a minute."

    async def unreachable(classifier: Classifier) -> None:
        await asyncio.sleep(0.05)
        raise TrainerUnavailable(away)

    monkeypatch.setattr("bot.services.forecast.PATIENCE", 120.0)
    with monkeypatch.context() as broken:
        broken.setattr(forecast._serving, "base_encoder", unreachable)
        told = await stage.ada.command("stats")
        assert f"It could not be computed: {away}" in told.text
        # One that fails only after whoever asked has gone is told to the next.
        broken.setattr("bot.services.forecast.PATIENCE", 0.0)
        assert "It is being computed" in (await stage.ada.click(told, "Look again")).text
        await asyncio.gather(*forecast._making.values())
        assert away in (await stage.ada.command("stats")).text
    stage.ada.timeout = 150
    assert "would gain most" in (await stage.ada.command("stats")).text

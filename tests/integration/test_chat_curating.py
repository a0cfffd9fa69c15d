"""Curating labels in the chat, over the real services: labels changed and taken back, conflicts, undo and history,
labels that do not exist yet, agreement. Maria is a lead; Ada and Jonas are members."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.chat.text import quoted
from bot.playground.reply import Reply
from bot.playground.server import GUILD_ID
from bot.services.people import Actor, Role
from storage.errors import Conflict, InvalidInput, NotAllowed, NotFound
from storage.label_changes import ChangeKind
from storage.records import Classifier, EventKind, Source
from tests.fakes.real_stage import RealStage, real_stage
from tests.fakes.tiny_encoder import make_tiny_base

STRANGER = Actor("another server", "9", "mallory", Role.LEAD)
HOSTILE = ["@everyone `x` \u202e **bold** <@1> [a](http://b)", "👍" * 4000]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
async def stage(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RealStage]:
    async with real_stage(tmp_path, base, monkeypatch) as stage:
        yield stage


@pytest.fixture
async def triage(stage: RealStage) -> Classifier:
    return await stage.classifier()


async def counts(stage: RealStage, classifier: Classifier) -> dict[str, int]:
    return {count.label.name: count.total for count in await stage.services.classifiers.labels(classifier)}


async def scores(stage: RealStage, classifier: Classifier, text: str = "please add a dark mode") -> dict[str, float]:
    await stage.system.serving.settle(classifier)
    answer = await stage.system.serving.answer(classifier, text)
    return {score.label: pytest.approx(score.confidence, abs=1e-3) for score in answer.scores}


def footer(reply: Reply) -> str:
    return str(reply.message["embeds"][0]["footer"]["text"]) if reply.message else ""


class TestChangingLabels:
    async def test_a_rename_is_previewed_done_once_and_taken_back_also_after_a_restart(
        self, stage: RealStage, triage: Classifier
    ) -> None:
        await stage.ada.command("label", text="it crashes", label="bug")
        preview = await stage.maria.command("labels rename", label="BUG", new_name="defect")
        assert preview.ephemeral
        assert "Rename `bug` to `defect`?" in preview.text
        assert "1 text has this label" in preview.text
        assert await counts(stage, triage) == {"bug": 1, "question": 0, "idea": 0}
        await stage.restart()
        done = await stage.maria.click(preview, "Rename")
        assert done.text == "`bug` is called `defect` now."
        assert await counts(stage, triage) == {"defect": 1, "question": 0, "idea": 0}
        await stage.restart()
        undone = await stage.maria.click(done, "Undo")
        assert undone.text == "Taken back. `defect` is called `bug` again."
        assert await counts(stage, triage) == {"bug": 1, "question": 0, "idea": 0}
        told = await stage.jonas.command("labels history")
        assert "Maria: `bug` is called `defect` now. *(taken back)*" in told.text
        assert told.text.index("Undo: ") < told.text.index("*(taken back)*")

    async def test_a_second_click_says_that_it_was_done(self, stage: RealStage, triage: Classifier) -> None:
        preview = await stage.maria.command("labels archive", label="idea")
        first, second = await asyncio.gather(*(stage.maria.click(preview, "Archive") for _ in range(2)))
        assert sorted([first.text, second.text]) == [
            "That was done already. `idea` was archived.",
            "`idea` was archived.",
        ]
        undo = await stage.maria.click(first, "Undo")
        assert "`idea` is in use again" in undo.text
        assert (await stage.services.curation.undo(lead(stage), 1)).new is False
        assert len(await stage.services.curation.history(triage)) == 2

    async def test_undo_refuses_when_the_old_name_is_taken_or_something_changed_since(
        self, stage: RealStage, triage: Classifier
    ) -> None:
        first = await stage.maria.click(
            await stage.maria.command("labels rename", label="bug", new_name="defect"), "Rename"
        )
        await stage.maria.command("labels create", names="bug")
        assert "The name `bug` belongs to another label by now" in (await stage.maria.click(first, "Undo")).text
        again = await stage.maria.command("labels rename", label="defect", new_name="fault")
        await stage.maria.click(again, "Rename")
        refused = await stage.services.curation.history(triage)
        assert [told.name for told in refused] == ["fault", "fault"]
        with pytest.raises(Conflict, match="changed again since"):
            await stage.services.curation.undo(lead(stage), refused[1].change.id)

    async def test_a_merge_counts_as_the_other_label_answers_so_and_is_taken_back_exactly(
        self, stage: RealStage, triage: Classifier
    ) -> None:
        await stage.teach(triage, [("the app crashes", "bug"), ("please add a dark mode", "idea")])
        preview = await stage.maria.command("labels merge", label="idea", into="question")
        assert "1 text has the label `idea` and will count as `question`, which has 0 texts now" in preview.text
        merged = await stage.maria.click(preview, "Merge")
        assert merged.text == "`idea` was merged into `question`."
        assert await counts(stage, triage) == {"bug": 1, "question": 1}
        merged_scores = await scores(stage, triage)
        assert merged_scores.keys() == {"bug", "question"}
        given = await stage.ada.command("label", text="how do I reset it", label="idea")
        assert given.text.startswith("`idea` was merged into `question`. Saved as `question`")
        second = await stage.maria.click(
            await stage.maria.command("labels merge", label="question", into="bug"), "Merge"
        )
        assert "`question` was merged into `bug`. So was 1 label merged into it before." in second.text
        assert await counts(stage, triage) == {"bug": 3}
        assert "was changed again since" in (await stage.maria.click(merged, "Undo")).text
        await stage.maria.click(second, "Undo")
        assert await counts(stage, triage) == {"bug": 1, "question": 2}
        undo = await stage.services.curation.undo(lead(stage), 1)
        assert undo.new
        assert await counts(stage, triage) == {"bug": 1, "question": 1, "idea": 1}

    async def test_an_archived_label_counts_nowhere_until_it_is_restored(
        self, stage: RealStage, triage: Classifier
    ) -> None:
        await stage.teach(triage, [("the app crashes", "bug"), ("please add a dark mode", "idea")])
        before = await scores(stage, triage)
        await stage.maria.click(await stage.maria.command("labels archive", label="idea"), "Archive")
        assert await counts(stage, triage) == {"bug": 1, "question": 0}
        assert (await scores(stage, triage)).keys() == {"bug", "question"}
        refused = await stage.ada.command("label", text="add more colours", label="idea")
        assert "`idea` is archived. A lead can bring it back" in refused.text
        assert refused.buttons == []
        assert "archived" in (await stage.maria.command("labels create", names="idea")).text
        offered = await stage.maria.autocomplete("labels restore", focused="label", label="id")
        assert [choice["value"] for choice in offered] == ["idea"]
        preview = await stage.maria.command("labels restore", label="idea")
        assert "1 text was given this label" in preview.text
        await stage.maria.click(preview, "Bring back")
        assert await counts(stage, triage) == {"bug": 1, "question": 0, "idea": 1}
        assert await scores(stage, triage) == before

    async def test_an_import_follows_merged_labels_and_refuses_archived_ones(
        self, stage: RealStage, triage: Classifier
    ) -> None:
        await stage.maria.click(await stage.maria.command("labels merge", label="idea", into="question"), "Merge")
        await stage.teach(triage, [("add colours", "IDEA"), ("it broke", "bug")])
        assert await counts(stage, triage) == {"bug": 1, "question": 1}
        await stage.maria.click(await stage.maria.command("labels archive", label="question"), "Archive")
        for name in ("question", "idea"):
            with pytest.raises(InvalidInput, match=f"`{name}` is archived"):
                await stage.teach(triage, [("another", "bug"), ("one more", name)])
        assert await counts(stage, triage) == {"bug": 1}

    async def test_a_merge_says_how_many_conflicts_it_ends(self, stage: RealStage, triage: Classifier) -> None:
        await stage.ada.command("label", text="a tie", label="idea")
        await stage.jonas.command("label", text="a tie", label="question")
        preview = await stage.maria.command("labels merge", label="idea", into="question")
        assert "1 conflict ends with it." in preview.text
        await stage.maria.click(preview, "Merge")
        assert await counts(stage, triage) == {"bug": 0, "question": 1}

    async def test_a_description_feeds_the_answers_from_names(self, stage: RealStage, triage: Classifier) -> None:
        before = await scores(stage, triage, "refund the order")
        preview = await stage.maria.command("labels describe", label="idea", description="refund the order")
        assert "> refund the order" in preview.text
        done = await stage.maria.click(preview, "Describe")
        assert "`idea` is described as “refund the order”." in done.text
        described = await scores(stage, triage, "refund the order")
        assert described["idea"].expected > before["idea"].expected + 0.1
        await stage.maria.click(done, "Undo")
        assert await scores(stage, triage, "refund the order") == before

    async def test_members_and_other_servers_change_nothing(self, stage: RealStage, triage: Classifier) -> None:
        assert "Only a lead" in (await stage.ada.command("labels rename", label="bug", new_name="x")).text
        preview = await stage.maria.command("labels archive", label="bug")
        draft = int(str(preview.components[0]["components"][0]["custom_id"]).split(":")[1])
        with pytest.raises(NotAllowed):
            await stage.services.curation.confirm(member(stage), draft)
        with pytest.raises(NotFound):
            await stage.services.curation.confirm(STRANGER, draft)
        done = await stage.services.curation.confirm(lead(stage), draft)
        with pytest.raises(NotFound):
            await stage.services.curation.undo(STRANGER, done.change.id)
        with pytest.raises(NotAllowed):
            await stage.services.curation.undo(member(stage), done.change.id)
        with pytest.raises(NotFound):
            await stage.services.curation.preview(STRANGER, triage, ChangeKind.RESTORE, "bug")

    @pytest.mark.parametrize("name", [*HOSTILE, "question", "bug"])
    async def test_a_name_that_cannot_be_is_refused_in_a_sentence(
        self, stage: RealStage, triage: Classifier, name: str
    ) -> None:
        refused = await stage.maria.command("labels rename", label="bug", new_name=name)
        assert refused.text
        assert refused.buttons == []
        with pytest.raises(InvalidInput):
            await stage.services.curation.preview(lead(stage), triage, ChangeKind.RENAME, "bug", "  ")
        assert await counts(stage, triage) == {"bug": 0, "question": 0, "idea": 0}

    async def test_the_history_has_pages_and_takes_back_what_is_chosen(
        self, stage: RealStage, triage: Classifier
    ) -> None:
        for number in range(12):
            preview = await stage.services.curation.preview(
                lead(stage), triage, ChangeKind.DESCRIBE, "bug", f"*kind* {number}"
            )
            await stage.services.curation.confirm(lead(stage), preview.draft_id)
        first = await stage.maria.command("labels history")
        assert footer(first) == "Page 1 of 2 · 12 changes in all"
        second = await stage.maria.click(first, "▶")
        assert "\\*kind\\* 1”" in second.text
        assert "changed again since" in (await stage.maria.select(second, "1")).text
        undone = await stage.maria.select(await stage.maria.command("labels history"), "12")
        assert "`bug` has its earlier description again." in undone.text


def lead(stage: RealStage) -> Actor:
    return Actor(GUILD_ID, stage.maria.id, "Maria", Role.LEAD)


def member(stage: RealStage) -> Actor:
    return Actor(GUILD_ID, stage.ada.id, "Ada")


class TestConflicts:
    async def disagree(self, stage: RealStage, *texts: str) -> None:
        for text in texts:
            await stage.ada.command("label", text=text, label="bug")
            await stage.jonas.command("label", text=text, label="question")

    async def test_ties_are_settled_one_after_the_other_and_a_rule_is_kept(
        self, stage: RealStage, triage: Classifier
    ) -> None:
        await self.disagree(stage, "why does it crash", "does it freeze", "is it broken")
        card = await stage.maria.command("conflicts")
        assert card.message
        assert card.message["embeds"][0]["title"] == "Conflict 1 of 3"
        assert "Ada said `bug` <t:" in card.text
        assert "Jonas said `question` <t:" in card.text
        assert card.buttons == ["bug", "question", "Other label", "Skip"]
        second = await stage.maria.click(card, "bug")
        assert "Settled: #1 is `bug`." in second.text
        assert "> does it freeze" in second.text
        assert second.buttons[-2:] == ["Undo #1", "Add a rule for bug"]
        await stage.restart()
        form = await stage.maria.click(second, "Add a rule for bug")
        assert form.kind == "modal"
        kept = await stage.maria.submit(form, reason="Asking about a *crash* reports it.")
        assert "Kept as a rule. `bug`: Asking about a \\*crash\\* reports it. (#1)" in kept.text
        assert "**Rules**" in kept.text
        assert "> does it freeze" in kept.text
        skipped = await stage.maria.click(kept, "Skip")
        assert "> is it broken" in skipped.text
        wrapped = await stage.maria.click(skipped, "Skip")
        assert "> does it freeze" in wrapped.text
        picker = await stage.maria.click(wrapped, "Other label")
        assert "> does it freeze" in picker.text
        third = await stage.maria.select(picker, "idea")
        assert "Settled: #2 is `idea`." in third.text
        last = await stage.maria.click(third, "question")
        assert "No conflict is left in `triage`" in last.text
        assert await counts(stage, triage) == {"bug": 1, "question": 1, "idea": 1}
        back = await stage.maria.click(last, "Undo #3")
        assert "Took `question` back." in back.text
        assert "> is it broken" in back.text
        rules = await stage.services.conflicts.rules_for(triage, {1})
        assert [rule.text for rule in rules] == ["Asking about a *crash* reports it."]

    async def test_rules_are_read_by_everybody_and_removed_by_leads(self, stage: RealStage, triage: Classifier) -> None:
        await self.disagree(stage, "why does it crash")
        settled = await stage.maria.click(await stage.maria.command("conflicts"), "bug")
        for reason in ("first", "second"):
            form = await stage.maria.click(settled, "Add a rule for bug")
            settled = await stage.maria.submit(form, reason=reason)
        assert settled.buttons == ["Undo #1", "Add a rule for bug"]
        for reason in ("  \n ", "x" * 301):
            with pytest.raises(InvalidInput):
                await stage.services.conflicts.add_rule(lead(stage), triage, 1, reason, 1)
        read = await stage.ada.command("labels rules")
        assert "`bug`: first (#1)" in read.text
        assert read.components == []
        listed = await stage.maria.command("labels rules")
        removed = await stage.maria.select(listed, "1")
        assert "Removed the rule:\n> first" in removed.text
        assert "first" not in (await stage.ada.command("labels rules")).text
        await stage.restart()
        assert "there again" in (await stage.maria.click(removed, "Undo")).text
        assert "first" in (await stage.ada.command("labels rules")).text
        with pytest.raises(NotAllowed):
            await stage.services.conflicts.remove_rule(member(stage), 1)
        with pytest.raises(NotFound):
            await stage.services.conflicts.remove_rule(STRANGER, 1)

    async def test_a_double_click_rules_once_and_another_lead_hears_what_it_is(
        self, stage: RealStage, triage: Classifier
    ) -> None:
        await self.disagree(stage, "why does it crash")
        card = await stage.maria.command("conflicts")
        await asyncio.gather(stage.maria.click(card, "bug"), stage.maria.click(card, "bug"))
        assert await stage.system.stores.writes.count(triage.guild, stage.maria.id) == 1
        other = (await stage.services.classifiers.labels(triage))[1].label
        with pytest.raises(Conflict, match="#1 is settled already: it is `bug`"):
            await stage.services.conflicts.settle(lead(stage), triage, 1, other)

    async def test_a_classifier_that_was_put_away_takes_no_ruling_and_no_rule(
        self, stage: RealStage, triage: Classifier
    ) -> None:
        await self.disagree(stage, "why does it crash")
        label = (await stage.services.classifiers.labels(triage))[0].label
        away = await stage.services.classifiers.archive(lead(stage), triage)
        with pytest.raises(Conflict, match="archived"):
            await stage.services.conflicts.settle(lead(stage), away, 1, label)
        with pytest.raises(Conflict, match="archived"):
            await stage.services.conflicts.add_rule(lead(stage), away, label.id, "because", 1)

    async def test_members_and_other_servers_settle_nothing(self, stage: RealStage, triage: Classifier) -> None:
        await self.disagree(stage, "why does it crash")
        assert "Only a lead" in (await stage.ada.command("conflicts")).text
        label = (await stage.services.classifiers.labels(triage))[0].label
        with pytest.raises(NotAllowed):
            await stage.services.conflicts.settle(member(stage), triage, 1, label)
        with pytest.raises(NotFound):
            await stage.services.conflicts.settle(STRANGER, triage, 1, label)

    async def test_hostile_texts_and_many_labels_in_question_fit_the_card(self, stage: RealStage) -> None:
        names = [f"label-{number}" for number in range(30)]
        wide = await stage.classifier("wide", " ".join(names))
        labels = {count.label.name: count.label.id for count in await stage.services.classifiers.labels(wide)}
        examples = stage.system.stores.examples
        for text in HOSTILE:
            for number, name in enumerate(names[:20]):
                await examples.add_label(wide.guild, wide.id, text, labels[name], f"u{number}", Source.COMMAND, 1.0)
        card = await stage.maria.command("conflicts", classifier="wide")
        assert "@everyone" not in card.text
        assert len(card.buttons) == 6
        assert "and 8 more" in card.text
        picker = await stage.maria.click(card, "Other label")
        form = await stage.maria.click(picker, "Type it")
        second = await stage.maria.submit(form, label="LABEL-29")
        assert "Settled: #1 is `label-29`." in second.text
        assert "more characters" in second.text


class TestUndoAndHistory:
    async def test_undoing_twice_gives_the_label_again(self, stage: RealStage, triage: Classifier) -> None:
        await stage.jonas.command("label", text="older", label="idea")
        await stage.jonas.command("label", text="newer", label="bug")
        undone = await stage.jonas.command("undo")
        assert undone.text.startswith("Took `bug` back; it has no label now.")
        assert "`/undo` again brings it back; `/history` takes back older ones." in undone.text
        again = await stage.jonas.command("undo")
        assert again.text.startswith("Gave `bug` again.")
        assert await counts(stage, triage) == {"bug": 1, "question": 0, "idea": 1}
        assert (await stage.jonas.command("undo")).text.startswith("Took `bug` back")

    async def test_redo_and_its_undo_also_work_after_a_restart_and_twice(
        self, stage: RealStage, triage: Classifier
    ) -> None:
        await stage.jonas.command("label", text="a text", label="bug")
        undone = await stage.jonas.command("undo")
        await stage.restart()
        redo = str(undone.components[0]["components"][0]["custom_id"])
        first = await stage.jonas.click(undone, "Redo")
        assert first.text.startswith("Gave `bug` again.")
        receipt = await stage.services.labeling.redo(
            Actor(triage.guild, stage.jonas.id, "Jonas"), int(redo.split(":")[1])
        )
        assert receipt.label == "bug"
        assert await stage.system.stores.writes.count(triage.guild, stage.jonas.id) == 3
        assert (await stage.jonas.click(first, "Undo")).text.startswith("Took `bug` back")

    async def test_the_history_pages_through_every_write_and_takes_one_back(
        self, stage: RealStage, triage: Classifier
    ) -> None:
        for number in range(11):
            await stage.jonas.command("label", text=f"text number {number}", label="bug")
        await stage.jonas.command("undo")
        await stage.ada.command("label", text="hers", label="idea")
        first = await stage.jonas.command("history")
        assert footer(first) == "Page 1 of 2 · 12 entries in all"
        assert "took `bug` back #11 in `triage` text number 10" in first.text
        assert "~~labelled `bug`~~ #11" in first.text
        assert "hers" not in first.text
        await stage.restart()
        second = await stage.jonas.click(first, "▶")
        assert "**labelled `bug`** #1 in `triage` text number 0" in second.text
        taken = await stage.jonas.select(second, "1")
        assert "Took `bug` back." in taken.text
        assert await counts(stage, triage) == {"bug": 9, "question": 0, "idea": 1}
        again = await stage.jonas.select(await stage.jonas.command("history"), "12")
        assert "Gave `bug` again." in again.text

    async def test_nobody_takes_back_what_others_did(self, stage: RealStage, triage: Classifier) -> None:
        await stage.jonas.command("label", text="his", label="bug")
        with pytest.raises(NotFound):
            await stage.services.labeling.take_back(lead(stage), 1)
        await stage.jonas.command("undo")
        with pytest.raises(NotFound):
            await stage.services.labeling.redo(member(stage), 2)
        with pytest.raises(NotFound):
            await stage.services.labeling.redo(STRANGER, 2)
        assert "You have given no label yet." in (await stage.ada.command("history")).text
        assert "nothing to take back" in (await stage.ada.command("undo")).text

    async def test_hostile_texts_fit_the_history(self, stage: RealStage, triage: Classifier) -> None:
        examples = stage.system.stores.examples
        label = (await stage.services.classifiers.labels(triage))[0].label
        for number in range(10):
            text = f"{number} {HOSTILE[number % 2]}"[:4000]
            await examples.add_label(
                triage.guild, triage.id, text, label.id, stage.ada.id, Source.COMMAND, 1.0, kind=EventKind.RULING
            )
        card = await stage.ada.command("history", classifier="triage")
        assert "@everyone" not in card.text
        assert "**settled as `bug`**" in card.text
        assert footer(card) == "10 entries in all"


class TestRevertingSomebody:
    async def test_a_members_labels_are_taken_back_as_a_whole_and_brought_back(
        self, stage: RealStage, triage: Classifier
    ) -> None:
        for text in ("one", "two", "three"):
            await stage.jonas.command("label", text=text, label="bug")
        await stage.ada.command("label", text="one", label="bug")
        preview = await stage.maria.command("labels revert", member=stage.jonas.id, since="2h")
        assert "That is 3 labels on 3 texts; 2 texts would have another label, or none." in preview.text
        assert await counts(stage, triage) == {"bug": 3, "question": 0, "idea": 0}
        await stage.restart()
        done, again = await asyncio.gather(*(stage.maria.click(preview, "Take 3 labels back") for _ in range(2)))
        assert sorted(reply.text.startswith("That was done already.") for reply in (done, again)) == [False, True]
        assert await counts(stage, triage) == {"bug": 1, "question": 0, "idea": 0}
        told = await stage.jonas.command("history")
        assert "a lead took `bug` back" in told.text
        assert told.components == []
        assert "nothing to take back" in (await stage.jonas.command("undo")).text
        await stage.jonas.command("label", text="two", label="idea")
        undone = await stage.maria.click(done, "Undo")
        assert undone.text == ("Brought 2 labels back. Left out because of what was said or done since: 1 text.")
        assert await counts(stage, triage) == {"bug": 2, "question": 0, "idea": 1}
        assert await stage.services.reverting.undo(lead(stage), 1) is None

    async def test_members_and_other_servers_revert_nobody(self, stage: RealStage, triage: Classifier) -> None:
        await stage.jonas.command("label", text="one", label="bug")
        refused = await stage.ada.command("labels revert", member=stage.jonas.id, since="2h")
        assert "Only a lead" in refused.text
        draft = await stage.services.reverting.preview(lead(stage), triage, stage.jonas.id, "2h")
        with pytest.raises(NotAllowed):
            await stage.services.reverting.confirm(member(stage), draft.draft_id)
        with pytest.raises(NotFound):
            await stage.services.reverting.confirm(STRANGER, draft.draft_id)
        revert, _ = await stage.services.reverting.confirm(lead(stage), draft.draft_id)
        with pytest.raises(NotFound):
            await stage.services.reverting.undo(STRANGER, revert.id)

    async def test_a_time_that_is_none_and_a_person_without_labels_are_told(
        self, stage: RealStage, triage: Classifier
    ) -> None:
        for since in ("yesterday-ish", "2999-01-01", "3 months", "1 hourglass", HOSTILE[0]):
            refused = await stage.maria.command("labels revert", member=stage.jonas.id, since=since)
            assert refused.buttons == []
        nothing = await stage.maria.command("labels revert", member=stage.jonas.id, since="2020-01-01")
        assert "has given no label in `triage`" in nothing.text


class TestLabelsThatDoNotExistYet:
    async def test_a_lead_creates_it_and_the_text_is_saved(self, stage: RealStage, triage: Classifier) -> None:
        offered = await stage.maria.command("label", text="where is my invoice", label="Billing")
        assert "`triage` has no label `Billing`" in offered.text
        assert "> where is my invoice" in offered.text
        await stage.restart()
        saved = await stage.maria.click(offered, "Create Billing and save")
        assert saved.text.startswith("Saved as `Billing` (#1).")
        again = await stage.services.proposing.create(lead(stage), 1)
        assert again.saved == []
        assert await counts(stage, triage) == {"bug": 0, "question": 0, "idea": 0, "Billing": 1}

    async def test_a_member_proposes_it_in_the_teams_channel_and_a_lead_creates_it(
        self, stage: RealStage, triage: Classifier
    ) -> None:
        await stage.maria.command("classifier create", channel="training", name="team", labels="bug")
        long = "a *long* text, " * 100
        form = await stage.ada.command("label", classifier="team", text="x")
        assert form.kind == "modal"
        offered = await stage.ada.command("label", classifier="team", text=long, label="billing")
        waiting = await stage.ada.click(offered, "Propose billing")
        assert "Proposed `billing` to the leads." in waiting.text
        message = await stage.maria.wait_for(lambda one: "proposes the label" in str(one["embeds"]), "training")
        other = await stage.jonas.command("label", classifier="team", text="my invoice", label="BILLING")
        second = await stage.jonas.click(other, "Propose BILLING")
        assert "is proposed already. Your text waits for it, too." in second.text
        proposals = [one for one in stage.maria.messages("training") if "proposes" in str(one["embeds"])]
        assert len(proposals) == 1
        refused = await stage.jonas.click(message, "Create")
        assert "Only a lead may create a label" in refused.text
        await stage.restart()
        created = await stage.maria.click(message, "Create")
        told = "Maria created `billing` in `team`. Saved 2 texts of Ada, Jonas with it."
        assert created.text == f"{told}\n{quoted(long.strip(), 200)}"
        team = await stage.services.classifiers.resolve(triage.guild, "team")
        assert await counts(stage, team) == {"bug": 0, "billing": 2}
        history = await stage.services.labeling.history(member(stage), team, 0)
        assert [one.text for one in history[0]] == [long.strip()]

    async def test_a_label_that_a_lead_creates_otherwise_saves_what_waited_for_it(
        self, stage: RealStage, triage: Classifier
    ) -> None:
        """The message with the buttons may be gone."""
        offered = await stage.ada.command("label", text="my invoice", label="billing")
        await stage.ada.click(offered, "Propose billing")
        created = await stage.maria.command("labels create", names="Billing, other")
        assert "Saved 1 text that had been proposed with it." in created.text
        assert await counts(stage, triage) == {"bug": 0, "question": 0, "idea": 0, "Billing": 1, "other": 0}
        history = await stage.services.labeling.history(member(stage), triage, 0)
        assert [one.text for one in history[0]] == ["my invoice"]

    @pytest.mark.parametrize("by_file", [False, True])
    async def test_a_label_that_comes_by_setup_or_a_file_saves_what_waited_for_it(
        self, stage: RealStage, triage: Classifier, by_file: bool
    ) -> None:
        offered = await stage.ada.command("label", text="my invoice", label="billing")
        await stage.ada.click(offered, "Propose billing")
        if by_file:
            table = ("texts.csv", b"text,label\nanother invoice,billing\n")
            preview = await stage.maria.command("examples import", file=table)
            await stage.maria.click(preview, preview.buttons[0])
        else:
            form = await stage.maria.click(await stage.maria.command("setup"), "Add labels")
            await stage.maria.submit(form, name=triage.name, labels="billing")
        assert (await counts(stage, triage))["billing"] == 1 + by_file

    async def test_a_label_of_another_name_that_is_renamed_saves_what_waited_for_it(
        self, stage: RealStage, triage: Classifier
    ) -> None:
        offered = await stage.ada.command("label", text="my invoice", label="billing")
        await stage.ada.click(offered, "Propose billing")
        preview = await stage.maria.command("labels rename", label="idea", new_name="billing")
        await stage.maria.click(preview, preview.buttons[0])
        assert await counts(stage, triage) == {"bug": 0, "question": 0, "billing": 1}

    async def test_a_declined_label_is_told_and_can_be_asked_for_again(
        self, stage: RealStage, triage: Classifier
    ) -> None:
        offered = await stage.ada.command("label", text="my invoice", label="billing")
        await stage.ada.click(offered, "Propose billing")
        message = await stage.maria.wait_for(lambda one: "proposes the label" in str(one["embeds"]))
        declined = await stage.maria.click(message, "Decline")
        assert "Maria declined the label `billing`." in declined.text
        with pytest.raises(NotFound):
            await stage.services.proposing.create(STRANGER, 1)
        assert await counts(stage, triage) == {"bug": 0, "question": 0, "idea": 0}
        again = await stage.ada.command("label", text="my invoice", label="billing")
        assert "Proposed `billing`" in (await stage.ada.click(again, "Propose billing")).text

    async def test_somebody_elses_text_is_not_proposed(self, stage: RealStage, triage: Classifier) -> None:
        await stage.ada.command("label", text="my invoice", label="billing")
        with pytest.raises(NotAllowed):
            await stage.services.proposing.propose(Actor(triage.guild, stage.jonas.id, "Jonas"), 1)

    @pytest.mark.parametrize("name", [*HOSTILE, "x" * 61])
    async def test_a_name_that_no_label_can_have_is_not_offered(
        self, stage: RealStage, triage: Classifier, name: str
    ) -> None:
        refused = await stage.maria.command("label", text="hello", label=name)
        assert "has no label" in refused.text
        assert refused.buttons == []

    async def test_a_former_name_still_means_the_label(self, stage: RealStage, triage: Classifier) -> None:
        asked = await stage.jonas.command("ask", text="the app crashes")
        preview = await stage.maria.command("labels rename", label="bug", new_name="defect")
        await stage.maria.click(preview, "Rename")
        given = await stage.ada.command("label", text="the app crashes", label="bug")
        assert given.text.startswith("`bug` is called `defect` now. Saved as `defect` (#1).")
        assert asked.buttons


class TestAgreement:
    async def test_stats_tell_what_is_missing_and_then_how_far_people_agree(
        self, stage: RealStage, triage: Classifier
    ) -> None:
        assert (
            "it takes 10 texts that two people have labelled, and there is none."
            in (await stage.ada.command("stats")).text
        )
        for number in range(10):
            await stage.ada.command("label", text=f"text {number}", label="bug" if number % 2 else "idea")
            await stage.jonas.command(
                "label", text=f"text {number}", label="bug" if number % 2 or not number else "idea"
            )
        text = (await stage.ada.command("stats")).text
        assert "Krippendorff's alpha 0.81 on 10 texts" in text
        assert "Ada 90 % of 10 texts" in text

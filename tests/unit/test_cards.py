"""Cards: what people read, word for word where it matters, and Discord's limits whatever is put on a card."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.chat import cards as limits
from bot.chat.answer_cards import (
    answer_card,
    name_form,
    picker_card,
    receipt_card,
    saved_words,
    taught_words,
    teach_form,
    undo_card,
    version_words,
)
from bot.chat.cards import Button, Card, Choice, Menu, Tone, fitted
from bot.chat.cogs.labels import created_words, split_names
from bot.chat.cogs.models import version_number
from bot.chat.cogs.training import crontab
from bot.chat.insight_cards import _word_lines, doubt_card, forecast_words
from bot.chat.overview_cards import (
    based_words,
    classifiers_card,
    exam_words,
    labels_card,
    stats_card,
    status_card,
    swap_card,
    version_line,
    versions_card,
)
from bot.chat.text import bar, block, code, counted, cut, duration, escaped, listed, percent, quoted
from bot.chat.training_cards import job_card, next_runs_words, price_words, result_card, schedule_words
from bot.inference.forecast import Gain
from bot.inference.insight import Word
from bot.services.classifiers import Stats, ToldAgreement
from bot.services.forecast import Forecast
from bot.services.labeling import LabelReceipt, UndoReceipt
from bot.services.suspects import Doubt, Doubted
from bot.services.updates import JobUpdate
from storage.errors import InvalidInput
from storage.opinions import Opinion
from storage.records import (
    CandidateKind,
    Certainty,
    Classifier,
    EvaluationReport,
    EventKind,
    JobState,
    Label,
    LabelCount,
    LabelledText,
    LabelReport,
    LabelScore,
    ModelVersion,
    Origin,
    PairedOutcome,
    Prediction,
    Promotion,
    PromotionDecision,
    Schedule,
    Source,
    Split,
    TrainingJob,
    VersionState,
)
from tests.unit.test_report_figures import OLD
from trainer.protocol import Phase, Progress, from_json, to_json

CLASSIFIER = Classifier(1, "g", "triage", 0.0, "1", "base")
HOSTILE = "@everyone <@1> `code` ```block``` **bold** [x](http://y) # head\n> quote\n- item\n1. one\n||s||"


def scores(*pairs: tuple[str, float]) -> tuple[LabelScore, ...]:
    return tuple(LabelScore(label, confidence) for label, confidence in pairs)


def prediction(**more: object) -> Prediction:
    given_scores = scores(("bug", 0.91), ("question", 0.06), ("praise", 0.02), ("spam", 0.006), ("idea", 0.004))
    made = Prediction("ab12", "g", 1, "triage", given_scores, False, "v3+2", 11.6, "1", 0.0, "It crashes")
    return replace(made, **more)  # type: ignore[arg-type]


def receipt(**more: object) -> LabelReceipt:
    made = LabelReceipt(7, 481, "It crashes", "bug", None, LabelScore("question", 0.62), "v1+3", False, 12, 7)
    return replace(made, **({"now": "bug"} | more))  # type: ignore[arg-type]


class TestWords:
    def test_a_label_says_what_was_saved_what_the_model_had_said_and_how_many_are_left(self) -> None:
        said = saved_words(receipt())
        assert said == "Saved as `bug` (#481). I had said `question` 62 % (v1+3). 7 more until the next training."

    def test_a_label_the_model_had_guessed_says_so(self) -> None:
        said = saved_words(receipt(guess=LabelScore("bug", 0.8), until_training=None))
        assert said == "Saved as `bug` (#481). I had said so too, 80 % (v1+3)."

    def test_a_changed_label_names_the_one_before(self) -> None:
        assert "It was `idea` before." in saved_words(receipt(previous="idea"))

    def test_a_label_that_does_not_count_says_what_the_text_counts_as(self) -> None:
        settled = receipt(previous="idea", now="idea", ruled="idea")
        for said in (saved_words(settled), taught_words(settled)):
            assert "A lead has settled it: it stays `idea`." in said
            assert "before" not in said
        tied = receipt(now=None, others=(("ada", "idea"),))
        assert "ada says `idea`: a tie, so the text counts for neither" in saved_words(tied)
        gone = saved_words(replace(tied, ruled="other"))
        assert "A lead has settled it as `other`, which is archived: the text counts for nothing" in gone
        assert "tie" not in gone
        assert "/conflicts" not in gone

    def test_a_second_vote_for_the_same_label_is_a_confirmation(self) -> None:
        assert saved_words(receipt(previous="bug")).startswith("Confirmed as `bug` (#481).")

    def test_a_golden_text_says_that_it_is_kept_aside(self) -> None:
        assert "never trained on" in saved_words(receipt(golden=True))

    def test_right_is_answered_by_what_was_taught(self) -> None:
        assert taught_words(receipt(until_training=None)) == "Taught: `bug` (#481)."
        assert taught_words(receipt(until_training=0)).endswith("The next training starts soon.")

    def test_undo_says_what_the_text_is_now(self) -> None:
        assert undo_card(UndoReceipt("x", "bug", None)).text.startswith("Took `bug` back; it has no label now.")
        assert undo_card(UndoReceipt("x", "bug", "idea")).text.startswith("Took `bug` back; it is `idea` again.")

    @pytest.mark.parametrize(
        ("version", "words"),
        [
            ("v12+7", "v12+7, 7 labels not trained in yet"),
            ("v12+1", "v12+1, 1 label not trained in yet"),
            ("v12", "v12"),
            ("v0+3", "v0+3, not fine-tuned"),
        ],
    )
    def test_a_version_says_what_is_not_trained_in(self, version: str, words: str) -> None:
        assert version_words(version) == words

    @pytest.mark.parametrize(("took", "words"), [(0.2, "< 1 ms"), (1.0, "1 ms"), (12.4, "12 ms")])
    def test_an_answer_that_was_kept_took_no_time_worth_a_number(self, took: float, words: str) -> None:
        assert answer_card(prediction(milliseconds=took)).footer.endswith(f" · {words}")

    def test_no_answer_is_certain(self) -> None:
        assert (percent(1.0), percent(0.0), percent(0.624)) == ("> 99 %", "< 1 %", "62 %")

    def test_a_list_counts_what_it_leaves_out(self) -> None:
        assert listed(["a", "b", "c"], 3) == "a, b, c"
        assert listed(["a"] * 14, 2) == "a, a and 12 more"

    def test_durations_read_like_speech(self) -> None:
        assert [duration(s) for s in (0.2, 40, 95, 3600, 6000)] == ["1 s", "40 s", "2 min", "60 min", "1 h 40 min"]

    def test_counts_have_their_plural(self) -> None:
        assert (counted(1, "label"), counted(1200, "label")) == ("1 label", "1,200 labels")

    def test_a_bar_stays_in_its_width_whatever_the_fraction(self) -> None:
        assert bar(-1, 4) == "░░░░"
        assert bar(9, 4) == "████"

    def test_a_time_of_day_becomes_a_crontab_and_back(self) -> None:
        assert crontab(" 3:05 ") == "5 3 * * *"
        assert crontab("0 3 * * 1") == "0 3 * * 1"
        schedule = Schedule("g", 1, crontab("3:05"), 50, "Europe/Berlin", True, None)
        assert "every day at 03:05 (Europe/Berlin) and after 50 new labels" in schedule_words(schedule)
        assert "does not retrain by itself" in schedule_words(None)

    def test_quiet_hours_are_told_and_counted_in(self) -> None:
        schedule = Schedule("g", 1, "30 2 * * *", 50, "Europe/Berlin", True, "2026-03-27T02:30", "22:00-07:00")
        assert schedule_words(schedule) == (
            "It retrains every day at 02:30 (Europe/Berlin) and after 50 new labels, if there is something new, but "
            "not between 22:00 and 07:00: what comes due then waits."
        )
        assert "between 22:00 and 07:00 (Europe/Berlin):" in schedule_words(replace(schedule, cron=None))
        assert "22:00" not in schedule_words(replace(schedule, enabled=False))
        # Summer time begins on the 29th: the same seven o'clock is an hour earlier.
        runs = [datetime(2026, 3, 28, 6), datetime(2026, 3, 29, 5), datetime(2026, 3, 30, 5)]
        stamps = ", ".join(f"<t:{int(run.replace(tzinfo=UTC).timestamp())}:f>" for run in runs)
        for now in (datetime(2026, 3, 27, 12, tzinfo=UTC), datetime(2026, 3, 28, 3, tzinfo=UTC)):
            assert next_runs_words(schedule, now) == f"\nNext, by your clock: {stamps}."

    def test_the_next_three_runs_are_told_in_the_readers_own_time(self) -> None:
        schedule = Schedule("g", 1, "30 2 * * *", None, "Europe/Berlin", True, None)
        before_summer_time = datetime(2026, 3, 27, 12, tzinfo=UTC)
        # Half past two does not happen on 29 March in Berlin: that run comes an hour later by the clock.
        runs = [datetime(2026, 3, 28, 1, 30), datetime(2026, 3, 29, 1, 30), datetime(2026, 3, 30, 0, 30)]
        stamps = ", ".join(f"<t:{int(run.replace(tzinfo=UTC).timestamp())}:f>" for run in runs)
        assert next_runs_words(schedule, before_summer_time) == f"\nNext, by your clock: {stamps}."
        assert next_runs_words(replace(schedule, enabled=False), before_summer_time) == ""
        assert next_runs_words(replace(schedule, cron=None, after_labels=9), before_summer_time) == ""
        assert next_runs_words(None, before_summer_time) == ""

    def test_versions_are_read_as_people_write_them(self) -> None:
        assert [version_number(text) for text in ("v3", "3", " V3+12 ")] == [3, 3, 3]
        with pytest.raises(InvalidInput, match="/model list"):
            version_number("the last one")

    def test_names_of_labels_are_split_at_commas_once_each(self) -> None:
        assert split_names("bug, question ,, bug") == ["bug", "question"]
        with pytest.raises(InvalidInput):
            split_names(" , ")
        with pytest.raises(InvalidInput, match="26"):
            split_names(",".join(map(str, range(26))))

    def test_labels_that_could_not_be_created_are_named_beside_those_that_were(self) -> None:
        said = created_words("triage", ["bug"], ["`idea` exists already."])
        assert said.splitlines()[0].startswith("`triage` has the new label `bug`.")
        assert said.splitlines()[1] == "`idea` exists already."
        assert created_words("triage", [], ["no"] * 12).endswith("and 2 more that could not be created")


class TestHostileText:
    def test_what_a_person_wrote_reads_the_same_and_does_nothing(self) -> None:
        shown = escaped(HOSTILE)
        assert "@everyone" not in shown
        assert "\\<@" in shown
        assert "\\`\\`\\`block" in shown
        assert "\\*\\*bold" in shown
        assert "\\[x\\]" in shown
        assert "\n\\> quote\n\\- item\n1\\. one" in shown
        assert re.sub("[\\\\\u200b]", "", shown) == HOSTILE

    def test_a_quote_stays_a_quote_over_all_its_lines(self) -> None:
        assert all(line.startswith("> ") for line in quoted(HOSTILE).split("\n"))

    def test_a_long_text_says_how_much_is_not_shown(self) -> None:
        assert quoted("x" * 4000, 400).endswith("… (3,600 more characters)")

    def test_names_and_blocks_cannot_break_out_of_their_back_ticks(self) -> None:
        assert code("a`b\nc") == "`aˋb c`"
        assert block(["a ``` b"]).count("```") == 2

    def test_a_web_address_stays_what_it_is(self) -> None:
        address = "https://docs.example.org/user_guide/first_steps.html#the_end"
        assert escaped(f"_see_ {address} *now*") == f"\\_see\\_ {address} \\*now\\*"
        assert escaped("https://x.org/a**b [x](https://y.org)") == "https://x.org/a\\*\\*b \\[x\\](https://y.org)"
        assert escaped("https://x.org/@bob/post") == "https://x.org/@bob/post"
        assert "@everyone" not in escaped("https://x.org/@everyone")

    @settings(max_examples=60, deadline=None)
    @given(st.text(max_size=100))
    def test_escaping_only_adds(self, text: str) -> None:
        shown = escaped(text)
        remaining = iter(shown)
        assert all(character in remaining for character in text.replace("\r", ""))
        assert "@everyone" not in shown
        assert "@here" not in shown


class TestAnswers:
    def test_an_answer_shows_confidence_version_and_counts_the_rest(self) -> None:
        card = answer_card(prediction())
        assert "**`bug` 91 %**" in card.body
        assert "`question` 6 % · `praise` 2 % · `spam` 1 % and 1 more" in card.body
        assert card.footer == "triage · v3+2, 2 labels not trained in yet · 12 ms"
        assert [button.label for button in card.rows[0]] == ["Right", "Wrong", "Why", "Share"]  # type: ignore[union-attr]

    def test_an_unsure_answer_says_so_and_offers_both(self) -> None:
        card = answer_card(prediction(scores=scores(("A", 0.44), ("B", 0.41), ("C", 0.15)), abstained=True))
        assert "not sure: `A` 0.44 / `B` 0.41" in card.body
        assert [button.label for button in card.rows[0]] == ["A", "B", "Neither", "Why", "Share"]  # type: ignore[union-attr]

    def test_a_text_like_nothing_taught_is_only_a_guess_unless_a_person_taught_it(self) -> None:
        strange = prediction(outside=True)
        card = answer_card(strange)
        assert card.body == "> It crashes\n\nThis looks like nothing I was taught. The nearest label: `bug` 91 %"
        assert card.tone is Tone.CAREFUL
        assert [button.label for button in card.rows[0]] == ["bug", "question", "Neither", "Why", "Share"]  # type: ignore[union-attr]
        both = answer_card(replace(strange, abstained=True))
        assert both == card
        known = answer_card(
            replace(strange, taught=LabelledText(481, "It crashes", "idea", Split.TRAIN, Source.COMMAND))
        )
        assert "nothing I was taught" not in known.body
        assert known.tone is Tone.GOOD
        assert [button.label for button in known.rows[0]] == ["Right", "Wrong", "Why", "Share"]  # type: ignore[union-attr]

    def test_a_text_that_was_cut_is_said_to_be(self) -> None:
        assert "only its beginning counted" in answer_card(prediction(cut=True)).body
        assert "beginning" not in answer_card(prediction()).body

    def test_a_taught_text_is_answered_with_what_was_taught(self) -> None:
        taught = LabelledText(481, "It crashes", "idea", Split.TRAIN, Source.COMMAND)
        card = answer_card(prediction(taught=taught))
        assert "Taught: `idea` (#481)" in card.body
        assert "by itself says `bug` 91 %" in card.body

    def test_an_answer_about_a_message_keeps_no_text_and_offers_no_label(self) -> None:
        card = answer_card(prediction(text=None))
        assert card.ids == ["right:ab12", "miss:ab12", "share:ab12"]

    def test_an_answer_that_was_judged_asks_no_more(self) -> None:
        assert answer_card(prediction(), note="Taught.", rows=()).ids == []

    def test_a_shared_answer_names_who_asked_and_cannot_be_shared_again(self) -> None:
        card = answer_card(prediction(), shared_by="Maria")
        assert card.body.startswith("Maria asked:\n> It crashes\n\n**`bug` 91 %**")
        assert not any(number.startswith("share:") for number in card.ids)

    def test_25_labels_are_one_menu_and_60_are_three_pages(self) -> None:
        names = [f"label {number}" for number in range(60)]
        one = picker_card("p.1", names[:25], 0)
        assert isinstance(one.rows[0], Menu)
        assert len(one.rows[0].choices) == 25
        assert len(one.rows) == 2
        last = picker_card("p.1", names, 2)
        assert isinstance(last.rows[0], Menu)
        assert [choice.value for choice in last.rows[0].choices] == names[50:]
        assert "Page 3 of 3; 60 labels in all" in last.text
        assert last.ids == ["picked:p.1", "pick:p.1:1", "name:p.1", "back:p.1"]
        two = picker_card("p.1", names[:30], 0)
        assert two.ids == ["picked:p.1", "pick:p.1:1", "name:p.1", "back:p.1"], "no id comes twice"

    @pytest.mark.parametrize("count", [26, 50, 51, 200])
    def test_no_two_buttons_of_a_picker_are_the_same(self, count: int) -> None:
        for page in range(-(-count // 25)):
            ids = picker_card("p.1", [f"label {number}" for number in range(count)], page).ids
            assert len(set(ids)) == len(ids)

    def test_with_no_other_label_the_menu_says_how_to_get_one(self) -> None:
        assert "/labels create" in picker_card("p.1", [], 0).text

    def test_the_form_lets_choose_among_25_labels_and_type_more(self) -> None:
        assert len(teach_form("triage", ["a"] * 25).inputs[1].choices) == 25
        assert teach_form("triage", ["a"] * 26).inputs[1].choices == ()


def job(state: JobState, **more: object) -> TrainingJob:
    made = TrainingJob("j1", "g", 1, "k", "s", 0, state, 1, "1", "asked for", 0.0, 0.0, channel_id="5")
    return replace(made, **more)  # type: ignore[arg-type]


def report(labels: int = 3, rows: int = 118) -> EvaluationReport:
    outcomes = tuple(PairedOutcome(n, "bug", Split.TRAIN, "bug", "bug") for n in range(rows))
    per_label = tuple(LabelReport(f"label {n}", 10, 0.8, 0.9, 0.5 + n / 100) for n in range(labels))
    return EvaluationReport(outcomes, 0.87, 0.84, 0.86, 0.83, per_label, (), 0.03, "v0+48", 240, 26, {"train": 65.0})


def full_report() -> EvaluationReport:
    """13 rows became right, 4 wrong, 2 are wrong in another way, as a training of today reports it."""
    answers = [("bug", "idea", "bug")] * 13 + [("bug", "bug", "idea")] * 4 + [("bug", "idea", "spam")] * 2
    answers += [("bug", "bug", "bug")] * (118 - len(answers))
    outcomes = tuple(PairedOutcome(n, label, Split.TRAIN, was, now) for n, (label, was, now) in enumerate(answers))
    return replace(
        report(), outcomes=outcomes, encoder_bytes=22_900_000, kind=CandidateKind.DEEP, other_accuracy=0.88,
        started_from="support_eu v3", certainty=Certainty(0.098, 0.84, 0.61, 0.95, 0.043, 0.97), milliseconds=4.21,
    )  # fmt: skip


VERSION = ModelVersion("g", 1, 1, "a", "j1", "s", 9, ("bug",), "r", "{}", 0.0)


def finished(promote: bool, state: VersionState, reason: str = "", **more: object) -> JobUpdate:
    decision = PromotionDecision(promote, reason, 8, 5)
    serving = "v1" if state is VersionState.CHAMPION else "v0+48"
    made = JobUpdate(
        job(JobState.SUCCEEDED), CLASSIFIER, serving, None, decision, promote, report(), replace(VERSION, state=state)
    )
    return replace(made, **more)  # type: ignore[arg-type]


class TestTrainings:
    def test_progress_shows_bar_phase_epoch_loss_time_left_and_cancel(self) -> None:
        progress = Progress(3, Phase.TRAINING, 0.36, epoch=2, epochs=5, loss=0.421, eta_seconds=185)
        card = job_card(JobUpdate(job(JobState.RUNNING), CLASSIFIER, "v0+48", progress))
        assert "██████░░░░░░░░░░ 36 %" in card.body
        assert "learning from every text · epoch 2 of 5 · loss 0.42 · about 3 min left" in card.body
        assert "asked for by <@1>" in card.body
        assert card.footer == "v0+48 keeps answering"
        assert card.ids == ["cancel:j1"]

    def test_a_training_that_is_tried_again_says_so(self) -> None:
        waiting = job_card(JobUpdate(job(JobState.QUEUED, attempt=1), CLASSIFIER, "v0"))
        assert "attempt 1 did not work out; the next one follows" in waiting.body
        running = job_card(JobUpdate(job(JobState.RUNNING, attempt=2), CLASSIFIER, "v0"))
        assert running.body.endswith("asked for by <@1> · attempt 2")

    def test_a_training_for_which_the_trainer_is_away_says_so(self) -> None:
        away = replace(job(JobState.LEASED, attempt=1), error="The trainer cannot be reached.")
        assert "not begun yet: The trainer cannot be reached." in job_card(JobUpdate(away, CLASSIFIER, "v0")).body
        begun = job_card(JobUpdate(replace(away, state=JobState.RUNNING), CLASSIFIER, "v0"))
        assert "cannot be reached" not in begun.body
        done = job_card(JobUpdate(replace(away, state=JobState.UPLOADING), CLASSIFIER, "v0"))
        assert "the new version is not here yet: The trainer cannot be reached." in done.body

    @pytest.mark.parametrize(("state", "attempt"), [(JobState.QUEUED, 0), (JobState.LEASED, 1), (JobState.RUNNING, 2)])
    def test_a_training_that_waits_says_how_many_are_ahead(self, state: JobState, attempt: int) -> None:
        older = Progress(3, Phase.TRAINING, 0.36, epoch=2, epochs=5)  # of an attempt before this one
        card = job_card(JobUpdate(job(state, attempt=attempt), CLASSIFIER, "v0", older, ahead=2))
        assert card.body.startswith("░░░░░░░░░░░░░░░░ 0 %\nwaiting, 2 ahead\n")
        first = job_card(JobUpdate(job(state, attempt=attempt), CLASSIFIER, "v0", older, ahead=0))
        assert "waiting for its turn" in first.body

    def test_the_verdict_comes_first_when_a_version_goes_live(self) -> None:
        card = result_card(finished(True, VersionState.CHAMPION, "Better than v0+48."))
        assert card.title == "v1 is live: 0.84 → 0.87 on 118 held-out texts"
        assert card.ids[-1:] == ["rollback:triage:1"]

    def test_the_verdict_comes_first_when_the_champion_is_kept(self) -> None:
        card = result_card(finished(False, VersionState.CANDIDATE, "Kept v0+48: it loses 3 of 9 texts of `bug`."))
        assert card.title == "Kept v0+48: v1 got 0.87 instead of 0.84 on 118 held-out texts"
        assert card.body.startswith("Kept v0+48: it loses 3 of 9")
        assert [button.label for button in card.rows[0]] == ["What changed", "Confusion", "Promote anyway"]  # type: ignore[union-attr]

    def test_a_better_version_that_waits_for_a_lead_says_so(self) -> None:
        waits = "Better than v0+48. It waits all the same, because someone rolled back."
        card = result_card(finished(True, VersionState.CANDIDATE, waits))
        assert card.title.startswith("v1 is ready: 0.84 → 0.87")
        assert card.body == waits
        assert card.ids[-1:] == ["promote:triage:1"]

    def test_a_version_that_was_kept_and_that_a_lead_made_live_is_not_called_better(self) -> None:
        card = result_card(finished(False, VersionState.CHAMPION, "Kept v0+48: 1 better and 2 worse."))
        assert card.title.startswith("v1 is live: 0.84 → 0.87")
        assert card.body == "Kept v0+48: 1 better and 2 worse. A lead made it live all the same."

    def test_a_version_whose_files_are_damaged_was_not_kept_out(self) -> None:
        card = result_card(finished(True, VersionState.DAMAGED, "Better than v0+48."))
        assert card.title.startswith("The files of v1 are damaged: 0.84 → 0.87")
        assert "promote:triage:1" not in card.ids

    def test_what_stands_in_the_title_is_not_repeated_below_it(self) -> None:
        reason = "Better than v0+48: 0.84 → 0.87 on 118 held-out texts; 8 answers became right and 5 wrong."
        assert result_card(finished(True, VersionState.CHAMPION, reason)).body == "Better than v0+48."

    def test_a_version_that_was_rolled_back_is_told_as_such(self) -> None:
        card = result_card(finished(True, VersionState.RETIRED, "Better."))
        assert card.title.startswith("v1 was live: 0.84 → 0.87")
        assert card.body.endswith("It answers again when a lead promotes it.")
        assert card.ids[-1:] == ["promote:triage:1"]

    def test_a_table_with_names_of_fifteen_letters_fits_a_phone(self) -> None:
        labels = (LabelReport("feature_request", 1000, 0.9, 0.85, 0.9), LabelReport("bug", 20, 0.9, 0.9, 0.8))
        shown = dict(result_card(finished(True, VersionState.CHAMPION, report=replace(report(), labels=labels))).fields)
        assert max(map(len, shown["What changed, by label"].splitlines()[1:])) <= 35

    def test_labels_are_listed_by_how_much_they_changed_and_the_rest_is_counted(self) -> None:
        shown = dict(result_card(finished(True, VersionState.CHAMPION, report=report(40))).fields)
        table = shown["What changed, by label"].splitlines()
        assert table[3].startswith("label 0 ")
        assert table[3].split()[-3:] == ["0.50", "0.90", "10"]
        assert "and 32 more, which changed less" in table

    def test_what_golden_texts_gained_stands_with_what_changed(self) -> None:
        golden = PairedOutcome(1, "bug", Split.GOLDEN, "bug", "bug", 0.04)
        shown = dict(
            result_card(finished(True, VersionState.CHAMPION, report=replace(report(), outcomes=(golden,)))).fields
        )
        assert "golden texts' labels 4 points more probable" in shown["What changed, by label"]

    def test_labels_that_did_not_change_or_were_not_measured_are_only_counted(self) -> None:
        labels = (
            LabelReport("bug", 20, 0.9, 0.85, 0.9),
            LabelReport("idea", 20, 0.9, 0.9, 0.9),
            LabelReport("spam", 0, 0.0, 0.0, 0.0),
        )
        shown = dict(result_card(finished(True, VersionState.CHAMPION, report=replace(report(), labels=labels))).fields)
        table = shown["What changed, by label"].splitlines()
        assert table[0] == "No answer differs."
        assert [line.split() for line in table[3:-1]] == [
            ["bug", "0.90", "0.85", "20"],
            ["1", "label", "as", "before"],
            ["1", "label", "without", "a", "text", "to", "measure", "on"],
        ]

    def test_the_numbers_tell_interval_kind_cost_and_what_the_other_kind_would_have_reached(self) -> None:
        shown = dict(result_card(finished(True, VersionState.CHAMPION, report=full_report())).fields)
        assert shown["In numbers"].splitlines() == [
            "Accuracy 0.80 to 0.92 with 95 % certainty · macro-F1 0.83 → 0.86",
            "Fine-tuned from support\\_eu v3. On 118 of these texts it gets 94.9 %, the head alone 88 %.",
            "240 texts to learn from, 26 kept aside · took 65 s · 23 MB, 4.2 ms per text",
        ]
        assert shown["How far to trust it"].splitlines() == [
            "Answers 84 % of the texts if 95 % of the answers have to be right, from confidence 0.61.",
            "Its confidence is off by 3 % on average (9.8 % before calibration).",
            "Recognises 97 % of everyday texts about other things, and mistakes 4.3 % of its own for such.",
        ]

    def test_the_chance_to_be_better_stands_in_the_verdict_and_the_flips_are_counted(self) -> None:
        live = result_card(finished(True, VersionState.CHAMPION, report=full_report()))
        assert live.title == "v1 is live: 0.84 → 0.87 on 118 held-out texts, 98 % likely better"
        told = dict(live.fields)["What changed, by label"].splitlines()[0]
        assert told == "19 answers differ: 13 became right, 4 wrong, 2 wrong in another way; 98 % likely better."
        kept = result_card(finished(False, VersionState.CANDIDATE, report=full_report()))
        assert kept.title == "Kept v0+48: v1 got 0.87 instead of 0.84 on 118 held-out texts"

    def test_a_report_of_the_old_shape_says_nothing_about_kind_size_or_certainty(self) -> None:
        card = result_card(finished(True, VersionState.CHAMPION, report=from_json(EvaluationReport, json.dumps(OLD))))
        assert card.title == "v1 is live: 0.50 → 1.00 on 2 held-out texts, 75 % likely better"
        shown = dict(card.fields)
        assert shown["How far to trust it"] == "Its confidence is off by 12 % on average."
        assert shown["In numbers"].splitlines()[1:] == ["80 texts to learn from, 4 kept aside · took 12 s"]

    def test_a_report_on_no_text_shows_no_figure(self) -> None:
        empty = replace(report(rows=0), candidate_accuracy=0.0, champion_accuracy=0.0)
        card = result_card(finished(False, VersionState.CANDIDATE, "There was no text.", report=empty))
        assert card.fields == (("In numbers", "240 texts to learn from, 26 kept aside · took 65 s"),)

    @pytest.mark.parametrize("state", [JobState.FAILED, JobState.ABANDONED, JobState.CANCELLED])
    def test_a_training_without_a_version_says_why_and_what_answers(self, state: JobState) -> None:
        card = result_card(JobUpdate(job(state, error="The trainer ran out of memory"), CLASSIFIER, "v2"))
        assert "v2 keeps answering." in card.body
        assert card.ids == ["train:triage"]
        assert state is JobState.CANCELLED or "out of memory." in card.body

    def test_every_state_has_a_card_also_with_nothing_but_a_job(self) -> None:
        for state in JobState:
            assert fitted(job_card(JobUpdate(job(state), CLASSIFIER, "v0"))).title

    def test_the_label_that_pays_for_a_gain_is_named(self) -> None:
        gains = LabelReport("bug", 40, 0.9, 0.95, 0.7)
        pays = LabelReport("access", 20, 0.9, 0.70, 0.85)
        assert (
            price_words(replace(report(), labels=(gains, pays)))
            == "But `access` fell from 0.85 to 0.70 (3 of 20 texts)."
        )
        assert price_words(replace(report(), labels=(gains, replace(pays, rows=5)))) == "", "one text is chance"
        assert price_words(replace(report(), labels=(gains, replace(pays, recall=0.80)))) == ""
        assert price_words(replace(report(), labels=())) == ""


class TestOverviews:
    def test_labels_are_listed_with_counts_page_by_page(self) -> None:
        counts = [LabelCount(Label(n, "g", 1, f"label {n}"), n, 0) for n in range(50)]
        card = labels_card(CLASSIFIER, counts)
        last = labels_card(CLASSIFIER, counts, 1)
        told = (card.body + last.body).splitlines()
        assert all(sum(line.split()[:2] == ["label", str(n)] for line in told) == 1 for n in range(50))
        assert (card.ids, last.ids) == (["labels:triage:1"], ["labels:triage:0"])
        assert "Still without a text: `label 0`." in card.body
        assert "50 labels" in card.footer

    def test_versions_show_their_exam_and_which_is_live(self) -> None:
        live = replace(VERSION, state=VersionState.CHAMPION, report=to_json(report()))
        card = versions_card(CLASSIFIER, [live], [Promotion(1, "g", 1, 1, 0, "gate", "", 0.0)], now=7200.0)
        assert "**v1** live · 0.84 → 0.87 on 118 texts · 2 h ago" in card.body
        assert "v0 → v1 by the gate" in card.body
        assert card.ids[-1:] == ["rollback:triage:1"]

    def test_a_version_without_files_says_since_when(self) -> None:
        retired = replace(VERSION, state=VersionState.RETIRED, report=to_json(report()))
        assert "files" not in version_line(retired, 0.0)
        gone = replace(retired, files_deleted_at=86_400.5)
        assert "was live · 0.84 → 0.87 on 118 texts · files deleted on <t:86400:D> · " in version_line(gone, 0.0)

    def test_thirty_versions_have_three_pages(self) -> None:
        every = [replace(VERSION, number=number) for number in range(30, 0, -1)]
        pages = [versions_card(CLASSIFIER, every, [], 0.0, page) for page in range(3)]
        assert [f"**v{n}**" for n in range(30, 0, -1)] == re.findall(
            r"\*\*v\d+\*\*", "".join(one.body for one in pages)
        )
        assert pages[1].ids == ["versions:triage:0", "versions:triage:2"]

    def test_a_damaged_report_does_not_hide_the_version(self) -> None:
        retired = replace(VERSION, state=VersionState.RETIRED, report="{")
        assert "v0 is live" in versions_card(CLASSIFIER, [retired], [], 0.0).body
        assert "**v1** not live" in versions_card(CLASSIFIER, [replace(VERSION, report="{")], [], 0.0).body

    def test_an_exam_is_told_from_its_three_figures_alone(self) -> None:
        told = '{"champion_accuracy": 0.84, "candidate_accuracy": 0.87, "outcomes": [{}, {}]}'
        assert exam_words(replace(VERSION, report=told)) == "0.84 → 0.87 on 2 texts"

    @pytest.mark.parametrize(
        "told", ["", "null", "7", "[]", "{}", "[" * 9999, to_json(report()).replace("0.84", '"a"')]
    )
    def test_what_cannot_be_read_is_no_exam(self, told: str) -> None:
        assert exam_words(replace(VERSION, report=told)) == ""

    def test_statistics_name_teachers_without_pinging_them(self) -> None:
        stats = Stats(CLASSIFIER, [], 7, "v0+7", None, 12, 8, 2, [("1", "@everyone", 5)], None)
        shown = dict(stats_card(stats, None).fields)
        assert "12 questions asked; 8 right, 2 wrong" in shown["Answers"]
        assert "@everyone" not in shown["Taught by"]

    def test_a_name_of_digits_is_no_mention_of_somebody_else(self) -> None:
        told = ToldAgreement(50, 0.5, (("bug", 0.5),), (("7", "80351110224678912", 0.5, 10), ("9", "9", 0.6, 10)))
        people = [("7", "80351110224678912", 5), ("9", "9", 3)]
        stats = Stats(CLASSIFIER, [], 7, "v0+7", None, 12, 8, 2, people, None, told)
        shown = dict(stats_card(stats, None).fields)
        assert shown["Taught by"] == "80351110224678912 5, <@9> 3"
        assert "others: 80351110224678912 50 % of 10 texts, <@9> 60 % of 10 texts" in shown["Agreement"]
        said = Opinion(1, "7", "80351110224678912", "bug", EventKind.VOTE, 0.0)
        doubt = Doubt(1, "It broke.", Label(1, "g", 1, "bug", "", 0), Label(2, "g", 1, "praise", "", 1))
        opinions = (said, replace(said, annotator="9", name="9", label="praise"))
        body = doubt_card(Doubted("triage", 1, 0, 1, doubt, opinions)).body
        assert "by 80351110224678912 <t:0:R>" in body
        assert "<@9> said `praise`" in body

    def test_what_a_classifier_is_based_on_stands_where_it_is_shown(self) -> None:
        based = replace(CLASSIFIER, based_on=Origin(2, "support", 3, "a" * 64))
        body = classifiers_card([based, replace(CLASSIFIER, name="mood")], "triage").body
        assert body == "`triage` — used in this channel, based on `support` v3\n`mood`"
        stats = Stats(based, [], 7, "v0+7", None, 12, 8, 2, [], None)
        assert dict(stats_card(stats, None).fields)["Based on"] == "`support` v3"
        assert "Based on" not in dict(stats_card(replace(stats, classifier=CLASSIFIER), None).fields)
        assert based_words(based).startswith("`triage` is based on `support` v3 now")
        assert based_words(CLASSIFIER).startswith("`triage` is based on no other classifier")

    def test_a_swap_says_who_did_it_and_offers_the_way_back(self) -> None:
        back = swap_card("triage", Promotion(2, "g", 1, 1, 2, "1", "", 0.0), "Maria")
        assert back.body == "Maria rolled `triage` back: v1 answers now (was v2)."
        assert back.ids == ["swap:triage:1:2"]
        assert "promoted v3" in swap_card("triage", Promotion(2, "g", 1, 3, 2, "1", "", 0.0), "Maria").body

    def test_the_state_is_one_line_a_fact(self) -> None:
        trainer = {"reachable": True, "device": "cpu", "disk_free_bytes": 12_000_000_000, "uptime_seconds": 90.0}
        state = {"version": "0.1", "uptime_seconds": 61.0, "trainer": trainer, "loop_lag_ms": 1.25}
        assert status_card(state | {"disk_free_bytes": 81_000_000_000}).body.splitlines() == [
            "**version**: 0.1",
            "**uptime**: 61 s",
            "**trainer**: reachable yes, device cpu, disk free 12.0 GB, uptime 2 min",
            "**loop lag ms**: 1.2",
            "**disk free**: 81.0 GB",
        ]


ROWS = st.lists(
    st.one_of(
        st.lists(st.builds(Button, st.text(min_size=1, max_size=200), st.just("undo:1")), min_size=1, max_size=5).map(
            tuple
        ),
        st.builds(
            Menu,
            st.just("picked:p.1"),
            st.text(max_size=300),
            st.lists(st.builds(Choice, st.text(max_size=60), st.text(max_size=200)), min_size=1, max_size=25).map(
                tuple
            ),
        ),
    ),
    max_size=5,
)
LONG = st.builds(lambda text, times: text * times, st.text(max_size=12), st.sampled_from([1, 50, 1000]))
CARDS = st.builds(
    Card, LONG, LONG, LONG, st.lists(st.tuples(LONG, LONG), max_size=30).map(tuple), LONG, rows=ROWS.map(tuple)
)


class TestLimits:
    @settings(max_examples=40, deadline=None)
    @given(CARDS)
    def test_no_card_is_larger_than_discord_takes(self, card: Card) -> None:
        made = fitted(card)
        assert len(made.text) <= limits.MAX_CONTENT
        assert len(made.title) <= limits.MAX_TITLE
        assert len(made.body) <= limits.MAX_BODY
        assert len(made.fields) <= limits.MAX_FIELDS
        fields = sum(len(name) + len(value) for name, value in made.fields)
        assert len(made.title) + len(made.body) + len(made.footer) + fields <= limits.MAX_EMBED
        for row in made.rows:
            if isinstance(row, Menu):
                assert all(len(choice.label) <= limits.MAX_CHOICE for choice in row.choices)
            else:
                assert all(len(button.label) <= limits.MAX_BUTTON_LABEL for button in row)

    @pytest.mark.parametrize(
        "rows",
        [
            ((Button("x", "i" * 101),),),
            ((),),
            (tuple(Button("x", "i") for _ in range(6)),),
            tuple((Button("x", "i"),) for _ in range(6)),
            (Menu("i", "?", ()),),
            (Menu("i", "?", tuple(Choice(str(n), "x") for n in range(26))),),
        ],
    )
    def test_what_no_cutting_can_put_right_is_a_mistake(self, rows: tuple[object, ...]) -> None:
        with pytest.raises(ValueError, match=r"at most|1 to|more than"):
            fitted(Card("x", rows=rows))  # type: ignore[arg-type]

    def test_cutting_shows_an_ellipsis(self) -> None:
        assert cut("abcdef", 4) == "abc…"
        assert cut("abcd", 4) == "abcd"

    def test_the_longest_texts_and_names_fit_every_card(self) -> None:
        wide = "w" * 60
        long_text = HOSTILE * 60
        answer = prediction(text=long_text[:4000], scores=scores(*((wide, 0.01) for _ in range(200))), abstained=True)
        for card in (
            answer_card(answer),
            receipt_card(receipt(label=wide, previous=wide, text=long_text), "c" * 32),
            undo_card(UndoReceipt(long_text, wide, wide)),
            picker_card(f"e.{'c' * 32}.{10**12}", [wide + str(n) for n in range(200)], 3),
            result_card(finished(False, VersionState.CANDIDATE, "r" * 9000, report=report(200))),
            result_card(
                finished(True, VersionState.CHAMPION, "r", report=replace(full_report(), started_from=wide * 30))
            ),
            status_card({"x" * 300: "y" * 3000} | {str(n): "z" * 300 for n in range(60)}),
        ):
            assert fitted(card)
        assert len(name_form("p.1").title) <= limits.MAX_FORM_TITLE
        assert len(teach_form("c" * 32, ["a"]).title) <= limits.MAX_FORM_TITLE


class TestInsight:
    def test_a_forecast_that_promises_nothing_has_one_sign(self) -> None:
        made = Forecast(80, Gain(100, -0.003, -0.023, 0.056), "bug", 17, 0.74)
        assert "≈ −0.3 points (−2.3 to 5.6)" in forecast_words(made)
        assert "≈ +1.8 points (0.9 to 2.6)" in forecast_words(replace(made, gain=Gain(100, 0.018, 0.009, 0.026)))

    @pytest.mark.parametrize(("word", "shown"), [("price,", "`price`"), ("(refund)", "`refund`"), ("!?", "`!?`")])
    def test_a_word_that_matters_is_shown_without_its_comma(self, word: str, shown: str) -> None:
        assert _word_lines([Word(word, 0.9, 0.4, "billing", False)]).startswith(f"without {shown}:")

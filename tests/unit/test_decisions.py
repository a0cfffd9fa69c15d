"""What is looked at before deciding: the part of a confusion matrix that is drawn, its words, and the drawing."""

from __future__ import annotations

import asyncio
import struct
import sys
from pathlib import Path

import pytest

from bot.chat.cards import MAX_ALT_TEXT, MAX_FIELD_VALUE, fitted
from bot.chat.decision_cards import alt_text, confusion_card, flips_card, pins_card, promoted_words, tried_words
from bot.services.confusion import MOST_LABELS, SHOWN_LABELS, Confusion, confusion_of
from bot.services.decisions import ConfusionPicture, Flip, FlipKind, FlipPage
from bot.services.drawing import Drawing
from bot.services.pins import PinState
from bot.services.promotion import kept_for_pins
from bot.services.trials import TriedPin
from storage.records import EvaluationReport, LabelReport, PairedOutcome, Pin, PinOutcome, Split, Trial


def report(size: int, wrong: dict[tuple[int, int], int]) -> EvaluationReport:
    """Five right rows for each of `size` labels, and `wrong` ones by (right label, answer)."""
    counts = [[5 if row == column else 0 for column in range(size)] for row in range(size)]
    for (row, column), rows in wrong.items():
        counts[row][column] = rows
    labels = tuple(LabelReport(f"label {number}", 5, 1.0, 1.0, 1.0) for number in range(size))
    outcome = PairedOutcome(1, "label 0", Split.TRAIN, "label 1", "label 0")
    return EvaluationReport((outcome,) * 5, 0.9, 0.8, 0.9, 0.8, labels, tuple(map(tuple, counts)), 0.0, "v2", 9, 1)


class TestConfusion:
    def test_up_to_twenty_five_labels_all_are_drawn(self) -> None:
        found = confusion_of(report(MOST_LABELS, {(0, 1): 3}))
        assert len(found.labels) == MOST_LABELS
        assert (found.rows, found.right, found.labels_left_out, found.mistakes_left_out) == (128, 125, 0, 0)

    def test_of_more_labels_the_most_confused_are_drawn_and_the_rest_is_counted(self) -> None:
        wrong = {(number, number + 1): 40 - number for number in range(30)}
        found = confusion_of(report(40, wrong))
        assert found.labels == tuple(f"label {number}" for number in range(1, 1 + SHOWN_LABELS))
        assert found.labels_left_out == 25
        drawn = sum(map(sum, found.counts)) - 5 * SHOWN_LABELS
        assert drawn == sum(40 - number for number in range(1, SHOWN_LABELS))
        assert drawn + found.mistakes_left_out == sum(wrong.values())
        card = confusion_card(ConfusionPicture("triage", 3, found, b"png"))
        assert f"the other 25 labels take part in {found.mistakes_left_out} more" in card.body
        assert "and 22 more pairs" in card.body

    def test_the_alt_text_holds_as_many_pairs_as_fit_and_counts_the_rest(self) -> None:
        long = confusion_of(report(60, {(number, (number + 7) % 60): 2 for number in range(60)}))
        words = alt_text("v3", long)
        assert len(words) <= MAX_ALT_TEXT
        shown = words.count(" as ")
        assert words.endswith(f" and {60 - shown} more pairs.")
        assert alt_text("v3", confusion_of(report(2, {}))) == "Confusion matrix of v3: 10 of 10 texts right."

    def test_no_mistake_is_told(self) -> None:
        card = confusion_card(ConfusionPicture("triage", 3, confusion_of(report(2, {})), None))
        assert card.body.startswith("It makes no mistake on these texts.")


def size_of_png(picture: bytes) -> tuple[int, int]:
    width, height = struct.unpack(">II", picture[16:24])
    return width, height


class TestDrawing:
    @pytest.mark.parametrize("size", [2, 15, 25])
    async def test_a_picture_is_a_thousand_pixels_wide(self, tmp_path: Path, size: int) -> None:
        picture = await Drawing(tmp_path / "plots").confusion(confusion_of(report(size, {(0, 1): 12})))
        assert picture is not None
        assert size_of_png(picture)[0] == 1000

    async def test_names_that_look_like_formulas_or_are_none_of_our_letters_do_no_harm(self, tmp_path: Path) -> None:
        names = ("$x^{", "\\frac", "日本語", "🙂" * 60, "\u202egnp")
        counts = tuple(tuple(int(row == column) for column in range(5)) for row in range(5))
        picture = await Drawing(tmp_path).confusion(Confusion(names, counts, 5, 5, (), 0, 0))
        assert picture is not None

    async def test_the_same_picture_is_drawn_once(self, tmp_path: Path) -> None:
        drawing = Drawing(tmp_path)
        first = await drawing.confusion(confusion_of(report(2, {})))
        drawing._command = ("false",)
        assert await drawing.confusion(confusion_of(report(2, {}))) is first
        assert await drawing.confusion(confusion_of(report(3, {}))) is None

    async def test_a_late_child_is_killed(self, tmp_path: Path) -> None:
        program = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
        drawing = Drawing(tmp_path, command=(sys.executable, "-c", program), seconds=2.0)
        async with asyncio.timeout(20):  # the child would sleep for a minute
            assert await drawing.confusion(confusion_of(report(2, {}))) is None
        assert not Path(f"/proc/{(tmp_path / 'pid').read_text()}").exists()

    async def test_a_child_that_fails_or_says_something_else_gives_no_picture(self, tmp_path: Path) -> None:
        for program in ("raise SystemExit(3)", "print('hello')", "import no_such_library"):
            drawing = Drawing(tmp_path, command=(sys.executable, "-c", program))
            assert await drawing.confusion(confusion_of(report(2, {}))) is None

    async def test_the_child_is_told_no_secret(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DISCORD_TOKEN", "secret")
        program = f"import os; open({str(tmp_path / 'env')!r}, 'w').write(repr(dict(os.environ)))"
        await Drawing(tmp_path, command=(sys.executable, "-c", program)).confusion(confusion_of(report(2, {})))
        assert "secret" not in (tmp_path / "env").read_text()


def pin(number: int, text: str = "it crashes", *, gone: bool = False) -> Pin:
    return Pin(number, "g", 1, text, "bug", gone, "7", "Ma*ria", 0.0)


def tried(number: int, *, holds: bool = False, held: bool = True, said: str | None = "question") -> TriedPin:
    return TriedPin(pin(number), PinOutcome(number, said, 0.62, holds, held))


class TestPinWords:
    def test_a_result_spells_out_a_few_broken_pins_and_counts_the_rest(self) -> None:
        words = tried_words([tried(number) for number in range(9)] + [tried(9, holds=True, said="bug")])
        assert words.startswith(
            "1 holds, 9 broken\n“it crashes” should be `bug` (pinned by Ma\\*ria), it says `question`"
        )
        assert words.endswith("and 4 more; `/pin list` shows what is broken now")

    def test_the_longest_result_fits_into_a_field(self) -> None:
        long = TriedPin(pin(1, "*" * 4000), PinOutcome(1, "q" * 60, 0.62, False, False))
        words = tried_words([long] * 200)
        assert len(words) <= MAX_FIELD_VALUE
        assert f"and {200 - words.count('“')} more" in words

    def test_only_newly_broken_pins_are_named_by_a_promotion(self) -> None:
        assert promoted_words("Done.", [tried(1, held=False), tried(2, holds=True), tried(3, said=None)]) == "Done."
        assert promoted_words("Done.", [tried(1)]).endswith("\nDone.")
        assert "and 1 more" in promoted_words("Done.", [tried(number) for number in range(6)])

    def test_a_full_page_of_the_longest_pins_fits(self) -> None:
        states = [PinState(pin(number, "_" * 4000), "q" * 60, 0.5, "v1+2") for number in range(200)]
        card = pins_card("triage", states, 99)
        assert "Page 25 of 25" in card.footer
        assert fitted(card) == card

    def test_the_reason_of_a_kept_candidate_holds_numbers_and_no_text(self) -> None:
        trial = Trial("g", 1, 3, "v2", (tried(1).outcome, tried(2).outcome), 0, (), 0.0)
        assert kept_for_pins(trial, report(2, {})) == (
            "Kept v2: 0.80 → 0.90 on 5 held-out texts, but v3 breaks 2 pinned tests."
        )


class TestFlipCards:
    def page(self, kind: FlipKind, page: int, **counts: int) -> FlipPage:
        flips = (Flip("*" * 4000, "l" * 60, "b" * 60, "a" * 60),) * 5
        every = {each: counts.get(each.value, 0) for each in FlipKind}
        return FlipPage("c" * 32, 999, "v998+12", kind, page, every, flips, 300, 50)

    def test_every_page_fits_and_no_two_buttons_have_the_same_id(self) -> None:
        for page in range(3):
            card = flips_card(self.page(FlipKind.FIXED, page, fixed=15, broken=9, otherwise=4, recent=2))
            assert fitted(card) == card
            assert len(set(card.ids)) == len(card.ids)

    def test_kinds_without_a_text_have_no_button(self) -> None:
        card = flips_card(self.page(FlipKind.FIXED, 0, fixed=5))
        assert [button.label for row in card.rows for button in row] == ["Confusion"]

"""Cards of what the model knows and where it doubts: doubtful labels, why an answer, what more labels would bring.

Pure functions of records.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bot.chat.answer_cards import version_words
from bot.chat.cards import Button, Card, Style, Tone
from bot.chat.text import ZERO_WIDTH_SPACE, code, counted, listed, named, one_line, percent, quoted, when
from bot.services.forecast import Forecast, InTheMaking, NotMade, TooFew
from storage.records import EventKind

if TYPE_CHECKING:
    from bot.services.suspects import Doubted, Finished
    from bot.services.why import Evidence, Why, Word
    from storage.opinions import Opinion
    from trainer.model.suspects import NotJudged

MOST_NAMES = 3
WORD = 40
PUNCTUATION = '.,;:!?…"“”()'
"""Around a word; it is not shown."""
SAME = 0.9995
"""Cosine from which a text is the very same one, up to case and spaces."""


# Doubtful labels


def doubt_key(shown: Doubted) -> str:
    """What the ids of its buttons say: whose, which list, which place, which text, which label it has."""
    doubt = shown.doubt
    return f"{shown.classifier}.{shown.event}.{shown.position}.{doubt.example_id}.{doubt.label.id}"


def doubt_card(shown: Doubted, note: str = "", undo: str = "") -> Card:
    """One text whose label looks wrong. `note` says what was done just before, `undo` is the id that takes it back."""
    doubt, key = shown.doubt, doubt_key(shown)
    for_it = [said for said in shown.opinions if said.label == doubt.label.name]
    others = [said for said in shown.opinions if said.label != doubt.label.name]
    lines = [f"It is labelled {code(doubt.label.name)}{_signed(for_it)}."]
    lines += [f"{_people([said])} said {code(said.label)}." for said in others[:MOST_NAMES]]
    lines.append(f"The other texts speak for {code(doubt.suggested.name)}.")
    body = "\n\n".join(filter(None, [note, quoted(doubt.text, 1500), "\n".join(lines)]))
    decide = (
        Button(f"Keep {doubt.label.name}", f"doubt:keep:{key}"),
        Button(f"Change to {doubt.suggested.name}", f"doubt:change:{key}.{doubt.suggested.id}", Style.BLUE),
        Button("Other…", f"pick:s.{key}:0"),
        Button("Skip", f"doubt:skip:{key}"),
    )
    return Card(
        title="Is this label right?",
        body=body,
        footer=f"{shown.classifier} · {shown.position + 1:,} of {shown.total:,}, most doubtful first",
        rows=(decide, *undo_row(undo)),
    )


def undo_row(undo: str) -> tuple[tuple[Button, ...], ...]:
    return ((Button("Undo", undo),),) if undo else ()


def no_doubt_card(end: Finished, note: str = "", undo: str = "") -> Card:
    """The end of a list, or an empty one."""
    if not end.total:
        words = f"No label of {code(end.classifier)} looks wrong."
    else:
        words = f"That was the last one. {counted(end.total, 'label')} of {code(end.classifier)} had looked wrong."
    again = (Button("Look again", f"doubt:again:{end.classifier}"),)
    rows = (again, *undo_row(undo)) if end.total else undo_row(undo)
    return Card("\n\n".join(filter(None, [note, words])), tone=Tone.GOOD, rows=rows)


def not_judged_card(why: NotJudged) -> Card:
    return Card(why.reason)


def kept_words(label: str) -> str:
    return f"Kept {code(label)}: this text is not asked about again until its label changes."


def ruled_words(label: str) -> str:
    return f"Changed to {code(label)}."


def _signed(said: Sequence[Opinion]) -> str:
    """ " by Maria and Jonas, 2 days ago"; empty where nobody says so any more."""
    if not said:
        return ""
    ruling = ", as a ruling" if any(each.kind is EventKind.RULING for each in said) else ""
    return f" by {_people(said)} {when(max(each.created_at for each in said))}{ruling}"


def _people(said: Sequence[Opinion]) -> str:
    return listed([named(each.annotator, each.name) for each in said], MOST_NAMES)


# Why


def why_card(why: Why, note: str = "") -> Card:
    """The texts and the words that decided, and a way to put it right.

    `note` is what the person who asks should know about their text.
    """
    first = why.scores[0]
    fields = [("Nearest texts it learned", _evidence_words(why)), ("Words that matter", _word_lines(why.words))]
    fix, back = f"pick:p.{why.prediction.id}:0", f"back:p.{why.prediction.id}"
    return Card(
        body="\n\n".join(
            filter(
                None,
                [
                    quoted(why.prediction.text or ""),
                    f"**Why {code(first.label)} {percent(first.confidence)}**",
                    _another(why),
                    note,
                ],
            )
        ),
        fields=tuple(fields),
        footer=f"{why.prediction.classifier} · {version_words(why.version)}",
        rows=((Button("Fix it", fix, Style.BLUE), Button("Back", back)),),
    )


def _another(why: Why) -> str:
    """What sets the answer that was given apart from the one that is explained."""
    given = why.prediction
    lines = ["This looks like nothing I was taught: even the nearest texts are far."] if why.outside else []
    if given.taught is not None:
        lines.append(f"This very text was labelled {code(given.taught.label)}; below is what the model makes of it.")
    if given.version != why.version:
        had = f" and said {code(given.label)}" if given.label != why.scores[0].label else ""
        lines.append(f"{given.version} had answered{had}; this is about {why.version}, which answers now.")
    return "\n".join(lines)


def _evidence_words(why: Why) -> str:
    if not why.evidence:
        return "Nobody has taught a text of these labels yet: only their names were compared."
    newest = "\nOf a label with many texts only the newest 1,000 were compared." if why.left_out else ""
    return "\n".join(map(_evidence_line, why.evidence)) + newest


def _evidence_line(evidence: Evidence) -> str:
    alike = "the same text" if evidence.similarity > SAME else f"likeness {evidence.similarity:.2f}"
    text = quoted(one_line(evidence.example.text, 100))
    return f"{code(evidence.example.label)}{_signed(evidence.opinions)} · {alike}\n{text}"


def _word_lines(words: Sequence[Word]) -> str:
    if not words:
        return "No single word decides it."
    return "\n".join(map(_word_line, words))


def _word_line(word: Word) -> str:
    """ "without `refund`: 62 % → 31 %, `question` instead"."""
    bare = word.word.strip(PUNCTUATION) or word.word
    shown = one_line(bare, WORD).replace("@", "@" + ZERO_WIDTH_SPACE) or "an invisible character"
    return f"without {code(shown)}: {percent(word.before)} → {percent(word.after)}{_instead(word)}"


def _instead(word: Word) -> str:
    return f", {code(word.label)} instead" if word.flips else ""


# What more labels would bring


def forecast_words(forecast: Forecast | TooFew | InTheMaking | NotMade) -> str:
    """For /stats, in one or two sentences."""
    match forecast:
        case TooFew():
            return (
                f"A forecast takes {forecast.needed:,} texts to learn from (5 per label, at least 60); there are "
                f"{forecast.rows:,}."
            )
        case InTheMaking():
            return "It is being computed; ask again in a moment."
        case NotMade():
            return f"It could not be computed: {forecast.reason}"
        case Forecast():
            return f"{_gain_words(forecast)}\n{_label_words(forecast)}"


def _gain_words(forecast: Forecast) -> str:
    """ "+100 labels like those so far ≈ +1.8 points (0.9 to 2.6), before any training."."""
    gain = forecast.gain
    # Adding zero makes 0.0 of -0.0.
    points = [round(100 * share, 1) + 0.0 for share in (gain.low, gain.high)]
    low, high = (f"{each:.1f}".replace("-", "−") for each in points)
    expected = f"{round(100 * gain.expected, 1) + 0.0:+.1f}".replace("-", "−")
    return f"+{gain.more} labels like those so far ≈ {expected} points ({low} to {high}), before any training."


def _label_words(forecast: Forecast) -> str:
    """Which label, and why that one."""
    name = code(forecast.label)
    if forecast.label_right is None:
        return f"{name} would gain most: it has no text yet."
    texts = counted(forecast.label_rows, "text")
    return f"{name} would gain most: {texts}, right in {100 * forecast.label_right:.0f} %."

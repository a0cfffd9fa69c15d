"""Cards for deciding what goes live: pinned tests, which answers a version changes, what it takes for what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bot.chat.cards import MAX_ALT_TEXT, Attachment, Button, Card, Style, Tone
from bot.chat.paging import page_of, place_words, rows_of, turns
from bot.chat.text import code, counted, escaped, line_of, percent, quoted
from bot.services.decisions import FlipKind
from storage.records import Pin, version_name

if TYPE_CHECKING:
    from bot.services.confusion import Confusion
    from bot.services.decisions import ConfusionPicture, Flip, FlipPage
    from bot.services.pins import PinReceipt, PinState
    from bot.services.trials import TriedPin

PINS_A_PAGE = 8
SHOWN_BROKEN = 5
ROOM_FOR_BROKEN = 900
"""Broken pins that a result spells out, and the characters for them in its field; the others are counted."""
SHOWN_MISTAKES = 8
TEXT = 120
"""Characters of a text in a list."""

HEADINGS = {
    FlipKind.FIXED: "now right",
    FlipKind.BROKEN: "now wrong",
    FlipKind.OTHERWISE: "wrong in another way",
    FlipKind.RECENT: "recent questions",
}


# Pinned tests


def pinned_card(receipt: PinReceipt, classifier: str) -> Card:
    """A pin that was added: what it means, whether it holds now, and how to teach it as well."""
    state = receipt.state
    pinned = "Pinned" if receipt.is_new else "Pinned already"
    body = (
        f"{quoted(state.pin.text, 300)}\n**{pinned}: {code(state.pin.label)}.** It {state_words(state)}.\n"
        "A version that breaks it does not go live by itself. Nothing is trained on a pinned test; *Teach it too* "
        "makes it an example, as `/label` would."
    )
    number = state.pin.id
    row = (Button("Undo", f"unpin:{number}"), Button("Teach it too", f"teachpin:{number}", Style.BLUE))
    return Card(body=body, footer=classifier, tone=_tone(state), rows=(row,))


def state_words(state: PinState) -> str:
    """ "holds now (`bug` 94 %, v3+2)", "is broken now: `question` 62 % (v3+2)", or why nobody knows."""
    if state.pin.label_gone:
        return f"is not asked: {code(state.pin.label)} is archived"
    if state.said is None:
        return "could not be asked just now"
    answer = f"{code(state.said)} {percent(state.confidence)}"
    return f"holds now ({answer}, {state.version})" if state.holds else f"is broken now: {answer} ({state.version})"


def _tone(state: PinState) -> Tone:
    return Tone.GOOD if state.holds else Tone.CAREFUL


def unpinned_card(pin: Pin) -> Card:
    return Card(
        f"Not pinned any more: {code(pin.label)}.\n{quoted(pin.text, 200)}",
        rows=((Button("Undo", f"repin:{pin.id}"),),),
    )


def repinned_card(state: PinState) -> Card:
    return Card(
        f"Pinned again: {code(state.pin.label)}. It {state_words(state)}.\n{quoted(state.pin.text, 200)}",
        rows=((Button("Undo", f"unpin:{state.pin.id}"),),),
    )


def pins_card(classifier: str, states: Sequence[PinState], page: int = 0) -> Card:
    """Every pinned test, those that are broken now first."""
    if not states:
        return Card(f"{code(classifier)} has no pinned test yet. `/pin add` pins a text to the label it must get.")
    shown = page_of(states, page, PINS_A_PAGE)
    holding = sum(state.holds for state in states)
    unasked = sum(state.said is None for state in states)
    return Card(
        title=f"Pinned tests of {classifier}: {_tally(holding, len(states) - holding - unasked, unasked)}",
        body="\n".join(_pin_line(state) for state in shown.items),
        footer=place_words(shown.number, shown.pages, "/pin remove takes one away"),
        tone=Tone.GOOD if holding == len(states) else Tone.CAREFUL,
        rows=rows_of(turns(f"pins:{classifier}", shown.number, shown.pages)),
    )


def _pin_line(state: PinState) -> str:
    pin = state.pin
    mark = "✅" if state.holds else "➖" if state.said is None else "❌"
    words = "holds" if state.holds else state_words(state)
    return f"{mark} #{pin.id} “{line_of(pin.text, TEXT)}” → {code(pin.label)} {words} · {escaped(pin.name)}"


def _tally(hold: int, broken: int, unasked: int) -> str:
    """ "12 hold, 1 broken"."""
    words = [f"{hold} hold{'s' if hold == 1 else ''}", f"{broken} broken"]
    return ", ".join(words + ([f"{unasked} not asked"] if unasked else []))


def tried_words(tried: Sequence[TriedPin]) -> str:
    """For a result: how many hold, then those that are broken, newly broken ones first, with who pinned them."""
    outcomes = [each.outcome for each in tried]
    unasked = sum(outcome.said is None for outcome in outcomes)
    hold = sum(outcome.holds for outcome in outcomes)
    broken = [each for each in tried if each.outcome.said is not None and not each.outcome.holds]
    lines = [_tally(hold, len(broken), unasked), *_broken_lines(broken)]
    if unasked:
        lines.append(f"{counted(unasked, 'pin')} not asked: the label is archived")
    return "\n".join(lines)


def broken_words(tried: TriedPin) -> str:
    """ "“…” should be `bug` (pinned by Maria), it says `question` 62 %"."""
    pin, outcome = tried.pin, tried.outcome
    before = "" if outcome.held else "; it was broken before, too"
    return (
        f"“{line_of(pin.text, TEXT)}” should be {code(pin.label)} (pinned by {escaped(pin.name)}), it says "
        f"{code(outcome.said or '')} {percent(outcome.confidence)}{before}"
    )


def _broken_lines(broken: Sequence[TriedPin]) -> list[str]:
    lines = [broken_words(each) for each in broken[:SHOWN_BROKEN]]
    while sum(map(len, lines)) > ROOM_FOR_BROKEN:
        lines.pop()
    if left := len(broken) - len(lines):
        lines.append(f"and {left} more; `/pin list` shows what is broken now")
    return lines


def newly_broken(tried: Sequence[TriedPin]) -> list[TriedPin]:
    return [each for each in tried if each.outcome.newly_broken]


def promoted_words(done: str, tried: Sequence[TriedPin]) -> str:
    """What a promotion by hand did, after the pinned tests that it breaks."""
    broken = newly_broken(tried)
    if not broken:
        return done
    return "\n".join([f"It breaks {counted(len(broken), 'pinned test')}:", *_broken_lines(broken), done])


# What changed


def flips_card(found: FlipPage) -> Card:
    """One page of texts that a version answers differently, with buttons for the other kinds."""
    name = version_name(found.number)
    lines = [flip_words(flip) for flip in found.flips]
    what = HEADINGS[found.kind]
    heading = f"{name} against {found.champion}: {found.counts[found.kind]} {what}"
    if found.kind is FlipKind.RECENT:
        heading = f"{name} against {found.champion}: {found.counts[found.kind]} of {found.questions} recent questions"
    start = f"flips:{found.classifier}:{found.number}"
    switch = [
        Button(f"{HEADINGS[kind].capitalize()} ({count})", f"{start}:{kind}:0")
        for kind, count in found.counts.items()
        if kind is not found.kind and count
    ]
    turn = turns(f"{start}:{found.kind}", found.page, found.pages)
    look = (Button("Confusion", f"confusion:{found.classifier}:{found.number}"),) if found.rows else ()
    return Card(
        title=heading,
        body="\n".join(lines) or _nothing(found),
        footer=place_words(found.page, found.pages, f"{found.classifier} · measured on {counted(found.rows, 'text')}"),
        tone=Tone.CAREFUL if found.kind is FlipKind.BROKEN and lines else Tone.NEUTRAL,
        rows=rows_of(turn, (*switch, *look)),
    )


def _nothing(found: FlipPage) -> str:
    if not any(found.counts.values()):
        return "No answer differs, neither among the measured texts nor among recent questions."
    return "There is none of this kind."


def flip_words(flip: Flip) -> str:
    """ "“…”\n`question` → `bug` · right is `bug`"."""
    gone = "*Somebody's question; its text is not shown to you.*" if flip.withheld else "*This text is no longer here.*"
    text = gone if flip.text is None else f"“{line_of(flip.text, TEXT)}”"
    right = "" if flip.label is None else f" · right is {code(flip.label)}"
    return f"{text}\n{code(flip.before)} → {code(flip.after)}{right}\n"


# What it takes for what


def confusion_card(shown: ConfusionPicture) -> Card:
    """The matrix as a picture, and in words for whoever does not see it."""
    found, name = shown.confusion, version_name(shown.number)
    file = f"confusion-{name}.png"
    words = [mistakes_words(found)]
    if shown.picture is None and len(found.labels) > 1:
        words.append("The picture could not be drawn; these are its numbers.")
    if found.labels_left_out and shown.picture is not None:
        words.append(
            f"Drawn are the {len(found.labels)} labels with the most mistakes; the other "
            f"{counted(found.labels_left_out, 'label')} take part in {found.mistakes_left_out} more."
        )
    changed = Button("What changed", f"flips:{shown.classifier}:{shown.number}")
    return Card(
        title=f"What {name} takes for what",
        body="\n".join(words),
        footer=f"{shown.classifier} · {found.right} of {counted(found.rows, 'text')} right",
        rows=((changed,),),
        files=() if shown.picture is None else (Attachment(file, shown.picture, alt_text(name, found)),),
        picture="" if shown.picture is None else file,
    )


def mistakes_words(found: Confusion) -> str:
    """The most confused pairs, one a line; the others are counted."""
    if not found.mistakes:
        return "It makes no mistake on these texts."
    lines = [
        f"{code(mistake.label)} taken for {code(mistake.answer)}: {mistake.rows}"
        for mistake in found.mistakes[:SHOWN_MISTAKES]
    ]
    if left := found.mistakes[SHOWN_MISTAKES:]:
        lines.append(f"and {counted(len(left), 'more pair')}, {sum(mistake.rows for mistake in left)} texts")
    return "\n".join(lines)


def alt_text(version: str, found: Confusion) -> str:
    """The picture in words: as many pairs as fit, and how many do not."""
    words = f"Confusion matrix of {version}: {found.right} of {found.rows} texts right."
    if found.mistakes:
        words += " Right label, answer, texts:"
    for place, mistake in enumerate(found.mistakes):
        pair = f" {mistake.label} as {mistake.answer} {mistake.rows};"
        rest = f" and {len(found.mistakes) - place} more pairs."
        if len(words) + len(pair) + len(rest) > MAX_ALT_TEXT:
            return words + rest
        words += pair
    return words.removesuffix(";") + "." if found.mistakes else words

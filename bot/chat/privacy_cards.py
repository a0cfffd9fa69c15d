"""Cards of /privacy: what is stored about a person, a preview of forgetting, and its receipt. Pure functions."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

from bot.chat.cards import Attachment, Button, Card, Style, Tone
from bot.chat.text import code, counted, escaped, listed, when
from storage.errors import InvalidInput
from storage.records import Erasure, Holdings

if TYPE_CHECKING:
    from bot.services.privacy import About, Receipt

NOTHING = "I store nothing about you here."
NOTHING_TO_DELETE = "There is nothing of yours to delete here."
CANCELLED = "Nothing was deleted."
MOST_VERSIONS = 12
MOST_BYTES = 9 << 20
"""Bytes of a file; Discord takes 10 MiB in a message."""
OPTED_OUT = (
    "Done: from now on nothing that you type here is stored. You can still ask; labels and judgements are not taken. "
    "What a lead decides for the team, as names of labels, is the team's. "
    "What is there already stays until you press Forget."
)
OPTED_IN = "Done: you can label and teach again. What you type from now on is stored."


def about_card(about: About) -> Card:
    """What is stored, since when, and what can be done about it."""
    held = about.holdings
    state = "You have opted out: nothing new is stored." if about.opted_out else ""
    if not (held.anything or held.decisions):
        return Card(" ".join(filter(None, [NOTHING, state])), rows=(_choice(about),))
    lines = [*_counts(held), *([f"The oldest is from {when(held.since, 'D')}."] if held.since else []), "", state]
    buttons = (Button("Export", "privacy:export"), Button("Forget me", "privacy:forget", Style.RED), *_choice(about))
    return Card(title="What I store about you here", body="\n".join(lines).strip(), rows=(buttons,))


def _counts(held: Holdings) -> list[str]:
    lines = _lines(
        (held.texts, "text", "that you submitted"),
        (held.label_events, "label", "given or taken back"),
        (held.questions, "question", "asked, with the answer"),
        (held.feedback, "judgement", "of an answer: Right or Wrong"),
        (held.rounds, "round of `/teach`", ""),
        (held.imports, "import", "on record or waiting"),
    )
    if held.name:
        lines.append(f"- your name, for histories: {escaped(held.name)}")
    if held.decisions:
        lines.append(f"- {counted(held.decisions, 'decision')}: classifiers created, trainings asked for, promotions")
    return lines


def _choice(about: About) -> tuple[Button, ...]:
    if about.opted_out:
        return (Button("Opt in again", "privacy:in"),)
    return (Button("Opt out", "privacy:out"),)


def opted_card(*, out: bool) -> Card:
    """After opting out or in, with the way back."""
    if out:
        return Card(OPTED_OUT, rows=((Button("Opt in again", "privacy:in"), Button("Forget me", "privacy:forget")),))
    return Card(OPTED_IN, rows=((Button("Opt out", "privacy:out"),),))


def export_card(content: bytes) -> Card:
    """`content` is JSON; what does not fit into a message is packed.

    Raises:
        InvalidInput: it does not fit packed, either.
    """
    name = "pupil-my-data.json"
    if len(content) > MOST_BYTES:
        name, content = f"{name}.gz", gzip.compress(content)
    if len(content) > MOST_BYTES:
        raise InvalidInput("That is more than fits into a message of Discord. Ask the operator for a copy.")
    words = "All that I store about you here, as JSON. Only you see this message; save the file."
    return Card(words, files=(Attachment(name, content),))


def preview_card(erasure: Erasure, person: str) -> Card:
    """What would be deleted. `person`: only they can press the button."""
    if not _anything(erasure):
        return Card(NOTHING_TO_DELETE)
    lines = ["This deletes, for good:", *_deleted(erasure)]
    if erasure.kept_texts:
        lines.append(f"\n{_stays(erasure)}")
    lines.append(
        "\nThe next answers will not know your labels any more. What a trained version has learned stays in it until "
        "the next training; the receipt names those versions. Who created, trained or promoted something stays on "
        "record. It cannot be undone: export first if you want a copy."
    )
    buttons = (
        Button("Delete all of it", f"forget:{person}", Style.RED),
        Button("Export", "privacy:export"),
        Button("Keep it", "privacy:keep"),
    )
    return Card(title="Forget me?", body="\n".join(lines), tone=Tone.CAREFUL, rows=(buttons,))


def _anything(erasure: Erasure) -> bool:
    return bool(erasure.kept_texts or _deleted(erasure))


def _deleted(erasure: Erasure) -> list[str]:
    lines = _lines(
        (erasure.texts, "text", "that you submitted and nobody else labelled"),
        (erasure.label_events, "label", "given or taken back"),
        (erasure.questions, "question", "asked"),
        (erasure.feedback, "judgement", "of an answer"),
        (erasure.pins, "pinned test", "of yours; it keeps no version back any more"),
        (erasure.proposals, "text", "typed with a label that did not exist"),
        (erasure.imports, "import", "on record or waiting"),
        (erasure.rounds, "round of `/teach`", ""),
    )
    return [*lines, "- your name"] if erasure.name else lines


def _lines(*counts: tuple[int, str, str]) -> list[str]:
    """One line for each (number, noun, more about it) of which there are any."""
    return [f"- {counted(number, noun)} {more}".rstrip() for number, noun, more in counts if number]


def _stays(erasure: Erasure) -> str:
    verb = "stays" if erasure.kept_texts == 1 else "stay"
    return f"{counted(erasure.kept_texts, 'text')} that others labelled too {verb}, without your name."


def receipt_card(receipt: Receipt) -> Card:
    """What was deleted, what stays, and which versions have learned from it."""
    erased = receipt.erased
    if not _anything(erased):
        return Card(NOTHING_TO_DELETE)
    lines = ["Deleted:", *_deleted(erased)]
    if erased.kept_texts:
        lines.append(f"\n{_stays(erased)}")
    lines.append(f"\n{_answers(receipt)}")
    if files := _files(receipt):
        lines.append(files)
    lines.append("Backups and exports made before today may still hold it; the operator can say.")
    return Card(title="Forgotten", body="\n".join(lines), tone=Tone.GOOD)


def _answers(receipt: Receipt) -> str:
    words = ["The answers no longer follow your labels."]
    if not receipt.relearned:
        words = ["The answers will follow with the next label; they could not be brought up to date just now."]
    if receipt.learned:
        have = "has" if len(receipt.learned) == 1 else "have"
        words.append(
            f"{_named(receipt.learned)} {have} learned from them; a new training makes a version without. A lead "
            "starts it with `/train now`."
        )
    words += [
        f"{code(name)} starts from {code(origin)}, so choose another for it first, with `/classifier base`."
        for name, origin in receipt.carried
    ]
    if receipt.unknown:
        words.append(f"Of {_named(receipt.unknown)} it cannot be told: what was trained on is no longer there.")
    return " ".join(words)


def _named(versions: tuple[str, ...]) -> str:
    return listed([code(version) for version in versions], MOST_VERSIONS)


def _files(receipt: Receipt) -> str:
    doomed = len(receipt.erased.doomed)
    if not doomed:
        return ""
    if receipt.waiting:
        return (
            f"{counted(doomed, 'training file')} held your texts; {receipt.waiting} of them goes when the training "
            "that uses it has ended."
        )
    return f"{counted(doomed, 'training file')} of mine that held your texts: deleted. The trainer keeps copies."

"""Cards of asking and labelling: an answer, what a label did, which label instead. Pure functions of records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bot.chat.cards import MAX_CHOICES, Attachment, Button, Card, Choice, Form, Input, Menu, Style, Tone
from bot.chat.paging import page_of, turns
from bot.chat.text import code, counted, cut, escaped, listed, percent, quoted
from storage.records import MAX_LABEL, MAX_TEXT, Prediction

if TYPE_CHECKING:
    from bot.services.labeling import LabelReceipt, UndoReceipt

RUNNERS_UP = 3
QUOTED = 400
"""Characters of a text that could not be used that its author sees at once. A message has room for them however they
are escaped; a longer text comes as a file."""
WHICH_LABEL = "Which label is right?"


def answer_card(
    prediction: Prediction, *, shared_by: str = "", note: str = "", rows: tuple[tuple[Button, ...], ...] | None = None
) -> Card:
    """What the model says, how sure it is and which version said it.

    `shared_by` is the name of who shows it to the channel; `note` says what was done with the answer; `rows` replaces
    the buttons that ask whether it was right.
    """
    question = [f"{escaped(shared_by)} asked:"] if shared_by else []
    question += [quoted(prediction.text)] if prediction.text else []
    cut = "The text is longer than I read; only its beginning counted." if prediction.cut else ""
    parts = ["\n".join(question), _verdict(prediction), cut, note]
    return Card(
        body="\n\n".join(filter(None, parts)),
        footer=" · ".join([prediction.classifier, version_words(prediction.version), _took(prediction.milliseconds)]),
        tone=Tone.CAREFUL if prediction.is_guess and prediction.taught is None else Tone.GOOD,
        rows=answer_rows(prediction, shareable=not shared_by) if rows is None else rows,
    )


def _verdict(prediction: Prediction) -> str:
    scores = prediction.scores
    if prediction.taught is not None:
        taught = f"Taught: {code(prediction.taught.label)} (#{prediction.taught.example_id})."
        return f"**{taught}**\nThe model by itself says {code(scores[0].label)} {percent(scores[0].confidence)}."
    if prediction.outside:
        nearest = f"{code(scores[0].label)} {percent(scores[0].confidence)}"
        return f"This looks like nothing I was taught. The nearest label: {nearest}"
    if prediction.abstained:
        rivals = " / ".join(f"{code(score.label)} {score.confidence:.2f}" for score in scores[:2])
        return f"I am not sure: {rivals}"
    best = f"**{code(scores[0].label)} {percent(scores[0].confidence)}**"
    others = [f"{code(score.label)} {percent(score.confidence)}" for score in scores[1:]]
    return best + (f"\n{listed(others, RUNNERS_UP, ' · ')}" if others else "")


def answer_rows(prediction: Prediction, *, shareable: bool) -> tuple[tuple[Button, ...], ...]:
    """Was it right, and why? One row of buttons; where it is only a guess, the two nearest labels are offered."""
    number = prediction.id
    share = (Button("Share", f"share:{number}"),) if shareable else ()
    if prediction.text is None and prediction.told != prediction.label:
        # What stands first is what was taught; that it is right is all that can be said, and the model is wrong then.
        return ((Button("Right", f"miss:{number}", Style.GREEN), *share),)
    if prediction.text is None:  # nothing was kept that could be taught: the buttons count
        return ((Button("Right", f"right:{number}", Style.GREEN), Button("Wrong", f"miss:{number}"), *share),)
    pick, why = f"pick:p.{number}:0", Button("Why", f"why:{number}")
    if prediction.is_guess and prediction.taught is None:
        rivals = [
            Button(score.label, f"rival:{number}:{place}", Style.BLUE)
            for place, score in enumerate(prediction.scores[:2])
        ]
        return ((*rivals, Button("Neither" if len(rivals) > 1 else "Wrong", pick), why, *share),)
    return ((Button("Right", f"right:{number}", Style.GREEN), Button("Wrong", pick, Style.RED), why, *share),)


def _took(milliseconds: float) -> str:
    """ "3 ms", "< 1 ms"."""
    return f"{milliseconds:.0f} ms" if milliseconds >= 1 else "< 1 ms"


def version_words(version: str) -> str:
    """ "v12+7" → "v12+7, 7 labels not trained in yet"; "v0+3" → "v0+3, not fine-tuned"."""
    number, _, revision = version.partition("+")
    if number == "v0":
        return f"{version}, not fine-tuned"
    return f"{version}, {counted(int(revision), 'label')} not trained in yet" if revision.isdigit() else version


def saved_words(receipt: LabelReceipt) -> str:
    """ "Saved as `bug` (#481). I had said `question` 62 % (v1+3). 7 more until the next training." """
    note = [receipt.note] if receipt.note else []
    words = [*note, f"Saved as {code(receipt.label)} (#{receipt.example_id})."]
    counts = counts_words(receipt)
    if receipt.previous == receipt.label:
        words = [*note, f"Confirmed as {code(receipt.label)} (#{receipt.example_id})."]
    elif receipt.previous is not None and not counts:
        words.append(f"It was {code(receipt.previous)} before.")
    words += [counts] if counts else []
    if receipt.guess is not None:
        version = f" ({receipt.version})" if receipt.version else ""
        said = "so too," if receipt.guess.label == receipt.label else code(receipt.guess.label)
        words.append(f"I had said {said} {percent(receipt.guess.confidence)}{version}.")
    return " ".join(words + _consequences(receipt))


def counts_words(receipt: LabelReceipt) -> str:
    """What the text counts as, where others say something else about it or it does not count as the label; else ""."""
    said = listed([f"{escaped(name)} says {code(label)}" for name, label in receipt.others], RUNNERS_UP)
    if receipt.now == receipt.label:
        return f"{said}; it counts as yours." if said else ""
    if receipt.now is not None:
        return f"{said or 'A lead has settled it'}: it stays {code(receipt.now)}."
    if receipt.ruled is not None:
        settled = f"A lead has settled it as {code(receipt.ruled)}, which is archived"
        return f"{settled}: the text counts for nothing until a lead labels it."
    if not said:
        return "It has no label now."
    return f"{said}: a tie, so the text counts for neither until a lead settles it with `/conflicts`."


def taught_words(receipt: LabelReceipt) -> str:
    """After Right or Wrong, where the answer stands above: "Taught: `bug` (#481). 7 more until the next training." """
    counts = counts_words(receipt)
    words = [f"Taught: {code(receipt.label)} (#{receipt.example_id}).", *([counts] if counts else [])]
    return " ".join(words + _consequences(receipt))


def _consequences(receipt: LabelReceipt) -> list[str]:
    words = ["Kept aside to measure versions, never trained on."] if receipt.golden else []
    if receipt.until_training:
        words.append(f"{receipt.until_training} more until the next training.")
    elif receipt.until_training == 0:
        words.append("The next training starts soon.")
    return words


def receipt_card(receipt: LabelReceipt, classifier: str) -> Card:
    """What a label did, with Undo and Change."""
    return Card(saved_words(receipt), rows=receipt_rows(classifier, receipt.event_id))


def receipt_rows(classifier: str, event_id: int) -> tuple[tuple[Button, ...], ...]:
    return ((Button("Undo", f"undo:{event_id}"), Button("Change", f"pick:e.{classifier}.{event_id}:0")),)


def undo_card(receipt: UndoReceipt) -> Card:
    """A label taken back, with Redo; or, where an undo was taken back, the label given again, with Undo."""
    text = quoted(receipt.text, 200)
    if receipt.again:
        now = (
            ""
            if receipt.now == receipt.label
            else "; the text has no label all the same"
            if receipt.now is None
            else f"; the text counts as {code(receipt.now)} all the same"
        )
        row = (Button("Undo", f"undo:{receipt.event_id}"),)
        return Card(f"Gave {code(receipt.label)} again{now}.\n{text}", rows=(row,))
    now = f"it is {code(receipt.now)} again" if receipt.now else "it has no label now"
    way_on = "-# `/undo` again brings it back; `/history` takes back older ones."
    rows = ((Button("Redo", f"redo:{receipt.event_id}"),),) if receipt.event_id else ()
    return Card(f"Took {code(receipt.label)} back; {now}.\n{text}\n{way_on}", rows=rows)


def unknown_label_card(problem: str, name: str, text: str, proposal_id: int, *, lead: bool) -> Card:
    """The label that was typed does not exist: a lead creates it, anybody else proposes it. The text is kept."""
    shown = cut(name, 40)
    button = (
        Button(f"Create {shown} and save", f"create:{proposal_id}", Style.GREEN)
        if lead
        else Button(f"Propose {shown}", f"propose:{proposal_id}", Style.BLUE)
    )
    return replace(not_lost_card(problem, "Your text, so that it is not lost", text), rows=((button,),))


def not_lost_card(problem: str, what: str, text: str) -> Card:
    """What somebody has typed and what stood in its way. A long text is quoted in part and attached as a whole."""
    if len(text) <= QUOTED:
        return Card(f"{problem}\n{what}:\n{quoted(text, QUOTED)}")
    return Card(f"{problem}\n{what}, whole in the file:\n{quoted(text, QUOTED)}", files=(typed_file(text),))


def typed_file(text: str) -> Attachment:
    """What somebody has typed, to be copied from."""
    return Attachment("typed.txt", text.encode("utf-8", "replace"))


def picker_card(key: str, labels: Sequence[str], page: int, text: str = "") -> Card:
    """A menu of at most 25 labels a page, best first; further pages and a search where there are more.

    `text` is what is being labelled, "" where that is not known.
    """
    shown = page_of(labels, page, MAX_CHOICES)
    back = Button("Back", f"back:{key}")
    about = f"{quoted(text, 200)}\n" if text else ""
    if not labels:
        return Card(f"{about}There is no other label yet. A lead adds one with /labels create.", rows=((back,),))
    menu = Menu(f"picked:{key}", "Choose a label", tuple(Choice(name, name) for name in shown.items))
    if shown.pages == 1:
        return Card(f"{about}{WHICH_LABEL}", rows=(menu, (back,)))
    turn = (*turns(f"pick:{key}", shown.number, shown.pages), Button("Type it", f"name:{key}", Style.BLUE), back)
    place = f"Page {shown.number + 1} of {shown.pages}; {counted(len(labels), 'label')} in all, most likely first."
    return Card(f"{about}{WHICH_LABEL} {place}", rows=(menu, turn))


def name_form(key: str) -> Form:
    """Asks for a label by name, where there are too many to choose from."""
    return Form(f"named:{key}", WHICH_LABEL, (Input("label", "Label", most=MAX_LABEL),))


def teach_form(classifier: str, labels: Sequence[str], text: str = "", *, author: str = "") -> Form:
    """A long text and its label. `labels` best first; more than 25 are typed instead of chosen.

    `author`: who wrote the text, where it is somebody's message.
    """
    choices = tuple(Choice(name, name) for name in labels) if len(labels) <= MAX_CHOICES else ()
    return Form(
        f"capture:{classifier}:{author}" if author else f"teach:{classifier}",
        f"Teach {classifier}",
        (
            Input("text", "Text", value=text, long=True, most=MAX_TEXT),
            Input("label", "Label", placeholder=WHICH_LABEL, most=MAX_LABEL, choices=choices),
        ),
    )

"""Cards of a proposed label: for whoever proposed it, and for the team. Pure functions of records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot.chat.cards import Button, Card, Style, Tone
from bot.chat.text import code, counted, escaped, listed, quoted
from storage.proposals import Proposal

if TYPE_CHECKING:
    from bot.services.proposing import Created

MOST_PEOPLE = 8


def proposed_card(proposal: Proposal, first: bool) -> Card:
    """For whoever proposed it."""
    name = code(proposal.name)
    match proposal.state:
        case "created":
            return Card(f"{name} was created already. Give your text with `/label`.")
        case "declined":
            return Card(f"{name} was declined. Choose another label for your text with `/label`.")
    if first:
        return Card(f"Proposed {name} to the leads. Your text waits, and gets the label when they create it.")
    return Card(f"{name} is proposed already. Your text waits for it, too.")


def proposal_card(proposal: Proposal, classifier: str, who: str) -> Card:
    """For the team."""
    row = (
        Button("Create", f"accept:{proposal.id}", Style.GREEN),
        Button("Decline", f"decline:{proposal.id}"),
    )
    return Card(
        body=f"{escaped(who)} proposes the label {code(proposal.name)} for {code(classifier)}, for this text:\n"
        f"{quoted(proposal.text)}",
        footer="A lead decides.",
        rows=(row,),
    )


def created_card(created: Created, who: str) -> Card:
    """The team's message after Create."""
    name = code(created.proposal.name)
    if not created.saved and not created.left_out:
        return Card(body=f"{name} of {code(created.classifier.name)} was decided about already.")
    people = listed([escaped(person) for person in dict.fromkeys(person for person, _ in created.saved)], MOST_PEOPLE)
    words = f"{escaped(who)} created {name} in {code(created.classifier.name)}."
    if created.saved:
        text = quoted(created.saved[0][1].text, 200)
        words += f" Saved {counted(len(created.saved), 'text')} of {people} with it.\n{text}"
    if created.left_out:
        words += f"\n{counted(created.left_out, 'text')} of people who have opted out since: not saved."
    return Card(body=words, tone=Tone.GOOD)


def declined_card(proposal: Proposal, who: str, new: bool) -> Card:
    name = code(proposal.name)
    if not new:
        return Card(body=f"{name} was decided about already.")
    return Card(body=f"{escaped(who)} declined the label {name}. `/label` gives the text another one.")

"""/examples import, paste, search, remove and export, and the buttons that follow from them."""

from __future__ import annotations

import re
from typing import Literal

import discord
from discord import app_commands
from discord.ext import commands

from bot.chat import choices
from bot.chat.answer_cards import not_lost_card
from bot.chat.buttons import answers, pressed
from bot.chat.cards import Card
from bot.chat.cogs.base import Interaction, PupilCog
from bot.chat.example_cards import export_card, removed_card, restored_card, search_card
from bot.chat.import_cards import imported_card, paste_form, preview_card, undone_card
from bot.chat.sending import ask, begin, show
from bot.services.collection import MAX_FILE
from bot.services.examples_files import ExportFormat
from bot.services.people import Role
from storage.errors import InvalidInput, NotFound, UserError

KEY = r"(?P<token>[0-9a-f]{16})"
NOTHING_IMPORTED = "Nothing was imported."
NOTHING_WAITS = "There is no preview to cancel any more. What was imported can be taken back with its Undo import."
TAKEN_BACK_ALREADY = "That import was taken back already."


class ExampleCommands(
    PupilCog, commands.GroupCog, group_name="examples", group_description="The texts a classifier learns from"
):
    # Many at once

    @app_commands.command(
        name="import", description="Import a CSV, TSV or JSONL file (leads). Shows first what it would do."
    )
    @app_commands.describe(
        file="Columns text and label; texts without a label are kept for /teach. At most 10 MiB and 50,000 rows",
        classifier="Which classifier (the channel's, if left out)",
    )
    @app_commands.autocomplete(classifier=choices.classifiers)
    async def import_file(
        self, interaction: Interaction, file: discord.Attachment, classifier: str | None = None
    ) -> None:
        await begin(interaction)
        actor = self.actor(interaction)
        actor.require(Role.LEAD, "import a file")
        chosen = await self.classifier(actor, classifier)
        data = await content_of(file)
        await show(
            interaction, preview_card(await self.services.imports.preview_file(actor, chosen, data, file.filename))
        )

    @app_commands.command(description="Paste several texts at once, one per line, all with one label.")
    @app_commands.describe(
        label="The label of all of them (or choose it in the form)",
        classifier="Which classifier (the channel's, if left out)",
    )
    @app_commands.autocomplete(label=choices.labels, classifier=choices.classifiers)
    async def paste(self, interaction: Interaction, label: str = "", classifier: str | None = None) -> None:
        actor = self.actor(interaction)
        actor.require(Role.MEMBER, "label texts")
        chosen = await self.classifier(actor, classifier)
        names = [count.label.name for count in await self.services.classifiers.labels(chosen)]
        if not names:
            raise NotFound(f"`{chosen.name}` has no labels yet. A lead adds them with /labels create.")
        await ask(interaction, paste_form(chosen.name, names, label))

    @pressed(r"paste:(?P<classifier>[\w-]+)")
    async def pasted(self, interaction: Interaction, classifier: str) -> None:
        """The form was sent."""
        await begin(interaction)
        actor, given = self.actor(interaction), answers(interaction)
        chosen = await self.classifier(actor, classifier)
        try:
            preview = await self.services.imports.preview_paste(actor, chosen, given["texts"], given["label"])
        except UserError as error:  # many texts are not typed twice because of a misspelt label
            await show(interaction, not_lost_card(str(error), "Your texts, so that they are not lost", given["texts"]))
            return
        await show(interaction, preview_card(preview))

    @pressed(rf"import:{KEY}")
    async def apply(self, interaction: Interaction, token: str) -> None:
        await begin(interaction)
        actor = self.actor(interaction)
        applied = await self.services.imports.apply(actor, token)
        await self.services.proposing.save_waiting(actor, applied.classifier)
        await show(interaction, imported_card(applied))

    @pressed(rf"import-no:{KEY}")
    async def cancel(self, interaction: Interaction, token: str) -> None:
        await begin(interaction)
        cancelled = await self.services.imports.cancel(self.actor(interaction), token)
        await show(interaction, Card(NOTHING_IMPORTED if cancelled else NOTHING_WAITS))

    @pressed(rf"import-undo:{KEY}")
    async def undo_import(self, interaction: Interaction, token: str) -> None:
        await begin(interaction)
        undone = await self.services.imports.undo(self.actor(interaction), token)
        await show(interaction, Card(TAKEN_BACK_ALREADY) if undone is None else undone_card(undone))

    # One by one

    @app_commands.command(description="Find examples by words in their text, or by label.")
    @app_commands.describe(
        query="Words that the text holds (all examples, if left out)",
        label="Only with this label",
        classifier="Which classifier (the channel's, if left out)",
    )
    @app_commands.autocomplete(label=choices.labels, classifier=choices.classifiers)
    async def search(
        self, interaction: Interaction, query: str = "", label: str | None = None, classifier: str | None = None
    ) -> None:
        await begin(interaction)
        chosen = await self.classifier(self.actor(interaction), classifier)
        await show(interaction, search_card(await self.services.examples.search(chosen, query, label)))

    @pressed(r"find:(?P<classifier>\d{1,15}):(?P<label>\d{1,15}):(?P<page>\d{1,6}):(?P<query>(?s:.*))")
    async def turn(self, interaction: Interaction, classifier: str, label: str, page: str, query: str) -> None:
        await begin(interaction)
        actor = self.actor(interaction)
        chosen = await self.services.classifiers.by_id(actor.guild, int(classifier))
        found = await self.services.examples.search(chosen, query, int(label) or None, int(page))
        await show(interaction, search_card(found))

    @app_commands.command(description="Remove an example (leads; everybody their own).")
    @app_commands.describe(id="Its number, as /examples search and every receipt show it: #481")
    async def remove(self, interaction: Interaction, id: str) -> None:
        await begin(interaction)
        removal = await self.services.examples.remove(self.actor(interaction), number_of(id))
        await show(interaction, removed_card(removal))

    @pressed(r"restore:(?P<example_id>\d{1,15})")
    async def restore(self, interaction: Interaction, example_id: str) -> None:
        await begin(interaction)
        removal = await self.services.examples.restore(self.actor(interaction), int(example_id))
        await show(interaction, restored_card(removal))

    @app_commands.command(description="Get every example as a file (leads).")
    @app_commands.describe(
        format="csv for spreadsheets (the default); jsonl with every vote, to be imported again",
        classifier="Which classifier (the channel's, if left out)",
    )
    @app_commands.autocomplete(classifier=choices.classifiers)
    async def export(
        self, interaction: Interaction, format: Literal["csv", "jsonl"] = "csv", classifier: str | None = None
    ) -> None:
        await begin(interaction)
        actor = self.actor(interaction)
        chosen = await self.classifier(actor, classifier)
        files = await self.services.examples.export_files(actor, chosen, ExportFormat(format))
        await show(interaction, export_card(chosen.name, files))


async def content_of(file: discord.Attachment) -> bytes:
    """The bytes, read at once: Discord's link to them expires.

    Raises:
        InvalidInput: too large, or gone.
    """
    if file.size > MAX_FILE:
        raise InvalidInput(f"The file has {file.size / 2**20:.1f} MiB; at most {MAX_FILE // 2**20} MiB are possible.")
    try:
        return await file.read()
    except discord.HTTPException:
        raise InvalidInput("Discord did not hand the file out. Attach it again.") from None


def number_of(typed: str) -> int:
    """ "#481" → 481. Raises InvalidInput."""
    if (match := re.fullmatch(r"\s*#?\s*(\d{1,15})\s*", typed, re.ASCII)) is None:
        raise InvalidInput("That is no number of an example. /examples search shows them: #481.")
    return int(match[1])

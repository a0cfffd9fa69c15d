"""Cards and forms become discord.py's objects here, and only here do replies leave.

Every view is sent *stopped*: discord.py then keeps no reference to it, so a million buttons in old messages cost no
memory, and clicks reach `bot.chat.buttons` alone. The order in every handler is the same: `begin` (within Discord's
three seconds), work, `show`.
"""

from __future__ import annotations

import io
from typing import Any

import discord

from bot.chat.cards import Attachment, Button, Card, Form, Input, Menu, Pick, fitted

Interaction = discord.Interaction[Any]


async def begin(interaction: Interaction) -> None:
    """Tells Discord that an answer is coming; the person sees "thinking…".

    Pressing something on a message that only this person sees changes that message; everything else gets an answer of
    its own that only they see.
    """
    if in_place(interaction):
        await interaction.response.defer()
    else:
        await interaction.response.defer(ephemeral=True, thinking=True)


def in_place(interaction: Interaction) -> bool:
    """Whether the answer replaces the message that was pressed: it is the person's own, unseen by others."""
    return interaction.message is not None and interaction.message.flags.ephemeral


async def show(interaction: Interaction, card: Card) -> None:
    """The answer, after `begin` or as the first reply."""
    if interaction.response.is_done():
        await interaction.edit_original_response(**as_edit(card))
    else:
        await interaction.response.send_message(**as_message(card), ephemeral=True)


async def share(interaction: Interaction, card: Card) -> None:
    """A message that everybody in the channel sees, after the person's own answer."""
    await interaction.followup.send(**as_message(card), ephemeral=False)


async def ask(interaction: Interaction, form: Form) -> None:
    """Opens a form. Only possible as the first reply, so nothing slow may come before."""
    modal = discord.ui.Modal(title=form.title, custom_id=form.id, timeout=None)
    for question in form.inputs:
        modal.add_item(discord.ui.Label(text=question.label, component=_input(question)))
    modal.stop()
    await interaction.response.send_modal(modal)


def as_message(card: Card) -> dict[str, Any]:
    """Keyword arguments for a new message."""
    card = fitted(card)
    message: dict[str, Any] = {"allowed_mentions": discord.AllowedMentions.none()}
    if card.text:
        message["content"] = card.text
    if embed := _embed(card):
        message["embed"] = embed
    if card.rows:
        message["view"] = _view(card)
    if card.files:
        message["files"] = [_file(file) for file in card.files]
    return message


def as_edit(card: Card) -> dict[str, Any]:
    """Keyword arguments for an edit: whatever the card does not have is taken away."""
    card = fitted(card)
    return {
        "content": card.text or None,
        "embed": _embed(card),
        "view": _view(card) if card.rows else None,
        "attachments": [_file(file) for file in card.files],
        "allowed_mentions": discord.AllowedMentions.none(),
    }


def _embed(card: Card) -> discord.Embed | None:
    if not (card.title or card.body or card.fields or card.footer or card.picture):
        return None
    embed = discord.Embed(title=card.title or None, description=card.body or None, colour=card.tone.value)
    for name, value in card.fields:
        embed.add_field(name=name, value=value, inline=False)
    if card.footer:
        embed.set_footer(text=card.footer)
    if card.picture:
        embed.set_image(url=f"attachment://{card.picture}")
    return embed


def _file(file: Attachment) -> discord.File:
    return discord.File(io.BytesIO(file.content), file.name, description=file.description or None)


def _view(card: Card) -> discord.ui.View:
    view = discord.ui.View(timeout=None)
    for number, row in enumerate(card.rows):
        for item in (row,) if isinstance(row, Menu) else row:
            view.add_item(_select(item, number) if isinstance(item, Menu) else _button(item, number))
    view.stop()
    return view


def _button(button: Button, row: int) -> discord.ui.Button[Any]:
    style = discord.ButtonStyle[button.style.value]
    return discord.ui.Button(label=button.label, custom_id=button.id, style=style, row=row)


def _select(menu: Menu, row: int) -> discord.ui.Item[Any]:
    if menu.pick is not Pick.CHOICES:
        return _entity_select(menu, row)
    options = [
        discord.SelectOption(label=choice.label, value=choice.value, description=choice.description or None)
        for choice in menu.choices
    ]
    return discord.ui.Select(custom_id=menu.id, placeholder=menu.placeholder, options=options, row=row)


def _entity_select(menu: Menu, row: int) -> discord.ui.Item[Any]:
    """A select that Discord itself fills, with roles or text channels."""
    preset = [discord.Object(int(menu.chosen))] if menu.chosen else []
    if menu.pick is Pick.ROLE:
        defaults = [discord.SelectDefaultValue.from_role(each) for each in preset]
        return discord.ui.RoleSelect(custom_id=menu.id, placeholder=menu.placeholder, default_values=defaults, row=row)
    defaults = [discord.SelectDefaultValue.from_channel(each) for each in preset]
    kinds = [discord.ChannelType.text, discord.ChannelType.news]
    return discord.ui.ChannelSelect(
        custom_id=menu.id, placeholder=menu.placeholder, default_values=defaults, channel_types=kinds, row=row
    )


def _input(question: Input) -> discord.ui.Item[Any]:
    if question.choices:
        options = [
            discord.SelectOption(label=choice.label, value=choice.value, default=choice.value == question.value)
            for choice in question.choices
        ]
        return discord.ui.Select(
            custom_id=question.id,
            placeholder=question.placeholder or None,
            options=options,
            required=not question.optional,
        )
    return discord.ui.TextInput(
        custom_id=question.id,
        style=discord.TextStyle.paragraph if question.long else discord.TextStyle.short,
        default=question.value or None,
        placeholder=question.placeholder or None,
        required=not question.optional,
        max_length=question.most,
    )

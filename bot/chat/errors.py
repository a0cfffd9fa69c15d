"""One function answers whatever goes wrong in a command, a button, a menu or a form. Nobody is left without an answer.

A UserError is shown as it is: its sentence says what to do. For everything else the person gets a short id, and the log
has the traceback under the same id.
"""

from __future__ import annotations

import logging
import secrets
from typing import Any

import discord
from discord import app_commands

from bot.chat.cards import Card
from bot.chat.sending import as_edit, as_message
from bot.chat.text import cut
from storage.errors import ArtifactError, Busy, StorageError, TrainerError, UserError

log = logging.getLogger(__name__)

RESTARTING = "Pupil is restarting. Nothing was done; try again in a minute."
CHANGED = "Pupil's commands were updated just now. Reload Discord (Ctrl+R, or close and open the app) and try again."
EXPIRED = 10062
ANSWERED_ALREADY = 40060


async def answer_error(interaction: discord.Interaction[Any], error: BaseException) -> None:
    """Tells the person what happened, where only they see it. Never raises."""
    error = getattr(error, "original", error)
    if isinstance(error, discord.HTTPException) and error.code in {EXPIRED, ANSWERED_ALREADY}:
        # The interaction is gone: too slow, or a second process has answered. There is nobody to tell.
        log.warning("interaction.lost", extra={"interaction": interaction.id, "code": error.code})
        return
    card = Card(words_for(interaction, error))
    try:
        await _answer(interaction, card)
    except Exception:
        log.exception("interaction.unanswered", extra={"interaction": interaction.id})


def words_for(interaction: discord.Interaction[Any], error: BaseException) -> str:
    """What to say about an error. Logs those that are nobody's mistake but ours."""
    match error:
        case Busy():
            return f"{error} (about {max(1, round(error.retry_after))} s)"
        case UserError():
            return cut(str(error), 1900)
        case app_commands.TransformerError():
            return f"`{cut(str(error.value), 100)}` does not fit here. Choose one of the suggestions."
        case app_commands.CommandNotFound() | app_commands.CommandSignatureMismatch():
            return CHANGED
        case app_commands.CheckFailure():
            return "You may not use this here."
    reference = secrets.token_hex(3)
    facts = {"error_id": reference, "interaction": interaction.id, "guild": interaction.guild_id}
    log.error("interaction.failed", exc_info=error, extra=facts)
    return f"{_apology(error)} If it happens again, tell the operator: error `{reference}`."


def _apology(error: BaseException) -> str:
    match error:
        case TrainerError() | ArtifactError():
            return cut(str(error), 1500)
        case StorageError():
            return "That could not be saved, so nothing has changed."
    return "Something on my side went wrong."


async def _answer(interaction: discord.Interaction[Any], card: Card) -> None:
    response = interaction.response
    if not response.is_done():
        await response.send_message(**as_message(card), ephemeral=True)
    elif response.type is discord.InteractionResponseType.deferred_channel_message:
        await interaction.edit_original_response(**as_edit(card))
    else:  # the original response is the card that was pressed, or a finished answer: it stays
        await interaction.followup.send(**as_message(card), ephemeral=True)

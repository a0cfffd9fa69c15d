"""The command line. Every command speaks to the HTTP API: of the running bot, or of one opened for the call."""

from bot.cli.commands import pupil as main

__all__ = ["main"]

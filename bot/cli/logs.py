"""Where a command's log goes: to a file in the data directory, never between the lines that a person reads."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from storage.logs import set_up_logging
from storage.settings import Settings

FILE = "commands.log"
MAX_BYTES = 2**20
"""A larger log is begun anew; the one before is kept."""


def log_to_file(settings: Settings) -> None:
    """Our warnings, and all that child processes say, go to `<data>/commands.log`. (`pupil run` logs to stderr.)"""
    secrets = [secret.get_secret_value() for secret in (settings.token, settings.api_key) if secret is not None]
    set_up_logging("WARNING", secrets)
    root = logging.getLogger()
    redacting = root.handlers[0].formatter
    try:
        descriptor = _open(settings.data / FILE)
    except OSError:  # the command itself will say that the directory cannot be used
        root.handlers[:] = [logging.NullHandler()]
        return
    handler = logging.StreamHandler(os.fdopen(descriptor, "w", encoding="utf-8", buffering=1))
    handler.setFormatter(redacting)
    root.handlers[:] = [handler]
    _divert_children(descriptor)


def _open(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path.exists() and path.stat().st_size > MAX_BYTES:
        path.replace(path.with_name(f"{path.name}.1"))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def _divert_children(log: int) -> None:
    """Children inherit descriptor 2, so it becomes the log; what we tell people goes to a copy of what it was."""
    try:
        if sys.stderr.fileno() != 2:
            return
    except (OSError, ValueError, AttributeError):  # a stream that is no file
        return
    sys.stderr.flush()
    sys.stderr = os.fdopen(os.dup(2), "w", encoding=sys.stderr.encoding, errors="backslashreplace", buffering=1)
    os.dup2(log, 2)

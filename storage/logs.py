"""Logging set-up: readable on a terminal, JSON lines otherwise, secrets removed from both.

One line per unit of work, in the past tense (`label.stored`, `version.promoted`), with ids and counts in `extra`;
never what people wrote. Usage: `log.info("label.stored", extra={"example": 481})`.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable
from typing import Any, Literal

Level = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_REDACTED = "[secret]"


def set_up_logging(level: str = "INFO", secrets: Iterable[str] = ()) -> None:
    """Send the root logger to stderr. Every string of `secrets` is replaced wherever it would appear."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Readable(secrets) if sys.stderr.isatty() else _JsonLines(secrets))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Their INFO lines repeat ours with less context.
    for noisy in ("discord", "aiohttp.access", "apscheduler"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # It warns at each start that voice will not work; nobody speaks here.
    logging.getLogger("discord.client").setLevel(logging.ERROR)


class _Formatter(logging.Formatter):
    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__()
        known = {secret for secret in secrets if len(secret) >= 4}
        # In a JSON line a quote or backslash of a secret is escaped. The longest first: one may contain another.
        known |= {json.dumps(secret, ensure_ascii=False)[1:-1] for secret in known}
        self._secrets = sorted(known, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        line = self.draw(record, {key: value for key, value in vars(record).items() if key not in _STANDARD})
        for secret in self._secrets:
            line = line.replace(secret, _REDACTED)
        return line

    def draw(self, record: logging.LogRecord, extra: dict[str, Any]) -> str:
        raise TypeError("a formatter draws its own line")


class _Readable(_Formatter):
    def draw(self, record: logging.LogRecord, extra: dict[str, Any]) -> str:
        facts = "".join(f" {key}={value}" for key, value in extra.items())
        line = f"{self.formatTime(record, '%H:%M:%S')} {record.levelname.lower():<7} {record.getMessage()}{facts}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class _JsonLines(_Formatter):
    def draw(self, record: logging.LogRecord, extra: dict[str, Any]) -> str:
        line = {"time": record.created, "level": record.levelname, "logger": record.name, "event": record.getMessage()}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        # A fact that is called like one of ours ("event": 12) keeps its value and does not replace the event's name.
        facts = {f"{key}_" if key in line else key: value for key, value in extra.items()}
        return json.dumps(line | facts, default=str, ensure_ascii=False)

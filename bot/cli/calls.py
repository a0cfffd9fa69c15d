"""What the commands share: options that stand everywhere, one call of the API, one way to answer.

Nothing here is a command. Heavy modules are imported by the functions that need them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from storage.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from bot.api_client import ApiClient
    from storage.settings import Settings

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


def remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Keeps an option that may stand before or after the command's name; the later one wins."""
    if value is not None and parameter.name is not None:
        context.find_root().ensure_object(dict)[parameter.name] = value


def everywhere(command: F) -> F:
    """The options that every command takes."""
    guild = click.option(
        "--guild", metavar="ID", expose_value=False, callback=remember, help="Server; needed where there are several."
    )
    data = click.option(
        "--data",
        type=click.Path(path_type=Path, file_okay=False),
        metavar="DIR",
        expose_value=False,
        callback=remember,
        help="Data directory (or PUPIL_DATA).",
    )
    return data(guild(command))


def settings(**given: Any) -> Settings:
    """Of the data directory that the command names; `given` are stronger than file and environment."""
    from storage.settings import load_settings

    return load_settings(data=_remembered("data"), **given)


def call(work: Callable[[ApiClient], Awaitable[T]], chosen: Settings | None = None) -> T:
    """Runs `work` with an API that answers; logs go to a file, so that a terminal shows only what is for people."""
    from bot.cli.connect import connect
    from bot.cli.logs import log_to_file

    here = chosen or settings()

    async def run() -> T:
        async with connect(here, _remembered("guild")) as api:
            return await work(api)

    log_to_file(here)
    return asyncio.run(run())


def call_about(classifier: str | None, work: Callable[[ApiClient, str], Awaitable[T]]) -> T:
    """The same for one classifier: the one named, else the only one there is."""

    async def named(api: ApiClient) -> T:
        return await work(api, classifier or await api.only_classifier())

    return call(named)


async def report_of(api: ApiClient, classifier: str, version: int | None) -> dict[str, Any]:
    """A version with its whole report; None: the live one, else the newest. Raises NotFound: there is none."""
    known = (await api.versions(classifier))["versions"]
    if version is None:
        found = next((one for one in known if one["live"]), known[0] if known else None)
    else:
        found = next((one for one in known if one["number"] == version), None)
    if found is None:
        missing = "no trained version" if version is None else f"no v{version} that was trained"
        raise NotFound(f"`{classifier}` has {missing}. `pupil models` lists its versions.")
    # The list of versions holds summaries; the job that made one tells everything.
    report = (await api.job(found["job"]))["report"] if found["job"] else None
    if report is None:
        raise NotFound(f"There is no report on {found['version']} of `{classifier}`.")
    return found | {"classifier": classifier, "report": report}


def answer(value: T, as_json: bool, draw: Callable[[T], None]) -> None:
    if as_json:
        click.echo(json.dumps(value))
    else:
        draw(value)


def read_pairs(file: Path) -> list[tuple[str, str]]:
    """(text, label) of every row; what an export holds without a label is passed over, and said so.

    Raises:
        InvalidInput: the file cannot be read, or not used.
    """
    from bot.services.collection import MAX_FILE, every_pair, read_table

    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_FILE + 1)
    except OSError as error:
        raise InvalidInput(f"The file {file} cannot be read: {error.strerror or error}.") from None
    table = read_table(data, file.name, labelled=True)
    pairs = every_pair(table)
    if without := len(table.unlabelled):
        texts = "One text has" if without == 1 else f"{without:,} texts have"
        click.echo(f"{texts} no label in {table.name} and {'is' if without == 1 else 'are'} left out.", err=True)
    return pairs


def export_format(file: Path) -> str:
    """ "csv" or "jsonl", by the ending of the file. Raises InvalidInput: another ending."""
    formats = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
    if (format := formats.get(file.suffix.casefold())) is None:
        raise InvalidInput(f"The name of {file.name} should end in .csv or .jsonl: that says what to write.")
    return format


def write_export(file: Path, content: bytes) -> dict[str, Any]:
    """Writes the file whole, for its owner alone. Raises StorageError: it cannot be written."""
    from storage.files import write_whole

    write_whole(file, content, mode=0o600)
    return {"file": str(file), "bytes": len(content)}


def _remembered(name: str) -> Any:
    return (click.get_current_context().find_root().obj or {}).get(name)

"""`pupil models export`: a version as a folder that the transformers library loads.

Which artifact a version is, the API says. Its files are then read from the data directory itself, as `pupil backup`
reads the database: a bot is found through that directory, so it is on this machine, and an artifact never changes. The
bot that runs spends no time on it, and no caller of the API can have it write files.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from bot.api_client import ApiClient
from storage.artifacts import is_artifact_id
from storage.errors import ArtifactError, InvalidInput, NotFound
from storage.settings import Settings

Json = dict[str, Any]

BASE_STAYS = (
    "v0 cannot be exported: the bot holds the ONNX form of the base encoder only, and its head changes with "
    "every label. Train, or name a version that was trained: --version v1."
)


def parse_version(name: str) -> int:
    """ "v3" or "3" → 3. Raises InvalidInput."""
    found = re.fullmatch(r"v?(\d{1,9})", name, re.ASCII)
    if found is None:
        raise InvalidInput(f"--version takes a version like v3, not {name!r}.")
    return int(found[1])


async def export(api: ApiClient, settings: Settings, classifier: str | None, version: int | None, out: Path) -> Json:
    """Writes the version, None: the champion, to the folder `out`; what was written.

    Raises:
        NotFound: no such version, or its files are not here. InvalidInput: it is v0. Else as `export_version`.
    """
    name = classifier or await api.only_classifier()
    known = (await api.versions(name))["versions"]
    found = _choose(known, version, name)
    if not is_artifact_id(found["artifact"]):
        raise ArtifactError(f"{found['version']} of `{name}` names no artifact.")
    artifact = settings.models / found["artifact"]
    if (deleted := found.get("files_deleted_at")) is not None:
        day = datetime.fromtimestamp(deleted, UTC).date().isoformat()
        raise NotFound(f"The files of {found['version']} of `{name}` were deleted on {day}. Export a newer version.")
    if not artifact.is_dir():
        raise NotFound(
            f"The files of {found['version']} of `{name}` are not in {artifact.parent} any more. Train again."
        )
    # Brings NumPy: only where it is needed.
    from bot.services.export import export_version

    written = export_version(artifact, out, f"{name} {found['version']}")
    return {
        "classifier": name,
        "version": found["version"],
        "artifact": found["artifact"],
        "folder": str(written.folder),
        "labels": written.labels,
        "loads_as": "sequence classifier" if written.obstacle is None else "encoder with head",
        "why": written.obstacle,
        "difference": written.difference,
        "served_difference": written.served_difference,
        "texts": written.texts,
    }


def show_result(written: Json) -> None:
    """Two sentences: what was written and how near it comes, and where to read on."""
    what = f"{written['folder']} holds {written['version']} of {written['classifier']}"
    if written["why"] is None:
        click.echo(
            f"{what} as a sequence classifier of transformers with {written['labels']:,} labels. On {written['texts']} "
            f"texts its probabilities differ from the float32 model's by {written['difference']:.1e} at most."
        )
    else:
        click.echo(f"{what} as an encoder with its head, not as one classifier: {written['why']}.")
    click.echo("Its README.md says how to use it.")


def _choose(known: list[Json], version: int | None, classifier: str) -> Json:
    if version is None:
        chosen = next((one for one in known if one["live"]), None)
    else:
        chosen = next((one for one in known if one["number"] == version), None)
    if chosen is not None:
        return chosen
    if not version:
        raise InvalidInput(BASE_STAYS)
    raise NotFound(f"`{classifier}` has no v{version}. `pupil models` lists its versions.")

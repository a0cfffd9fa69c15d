"""Where training begins: at the base encoder, or at a version of another classifier, whose language carries over.

A version that cannot be used is no failure: training then begins at the base, and the report says why. Texts that the
version's encoder was trained on are no evidence for what becomes of it, so they are told apart here. It knows files and
rows, no networks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from storage.artifacts import read_manifest, verify
from storage.errors import ArtifactError, ConfigurationError, DamagedFile
from storage.records import Split, normalise
from storage.snapshots import read_snapshot, snapshot_path
from trainer.bases import read_settings
from trainer.dataset import Dataset, Rows
from trainer.protocol import learned


@dataclass(frozen=True)
class Start:
    """Where a training begins."""

    directory: Path
    artifact: str | None
    """Id of the version: another classifier's, or the champion. None: it is the base."""
    told: str
    """For the report: "base", "support v3", or "base, because …"."""
    unseen: NDArray[np.int64]
    """Positions of the train rows that its encoder was not trained on: only they can be evidence."""
    continuing: bool = False
    """Whether it is the champion: training goes on from there."""


def choose_start(wanted: Path | None, name: str, base: Path, data: Dataset) -> tuple[Start, Dataset]:
    """Where to begin, and the dataset without golden rows that are no evidence there.

    `wanted` is the directory of a version's artifact, as it lies in a run's inputs with the snapshots that it has
    learned beside it; `name` is what to call it. With None, or where it cannot be used, it is the base.
    """
    if wanted is None:
        return _at_base(base, data), data
    try:
        seen = _seen(wanted, base)
    except _Unusable as reason:
        return _at_base(base, data, f", because {reason.args[0].format(name=name)}"), data
    unseen = _not_in(seen, data.train)
    if 2 * len(unseen) < len(data.train):
        # What is left would measure too little; from the base every row can be evidence.
        why = f", because most of these texts are among those that {name} has learned and could measure nothing"
        return _at_base(base, data, why), data
    golden = data.golden.only(_not_in(seen, data.golden))
    return Start(wanted, wanted.name, name, unseen), replace(data, golden=golden)


def alike(version: Path, base: Path) -> bool:
    """Whether a version can be trained on as one of `base`: a base configured since then begins anew."""
    return all(
        (version / name).read_bytes() == (base / name).read_bytes() for name in ("config.json", "tokenizer.json")
    ) and read_settings(version) == read_settings(base)


def began_at(champion: Path) -> str | None:
    """Artifact id of the other classifier's version that a champion's weights go back to; None: the base's."""
    try:
        found = read_manifest(champion).lineage.get("start")
    except ArtifactError:
        return None
    return None if found is None else str(found)


class _Unusable(Exception):
    """Why a version cannot be begun at; `{name}` stands for it."""


def _seen(version: Path, base: Path) -> frozenset[str]:
    """The texts, normalised, that the encoder of a usable version was trained on. Raises _Unusable."""
    try:
        manifest = verify(version)
    except ArtifactError:
        raise _Unusable("the files of {name} are damaged or gone") from None
    try:
        fits = alike(version, base)
    except (OSError, ConfigurationError):
        fits = False
    if not fits:
        raise _Unusable("{name} has another base encoder or tokenizer")
    try:
        snapshots = [read_snapshot(snapshot_path(version.parent, one)) for one in learned(manifest.lineage)]
    except DamagedFile:
        snapshots = []
    if not snapshots:
        raise _Unusable("it is not known any more which texts {name} has learned")
    return frozenset(normalise(row.text) for one in snapshots for row in one.rows if row.split is Split.TRAIN)


def _not_in(seen: frozenset[str], rows: Rows) -> NDArray[np.int64]:
    return np.array([index for index, text in enumerate(rows.texts) if normalise(text) not in seen], np.int64)


def _at_base(base: Path, data: Dataset, why: str = "") -> Start:
    return Start(base, None, f"base{why}", np.arange(len(data.train)))

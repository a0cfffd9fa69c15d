"""Artifacts as nobody should hand them out: each defect by its name, for a training that pretends.

A defect is written "kind" or "kind: file". Those of `SEALED` change bytes behind the manifest's back; those of
`STAGED` are under a manifest that is right about them, as a trainer would make it that is broken, or means harm.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from storage import artifacts
from storage.artifacts import MANIFEST, FileEntry, Manifest, _encode

READ = ("encoder.onnx", "tokenizer.json", "encoder.json", "canary.json", "head.safetensors", "report.json")
"""Files of a version that the bot opens."""
EVERY = (*READ, "config.json", "model.safetensors", "evidence.json", "README.md")

SEALED = (
    *(f"truncated: {name}" for name in (*EVERY, MANIFEST)),
    *(f"bit flipped: {name}" for name in (*EVERY, MANIFEST)),
    "swapped",
    *(f"missing: {name}" for name in (*READ, MANIFEST)),
)
STAGED = (
    "no head",
    "NaN in the head",
    "NaN in the encoder",
    "foreign model_type",
    "auto_map",
    *(f"pickle instead of: {name}" for name in READ),
    "pickle beside",
    "a label more in the head",
    "a label more in the manifest",
    "no report",
    "another model's canary",
)


class Planted:
    """Unpickling one creates the file named in `FAULTS_CONTROL`/executed."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {os.environ['FAULTS_CONTROL']}/executed",))


def spoil_staging(defect: str | None, staging: Path) -> None:
    kind, _, name = (defect or "").partition(": ")
    config = staging / "config.json"
    if kind == "no head":
        (staging / "head.safetensors").unlink()
    elif kind == "NaN in the head":
        _change_head(staging, weight=lambda weight: weight * np.float32("nan"))
    elif kind == "NaN in the encoder":
        _spoil_graph(staging / "encoder.onnx")
    elif kind == "foreign model_type":
        config.write_text(json.dumps(json.loads(config.read_text()) | {"model_type": "surprise"}))
    elif kind == "auto_map":
        code = {"AutoModel": "modeling_surprise.Surprise", "AutoConfig": "modeling_surprise.SurpriseConfig"}
        config.write_text(json.dumps(json.loads(config.read_text()) | {"auto_map": code}))
    elif kind == "pickle instead of":
        (staging / name).write_bytes(pickle.dumps(Planted()))
    elif kind == "a label more in the head":
        _change_head(staging, labels=lambda labels: [*labels, "one more"], more=1)
    elif kind == "no report":
        (staging / "report.json").unlink()
    elif kind == "another model's canary":
        canary = json.loads((staging / "canary.json").read_text())
        canary["vectors"] = (-np.asarray(canary["vectors"])).tolist()
        (staging / "canary.json").write_text(json.dumps(canary))


def spoil_sealed(defect: str | None, staging: Path, root: Path, seal: Callable[..., str]) -> str:
    """Seals as `seal` does, and changes what has been sealed; the id that the trainer will give for it."""
    kind, _, name = (defect or "").partition(": ")
    if kind == "pickle beside":
        (staging / "model.pkl").write_bytes(pickle.dumps(Planted()))
        return _seal_anything(staging, root)
    if kind == "a label more in the manifest":
        return _seal_anything(staging, root, ("bug", "refund", "one more"))
    artifact = seal()
    folder = root / artifact
    chance = random.Random(artifact)
    if kind == "truncated":
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: chance.randrange(len(data))])
    elif kind == "bit flipped":
        flip_bit(folder / name, chance)
    elif kind == "swapped":
        one, other = chance.sample(sorted(path.name for path in folder.iterdir() if path.name != MANIFEST), 2)
        (folder / one).rename(folder / "aside")
        (folder / other).rename(folder / one)
        (folder / "aside").rename(folder / other)
    elif kind == "missing":
        (folder / name).unlink()
    return artifact


def flip_bit(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def _seal_anything(staging: Path, root: Path, labels: tuple[str, ...] = ("bug", "refund")) -> str:
    """What a trainer could do that does not keep to the list of names: a manifest that is right about every file."""
    files = {path.name: _entry(path) for path in staging.iterdir()}
    named = tuple({"id": number, "name": name, "description": ""} for number, name in enumerate(labels, start=1))
    data = _encode(Manifest("version", named, files, {}, 0.0))
    (staging / MANIFEST).write_bytes(data)
    artifact = hashlib.sha256(data).hexdigest()
    root.mkdir(exist_ok=True)
    staging.rename(root / artifact)
    return artifact


def _entry(path: Path) -> FileEntry:
    data = path.read_bytes()
    return FileEntry(hashlib.sha256(data).hexdigest(), len(data))


def _change_head(
    staging: Path, *, weight: Callable[..., Any] | None = None, labels: Callable[..., Any] | None = None, more: int = 0
) -> None:
    path = staging / "head.safetensors"
    with safe_open(path, framework="numpy") as file:
        about = json.loads(file.metadata()["head"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    if weight is not None:
        tensors["weight"] = weight(tensors["weight"])
    if labels is not None:
        about["labels"] = labels(about["labels"])
        tensors["weight"] = np.pad(tensors["weight"], ((0, more), (0, 0)))
        tensors["bias"] = np.pad(tensors["bias"], (0, more))
    save_file(tensors, path, metadata={"head": json.dumps(about)})


def _spoil_graph(path: Path) -> None:
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(path))
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.ndim == 2:
            spoilt = np.full_like(values, np.nan)
            tensor.CopyFrom(numpy_helper.from_array(spoilt, tensor.name))
    onnx.save(model, str(path))


assert artifacts.ALLOWED.issuperset(EVERY)

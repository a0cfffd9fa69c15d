"""A version's artifact to a folder that the transformers library loads by itself.

Where the encoder's family allows it the folder is one stock classifier (`trainer.model.plain`), checked on a few texts
of ours before it counts; elsewhere it holds the encoder, the head and a program of some lines that joins them. Reads
the artifact, which never changes, and neither the database nor anything in memory; blocks for seconds.
"""

from __future__ import annotations

import json
import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

from bot.services import export_card
from storage.artifacts import Manifest, verify
from storage.errors import ArtifactError, Conflict, InvalidInput
from storage.files import PART, file_errors, sync_directory, sync_file
from trainer.model import plain
from trainer.model.head import HEAD_FILE, Head, label_text
from trainer.model.layers import Shape, hidden_states
from trainer.model.quieter import PUBLISHED, SHARE, counts_less

Floats = NDArray[np.float32]
Json = dict[str, Any]

WEIGHTS = "model.safetensors"
NEEDED = ("config.json", WEIGHTS, "tokenizer.json", "encoder.json", "canary.json", HEAD_FILE)
LABEL_TEXTS = 24
"""Label names that are encoded for the check, beside the canary's texts: each takes some 30 ms."""
WORST = 0.01
"""Largest difference in any probability, on those texts, with which a stock classifier is written."""
SAME_WEIGHTS = 0.95
"""Least cosine between the float32 weights' vectors and the served ones', as at export (`trainer.export`)."""
SPECIAL = {
    "cls_token": ("[CLS]", "<s>"),
    "sep_token": ("[SEP]", "</s>"),
    "unk_token": ("[UNK]", "<unk>"),
    "mask_token": ("[MASK]", "<mask>"),
}
"""Special tokens by role, where the artifact has no tokenizer_config.json that names them."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, and how near it comes to the version."""

    folder: Path
    labels: int
    obstacle: str | None
    """None: one stock classifier. Else why it is an encoder with a head beside it, as the end of a sentence."""
    difference: float | None
    """Largest difference in any probability to the float32 encoder and head; None: not a stock classifier."""
    served_difference: float | None
    """The same to what the bot serves, the int8 encoder with the head as it was trained."""
    texts: int
    """On so many texts of ours."""


def export_version(artifact: Path, folder: Path, name: str) -> Exported:
    """Write the version in the directory `artifact` to `folder`, which is whole or absent whatever happens.

    `name` is what its README calls it. The folder may be there if it is empty.

    Raises:
        Conflict: there is something in `folder`. InvalidInput: the version has one label only.
        ArtifactError: the artifact is damaged, or no version. StorageError: DiskFull, or the system refused.
    """
    _check_target(folder)
    manifest = verify(artifact)
    if missing := [each for each in NEEDED if each not in manifest.files]:
        raise ArtifactError(f"The model {artifact.name[:12]} is no version that can be exported: no {missing[0]}.")
    version = _read(artifact, manifest)
    if len(version.head.labels) < 2:
        raise InvalidInput(f"{name} has one label, so its answer is always the same. Teach a second one and train.")
    folder = folder.absolute()
    staged = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}{PART}")
    with file_errors(f"writing {folder}"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        staged.mkdir()
        try:
            exported = _write(version, staged, folder, name)
            _publish(staged, folder)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
    return exported


@dataclass(frozen=True)
class _Version:
    """An artifact's contents, as far as they are needed."""

    directory: Path
    config: Json
    tensors: dict[str, Any]
    settings: Json
    """encoder.json"""
    tokenizer: Tokenizer
    head: Head
    texts: list[str]
    """The canary's texts, then some label names."""
    served: Floats
    """[canary texts, d] as served."""
    manifest: Manifest

    @property
    def pooling(self) -> str:
        return str(self.settings["pooling"])

    @property
    def max_tokens(self) -> int:
        return int(self.settings["max_tokens"])


def _read(artifact: Path, manifest: Manifest) -> _Version:
    head = Head.load(artifact)
    try:
        settings, canary = _json(artifact / "encoder.json"), _json(artifact / "canary.json")
        tokenizer = Tokenizer.from_file(str(artifact / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_length=int(settings["max_tokens"]))
        served = np.asarray(canary["vectors"], np.float32)
        labels = [label_text(str(label["name"]), str(label.get("description", ""))) for label in manifest.labels]
        return _Version(
            artifact,
            _json(artifact / "config.json"),
            _weights(artifact, manifest),
            settings,
            tokenizer,
            head,
            [*map(str, canary["texts"]), *labels[:LABEL_TEXTS]],
            served / np.linalg.norm(served, axis=-1, keepdims=True),
            manifest,
        )
    except OSError:
        raise
    except Exception as error:  # tokenizers and safetensors raise bare Exception subclasses of their own
        raise _damaged(artifact, error) from None


def _weights(artifact: Path, manifest: Manifest) -> dict[str, Any]:
    """As they are served: a version that is a head over the packaged encoder has that one's published file."""
    weights = load_file(artifact / WEIGHTS)
    if manifest.files[WEIGHTS].sha256 != PUBLISHED:
        return weights
    return {name: weight * np.float32(SHARE) if counts_less(name) else weight for name, weight in weights.items()}


def _write(version: _Version, staged: Path, folder: Path, name: str) -> Exported:
    """Every file of the folder; the stock classifier if it can be one and comes near enough."""
    labels = len(version.head.labels)
    try:
        obstacle = plain.obstacle(version.config, version.pooling)
        measured = _write_classifier(version, staged) if obstacle is None else None
    except OSError:
        raise
    except Exception as error:  # shapes or names that do not fit: NumPy's own errors, and KeyError
        raise _damaged(version.directory, error) from None
    if isinstance(measured, str):
        obstacle, measured = measured, None
    if measured is None:
        _write_parts(version, staged)
    difference, served = measured or (None, None)
    exported = Exported(folder, labels, obstacle, difference, served, len(version.texts))
    _write_json(staged / "tokenizer_config.json", _tokenizer_config(version))
    _write_json(staged / "tokenizer.json", _tokenizer(version))
    facts = export_card.Facts(
        name=name,
        artifact=version.directory.name,
        base=str(version.manifest.lineage.get("base", "")),
        pooling=version.pooling,
        max_tokens=version.max_tokens,
        labels=labels,
        abstain_below=version.head.abstain_below,
        temperature=version.head.temperature,
        obstacle=obstacle,
        difference=exported.difference,
        served_difference=exported.served_difference,
        texts=exported.texts,
    )
    (staged / "README.md").write_text(export_card.write(facts), encoding="utf-8")
    return exported


def _write_classifier(version: _Version, staged: Path) -> tuple[float, float] | str:
    """config.json and model.safetensors of the stock classifier, and how far it is from the version; or why not."""
    shape, encoder = Shape.of(version.config), plain.encoder_weights(version.tensors)
    ids = [encoding.ids for encoding in version.tokenizer.encode_batch(version.texts)]
    pooled = np.stack([plain.pool(hidden_states(each, shape, encoder), version.pooling) for each in ids])
    vectors = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
    _check_weights(version, vectors)
    made = plain.to_classifier(version.config, encoder, version.pooling, version.head, pooled)
    wanted, served = version.head.probabilities(vectors), version.head.probabilities(version.served)
    found = np.stack([plain.probabilities(made, each) for each in ids])
    difference = float(np.abs(found - wanted).max())
    if not difference <= WORST or _answers_differ(found, wanted, difference):  # written so that NaN fails, too
        return f"as a stock classifier it would differ by {difference:.3f} in a probability, {WORST} is the most"
    save_file(made.weights, staged / WEIGHTS, metadata={"format": "pt"})
    _write_json(staged / "config.json", made.config)
    return difference, float(np.abs(found[: len(served)] - served).max())


def _answers_differ(found: Floats, wanted: Floats, difference: float) -> bool:
    """Whether a best label differs, ties within the difference aside."""
    best = np.take_along_axis(wanted, found.argmax(axis=1)[:, None], axis=1)[:, 0]
    return bool((wanted.max(axis=1) - best > 2 * difference).any())


def _check_weights(version: _Version, vectors: Floats) -> None:
    lowest = float((vectors[: len(version.served)] * version.served).sum(axis=1).min(initial=1.0))
    if not lowest >= SAME_WEIGHTS:
        raise ArtifactError(
            f"The model {version.directory.name[:12]} has weights that are not the ones it serves (cosine "
            f"{lowest:.3f} on a canary text, {SAME_WEIGHTS} is required). Train again."
        )


def _write_parts(version: _Version, staged: Path) -> None:
    """The encoder as it is and the head beside it."""
    save_file(version.tensors, staged / WEIGHTS, metadata={"format": "pt"})
    for each in ("config.json", "encoder.json", HEAD_FILE):
        shutil.copyfile(version.directory / each, staged / each)


def _tokenizer(version: _Version) -> Json:
    """Without the padding and truncation that published tokenizers have baked in: the caller asks for both."""
    return _json(version.directory / "tokenizer.json") | {"padding": None, "truncation": None}


def _tokenizer_config(version: _Version) -> Json:
    """As it stands in tokenizer.json: a class by the family's name would build its own from the vocabulary."""
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": version.max_tokens,
        "model_input_names": ["input_ids", "attention_mask"],
        "padding_side": "right",
        "truncation_side": "right",
        "clean_up_tokenization_spaces": False,
    }
    for role, candidates in SPECIAL.items():
        if known := [token for token in candidates if version.tokenizer.token_to_id(token) is not None]:
            config[role] = known[0]
    # The network pads with this id; its name is whatever the vocabulary calls it.
    padding = version.tokenizer.id_to_token(int(version.config.get("pad_token_id") or 0))
    return config | ({"pad_token": padding} if padding is not None else {})


def _check_target(folder: Path) -> None:
    with file_errors(f"writing {folder}"):
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise Conflict(f"{folder} is there and is no folder. Choose another with --out FOLDER.")
        if folder.is_dir() and any(folder.iterdir()):
            raise Conflict(f"There is something in {folder}. Choose a new folder with --out FOLDER, or empty it.")


def _publish(staged: Path, folder: Path) -> None:
    for path in staged.iterdir():
        path.chmod(0o644)
        sync_file(path)
    sync_directory(staged)
    with suppress(FileNotFoundError):
        folder.rmdir()  # refuses where something came in meanwhile
    staged.rename(folder)
    sync_directory(folder.parent)


def _json(path: Path) -> Json:
    found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError(f"{path.name} holds no object")
    return found


def _write_json(path: Path, value: Json) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _damaged(artifact: Path, error: Exception) -> ArtifactError:
    return ArtifactError(f"The model {artifact.name[:12]} cannot be exported: its files do not fit ({error!r}).")

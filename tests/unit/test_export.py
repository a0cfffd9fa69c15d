"""Exports: the graph that serves is the network that was trained, or it does not count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_torch

from storage.errors import ArtifactError, ConfigurationError
from tests.fakes.lessons import one_torch_thread
from tests.fakes.tiny_encoder import make_tiny_encoder
from trainer import graph
from trainer.bases import PACKAGED, PACKAGED_FILES, read_settings, resolve
from trainer.export import CANARY_TEXTS, export_encoder, is_export
from trainer.model.encoder import Encoder
from trainer.network import Network

WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module", autouse=True)
def _calm() -> None:
    one_torch_thread()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_encoder(tmp_path_factory.mktemp("export") / "tiny")


def cosines(encoder: Encoder, directory: Path) -> NDArray[np.float32]:
    return (encoder.encode_many(CANARY_TEXTS) * Network(directory).embed(CANARY_TEXTS)).sum(1)


def test_fp32_is_the_network_to_the_last_digits(source: Path, tmp_path: Path) -> None:
    assert cosines(export_encoder(source, tmp_path, precision="fp32"), source).min() > 1 - 1e-5


def test_int8_is_close_to_the_network(source: Path, tmp_path: Path) -> None:
    assert cosines(export_encoder(source, tmp_path, precision="int8"), source).min() > 0.99


def test_pooling_by_the_first_token_is_kept(source: Path, tmp_path: Path) -> None:
    directory = make_tiny_encoder(tmp_path / "cls")
    (directory / "1_Pooling").mkdir()
    (directory / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    by_first = export_encoder(directory, directory, precision="fp32")
    by_mean = export_encoder(source, tmp_path / "mean", precision="fp32")
    assert cosines(by_first, directory).min() > 1 - 1e-5
    assert not np.allclose(by_first.encode("the app crashes"), by_mean.encode("the app crashes"), atol=1e-2)


def test_the_canary_is_what_the_exported_encoder_says_and_holds_our_texts_only(source: Path, tmp_path: Path) -> None:
    encoder = export_encoder(source, tmp_path)
    canary = json.loads((tmp_path / "canary.json").read_text())
    assert tuple(canary["texts"]) == CANARY_TEXTS
    assert np.allclose(np.array(canary["vectors"]), encoder.encode_many(CANARY_TEXTS), atol=1e-6)


def test_the_same_weights_give_the_same_bytes(source: Path, tmp_path: Path) -> None:
    first, second = (export_encoder(source, tmp_path / name) for name in ("a", "b"))
    assert first.digest == second.digest


def test_an_export_that_differs_from_its_network_does_not_count(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(config: dict, weights: dict, pooling: str, peaks: dict | None, known: object) -> bytes:
        broken = dict(weights) | {
            "encoder.layer.0.output.dense.weight": -40 * weights["encoder.layer.0.output.dense.weight"]
        }
        return graph.write_graph(config, broken, pooling, peaks)

    monkeypatch.setattr("trainer.export.write_graph", wrong)
    with pytest.raises(ArtifactError, match="differs from its network"):
        export_encoder(source, tmp_path)


def test_one_loud_channel_does_not_drown_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in published encoders: one scale per call would leave the quiet channels a few steps of int8."""
    directory = make_tiny_encoder(tmp_path / "tiny")
    weights = load_file(directory / "model.safetensors")
    for layer in range(2):
        norm = f"encoder.layer.{layer}.attention.output.LayerNorm.bias"
        weights[norm][3] = 60
        weights[f"encoder.layer.{layer}.output.LayerNorm.weight"][3] = 0
        weights[f"encoder.layer.{layer}.intermediate.dense.weight"][:, 3] *= 0.02
    save_file(weights, directory / WEIGHTS, metadata={"format": "pt"})
    reference = Network(directory).embed(CANARY_TEXTS)

    def error(out: str) -> float:
        encoder = export_encoder(directory, tmp_path / out)
        return float(1 - (encoder.encode_many(CANARY_TEXTS) * reference).sum(1).mean())

    evened = error("evened")
    monkeypatch.setattr(graph, "WORTH", np.inf)
    assert evened < error("as it is") / 2


def test_from_memory_it_is_the_same_as_from_files(source: Path, tmp_path: Path) -> None:
    known = graph.Known()
    first = export_encoder(source, tmp_path / "files")
    for _ in range(2):  # the second time with what is known by then
        export_encoder(source, tmp_path / "memory", network=Network(source), known=known, alike=first)
        for path in (tmp_path / "files").iterdir():
            assert path.read_bytes() == (tmp_path / "memory" / path.name).read_bytes(), path.name


def test_a_table_is_quantized_once_and_anew_when_it_has_changed_where_it_lies() -> None:
    table, known = np.random.default_rng(0).normal(size=(9, 5)).astype(np.float32), graph.Known()
    steps, scale = known.int8(table)
    assert known.int8(table.copy())[0] is steps
    table *= 2  # as training does
    assert np.array_equal(known.int8(table)[1], 2 * scale)


def test_a_missing_weight_is_named(tmp_path: Path) -> None:
    directory = make_tiny_encoder(tmp_path / "tiny")
    weights = load_file(directory / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, directory / "model.safetensors")
    with pytest.raises(ConfigurationError, match=r"lack encoder\.layer\.1\.output\.dense\.weight, which"):
        export_encoder(directory, directory)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_damaged_file_is_one_sentence(tmp_path: Path, name: str) -> None:
    directory = make_tiny_encoder(tmp_path / "tiny")
    (directory / name).write_bytes(b"{\0")
    with pytest.raises(ConfigurationError, match="cannot be loaded"):
        export_encoder(directory, directory)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_weights_of_half_precision_are_served_too(source: Path, tmp_path: Path, kind: torch.dtype) -> None:
    network = Network(source)
    network.save(tmp_path)
    save_torch({name: value.to(kind) for name, value in network.body.state_dict().items()}, tmp_path / WEIGHTS)
    assert cosines(export_encoder(tmp_path, tmp_path, precision="fp32"), tmp_path).min() > 1 - 1e-5


@pytest.mark.filterwarnings("ignore")
def test_another_activation_goes_through_torchs_exporter(source: Path, tmp_path: Path) -> None:
    """The graph that we write knows one."""
    Network(source).save(tmp_path)
    config = json.loads((source / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"hidden_act": "relu"}))
    assert cosines(export_encoder(tmp_path, tmp_path, precision="fp32"), tmp_path).min() > 1 - 1e-5


def test_pooling_and_length_stay_with_a_network_that_is_saved(tmp_path: Path) -> None:
    directory = make_tiny_encoder(tmp_path / "cls")
    (directory / "1_Pooling").mkdir()
    (directory / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    (directory / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 12}))
    Network(directory).save(tmp_path / "saved")
    settings = Network(tmp_path / "saved").settings
    assert (settings.pooling, settings.max_tokens) == ("cls", 12)


def test_roberta_counts_its_positions_from_the_padding_id(source: Path, tmp_path: Path) -> None:
    config = transformers.RobertaConfig(**_small(source), pad_token_id=0)
    transformers.RobertaModel(config).save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes((source / "tokenizer.json").read_bytes())
    assert cosines(export_encoder(tmp_path, tmp_path, precision="fp32"), tmp_path).min() > 1 - 1e-5


@pytest.mark.filterwarnings("ignore")
def test_another_family_goes_through_torchs_exporter(source: Path, tmp_path: Path) -> None:
    config = transformers.ElectraConfig(**_small(source), embedding_size=32, pad_token_id=0)
    transformers.ElectraModel(config).save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes((source / "tokenizer.json").read_bytes())
    for precision in ("fp32", "int8"):
        assert cosines(export_encoder(tmp_path, tmp_path, precision=precision), tmp_path).min() > 0.99


def _small(source: Path) -> dict[str, Any]:
    words = json.loads((source / "config.json").read_text())["vocab_size"]
    return {
        "vocab_size": words,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 128,
    }


def published(directory: Path) -> Path:
    """A directory with the packaged encoder's own files, elsewhere."""
    packaged = resolve(PACKAGED)
    directory.mkdir()
    for name in PACKAGED_FILES:
        (directory / name).symlink_to(packaged / name)
    return directory


@pytest.mark.parametrize("elsewhere", [False, True])
def test_attention_in_the_packaged_encoders_upper_layers_counts_less(tmp_path: Path, elsewhere: bool) -> None:
    base = published(tmp_path / "copy") if elsewhere else resolve(PACKAGED)
    as_published, network = load_file(base / WEIGHTS), Network(base)
    for name, tensor in network.body.state_dict().items():
        layer = int(name.split(".")[2]) if name.startswith("encoder.layer.") else -1
        adds = layer >= 4 and ".attention.output.dense." in name
        if name in as_published:
            assert np.array_equal(tensor.numpy(), as_published[name] * np.float32(0.7 if adds else 1)), name


def test_what_was_saved_has_it_in_its_weights_and_is_not_changed_again(tmp_path: Path) -> None:
    base, texts = resolve(PACKAGED), CANARY_TEXTS[:2]
    network = Network(base)
    network.save(tmp_path)
    again = Network(tmp_path)
    assert np.array_equal(again.embed(texts), network.embed(texts))
    assert again.settings == network.settings == read_settings(base)


def test_other_encoders_stay_as_their_authors_made_them(source: Path) -> None:
    network = Network(source)
    assert network.settings.attention == 1.0
    stored = load_file(source / WEIGHTS)
    assert all(np.array_equal(t.numpy(), stored[n]) for n, t in network.body.state_dict().items() if n in stored)


def test_an_export_that_was_made_before_its_settings_changed_is_no_export(source: Path, tmp_path: Path) -> None:
    export_encoder(source, tmp_path)
    assert is_export(tmp_path, source, "int8")
    assert not is_export(tmp_path, source, "fp32")
    path = tmp_path / "encoder.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"attention": 0.5}))
    assert not is_export(tmp_path, source, "int8")

"""The stock classifier in NumPy: the same probabilities as encoder and head, for every family; and why it is exact."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from tests.fakes.tiny_encoder import make_tiny_encoder
from trainer.model import plain
from trainer.model.head import Head
from trainer.model.layers import ACTIVATIONS, BERT_LAYER, DISTILBERT_LAYER, Shape, hidden_states, run_layer

Floats = NDArray[np.float32]
SIZE = 32
TOKENS = [[2, 9, 3], [2, 30, 31, 32, 33, 3], [2, *range(40, 90), 3]]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Floats]]:
    """config and tensors of a random BERT whose norms scale and shift, as trained ones do."""
    directory = make_tiny_encoder(tmp_path_factory.mktemp("plain") / "tiny", hidden=SIZE)
    weights = load_file(directory / "model.safetensors")
    rng = np.random.default_rng(1)
    for name, value in weights.items():
        if "LayerNorm" in name:
            weights[name] = value + rng.normal(0, 0.1, value.shape).astype(np.float32)
        elif name.endswith(".bias"):
            weights[name] = rng.normal(0, 0.1, value.shape).astype(np.float32)
        elif "self.value" in name or "attention.output.dense" in name:
            weights[name] = 4 * value  # so that the first token hears of the others
    return json.loads((directory / "config.json").read_text()), weights


def as_family(
    model_type: str, config: dict[str, Any], weights: dict[str, Floats]
) -> tuple[dict[str, Any], dict[str, Floats]]:
    """The same network under another family's names."""
    if model_type != "distilbert":
        return config | {"model_type": model_type}, weights
    numbers = {"n_layers": 2, "n_heads": 2, "dim": SIZE, "hidden_dim": 2 * SIZE, "activation": config["hidden_act"]}
    renamed = {}
    for name, value in weights.items():
        part, _, end = name.rpartition(".")
        for index in range(2):
            known = dict(zip(BERT_LAYER.all(index), DISTILBERT_LAYER.all(index), strict=True))
            part = known.get(part, part)
        renamed[f"{part}.{end}"] = value
    return {"model_type": model_type, "pad_token_id": 0} | numbers, renamed


def make_head(labels: int = 4, temperature: float = 1.4, around: Floats | None = None) -> Head:
    """Random rows of a trained head's length; `around` [n, d]: labels are level at the average of these vectors."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(labels, SIZE)).astype(np.float32)
    rows *= 20 / np.linalg.norm(rows, axis=1, keepdims=True)
    bias = rng.normal(size=labels).astype(np.float32)
    if around is not None:
        bias = -rows @ (around / np.linalg.norm(around, axis=1, keepdims=True)).mean(axis=0)
    return Head(tuple(f"label {index}" for index in range(labels)), rows, bias, temperature, 0.3)


def pooled(config: dict[str, Any], weights: dict[str, Floats], pooling: str) -> Floats:
    shape = Shape.of(config)
    return np.stack([plain.pool(hidden_states(ids, shape, weights), pooling) for ids in TOKENS])


def wanted(head: Head, vectors: Floats) -> Floats:
    return head.probabilities(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


# The same answers


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("model_type", sorted(plain.FAMILIES))
def test_the_classifier_answers_like_encoder_and_head(model_type: str, pooling: str, tiny: Any) -> None:
    config, weights = as_family(model_type, *tiny)
    assert plain.obstacle(config, pooling) is None
    encoder = plain.encoder_weights(weights)
    vectors = pooled(config, encoder, pooling)
    head = make_head(around=vectors)
    made = plain.to_classifier(config, encoder, pooling, head, vectors)
    found = np.stack([plain.probabilities(made, ids) for ids in TOKENS])
    assert np.abs(found - wanted(head, vectors)).max() < 1e-3
    assert np.ptp(found, axis=0).max() > 0.1, "the texts must differ for this to mean anything"


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_the_first_token_passes_every_activation(activation: str, tiny: Any) -> None:
    config, weights = tiny[0] | {"hidden_act": activation}, tiny[1]
    head = make_head()
    vectors = pooled(config, weights, "cls")
    made = plain.to_classifier(config, weights, "cls", head, vectors)
    found = np.stack([plain.probabilities(made, ids) for ids in TOKENS])
    assert np.abs(found - wanted(head, vectors)).max() < 1e-3


@pytest.mark.parametrize(("labels", "most"), [(2, 1e-3), (3, 1e-3), (50, 0.02)])
@pytest.mark.parametrize("model_type", ["bert", "electra"])
def test_two_labels_and_more_labels_than_dimensions(model_type: str, labels: int, most: float, tiny: Any) -> None:
    """Where every direction tells labels apart, something is missed."""
    config, weights = as_family(model_type, *tiny)
    head, vectors = make_head(labels), pooled(config, weights, "mean")
    made = plain.to_classifier(config, weights, "mean", head, vectors)
    found = np.stack([plain.probabilities(made, ids) for ids in TOKENS])
    assert found.shape == (len(TOKENS), labels)
    assert np.abs(found - wanted(head, vectors)).max() < most


def test_a_large_constant_is_turned_out_of_the_way_and_the_length_put_right(tiny: Any) -> None:
    """A shift along the constant direction comes in with 1 / length: dropped as it is, it would cost 0.1."""
    config, weights = tiny
    name = "encoder.layer.1.output.LayerNorm"
    direction = plain.constant_direction(weights[f"{name}.weight"].astype(np.float64)).astype(np.float32)
    shifted = weights | {f"{name}.bias": weights[f"{name}.bias"] + 2 * direction}
    vectors = pooled(config, shifted, "mean")
    head = make_head(around=vectors)
    assert np.abs(vectors @ direction).min() > 1
    made = plain.to_classifier(config, shifted, "mean", head, vectors)
    found = np.stack([plain.probabilities(made, ids) for ids in TOKENS])
    assert np.abs(found - wanted(head, vectors)).max() < 3e-3


# What it rests on


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_an_activation_and_its_mirror_image_are_the_identity(name: str) -> None:
    x = np.linspace(-9, 9, 301, dtype=np.float32)
    assert np.allclose(ACTIVATIONS[name](x) - ACTIVATIONS[name](-x), x, atol=1e-5)


@pytest.mark.parametrize("scale", [[1.0, 2.0, -0.5, 4.0], [1.0, 0.0, 2.0, 0.0], [1.0, 1e-9, 2.0, 3.0]])
def test_the_dropped_direction_is_constant_after_the_last_norm(scale: list[float]) -> None:
    rng = np.random.default_rng(0)
    normed = rng.normal(size=(50, 4))
    normed -= normed.mean(axis=1, keepdims=True)
    direction = plain.constant_direction(np.array(scale))
    along = (normed * scale + [0.1, 0.2, 0.3, 0.4]) @ direction
    assert np.isclose(np.linalg.norm(direction), 1)
    assert np.ptp(along) < 1e-7


def test_the_new_layer_gives_the_normed_mean_to_every_token(tiny: Any) -> None:
    config, weights = tiny
    shape, head = Shape.of(config), make_head()
    hidden = hidden_states(TOKENS[1], shape, weights)
    made = plain.to_classifier(config, weights, "mean", head, pooled(config, weights, "mean"))
    state = run_layer(hidden, shape.layers, shape, plain.encoder_weights(made.weights))
    assert np.allclose(state, state[0], atol=1e-4)
    assert np.isclose(np.linalg.norm(state[0]), SIZE**0.5, rtol=1e-4)
    assert abs(state[0].sum()) < 1e-3


# What is written


def test_the_configuration_has_one_layer_more_and_the_labels(tiny: Any) -> None:
    config, weights = tiny
    given = config | {"_name_or_path": "/home/me/x", "torch_dtype": "float16", "num_labels": 9}
    made = plain.to_classifier(given, weights, "mean", make_head(2), pooled(config, weights, "mean"))
    assert made.config["num_hidden_layers"] == config["num_hidden_layers"] + 1
    assert made.config["id2label"] == {"0": "label 0", "1": "label 1"}
    assert made.config["label2id"] == {"label 0": 0, "label 1": 1}
    assert made.config["problem_type"] == "single_label_classification"
    assert made.config["architectures"] == ["BertForSequenceClassification"]
    assert not {"_name_or_path", "torch_dtype", "num_labels"} & made.config.keys()
    assert {value.dtype for value in made.weights.values()} == {np.dtype(np.float32)}


def test_prefixes_poolers_and_buffers_do_not_stay(tiny: Any) -> None:
    weights = {f"bert.{name}": value for name, value in tiny[1].items()}
    extra = {
        "bert.embeddings.position_ids": np.arange(4),
        "bert.pooler.dense.weight": np.eye(2),
        "cls.bias": np.ones(3),
    }
    assert plain.encoder_weights(weights | extra).keys() == tiny[1].keys()


@pytest.mark.parametrize(
    ("change", "pooling", "why"),
    [
        ({"model_type": "modernbert"}, "mean", "type modernbert"),
        ({"hidden_act": "mish"}, "mean", "activation mish"),
        ({"intermediate_size": 63}, "cls", "too narrow"),
    ],
)
def test_an_obstacle_is_told(change: dict[str, Any], pooling: str, why: str, tiny: Any) -> None:
    assert why in (plain.obstacle(tiny[0] | change, pooling) or "")


def test_narrow_layers_are_no_obstacle_for_the_mean(tiny: Any) -> None:
    assert plain.obstacle(tiny[0] | {"intermediate_size": 8}, "mean") is None

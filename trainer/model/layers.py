"""A BERT-like encoder in NumPy: token ids to hidden states, in float32, for a process that has no torch.

It is slow and meant for a few dozen texts: to see what an export must reproduce, and to check it. What is served goes
through `encoder.py`. It knows the families whose layers are BERT's under other names; it does not know pooling, labels
or files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf, expit

Floats = NDArray[np.float32]
Weights = Mapping[str, NDArray[np.float32]]


def _gelu(x: Floats) -> Floats:
    return x * np.float32(0.5) * (1 + erf(x * np.float32(0.5**0.5))).astype(np.float32)


def _gelu_tanh(x: Floats) -> Floats:
    return x * expit(np.float32(2 * (2 / np.pi) ** 0.5) * (x + np.float32(0.044715) * x**3))


ACTIVATIONS: dict[str, Callable[[Floats], Floats]] = {
    "gelu": _gelu,
    "gelu_new": _gelu_tanh,
    "gelu_pytorch_tanh": _gelu_tanh,
    "relu": lambda x: np.maximum(x, np.float32(0)),
    "silu": lambda x: x * expit(x),
    "swish": lambda x: x * expit(x),
}
"""By their names in config.json. For each of them f(x) - f(-x) = x, which `plain.py` relies on."""


@dataclass(frozen=True)
class LayerNames:
    """What one family calls the parts of layer `{}`; each has a `.weight` and a `.bias`."""

    query: str
    key: str
    value: str
    mixed: str
    first_norm: str
    wide: str
    narrow: str
    second_norm: str

    def all(self, index: int) -> list[str]:
        return [name.format(index) for name in vars(self).values()]


BERT_LAYER = LayerNames(
    query="encoder.layer.{}.attention.self.query",
    key="encoder.layer.{}.attention.self.key",
    value="encoder.layer.{}.attention.self.value",
    mixed="encoder.layer.{}.attention.output.dense",
    first_norm="encoder.layer.{}.attention.output.LayerNorm",
    wide="encoder.layer.{}.intermediate.dense",
    narrow="encoder.layer.{}.output.dense",
    second_norm="encoder.layer.{}.output.LayerNorm",
)
DISTILBERT_LAYER = LayerNames(
    query="transformer.layer.{}.attention.q_lin",
    key="transformer.layer.{}.attention.k_lin",
    value="transformer.layer.{}.attention.v_lin",
    mixed="transformer.layer.{}.attention.out_lin",
    first_norm="transformer.layer.{}.sa_layer_norm",
    wide="transformer.layer.{}.ffn.lin1",
    narrow="transformer.layer.{}.ffn.lin2",
    second_norm="transformer.layer.{}.output_layer_norm",
)


@dataclass(frozen=True)
class Shape:
    """The numbers of a config.json that its layers need, by one name for all families."""

    layers: int
    heads: int
    dimensions: int
    wide: int
    activation: str
    epsilon: float
    """Of every LayerNorm."""
    first_position: int
    """RoBERTa-like models count positions from pad_token_id + 1."""
    names: LayerNames

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Shape:
        """Raises KeyError where `config` lacks a number, ValueError where it holds none."""
        if config["model_type"] == "distilbert":
            numbers = ("n_layers", "n_heads", "dim", "hidden_dim")
            activation, epsilon, names = str(config.get("activation", "gelu")), 1e-12, DISTILBERT_LAYER
        else:
            numbers = ("num_hidden_layers", "num_attention_heads", "hidden_size", "intermediate_size")
            activation, epsilon, names = str(config["hidden_act"]), float(config["layer_norm_eps"]), BERT_LAYER
        layers, heads, dimensions, wide = (int(config[number]) for number in numbers)
        counts_from_padding = config["model_type"] in ("roberta", "xlm-roberta", "camembert")
        first = int(config["pad_token_id"]) + 1 if counts_from_padding else 0
        return cls(layers, heads, dimensions, wide, activation, epsilon, first, names)


def hidden_states(ids: Sequence[int], shape: Shape, weights: Weights) -> Floats:
    """The last hidden states [tokens, d] of one text's token ids, special ones included.

    Raises:
        KeyError: a tensor is missing. ValueError, IndexError: tensors do not fit each other or `ids`.
    """
    hidden = _embed(np.asarray(ids, np.int64), shape, weights)
    for index in range(shape.layers):
        hidden = run_layer(hidden, index, shape, weights)
    return hidden


def run_layer(hidden: Floats, index: int, shape: Shape, weights: Weights) -> Floats:
    """One layer of a text without padding: [tokens, d] to [tokens, d]."""
    query, key, value, mixed, first_norm, wide, narrow, second_norm = shape.names.all(index)
    parts = [_linear(hidden, weights, part) for part in (query, key, value)]
    attended = _attend(parts[0], parts[1], parts[2], shape.heads)
    hidden = _norm(hidden + _linear(attended, weights, mixed), weights, first_norm, shape.epsilon)
    active = ACTIVATIONS[shape.activation](_linear(hidden, weights, wide))
    return _norm(hidden + _linear(active, weights, narrow), weights, second_norm, shape.epsilon)


def _embed(ids: NDArray[np.int64], shape: Shape, weights: Weights) -> Floats:
    positions = np.arange(len(ids)) + shape.first_position
    total = weights["embeddings.word_embeddings.weight"][ids]
    total = total + weights["embeddings.position_embeddings.weight"][positions]
    if (types := weights.get("embeddings.token_type_embeddings.weight")) is not None:
        total = total + types[0]
    normed = _norm(total, weights, "embeddings.LayerNorm", shape.epsilon)
    # ELECTRA's embeddings may be narrower than its layers.
    return _linear(normed, weights, "embeddings_project") if "embeddings_project.weight" in weights else normed


def _attend(query: Floats, key: Floats, value: Floats, heads: int) -> Floats:
    tokens, dimensions = query.shape
    split = (tokens, heads, dimensions // heads)
    scores = np.einsum("ihd,jhd->hij", query.reshape(split), key.reshape(split)) / np.float32(split[2] ** 0.5)
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    return np.einsum("hij,jhd->ihd", shares, value.reshape(split)).reshape(tokens, dimensions)


def _linear(x: Floats, weights: Weights, name: str) -> Floats:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def _norm(x: Floats, weights: Weights, name: str, epsilon: float) -> Floats:
    centred = x - x.mean(axis=-1, keepdims=True)
    scaled = centred / np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + np.float32(epsilon))
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

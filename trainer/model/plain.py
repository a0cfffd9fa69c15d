"""An encoder and a head as one stock classifier of the transformers library: `...ForSequenceClassification`.

The stock classifiers look at the first token's last hidden state, ours at the unit vector of the pooled states. What
lies between is written as one more layer of the encoder's own kind, with hand-made weights:

- mean pooling: the layer's attention has zero queries and keys, so it averages over the tokens that are there, and its
  output is so loud (`LOUD`) that the state it is added to does not matter;
- first-token pooling: the attention is silent, and the feed-forward part carries a linear map, since f(x) - f(-x) = x
  for GELU, ReLU and SiLU. The norm before it must then change nothing, so scale and shift of the last norm move here;
- L2 norm: the LayerNorm that follows divides by the standard deviation, which is the length of what is left after the
  mean was taken off. A reflection turns one direction u into the one that is taken off, so the unit vector loses its
  part along u, the less the better (`_least_missed`);
- the dense layer of the stock head is run where its activation is linear, and the reflection, the temperature and
  the average of what u takes away are folded into the last matrix.

Everything is NumPy. It does not know files, texts or versions; the caller measures how near the result comes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.model.head import Head
from trainer.model.layers import ACTIVATIONS, Floats, Shape, Weights, hidden_states
from trainer.model.logistic import log_softmax

Doubles = NDArray[np.float64]

LOUD = 2.0**20
"""How much louder the pooled vector is than the state it is added to. MiniLM's states have lengths of 2 to 8, so at
most 4 parts in a million of it remain; float32 is as exact at any scale."""

CLEAR = 16.0
"""How much louder the first token's state is made, so that LayerNorm's epsilon (1e-5 at most) does not count."""

QUIET = 2.0**-12
"""Scale at which tanh is linear: a state's numbers are below 28 (d = 768), so tanh(x) and x differ by 2e-5 of x at
most, and for usual numbers (1) by 2e-8."""

LIFT = 16.0
"""Where GELU and ReLU are linear: numbers are scaled to at most 8 and lifted by 16; GELU(8) is 8 in float32."""


@dataclass(frozen=True)
class Family:
    """How the transformers library calls the classifier of a model type and the parts of its head."""

    architecture: str
    prefix: str
    dense: str
    out: str
    activation: str


FAMILIES = {
    "bert": Family("BertForSequenceClassification", "bert.", "bert.pooler.dense", "classifier", "tanh"),
    "roberta": Family(
        "RobertaForSequenceClassification", "roberta.", "classifier.dense", "classifier.out_proj", "tanh"
    ),
    "xlm-roberta": Family(
        "XLMRobertaForSequenceClassification", "roberta.", "classifier.dense", "classifier.out_proj", "tanh"
    ),
    "camembert": Family(
        "CamembertForSequenceClassification", "roberta.", "classifier.dense", "classifier.out_proj", "tanh"
    ),
    "electra": Family(
        "ElectraForSequenceClassification", "electra.", "classifier.dense", "classifier.out_proj", "gelu"
    ),
    "distilbert": Family("DistilBertForSequenceClassification", "distilbert.", "pre_classifier", "classifier", "relu"),
}

_ENCODER_PARTS = ("embeddings.", "embeddings_project.", "encoder.", "transformer.")
_BUFFERS = ("position_ids", "token_type_ids")


@dataclass(frozen=True)
class Plain:
    """What transformers loads: config.json and the tensors of model.safetensors, float32."""

    config: dict[str, Any]
    weights: dict[str, Floats]


def obstacle(config: Mapping[str, Any], pooling: str) -> str | None:
    """Why this encoder cannot become a stock classifier, as the end of a sentence; None: it can."""
    model_type = str(config.get("model_type"))
    if model_type not in FAMILIES:
        return f"models of the type {model_type} have no stock classifier that can average and normalise like it"
    shape = Shape.of(config)
    if shape.activation not in ACTIVATIONS:
        return f"its activation {shape.activation} is not one of {', '.join(sorted(ACTIVATIONS))}"
    if pooling == "cls" and shape.wide < 2 * shape.dimensions:
        return f"its layers are too narrow ({shape.wide} for {shape.dimensions} dimensions) to carry its first token"
    return None


def encoder_weights(tensors: Weights) -> dict[str, Floats]:
    """The encoder's own tensors as float32, without a classifier's prefix, poolers and buffers."""
    prefixes = {family.prefix for family in FAMILIES.values()}
    found: dict[str, Floats] = {}
    for name, tensor in tensors.items():
        start = next((prefix for prefix in prefixes if name.startswith(prefix)), "")
        bare = name.removeprefix(start)
        if bare.startswith(_ENCODER_PARTS) and not bare.endswith(_BUFFERS):
            found[bare] = np.asarray(tensor, np.float32)
    return found


def pool(hidden: Floats, pooling: str) -> Floats:
    """[tokens, d] of one text to its pooled vector [d], before it is normed."""
    pooled: Floats = hidden[0] if pooling == "cls" else hidden.mean(axis=0)
    return pooled


def to_classifier(config: Mapping[str, Any], encoder: Weights, pooling: str, head: Head, pooled: Floats) -> Plain:
    """The stock classifier that answers like `head` over the encoder. Call only where `obstacle` says None.

    `encoder` as `encoder_weights` gives it, `pooled` [n, d] the pooled vectors of some texts: they decide which
    direction is lost, and its average over them is put back.

    Raises:
        KeyError: a tensor is missing. ValueError: tensors do not fit each other.
    """
    family, shape = FAMILIES[config["model_type"]], Shape.of(config)
    last = shape.names.second_norm.format(shape.layers - 1)
    scale, shift = (encoder[f"{last}.{part}"].astype(np.float64) for part in ("weight", "bias"))
    dropped = _least_missed(scale, head, samples := pooled.astype(np.float64))
    reflection = _reflection(dropped)
    weights: dict[str, NDArray[Any]] = dict(encoder)
    if pooling == "cls":
        weights |= {f"{last}.weight": np.ones_like(scale), f"{last}.bias": np.zeros_like(shift)}
        weights |= _first_token_layer(shape, reflection * scale, reflection @ shift)
    else:
        weights |= _averaging_layer(shape, reflection)
    weights = {family.prefix + name: value for name, value in weights.items()}
    rows, bias = _without(head, dropped, samples)
    weights |= _stock_head(family, rows @ reflection / shape.dimensions**0.5, bias)
    tensors = {name: np.ascontiguousarray(value, np.float32) for name, value in weights.items()}
    return Plain(_config(config, family, shape, head.labels), tensors)


def probabilities(plain: Plain, ids: Sequence[int]) -> Floats:
    """[K] as transformers computes them for the token ids of one text, but in NumPy: to check what was written."""
    family = FAMILIES[plain.config["model_type"]]
    first = hidden_states(ids, Shape.of(plain.config), encoder_weights(plain.weights))[0]
    state = first @ plain.weights[f"{family.dense}.weight"].T + plain.weights[f"{family.dense}.bias"]
    state = np.tanh(state) if family.activation == "tanh" else ACTIVATIONS[family.activation](state)
    logits = state @ plain.weights[f"{family.out}.weight"].T + plain.weights[f"{family.out}.bias"]
    found: Floats = np.exp(log_softmax(logits[None]))[0]
    return found


def constant_direction(scale: Doubles) -> Doubles:
    """The unit vector u [d] for which u · (scale * z + shift) is the same for every z whose numbers sum to 0."""
    least = np.abs(scale).min()
    direction = np.where(np.abs(scale) == least, 1.0, 0.0) if least == 0 else least / scale
    if least == 0 and direction.sum() > 1:  # several are constant; one is enough
        direction = np.eye(len(scale))[int(direction.argmax())]
    unit: Doubles = direction / np.linalg.norm(direction)
    return unit


def _least_missed(scale: Doubles, head: Head, pooled: Doubles) -> Doubles:
    """The direction whose loss changes the answers to `pooled` least.

    The last norm leaves one direction constant. It is free where the constant is 0 (MiniLM has a dead dimension). Else
    it comes in with 1 / length, which varies; turned until no label differs along it and the average text has nothing
    there, it matters in the second order only: 0.0005 instead of 0.007 in a probability for MiniLM's states under
    a made-up norm with shifts of 0.1. That needs fewer labels than dimensions.
    """
    constant = constant_direction(scale)
    units = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
    rows = head.weight.astype(np.float64)
    between = rows - rows.mean(axis=0)
    _, sizes, basis = np.linalg.svd(np.concatenate([between / max(np.abs(between).max(), 1e-12), units.mean(0)[None]]))
    free = basis[int((sizes > 1e-6 * sizes[0]).sum()) :]
    turned = free.T @ (free @ constant)
    length = float(np.linalg.norm(turned))
    candidates = [constant, turned / length] if length > 0.5 else [constant]
    return min(candidates, key=lambda dropped: _missed(dropped, head, pooled))


def _missed(dropped: Doubles, head: Head, pooled: Doubles) -> float:
    """Largest difference in a probability over the texts behind `pooled`."""
    rest = pooled - np.outer(pooled @ dropped, dropped)
    weight, bias = _without(head, dropped, pooled)
    found = _softmax(rest / np.linalg.norm(rest, axis=1, keepdims=True) @ weight.T + bias)
    exact = pooled / np.linalg.norm(pooled, axis=1, keepdims=True) @ head.weight.T.astype(np.float64) + head.bias
    return float(np.abs(found - _softmax(exact / head.temperature)).max())


def _softmax(logits: Doubles) -> Doubles:
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    total: Doubles = shares / shares.sum(axis=1, keepdims=True)
    return total


def _reflection(dropped: Doubles) -> Doubles:
    """The symmetric orthogonal [d, d] that exchanges `dropped` and the direction of all ones (Householder)."""
    size = len(dropped)
    between = dropped - size**-0.5
    length = float(between @ between)
    return np.eye(size) - (2 / length) * np.outer(between, between) if length > 1e-24 else np.eye(size)


def _averaging_layer(shape: Shape, matrix: Doubles) -> dict[str, Doubles]:
    """States in, matrix @ their mean out, centred and at length sqrt(d)."""
    layer = _silent_layer(shape)
    _query, _key, value, mixed, *_ = shape.names.all(shape.layers)
    layer[f"{value}.weight"] = np.eye(shape.dimensions)
    layer[f"{mixed}.weight"] = LOUD * matrix
    return layer


def _first_token_layer(shape: Shape, matrix: Doubles, bias: Doubles) -> dict[str, Doubles]:
    """Normed states in, matrix @ state + bias out for every token, centred and at length sqrt(d)."""
    layer = _silent_layer(shape)
    *_, wide, narrow, _norm = shape.names.all(shape.layers)
    size = shape.dimensions
    # The state itself is added afterwards, so it is taken off here.
    carried = CLEAR * matrix - np.eye(size)
    layer[f"{wide}.weight"][: 2 * size] = np.concatenate([carried, -carried])
    layer[f"{wide}.bias"][: 2 * size] = np.concatenate([CLEAR * bias, -CLEAR * bias])
    layer[f"{narrow}.weight"][:, : 2 * size] = np.concatenate([np.eye(size), -np.eye(size)], axis=1)
    return layer


def _silent_layer(shape: Shape) -> dict[str, Doubles]:
    """One more layer that adds nothing: norms as they begin, everything else zero."""
    size = shape.dimensions
    layer: dict[str, Doubles] = {}
    query, key, value, mixed, first_norm, wide, narrow, second_norm = shape.names.all(shape.layers)
    for name in (query, key, value, mixed):
        layer |= {f"{name}.weight": np.zeros((size, size)), f"{name}.bias": np.zeros(size)}
    for name in (first_norm, second_norm):
        layer |= {f"{name}.weight": np.ones(size), f"{name}.bias": np.zeros(size)}
    layer |= {f"{wide}.weight": np.zeros((shape.wide, size)), f"{wide}.bias": np.zeros(shape.wide)}
    layer |= {f"{narrow}.weight": np.zeros((size, shape.wide)), f"{narrow}.bias": np.zeros(size)}
    return layer


def _without(head: Head, dropped: Doubles, pooled: Doubles) -> tuple[Doubles, Doubles]:
    """The head, temperature included, over the unit vectors of what is left when `dropped` is: weight and bias."""
    rows, bias = head.weight.astype(np.float64), head.bias.astype(np.float64)
    lost = (pooled @ dropped) / np.linalg.norm(pooled, axis=1)
    # What is left has length sqrt(1 - lost²) in the true unit vector and 1 here.
    left = float(np.sqrt(np.maximum(1 - lost**2, 0)).mean())
    weight = left * (rows - np.outer(rows @ dropped, dropped))
    return weight / head.temperature, (bias + rows @ dropped * lost.mean()) / head.temperature


def _stock_head(family: Family, weight: Doubles, bias: Doubles) -> dict[str, Doubles]:
    """`weight` and `bias` behind a dense layer and an activation that change nothing.

    The lift itself cancels: rows without u, reflected, sum to 0.
    """
    size = weight.shape[1]
    if family.activation == "tanh":
        scale, lift = QUIET, 0.0
    else:
        scale, lift = LIFT / 2 / size**0.5, LIFT
    return {
        f"{family.dense}.weight": scale * np.eye(size),
        f"{family.dense}.bias": np.full(size, lift),
        f"{family.out}.weight": weight / scale,
        f"{family.out}.bias": bias,
    }


def _config(config: Mapping[str, Any], family: Family, shape: Shape, labels: Sequence[str]) -> dict[str, Any]:
    """config.json: the encoder's, with one more layer and the labels."""
    ours = {
        "architectures": [family.architecture],
        "n_layers" if config["model_type"] == "distilbert" else "num_hidden_layers": shape.layers + 1,
        "id2label": {str(index): label for index, label in enumerate(labels)},
        "label2id": {label: index for index, label in enumerate(labels)},
        "problem_type": "single_label_classification",
        "dtype": "float32",
    }
    dropped = ("_name_or_path", "torch_dtype", "transformers_version", "num_labels")
    return {name: value for name, value in config.items() if name not in dropped} | ours

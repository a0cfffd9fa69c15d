"""A BERT-family encoder as an ONNX graph, written straight from its weights: no torch, no tracing, about a second.

The graph maps `input_ids` int64 [1, tokens] to `unit_vector` float32 [1, d]. There is no attention mask: one text per
call has no padding. In int8 every matrix is quantized per output channel, the words' table per word and activations per
call; positions, norms and attention stay float32. Fused operators are those of onnxruntime's `com.microsoft` domain.
Numbers without another source are measured in bot/inference/LOG.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Floats = NDArray[np.float32]
Weights = Mapping[str, Floats]
MICROSOFT = "com.microsoft"
OPSET = 20
IR_VERSION = 9
"""Old enough for every onnxruntime since 1.17."""
USUAL, EVENED = 0.9, 0.75
"""Quantile of the channels' peaks that counts as usual, and how much of what a channel has beyond it is taken out. The
first token of every text has a channel or two that are ten times as large as all others, so that one scale per call
leaves the others few steps. Agreement of labels with float32 on fine-tuned models: 98.1 and 98.3 % before, 99.0 and
99.3 % after; 0.5 to 0.95 and 0.65 to 0.85 do as well."""
WORTH = 1.5
"""Channels are evened out where one is more than this times the usual."""


@dataclass
class Known:
    """The table that was written last and its int8 form: the words' is the same in all networks with a frozen one."""

    table: Floats | None = None
    steps: tuple[NDArray[np.int8], Floats] | None = None

    def int8(self, table: Floats) -> tuple[NDArray[np.int8], Floats]:
        if self.steps is None or self.table is None or not np.array_equal(self.table, table):
            self.table, self.steps = table.copy(), _int8(table)
        return self.steps


def write_graph(
    config: Mapping[str, Any], weights: Weights, pooling: str, peaks: Weights | None, known: Known | None = None
) -> bytes:
    """The serialized model. `config` is config.json, `weights` the tensors under their names in model.safetensors.

    `peaks` are the largest absolute inputs of every matrix by channel, for int8; None writes float32. `known` is what
    an earlier call remembered.

    Raises:
        KeyError: a weight that the configuration promises is not there.
    """
    writer = _Writer(peaks, known or Known())
    hidden = _embed(writer, config, weights)
    for index in range(config["num_hidden_layers"]):
        hidden = _layer(writer, config, weights, index, hidden)
    _pool(writer, hidden, pooling)
    graph = helper.make_graph(
        writer.nodes,
        "encoder",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, [1, "tokens"])],
        [helper.make_tensor_value_info("unit_vector", TensorProto.FLOAT, [1, config["hidden_size"]])],
        writer.constants,
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
    model = helper.make_model(graph, opset_imports=opsets, producer_name="pupil")
    model.ir_version = IR_VERSION
    serialized: bytes = model.SerializeToString()
    return serialized


class _Writer:
    """Collects nodes and constants; every method returns the name of the value it made."""

    def __init__(self, peaks: Weights | None, known: Known) -> None:
        self.peaks = peaks
        self.known = known
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: NDArray[Any]) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def node(self, operator: str, inputs: list[str], output: str, domain: str = "", **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], domain=domain, **attributes))
        return output

    def linear(self, value: str, weights: Weights, names: Sequence[str], out: str) -> str:
        """value @ matrix.T + bias, for the matrices [outputs, inputs] of some layers of one input, side by side."""
        matrix, bias = (np.concatenate([weights[f"{name}.{kind}"] for name in names]) for kind in ("weight", "bias"))
        bias_name = self.constant(f"{out}.bias", bias)
        if self.peaks is None:
            product = self.node("MatMul", [value, self.constant(f"{out}.weight", matrix.T)], f"{out}.product")
            return self.node("Add", [product, bias_name], out)
        share = _evened(self.peaks[names[0]])
        if share.min() < 1 / WORTH:
            value = self.node("Mul", [value, self.constant(f"{out}.share", share)], f"{out}.evened")
            matrix = matrix / share
        steps, scale = _int8(matrix)
        weight, scale_name = self.constant(f"{out}.weight", steps.T), self.constant(f"{out}.scale", scale)
        return self.node("DynamicQuantizeMatMul", [value, weight, scale_name, "", bias_name], out, MICROSOFT)

    def rows(self, table: Floats, indices: str, out: str) -> str:
        """Rows of a table [n, d]; in int8 each row has its own scale. The table is most of a small encoder's file."""
        if self.peaks is None:
            return self.node("Gather", [self.constant(f"{out}.table", table), indices], out)
        steps, scale = self.known.int8(table)
        found = self.node("Gather", [self.constant(f"{out}.table", steps), indices], f"{out}.steps")
        scales = self.node("Gather", [self.constant(f"{out}.scale", scale[:, None]), indices], f"{out}.scales")
        wide = self.node("Cast", [found], f"{out}.wide", to=TensorProto.FLOAT)
        return self.node("Mul", [wide, scales], out)

    def add_and_norm(self, value: str, skip: str, weights: Weights, name: str, epsilon: float) -> str:
        """LayerNorm(value + skip). Not SkipLayerNormalization, which takes five times as long on a CPU (LOG.md)."""
        total = self.node("Add", [value, skip], f"{name}.sum")
        return self.norm(total, weights, name, epsilon)

    def norm(self, value: str, weights: Weights, name: str, epsilon: float) -> str:
        gamma = self.constant(f"{name}.gamma", weights[f"{name}.weight"])
        beta = self.constant(f"{name}.beta", weights[f"{name}.bias"])
        return self.node("LayerNormalization", [value, gamma, beta], f"{name}.out", epsilon=epsilon)


def _int8(matrix: Floats) -> tuple[NDArray[np.int8], Floats]:
    """Steps [n, m] and the scale of each row [n]: symmetric, 127 steps to each side."""
    scale = np.abs(matrix).max(axis=1) / 127
    scale[scale == 0] = 1
    return np.clip(np.rint(matrix / scale[:, None]), -127, 127).astype(np.int8), scale.astype(np.float32)


def _evened(peaks: Floats) -> Floats:
    """What to multiply each channel of an input with; its weights are divided by it (SmoothQuant, Xiao et al. 2023)."""
    usual = max(float(np.quantile(peaks, USUAL)), 1e-6)
    return (np.maximum(1.0, peaks / usual) ** -EVENED).astype(np.float32)


def _embed(writer: _Writer, config: Mapping[str, Any], weights: Weights) -> str:
    """Words + positions + the one token type, normed. RoBERTa counts positions from pad_token_id + 1."""
    first = 0 if config["model_type"] == "bert" else config["pad_token_id"] + 1
    positions = weights["embeddings.position_embeddings.weight"][first:]
    positions = positions + weights["embeddings.token_type_embeddings.weight"][0]
    found = writer.rows(weights["embeddings.word_embeddings.weight"], "input_ids", "words")
    length = writer.node("Shape", ["input_ids"], "length", start=1, end=2)
    start = writer.constant("start", np.zeros(1, np.int64))
    places = writer.node("Slice", [writer.constant("positions", positions), start, length], "positions.found")
    total = writer.node("Add", [found, places], "embeddings.sum")
    return writer.norm(total, weights, "embeddings.LayerNorm", config["layer_norm_eps"])


def _layer(writer: _Writer, config: Mapping[str, Any], weights: Weights, index: int, hidden: str) -> str:
    name, epsilon = f"encoder.layer.{index}", config["layer_norm_eps"]
    # One product for query, key and value: activations are quantized once.
    parts = [f"{name}.attention.self.{part}" for part in ("query", "key", "value")]
    joined = writer.linear(hidden, weights, parts, f"{name}.qkv")
    query, key, value = (f"{name}.{part}" for part in ("query", "key", "value"))
    writer.nodes.append(helper.make_node("Split", [joined], [query, key, value], axis=-1, num_outputs=3))
    heads = config["num_attention_heads"]
    seen = writer.node("MultiHeadAttention", [query, key, value], f"{name}.seen", MICROSOFT, num_heads=heads)

    def dense(inputs: str, part: str) -> str:
        block = f"{name}.{part}.dense"
        return writer.linear(inputs, weights, [block], block)

    mixed = dense(seen, "attention.output")
    attended = writer.add_and_norm(mixed, hidden, weights, f"{name}.attention.output.LayerNorm", epsilon)
    active = writer.node("Gelu", [dense(attended, "intermediate")], f"{name}.active", MICROSOFT)
    return writer.add_and_norm(dense(active, "output"), attended, weights, f"{name}.output.LayerNorm", epsilon)


def _pool(writer: _Writer, hidden: str, pooling: str) -> None:
    """[1, tokens, d] to the L2-normalised mean, or first token, [1, d]."""
    axis = writer.constant("token.axis", np.array([1], np.int64))
    if pooling == "mean":
        pooled = writer.node("ReduceMean", [hidden, axis], "pooled", keepdims=0)
    else:
        pooled = writer.node("Gather", [hidden, writer.constant("first", np.array(0, np.int64))], "pooled", axis=1)
    writer.node("LpNormalization", [pooled], "unit_vector", axis=-1, p=2)

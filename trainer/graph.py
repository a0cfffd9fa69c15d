"""A BERT-family encoder as an ONNX graph, written straight from its weights: no torch, no tracing, about a second.

The graph maps `input_ids` int64 [1, tokens] to `unit_vector` float32 [1, d]. There is no attention mask: one text per
call has no padding. With `int8` every matrix is quantized per output channel (symmetric, 127 steps) and activations per
call; embeddings, norms and attention stay float32. Fused operators are those of onnxruntime's `com.microsoft` domain.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Weights = Mapping[str, NDArray[np.float32]]
MICROSOFT = "com.microsoft"
OPSET = 20
IR_VERSION = 9
"""Old enough for every onnxruntime since 1.17."""


def write_graph(config: Mapping[str, Any], weights: Weights, pooling: str, *, int8: bool) -> bytes:
    """The serialized model. `config` is config.json, `weights` the tensors under their names in model.safetensors.

    Raises:
        KeyError: a weight that the configuration promises is not there.
    """
    writer = _Writer(int8)
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

    def __init__(self, int8: bool) -> None:
        self.int8 = int8
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: NDArray[Any]) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def node(self, operator: str, inputs: list[str], output: str, domain: str = "", **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], domain=domain, **attributes))
        return output

    def multiply(self, value: str, matrix: NDArray[np.float32], name: str) -> str:
        """value @ matrix.T, without bias; `matrix` is [outputs, inputs] as torch keeps it."""
        if not self.int8:
            return self.node("MatMul", [value, self.constant(f"{name}.weight", matrix.T)], f"{name}.product")
        scale = np.abs(matrix).max(axis=1) / 127
        scale[scale == 0] = 1
        steps = np.clip(np.rint(matrix / scale[:, None]), -127, 127).astype(np.int8)
        inputs = [
            value,
            self.constant(f"{name}.weight", steps.T),
            self.constant(f"{name}.scale", scale.astype(np.float32)),
        ]
        return self.node("DynamicQuantizeMatMul", inputs, f"{name}.product", MICROSOFT)

    def add_and_norm(self, value: str, skip: str, weights: Weights, name: str, epsilon: float) -> str:
        """LayerNorm(value + bias + skip) for the block `name` ("….dense" has the bias, "….LayerNorm" the norm)."""
        inputs = [
            value,
            skip,
            self.constant(f"{name}.gamma", weights[f"{name}.LayerNorm.weight"]),
            self.constant(f"{name}.beta", weights[f"{name}.LayerNorm.bias"]),
            self.constant(f"{name}.bias", weights[f"{name}.dense.bias"]),
        ]
        return self.node("SkipLayerNormalization", inputs, f"{name}.out", MICROSOFT, epsilon=epsilon)


def _embed(writer: _Writer, config: Mapping[str, Any], weights: Weights) -> str:
    """Words + positions + the one token type, normed. RoBERTa counts positions from pad_token_id + 1."""
    first = 0 if config["model_type"] == "bert" else config["pad_token_id"] + 1
    positions = weights["embeddings.position_embeddings.weight"][first:]
    positions = positions + weights["embeddings.token_type_embeddings.weight"][0]
    words = writer.constant("words", weights["embeddings.word_embeddings.weight"])
    found = writer.node("Gather", [words, "input_ids"], "words.found")
    length = writer.node("Shape", ["input_ids"], "length", start=1, end=2)
    start = writer.constant("start", np.zeros(1, np.int64))
    places = writer.node("Slice", [writer.constant("positions", positions), start, length], "positions.found")
    total = writer.node("Add", [found, places], "embeddings.sum")
    gamma = writer.constant("embeddings.gamma", weights["embeddings.LayerNorm.weight"])
    beta = writer.constant("embeddings.beta", weights["embeddings.LayerNorm.bias"])
    return writer.node("LayerNormalization", [total, gamma, beta], "embeddings.out", epsilon=config["layer_norm_eps"])


def _layer(writer: _Writer, config: Mapping[str, Any], weights: Weights, index: int, hidden: str) -> str:
    name, epsilon = f"encoder.layer.{index}", config["layer_norm_eps"]
    # One product for query, key and value: activations are quantized once.
    parts = [f"{name}.attention.self.{part}" for part in ("query", "key", "value")]
    matrix = np.concatenate([weights[f"{part}.weight"] for part in parts])
    bias = writer.constant(f"{name}.qkv.bias", np.concatenate([weights[f"{part}.bias"] for part in parts]))
    product = writer.multiply(hidden, matrix, f"{name}.qkv")
    biased = writer.node("Add", [product, bias], f"{name}.qkv")
    query, key, value = (f"{name}.{part}" for part in ("query", "key", "value"))
    writer.nodes.append(helper.make_node("Split", [biased], [query, key, value], axis=-1, num_outputs=3))
    heads = config["num_attention_heads"]
    seen = writer.node("MultiHeadAttention", [query, key, value], f"{name}.seen", MICROSOFT, num_heads=heads)
    mixed = writer.multiply(seen, weights[f"{name}.attention.output.dense.weight"], f"{name}.mixed")
    attended = writer.add_and_norm(mixed, hidden, weights, f"{name}.attention.output", epsilon)
    wide = writer.multiply(attended, weights[f"{name}.intermediate.dense.weight"], f"{name}.wide")
    wide_bias = writer.constant(f"{name}.wide.bias", weights[f"{name}.intermediate.dense.bias"])
    active = writer.node("BiasGelu", [wide, wide_bias], f"{name}.active", MICROSOFT)
    narrow = writer.multiply(active, weights[f"{name}.output.dense.weight"], f"{name}.narrow")
    return writer.add_and_norm(narrow, attended, weights, f"{name}.output", epsilon)


def _pool(writer: _Writer, hidden: str, pooling: str) -> None:
    """[1, tokens, d] to the L2-normalised mean, or first token, [1, d]."""
    axis = writer.constant("token.axis", np.array([1], np.int64))
    if pooling == "mean":
        pooled = writer.node("ReduceMean", [hidden, axis], "pooled", keepdims=0)
    else:
        pooled = writer.node("Gather", [hidden, writer.constant("first", np.array(0, np.int64))], "pooled", axis=1)
    writer.node("LpNormalization", [pooled], "unit_vector", axis=-1, p=2)

"""Encoder directory to the files that are served: ONNX graph, description, canary.

An export counts only when it was loaded by the serving code and agrees with the float32 network. It knows nothing of
labels. Runs for seconds and holds the interpreter: the trainer does this, never the bot.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from storage.errors import ArtifactError
from trainer.bases import BERT_FAMILY, read_settings
from trainer.graph import Known, write_graph
from trainer.model.encoder import OUTPUT, Encoder
from trainer.network import Network

log = logging.getLogger(__name__)

CANARY_TEXTS = (
    "Hello",
    "The app crashes whenever I open the settings page.",
    "How do I get my money back for the second order?",
    "Could you add a dark mode? My eyes would thank you.",
    "ok",
    "Überweisung fehlgeschlagen: Fehler 402, bitte um Hilfe!",
    "¿Dónde está mi tarjeta? 😀 https://example.org/a?b=c",
    "It used to work, then I updated, restarted twice, cleared the cache, and now every single page that I open says "
    "the session has expired although I only just signed in with the password that you sent me this morning.",
)
"""Ours, never a user's: an artifact may travel."""

CLOSE_ENOUGH = {"fp32": 0.9999, "int8": 0.95}
"""Least cosine between an exported vector and the float32 network's, for any canary text."""


def export_encoder(
    source: Path,
    out: Path,
    *,
    precision: str = "int8",
    network: Network | None = None,
    known: Known | None = None,
    alike: Encoder | None = None,
) -> Encoder:
    """Write encoder.onnx, encoder.json, tokenizer.json and canary.json into `out` (may be `source`); return it loaded.

    `source` holds config.json, model.safetensors and tokenizer.json; `precision` is "int8" or "fp32". `network` is what
    to export where it is in memory already, on the CPU: of `source`'s kind, with its tokenizer; None loads it from
    there. `known` remembers tables for the next export of a network that shares them; `alike` is an encoder with the
    same tokenizer.

    Raises:
        ArtifactError: the export does not load, or its vectors are not those of the network.
        ConfigurationError: `source` is not a supported encoder.
    """
    network = network or Network(source)
    settings = network.settings
    out.mkdir(parents=True, exist_ok=True)
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    if settings.model_type in BERT_FAMILY and config.get("hidden_act") == "gelu":
        # From the network: files may hold other precisions, and names of older libraries.
        weights = {name: tensor.numpy() for name, tensor in network.body.state_dict().items()}
        peaks, reference = network.peaks(CANARY_TEXTS) if precision == "int8" else (None, network.embed(CANARY_TEXTS))
        (out / "encoder.onnx").write_bytes(write_graph(config, weights, settings.pooling, peaks, known))
    else:
        reference = network.embed(CANARY_TEXTS)
        _trace(network, out / "encoder.onnx", precision)
    description = settings.described() | {"precision": precision}
    (out / "encoder.json").write_text(json.dumps(description), encoding="utf-8")
    if source.resolve() != out.resolve():
        shutil.copyfile(source / "tokenizer.json", out / "tokenizer.json")
    encoder = Encoder.load(out, alike=alike)
    vectors = _compare(encoder, reference, precision, out)
    canary = {"texts": CANARY_TEXTS, "vectors": [[round(float(x), 7) for x in vector] for vector in vectors]}
    (out / "canary.json").write_text(json.dumps(canary, ensure_ascii=False), encoding="utf-8")
    log.info("encoder.exported", extra={"precision": precision, "bytes": encoder.bytes})
    return encoder


def is_export(directory: Path, source: Path, precision: str) -> bool:
    """Whether `directory` was exported from `source` as it is configured today. The weights are not looked at."""
    try:
        described = json.loads((directory / "encoder.json").read_text(encoding="utf-8"))
        same_tokens = (directory / "tokenizer.json").read_bytes() == (source / "tokenizer.json").read_bytes()
    except (OSError, ValueError):
        return False
    return same_tokens and described == read_settings(source).described() | {"precision": precision}


class _UnitVector(nn.Module):
    """What torch's exporter traces: one text, no padding."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: Tensor) -> Tensor:
        vectors: Tensor = self.network(input_ids, torch.ones_like(input_ids))
        return vectors


def _trace(network: Network, path: Path, precision: str) -> None:
    """Any other family: through torch's exporter (about ten seconds), then onnxruntime's dynamic quantization."""
    # Only here: most exports never need it.
    from onnxruntime.quantization import QuantType, quantize_dynamic

    example = torch.tensor([network.tokenize([CANARY_TEXTS[1]])[0]])
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.onnx"
        torch.onnx.export(
            _UnitVector(network).eval(),  # the exporter restores the wrapper's mode, for its network too
            (example,),
            str(plain),
            input_names=["input_ids"],
            output_names=[OUTPUT],
            dynamic_axes={"input_ids": {1: "tokens"}},
            opset_version=17,
            dynamo=False,
        )
        if precision == "int8":
            # Unsigned activations: with signed ones onnxruntime is 12-14 times slower on x86.
            quantize_dynamic(plain, path, per_channel=True, weight_type=QuantType.QInt8)
        else:
            shutil.copyfile(plain, path)


def _compare(encoder: Encoder, reference: NDArray[np.float32], precision: str, out: Path) -> NDArray[np.float32]:
    """The canary vectors as served, after they were found close to the network's."""
    served = encoder.encode_many(CANARY_TEXTS)
    cosines = (served * reference).sum(1)
    if not np.isfinite(cosines).all() or cosines.min() < CLOSE_ENOUGH[precision]:
        raise ArtifactError(
            f"The {precision} export in {out} differs from its network: cosine {cosines.min():.4f} on a canary text, "
            f"{CLOSE_ENOUGH[precision]} is the least that counts."
        )
    return served

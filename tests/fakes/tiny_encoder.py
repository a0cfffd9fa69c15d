"""A real BERT encoder, small enough to train in a second: random weights, a WordPiece vocabulary made from given texts.

Its vectors are close to a bag of random word vectors, so texts that share words are near each other and a classifier
on top can learn. Nothing is downloaded and neither torch nor transformers is imported.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
DEFAULT_TEXTS = (
    "the app crashes when I open it and then shows an error",
    "I want my money back please refund the order",
    "how do I change my password or reset the login",
    "please add a dark mode feature to the settings page",
    "thank you for the great support it works well",
    "bug question feature refund praise billing account other label text number",
)


def make_tiny_encoder(
    directory: Path,
    seed: int = 0,
    layers: int = 2,
    hidden: int = 32,
    texts: Iterable[str] = DEFAULT_TEXTS,
    heads: int = 2,
) -> Path:
    """Write config.json, model.safetensors and tokenizer.json of a random BERT into `directory` and return it.

    The vocabulary holds every word of `texts` and, as a fallback, every printable ASCII character, so that unseen
    words are spelled and not all the same [UNK].
    """
    directory.mkdir(parents=True, exist_ok=True)
    vocabulary = _vocabulary(texts)
    config = {
        "architectures": ["BertModel"],
        "attention_probs_dropout_prob": 0.1,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": hidden,
        "initializer_range": 0.02,
        "intermediate_size": 2 * hidden,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": 128,
        "model_type": "bert",
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "pad_token_id": 0,
        "type_vocab_size": 2,
        "vocab_size": len(vocabulary),
    }
    (directory / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    _tokenizer(vocabulary).save(str(directory / "tokenizer.json"))
    save_file(_weights(len(vocabulary), hidden, layers, seed), directory / "model.safetensors")
    return directory


def make_tiny_base(directory: Path, seed: int = 0, texts: Iterable[str] = DEFAULT_TEXTS, hidden: int = 32) -> Path:
    """The same encoder as it is served: also encoder.onnx (fp32), encoder.json and canary.json (imports torch)."""
    from trainer.export import export_encoder

    make_tiny_encoder(directory, seed=seed, texts=texts, hidden=hidden)
    export_encoder(directory, directory, precision="fp32")
    return directory


def _vocabulary(texts: Iterable[str]) -> dict[str, int]:
    words = sorted({word for text in texts for word in text.casefold().split() if word.isalnum()})
    characters = [chr(code) for code in range(33, 127)]
    tokens = dict.fromkeys((*SPECIAL, *words, *characters, *(f"##{c}" for c in characters)))
    return {token: index for index, token in enumerate(tokens)}


def _tokenizer(vocabulary: dict[str, int]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    return tokenizer


def _weights(vocabulary: int, hidden: int, layers: int, seed: int) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    weights: dict[str, NDArray[np.float32]] = {}

    def normal(name: str, *shape: int, scale: float) -> None:
        weights[name] = rng.normal(0.0, scale, shape).astype(np.float32)

    def linear(name: str, outputs: int, inputs: int) -> None:
        normal(f"{name}.weight", outputs, inputs, scale=0.3 / np.sqrt(inputs))
        weights[f"{name}.bias"] = np.zeros(outputs, np.float32)

    def layer_norm(name: str) -> None:
        weights[f"{name}.weight"] = np.ones(hidden, np.float32)
        weights[f"{name}.bias"] = np.zeros(hidden, np.float32)

    # Words are loud and positions are quiet, so that the vectors say which words a text holds.
    normal("embeddings.word_embeddings.weight", vocabulary, hidden, scale=1.0)
    normal("embeddings.position_embeddings.weight", 128, hidden, scale=0.02)
    normal("embeddings.token_type_embeddings.weight", 2, hidden, scale=0.02)
    layer_norm("embeddings.LayerNorm")
    for index in range(layers):
        layer = f"encoder.layer.{index}"
        for part in ("query", "key", "value"):
            linear(f"{layer}.attention.self.{part}", hidden, hidden)
        linear(f"{layer}.attention.output.dense", hidden, hidden)
        layer_norm(f"{layer}.attention.output.LayerNorm")
        linear(f"{layer}.intermediate.dense", 2 * hidden, hidden)
        linear(f"{layer}.output.dense", hidden, 2 * hidden)
        layer_norm(f"{layer}.output.LayerNorm")
    return weights

"""The whole job with every family of encoders, as small random networks: trained, exported, answering."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from tests.fakes.lessons import WORDS, make_snapshot, one_torch_thread
from tests.fakes.tiny_encoder import make_tiny_encoder
from trainer.bases import BERT_FAMILY, MODEL_TYPES, read_settings
from trainer.finetune import Recipe, _freeze
from trainer.learn import learn
from trainer.model.encoder import Encoder
from trainer.model.head import Head
from trainer.network import Network, pad
from trainer.protocol import JobSpec

RECIPE = {"body_rate": 1e-3, "frozen_layers": 1, "least_steps": 40, "most_steps": 40, "evidence": 1}
"""With evidence for one row there is one shadow."""
SPEC = JobSpec("j1", 1, "a" * 64, "tiny", recipe=RECIPE)
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 80,
    "pad_token_id": 0,
    "initializer_range": 0.05,
}
ITS_OWN: dict[str, dict[str, Any]] = {
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
    "electra": {"embedding_size": 16},
    "albert": {"embedding_size": 16},
    "roberta": {"pad_token_id": 1},
    "deberta-v2": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 16},
    "modernbert": {"global_attn_every_n_layers": 2, "local_attention": 16, "cls_token_id": 2, "sep_token_id": 3},
}
FAMILIES = [
    *((name, pooling) for name in sorted(BERT_FAMILY) for pooling in ("mean", "cls")),
    *(pytest.param(name, "mean", marks=pytest.mark.slow) for name in sorted(MODEL_TYPES - BERT_FAMILY)),
    pytest.param("distilbert", "cls", marks=pytest.mark.slow),
]
"""Those that go through torch's exporter take seconds; one of them shows the other pooling."""


@pytest.fixture(scope="module", autouse=True)
def _calm() -> None:
    one_torch_thread()


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = make_tiny_encoder(tmp_path_factory.mktemp("words") / "tiny", texts=WORDS.values())
    return directory / "tokenizer.json"


def make_family(directory: Path, model_type: str, vocabulary: Path, pooling: str = "mean") -> Path:
    """A random network of `model_type` as sentence-transformers lays it out."""
    words = len(json.loads(vocabulary.read_text())["model"]["vocab"])
    config = transformers.AutoConfig.for_model(
        model_type, **SMALL | {"vocab_size": words} | ITS_OWN.get(model_type, {})
    )
    transformers.set_seed(0)
    network = transformers.AutoModel.from_config(config)
    with torch.no_grad():
        network.get_input_embeddings().weight.mul_(20)  # words are loud, as in the tiny encoder
    network.save_pretrained(directory)
    (directory / "tokenizer.json").write_bytes(vocabulary.read_bytes())
    (directory / "1_Pooling").mkdir()
    mode = {"pooling_mode_cls_token": pooling == "cls", "pooling_mode_mean_tokens": pooling == "mean"}
    (directory / "1_Pooling" / "config.json").write_text(json.dumps(mode))
    return directory


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("model_type", "pooling"), FAMILIES)
def test_every_family_learns_and_is_served_as_trained(
    vocabulary: Path, tmp_path: Path, model_type: str, pooling: str
) -> None:
    base = make_family(tmp_path / "base", model_type, vocabulary, pooling)
    staging = tmp_path / "v1"
    learn(make_snapshot(), base, None, SPEC, staging, lambda report: None, "cpu")
    encoder, head = Encoder.load(staging), Head.load(staging)
    texts = [row.text for row in make_snapshot(seed=9).rows]
    served, reference = encoder.encode_many(texts), Network(staging).embed(texts)
    assert (served * reference).sum(1).min() > 0.9
    assert json.loads((staging / "encoder.json").read_text())["pooling"] == pooling
    assert read_settings(staging) == read_settings(base)
    truth = [row.label for row in make_snapshot(seed=9).rows]
    answers = [head.labels[best] for best in head.logits(served).argmax(1)]
    right = np.mean([a == b for a, b in zip(answers, truth, strict=True)])
    if pooling == "mean":  # the first token of a random network sees the others too faintly to learn in 40 steps
        assert right > 0.5, "one in three would be chance"


@pytest.mark.parametrize("model_type", sorted(MODEL_TYPES))
def test_lower_layers_are_frozen_where_they_can_be_run_alone(vocabulary: Path, tmp_path: Path, model_type: str) -> None:
    """Families without BERT's layers train everything, and so lose nothing but time."""
    network = Network(make_family(tmp_path / "base", model_type, vocabulary))
    frozen = _freeze(network, Recipe(frozen_layers=1), torch.device("cpu"))
    assert frozen == (1 if model_type in BERT_FAMILY else 0)
    still = [name for name, parameter in network.body.named_parameters() if not parameter.requires_grad]
    assert bool(still) == bool(frozen)


@pytest.mark.parametrize("model_type", sorted(BERT_FAMILY))
def test_layers_run_one_by_one_give_what_the_whole_network_gives(
    vocabulary: Path, tmp_path: Path, model_type: str
) -> None:
    """Else what is trained (the upper layers alone) would not be what is exported."""
    network = Network(make_family(tmp_path / "base", model_type, vocabulary))
    ids, mask = pad(network.tokenize(["the app crashes", "my money back please today"]), network.padding)
    with torch.no_grad():
        hidden = network.run_layers(network.body.embeddings(input_ids=ids), mask, network.layers)
        assert torch.allclose(network.pool(hidden, mask), network(ids, mask), atol=1e-5)

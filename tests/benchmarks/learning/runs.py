"""One method on one sample, in a process of its own with one thread: `python -m tests.benchmarks.learning.runs METHOD`.

Reads {"train", "test", "seed"} as JSON from standard input and prints the result as its last line. Accuracies are over
the test texts; seconds are processor seconds of one core, library start and test texts left out.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bot.services.promotion import decide
from storage.records import CandidateKind, EvaluationReport, PromotionPolicy, Source, Split
from storage.snapshots import SnapshotContent, SnapshotLabel, SnapshotRow
from tests.benchmarks.learning.samples import Pair
from trainer.bases import PACKAGED, resolve
from trainer.evaluate import calibration_error
from trainer.export import export_encoder
from trainer.learn import REPORT_FILE, learn
from trainer.model.encoder import Encoder
from trainer.model.head import Head, fit_head, label_text
from trainer.protocol import JobSpec, from_json

PLAIN_EPOCHS, PLAIN_RATE, PLAIN_BATCH, PLAIN_STEPS = 10, 5e-5, 16, 6000
"""Plain fine-tuning as tutorials do it: every layer, a fresh linear head over the mean of the tokens."""


def instant(train: list[Pair], test: list[Pair], seed: int, pool: list[str]) -> dict[str, Any]:
    """The head over the base encoder, as version 0 serves it; with unlabelled texts where `pool` has some."""
    labels, targets = _numbered(train)
    with tempfile.TemporaryDirectory() as folder:
        encoder = export_encoder(resolve(PACKAGED), Path(folder))
        began = time.process_time()
        names = encoder.encode_many([label_text(label) for label in labels])
        vectors = encoder.encode_many([text for text, _ in train])
        unlabelled = encoder.encode_many(pool) if pool else None
        head = fit_head(labels, names, vectors, targets, seed=seed, pool=unlabelled).head
        seconds = time.process_time() - began
        return {"seconds": seconds, "pool": len(pool), **_answers(encoder, head, test)}


def whole(train: list[Pair], test: list[Pair], seed: int, pool: list[str]) -> dict[str, Any]:
    """The trainer's whole job, then the gate's decision: the fine-tuned candidate, and what would serve afterwards."""
    labels, _ = _numbered(train)
    content = SnapshotContent(
        "1",
        "benchmark",
        tuple(SnapshotLabel(number + 1, label, "") for number, label in enumerate(labels)),
        tuple(
            SnapshotRow(number + 1, text, label, Split.TRAIN, Source.FILE) for number, (text, label) in enumerate(train)
        ),
        len(train),
    )
    with tempfile.TemporaryDirectory() as folder:
        staging = Path(folder) / "version"
        began, wall = time.process_time(), time.perf_counter()
        learn(
            content,
            resolve(PACKAGED),
            None,
            JobSpec("b" * 8, 1, "a" * 64, PACKAGED, seed=seed),
            staging,
            _ignore,
            "cpu",
        )
        share = (time.process_time() - began) / (time.perf_counter() - wall)
        report = from_json(EvaluationReport, (staging / REPORT_FILE).read_text(encoding="utf-8"))
        decision = decide(report, PromotionPolicy(), "v0")
        deep = _answers(Encoder.load(staging), Head.load(staging), test)
    served = deep if decision.promote else instant(train, test, seed, [])
    seconds = {phase: share * value for phase, value in report.seconds.items()}
    return {
        **deep,
        "seconds": sum(value for phase, value in seconds.items() if phase != "measuring"),
        "seconds_with_evidence": sum(seconds.values()),
        "phases": seconds,
        "kind": CandidateKind(report.kind).value,
        "promoted": decision.promote,
        "reason": decision.reason,
        "evidence": [len(report.outcomes), decision.better, decision.worse],
        "served_accuracy": served["accuracy"],
        "served_calibration_error": served["calibration_error"],
    }


def words(train: list[Pair], test: list[Pair], seed: int, pool: list[str]) -> dict[str, Any]:
    """Logistic regression on TF-IDF: what one would do without a pretrained model."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2)), LogisticRegression(C=10))
    began = time.process_time()
    model.fit([text for text, _ in train], [label for _, label in train])
    seconds = time.process_time() - began
    return {
        "seconds": seconds,
        "accuracy": float(model.score([text for text, _ in test], [label for _, label in test])),
    }


def plain(train: list[Pair], test: list[Pair], seed: int, pool: list[str]) -> dict[str, Any]:
    """Plain fine-tuning of the pretrained network."""
    return _plain(train, test, seed, pretrained=True)


def scratch(train: list[Pair], test: list[Pair], seed: int, pool: list[str]) -> dict[str, Any]:
    """The same network and training from random weights."""
    return _plain(train, test, seed, pretrained=False)


METHODS: dict[str, Callable[[list[Pair], list[Pair], int, list[str]], dict[str, Any]]] = {
    "instant": instant,
    "whole": whole,
    "words": words,
    "plain": plain,
    "scratch": scratch,
}


def _plain(train: list[Pair], test: list[Pair], seed: int, *, pretrained: bool) -> dict[str, Any]:
    import torch
    import transformers
    from torch import nn
    from torch.nn import functional

    from trainer.network import Network, pad

    labels, targets = _numbered(train)
    torch.manual_seed(seed)
    network = Network(resolve(PACKAGED))
    if not pretrained:
        network.body = transformers.AutoModel.from_config(network.body.config)
    head = nn.Linear(network.settings.dimensions, len(labels))
    tokens = network.tokenize([text for text, _ in train])
    steps = min(PLAIN_STEPS, PLAIN_EPOCHS * math.ceil(len(train) / PLAIN_BATCH))
    parameters = [*network.body.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=PLAIN_RATE, weight_decay=0.01, fused=True)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, steps // 10, steps)
    shuffle = np.random.default_rng(seed)
    order: list[int] = []
    network.train()
    began = time.process_time()
    for _ in range(steps):
        order = order or shuffle.permutation(len(train)).tolist()
        batch, order = order[:PLAIN_BATCH], order[PLAIN_BATCH:]
        ids, mask = pad([tokens[index] for index in batch], network.padding)
        with torch.autocast("cpu", torch.bfloat16):
            hidden = network.body(input_ids=ids, attention_mask=mask).last_hidden_state
            pooled = (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
            loss = functional.cross_entropy(head(pooled).float(), torch.tensor(targets[batch]))
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    seconds = time.process_time() - began
    network.eval()
    number = {label: index for index, label in enumerate(labels)}
    right = 0
    with torch.no_grad():
        for start in range(0, len(test), 64):
            part = test[start : start + 64]
            ids, mask = pad(network.tokenize([text for text, _ in part]), network.padding)
            hidden = network.body(input_ids=ids, attention_mask=mask).last_hidden_state
            best = head((hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)).argmax(1)
            right += sum(int(a) == number[label] for a, (_, label) in zip(best, part, strict=True))
    return {"seconds": seconds, "steps": steps, "accuracy": right / len(test)}


def _numbered(train: list[Pair]) -> tuple[tuple[str, ...], np.ndarray]:
    labels = tuple(sorted({label for _, label in train}))
    number = {label: index for index, label in enumerate(labels)}
    return labels, np.array([number[label] for _, label in train], np.int64)


def _answers(encoder: Encoder, head: Head, test: list[Pair]) -> dict[str, Any]:
    probabilities = head.probabilities(encoder.encode_many([text for text, _ in test]))
    truth = np.array([head.labels.index(label) for _, label in test])
    right = probabilities.argmax(1) == truth
    error = calibration_error(probabilities.max(1).astype(np.float64), right)
    return {"accuracy": float(right.mean()), "calibration_error": error}


def _ignore(progress: object) -> None:
    pass


def main() -> None:
    job = json.load(sys.stdin)
    train, test = ([(text, label) for text, label in job[part]] for part in ("train", "test"))
    print(json.dumps(METHODS[sys.argv[1]](train, test, job["seed"], job.get("pool", []))))


if __name__ == "__main__":
    main()

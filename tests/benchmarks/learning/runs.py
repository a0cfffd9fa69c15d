"""One method on one sample, in a process of its own with one thread: `python -m tests.benchmarks.learning.runs METHOD`.

Reads a `Job` as JSON from standard input and prints the result as its last line. Accuracies are over
the test texts; seconds are processor seconds of one core, library start and test texts left out.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.records import EvaluationReport, Source, Split
from storage.snapshots import SnapshotContent, SnapshotLabel, SnapshotRow
from tests.benchmarks.learning.pairs import tally
from tests.benchmarks.learning.samples import Pair
from trainer.bases import PACKAGED, resolve
from trainer.evaluate import calibration_error
from trainer.export import export_encoder
from trainer.learn import REPORT_FILE, learn
from trainer.model.encoder import Encoder
from trainer.model.head import Head, fit_head, label_text
from trainer.protocol import JobSpec, from_json

Result = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """What a method gets: labelled texts to learn from and to be asked about."""

    train: list[Pair]
    test: list[Pair]
    seed: int
    pool: list[str] = field(default_factory=list)
    """Unlabelled texts to learn from."""
    outside: list[str] = field(default_factory=list)
    """Texts that belong to no label, asked with the test texts."""
    newer: list[Pair] = field(default_factory=list)
    """Texts of new labels that come after `train` has been learned."""


PLAIN_EPOCHS, PLAIN_RATE, PLAIN_BATCH, PLAIN_STEPS = 10, 5e-5, 16, 3000
"""Plain fine-tuning as tutorials do it: every layer, a fresh linear head over the mean of the tokens. The last number
bounds the steps: five epochs of a whole training file."""


def instant(job: Job) -> Result:
    """The head over the base encoder, as version 0 serves it; with unlabelled texts where `pool` has some."""
    labels, targets = _numbered(job.train)
    encoder = _base_encoder()
    began = time.process_time()
    names = encoder.encode_many([label_text(label) for label in labels])
    vectors = encoder.encode_many([text for text, _ in job.train])
    unlabelled = encoder.encode_many(job.pool) if job.pool else None
    head = fit_head(labels, names, vectors, targets, seed=job.seed, pool=unlabelled).head
    seconds = time.process_time() - began
    return {"seconds": seconds, "pool": len(job.pool), **_answers(encoder, head, job)}


def whole(job: Job) -> Result:
    """The trainer's whole job: the fine-tuned candidate, and the evidence that the gate decides on."""
    with tempfile.TemporaryDirectory() as folder:
        report, seconds = learn_pairs(job.train, Path(folder) / "version", job.seed)
        deep = _answers(Encoder.load(Path(folder) / "version"), Head.load(Path(folder) / "version"), job)
    return {
        **deep,
        "seconds": sum(value for phase, value in seconds.items() if phase != "measuring"),
        "seconds_with_evidence": sum(seconds.values()),
        "phases": seconds,
        "tally": tally(report.outcomes),
    }


def grow(job: Job) -> Result:
    """New labels for a fine-tuned version: training anew from the base, going on from it, or refitting a head only."""
    both = [*job.train, *job.newer]
    new = {label for _, label in job.newer}
    with tempfile.TemporaryDirectory() as folder:
        versions = {name: Path(folder) / name for name in ("before", "retrained", "continued")}
        learn_pairs(job.train, versions["before"], job.seed)
        goes_on = {"continue_from": 1, "least_newer": 1}
        first = versions["before"]
        _, retraining = learn_pairs(both, versions["retrained"], job.seed, champion=first)
        _, continuing = learn_pairs(both, versions["continued"], job.seed, champion=first, recipe=goes_on)
        asked = {name: (Encoder.load(path), Head.load(path)) for name, path in versions.items()}
    labels, targets = _numbered(both)
    encoder, prior = asked["before"]
    texts = ([label_text(label) for label in labels], [text for text, _ in both])
    names, vectors = (encoder.encode_many(part) for part in texts)
    asked["corrected"] = (encoder, fit_head(labels, names, vectors, targets, prior=prior, seed=job.seed).head)
    base = _base_encoder()
    names, vectors = (base.encode_many(part) for part in texts)
    asked["instant"] = (base, fit_head(labels, names, vectors, targets, seed=job.seed).head)
    found: Result = {"retraining": retraining, "continuing": continuing}
    for name, (by, head) in asked.items():
        for part, keep in (("old", lambda label: label not in new), ("new", new.__contains__), ("all", bool)):
            rows = [row for row in job.test if keep(row[1]) and row[1] in head.labels]
            if rows:
                found[f"{name}_{part}"] = _answers(by, head, replace(job, test=rows, outside=[]))["accuracy"]
    return found


def words(job: Job) -> Result:
    """Logistic regression on TF-IDF: what one would do without a pretrained model."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2)), LogisticRegression(C=10))
    began = time.process_time()
    model.fit([text for text, _ in job.train], [label for _, label in job.train])
    seconds = time.process_time() - began
    return {
        "seconds": seconds,
        "accuracy": float(model.score([text for text, _ in job.test], [label for _, label in job.test])),
    }


def plain(job: Job) -> Result:
    """Plain fine-tuning of the pretrained network."""
    return _plain(job, pretrained=True)


def scratch(job: Job) -> Result:
    """The same network and training from random weights."""
    return _plain(job, pretrained=False)


METHODS: dict[str, Callable[[Job], Result]] = {
    "instant": instant,
    "whole": whole,
    "grow": grow,
    "words": words,
    "plain": plain,
    "scratch": scratch,
}


def _plain(job: Job, *, pretrained: bool) -> Result:
    import torch
    import transformers
    from torch import nn
    from torch.nn import functional

    from trainer.network import Network, pad

    labels, targets = _numbered(job.train)
    torch.manual_seed(job.seed)
    network = Network(resolve(PACKAGED))
    if pretrained:  # as published: `Network` has changed it
        network.body = transformers.AutoModel.from_pretrained(resolve(PACKAGED), use_safetensors=True)
    else:
        network.body = transformers.AutoModel.from_config(network.body.config)
    head = nn.Linear(network.settings.dimensions, len(labels))
    tokens = network.tokenize([text for text, _ in job.train])
    steps = min(PLAIN_STEPS, PLAIN_EPOCHS * math.ceil(len(job.train) / PLAIN_BATCH))
    parameters = [*network.body.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=PLAIN_RATE, weight_decay=0.01, fused=True)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, steps // 10, steps)
    shuffle = np.random.default_rng(job.seed)
    order: list[int] = []
    quick = bool(torch.cpu.get_capabilities().get("avx512_bf16"))  # elsewhere bfloat16 takes ten times as long
    network.train()
    began = time.process_time()
    for _ in range(steps):
        order = order or shuffle.permutation(len(job.train)).tolist()
        batch, order = order[:PLAIN_BATCH], order[PLAIN_BATCH:]
        ids, mask = pad([tokens[index] for index in batch], network.padding)
        with torch.autocast("cpu", torch.bfloat16, enabled=quick):
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
        for start in range(0, len(job.test), 64):
            part = job.test[start : start + 64]
            ids, mask = pad(network.tokenize([text for text, _ in part]), network.padding)
            hidden = network.body(input_ids=ids, attention_mask=mask).last_hidden_state
            best = head((hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)).argmax(1)
            right += sum(int(a) == number[label] for a, (_, label) in zip(best, part, strict=True))
    return {"seconds": seconds, "steps": steps, "accuracy": right / len(job.test)}


def learn_pairs(
    pairs: list[Pair], out: Path, seed: int, *, champion: Path | None = None, recipe: dict[str, Any] | None = None
) -> tuple[EvaluationReport, dict[str, float]]:
    """Run the trainer's job; its report and the processor seconds of each phase."""
    labels, _ = _numbered(pairs)
    rows = (SnapshotRow(n, text, label, Split.TRAIN, Source.FILE) for n, (text, label) in enumerate(pairs, start=1))
    named = (SnapshotLabel(n, label, "") for n, label in enumerate(labels, start=1))
    content = SnapshotContent("1", "benchmark", tuple(named), tuple(rows), len(pairs))
    version = "v0" if champion is None else "v1"
    spec = JobSpec("b" * 8, 1, "a" * 64, PACKAGED, champion_version=version, seed=seed, recipe=recipe or {})
    began, wall = time.process_time(), time.perf_counter()
    learn(content, resolve(PACKAGED), champion, spec, out, lambda progress: None, "cpu")
    share = (time.process_time() - began) / (time.perf_counter() - wall)
    report = from_json(EvaluationReport, (out / REPORT_FILE).read_text(encoding="utf-8"))
    return report, {phase: share * value for phase, value in report.seconds.items()}


def _base_encoder() -> Encoder:
    with tempfile.TemporaryDirectory() as folder:
        return export_encoder(resolve(PACKAGED), Path(folder))


def _numbered(train: list[Pair]) -> tuple[tuple[str, ...], np.ndarray]:
    labels = tuple(sorted({label for _, label in train}))
    number = {label: index for index, label in enumerate(labels)}
    return labels, np.array([number[label] for _, label in train], np.int64)


def _answers(encoder: Encoder, head: Head, job: Job) -> Result:
    vectors = encoder.encode_many([text for text, _ in job.test])
    probabilities = head.probabilities(vectors)
    truth = np.array([head.labels.index(label) for _, label in job.test])
    right = probabilities.argmax(1) == truth
    error = calibration_error(probabilities.max(1).astype(np.float64), right)
    found = {"accuracy": float(right.mean()), "calibration_error": error}
    if job.outside and head.scope is not None:
        strangers = encoder.encode_many(job.outside)
        inside, outside = (head.scope.score(part, head.logits(part)) for part in (vectors, strangers))
        found |= _out_of_scope(inside, outside, head.scope.threshold)
    return found


def _out_of_scope(inside: NDArray[np.float32], outside: NDArray[np.float32], threshold: float) -> Result:
    """How well scores separate: out-of-scope texts are what is to be found."""
    from sklearn.metrics import precision_recall_curve, roc_auc_score

    truth = np.concatenate([np.zeros(len(inside)), np.ones(len(outside))])
    scores = -np.concatenate([inside, outside])
    precision, recall, _ = precision_recall_curve(truth, scores)
    return {
        "auroc": float(roc_auc_score(truth, scores)),
        "recall_at_95": float(recall[precision >= 0.95].max()),
        "caught": float((outside < threshold).mean()),
        "turned_away": float((inside < threshold).mean()),
    }


def main() -> None:
    job = json.load(sys.stdin)
    pairs = {name: [(text, label) for text, label in job.get(name, [])] for name in ("train", "test", "newer")}
    print(json.dumps(METHODS[sys.argv[1]](Job(**(job | pairs)))))


if __name__ == "__main__":
    main()

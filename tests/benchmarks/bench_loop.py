"""The whole loop by its own command line, on BANKING77: import 8 texts per label, train, evaluate the whole test file.

The served path answers every test question; the golden set is kept aside as always and no unlabelled text is used.
Peers in the same run: logistic regression on TF-IDF over the same texts, and what the bot answered before training.
"""

from __future__ import annotations

import csv
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from tests.benchmarks.data import intents
from tests.benchmarks.report import Figure, compared

SHOTS = 8
TARGET = 83.0
"""Percent of the test file that the served model should get right with 8 texts per label."""


def run() -> list[Figure]:
    train, test = first_by_hash(intents("banking77", "train"), SHOTS), intents("banking77", "test")
    words = tfidf_accuracy(train, test)
    with tempfile.TemporaryDirectory() as folder:
        data, texts, questions = Path(folder) / "data", Path(folder) / "train.csv", Path(folder) / "test.csv"
        write_table(texts, train)
        write_table(questions, test)
        evaluate = ["evaluate", "--classifier", "banking", "--file", str(questions), "--json"]
        pupil(data, "labels", "import", str(texts), "--classifier", "banking")
        before, _ = pupil(data, *evaluate)
        job, training_seconds = pupil(data, "train", "--classifier", "banking", "--wait", "--json")
        after, evaluation_seconds = pupil(data, *evaluate)
        versions, _ = pupil(data, "models", "list", "--classifier", "banking", "--json")
    print(json.dumps({"job": job, "versions": versions}, ensure_ascii=False)[:2000])
    instant, served = 100 * before["accuracy"], 100 * after["accuracy"]
    return [
        compared("accuracy as served after training", served, "%", "TF-IDF + logistic regression", words),
        Figure("accuracy as served after training, against the target", served, "%", target=TARGET),
        compared("accuracy as served before training", instant, "%", "TF-IDF + logistic regression", words),
        Figure("macro-F1 as served after training", 100 * after["macro_f1"], "%"),
        Figure("train --wait, start of the program included", training_seconds, "s", better="lower"),
        Figure(f"evaluate, {len(test)} texts, start of the program included", evaluation_seconds, "s", better="lower"),
    ]


def first_by_hash(rows: list[tuple[str, str]], count: int) -> list[tuple[str, str]]:
    """The first `count` texts of each label in the order of sha256(text): a sample nobody picked."""
    by_label: dict[str, list[str]] = defaultdict(list)
    for text, label in sorted(rows, key=lambda row: hashlib.sha256(row[0].encode()).hexdigest()):
        if len(by_label[label]) < count:
            by_label[label].append(text)
    return [(text, label) for label, texts in sorted(by_label.items()) for text in texts]


def tfidf_accuracy(train: list[tuple[str, str]], test: list[tuple[str, str]]) -> float:
    """Percent right of what one would do without a pretrained model."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2)), LogisticRegression(C=10))
    model.fit([text for text, _ in train], [label for _, label in train])
    return 100 * float(model.score([text for text, _ in test], [label for _, label in test]))


def write_table(path: Path, rows: list[tuple[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])


def pupil(data: Path, *arguments: str) -> tuple[Any, float]:
    """(what the command printed, as JSON where it is; wall seconds) of one `pupil` command."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "bot", *arguments, "--data", str(data)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"pupil {' '.join(arguments)} ended with {done.returncode}: {done.stderr.strip()}")
    seconds = time.perf_counter() - started
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith(("{", "["))]
    return (lines[0] if len(lines) == 1 else lines or done.stdout), seconds

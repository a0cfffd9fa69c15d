"""Questions a second and how long each waits: the engine against a transformers pipeline in an executor.

Both answer the same BANKING77 questions with MiniLM and 77 labels (random heads: their values do not change the work),
each question once, at 1, 8 and 64 clients. The pipeline runs in the better of two set-ups: one worker whose torch uses
every core, or a worker per core with one torch thread each.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from bot.inference.engine import Engine, Served
from tests.benchmarks.clients import Load, closed_loop
from tests.benchmarks.data import intents
from tests.benchmarks.report import Figure, compared
from trainer.bases import PACKAGED, resolve
from trainer.model.encoder import Encoder
from trainer.model.head import Head

CLIENTS = (1, 8, 64)
QUERIES = {1: 600, 8: 1500, 64: 1500}
PEER_QUERIES = 320
CORES = os.cpu_count() or 1
PEER = "transformers pipeline in an executor"
TARGET = 3.0
"""Five times was measured on one core with VNNI; other processors and shared machines vary."""


def run() -> list[Figure]:
    rows = intents("banking77", "test")
    labels = sorted({label for _, label in rows})
    order = np.random.default_rng(0).permutation(len(rows))
    texts = [rows[index][0] for index in order]
    with tempfile.TemporaryDirectory() as folder:
        encoder = exported(Path(folder))
    ours = {clients: asyncio.run(_engine(encoder, labels, texts[: QUERIES[clients]], clients)) for clients in CLIENTS}
    pipeline = _pipeline(len(labels))
    theirs = {clients: _peer(pipeline, texts[:PEER_QUERIES], clients) for clients in CLIENTS}
    return [figure for clients in CLIENTS for figure in _figures(clients, ours[clients], theirs[clients])]


def exported(folder: Path) -> Encoder:
    """The packaged base as it is served, exported by the trainer."""
    from trainer.export import export_encoder  # imports torch

    return export_encoder(resolve(PACKAGED), folder)


def random_head(labels: Sequence[str], dimensions: int) -> Head:
    weight = np.random.default_rng(0).normal(size=(len(labels), dimensions)).astype(np.float32)
    return Head(tuple(labels), weight, np.zeros(len(labels), np.float32), 1.0, 0.0)


async def _engine(encoder: Encoder, labels: Sequence[str], texts: Sequence[str], clients: int) -> Load:
    async with Engine(threads=CORES, remembered=0) as engine:
        engine.serve(Served(1, 1, 0, encoder, random_head(labels, encoder.dimensions)))
        await closed_loop(lambda text: engine.answer(1, text), texts[:50], clients)  # warm up
        return await closed_loop(lambda text: engine.answer(1, text), texts, clients)


def _pipeline(labels: int) -> Callable[[str], Any]:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, logging, pipeline

    logging.set_verbosity_error()
    directory = str(resolve(PACKAGED))
    model = AutoModelForSequenceClassification.from_pretrained(directory, num_labels=labels)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    ask: Callable[[str], Any] = pipeline("text-classification", model=model, tokenizer=tokenizer, top_k=None)
    return ask


def _peer(pipeline: Callable[[str], Any], texts: Sequence[str], clients: int) -> Load:
    set_ups = [(1, CORES), (CORES, 1)]
    loads = [asyncio.run(_in_executor(pipeline, texts, clients, *set_up)) for set_up in set_ups]
    return max(loads, key=lambda load: load.per_second)


async def _in_executor(
    pipeline: Callable[[str], Any], texts: Sequence[str], clients: int, workers: int, torch_threads: int
) -> Load:
    import torch

    torch.set_num_threads(torch_threads)
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(workers) as pool:
        await closed_loop(lambda text: loop.run_in_executor(pool, pipeline, text), texts[:20], clients)  # warm up
        return await closed_loop(lambda text: loop.run_in_executor(pool, pipeline, text), texts, clients)


def _figures(clients: int, ours: Load, theirs: Load) -> list[Figure]:
    who = "1 client" if clients == 1 else f"{clients} clients"
    return [
        compared(f"questions, {who}", ours.per_second, "q/s", PEER, theirs.per_second, target=TARGET),
        compared(f"p50, {who}", ours.quantile(0.5), "ms", PEER, theirs.quantile(0.5), better="lower"),
        compared(f"p99, {who}", ours.quantile(0.99), "ms", PEER, theirs.quantile(0.99), better="lower"),
    ]

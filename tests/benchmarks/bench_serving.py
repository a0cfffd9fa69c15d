"""Questions a second and how long each waits: the engine against a transformers pipeline in an executor.

Both answer the same BANKING77 questions with MiniLM and 77 labels (random heads: their values do not change the work),
each question once and nothing cached, at 1, 8, 64 and 256 clients, in turns; of each the median of its repeats counts.
The pipeline runs in the better of two set-ups: one worker whose torch uses every core, or a worker per core with one
torch thread each. A third peer has all questions before it begins: the pipeline with batches of similar length.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bot.inference.engine import Engine, Served
from tests.benchmarks.clients import Load, closed_loop
from tests.benchmarks.data import intents
from tests.benchmarks.report import Figure, compared
from trainer.bases import PACKAGED, resolve
from trainer.model.encoder import Encoder
from trainer.model.head import Head

CLIENTS = (1, 8, 64, 256)
REPEATS = 3
QUERIES = {1: 500, 8: 1000, 64: 1500, 256: 1500}
PEER_QUERIES = {1: 150, 8: 240, 64: 320, 256: 512}
CORES = os.cpu_count() or 1
PEER = "transformers pipeline in an executor"
BATCHED = "the pipeline over sorted batches"
BATCH = 32
TARGET = 4.5
LAYER_WEIGHTS = 6 * 12 * 384**2
"""Weights of MiniLM's layers: twice as many operations a token, attention left out."""


def run() -> list[Figure]:
    rows = intents("banking77", "test")
    labels = sorted({label for _, label in rows})
    order = np.random.default_rng(0).permutation(len(rows))
    texts = [rows[index][0] for index in order]
    with tempfile.TemporaryDirectory() as folder:
        encoder = exported(Path(folder))
    pipeline = _pipeline(len(labels))
    ours: dict[int, list[Load]] = {clients: [] for clients in CLIENTS}
    theirs: dict[int, list[Load]] = {clients: [] for clients in CLIENTS}
    batched, peak = [], []
    for _ in range(REPEATS):
        peak.append(_int8_peak())
        batched.append(_batched(pipeline, texts[: max(PEER_QUERIES.values())]))
        for clients in CLIENTS:
            ours[clients].append(asyncio.run(_engine(encoder, labels, texts[: QUERIES[clients]], clients)))
            theirs[clients].append(_peer(pipeline, texts[: PEER_QUERIES[clients]], clients))
    figures = [
        figure for clients in CLIENTS for figure in _figures(clients, _middle(ours[clients]), _middle(theirs[clients]))
    ]
    tokens = float(np.mean([len(pipeline.tokenizer(text).input_ids) for text in texts]))
    busiest = _middle(ours[64]).per_second
    share = 100 * busiest * tokens * 2 * LAYER_WEIGHTS / median(peak)
    return [
        *figures,
        compared("questions, 64 clients", busiest, "q/s", BATCHED, median(batched)),
        Figure("share of the int8 peak of all cores in matrix products, 64 clients", share, "%"),
    ]


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


def _pipeline(labels: int) -> Any:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, logging, pipeline

    logging.set_verbosity_error()
    directory = str(resolve(PACKAGED))
    model = AutoModelForSequenceClassification.from_pretrained(directory, num_labels=labels)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    return pipeline("text-classification", model=model, tokenizer=tokenizer, top_k=None)


def _batched(pipeline: Callable[..., Any], texts: Sequence[str]) -> float:
    """Texts a second of one call with everything sorted by length, torch on every core."""
    import torch

    torch.set_num_threads(CORES)
    began = time.perf_counter()
    list(pipeline(sorted(texts, key=len), batch_size=BATCH))
    return len(texts) / (time.perf_counter() - began)


def _peer(pipeline: Callable[..., Any], texts: Sequence[str], clients: int) -> Load:
    set_ups = [(1, CORES), (CORES, 1)]
    loads = [asyncio.run(_in_executor(pipeline, texts, clients, *set_up)) for set_up in set_ups]
    return max(loads, key=lambda load: load.per_second)


async def _in_executor(
    pipeline: Callable[..., Any], texts: Sequence[str], clients: int, workers: int, torch_threads: int
) -> Load:
    import torch

    torch.set_num_threads(torch_threads)
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(workers) as pool:
        await closed_loop(lambda text: loop.run_in_executor(pool, pipeline, text), texts[:20], clients)  # warm up
        return await closed_loop(lambda text: loop.run_in_executor(pool, pipeline, text), texts, clients)


def _int8_peak(size: int = 1024, seconds: float = 0.3) -> float:
    """Operations a second that onnxruntime reaches in large products of unsigned by signed bytes, a thread a core."""
    import onnx
    import onnxruntime as ort
    from onnx import TensorProto, helper

    matrix = np.random.default_rng(0).integers(-127, 127, (size, size)).astype(np.int8)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["x", "w"], ["y"])],
        "peak",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [size, size])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, [size, size])],
        [onnx.numpy_helper.from_array(matrix, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    inputs = {"x": np.full((size, size), 7, np.uint8)}

    def products() -> int:
        done, end = 0, time.perf_counter() + seconds
        while time.perf_counter() < end:
            session.run(None, inputs)
            done += 1
        return done

    with ThreadPoolExecutor(CORES) as pool:
        began = time.perf_counter()
        done = sum(future.result() for future in [pool.submit(products) for _ in range(CORES)])
        return done * 2 * size**3 / (time.perf_counter() - began)


def _middle(loads: Sequence[Load]) -> Load:
    """The repeat with the median throughput."""
    return sorted(loads, key=lambda load: load.per_second)[len(loads) // 2]


def _figures(clients: int, ours: Load, theirs: Load) -> list[Figure]:
    who = "1 client" if clients == 1 else f"{clients} clients"
    cpu, their_cpu = (1000 * load.cpu_seconds / len(load.milliseconds) for load in (ours, theirs))
    return [
        compared(f"questions, {who}", ours.per_second, "q/s", PEER, theirs.per_second, target=TARGET),
        compared(f"p50, {who}", ours.quantile(0.5), "ms", PEER, theirs.quantile(0.5), better="lower"),
        compared(f"p99, {who}", ours.quantile(0.99), "ms", PEER, theirs.quantile(0.99), better="lower"),
        compared(f"processor time a question, {who}", cpu, "ms", PEER, their_cpu, better="lower"),
    ]

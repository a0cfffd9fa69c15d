"""Snapshots and recipes that a training should survive: each ends in a version that answers, or in one sentence."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from storage.errors import ArtifactError, ConfigurationError, TrainingFailed
from storage.records import EvaluationReport, Source, Split
from storage.snapshots import SnapshotContent, SnapshotLabel, SnapshotRow
from tests.fakes.lessons import FILLER, WORDS, make_snapshot, one_torch_thread
from tests.fakes.tiny_encoder import make_tiny_encoder
from trainer import finetune
from trainer import learn as job
from trainer.model import head as head_of
from trainer.model.encoder import Encoder
from trainer.model.head import Head
from trainer.network import Network
from trainer.protocol import JobSpec, from_json

RECIPE = {"body_rate": 1e-3, "frozen_layers": 1, "least_steps": 30}
SPEC = JobSpec(job_id="j1", attempt=1, snapshot="a" * 64, base="tiny", recipe=RECIPE)
QUESTIONS = ("my app crashes again", "", "x" * 10_000, "ünïcödé 👍", "\u200b")


@pytest.fixture(scope="module", autouse=True)
def _calm() -> None:
    one_torch_thread()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_encoder(tmp_path_factory.mktemp("base") / "tiny", texts=WORDS.values())


def snapshot_of(pairs: Sequence[tuple[str, str]], more_labels: Sequence[str] = ()) -> SnapshotContent:
    """(text, label) pairs, all of them to train on, and labels without a text."""
    names = [*dict.fromkeys(label for _, label in pairs), *more_labels]
    return SnapshotContent(
        "1",
        "triage",
        tuple(SnapshotLabel(number, name, "") for number, name in enumerate(names, start=1)),
        tuple(SnapshotRow(n, text, label, Split.TRAIN, Source.FILE) for n, (text, label) in enumerate(pairs, start=1)),
        len(pairs),
    )


def sentence(label: str, chance: random.Random) -> str:
    words = chance.sample(WORDS[label].split(), 2) + chance.sample(FILLER, 3)
    chance.shuffle(words)
    return " ".join(words)


def train(
    base: Path, staging: Path, snapshot: SnapshotContent, recipe: dict[str, Any] | None = None
) -> tuple[Encoder, Head]:
    """The version as the bot would load it, after it has answered whatever people may ask."""
    spec = SPEC if recipe is None else replace(SPEC, recipe=SPEC.recipe | recipe)
    job.learn(snapshot, base, None, spec, staging, lambda report: None, "cpu")
    encoder, head = Encoder.load(staging), Head.load(staging)
    probabilities = head.probabilities(encoder.encode_many(QUESTIONS))
    assert probabilities.shape == (len(QUESTIONS), len(snapshot.labels))
    assert np.allclose(probabilities.sum(1), 1, atol=1e-4)
    assert head.labels == tuple(label.name for label in snapshot.labels)
    return encoder, head


def report_of(staging: Path) -> EvaluationReport:
    return from_json(EvaluationReport, (staging / "report.json").read_text())


def right(encoder: Encoder, head: Head, label: str, seed: int = 99) -> float:
    """Share of fresh texts of `label` that get it."""
    chance = random.Random(seed)
    vectors = encoder.encode_many([sentence(label, chance) for _ in range(40)])
    return float((head.logits(vectors).argmax(1) == head.labels.index(label)).mean())


class TestRefusals:
    """What cannot be trained says what is missing and what to do."""

    @pytest.mark.parametrize(
        ("pairs", "words"),
        [
            ([], r"texts for 0 labels.*Label some texts"),
            ([("a", "bug")], r"texts for 1 label;.*with another label first"),
            ([("a", "bug"), ("b", "refund")], r"2 texts to train on; at least 8.*Label more first"),
            ([(f"text {n}", "bug") for n in range(50)], r"at least 2"),
        ],
    )
    def test_too_little(self, base: Path, tmp_path: Path, pairs: list[tuple[str, str]], words: str) -> None:
        with pytest.raises(TrainingFailed, match=words):
            train(base, tmp_path / "v", snapshot_of(pairs, ["praise"]))
        assert not (tmp_path / "v" / "report.json").exists()

    def test_golden_rows_alone_are_nothing_to_train_on(self, base: Path, tmp_path: Path) -> None:
        with pytest.raises(TrainingFailed, match="texts for 0 labels"):
            train(base, tmp_path / "v", make_snapshot(golden_every=1))

    def test_a_loss_that_is_no_number(self, base: Path, tmp_path: Path) -> None:
        with pytest.raises(TrainingFailed, match=r"loss became .* in step .* lower body_rate"):
            train(base, tmp_path / "v", make_snapshot(), {"body_rate": 1e30})

    def test_weights_that_break_in_the_last_step(self, base: Path, tmp_path: Path) -> None:
        with pytest.raises(TrainingFailed, match="not finite after 1 steps; lower body_rate"):
            train(base, tmp_path / "v", make_snapshot(), {"body_rate": 1e39, "most_steps": 1})

    @pytest.mark.parametrize(
        "recipe",
        [
            {"epochs": 0},
            {"batch": 0},
            {"most_steps": 0},
            {"frozen_layers": -1},
            {"dropout": 1.5},
            {"warm_up": 2.0},
            {"scale": 0.0},
            {"body_rate": math.nan},
            {"clip": math.inf},
        ],
    )
    def test_a_recipe_out_of_bounds(self, base: Path, tmp_path: Path, recipe: dict[str, Any]) -> None:
        with pytest.raises(TrainingFailed, match=f"cannot have {next(iter(recipe))}"):
            train(base, tmp_path / "v", make_snapshot(), recipe)

    def test_a_base_whose_weights_are_no_numbers(self, tmp_path: Path) -> None:
        directory = make_tiny_encoder(tmp_path / "nan")
        network = Network(directory)
        network.body.encoder.layer[0].output.dense.weight.data.fill_(math.nan)
        network.save(tmp_path / "saved")
        with pytest.raises(ArtifactError, match=r"unit vectors|differs from its network"):
            train(tmp_path / "saved", tmp_path / "v", make_snapshot())

    def test_a_base_whose_file_is_damaged(self, tmp_path: Path) -> None:
        directory = make_tiny_encoder(tmp_path / "damaged")
        (directory / "model.safetensors").write_bytes(b"\0" * 100)
        with pytest.raises(ConfigurationError, match="cannot be loaded"):
            train(directory, tmp_path / "v", make_snapshot())


class TestOddTexts:
    def test_ten_thousand_characters(self, base: Path, tmp_path: Path) -> None:
        """Words, one word, and characters that take several bytes; the rest is cut."""
        chance = random.Random(0)
        long = {
            "bug": lambda: " ".join(chance.choices(WORDS["bug"].split(), k=1700))[:10_000],
            "refund": lambda: " ".join(chance.choices(WORDS["refund"].split(), k=1700))[:10_000],
            "praise": lambda: "x" * 10_000,
            "account": lambda: "👍é" * 5_000,
        }
        pairs = [(make(), label) for label, make in long.items() for _ in range(6)]
        encoder, head = train(base, tmp_path / "v", snapshot_of(pairs))
        assert encoder.read(pairs[0][0]).cut
        assert right(encoder, head, "bug") > 0.5

    def test_all_the_same_with_different_labels(self, base: Path, tmp_path: Path) -> None:
        pairs = [("the same", label) for label in ("bug", "refund", "praise") for _ in range(10)]
        encoder, head = train(base, tmp_path / "v", snapshot_of(pairs))
        assert head.probabilities(encoder.encode_many(["the same"])).max() < 0.6, "nothing tells them apart"

    def test_duplicates_with_different_labels(self, base: Path, tmp_path: Path) -> None:
        """One text in five contradicts another; the rest is still learned."""
        chance = random.Random(0)
        pairs = [(sentence(label, chance), label) for label in ("bug", "refund", "praise") for _ in range(20)]
        pairs += [(text, "praise" if label == "bug" else "bug") for text, label in pairs[::5]]
        encoder, head = train(base, tmp_path / "v", snapshot_of(pairs))
        assert min(right(encoder, head, label) for label in ("bug", "refund", "praise")) > 0.4

    def test_texts_without_any_word(self, base: Path, tmp_path: Path) -> None:
        pairs = [(text, label) for text in ("", " ", "\n", "👍", "\u200b", "...") for label in ("bug", "refund")]
        encoder, head = train(base, tmp_path / "v", snapshot_of(pairs))
        answers = head.probabilities(encoder.encode_many(["", "👍", "some words"]))
        assert np.allclose(answers.sum(axis=1), 1, atol=1e-5)


class TestOddLabels:
    def test_labels_without_a_text(self, base: Path, tmp_path: Path) -> None:
        chance = random.Random(0)
        pairs = [(sentence(label, chance), label) for label in ("bug", "refund") for _ in range(10)]
        encoder, head = train(base, tmp_path / "v", snapshot_of(pairs, ["praise", "account"]))
        assert min(right(encoder, head, label) for label in ("bug", "refund")) > 0.6

    def test_one_text_for_each_label(self, base: Path, tmp_path: Path) -> None:
        """A twin knows the label of a text that it has not seen by name alone: poor evidence, and all there is."""
        train(base, tmp_path / "v", snapshot_of([(f"word{n} {chr(97 + n)}", f"label {n}") for n in range(12)]))
        assert len(report_of(tmp_path / "v").outcomes) == 12

    def test_two_hundred_labels(self, base: Path, tmp_path: Path) -> None:
        pairs = [(f"{n} number {n} {extra}", f"label {n}") for n in range(200) for extra in ("a", "b", "c")]
        encoder, head = train(base, tmp_path / "v", snapshot_of(pairs), {"most_steps": 60, "evidence": 100})
        asked = encoder.encode_many([text for text, _ in pairs])
        assert (head.logits(asked).argmax(1) == np.repeat(np.arange(200), 3)).mean() > 0.5

    def test_a_hundred_times_fewer_texts(self, base: Path, tmp_path: Path) -> None:
        """Two texts beside two hundred: without the correction for frequency the rare label is hardly ever given."""
        chance = random.Random(0)
        counts = {"bug": 200, "praise": 200, "refund": 2}
        pairs = [(sentence(label, chance), label) for label, count in counts.items() for _ in range(count)]
        encoder, head = train(base, tmp_path / "v", snapshot_of(pairs), {"epochs": 5, "evidence": 50})
        assert right(encoder, head, "refund") > 0.25
        assert min(right(encoder, head, label) for label in ("bug", "praise")) > 0.8

    def test_the_instant_head_gives_rare_labels_and_leaves_balanced_ones_alone(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fit(counts: Sequence[int]) -> Head:
            vectors, targets = blobs(counts, seed=1)
            return head_of.fit_head(("a", "b", "c"), blobs((1, 1, 1), seed=2)[0], vectors, targets).head

        asked, truth = blobs((300, 300, 300), seed=3)
        even, uneven = fit((20, 20, 20)), fit((200, 200, 2))
        monkeypatch.setattr(head_of, "FREQUENCY_REMOVED", 0.0)
        assert np.array_equal(even.bias, fit((20, 20, 20)).bias)
        before, after = ((head.logits(asked).argmax(1) == truth) for head in (fit((200, 200, 2)), uneven))
        assert after[truth == 2].mean() > before[truth == 2].mean() + 0.15
        assert after[truth != 2].mean() > before[truth != 2].mean() - 0.1


def blobs(counts: Sequence[int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors [n, 16] around three centres, and which centre each belongs to."""
    chance = np.random.default_rng(seed)
    targets = np.repeat(np.arange(3), counts)
    vectors = np.eye(3, 16)[targets] + 0.45 * chance.normal(size=(len(targets), 16))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), targets


CHILD = """
import json, os, resource, sys, time
os.environ["OPENBLAS_NUM_THREADS"] = "1"
from pathlib import Path
import numpy as np
import torch
np.ones((300, 300)) @ np.ones((300, 300))  # OpenBLAS takes its buffer now: without memory it would end the process
torch.set_num_threads(1)
from storage.errors import PupilError
from tests.integration.test_robust_training import SPEC, large
from trainer.learn import learn
from dataclasses import replace

rows, labels, limit, base, staging = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), *map(Path, sys.argv[4:6])
recipe = json.loads(sys.argv[6])
snapshot = large(rows, labels)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
if limit:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + limit, used + limit))
began = time.perf_counter()
error = None
try:
    learn(snapshot, base, None, replace(SPEC, recipe=SPEC.recipe | recipe), staging, lambda report: None, "cpu")
except PupilError as problem:
    error = f"{type(problem).__name__}: {problem}"
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"error": error, "before": before, "peak": peak, "seconds": time.perf_counter() - began}))
"""


def large(rows: int, labels: int) -> SnapshotContent:
    """Many short texts; every label has a word of its own."""
    chance = random.Random(0)
    fill = [*FILLER, *"abcdefghijklmnopqrstuvwxyz"]
    pairs = [(f"{' '.join(chance.choices(fill, k=8))} {n % labels}", f"label {n % labels}") for n in range(rows)]
    return snapshot_of(pairs)


def in_a_child(
    base: Path, staging: Path, *, rows: int, labels: int, limit: int = 0, recipe: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Train in a process of its own; `limit` is how many bytes of addresses it may take in addition."""
    arguments = [str(rows), str(labels), str(limit), str(base), str(staging), json.dumps(recipe or {})]
    command = [sys.executable, "-c", textwrap.dedent(CHILD), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


class TestMemory:
    @pytest.mark.long
    def test_fifty_thousand_texts(self, base: Path, tmp_path: Path) -> None:
        """480 MB were measured, 550 with 200 labels."""
        found = in_a_child(base, tmp_path / "v", rows=50_000, labels=20, recipe={"most_steps": 20})
        assert found["error"] is None
        assert (found["peak"] - found["before"]) / 1024 < 600
        assert report_of(tmp_path / "v").train_rows == 50_000

    @pytest.mark.slow
    def test_too_little_memory_is_one_sentence(self, base: Path, tmp_path: Path) -> None:
        found = in_a_child(base, tmp_path / "v", rows=20_000, labels=4_000, limit=250 * 2**20)  # a matrix of 320 MB
        assert found["error"].startswith("TrainingFailed: The training needs more memory than this machine has free.")
        assert not (tmp_path / "v" / "report.json").exists()

    @pytest.mark.parametrize(
        "error",
        [
            MemoryError(),
            np._core._exceptions._ArrayMemoryError((10**9,), np.dtype("f4")),
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
            RuntimeError("[enforce fail at alloc_cpu.cpp:118] data. DefaultCPUAllocator: not enough memory: ..."),
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes. Error code 12"),
            RuntimeError("can't start new thread"),
            RuntimeError("could not create a primitive"),
        ],
    )
    def test_every_way_to_say_it_is_translated(self, error: Exception) -> None:
        with pytest.raises(TrainingFailed, match="Lower batch or cache_bytes"), job._memory():
            raise error

    def test_another_error_is_not_called_a_lack_of_memory(self) -> None:
        with pytest.raises(RuntimeError, match="shapes"), job._memory():
            raise RuntimeError("shapes do not fit")


class TestDevice:
    """What the device decides. No GPU is needed: only the choice is looked at."""

    @pytest.mark.parametrize(("capabilities", "wanted"), [({"avx512_bf16": True}, True), ({"avx2": True}, False)])
    def test_a_processor_computes_in_bfloat16_only_where_it_can(
        self, monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], wanted: bool
    ) -> None:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
        with finetune._autocast(torch.device("cpu")):
            product = torch.ones(2, 2) @ torch.ones(2, 2)
        assert product.dtype == (torch.bfloat16 if wanted else torch.float32)

    @pytest.mark.parametrize("supported", [True, False])
    def test_a_gpu_computes_in_bfloat16_where_it_can(self, monkeypatch: pytest.MonkeyPatch, supported: bool) -> None:
        asked: list[tuple[object, ...]] = []
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: supported)
        monkeypatch.setattr(torch, "autocast", lambda *given, enabled: asked.append((*given, enabled)))
        finetune._autocast(torch.device("cuda"))
        assert asked == [("cuda", torch.bfloat16, supported)]

    @pytest.mark.parametrize(("device", "frozen"), [("cpu", 1), ("cuda", 0)])
    def test_layers_are_frozen_on_a_processor_alone(self, base: Path, device: str, frozen: int) -> None:
        network = Network(base)
        assert finetune._freeze(network, finetune.Recipe(frozen_layers=1), torch.device(device)) == frozen
        still = [name for name, parameter in network.body.named_parameters() if not parameter.requires_grad]
        assert bool(still) == bool(frozen)
        assert all(name.startswith(("embeddings.", "encoder.layer.0.")) for name in still)

    def test_a_gpu_that_is_not_there_is_one_sentence(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        with pytest.raises(ConfigurationError, match=r"no GPU that torch can use. Set device=auto"):
            job._device("cuda")
        assert job._device("auto").type == "cpu"

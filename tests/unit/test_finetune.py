"""The training loop: it learns, it repeats itself, it freezes what it says, and it stops when numbers break."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from storage.errors import TrainingFailed
from tests.fakes.lessons import WORDS, make_snapshot, one_torch_thread
from tests.fakes.tiny_encoder import make_tiny_encoder
from trainer.checkpoint import Checkpoints
from trainer.dataset import read_dataset
from trainer.finetune import CosineHead, Recipe, Step, _clip, count_steps, finetune, first_rows
from trainer.meter import Meter
from trainer.network import Network
from trainer.protocol import Phase, Progress

DATA = read_dataset(make_snapshot())
# One frozen layer of two; rates for a network of random weights.
RECIPE = Recipe(frozen_layers=1, body_rate=1e-3)


@pytest.fixture(scope="module", autouse=True)
def _calm() -> None:
    one_torch_thread()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_encoder(tmp_path_factory.mktemp("finetune") / "tiny", texts=WORDS.values())


def train(base: Path, recipe: Recipe = RECIPE, seed: int = 0) -> tuple[Network, CosineHead, list[Step]]:
    network = Network(base)
    names = network.embed(DATA.label_texts)
    head = CosineHead(first_rows(network.embed(DATA.train.texts), DATA.train.targets, names, 1.0), recipe.scale)
    return network, head, list(finetune(network, head, DATA.train.texts, DATA.train.targets, recipe, seed=seed))


def test_the_loss_falls_and_the_steps_are_counted(base: Path) -> None:
    network, head, steps = train(base)
    assert [step.step for step in steps] == list(range(1, 61))
    assert (steps[-1].step, steps[-1].epoch) == (steps[-1].steps, steps[-1].epochs)
    assert np.mean([s.loss for s in steps[-5:]]) < 0.5 * np.mean([s.loss for s in steps[:5]])
    assert not network.training
    assert not head.training


def test_the_folded_head_gives_the_heads_logits(base: Path) -> None:
    network, head, _ = train(base)
    vectors = network.embed(DATA.train.texts)
    with torch.no_grad():
        assert np.allclose(head(torch.tensor(vectors)).numpy(), vectors @ head.weight().T, atol=1e-4)
    assert ((vectors @ head.weight().T).argmax(1) == DATA.train.targets).mean() > 0.9


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(base: Path) -> None:
    first, again, other = (train(base, seed=seed)[1].weight() for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_frozen_layers_stay_and_the_others_move(base: Path) -> None:
    before, (after, _, _) = Network(base).body.state_dict(), train(base)
    moved = {name for name, value in after.body.state_dict().items() if not torch.equal(value, before[name])}
    assert any(name.startswith("encoder.layer.1.") for name in moved)
    assert not any(name.startswith(("embeddings.", "encoder.layer.0.")) for name in moved)


def test_with_and_without_the_cache_the_training_is_nearly_the_same(base: Path) -> None:
    """The cache keeps bfloat16; without it the frozen layers run anew in every step."""
    cached = train(base)[1].weight()
    computed = train(base, Recipe(frozen_layers=1, body_rate=1e-3, cache_bytes=0))[1].weight()
    assert np.abs(cached - computed).max() < 0.05 * np.abs(cached).max()


def test_nothing_is_frozen_when_the_recipe_says_so(base: Path) -> None:
    before, (after, _, _) = Network(base).body.state_dict(), train(base, Recipe(frozen_layers=0))
    assert not torch.equal(
        after.body.state_dict()["embeddings.word_embeddings.weight"], before["embeddings.word_embeddings.weight"]
    )


def test_going_on_at_the_rate_zero_leaves_the_body_as_it_is(base: Path) -> None:
    network, recipe = Network(base), replace(RECIPE, continue_rate=0.0)
    before = {name: value.clone() for name, value in network.body.state_dict().items()}
    head = CosineHead(network.embed(DATA.label_texts), recipe.scale)
    rows = head.weight()
    list(finetune(network, head, DATA.train.texts, DATA.train.targets, recipe, seed=0, continuing=True))
    assert all(torch.equal(value, before[name]) for name, value in network.body.state_dict().items())
    assert not np.array_equal(head.weight(), rows), "the head learns"


@pytest.mark.parametrize(("cache_bytes", "batches"), [(2**20, 4), (0, 0)])
def test_what_comes_before_the_first_step_gives_signs_of_life(base: Path, cache_bytes: int, batches: int) -> None:
    network, texts, seen = Network(base), DATA.train.texts * 4, []
    head = CosineHead(network.embed(DATA.label_texts), RECIPE.scale)
    targets, recipe = np.tile(DATA.train.targets, 4), replace(RECIPE, cache_bytes=cache_bytes)
    steps = finetune(network, head, texts, targets, recipe, seed=0, on_batch=lambda: seen.append(1))
    next(steps)
    assert len(seen) == batches


def test_a_loss_that_is_not_finite_ends_the_training(base: Path) -> None:
    with pytest.raises(TrainingFailed, match="lower body_rate"):
        train(base, Recipe(frozen_layers=1, body_rate=math.inf))


def test_steps_are_bounded_below_and_above() -> None:
    recipe = Recipe()
    assert count_steps(10, recipe, 10) == recipe.least_steps
    assert count_steps(640, recipe, 10) == 200
    assert count_steps(50_000, recipe, 10) == recipe.most_steps


def test_the_head_starts_at_class_means_and_names() -> None:
    vectors, names = np.eye(4, dtype=np.float32)[[0, 0, 1]], np.eye(4, dtype=np.float32)[[2, 3]]
    rows = first_rows(vectors, np.array([0, 0, 1]), names, 1.0)
    assert np.allclose(rows[0], np.array([2, 0, 1, 0]) / math.sqrt(5))
    assert np.allclose(np.linalg.norm(rows, axis=1), 1)


@pytest.mark.parametrize("changes", [{"epoch": 3}, {"epochs": "many"}, {"epochs": True}, {"body_rate": None}])
def test_a_recipe_that_does_not_exist_is_refused(changes: dict) -> None:
    with pytest.raises(TrainingFailed, match="recipe"):
        Recipe.of(changes)


def test_a_recipe_takes_its_changes() -> None:
    recipe = Recipe.of({"epochs": 3, "body_rate": 1})
    assert (recipe.epochs, recipe.body_rate, recipe.batch) == (3, 1.0, 32)


def test_a_network_comes_back_from_its_files(base: Path, tmp_path: Path) -> None:
    network, _, _ = train(base)
    network.save(tmp_path)
    assert np.array_equal(Network(tmp_path).embed(DATA.train.texts), network.embed(DATA.train.texts))


def train_with(base: Path, checkpoints: Checkpoints, until: int = 10**9) -> tuple[Network, CosineHead, list[int]]:
    """As `train`, killed after step `until`; the steps that were done."""
    network = Network(base)
    names = network.embed(DATA.label_texts)
    head = CosineHead(first_rows(network.embed(DATA.train.texts), DATA.train.targets, names, 1.0), RECIPE.scale)
    stage, done = checkpoints.stage("candidate"), []
    texts, targets = DATA.train.texts, DATA.train.targets
    for step in finetune(network, head, texts, targets, RECIPE, seed=3, stage=stage):
        done.append(step.step)
        if step.step == until:
            break
    return network, head, done


class TestResuming:
    @pytest.mark.parametrize("stops", [(1,), (7,), (59,), (60,), (5, 20, 21)])
    def test_an_interrupted_training_ends_as_one_that_was_not(
        self, base: Path, tmp_path: Path, stops: tuple[int, ...]
    ) -> None:
        whole, head, _ = train(base, seed=3)
        checkpoints = Checkpoints(tmp_path, "this", seconds=0.0)
        for stop in stops:
            train_with(base, checkpoints, stop)
            torch.rand(7)  # somebody else draws from the generator meanwhile
        resumed, resumed_head, done = train_with(base, checkpoints)
        assert done == list(range(stops[-1] + 1, 61))
        state = resumed.state_dict()
        other = [name for name, value in whole.state_dict().items() if not torch.equal(value, state[name])]
        assert [name for name in other if "pooler" not in name] == []  # that is drawn at loading, and used by nobody
        assert np.array_equal(head.weight(), resumed_head.weight())

    def test_only_every_so_often_a_state_is_kept_and_only_the_newest(self, base: Path, tmp_path: Path) -> None:
        now = iter(range(10_000))  # a second passes with every look at the clock
        train_with(base, Checkpoints(tmp_path, "this", 25.0, clock=lambda: float(next(now))))
        assert len(list(tmp_path.iterdir())) == 1
        _, _, done = train_with(base, Checkpoints(tmp_path, "this", 25.0))
        assert 1 < len(done) < 26

    @pytest.mark.parametrize("harm", ["truncated", "flipped", "empty", "of another training", "half written"])
    def test_what_is_no_whole_checkpoint_of_this_training_counts_as_none(
        self, base: Path, tmp_path: Path, harm: str
    ) -> None:
        train_with(base, Checkpoints(tmp_path, "this", 0.0), until=40)
        (path,) = tmp_path.iterdir()
        data = bytearray(path.read_bytes())
        if harm == "truncated":
            path.write_bytes(data[: len(data) // 2])
        elif harm == "flipped":
            data[len(data) // 2] ^= 1
            path.write_bytes(data)
        elif harm == "empty":
            path.write_bytes(b"")
        elif harm == "half written":
            path.rename(tmp_path / "candidate.part")
        other = "other" if harm == "of another training" else "this"
        _, _, done = train_with(base, Checkpoints(tmp_path, other, 0.0))
        assert done[0] == 1

    def test_where_nothing_can_be_kept_the_training_goes_on(self, base: Path, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        _, _, done = train_with(base, Checkpoints(tmp_path / "file", "this", 0.0))
        assert done[-1] == 60


class TestShortOfMemory:
    def test_a_batch_in_pieces_teaches_the_same(self, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        whole, head, _ = train(base, replace(RECIPE, dropout=0.0))
        monkeypatch.setattr(Network, "pool", at_most(5, Network.pool))
        cut, cut_head, steps = train(base, replace(RECIPE, dropout=0.0))
        assert len(steps) == 60
        assert np.allclose(head.weight(), cut_head.weight(), atol=0.02)
        vectors = [network.embed(DATA.train.texts[:5]) for network in (whole, cut)]
        assert np.allclose(*vectors, atol=0.02)

    def test_where_not_even_one_row_fits_it_is_an_error(self, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Network, "pool", at_most(0, Network.pool))
        with pytest.raises(RuntimeError, match="out of memory"):
            train(base)

    def test_another_error_is_no_reason_to_try_again(self, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Network, "pool", at_most(5, Network.pool, "the shapes do not fit"))
        with pytest.raises(RuntimeError, match="shapes"):
            train(base)


def at_most(rows: int, pool: Any, words: str = "CUDA out of memory. Tried to allocate 2 GiB") -> Any:
    """`pool` on a machine that has room for so many rows while it trains."""

    def short(self: Network, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if self.training and len(hidden) > rows:
            raise RuntimeError(words)
        return pool(self, hidden, mask)

    return short


class TestMeter:
    def test_what_an_earlier_attempt_did_says_nothing_about_the_pace(self) -> None:
        now = [0.0]
        reports: list[Progress] = []
        meter = Meter(reports.append, lambda: now[0])
        meter.plan({Phase.MEASURING: 2, Phase.TRAINING: 2})
        meter.enter(Phase.MEASURING)
        now[0] = 1
        meter.skip(0.5)
        assert (reports[-1].fraction, reports[-1].eta_seconds) == (0.25, None)
        meter.begin(0.5)
        meter.step(Step(1, 1, 81, 100, 0.5))  # the first after 80 of an earlier attempt
        for number in range(82, 101):
            now[0] += 1
            meter.step(Step(1, 1, number, 100, 0.5))
        assert reports[-1].fraction == 0.5
        assert reports[-1].eta_seconds == 200  # 20 s for 0.05

    def test_the_fraction_never_falls_and_ends_at_one(self) -> None:
        now = [0.0]
        reports: list[Progress] = []
        meter = Meter(reports.append, lambda: now[0])
        meter.plan({Phase.PREPARING: 1, Phase.TRAINING: 8, Phase.EVALUATING: 1})
        meter.enter(Phase.PREPARING)
        now[0] += 10
        meter.plan({Phase.PREPARING: 1, Phase.TRAINING: 30, Phase.EVALUATING: 1})  # a correction
        meter.enter(Phase.TRAINING)
        meter.begin()
        for number in range(1, 101):
            now[0] += 1
            meter.step(Step(1, 1, number, 100, 0.5))
        meter.enter(Phase.EVALUATING)
        meter.finish()
        fractions = [report.fraction for report in reports]
        assert fractions == sorted(fractions)
        assert fractions[-1] == 1.0
        assert [report.seq for report in reports] == list(range(1, len(reports) + 1))
        assert meter.seconds == {"preparing": 10, "training": 100, "evaluating": 0}

    def test_the_rest_is_estimated_from_the_pace(self) -> None:
        now = [0.0]
        reports: list[Progress] = []
        meter = Meter(reports.append, lambda: now[0])
        meter.plan({Phase.TRAINING: 1})
        meter.enter(Phase.TRAINING)
        assert reports[-1].eta_seconds is None
        now[0] = 25
        meter.begin()
        meter.step(Step(1, 4, 1, 4, 0.5))
        assert reports[-1] == Progress(2, Phase.TRAINING, 0.25, 1, 4, 1, 4, 0.5, eta_seconds=75)

    def test_where_no_share_can_be_told_the_last_report_is_repeated_now_and_then(self) -> None:
        now = [0.0]
        reports: list[Progress] = []
        meter = Meter(reports.append, lambda: now[0])
        meter.beat()
        assert reports == []
        meter.plan({Phase.TRAINING: 1, Phase.EXPORTING: 1})
        meter.enter(Phase.TRAINING)
        meter.begin()
        now[0] = 50
        meter.step(Step(1, 4, 1, 2, 0.5))
        told = reports[-1]
        for _ in range(60):
            now[0] += 1
            meter.beat()
        assert reports[2:] == [replace(told, seq=3, eta_seconds=240.0), replace(told, seq=4, eta_seconds=330.0)]

    def test_quick_steps_are_not_all_reported(self) -> None:
        now = [0.0]
        reports: list[Progress] = []
        meter = Meter(reports.append, lambda: now[0])
        meter.plan({Phase.TRAINING: 1})
        meter.enter(Phase.TRAINING)
        meter.begin()
        for number in range(1, 1001):
            now[0] += 0.001
            meter.step(Step(1, 1, number, 1000, 0.5))
        assert len(reports) < 8
        assert reports[-1].step == 1000


@pytest.mark.parametrize("length", [0.5, 1.0, 5.0, math.inf])
def test_gradients_are_clipped_as_torch_clips_them(length: float) -> None:
    ours, theirs = ([torch.nn.Parameter(torch.ones(4)), torch.nn.Parameter(torch.ones(2))] for _ in range(2))
    for parameters in (ours, theirs):
        parameters[0].grad = torch.tensor([0.6, 0.0, 0.0, 0.8]) * length
    _clip(ours, 1.0)
    torch.nn.utils.clip_grad_norm_(theirs, 1.0)
    assert ours[0].grad is not None
    assert theirs[0].grad is not None
    assert torch.allclose(ours[0].grad, theirs[0].grad, rtol=0, atol=0, equal_nan=True)

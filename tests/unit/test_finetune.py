"""The training loop: it learns, it repeats itself, it freezes what it says, and it stops when numbers break."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from storage.errors import TrainingFailed
from tests.fakes.lessons import WORDS, make_snapshot, one_torch_thread
from tests.fakes.tiny_encoder import make_tiny_encoder
from trainer.dataset import read_dataset
from trainer.finetune import CosineHead, Recipe, Step, count_steps, finetune, first_rows
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


class TestMeter:
    def test_the_fraction_never_falls_and_ends_at_one(self) -> None:
        now = [0.0]
        reports: list[Progress] = []
        meter = Meter(reports.append, lambda: now[0])
        meter.plan({Phase.PREPARING: 1, Phase.TRAINING: 8, Phase.EVALUATING: 1})
        meter.enter(Phase.PREPARING)
        now[0] += 10
        meter.plan({Phase.PREPARING: 1, Phase.TRAINING: 30, Phase.EVALUATING: 1})  # a correction
        meter.enter(Phase.TRAINING)
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
        meter.step(Step(1, 4, 1, 4, 0.5))
        assert reports[-1] == Progress(2, Phase.TRAINING, 0.25, 1, 4, 1, 4, 0.5, eta_seconds=75)

    def test_quick_steps_are_not_all_reported(self) -> None:
        now = [0.0]
        reports: list[Progress] = []
        meter = Meter(reports.append, lambda: now[0])
        meter.plan({Phase.TRAINING: 1})
        meter.enter(Phase.TRAINING)
        for number in range(1, 1001):
            now[0] += 0.001
            meter.step(Step(1, 1, number, 1000, 0.5))
        assert len(reports) < 8
        assert reports[-1].step == 1000

"""Simulated classifiers and error rates of the gate: what is drawn, what goes wrong, and how errors are counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from bot.services.promotion import decide, paired
from storage.records import EvaluationReport, PairedOutcome, PromotionPolicy, Split
from tests.benchmarks.learning.pair_models import (
    Today,
    Version,
    View,
    bootstrap,
    damaged,
    instant,
    lost,
    outcomes,
    sound,
    today,
    version_zero,
)
from tests.benchmarks.learning.pairs import (
    Draw,
    Verdict,
    draw_classifier,
    false_promotion,
    false_rejection,
    mislabelled,
    replay,
    snapshot,
    surer,
    tally,
    verdicts,
)
from tests.benchmarks.learning.samples import Pair
from trainer.dataset import read_dataset
from trainer.model.head import Head

POOL: list[Pair] = [(f"text {number}", f"label {number % 30:02d}") for number in range(3000)]


def drawn(seed: int = 1) -> Draw:
    return draw_classifier(POOL, seed)


def seen(draw: Draw, seed: int = 0, spread: float = 0.6) -> View:
    """Vectors around one direction per label."""
    rng = np.random.default_rng(seed)
    names = np.linalg.qr(rng.normal(size=(64, 64)))[0][: len(draw.labels)]
    texts = names[draw.targets] + spread * rng.normal(size=(len(draw.texts), 64)) / 8
    return View(*(rows.astype(np.float32) / np.linalg.norm(rows, axis=1)[:, None] for rows in (texts, names)))


@pytest.mark.parametrize("seed", range(12))
def test_a_draw_is_of_the_mix_and_shares_no_text_between_its_parts(seed: int) -> None:
    draw = drawn(seed)
    parts = [draw.old, draw.newer, draw.golden, draw.truth]
    assert sorted(np.concatenate(parts)) == list(range(len(draw.texts)))
    assert 4 <= len(draw.labels) <= 30
    assert 20 <= len(draw.newer) <= 200
    assert 50 <= len(draw.golden) <= 100
    assert set(Counter(draw.targets[draw.old].tolist()).values()) == {draw.shots}
    assert [draw.labels[target] for target in draw.targets] == [POOL[source][1] for source in draw.source]
    assert [POOL[source][0] for source in draw.source] == list(draw.texts)


def test_draws_differ_by_seed_and_repeat_with_it() -> None:
    assert drawn(3).texts == drawn(3).texts
    assert len({drawn(seed).texts for seed in range(5)}) == 5


def test_a_text_that_is_there_twice_counts_once() -> None:
    draw = draw_classifier([*POOL, *POOL], 2)
    assert len(set(draw.texts)) == len(draw.texts)


def test_a_snapshot_holds_the_asked_rows_and_all_golden_ones() -> None:
    draw = drawn()
    data = read_dataset(snapshot(draw, draw.old))
    assert data.train.ids == tuple(draw.old)
    assert data.golden.ids == tuple(sorted(draw.golden))
    assert data.train.targets.tolist() == draw.targets[draw.old].tolist()


def test_rows_of_a_label_that_does_not_exist_yet_are_left_out() -> None:
    draw = drawn()
    data = read_dataset(snapshot(draw, draw.train, labels=range(1, len(draw.labels))))
    assert draw.labels[0] not in data.labels
    assert data.train.ids == tuple(row for row in np.sort(draw.train) if draw.targets[row] != 0)


@pytest.mark.parametrize("seed", range(4))
def test_a_tenth_to_three_tenths_of_the_asked_labels_are_wrong(seed: int) -> None:
    draw = drawn()
    wrong = np.flatnonzero(mislabelled(draw, draw.old, None, seed) != draw.targets)
    assert set(wrong) <= set(draw.old)
    assert (len(wrong) + 1) / len(draw.old) >= 0.1
    assert (len(wrong) - 1) / len(draw.old) <= 0.3


def test_wrong_labels_are_any_others() -> None:
    draw = drawn()
    given = [mislabelled(draw, draw.old, None, seed) for seed in range(30)]
    assert 0.17 < np.mean([labels[draw.old] != draw.targets[draw.old] for labels in given]) < 0.23
    moved = {int(target) for labels in given for target in labels[draw.old[draw.targets[draw.old] == 0]]}
    assert len(moved) > len(draw.labels) / 2


def test_confused_labels_become_those_they_are_confused_with() -> None:
    draw = drawn()
    confused = np.roll(np.arange(len(draw.labels)), 1)
    given = mislabelled(draw, draw.old, confused, 0)
    changed = given != draw.targets
    assert changed.any()
    assert (given[changed] == confused[draw.targets[changed]]).all()


def row(number: int, label: str, split: Split, champion: str, candidate: str) -> PairedOutcome:
    return PairedOutcome(number, label, split, champion, candidate)


OUTCOMES = [
    row(1, "a", Split.TRAIN, "a", "b"),
    row(2, "a", Split.TRAIN, "a", "c"),
    row(3, "a", Split.TRAIN, "b", "a"),
    row(4, "a", Split.GOLDEN, "c", "a"),
    row(5, "b", Split.GOLDEN, "b", "a"),
    row(6, "b", Split.TRAIN, "b", "b"),
    row(7, "b", Split.TRAIN, "c", "a"),
]


def test_a_tally_counts_by_label_and_split() -> None:
    assert tally(OUTCOMES) == [[3, 1, 2, 1, 1, 0], [2, 0, 0, 1, 0, 1]]


def test_what_is_replayed_has_the_same_tally() -> None:
    sure = [replace(row, surer=0.1 * row.example_id) if row.split is Split.GOLDEN else row for row in OUTCOMES]
    again = replay(tally(sure), surer(sure)).outcomes
    assert tally(again) == tally(sure)
    assert paired(again) == paired(sure)
    assert surer(again) == pytest.approx(surer(sure))
    assert surer(replay(tally(OUTCOMES)).outcomes) is None


@pytest.mark.parametrize("seed", range(30))
def test_the_rule_decides_a_replay_as_it_decides_the_rows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = [
        row(number, *(str(rng.integers(2)), (Split.TRAIN, Split.GOLDEN)[int(rng.random() < 0.3)]), "0", "1")
        for number in range(40)
    ]
    found = [replace(one, candidate=one.label) if rng.random() < 0.4 else one for one in found]
    if seed % 2:
        golden = [one for one in found if one.split is Split.GOLDEN]
        sure = dict(zip(golden, rng.uniform(-0.3, 0.3, len(golden)).tolist(), strict=True))
        found = [replace(one, surer=sure.get(one)) for one in found]
    report = replace(replay([]), outcomes=tuple(found))
    policy = PromotionPolicy(minimum_gain=1)
    assert decide(replay(tally(found), surer(found)), policy, "v1").promote == decide(report, policy, "v1").promote


def verdict(task: int, difference: float, promoted: bool) -> Verdict:
    return Verdict(task, "more labels", False, True, difference, promoted)


FOUND = [
    verdict(1, -0.010, True),
    verdict(1, -0.040, False),
    verdict(2, -0.030, True),
    verdict(2, -0.009, True),
    verdict(2, 0.009, False),
    verdict(3, 0.010, False),
    verdict(3, 0.050, True),
    verdict(4, 0.020, True),
    verdict(4, 0.020, True),
]


def test_errors_are_shares_of_those_that_truly_differ() -> None:
    one, three, kept = false_promotion(FOUND), false_promotion(FOUND, 3.0), false_rejection(FOUND)
    assert one is not None
    assert three is not None
    assert kept is not None
    assert (one.cases, three.cases, kept.cases) == (3, 2, 4)
    assert [one.share, three.share, kept.share] == pytest.approx([2 / 3, 1 / 2, 1 / 4])
    assert false_promotion(FOUND[4:]) is None


def test_the_interval_draws_classifiers_again_not_pairs() -> None:
    alike = [verdict(task, 0.02, task % 2 == 0) for task in range(10) for _ in range(50)]
    rate = false_rejection(alike)
    assert rate is not None
    assert rate.low <= 0.2  # 500 independent pairs would give 0.46 to 0.54
    assert rate.high >= 0.8


def test_a_recorded_pair_becomes_a_verdict() -> None:
    recorded = {
        "mode": "m",
        "champion": "deep",
        "candidate": "instant",
        "stands": False,
        "truth": [200, 3, 7],
        "counts": tally(OUTCOMES),
        "sureness": [None, [2, 0.0, 0.0, 0.25, 0.1]],
    }

    def two_more_worse(report: EvaluationReport) -> bool:
        assert surer(report.outcomes) == pytest.approx((0.25, 0.1))
        return paired(report.outcomes) == (2, 3)

    assert verdicts(5, [recorded], two_more_worse) == [Verdict(5, "m", True, False, -0.02, True)]


def test_faults_change_what_is_learned_and_nothing_else() -> None:
    draw = drawn()
    data = read_dataset(snapshot(draw, draw.old))
    rows = np.arange(0, len(data.train), 2)
    assert sound(data, rows)[1].tolist() == data.train.targets[rows].tolist()
    chosen, targets = bootstrap(0)(data, rows)
    assert len(chosen) == len(rows)
    assert set(chosen) < set(rows)
    assert targets.tolist() == data.train.targets[chosen].tolist()
    chosen, targets = lost(1, None)(data, rows)
    assert set(rows) - set(chosen) == {row for row in rows if data.train.targets[row] == 1}
    chosen, targets = lost(1, 2)(data, rows)
    assert 1 not in targets
    assert chosen.tolist() == rows.tolist()


def test_damaged_features_are_unit_vectors_and_others() -> None:
    view = seen(drawn())
    for seed in range(4):
        worse = damaged(view, seed)
        assert np.allclose(np.linalg.norm(worse.texts, axis=1), 1, atol=1e-5)
        assert 0.3 < float((worse.texts * view.texts).sum(axis=1).mean()) < 0.99


def test_a_version_answers_rows_it_learned_through_a_twin_that_had_not_seen_them() -> None:
    draw = drawn()
    view = seen(draw)
    content = snapshot(draw, draw.old)
    version = instant(draw, view, content, 0)
    assert version.trained_on == frozenset(draw.old.tolist())
    assert set(version.out_of_fold) == version.trained_on


def test_a_twin_cannot_know_what_only_the_row_itself_would_teach_it() -> None:
    draw = drawn()
    view = seen(draw, spread=50.0)  # noise: a head that has seen the rows holds them by heart
    version = instant(draw, view, snapshot(draw, draw.old), 0)
    truth = draw.targets[draw.old]
    by_heart = (version.head.logits(view.texts[draw.old]).argmax(1) == truth).mean()
    twins = np.mean([version.out_of_fold[row] == draw.labels[draw.targets[row]] for row in draw.old.tolist()])
    assert by_heart > twins + 0.15


def test_newer_rows_are_answered_by_the_champion_of_today_and_the_candidates_twin() -> None:
    draw = drawn()
    view = seen(draw)
    before, now = snapshot(draw, draw.old), snapshot(draw, draw.train)
    old, new = instant(draw, view, before, 0), instant(draw, view, now, 0)
    serving = today(old, draw, now, 0)
    assert {number: serving.answers[number] for number in old.trained_on} == old.out_of_fold
    assert set(serving.answers) == set(draw.train.tolist()) | set(draw.golden.tolist())
    found = outcomes(serving, new, draw, now)
    assert {one.example_id for one in found if one.split is Split.GOLDEN} == set(draw.golden.tolist())
    assert {one.example_id: one.candidate for one in found if one.split is Split.TRAIN} == new.out_of_fold


def test_a_row_that_the_candidate_did_not_learn_is_answered_by_itself() -> None:
    draw = drawn()
    view = seen(draw)
    now = snapshot(draw, draw.train)
    blind = Head(draw.labels, np.zeros_like(view.names), np.zeros(len(draw.labels), np.float32), 1.0, 0.0)
    candidate = Version("deep", view, blind, frozenset(draw.old.tolist()), {})
    champion = Today("v0", view, blind, dict.fromkeys(draw.train.tolist(), "x"))
    found = outcomes(champion, candidate, draw, now)
    assert {one.example_id for one in found} == set(draw.newer.tolist())
    assert {one.candidate for one in found} == {draw.labels[0]}


def test_version_zero_is_measured_by_its_twins_and_serves_what_it_knows() -> None:
    draw = drawn()
    view = seen(draw)
    now = snapshot(draw, draw.train)
    zero, new = version_zero(draw, view, now, 0), instant(draw, view, now, 0)
    assert {number: zero.answers[number] for number in draw.train.tolist()} == new.out_of_fold
    assert np.allclose(zero.head.weight, new.head.weight)
    assert not any(one.candidate != one.champion for one in outcomes(zero, new, draw, now))

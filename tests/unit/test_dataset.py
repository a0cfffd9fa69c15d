"""Snapshot to rows: who is trained on, who is held out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import TrainingFailed
from storage.records import Split
from storage.snapshots import SnapshotLabel
from tests.fakes.lessons import make_snapshot
from trainer.dataset import Rows, read_dataset, split_folds


def rows(targets: list[int]) -> Rows:
    return Rows(tuple(range(len(targets))), tuple("t" for _ in targets), np.array(targets, np.int64))


def test_golden_rows_are_not_among_the_train_rows() -> None:
    snapshot = make_snapshot()
    data = read_dataset(snapshot)
    golden = {row.id for row in snapshot.rows if row.split is Split.GOLDEN}
    assert set(data.golden.ids) == golden
    assert golden
    assert set(data.train.ids).isdisjoint(golden)
    assert len(data.train) + len(data.golden) == len(snapshot.rows)


def test_rows_come_by_id_with_their_own_labels() -> None:
    snapshot = make_snapshot()
    data = read_dataset(replace(snapshot, rows=snapshot.rows[::-1]))
    given = {row.id: (row.text, row.label) for row in snapshot.rows}
    assert list(data.train.ids) == sorted(data.train.ids)
    for number, text, target in zip(data.train.ids, data.train.texts, data.train.targets, strict=True):
        assert given[number] == (text, data.labels[target])


def test_a_label_without_rows_is_still_a_label() -> None:
    snapshot = make_snapshot()
    data = read_dataset(replace(snapshot, labels=(*snapshot.labels, SnapshotLabel(9, "newIdea", "wishes"))))
    assert data.labels[-1] == "newIdea"
    assert data.label_texts[-1] == "new idea: wishes"


def test_one_label_cannot_be_trained() -> None:
    with pytest.raises(TrainingFailed, match="texts for 1 label; training needs at least 2"):
        read_dataset(make_snapshot(labels=1))


def test_seven_texts_cannot_be_trained_and_eight_can() -> None:
    snapshot = make_snapshot(labels=2, per_label=4, golden_every=0)
    assert len(read_dataset(snapshot).train) == 8
    with pytest.raises(TrainingFailed, match="7 texts to train on; at least 8"):
        read_dataset(replace(snapshot, rows=snapshot.rows[:7]))


def test_an_empty_snapshot_is_one_sentence() -> None:
    with pytest.raises(TrainingFailed, match="0 labels"):
        read_dataset(replace(make_snapshot(), rows=()))


def test_classes_are_spread_evenly_over_the_folds() -> None:
    classes = np.repeat([0, 1, 2], [50, 30, 20])
    for fold in split_folds(rows(classes.tolist()), 5, seed=0):
        assert np.bincount(classes[fold.held]).tolist() == [10, 6, 4]
        assert len(fold.kept) == 80


def test_the_same_seed_gives_the_same_folds_and_another_seed_others() -> None:
    sample = rows([0, 1] * 50)
    first, again, other = (split_folds(sample, 3, seed)[0].held for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_only_the_allowed_rows_are_held_out() -> None:
    folds = split_folds(rows([0, 1] * 20), 2, seed=0, among=np.arange(10))
    assert sorted(np.concatenate([fold.held for fold in folds])) == list(range(10))
    assert all(len(fold.kept) == 40 - len(fold.held) for fold in folds)


@given(st.lists(st.integers(0, 4), min_size=8, max_size=60), st.integers(2, 5), st.integers(0, 5))
def test_every_row_is_held_once_and_every_fold_keeps_every_class(targets: list[int], folds: int, seed: int) -> None:
    counts = np.bincount(targets)
    split = split_folds(rows(targets), folds, seed)
    held = np.concatenate([fold.held for fold in split])
    again = [index for index, target in enumerate(targets) if counts[target] > 1]
    assert sorted(held) == again
    for fold in split:
        assert sorted([*fold.kept, *fold.held]) == list(range(len(targets)))
        assert {targets[index] for index in fold.kept} == set(targets)


def test_where_labels_have_one_text_each_those_are_all_the_evidence_there_is() -> None:
    """Most rows can be held out without losing a class, or all are: nothing in between."""
    few = split_folds(rows([0, 0, *range(1, 11)]), 3, seed=0)
    assert sorted(np.concatenate([fold.held for fold in few])) == list(range(12))
    half = split_folds(rows([0, 0, 0, 1, 2, 3]), 3, seed=0)
    assert sorted(np.concatenate([fold.held for fold in half])) == [0, 1, 2]

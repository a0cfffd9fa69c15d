"""Where training begins: at another classifier's version if that can be used, else at the base, with the reason."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from storage.artifacts import seal
from storage.snapshots import SnapshotContent, write_snapshot
from tests.fakes.lessons import WORDS, make_snapshot
from tests.fakes.tiny_encoder import make_tiny_encoder
from trainer.dataset import read_dataset
from trainer.protocol import learned
from trainer.start import Start, began_at, choose_start

OTHERS = make_snapshot(seed=1, first_id=1000)
"""What the version has learned."""
MINE = replace(
    make_snapshot(), rows=tuple(replace(row, text=f"my own {row.id} {row.text}") for row in make_snapshot().rows)
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_encoder(tmp_path_factory.mktemp("base") / "tiny", texts=WORDS.values())


def sealed(inputs: Path, encoder: Path, *learned_here: SnapshotContent, **lineage: object) -> Path:
    """A version in a run's inputs, beside the snapshots it has learned."""
    shas = [write_snapshot(content, inputs) for content in learned_here]
    shutil.copytree(encoder, inputs / "staging")
    return inputs / seal(inputs / "staging", inputs, "version", (), {"learned": shas} | lineage, 0.0)


def choose(wanted: Path | None, base: Path, content: SnapshotContent = MINE) -> Start:
    return choose_start(wanted, "support v3", base, read_dataset(content))[0]


def test_without_a_wish_it_is_the_base_and_every_row_can_be_evidence(base: Path) -> None:
    start = choose(None, base)
    assert (start.directory, start.artifact, start.told) == (base, None, "base")
    assert len(start.unseen) == len(read_dataset(MINE).train)


def test_a_version_of_the_same_base_is_begun_at(base: Path, tmp_path: Path) -> None:
    version = sealed(tmp_path, base, OTHERS)
    start, data = choose_start(version, "support v3", base, read_dataset(MINE))
    assert (start.directory, start.artifact, start.told) == (version, version.name, "support v3")
    assert len(start.unseen) == len(data.train) == 54
    assert len(data.golden) == 6


def test_texts_that_the_version_has_learned_are_no_evidence(base: Path, tmp_path: Path) -> None:
    """Also golden ones, and however they are written; what was golden there was never learned."""
    train = [row for row in MINE.rows if row.split == "train"]
    golden = [row for row in MINE.rows if row.split == "golden"]
    theirs = [replace(train[0], text=train[0].text.upper()), train[7], replace(golden[0], split=train[0].split)]
    version = sealed(tmp_path, base, OTHERS, replace(MINE, rows=(*theirs, golden[1])))
    start, data = choose_start(version, "support v3", base, read_dataset(MINE))
    seen = {data.train.ids[index] for index in set(range(len(data.train))) - set(start.unseen.tolist())}
    assert seen == {train[0].id, train[7].id}
    assert len(data.train) == len(train)
    assert set(data.golden.ids) == {row.id for row in golden} - {golden[0].id}


def test_if_most_texts_were_learned_it_is_the_base_with_all_its_evidence(base: Path, tmp_path: Path) -> None:
    version = sealed(tmp_path, base, MINE)
    start, data = choose_start(version, "support v3", base, read_dataset(MINE))
    assert (start.directory, start.artifact) == (base, None)
    assert start.told.startswith("base, because most of these texts are among those that support v3 has learned")
    assert np.array_equal(start.unseen, np.arange(54))
    assert len(data.golden) == 6


def test_what_cannot_be_used_is_told_in_one_clause(base: Path, tmp_path: Path) -> None:
    version = sealed(tmp_path, base, OTHERS)
    gone = choose(tmp_path / ("e" * 64), base)
    assert gone.told == "base, because the files of support v3 are damaged or gone"
    unknown = sealed(tmp_path, base, snapshot=None)
    assert choose(unknown, base).told == "base, because it is not known any more which texts support v3 has learned"
    next(tmp_path.glob("*.jsonl")).unlink()
    assert "not known any more" in choose(version, base).told
    (version / "model.safetensors").write_bytes((version / "model.safetensors").read_bytes()[:-1])
    damaged = choose(version, base)
    assert damaged.told == "base, because the files of support v3 are damaged or gone"
    assert (damaged.directory, damaged.artifact) == (base, None)


@pytest.mark.parametrize("other", [{"hidden": 16}, {"texts": ["another vocabulary"]}])
def test_another_encoder_or_tokenizer_is_not_begun_at(base: Path, tmp_path: Path, other: dict[str, object]) -> None:
    version = sealed(tmp_path, make_tiny_encoder(tmp_path / "other", **other), OTHERS)  # type: ignore[arg-type]
    assert choose(version, base).told == "base, because support v3 has another base encoder or tokenizer"


def test_a_lineage_names_every_snapshot_that_was_learned() -> None:
    assert learned({"snapshot": "a"}) == ("a",)  # as versions were written before there was anything else to learn
    assert learned({"snapshot": "a", "learned": ["a", "b"]}) == ("a", "b")
    assert learned({}) == ()


def test_a_champion_says_where_it_goes_back_to(base: Path, tmp_path: Path) -> None:
    assert began_at(sealed(tmp_path, base, start="c" * 64)) == "c" * 64
    assert began_at(sealed(tmp_path, base, start=None)) is None
    assert began_at(base) is None

"""The whole job on a tiny encoder: files, evidence, honesty of the comparison, repetition; once with the real base."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from storage.artifacts import ALLOWED, read_manifest, seal, verify
from storage.errors import ArtifactError, ConfigurationError, TrainingFailed
from storage.records import CandidateKind, EvaluationReport, Split
from storage.snapshots import SnapshotContent, SnapshotLabel, write_snapshot
from tests.fakes.lessons import WORDS, make_snapshot, one_torch_thread
from tests.fakes.small_disk import no_file_larger_than
from tests.fakes.tiny_encoder import make_tiny_encoder
from trainer import meter
from trainer.bases import PACKAGED, resolve
from trainer.champion import encode_dataset, read_evidence, trained_champion
from trainer.dataset import read_dataset
from trainer.export import CANARY_TEXTS, export_encoder
from trainer.finetune import CosineHead, finetune, first_rows
from trainer.learn import learn
from trainer.measured import named
from trainer.model.encoder import Encoder
from trainer.model.head import Head, fit_head
from trainer.network import Network
from trainer.protocol import JobSpec, Phase, Progress, from_json
from trainer.run_folder import BaseTask, RunFolder
from trainer.run_job import run as run_task

# Rates for a network of random weights, to which a label's name means nothing.
RECIPE = {"body_rate": 1e-3, "frozen_layers": 1, "name_weight": 1.0}
QUICK = {"least_steps": 2, "most_steps": 2}
SPEC = JobSpec(job_id="j1", attempt=1, snapshot="a" * 64, base="tiny", recipe=RECIPE)
SNAPSHOT = make_snapshot()
OTHERS = replace(make_snapshot(seed=7, first_id=9000), classifier="support")
"""What another classifier was taught."""
OWN = replace(SNAPSHOT, rows=tuple(replace(row, text=f"{row.text} {row.id}") for row in SNAPSHOT.rows))
"""Texts of which that one knows none."""


@pytest.fixture(scope="module", autouse=True)
def _calm() -> None:
    one_torch_thread()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_encoder(tmp_path_factory.mktemp("base") / "tiny", texts=WORDS.values())


@pytest.fixture(scope="module")
def version(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    staging = tmp_path_factory.mktemp("version") / "v1"
    run(base, staging)
    return staging


@pytest.fixture(scope="module")
def second(base: Path, version: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Measured against the version, after the same rows and with other chances."""
    staging = tmp_path_factory.mktemp("second") / "v2"
    run(base, staging, SNAPSHOT, version, replace(SPEC, seed=5))
    return staging


def run(
    base: Path,
    staging: Path,
    snapshot: SnapshotContent = SNAPSHOT,
    champion: Path | None = None,
    spec: JobSpec = SPEC,
) -> list[Progress]:
    reports: list[Progress] = []
    learn(snapshot, base, champion, spec, staging, reports.append, "cpu")
    return reports


def report_of(directory: Path) -> EvaluationReport:
    return from_json(EvaluationReport, (directory / "report.json").read_text())


def train_ids(snapshot: SnapshotContent) -> set[int]:
    return {row.id for row in snapshot.rows if row.split is Split.TRAIN}


def test_the_staging_directory_becomes_an_artifact(base: Path, tmp_path: Path) -> None:
    staging = tmp_path / "staging"
    run(base, staging)
    names = {path.name for path in staging.iterdir()}
    optional = {"manifest.json", "tokenizer_config.json", "special_tokens_map.json"}
    assert names == ALLOWED - optional
    artifact = seal(staging, tmp_path / "artifacts", "version", (), {}, 0.0)
    verify(tmp_path / "artifacts" / artifact)
    assert list(tmp_path.glob("*.part")) == []


def test_what_is_served_answers_as_the_report_says(version: Path) -> None:
    """Golden rows are answered by the candidate itself, through encoder.onnx and head.safetensors."""
    encoder, head = Encoder.load(version), Head.load(version)
    texts = {row.id: row.text for row in SNAPSHOT.rows}
    golden = [outcome for outcome in report_of(version).outcomes if outcome.split is Split.GOLDEN]
    answers = head.probabilities(encoder.encode_many([texts[o.example_id] for o in golden])).argmax(1)
    assert [head.labels[best] for best in answers] == [outcome.candidate for outcome in golden]


def test_it_learns(version: Path) -> None:
    encoder, head = Encoder.load(version), Head.load(version)
    fresh = make_snapshot(seed=99)
    answers = head.logits(encoder.encode_many([row.text for row in fresh.rows])).argmax(1)
    assert np.mean([head.labels[a] == row.label for a, row in zip(answers, fresh.rows, strict=True)]) > 0.85


def test_every_row_is_evidence_as_long_as_they_are_few(version: Path) -> None:
    report = report_of(version)
    golden = [outcome for outcome in report.outcomes if outcome.split is Split.GOLDEN]
    train = [outcome for outcome in report.outcomes if outcome.split is Split.TRAIN]
    assert {o.example_id for o in golden} == {row.id for row in SNAPSHOT.rows} - train_ids(SNAPSHOT)
    assert sorted(o.example_id for o in train) == sorted(train_ids(SNAPSHOT))
    assert (report.train_rows, report.golden_rows, report.champion) == (54, 6, "v0")
    truth = {row.id: row.label for row in SNAPSHOT.rows}
    assert all(outcome.label == truth[outcome.example_id] for outcome in report.outcomes)


def test_every_training_begins_at_the_means_of_its_own_rows(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the rows of all of them are embedded once."""
    from trainer import learn as job

    begun: list[tuple[np.ndarray, list[str]]] = []

    def noted(network: Network, head: CosineHead, texts: list[str], *rest: Any, **more: Any) -> Any:
        begun.append((head.rows.detach().numpy().copy(), texts))
        return finetune(network, head, texts, *rest, **more)

    monkeypatch.setattr(job, "finetune", noted)
    run(base, tmp_path / "v", spec=replace(SPEC, recipe=RECIPE | QUICK))
    network, data = Network(base), read_dataset(SNAPSHOT)
    label_of = dict(zip(data.train.texts, data.train.targets, strict=True))
    assert {len(texts) for _, texts in begun} == {36 + 3, 54 + 3}
    for rows, texts in begun:
        own = texts[: -len(data.labels)]
        targets = np.array([label_of[text] for text in own])
        expected = first_rows(network.embed(own), targets, network.embed(data.label_texts), 1.0)
        np.testing.assert_allclose(rows, expected, atol=1e-5)


def test_the_shadow_has_not_seen_what_it_is_asked(base: Path, tmp_path: Path) -> None:
    """With labels drawn at random only a leak could answer better than chance, one in three."""
    chance = random.Random(0)
    snapshot = make_snapshot(per_label=60)
    rows = tuple(
        replace(row, label=chance.choice(list(WORDS)[:3]), text="".join(chance.choices(ascii_lowercase, k=12)))
        for row in snapshot.rows
    )
    spec = replace(SPEC, recipe={"least_steps": 300, "dropout": 0.0, "body_rate": 3e-3, "frozen_layers": 0})
    run(base, tmp_path / "v", replace(snapshot, rows=rows), spec=spec)
    measured = [o for o in report_of(tmp_path / "v").outcomes if o.split is Split.TRAIN]
    assert np.mean([outcome.candidate == outcome.label for outcome in measured]) < 0.6
    assert np.mean([outcome.champion == outcome.label for outcome in measured]) < 0.6


def test_a_version_is_served_in_float32_where_the_recipe_says_so(base: Path, tmp_path: Path) -> None:
    run(base, tmp_path / "v", spec=replace(SPEC, recipe=SPEC.recipe | {"fp32": 1, "epochs": 1, "least_steps": 1}))
    assert json.loads((tmp_path / "v" / "encoder.json").read_text())["precision"] == "fp32"
    served = Encoder.load(tmp_path / "v")
    exact = Network(tmp_path / "v").embed(CANARY_TEXTS)
    assert np.abs(served.encode_many(CANARY_TEXTS) - exact).max() < 1e-4


def test_the_evidence_names_what_was_trained_on_and_the_twins_answers(version: Path) -> None:
    evidence, report = read_evidence(version), report_of(version)
    assert evidence.trained_on == train_ids(SNAPSHOT)
    assert evidence.learned == {row.id: row.label for row in SNAPSHOT.rows if row.split is Split.TRAIN}
    measured = {o.example_id: o.candidate for o in report.outcomes if o.split is Split.TRAIN}
    assert evidence.out_of_fold == measured


def test_no_text_of_anybody_is_in_the_artifact(version: Path) -> None:
    texts = [row.text for row in SNAPSHOT.rows]
    for name in ("README.md", "report.json", "evidence.json", "canary.json"):
        content = (version / name).read_text()
        assert not any(text in content for text in texts), name


def test_the_same_job_gives_the_same_files(base: Path, version: Path, tmp_path: Path) -> None:
    run(base, tmp_path / "again")
    for path in version.iterdir():
        if path.name not in {"report.json", "README.md"}:  # hold wall times
            assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name
    assert report_of(tmp_path / "again").outcomes == report_of(version).outcomes


def test_progress_passes_every_phase_and_never_falls_back(base: Path, tmp_path: Path) -> None:
    reports = run(base, tmp_path / "staging")
    phases = list(dict.fromkeys(report.phase for report in reports))
    assert phases == [Phase.PREPARING, Phase.MEASURING, Phase.TRAINING, Phase.EXPORTING, Phase.EVALUATING]
    fractions = [report.fraction for report in reports]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    last = [report for report in reports if report.phase is Phase.TRAINING][-1]
    assert last.step == last.steps == 60
    assert last.loss is not None


def test_while_texts_are_embedded_there_are_signs_of_life_that_change_nothing(
    base: Path, version: Path, second: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meter, "BEAT", 0.0)
    served = 3  # names, train and golden rows: 64 at most of each
    assert repeated(run(base, tmp_path / "v1")) == {
        Phase.PREPARING: served,
        Phase.MEASURING: 1 + 3 * (1 + served),  # the base network; its frozen layers and the export of each shadow
        Phase.TRAINING: 1,
        Phase.EXPORTING: served,
    }
    same(version, tmp_path / "v1")
    against = run(base, tmp_path / "v2", SNAPSHOT, version, replace(SPEC, seed=5))
    assert repeated(against)[Phase.PREPARING] == 2 * served, "the champion reads them, too"
    same(second, tmp_path / "v2")


def repeated(reports: list[Progress]) -> Counter[Phase]:
    """How many reports of each phase say the same as the one before."""
    told = [(report.phase, report.fraction, report.step) for report in reports]
    return Counter(one[0] for one, before in zip(told[1:], told, strict=False) if one == before)


class TestAgainstAChampion:
    def test_its_rows_are_compared_by_its_stored_answers(self, base: Path, version: Path, tmp_path: Path) -> None:
        newer = make_snapshot(seed=5, per_label=10, golden_every=0, first_id=1000)
        grown = replace(SNAPSHOT, rows=(*SNAPSHOT.rows, *newer.rows))
        spec = replace(SPEC, champion="c" * 64, champion_version="v1")
        run(base, tmp_path / "v2", grown, version, spec)
        report, stored = report_of(tmp_path / "v2"), read_evidence(version)
        assert report.champion == "v1"
        old = [o for o in report.outcomes if o.split is Split.TRAIN and o.example_id in stored.trained_on]
        assert all(outcome.champion == stored.out_of_fold[outcome.example_id] for outcome in old)
        assert any(outcome.example_id >= 1000 for outcome in report.outcomes)
        assert {o.example_id for o in report.outcomes if o.split is Split.GOLDEN} == {
            row.id for row in SNAPSHOT.rows if row.split is Split.GOLDEN
        }

    def test_rows_it_has_learned_without_evidence_are_left_out(self, version: Path, second: Path) -> None:
        measured = {o.example_id for o in report_of(second).outcomes if o.split is Split.TRAIN}
        assert measured
        assert measured <= set(read_evidence(version).out_of_fold)

    def test_golden_rows_tell_how_much_surer_of_the_right_label_it_is(self, version: Path, second: Path) -> None:
        texts = {row.id: row.text for row in SNAPSHOT.rows}
        golden = [outcome for outcome in report_of(second).outcomes if outcome.split is Split.GOLDEN]
        before, after = (
            [
                float(head.probabilities(encoder.encode_many([texts[o.example_id]]))[0, head.labels.index(o.label)])
                for o in golden
            ]
            for encoder, head in ((Encoder.load(path), Head.load(path)) for path in (version, second))
        )
        assert np.std(before) > 0.01
        assert [o.surer for o in golden] == pytest.approx(np.subtract(after, before), abs=1e-4)
        assert all(o.surer is None for o in report_of(second).outcomes if o.split is Split.TRAIN)

    def test_going_on_from_it_measures_on_newer_rows_alone(self, base: Path, version: Path, tmp_path: Path) -> None:
        newer = make_snapshot(seed=5, per_label=10, golden_every=0, first_id=1000)
        grown = replace(SNAPSHOT, rows=(*SNAPSHOT.rows, *newer.rows))
        spec = replace(SPEC, recipe=SPEC.recipe | {"continue_from": 1, "least_newer": 1})
        run(base, tmp_path / "v2", grown, version, spec)
        measured = [o for o in report_of(tmp_path / "v2").outcomes if o.split is Split.TRAIN]
        assert measured
        assert all(outcome.example_id >= 1000 for outcome in measured)
        assert read_evidence(tmp_path / "v2").trained_on == train_ids(grown)

    def test_rows_that_are_gone_stay_known_to_a_version_that_goes_on_from_one_that_learned_them(
        self, base: Path, version: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Else they would be called unseen when they come back."""
        monkeypatch.setattr("trainer.learn.choose", lambda *_, **__: CandidateKind.DEEP)
        newer = make_snapshot(seed=5, per_label=10, golden_every=0, first_id=1000)
        changed = replace(SNAPSHOT, rows=(*SNAPSHOT.rows[6:], *newer.rows))
        spec = replace(SPEC, recipe=SPEC.recipe | {"continue_from": 1, "least_newer": 1})
        run(base, tmp_path / "v2", changed, version, spec)
        assert read_evidence(tmp_path / "v2").trained_on == train_ids(changed) | train_ids(SNAPSHOT)
        assert train_ids(SNAPSHOT) > train_ids(changed) & train_ids(SNAPSHOT)
        run(base, tmp_path / "anew", changed, version)
        assert read_evidence(tmp_path / "anew").trained_on == train_ids(changed), "it begins at the base"

    def test_one_that_has_learned_what_was_forgotten_is_not_gone_on_from(
        self, base: Path, version: Path, tmp_path: Path
    ) -> None:
        newer = make_snapshot(seed=5, per_label=10, golden_every=0, first_id=1000)
        grown = replace(SNAPSHOT, rows=(*SNAPSHOT.rows, *newer.rows))
        recipe = RECIPE | QUICK | {"continue_from": 1, "least_newer": 1}
        run(base, tmp_path / "v2", grown, version, replace(SPEC, champion_version="v1", recipe=recipe, anew=True))
        assert report_of(tmp_path / "v2").started_from == "base", "it would have stayed in the weights"

    @pytest.mark.parametrize("name", ["tiny", pytest.param(PACKAGED, marks=pytest.mark.slow)])
    def test_a_head_over_the_base_is_not_gone_on_from(
        self, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        base = base if name == "tiny" else resolve(name)
        with monkeypatch.context() as patch:
            patch.setattr("trainer.learn.choose", lambda *_, **__: CandidateKind.INSTANT)
            run(base, tmp_path / "v1", spec=replace(SPEC, recipe=RECIPE | QUICK))
        assert report_of(tmp_path / "v1").kind is CandidateKind.INSTANT
        newer = make_snapshot(seed=5, per_label=10, golden_every=0, first_id=1000)
        grown = replace(SNAPSHOT, rows=(*SNAPSHOT.rows, *newer.rows))
        recipe = RECIPE | QUICK | {"continue_from": 1, "least_newer": 1}
        spec = replace(SPEC, champion_version="v1", recipe=recipe)
        run(base, tmp_path / "v2", grown, tmp_path / "v1", spec)
        report = report_of(tmp_path / "v2")
        assert report.started_from == "base"
        assert any(o.example_id < 1000 for o in report.outcomes if o.split is Split.TRAIN), "its rows are evidence"

    def test_a_new_label_is_learned(self, base: Path, version: Path, tmp_path: Path) -> None:
        grown = make_snapshot(labels=4, seed=3, first_id=1000)
        run(base, tmp_path / "v2", grown, version)
        report = report_of(tmp_path / "v2")
        account = next(row for row in report.labels if row.label == "account")
        assert account.rows > 0
        assert account.recall > 0.5

    def test_one_without_evidence_is_refused(self, base: Path, version: Path, tmp_path: Path) -> None:
        for path in version.iterdir():
            (tmp_path / path.name).write_bytes(path.read_bytes())
        (tmp_path / "evidence.json").write_text("[]")
        with pytest.raises(ArtifactError, match="evidence"):
            run(base, tmp_path / "v2", SNAPSHOT, tmp_path)


@pytest.fixture(scope="module")
def sealed(version: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The version as an artifact, whose manifest holds the ids of its labels."""
    root = tmp_path_factory.mktemp("sealed")
    staging = shutil.copytree(version, root / "staging.part")
    labels = [{"id": label.id, "name": label.name, "description": ""} for label in SNAPSHOT.labels]
    return root / seal(staging, root, "version", labels, {}, 0.0)


class TestLabelsChangedSinceTheChampion:
    """The champion's artifact knows labels by id; the snapshot says what they are called by now."""

    def answers(self, sealed: Path, snapshot: SnapshotContent) -> dict[int, str]:
        return trained_champion(sealed, read_dataset(snapshot), 1, 0).answers

    def test_a_renamed_label_is_answered_by_its_new_name(self, sealed: Path) -> None:
        before = self.answers(sealed, SNAPSHOT)
        labels = tuple(replace(label, name=f"new {label.name}") for label in SNAPSHOT.labels)
        rows = tuple(replace(row, label=f"new {row.label}") for row in SNAPSHOT.rows)
        after = self.answers(sealed, replace(SNAPSHOT, labels=labels, rows=rows))
        assert after == {number: f"new {label}" for number, label in before.items()}

    def test_a_merged_label_is_answered_by_the_one_that_stays(self, sealed: Path) -> None:
        before = self.answers(sealed, SNAPSHOT)
        bug, refund, praise = SNAPSHOT.labels
        rows = tuple(replace(row, label="bug" if row.label == "refund" else row.label) for row in SNAPSHOT.rows)
        merged = replace(SNAPSHOT, labels=(replace(bug, merged=(refund.id,)), praise), rows=rows)
        after = self.answers(sealed, merged)
        trained = {row.id for row in rows if row.split is Split.TRAIN}
        expected = {number: "bug" if label == "refund" else label for number, label in before.items()}
        assert {number: after[number] for number in trained} == {number: expected[number] for number in trained}
        golden = [row for row in rows if row.split is Split.GOLDEN]
        assert np.mean([after[row.id] == row.label for row in golden]) > 0.8, "the rows of both were learned anew"

    def test_an_answer_with_a_label_that_is_archived_is_no_evidence(self, sealed: Path) -> None:
        before = self.answers(sealed, SNAPSHOT)
        labels = SNAPSHOT.labels[:2]
        rows = tuple(row for row in SNAPSHOT.rows if row.label != "praise")
        after = self.answers(sealed, replace(SNAPSHOT, labels=labels, rows=rows))
        assert "praise" not in after.values()
        assert {number for number in after if number in train_ids(SNAPSHOT)} == {
            number for number, label in before.items() if label != "praise" and number in train_ids(SNAPSHOT)
        }


MISTAKEN = frozenset([row.id for row in SNAPSHOT.rows if row.label == "praise" and row.split is Split.TRAIN][:14])
"""Texts about praise that somebody labelled as bugs, and a lead has put right since the champion was trained."""


@pytest.fixture(scope="module")
def mistaken(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    staging = tmp_path_factory.mktemp("mistaken") / "v1"
    rows = tuple(replace(row, label="bug" if row.id in MISTAKEN else row.label) for row in SNAPSHOT.rows)
    run(base, staging, replace(SNAPSHOT, rows=rows))
    return staging


class TestTextsRelabelledSinceTheChampion:
    def test_people_get_its_head_with_the_repairs_and_so_it_is_measured(self, mistaken: Path) -> None:
        data = read_dataset(SNAPSHOT)
        encoded, before = encode_dataset(Encoder.load(mistaken), data, 1), Head.load(mistaken)
        served = fit_head(data.labels, encoded.names, encoded.train, data.train.targets, prior=before).head
        plain, repaired = (
            named(data.golden.ids, head.logits(encoded.golden), head.labels) for head in (before, served)
        )
        assert plain != repaired
        champion = trained_champion(mistaken, data, 1, 0)
        assert {number: champion.answers[number] for number in data.golden.ids} == repaired

    def test_their_old_answers_are_no_evidence_and_all_others_are(self, mistaken: Path) -> None:
        champion, stored = trained_champion(mistaken, read_dataset(SNAPSHOT), 1, 0), read_evidence(mistaken).out_of_fold
        assert stored.keys() >= MISTAKEN
        assert champion.answers.keys() & MISTAKEN == set()
        kept = stored.keys() - MISTAKEN
        assert {number: champion.answers[number] for number in kept} == {number: stored[number] for number in kept}

    @pytest.mark.parametrize("split", [None, Split.GOLDEN, Split.TRAIN])
    def test_where_no_label_changed_it_makes_no_difference_that_they_are_known(
        self, version: Path, tmp_path: Path, split: Split | None
    ) -> None:
        newer = make_snapshot(seed=5, per_label=5, golden_every=0, first_id=1000).rows if split else ()
        grown = replace(SNAPSHOT, rows=(*SNAPSHOT.rows, *(replace(row, split=split) for row in newer)))
        older = Path(shutil.copytree(version, tmp_path / "older"))
        evidence = json.loads((version / "evidence.json").read_text())
        assert sum(map(len, evidence.pop("learned").values())) == 54
        (older / "evidence.json").write_text(json.dumps(evidence))
        now, before = (trained_champion(path, read_dataset(grown), 1, 0) for path in (version, older))
        assert now == before

    def test_a_candidate_is_measured_without_them(self, base: Path, mistaken: Path, tmp_path: Path) -> None:
        run(base, tmp_path / "v2", SNAPSHOT, mistaken, replace(SPEC, recipe=RECIPE | QUICK))
        measured = {outcome.example_id for outcome in report_of(tmp_path / "v2").outcomes}
        assert measured == {row.id for row in SNAPSHOT.rows} - MISTAKEN


class TestOddSnapshots:
    def test_one_label_is_refused_in_one_sentence(self, base: Path, tmp_path: Path) -> None:
        with pytest.raises(TrainingFailed, match="at least 2"):
            run(base, tmp_path / "v", make_snapshot(labels=1))

    def test_equal_texts_everywhere_still_end_in_a_model(self, base: Path, tmp_path: Path) -> None:
        rows = tuple(replace(row, text="the same") for row in SNAPSHOT.rows)
        run(base, tmp_path / "v", replace(SNAPSHOT, rows=rows))
        assert np.isfinite(Head.load(tmp_path / "v").weight).all()

    def test_no_golden_rows_at_all(self, base: Path, tmp_path: Path) -> None:
        run(base, tmp_path / "v", make_snapshot(golden_every=0))
        assert report_of(tmp_path / "v").golden_rows == 0

    def test_two_hundred_labels_of_which_most_have_no_text(self, base: Path, tmp_path: Path) -> None:
        more = tuple(SnapshotLabel(100 + number, f"label number {number}", "") for number in range(197))
        run(base, tmp_path / "v", replace(SNAPSHOT, labels=SNAPSHOT.labels + more))
        assert len(Head.load(tmp_path / "v").labels) == 200

    def test_the_smallest_that_can_be_trained(self, base: Path, tmp_path: Path) -> None:
        run(base, tmp_path / "v", make_snapshot(labels=2, per_label=4, golden_every=0))
        assert len(report_of(tmp_path / "v").outcomes) == 8

    def test_a_device_that_is_not_there_is_one_sentence(self, base: Path, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="tpu"):
            learn(SNAPSHOT, base, None, SPEC, tmp_path / "v", lambda report: None, "tpu")


@pytest.fixture(scope="module")
def support(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version of another classifier, every layer of it trained, beside its snapshot."""
    return perform(tmp_path_factory.mktemp("support"), base, OTHERS, frozen_layers=0)


@pytest.fixture(scope="module")
def carried(base: Path, support: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return perform(tmp_path_factory.mktemp("carried"), base, OWN, start=support)


class TestBasedOnAnotherClassifier:
    """Through `run_job`, as the trainer does it: the start and what it has learned lie in the run's inputs."""

    def test_its_frozen_layers_are_those_of_the_other(self, base: Path, support: Path, carried: Path) -> None:
        pretrained, theirs, ours = (load_file(path / "model.safetensors") for path in (base, support, carried))
        frozen = [name for name in ours if name.startswith(("embeddings.", "encoder.layer.0."))]
        assert len(frozen) > 10
        assert all(np.array_equal(ours[name], theirs[name]) for name in frozen)
        moved = [name for name in frozen if not np.array_equal(theirs[name], pretrained[name])]
        assert len(moved) > 10, "else this test shows nothing"
        above = [name for name in ours if name.startswith("encoder.layer.1.")]
        assert any(not np.array_equal(ours[name], theirs[name]) for name in above)
        assert set(Head.load(carried).labels) == {label.name for label in OWN.labels}

    def test_report_card_and_lineage_say_where_it_began(self, support: Path, carried: Path) -> None:
        assert report_of(carried).started_from == "support v3"
        assert "support v3" in (carried / "README.md").read_text()
        lineage = read_manifest(carried).lineage
        assert lineage["start"] == support.name
        assert lineage["learned"] == [lineage["snapshot"], read_manifest(support).lineage["snapshot"]]
        assert read_manifest(support).lineage["start"] is None

    def test_the_shadows_begin_there_too_and_every_own_row_is_evidence(self, carried: Path) -> None:
        measured = {o.example_id for o in report_of(carried).outcomes if o.split is Split.TRAIN}
        assert measured == train_ids(OWN)

    def test_a_text_that_the_other_has_learned_is_no_evidence(self, base: Path, support: Path, tmp_path: Path) -> None:
        shared = [row for row in OTHERS.rows if row.split is Split.TRAIN][:9]
        rows = tuple(replace(row, text=shared[n].text) if n < 9 else row for n, row in enumerate(OWN.rows))
        version = perform(tmp_path, base, replace(OWN, rows=rows), start=support)
        report, evidence = report_of(version), read_evidence(version)
        hidden = {row.id for row in rows[:9]}
        assert hidden & {outcome.example_id for outcome in report.outcomes} == set()
        assert {o.example_id for o in report.outcomes} == {row.id for row in rows} - hidden
        assert evidence.trained_on == train_ids(OWN)

    def test_without_the_others_files_it_begins_at_the_base_and_says_so(
        self, base: Path, support: Path, tmp_path: Path
    ) -> None:
        plain = perform(tmp_path / "plain", base, OWN)
        fallen = perform(tmp_path / "fallen", base, OWN, start=support.with_name("e" * 64))
        assert report_of(fallen).started_from == "base, because the files of support v3 are damaged or gone"
        assert (fallen / "model.safetensors").read_bytes() == (plain / "model.safetensors").read_bytes()
        assert report_of(fallen).outcomes == report_of(plain).outcomes
        assert read_manifest(fallen).lineage["start"] is None

    @pytest.mark.parametrize("based", [True, False])
    def test_going_on_is_for_a_champion_that_began_at_the_same_place(
        self, base: Path, support: Path, carried: Path, tmp_path: Path, based: bool
    ) -> None:
        newer = make_snapshot(seed=5, per_label=10, golden_every=0, first_id=5000)
        grown = replace(OWN, rows=(*OWN.rows, *(replace(row, text=f"own {row.text}") for row in newer.rows)))
        start = support if based else None
        version = perform(tmp_path, base, grown, start=start, champion=carried, continue_from=1, least_newer=1)
        assert report_of(version).started_from == ("v1" if based else "base")
        lineage = read_manifest(version).lineage
        assert lineage["start"] == (support.name if based else None)
        before = read_manifest(carried).lineage["learned"]
        assert len(before) == 2
        assert lineage["learned"] == [lineage["snapshot"], *(before if based else [])]


def perform(
    folder: Path,
    base: Path,
    content: SnapshotContent,
    *,
    start: Path | None = None,
    champion: Path | None = None,
    exported: Path | None = None,
    **recipe: Any,
) -> Path:
    """The artifact that a run makes of the task; snapshots of earlier runs lie beside `start`."""
    root = folder / "versions"
    sha256 = write_snapshot(content, root)
    spec = replace(
        SPEC,
        snapshot=sha256,
        base=str(base),
        champion=champion.name if champion else None,
        champion_version="v1" if champion else "v0",
        recipe=SPEC.recipe | recipe,
        start=start.name if start else None,
        start_name="support v3" if start else "",
    )
    given = [path for path in (start, champion, exported) if path is not None and path.is_dir()]
    given += start.parent.glob("*.jsonl") if start is not None else []
    run_folder = RunFolder(folder / "run")
    run_folder.create(spec, dict.fromkeys([root / f"{sha256}.jsonl", *given]))
    result = run_task(run_folder.path, "cpu")
    assert result.artifact is not None, result.error
    return (run_folder.outputs / result.artifact).rename(root / result.artifact)


def served(base: Path, root: Path) -> Path:
    """The artifact of the base, as version 0 is served from it."""
    folder = RunFolder(root / "base")
    folder.create(BaseTask(str(base)))
    artifact = run_task(folder.path, "cpu").artifact
    assert artifact is not None
    return folder.outputs / artifact


class TestFullDisk:
    """Told as such, whoever writes: safetensors raises an error of its own, everything else OSError."""

    def refused(self, folder: RunFolder, size: int) -> None:
        with no_file_larger_than(size):
            result = run_task(folder.path, "cpu")
        assert result.error == (
            "There is no room for writing the model (File too large). Free some space and try again."
        )
        assert result.retryable
        assert folder.result() == result
        assert not folder.staging.exists(), "what is half made must not take the room that the result needs"

    def test_in_a_training(self, base: Path, version: Path, tmp_path: Path) -> None:
        path = tmp_path / f"{write_snapshot(SNAPSHOT, tmp_path)}.jsonl"
        folder = RunFolder(tmp_path / "run")
        folder.create(replace(SPEC, snapshot=path.stem, base=str(base), recipe=RECIPE | QUICK), [path])
        exported, weights = ((version / name).stat().st_size for name in ("encoder.onnx", "model.safetensors"))
        assert exported < weights - 1000, "else it is not safetensors that has no room"
        self.refused(folder, weights - 1000)

    def test_in_an_export(self, base: Path, tmp_path: Path) -> None:
        folder = RunFolder(tmp_path / "run")
        folder.create(BaseTask(str(base)))
        self.refused(folder, 4096)


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What a training exports: three shadows, the candidate, and the base where that was not given to it."""
    seen: list[Path] = []

    def export(source: Path, out: Path, **rest: Any) -> Encoder:
        seen.append(source)
        return export_encoder(source, out, **rest)

    monkeypatch.setattr("trainer.learn.export_encoder", export)
    return seen


def test_a_base_that_was_exported_before_is_not_exported_again(base: Path, exports: list[Path], tmp_path: Path) -> None:
    anew = perform(tmp_path / "anew", base, SNAPSHOT, **QUICK)
    assert len(exports) == 5
    spared = perform(tmp_path / "spared", base, SNAPSHOT, exported=served(base, tmp_path), **QUICK)
    assert len(exports) == 5 + 4
    assert read_manifest(spared).files.keys() == read_manifest(anew).files.keys()
    for path in anew.iterdir():
        if path.name not in {"report.json", "README.md", "manifest.json"}:  # hold times
            assert path.read_bytes() == (spared / path.name).read_bytes(), path.name
    assert report_of(spared).outcomes == report_of(anew).outcomes


@pytest.mark.parametrize("fault", ["damaged", "precision", "pooling", "weights"])
def test_an_export_that_is_not_what_this_base_would_give_is_not_used(
    base: Path, exports: list[Path], tmp_path: Path, fault: str
) -> None:
    base, recipe = Path(shutil.copytree(base, tmp_path / "own")), QUICK
    exported = served(base, tmp_path)
    if fault == "damaged":
        (exported / "encoder.onnx").write_bytes(b"nothing")
    elif fault == "precision":
        recipe = QUICK | {"fp32": 1}
    elif fault == "pooling":
        (base / "1_Pooling").mkdir()
        (base / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    else:
        make_tiny_encoder(base, texts=WORDS.values(), seed=1)
    perform(tmp_path, base, SNAPSHOT, exported=exported, **recipe)
    assert len(exports) == 5


@pytest.mark.slow
def test_the_real_base_learns_a_small_lesson(tmp_path: Path) -> None:
    """MiniLM on 54 texts: the packaged weights, int8 as served, a third of the steps."""
    spec = JobSpec(job_id="real", attempt=1, snapshot="b" * 64, base=PACKAGED, recipe={"least_steps": 20})
    run(resolve(PACKAGED), tmp_path / "v1", spec=spec)
    encoder, head = Encoder.load(tmp_path / "v1"), Head.load(tmp_path / "v1")
    asked = {
        "it froze again after the update": "bug",
        "please return what I paid": "refund",
        "fantastic, I really enjoy using this": "praise",
    }
    answers = head.probabilities(encoder.encode_many(list(asked)))
    assert [head.labels[best] for best in answers.argmax(1)] == list(asked.values())
    canary = json.loads((tmp_path / "v1" / "canary.json").read_text())
    assert len(canary["vectors"][0]) == encoder.dimensions == 384


class Killed(Exception):
    """Stands for the end of the process."""


def test_a_training_that_is_killed_again_and_again_does_nothing_twice_and_gives_the_same_version(
    base: Path, version: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meter, "LEAST_INTERVAL", 0.0)
    recipe = RECIPE | {"checkpoint_seconds": 0.0}
    # In the first of three shadows, in the third, in the candidate, and when all is trained.
    deaths = [(Phase.MEASURING, 30), (Phase.MEASURING, 90), (Phase.TRAINING, 45), (Phase.EVALUATING, 1), None]
    done: list[tuple[Phase, int]] = []
    for attempt, death in enumerate(deaths, start=1):
        seen: list[Progress] = []

        def report(progress: Progress, seen: list[Progress] = seen, death: tuple[Phase, int] | None = death) -> None:
            seen.append(progress)
            if death is not None and sum(one.phase is death[0] for one in seen) == death[1]:
                raise Killed

        with pytest.raises(Killed) if death is not None else nullcontext():
            spec, staging = replace(SPEC, attempt=attempt, recipe=recipe), tmp_path / f"staging {attempt}"
            learn(SNAPSHOT, base, None, spec, staging, report, "cpu", checkpoint=tmp_path / "checkpoint")
        fractions = [progress.fraction for progress in seen]
        assert fractions == sorted(fractions)
        done += [(progress.phase, progress.step) for progress in seen if progress.step]
    sixty = range(1, 61)
    assert done == [
        *((Phase.MEASURING, step) for _ in range(3) for step in sixty),
        *((Phase.TRAINING, n) for n in sixty),
    ]
    same(version, staging)


def same(one: Path, other: Path) -> None:
    """Two versions that a program cannot tell apart."""
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in other.iterdir())
    kept = [name for name in names if name not in ("report.json", "README.md")]
    assert [name for name in kept if (one / name).read_bytes() != (other / name).read_bytes()] == []
    first, second = (replace(report_of(path), seconds={}, milliseconds=0.0) for path in (one, other))
    assert first == second

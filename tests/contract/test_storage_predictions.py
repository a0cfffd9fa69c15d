"""Predictions and the feedback on them."""

from __future__ import annotations

import dataclasses

import pytest

from storage import predictions
from storage.errors import NotFound
from storage.records import LabelledText, LabelScore, Prediction, Source, Split
from tests.contract.conftest import GUILD, Store, Triage


def make_prediction(triage: Triage, id: str = "p1", text: str | None = "It crashes") -> Prediction:
    return Prediction(
        id=id,
        guild=triage.classifier.guild,
        classifier_id=triage.id,
        classifier=triage.classifier.name,
        scores=(LabelScore("bug", 0.75), LabelScore("question", 0.25)),
        abstained=False,
        version="v3+7",
        milliseconds=4.5,
        asked_by="jonas",
        created_at=40.0,
        text=text,
        taught=LabelledText(7, "It crashes", "bug", Split.GOLDEN, Source.COMMAND) if text else None,
        cut=text is not None,
        outside=text is None,
    )


@pytest.mark.parametrize("text", ["It crashes", None])
async def test_a_prediction_comes_back_as_it_was(store: Store, triage: Triage, text: str | None) -> None:
    prediction = make_prediction(triage, text=text)
    await store.predictions.add(prediction, 3, 7)
    await store.predictions.add(dataclasses.replace(prediction, version="v9"), 9, 0)
    assert await store.predictions.get(GUILD, "p1") == prediction
    assert await store.predictions.count(GUILD, triage.id) == 1


async def test_an_unknown_one_is_not_found(store: Store, triage: Triage) -> None:
    with pytest.raises(NotFound):
        await store.predictions.get(GUILD, "p1")
    with pytest.raises(NotFound):
        await store.predictions.record_feedback(GUILD, "p1", "ada", True, None, 1.0)


async def test_the_latest_feedback_of_a_person_counts(store: Store, triage: Triage) -> None:
    assert await store.predictions.feedback_counts(GUILD, triage.id) == (0, 0)
    await store.predictions.add(make_prediction(triage), 3, 7)
    label = await store.examples.add_label(GUILD, triage.id, "x", triage.bug.id, "ada", Source.COMMAND, 1.0)
    await store.predictions.record_feedback(GUILD, "p1", "ada", True, None, 1.0)
    await store.predictions.record_feedback(GUILD, "p1", "ada", False, label.event.id, 2.0)
    await store.predictions.record_feedback(GUILD, "p1", "jonas", True, None, 3.0)
    assert await store.predictions.feedback_counts(GUILD, triage.id) == (1, 1)


async def test_the_classifier_that_was_asked_last_comes_first(store: Store, triage: Triage) -> None:
    never = await store.classifiers.create(GUILD, "never", "maria", "base", 1.0)
    other = await store.classifiers.create("another guild", "other", "maria", "base", 1.0)
    await store.predictions.add(make_prediction(triage), 3, 7)
    asked = dataclasses.replace(
        make_prediction(triage), id="p2", guild="another guild", classifier_id=other.id, created_at=41.0
    )
    await store.predictions.add(asked, 0, 0)
    assert [each.id for each in await store.classifiers.last_asked(9)] == [other.id, triage.id, never.id]
    assert [each.id for each in await store.classifiers.last_asked(1)] == [other.id]


async def test_old_answers_go_that_nobody_can_ask_about_and_go_on_being_counted(
    store: Store, triage: Triage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "AT_ONCE", 2)
    kept = make_prediction(triage)
    asked = [dataclasses.replace(kept, id=f"a{n}", text=None, taught=None, created_at=40.0 + n) for n in range(7)]
    for each in (kept, *asked):
        await store.predictions.add(each, 3, 7)
    await store.predictions.record_feedback(GUILD, "a1", "ada", True, None, 1.0)
    assert await store.predictions.let_go(45.5) == 5, "not a text that was kept, a judgement, or what is newer"
    assert await store.predictions.let_go(90.0) == 0, "the newest says that the classifier is in use"
    assert (await store.predictions.get(GUILD, "p1")).text == "It crashes"
    for gone in ("a0", "a5"):
        with pytest.raises(NotFound):
            await store.predictions.get(GUILD, gone)
    assert await store.predictions.feedback_counts(GUILD, triage.id) == (1, 0)
    await store.predictions.add(dataclasses.replace(asked[0], id="a8", created_at=48.0), 3, 7)
    assert await store.predictions.let_go(90.0) == 1
    assert await store.predictions.count(GUILD, triage.id) == 9

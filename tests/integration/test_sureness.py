"""A wanted share of right answers on a real database and engine: it decides, it stays, it follows labels and swaps."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bot.app import System
from bot.services.people import Actor, Role
from storage.errors import InvalidInput, NotAllowed
from storage.records import Classifier, Source
from tests.fakes.fake_trainer import FakeTrainer, system_with
from tests.fakes.tiny_encoder import make_tiny_base
from trainer.model.calibration import Reliability

LEAD = Actor("g", "1", "maria", Role.LEAD, channel="42")
MEMBER = Actor("g", "2", "ada")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
async def system(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[System]:
    trainer = FakeTrainer(tmp_path / "trainer", base)
    async with system_with(trainer, tmp_path / "data", monkeypatch) as system:
        yield system


async def made(system: System) -> Classifier:
    return await system.services.classifiers.create(LEAD, "triage", ["bug", "praise"])


async def teach(system: System, classifier: Classifier, start: int, count: int) -> None:
    rows = [(f"bug {n}" if n % 2 else f"praise {n}", "bug" if n % 2 else "praise") for n in range(start, start + count)]
    await system.services.labeling.import_rows(LEAD, classifier.name, rows, Source.API)
    await system.serving.settle(classifier)


async def test_a_choice_holds_as_soon_as_enough_answers_were_checked_and_follows_swaps(system: System) -> None:
    sure = system.services.sureness
    triage = await made(system)
    assert sure.known(triage) is None  # nothing was loaded for it
    await teach(system, triage, 0, 10)
    early = await sure.choose(LEAD, triage, 0.9)
    assert not early.promised
    triage = await system.stores.classifiers.by_id("g", triage.id)
    assert (triage.settings.precision, triage.settings.team_channel) == (0.9, "42")
    await teach(system, triage, 10, 90)
    later = await sure.of(triage)
    assert later.promised
    assert later.checked > early.checked > 0
    assert later == sure.known(triage)
    # What is told is what is done: here answers were checked that no text reaches.
    served = system.serving._engine.current(triage.id)
    assert served is not None
    strict = replace(served.head, reliability=Reliability(np.full(99, 1.5, np.float32), np.ones(99, bool)))
    system.serving._engine.serve(replace(served, head=strict))
    assert (await sure.of(triage)).threshold == 1.5
    answer = await system.services.prediction.ask(LEAD, triage, "bug 7 of another kind", Source.COMMAND)
    assert answer.abstained
    await sure.choose(LEAD, triage, None)
    own = await system.stores.classifiers.by_id("g", triage.id)
    assert not (await system.services.prediction.ask(LEAD, own, "bug 7 of another kind", Source.COMMAND)).abstained
    # A version from before answers were kept has nothing to promise with.
    system.serving._engine.serve(replace(served, head=replace(served.head, reliability=None)))
    assert (await sure.of(triage)).threshold == served.head.abstain_below


async def test_a_choice_leaves_what_another_lead_has_chosen_meanwhile(system: System) -> None:
    triage = await made(system)
    await teach(system, triage, 0, 4)
    await system.services.setup.choose(LEAD, triage.id, learn_from_questions=True)
    await system.services.sureness.choose(LEAD, triage, 0.9)  # read before the other lead's choice
    settings = (await system.stores.classifiers.by_id("g", triage.id)).settings
    assert (settings.learn_from_questions, settings.precision, settings.team_channel) == (True, 0.9, "42")


async def test_only_leads_choose_and_only_what_can_be_kept(system: System) -> None:
    sure = system.services.sureness
    triage = await made(system)
    with pytest.raises(NotAllowed, match="lead"):
        await sure.choose(MEMBER, triage, 0.9)
    for precision in (0.0, 0.49, 0.991, 1.0, float("nan")):
        with pytest.raises(InvalidInput, match="between 50 and 99 %"):
            await sure.choose(LEAD, triage, precision)
    bare = await system.services.classifiers.create(LEAD, "bare")
    with pytest.raises(InvalidInput, match="no labels"):
        await sure.choose(LEAD, bare, 0.9)
    for classifier in (triage, bare):
        assert (await system.stores.classifiers.by_id("g", classifier.id)).settings.precision is None
    await sure.choose(LEAD, triage, 0.9)
    assert (await sure.choose(LEAD, triage, None)).precision is None
    assert (await system.stores.classifiers.by_id("g", triage.id)).settings.precision is None


async def test_that_a_text_looks_like_nothing_taught_is_told_and_kept(system: System) -> None:
    triage = await made(system)
    ask = system.services.prediction.ask
    named = await ask(LEAD, triage, "something else altogether", Source.COMMAND)
    assert not named.outside  # nothing was taught but the names
    await teach(system, triage, 0, 40)
    served = system.serving._engine.current(triage.id)
    assert served is not None
    assert served.head.scope is not None
    strict = replace(served.head, scope=replace(served.head.scope, threshold=1e9))
    system.serving._engine.serve(replace(served, head=strict))
    strange = await ask(LEAD, triage, "something else altogether", Source.COMMAND)
    taught = await ask(LEAD, triage, "bug 7", Source.COMMAND)
    assert (strange.outside, strange.is_guess, strange.taught) == (True, True, None)
    assert taught.taught is not None
    assert await system.stores.predictions.get("g", strange.id) == strange

"""The HTTP API on a real socket: its answers, its refusals, and who may call it."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from pydantic import SecretStr

from bot.services.people import Actor, Role
from bot.web.api import MAX_TEXTS, add_api
from bot.web.bodies import MAX_BODY
from bot.web.guilds import PLAYGROUND
from storage.errors import (
    ArtifactError,
    Busy,
    Conflict,
    DiskFull,
    InvalidInput,
    NotAllowed,
    NotFound,
    StorageError,
    TrainerUnavailable,
)
from storage.records import Classifier, JobState, Source
from storage.settings import Settings
from tests.fakes.fake_api_services import FakeApiServices
from tests.unit.test_report_figures import OLD, TODAY
from trainer.protocol import Phase, Progress, to_json

OTHER = "200000000000000001"
PREDICT = "/api/v1/classifiers/triage/predict"
EXAMPLES = "/api/v1/classifiers/triage/examples"


@dataclass
class Site:
    url: str
    fakes: FakeApiServices
    session: aiohttp.ClientSession

    async def call(self, method: str, path: str, **more: Any) -> tuple[int, Any, Any]:
        """(status, JSON, headers)"""
        async with self.session.request(method, self.url + path, **more) as response:
            return response.status, json.loads(await response.read()), response.headers

    async def get(self, path: str, **more: Any) -> Any:
        status, answer, _ = await self.call("GET", path, **more)
        assert status == 200, answer
        return answer

    async def post(self, path: str, body: Any = None, **more: Any) -> tuple[int, Any]:
        status, answer, _ = await self.call("POST", path, json=body, **more)
        return status, answer

    async def refusal(self, path: str, **more: Any) -> tuple[int, str]:
        status, answer, _ = await self.call("POST", path, **more)
        assert set(answer) == {"error"}
        return status, answer["error"]


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Site]:
    fakes = FakeApiServices()
    app = web.Application()
    add_api(app, fakes.services, settings)
    app.router.add_get("/", _page)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with aiohttp.ClientSession() as session:
            yield Site(f"http://127.0.0.1:{runner.addresses[0][1]}", fakes, session)
    finally:
        await runner.cleanup()


async def _page(request: web.Request) -> web.Response:
    return web.Response(text="the page")


@pytest.fixture
async def site(tmp_path: Any) -> AsyncIterator[Site]:
    async with serving(Settings(data=tmp_path)) as running:
        yield running


@pytest.fixture
async def locked(tmp_path: Any) -> AsyncIterator[Site]:
    """A site with an API key."""
    async with serving(Settings(data=tmp_path, api_key=SecretStr("correct horse"), host="pupil.example")) as running:
        await make(running)
        yield running


async def make(site: Site, guild: str = PLAYGROUND, name: str = "triage") -> Classifier:
    lead = Actor(guild, "lead", "Lead", Role.LEAD)
    return await site.fakes.classifiers.create(lead, name, ["bug", "billing"])


# Asking


async def test_a_question_is_given_up_when_its_asker_hangs_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    await make(site)
    asked, given_up = asyncio.Event(), asyncio.Event()

    async def ask(*_: Any) -> Any:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            given_up.set()

    monkeypatch.setattr(site.fakes.prediction, "ask", ask)
    asking = asyncio.create_task(site.post(PREDICT, {"text": "is anybody there"}))
    await asyncio.wait_for(asked.wait(), 5)
    asking.cancel()
    await asyncio.wait_for(given_up.wait(), 5)


async def test_a_text_is_answered_with_every_label_and_the_version(site: Site) -> None:
    await make(site)
    status, answer = await site.post(PREDICT, {"text": "a bug"})
    assert status == 200
    assert answer == {
        "label": "bug",
        "confidence": 0.9,
        "labels": [{"label": "bug", "confidence": 0.9}, {"label": "billing", "confidence": 0.1}],
        "abstained": False,
        "outside": False,
        "cut": False,
        "version": "v0",
        "milliseconds": 1.2,
    }


async def test_many_texts_are_answered_in_their_order(site: Site) -> None:
    await make(site)
    texts = ["bug" if number % 3 else "billing" for number in range(MAX_TEXTS)]
    status, answers = await site.post(PREDICT, {"texts": texts})
    assert status == 200
    assert [answer["label"] for answer in answers] == texts


async def test_the_local_caller_is_an_operator_called_local(site: Site) -> None:
    await make(site)
    await site.post(PREDICT, {"text": "a bug"})
    assert site.fakes.memory.asked_with == [Actor(PLAYGROUND, "local", "local", Role.OPERATOR)]


# Carrying over


async def test_a_classifier_is_based_on_another_and_on_none_again(site: Site) -> None:
    await make(site)
    await make(site, name="mood")
    path = "/api/v1/classifiers/mood/based-on"
    status, told = await site.post(path, {"on": "triage@v3"})
    expected = {"classifier": "triage", "version": "v3", "artifact": "a" * 64}
    assert (status, told["name"], told["based_on"]) == (200, "mood", expected)
    listed = await site.get("/api/v1/classifiers")
    assert [(one["name"], one["based_on"]) for one in listed] == [("triage", None), ("mood", expected)]
    assert (await site.post(path, {"on": "none"}))[1]["based_on"] is None


async def test_what_a_classifier_is_based_on_must_be_told_and_be_of_the_same_guild(site: Site) -> None:
    await make(site)
    await make(site, OTHER, "secret")
    path = f"/api/v1/classifiers/triage/based-on?guild={PLAYGROUND}"
    assert await site.refusal(path, json={}) == (
        400,
        'The body must say on what: {"on": "NAME@v3"}, {"on": "NAME"} or {"on": "none"}.',
    )
    assert (await site.refusal(path, json={"on": 3}))[0] == 400
    assert await site.refusal(path, json={"on": "secret@v1"}) == (404, "There is no classifier `secret` here.")


async def test_how_many_answers_should_be_right_is_chosen_told_and_taken_back(site: Site) -> None:
    await make(site)
    path = "/api/v1/classifiers/triage/precision"
    own = {"classifier": "triage", "precision": None, "threshold": 0.4, "promised": False, "checked": 20}
    assert await site.get(path) == own | {"answered": 0.6, "right": 1.0}
    site.fakes.memory.checked = 200
    status, told = await site.post(path, {"precision": 0.95})
    assert (status, told["precision"], told["promised"], told["checked"]) == (200, 0.95, True, 200)
    assert 0.2 < told["threshold"] < 0.25
    assert told["right"] >= 0.95
    assert await site.get(path) == told
    assert [one["precision"] for one in await site.get("/api/v1/classifiers")] == [0.95]
    status, back, _ = await site.call("DELETE", path)
    assert (status, back["precision"], back["threshold"]) == (200, None, 0.4)
    assert [one["precision"] for one in await site.get("/api/v1/classifiers")] == [None]


@pytest.mark.parametrize(
    ("body", "words"),
    [({}, "which share"), ({"precision": 95}, "a decimal number, not a whole"), ({"precision": 1.5}, "50 and 99 %")],
)
async def test_a_share_that_is_none_is_refused_and_nothing_changes(site: Site, body: Any, words: str) -> None:
    await make(site)
    status, sentence = await site.refusal("/api/v1/classifiers/triage/precision", json=body)
    assert status == 400
    assert words in sentence
    assert site.fakes.memory.classifiers[0].settings.precision is None


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, "Send either `text`, one string, or `texts`, a list of them."),
        ({"text": "a", "texts": ["b"]}, "Send either `text`, one string, or `texts`, a list of them."),
        ({"text": 7}, "`text` must be a string, not a whole number."),
        ({"text": None}, "`text` must be a string, not null."),
        ({"text": True}, "`text` must be a string, not true or false."),
        ({"text": ""}, "The text is empty. Type the text that this is about."),
        ({"text": "x" * 4001}, "The text has 4,001 characters; at most 4,000 are possible."),
        ({"texst": "a"}, "The body has an unknown field `texst`; there are: `text`, `texts`."),
        ({"texts": "a"}, "`texts` must be a list, not a string."),
        ({"texts": []}, "`texts` must hold 1 to 256 strings, not 0."),
        ({"texts": ["a"] * 257}, "`texts` must hold 1 to 256 strings, not 257."),
        ({"texts": ["a", 1.5]}, "`texts[1]` must be a string, not a number."),
        ({"texts": ["a", " "]}, "`texts[1]`: The text is empty. Type the text that this is about."),
        (["a"], "The body must be an object, not a list."),
        ("a", "The body must be an object, not a string."),
    ],
)
async def test_a_body_of_the_wrong_shape_is_refused_in_one_sentence(site: Site, body: Any, sentence: str) -> None:
    await make(site)
    assert await site.refusal(PREDICT, json=body) == (400, sentence)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"{", "The body is not JSON: Expecting property name enclosed in double quotes at line 1, column 2."),
        (b"\xff{}", "The body is not UTF-8."),
        (b"[" * 200_000, "The body is nested too deeply."),
        (b'{"text": NaN}', "The body holds NaN, which is not JSON."),
        (b"9" * 5000, "The body holds a number that is too large."),
        (b'{"text": "\\ud800"}', "`text` holds half of a surrogate pair, which is no character."),
        (b"", "Send either `text`, one string, or `texts`, a list of them."),
    ],
)
async def test_bytes_that_are_no_usable_json_are_refused_in_one_sentence(
    site: Site, data: bytes, sentence: str
) -> None:
    await make(site)
    assert await site.refusal(PREDICT, data=data) == (400, sentence)


async def test_a_compressed_body_is_refused_before_it_unfolds(site: Site) -> None:
    await make(site)
    bomb = gzip.compress(b"x" * 50_000_000)
    status, sentence = await site.refusal(PREDICT, data=bomb, headers={"Content-Encoding": "gzip"})
    assert (status, sentence) == (400, "Send the body uncompressed.")


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_that_is_too_large_is_refused_however_it_is_sent(site: Site, chunked: bool) -> None:
    await make(site)

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(MAX_BODY // 2**20 + 1):
            yield b"x" * 2**20

    data = parts() if chunked else b"x" * (MAX_BODY + 1)
    status, sentence = await site.refusal(PREDICT, data=data)
    assert (status, sentence) == (413, "The body has more than 16 MiB. Send it in parts.")


# Failures


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidInput("Not so."), 400),
        (NotAllowed("Not so."), 403),
        (NotFound("Not so."), 404),
        (Conflict("Not so."), 409),
        (TrainerUnavailable("Not so."), 503),
        (DiskFull("Not so."), 507),
        (StorageError("Not so."), 500),
        (ArtifactError("Not so."), 500),
    ],
)
async def test_an_expected_error_is_told_as_it_is_with_its_status(site: Site, error: Exception, status: int) -> None:
    await make(site)
    site.fakes.memory.failing = error
    assert await site.refusal(PREDICT, json={"text": "a"}) == (status, "Not so.")


async def test_one_failure_among_many_texts_is_told_as_it_is(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    await make(site)
    asked = site.fakes.prediction.ask
    calls = iter(range(100))

    async def ask(*arguments: Any) -> Any:
        if next(calls) == 5:
            raise Conflict("Not so.")
        return await asked(*arguments)

    monkeypatch.setattr(site.fakes.prediction, "ask", ask)
    assert await site.refusal(PREDICT, json={"texts": ["a"] * 9}) == (409, "Not so.")


async def test_a_busy_bot_says_when_to_come_back(site: Site) -> None:
    await make(site)
    site.fakes.memory.failing = Busy("Too many questions.", retry_after=2.2)
    status, answer, headers = await site.call("POST", PREDICT, json={"text": "a"})
    assert (status, answer, headers["Retry-After"]) == (429, {"error": "Too many questions."}, "3")


async def test_an_unexpected_error_shows_an_id_whose_traceback_is_in_the_log(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    await make(site)
    site.fakes.memory.failing = ZeroDivisionError("secret detail")
    status, sentence = await site.refusal(PREDICT, json={"text": "what a person wrote"})
    assert status == 500
    assert "secret detail" not in sentence
    record = next(record for record in caplog.records if record.message == "request.crashed")
    assert record.reference in sentence  # type: ignore[attr-defined]
    assert record.exc_info is not None
    assert "what a person wrote" not in caplog.text


async def test_an_unknown_route_and_method_are_refused_in_json(site: Site) -> None:
    status, answer, _ = await site.call("GET", "/api/v1/nothing")
    assert (status, answer["error"][:32]) == (404, "There is no route /api/v1/nothin")
    status, answer, headers = await site.call("PATCH", "/api/v1/jobs/7")
    assert (status, answer["error"]) == (405, "PATCH is not possible here; DELETE and GET and HEAD are.")
    assert "GET" in headers["Allow"]


async def test_an_unknown_classifier_is_not_found(site: Site) -> None:
    await make(site, name="other")
    assert (await site.refusal(PREDICT, json={"text": "a"}))[0] == 404


# Teaching


async def test_rows_are_imported_and_what_is_missing_is_made(site: Site) -> None:
    rows = [{"text": "it broke", "label": "bug"}, {"text": "too dear", "label": "billing"}]
    status, receipt = await site.post(EXAMPLES, rows)
    assert (status, receipt["new"], receipt["new_labels"]) == (200, 2, ["bug", "billing"])
    assert site.fakes.labeling.sources == [Source.API]
    assert site.fakes.proposing.looked == ["triage"], "a text may have waited for one of these labels"
    counts = await site.get("/api/v1/classifiers/triage/labels")
    assert [(count["label"], count["total"], count["formerly"]) for count in counts] == [
        ("bug", 1, []),
        ("billing", 1, []),
    ]
    listed = await site.get("/api/v1/classifiers")
    assert [(one["name"], one["labels"], one["examples"]) for one in listed] == [("triage", 2, 2)]


async def test_rows_of_a_file_keep_that_they_came_from_a_file(site: Site) -> None:
    status, _ = await site.post(f"{EXAMPLES}?source=file", [{"text": "a", "label": "bug"}])
    assert (status, site.fakes.labeling.sources) == (200, [Source.FILE])
    assert (await site.post(f"{EXAMPLES}?source=message", [{"text": "a", "label": "bug"}]))[0] == 400


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"text": "a"}, 'The body must be a list: [{"text": "…", "label": "…"}, …].'),
        (["a"], "Row 1 must be an object, not a string."),
        ([{"text": "a", "label": "b"}, {"text": "a"}], "Row 2 has no `label`."),
        ([None], "Row 1 has no `text`."),
        ([{"text": "a", "label": 3}], "Row 1: `label` must be a string, not a whole number."),
        ([{"text": "a", "label": "b", "extra": 1}], "Row 1 has an unknown field `extra`; there are: `text`, `label`."),
    ],
)
async def test_a_row_of_the_wrong_shape_is_named_and_nothing_is_imported(site: Site, body: Any, sentence: str) -> None:
    assert await site.refusal(EXAMPLES, json=body) == (400, sentence)
    assert site.fakes.memory.classifiers == []


# Training and versions


async def test_a_training_is_started_joined_followed_and_cancelled(site: Site) -> None:
    await make(site)
    status, job = await site.post("/api/v1/classifiers/triage/train")
    assert (status, job["state"], job["joined"]) == (202, "queued", False)
    assert (await site.post("/api/v1/classifiers/triage/train"))[1]["joined"] is True
    progress = Progress(seq=3, phase=Phase.TRAINING, fraction=0.4, loss=float("nan"), eta_seconds=12.0)
    site.fakes.training.move(job["id"], JobState.RUNNING, progress=progress)
    followed = await site.get(f"/api/v1/jobs/{job['id']}")
    assert (followed["state"], followed["classifier"]) == ("running", "triage")
    assert (followed["progress"]["phase"], followed["progress"]["loss"]) == ("training", None)
    for _ in range(2):  # idempotent
        status, cancelled, _ = await site.call("DELETE", f"/api/v1/jobs/{job['id']}")
        assert (status, cancelled["state"]) == (200, "cancelled")


async def test_a_training_that_cannot_start_yet_says_why(site: Site) -> None:
    await make(site)
    site.fakes.training.refusal = "`billing` has 2 texts and needs 5."
    assert await site.refusal("/api/v1/classifiers/triage/train") == (409, "`billing` has 2 texts and needs 5.")


async def test_versions_are_promoted_and_rolled_back(site: Site) -> None:
    classifier = await make(site)
    for _ in range(2):
        site.fakes.add_version(classifier)
    one = "/api/v1/classifiers/triage"
    assert (await site.post(f"{one}/versions/1/promote"))[1]["version"] == "v1"
    status, swap = await site.post(f"{one}/versions/2/promote")
    assert (status, swap["version"], swap["previous"], swap["by"]) == (200, "v2", "v1", "local")
    known = await site.get(f"{one}/versions")
    assert (known["serving"], [(v["version"], v["live"]) for v in known["versions"]]) == (
        "v2",
        [("v2", True), ("v1", False)],
    )
    assert (await site.post(f"{one}/rollback"))[1]["version"] == "v1"
    assert (await site.post(f"{one}/rollback", {"number": 2}))[1]["version"] == "v2"
    assert (await site.refusal(f"{one}/versions/2/promote"))[0] == 409
    assert (await site.refusal(f"{one}/versions/99/promote"))[0] == 404
    assert (await site.refusal(f"{one}/versions/{'9' * 30}/promote"))[0] == 404
    assert (await site.refusal(f"{one}/rollback", json={"number": 10**30}))[0] == 400


async def test_a_training_tells_its_whole_report_and_the_versions_a_summary(site: Site) -> None:
    classifier = await make(site)
    _, job = await site.post("/api/v1/classifiers/triage/train")
    version = site.fakes.add_version(classifier, to_json(TODAY))
    site.fakes.training.move(job["id"], JobState.SUCCEEDED, report=TODAY, version=version)
    whole = (await site.get(f"/api/v1/jobs/{job['id']}"))["report"]
    (summary,) = (one["report"] for one in (await site.get("/api/v1/classifiers/triage/versions"))["versions"])
    assert {name: whole[name] for name in summary} == summary
    assert set(whole) - set(summary) == {"labels", "confusion", "flips"}
    assert (summary["kind"], summary["started_from"]) == ("deep", "v3")
    assert (summary["rows"], summary["better"], summary["worse"]) == (4, 1, 1)
    assert (summary["chance_better"], summary["accuracy"]) == (pytest.approx(0.5), 0.5)
    assert summary["accuracy_interval"] == pytest.approx([0.15, 0.85], abs=0.005)
    assert summary["champion_accuracy_interval"] == pytest.approx([0.15, 0.85], abs=0.005)
    assert summary["other_kind"] == {"kind": "instant", "accuracy": 0.25, "chosen_accuracy": 2 / 3, "rows": 3}
    assert summary["certainty"]["coverage_from"] == 0.61
    assert (summary["encoder_bytes"], summary["milliseconds"], summary["golden_rows"]) == (22_900_000, 4.2, 1)
    assert whole["flips"] == {"fixed": [1], "broken": [2], "still_wrong": [4]}
    assert whole["confusion"] == [[2, 1], [1, 0]]
    assert whole["labels"][1] == {
        "label": "billing", "rows": 1, "precision": 0.0, "recall": 0.0, "champion_recall": 1.0, "fixed": 0, "broken": 1,
    }  # fmt: skip


async def test_a_report_of_the_old_shape_is_told_with_nothing_invented(site: Site) -> None:
    classifier = await make(site)
    site.fakes.add_version(classifier, json.dumps(OLD))
    (version,) = (await site.get("/api/v1/classifiers/triage/versions"))["versions"]
    told = version["report"]
    assert (told["accuracy"], told["champion"], told["better"], told["seconds"]) == (1.0, "v1", 1, {"training": 12.5})
    unknown = ("kind", "started_from", "other_kind", "certainty", "encoder_bytes", "milliseconds")
    assert [told[name] for name in unknown] == [None] * len(unknown)


async def test_a_report_that_cannot_be_read_hides_no_version(site: Site) -> None:
    classifier = await make(site)
    site.fakes.add_version(classifier, '{"rows": 1')
    site.fakes.add_version(classifier, to_json(TODAY))
    versions = (await site.get("/api/v1/classifiers/triage/versions"))["versions"]
    assert {one["number"]: one["report"] is None for one in versions} == {1: True, 2: False}


# Guilds


async def test_without_a_guild_several_guilds_are_listed(site: Site) -> None:
    await make(site)
    await make(site, OTHER)
    status, sentence = await site.refusal(PREDICT, json={"text": "a"})
    assert (status, PLAYGROUND in sentence, OTHER in sentence) == (400, True, True)
    assert (await site.post(f"{PREDICT}?guild={OTHER}", {"text": "a"}))[0] == 200
    assert site.fakes.memory.asked_with[-1].guild == OTHER


async def test_on_discord_the_first_lessons_guild_is_no_choice(tmp_path: Any) -> None:
    async with serving(Settings(data=tmp_path, token=SecretStr("a token"))) as site:
        await make(site)  # as `pupil demo` does
        assert (await site.refusal(PREDICT, json={"text": "a"}))[0] == 400
        await make(site, OTHER)
        assert (await site.post(PREDICT, {"text": "a"}))[0] == 200
        assert site.fakes.memory.asked_with[-1].guild == OTHER
        assert (await site.post(f"{PREDICT}?guild={PLAYGROUND}", {"text": "a"}))[0] == 200


async def test_one_guild_does_not_see_the_jobs_of_another(site: Site) -> None:
    await make(site)
    await make(site, OTHER)
    _, job = await site.post(f"/api/v1/classifiers/triage/train?guild={OTHER}")
    assert (await site.call("GET", f"/api/v1/jobs/{job['id']}?guild={PLAYGROUND}"))[0] == 404
    assert (await site.call("DELETE", f"/api/v1/jobs/{job['id']}?guild={PLAYGROUND}"))[0] == 404


@pytest.mark.parametrize("guild", ["", "abc", "1" * 21, "1 or 1"])
async def test_a_guild_that_is_no_number_is_refused(site: Site, guild: str) -> None:
    status, _, _ = await site.call("GET", "/api/v1/classifiers", params={"guild": guild})
    assert status == 400


# Who may call


@pytest.mark.parametrize("host", ["localhost:8730", "127.0.0.1", "[::1]:8730"])
async def test_names_of_this_machine_are_accepted(site: Site, host: str) -> None:
    assert (await site.call("GET", "/api/v1/status", headers={"Host": host}))[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "localhost.evil.example:8730"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"X-Forwarded-For": "203.0.113.7"},
        {"Forwarded": "for=203.0.113.7"},
    ],
)
async def test_a_foreign_name_page_or_proxy_needs_a_key(site: Site, headers: dict[str, str]) -> None:
    for path in ("/api/v1/status", "/metrics"):
        status, answer, answered = await site.call("GET", path, headers=headers)
        assert (status, answered["WWW-Authenticate"]) == (401, "Bearer")
        assert "needs the API key" in answer["error"]


async def test_the_page_itself_may_call(site: Site) -> None:
    assert (await site.call("GET", "/api/v1/lesson", headers={"Origin": site.url}))[0] == 200


async def test_the_page_is_not_shown_under_a_foreign_name(site: Site) -> None:
    async with site.session.get(f"{site.url}/", headers={"Host": "evil.example"}) as response:
        assert response.status == 403
    async with site.session.get(f"{site.url}/") as response:
        assert await response.text() == "the page"


async def test_the_right_key_opens_the_api_from_anywhere_as_a_lead(locked: Site) -> None:
    headers = {"Host": "pupil.example", "X-Forwarded-For": "203.0.113.7", "Authorization": "Bearer correct horse"}
    assert (await locked.post(PREDICT, {"text": "a"}, headers=headers))[0] == 200
    assert locked.fakes.memory.asked_with == [Actor(PLAYGROUND, "api", "api", Role.LEAD)]


@pytest.mark.parametrize("given", ["Bearer wrong", "Bearer", "Basic correct horse", "correct horse", "Bearer ü"])
async def test_a_wrong_key_is_refused_even_from_this_machine(locked: Site, given: str) -> None:
    status, answer, _ = await locked.call("GET", "/api/v1/status", headers={"Authorization": given})
    assert (status, answer["error"]) == (401, "That is not the API key of this bot. Check PUPIL_API_KEY.")


async def test_a_key_where_none_is_set_is_refused(site: Site) -> None:
    status, answer, _ = await site.call("GET", "/api/v1/status", headers={"Authorization": "Bearer guess"})
    assert (status, answer["error"][:25]) == (401, "This bot has no API key. ")


async def test_health_is_told_to_anyone(site: Site) -> None:
    assert (await site.get("/healthz", headers={"Host": "10.0.0.7"}))["alive"] is True


# The rest


async def test_metrics_count_requests_by_route_and_show_the_status(site: Site) -> None:
    await make(site)
    await site.post(PREDICT, {"text": "a"})
    await site.call("GET", "/api/v1/no/such/route")
    async with site.session.get(f"{site.url}/metrics") as response:
        text = await response.text()
    route = 'method="POST",route="/api/v1/classifiers/{name}/predict",status="200"'
    assert f"pupil_http_requests_total{{{route}}} 1.0" in text
    assert 'route="none",status="404"' in text
    assert "pupil_trainer_reachable 1.0" in text
    assert "process_resident_memory_bytes" in text
    assert "/api/v1/no/such" not in text


async def test_what_a_trainer_that_is_away_does_not_tell_is_no_metric(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts: list[dict[str, Any]] = [{"reachable": True, "running": 1}, {"reachable": False, "why": "away"}]

    async def status() -> dict[str, Any]:
        return {"trainer": facts.pop(0)}

    monkeypatch.setattr(site.fakes.status, "status", status)
    told = []
    while facts:
        async with site.session.get(f"{site.url}/metrics") as response:
            told.append(await response.text())
    assert "pupil_trainer_running 1.0" in told[0]
    assert "pupil_trainer_reachable 0.0" in told[1]
    assert "pupil_trainer_running" not in told[1]


async def test_the_lesson_is_taken_step_by_step_in_the_playground(site: Site) -> None:
    assert (await site.post("/api/v1/lesson"))[1]["classifier"] == "triage"
    status, state = await site.post("/api/v1/lesson/names")
    assert (status, state["steps"][0]["state"], state["steps"][1]["state"]) == (200, "done", "ready")
    assert (await site.refusal("/api/v1/lesson/ask"))[0] == 409
    assert (await site.refusal("/api/v1/lesson/nothing"))[0] == 404
    assert {actor.guild for actor in site.fakes.lesson.actors} == {PLAYGROUND}


async def test_the_status_is_told(site: Site) -> None:
    assert (await site.get("/api/v1/status"))["trainer"] == {"reachable": True, "device": "cpu"}

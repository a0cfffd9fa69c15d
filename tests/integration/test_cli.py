"""The command line: its answers for people and programs, and one sentence with an exit code for everything else."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import types
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest
from aiohttp import web

from bot import __main__ as entry
from bot.cli.commands import pupil
from bot.cli.scores import score
from bot.services.people import Actor, Role
from bot.services.training import NotYet
from bot.web.api import add_api
from bot.web.guilds import PLAYGROUND
from storage.errors import ConfigurationError, InstanceLocked
from storage.records import CandidateKind, EvaluationReport, JobState
from storage.settings import Settings
from tests.fakes.fake_api_services import FakeApiServices
from tests.fakes.tiny_encoder import make_tiny_encoder
from tests.unit.test_report_figures import OLD, TODAY
from trainer.protocol import from_json, to_json

HEAVY = ("torch", "sklearn", "pandas", "matplotlib", "transformers", "numpy", "aiohttp", "discord")


class Terminal:
    """Runs commands in this process against fake services, as `python -m bot` would."""

    def __init__(self, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.fakes = FakeApiServices()
        self.data = data
        self.opened = 0
        self._capsys = capsys

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """(exit code, stdout, stderr)"""
        code = entry.run(pupil, ["--data", str(self.data), *arguments])
        out, error = self._capsys.readouterr()
        assert "Traceback" not in out + error
        return code, out, error

    def json(self, *arguments: str) -> Any:
        code, out, error = self.run(*arguments, "--json")
        assert code == 0, error
        return json.loads(out)

    def refusal(self, *arguments: str, code: int = 1) -> str:
        found, out, error = self.run(*arguments)
        assert (found, out) == (code, "")
        assert error.startswith("Error: ")
        assert error.count("\n") == 1
        return error.removeprefix("Error: ").rstrip("\n")

    def write(self, name: str, content: str | bytes) -> str:
        path = self.data / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    def teach(self) -> None:
        file = self.write("texts.csv", "text,label\na bug,bug\na bill,billing\n")
        assert self.run("labels", "import", file, "--classifier", "triage")[0] == 0

    @asynccontextmanager
    async def open_services(self, settings: Settings) -> AsyncIterator[FakeApiServices]:
        self.opened += 1
        yield self.fakes


@pytest.fixture
def terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Terminal:
    made = Terminal(tmp_path, capsys)
    app = types.ModuleType("bot.app")
    app.open_services = made.open_services  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "bot.app", app)
    monkeypatch.setitem(sys.modules, "bot.run", types.ModuleType("bot.run"))
    monkeypatch.setattr("bot.cli.training.POLL", 0.01)
    for name in ("PUPIL_DATA", "PUPIL_PORT", "DISCORD_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return made


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PUPIL_", "DISCORD_"))}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=kept | environment, timeout=60, check=False
    )


# Importing and asking


def test_an_import_makes_the_classifier_and_tells_the_counts(terminal: Terminal) -> None:
    file = terminal.write("texts.csv", "text,label\nit broke,bug\ntoo dear,billing\n")
    code, out, error = terminal.run("labels", "import", file, "--classifier", "triage")
    assert (code, error) == (0, "")
    assert out == "Imported into triage: 2 new texts. New labels (2): bug, billing.\n"
    assert [one["label"] for one in terminal.json("labels", "list", "--classifier", "triage")] == ["bug", "billing"]


def test_a_prediction_is_json_for_programs_one_line_per_text(terminal: Terminal) -> None:
    terminal.teach()
    code, out, _ = terminal.run("predict", "--classifier", "triage", "--json", "a bug", "billing")
    answers = [json.loads(line) for line in out.splitlines()]
    assert (code, [answer["label"] for answer in answers]) == (0, ["bug", "billing"])
    assert set(answers[0]) == {
        *("label", "confidence", "labels", "abstained", "outside", "cut", "version", "milliseconds")
    }


def test_a_prediction_is_a_table_for_people_and_says_when_it_is_not_sure(terminal: Terminal) -> None:
    file = terminal.write("texts.csv", "text,label\na bug,bug\na bill,billing\nhow,how to\n")
    terminal.run("labels", "import", file, "--classifier", "triage")
    code, out, _ = terminal.run("predict", "a bug", "[bold]what[/bold]\x1b[31m", "a bug elsewhere")
    assert code == 0
    assert "90%" in out
    assert "not sure: " in out
    assert "nothing it was taught; nearest: bug" in out
    assert "[bold]what[/bold]" in out
    assert "\x1b" not in out


def test_the_only_classifier_need_not_be_named(terminal: Terminal) -> None:
    assert "There is no classifier yet" in terminal.refusal("predict", "hello")
    terminal.teach()
    assert terminal.json("predict", "a bug")["label"] == "bug"
    file = terminal.write("more.csv", "text,label\na,b\n")
    terminal.run("labels", "import", file, "--classifier", "other")
    assert terminal.refusal("predict", "a bug") == (
        "Which classifier? There are triage, other. Choose one with --classifier NAME."
    )


def test_the_guild_and_the_data_directory_may_stand_before_or_after_the_command(terminal: Terminal) -> None:
    file = terminal.write("texts.csv", "text,label\na bug,bug\n")
    for guild in ("200000000000000001", PLAYGROUND):
        terminal.run("labels", "import", file, "--classifier", "triage", "--guild", guild)
    assert "Which server?" in terminal.refusal("models")
    assert terminal.run("--guild", "200000000000000001", "models")[0] == 0
    assert entry.run(pupil, ["models", "--guild", PLAYGROUND, "--data", str(terminal.data)]) == 0


def test_a_classifier_is_based_on_another_and_the_list_says_so(terminal: Terminal) -> None:
    assert terminal.run("classifiers", "list")[1].startswith("There is none yet.")
    terminal.teach()
    file = terminal.write("more.csv", "text,label\na,b\n")
    terminal.run("labels", "import", file, "--classifier", "mood")
    assert terminal.run("classifiers", "base", "mood", "--on", "triage@v3") == (
        0,
        "The next training of mood starts from triage v3. v0+1 answers until then.\n",
        "",
    )
    assert [one["based_on"] for one in terminal.json("classifiers", "list")] == [
        None,
        {"classifier": "triage", "version": "v3", "artifact": "a" * 64},
    ]
    assert "triage v3" in terminal.run("classifiers", "list")[1].splitlines()[-1]
    assert "the pretrained model" in terminal.run("classifiers", "base", "mood", "--on", "none")[1]
    assert "There is no classifier `nobody` here." in terminal.refusal("classifiers", "base", "mood", "--on", "nobody")


def test_how_sure_a_classifier_has_to_be_is_chosen_and_told(terminal: Terminal) -> None:
    terminal.teach()
    own = "It answers from confidence 0.40 on: of 20 checked answers, 60 % reach that, and 100 % of these are right."
    assert terminal.run("classifiers", "sure", "triage") == (
        0,
        f"triage: The threshold is the model's own. {own}\n",
        "",
    )
    told = terminal.run("classifiers", "sure", "triage", "--right", "95 %")[1]
    assert told.startswith("triage: With 20 checked answers 95 % cannot be promised yet; until then the model's own")
    terminal.fakes.memory.checked = 200
    told = terminal.run("classifiers", "sure", "triage")[1]
    assert told.startswith("triage: 95 % of its answers should be right. It answers from confidence 0.2")
    assert terminal.json("classifiers", "sure", "triage")["promised"] is True
    assert terminal.json("classifiers", "sure", "triage", "--right", "none")["precision"] is None
    assert "like 95, or none" in terminal.refusal("classifiers", "sure", "triage", "--right", "very")
    assert "between 50 and 99 %" in terminal.refusal("classifiers", "sure", "triage", "--right", "100")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["predict", "  "], "The text is empty. Type the text that this is about."),
        (["predict", "x" * 4001], "The text has 4,001 characters; at most 4,000 are possible."),
        (["predict", "hello", " "], "`texts[1]`: The text is empty. Type the text that this is about."),
        (["predict", "caf\udce9"], "The text is not valid UTF-8."),
        (["predict", "hello", "--classifier", "nothing"], "There is no classifier `nothing` here."),
        (["predict", "hello", "--guild", "abc"], "`guild` must be the number of a Discord server."),
        (["models", "promote", "7"], "`triage` has no v7."),
        (["models", "rollback"], "`triage` has no version before v0 to go back to."),
        (
            ["evaluate", "--file", "/nowhere/x.csv"],
            "The file /nowhere/x.csv cannot be read: No such file or directory.",
        ),
        (["labels", "import", "/", "--classifier", "a"], "The file / cannot be read: Is a directory."),
    ],
)
def test_bad_input_gives_one_sentence_and_exit_code_1(terminal: Terminal, arguments: list[str], sentence: str) -> None:
    terminal.teach()
    assert terminal.refusal(*arguments) == sentence


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.png", b"\x89PNG\r\n\x1a\n", "a.png is not UTF-8"),
        ("a.txt", b"text,label\na,b\n", "a.txt is neither CSV, TSV nor JSONL"),
        ("a.csv", b"text,tag\na,b\n", "a.csv needs one column `text` and one column `label`"),
        ("a.csv", b"", "a.csv is empty."),
        ("a.jsonl", b"[1]\n", "a.jsonl, line 1: this is not an object"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_and_nothing_is_imported(
    terminal: Terminal, name: str, content: bytes, sentence: str
) -> None:
    file = terminal.write(name, content)
    assert terminal.refusal("labels", "import", file, "--classifier", "triage").startswith(sentence)
    assert terminal.fakes.memory.votes == []
    assert terminal.opened == 0


@pytest.mark.parametrize("arguments", [["predict"], ["predict", "--nothing", "a"], ["nothing"], ["labels", "import"]])
def test_a_command_that_is_written_wrongly_is_exit_code_2(terminal: Terminal, arguments: list[str]) -> None:
    code, out, error = terminal.run(*arguments)
    assert (code, out) == (2, "")
    assert "Usage: pupil" in error


# Training, versions, measuring


def test_training_waits_where_no_bot_runs_and_tells_the_outcome(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal.teach()
    request = terminal.fakes.training.request

    async def request_and_fail(*arguments: Any) -> Any:
        outcome: Any = await request(*arguments)
        move = terminal.fakes.training.move
        asyncio.get_running_loop().call_later(
            0.05, lambda: move(outcome.job.id, JobState.FAILED, error="The loss was not a number.")
        )
        return outcome

    monkeypatch.setattr(terminal.fakes.training, "request", request_and_fail)
    code, out, error = terminal.run("train")
    assert (code, error) == (1, "")
    assert out == "The training ended without a model (failed): The loss was not a number.\n"


def test_a_training_that_cannot_start_says_why(terminal: Terminal) -> None:
    terminal.teach()
    terminal.fakes.training.refusal = "`bug` has 1 text and needs 5."
    assert terminal.refusal("train", "--wait") == "`bug` has 1 text and needs 5."


def test_versions_are_listed_promoted_and_rolled_back(terminal: Terminal) -> None:
    terminal.teach()
    assert "Nothing was trained yet" in terminal.run("models")[1]
    terminal.fakes.add_version(terminal.fakes.memory.classifiers[0])
    assert terminal.run("models", "promote", "1")[1] == "v1 answers now, instead of v0.\n"
    assert "champion" in terminal.run("models", "list")[1]
    assert "typo" in terminal.refusal("models", "--classifier", "typo", "rollback"), "said before the command"
    assert json.loads(terminal.run("models", "--json", "list")[1])
    assert terminal.json("models", "rollback")["version"] == "v0"


def trained(terminal: Terminal, report: str) -> None:
    """A version with that report, and the job that made it."""
    terminal.teach()
    classifier, training = terminal.fakes.memory.classifiers[0], terminal.fakes.training

    async def run() -> None:
        outcome = await training.request(Actor(classifier.guild, "local", "local", Role.OPERATOR), classifier)
        assert not isinstance(outcome, NotYet)
        version = replace(terminal.fakes.add_version(classifier, report), job_id=outcome.job.id, snapshot="5" * 64)
        terminal.fakes.memory.versions[-1] = version
        found = from_json(EvaluationReport, report)
        training.move(outcome.job.id, JobState.SUCCEEDED, report=found, version=version)

    asyncio.run(run())


def test_a_report_is_read_by_people_and_by_programs(terminal: Terminal) -> None:
    terminal.teach()
    assert terminal.refusal("models", "report") == (
        "`triage` has no trained version. `pupil models` lists its versions."
    )
    trained(terminal, to_json(replace(TODAY, other_accuracy=0.25, kind=CandidateKind.INSTANT)))
    code, out, error = terminal.run("models", "report")
    assert (code, error) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "triage v1 (candidate). Better."
    assert [line.split() for line in lines[2:6]] == [
        ["on", "4", "texts", "v1", "v3"],
        ["accuracy", "50", "%", "50", "%"],
        ["95", "%", "interval", "15", "to", "85", "%", "15", "to", "85", "%"],
        ["macro-F1", "0.40", "0.30"],
    ]
    for line in (
        "3 answers differ: 1 became right, 1 wrong, 1 wrong in another way; 50 % likely better.",
        "Answers 84 % of the texts if 95 % of the answers have to be right, from confidence 0.61.",
        "Its confidence is off by 2.8 % on average (9.8 % before calibration).",
        "On 3 of these texts it gets 66.7 %, fine-tuning 25 %.",
        "Most confused: bug answered as billing (1), billing answered as bug (1).",
        "v1: the head alone, over the base encoder, 300 texts to learn from, 1 kept aside to measure.",
        "23 MB, 4.2 ms per text.",
        "It took 36 seconds: measuring 22, training 14.",
    ):
        assert line in lines
    assert ["bug", "3", "0.67", "0.67", "0.33", "1"] in [line.split() for line in lines]
    told = terminal.json("models", "report", "--version", "v1")
    assert (told["version"], told["classifier"], told["snapshot"]) == ("v1", "triage", "5" * 64)
    assert told["report"]["flips"] == {"fixed": [1], "broken": [2], "still_wrong": [4]}
    assert terminal.refusal("models", "report", "--version", "v9") == (
        "`triage` has no v9 that was trained. `pupil models` lists its versions."
    )
    assert "takes a version like v3" in terminal.refusal("models", "report", "--version", "newest")


def test_a_report_of_the_old_shape_leaves_out_what_was_not_measured(terminal: Terminal) -> None:
    trained(terminal, json.dumps(OLD))
    out = terminal.run("models", "report")[1]
    assert "v1: 80 texts to learn from, 4 kept aside to measure." in out
    assert "Its confidence is off by 12 % on average.\n" in out
    for words in ("ms per text", "MB", "fine-tuned", "Recognises", "have to be right", "head alone"):
        assert words not in out


def test_evaluation_measures_the_served_answers(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal.teach()
    file = terminal.write("test.csv", "text,label\na bug,bug\nbilling,bug\nbilling,billing\nno bug,other\n")
    result = terminal.json("evaluate", "--classifier", "triage", "--file", file)
    assert (result["n"], result["accuracy"], result["unknown_labels"]) == (4, 0.5, ["other"])
    assert [label["n"] for label in result["labels"]] == [1, 2, 1]
    spelt = terminal.write("spelt.csv", "text,label\na bug,Bug\nthe bug, BUG\nbilling,billing\n")
    result = terminal.json("evaluate", "--file", spelt)
    assert (result["accuracy"], result["unknown_labels"]) == (1.0, []), "as an import takes them"
    with monkeypatch.context() as renamed:
        ids = {"bug": 1, "defect": 1, "billing": 2}
        renamed.setattr(terminal.fakes.labeling, "label_ids", AsyncMock(return_value=ids))
        old = terminal.write("old.csv", "text,label\na bug,Defect\n")
        result = terminal.json("evaluate", "--file", old)
    assert (result["accuracy"], result["unknown_labels"]) == (1.0, []), "renamed since"
    code, out, _ = terminal.run("evaluate", "--file", file)
    assert code == 0
    assert "accuracy 50.0%" in out
    strange = terminal.write("strange.csv", "text,label\na bug elsewhere,bug\nelsewhere,bug\nhm,bug\n")
    terminal.run("labels", "import", terminal.write("more.csv", "text,label\nx,how to\n"), "--classifier", "triage")
    result = terminal.json("evaluate", "--file", strange)
    assert (result["abstained"], result["outside"]) == (1, 2)


def test_scores_follow_the_definition_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    truth = [f"label {(number * number) % 7}" for number in range(500)]
    answers = [f"label {(number * 3) % 9}" for number in range(500)]
    found = score(truth, answers)
    assert found.accuracy == pytest.approx(metrics.accuracy_score(truth, answers))
    assert found.macro_f1 == pytest.approx(metrics.f1_score(truth, answers, average="macro", zero_division=0))
    names = [label.label for label in found.labels]
    expected = metrics.precision_recall_fscore_support(truth, answers, labels=names, zero_division=0)
    for label, precision, recall, f1, rows in zip(found.labels, *expected, strict=True):
        assert (label.precision, label.recall, label.f1) == pytest.approx((precision, recall, f1))
        assert label.n == rows


def test_the_demo_takes_the_lesson_and_shows_each_accuracy_and_the_verdict(terminal: Terminal) -> None:
    code, out, _ = terminal.run("demo")
    assert code == 0
    assert [share for share in ("70.0%", "75.0%", "85.0%") if share in out] == ["70.0%", "75.0%", "85.0%"]
    assert "Kept v0." in out
    assert terminal.fakes.lesson.done == ["names", "teach", "train", "ask"]
    assert terminal.json("demo")["steps"][3]["state"] == "done"  # and again: shown as it was


# Trouble


def test_a_locked_data_directory_is_one_sentence(terminal: Terminal) -> None:
    @asynccontextmanager
    async def locked(settings: Settings) -> AsyncIterator[None]:
        raise InstanceLocked("The data in /x is in use by process 7. Stop that one first.")
        yield

    sys.modules["bot.app"].open_services = locked  # type: ignore[attr-defined]
    assert terminal.refusal("models") == "The data in /x is in use by process 7. Stop that one first."


def test_a_data_directory_that_cannot_be_made_is_one_sentence(terminal: Terminal) -> None:
    file = terminal.write("file", "")
    assert terminal.refusal("--data", f"{file}/below", "models") == (
        f"The data directory {file}/below cannot be used (Not a directory). Choose one with --data DIR."
    )


def test_a_setting_that_cannot_work_is_one_sentence(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUPIL_PORT", "99999")
    assert terminal.refusal("models").startswith("The setting port cannot be used")


def test_a_failure_of_run_is_one_sentence_and_its_exit_code_is_passed_on(terminal: Terminal) -> None:
    def refuse(settings: Settings) -> int:
        raise ConfigurationError(f"Port {settings.port} is in use.")

    sys.modules["bot.run"].run = refuse  # type: ignore[attr-defined]
    assert terminal.refusal("run", "--port", "8731") == "Port 8731 is in use."
    sys.modules["bot.run"].run = lambda settings: 3  # type: ignore[attr-defined]
    assert terminal.run("run")[0] == 3


def test_an_unexpected_error_names_the_file_with_its_traceback(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sys.modules["bot.app"].open_services = lambda settings: 1 / 0  # type: ignore[attr-defined]
    sentence = terminal.refusal("models")
    (report,) = tmp_path.glob("pupil-*.txt")
    assert str(report) in sentence
    assert "ZeroDivisionError" in report.read_text()


def test_a_crash_behind_the_api_leaves_its_traceback_in_the_log_file_alone(terminal: Terminal) -> None:
    terminal.teach()
    terminal.fakes.memory.failing = ZeroDivisionError("what")
    assert terminal.refusal("models").startswith("Something went wrong on our side.")
    assert "ZeroDivisionError" in (terminal.data / "commands.log").read_text()


# The running bot


@asynccontextmanager
async def running_bot(data: Path) -> AsyncIterator[tuple[FakeApiServices, str]]:
    """What a running bot is to the command line: the API, and the notice of its address."""
    fakes, settings = FakeApiServices(), Settings(data=data)
    app = web.Application()
    add_api(app, fakes.services, settings)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    settings.space.mkdir(parents=True)
    (settings.space / "api.json").write_text(json.dumps({"url": url, "pid": os.getpid()}))
    try:
        yield fakes, url
    finally:
        await runner.cleanup()


async def test_commands_go_through_the_running_bot(tmp_path: Path) -> None:
    async with running_bot(tmp_path) as (fakes, _):
        await fakes.classifiers.create(Actor(PLAYGROUND, "lead", "Lead", Role.LEAD), "triage", ["bug"])
        arguments = ("-m", "bot", "--data", str(tmp_path), "predict", "--json", "a bug")
        done = await asyncio.to_thread(python, *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout)["label"] == "bug"
        trained = await asyncio.to_thread(python, "-m", "bot", "train", PUPIL_DATA=str(tmp_path))
        assert (trained.returncode, trained.stderr) == (0, "")
        assert trained.stdout.endswith("of triage is queued.\n")


@pytest.mark.parametrize(
    "notice",
    [
        {"url": "http://127.0.0.1:1", "pid": 2**22 + 1},  # larger than any pid
        {"url": "http://127.0.0.1:1", "pid": os.getpid()},  # alive, but nobody answers
        {"url": 7},
        [],
    ],
)
def test_a_notice_that_a_dead_bot_left_is_ignored(terminal: Terminal, notice: Any) -> None:
    space = Settings(data=terminal.data).space
    space.mkdir()
    (space / "api.json").write_text(json.dumps(notice))
    terminal.teach()
    assert terminal.opened == 1


async def test_another_bot_on_the_noticed_port_is_not_taken_for_ours(tmp_path: Path) -> None:
    from bot.cli.connect import find_running

    async with running_bot(tmp_path) as (_, url):
        settings = Settings(data=tmp_path)
        assert await find_running(settings) == url
        (settings.space / "api.json").write_text(json.dumps({"url": url, "pid": os.getppid()}))
        assert await find_running(settings) is None


# The doctor


async def test_the_doctor_finds_a_port_in_use_and_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    from bot.cli import doctor

    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        check = doctor.check_port(Settings(data=tmp_path, port=port), None)
        assert (check.is_fine, check.sentence) == (
            False,
            f"127.0.0.1:{port} is in use by another program. Choose another with PUPIL_PORT.",
        )
    assert doctor.check_port(Settings(data=tmp_path, port=port), None).is_fine
    (tmp_path / "file").touch()
    check = doctor.check_directory(tmp_path / "file" / "below")
    assert not check.is_fine
    assert "cannot be written (Not a directory)" in check.sentence


async def test_the_doctor_tells_what_the_models_take_and_when_room_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bot.cli import doctor

    settings = Settings(data=tmp_path)
    assert doctor.check_models(settings).sentence.startswith("0.0 GB in ")
    (settings.models / ("a" * 64)).mkdir(parents=True)
    with (settings.models / ("a" * 64) / "encoder.onnx").open("wb") as file:
        file.truncate(250_000_000)
    check = doctor.check_models(settings)
    assert check.sentence.startswith(f"0.2 GB in {settings.models}; ")
    assert check.is_fine
    monkeypatch.setattr(doctor, "ROOM", 1 << 60)
    check = doctor.check_models(settings)
    assert not check.is_fine
    assert "PUPIL_KEEP_VERSIONS" in check.sentence


async def test_the_doctor_finds_a_damaged_database_and_one_that_is_in_use(tmp_path: Path) -> None:
    from bot.cli import doctor
    from storage.database import Database

    settings = Settings(data=tmp_path)
    assert doctor.check_database(settings, running=False).sentence == "there is none yet; the first run makes it."
    settings.space.mkdir()
    path = settings.space / "pupil.db"
    async with Database(path):
        check = doctor.check_database(settings, running=False)
        assert not check.is_fine
        assert f"in use by process {os.getpid()}" in check.sentence
    assert doctor.check_database(settings, running=False).is_fine
    path.write_bytes(b"not a database" * 1000)
    check = doctor.check_database(settings, running=False)
    assert not check.is_fine
    assert "pupil restore BACKUP" in check.sentence


async def test_the_doctor_names_a_base_and_a_trainer_that_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bot.cli import doctor

    monkeypatch.setattr(doctor, "BASE_PACKAGE", "no_such_package_at_all")
    monkeypatch.setattr(doctor, "TRAIN_PACKAGES", ("no_such_package_at_all",))
    settings = Settings(data=tmp_path)
    assert not doctor.check_base(settings).is_fine
    assert "pip install" in (await doctor.check_trainer(settings)).sentence
    assert not doctor.check_base(Settings(data=tmp_path, base=str(tmp_path))).is_fine
    away = await doctor.check_trainer(Settings(data=tmp_path, trainer_url="http://127.0.0.1:1"))
    assert not away.is_fine


# All of it, with nothing faked


@pytest.mark.slow
def test_commands_work_on_a_data_directory_where_no_bot_runs(tmp_path: Path) -> None:
    texts = [(f"the {thing} is broken", "bug") for thing in ("door", "lamp", "chair", "roof")]
    texts += [(f"what does the {thing} cost", "billing") for thing in ("door", "lamp", "chair", "roof")]
    base = make_tiny_encoder(tmp_path / "base", texts=[text for text, _ in texts])
    file = tmp_path / "texts.jsonl"
    file.write_text("\n".join(json.dumps({"text": text, "label": label}) for text, label in texts))

    def pupil_says(*arguments: str, code: int = 0) -> str:
        done = python("-m", "bot", *arguments, PUPIL_DATA=str(tmp_path / "data"), PUPIL_BASE=str(base))
        assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
        return done.stdout if code == 0 else done.stderr

    assert pupil_says("labels", "import", str(file), "--classifier", "things") == (
        "Imported into things: 8 new texts. New labels (2): bug, billing.\n"
    )
    answer = json.loads(pupil_says("predict", "--json", "the table is broken"))
    assert (answer["label"], answer["version"]) == ("bug", "v0+8")
    assert json.loads(pupil_says("evaluate", "--file", str(file), "--json"))["n"] == 8
    assert pupil_says("predict", "x" * 4001, code=1).startswith("Error: The text has 4,001 characters")
    copy = str(tmp_path / "copy.db")
    assert "was checked" in pupil_says("backup", copy)
    assert "is the database now" in pupil_says("restore", copy)
    assert [count["total"] for count in json.loads(pupil_says("labels", "list", "--json"))] == [4, 4]


# The light start


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, bot.__main__ as entry, bot.cli.commands as commands\n"
        "code = entry.run(commands.pupil, ['--help'])\n"
        f"found = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "sys.exit(f'imported {found}' if found or code else 0)"
    )
    done = python("-c", code)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Commands talk to the bot" in done.stdout

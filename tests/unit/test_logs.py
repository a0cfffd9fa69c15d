"""Log lines: readable or JSON, and without secrets."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from storage.logs import set_up_logging


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _root_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def lines(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, secrets: tuple[str, ...] = ()) -> io.StringIO:
    monkeypatch.setattr("sys.stderr", stream)
    set_up_logging("info", secrets)
    return stream


def test_json_lines_carry_the_event_and_its_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = lines(monkeypatch, io.StringIO())
    log = logging.getLogger("storage.test")
    log.info("label.stored", extra={"example": 481, "event": 12})
    log.debug("not shown")
    (line,) = map(json.loads, stream.getvalue().splitlines())
    assert line["event"] == "label.stored"
    assert (line["example"], line["event_"], line["level"], line["logger"]) == (481, 12, "INFO", "storage.test")


def test_a_terminal_gets_words(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = lines(monkeypatch, Terminal())
    logging.getLogger("x").warning("version.promoted", extra={"number": 3})
    assert stream.getvalue().endswith("warning version.promoted number=3\n")


SECRETS = ("token-123", 'with "quotes" and \\', "token-123-longer", "geheim-ü")


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
@pytest.mark.parametrize("secret", SECRETS)
def test_no_secret_reaches_a_line(monkeypatch: pytest.MonkeyPatch, stream: type[io.StringIO], secret: str) -> None:
    written = lines(monkeypatch, stream(), SECRETS)
    log = logging.getLogger("x")
    log.info("connected with %s", secret, extra={"header": f"Bearer {secret}"})
    try:
        raise ValueError(f"bad token {secret}")
    except ValueError:
        log.exception("connection.failed")
    text = written.getvalue()
    assert secret not in text
    assert json.dumps(secret, ensure_ascii=False)[1:-1] not in text
    assert "longer" not in text
    assert text.count("[secret]") >= 3


def test_an_exception_stays_in_its_json_line(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = lines(monkeypatch, io.StringIO())
    try:
        raise ValueError("bad")
    except ValueError:
        logging.getLogger("x").exception("it.failed")
    (line,) = map(json.loads, stream.getvalue().splitlines())
    assert "ValueError: bad" in line["exception"]


def test_too_short_secrets_do_not_tear_lines_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = lines(monkeypatch, Terminal(), ("", "a", "abc"))
    logging.getLogger("x").info("abc.stored")
    assert "abc.stored" in stream.getvalue()

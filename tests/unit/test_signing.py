"""Only a holder of the key can make a request, once, for one route, within five minutes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import NotAllowed
from trainer.signing import DIGEST, ID, SIGNATURE, TIME, TOLERANCE, Verifier, is_answer, sign_answer, sign_request

NOW = 1_800_000_000.0
KEY, OTHER = "k" * 32, "o" * 32


def verifier(*keys: str, now: float = NOW) -> Verifier:
    return Verifier(keys or (KEY,), clock=lambda: now)


def signed(key: str = KEY, now: float = NOW) -> dict[str, str]:
    return sign_request(key, "PUT", "/v1/jobs/a?x=1", now=now)


def test_signed_request_is_accepted_and_the_key_is_named() -> None:
    assert verifier(OTHER, KEY).check("PUT", "/v1/jobs/a?x=1", signed()) == KEY


def test_both_keys_are_accepted_while_one_is_being_replaced() -> None:
    both = verifier(OTHER, KEY)
    assert [both.check("PUT", "/v1/jobs/a?x=1", signed(key)) for key in (KEY, OTHER)] == [KEY, OTHER]


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/jobs/a?x=1"), ("PUT", "/v1/jobs/b?x=1"), ("PUT", "/v1/jobs/a?x=2"), ("PUT", "/")]
)
def test_signature_is_worth_nothing_on_another_route(method: str, path: str) -> None:
    with pytest.raises(NotAllowed, match="wrong"):
        verifier().check(method, path, signed())


@pytest.mark.parametrize("name", [ID, TIME, DIGEST, SIGNATURE])
def test_every_header_is_needed_and_covered(name: str) -> None:
    without = {key: value for key, value in signed().items() if key != name}
    with pytest.raises(NotAllowed, match="not signed"):
        verifier().check("PUT", "/v1/jobs/a?x=1", without)
    headers = signed()
    changed = headers | {name: headers[name][:-1] + ("0" if headers[name][-1] != "0" else "1")}
    with pytest.raises(NotAllowed, match="wrong"):
        verifier().check("PUT", "/v1/jobs/a?x=1", changed)


def test_wrong_key_is_refused() -> None:
    with pytest.raises(NotAllowed, match="wrong"):
        verifier(OTHER).check("PUT", "/v1/jobs/a?x=1", signed())


def test_replayed_request_is_refused() -> None:
    gate, headers = verifier(), signed()
    gate.check("PUT", "/v1/jobs/a?x=1", headers)
    with pytest.raises(NotAllowed, match="seen before"):
        gate.check("PUT", "/v1/jobs/a?x=1", headers)


@pytest.mark.parametrize("away", [-TOLERANCE - 1, TOLERANCE + 1])
def test_old_or_early_request_is_refused(away: float) -> None:
    with pytest.raises(NotAllowed, match="clock"):
        verifier().check("PUT", "/v1/jobs/a?x=1", signed(now=NOW + away))


@pytest.mark.parametrize("away", [-TOLERANCE, TOLERANCE])
def test_clocks_may_differ_by_the_tolerance(away: float) -> None:
    assert verifier().check("PUT", "/v1/jobs/a?x=1", signed(now=NOW + away))


def test_request_is_remembered_as_long_as_its_time_is_good_and_forgotten_after() -> None:
    now = NOW
    gate = Verifier((KEY,), clock=lambda: now)
    headers = signed(now=NOW + TOLERANCE)
    gate.check("PUT", "/v1/jobs/a?x=1", headers)
    now = NOW + 2 * TOLERANCE
    with pytest.raises(NotAllowed, match="seen before"):
        gate.check("PUT", "/v1/jobs/a?x=1", headers)
    now = NOW + 5 * TOLERANCE
    gate.check("PUT", "/v1/jobs/a?x=1", signed(now=now))
    assert len(gate._seen) == 1


@given(st.dictionaries(st.sampled_from([ID, TIME, DIGEST, SIGNATURE]), st.text(max_size=80)), st.text(max_size=40))
def test_nonsense_is_refused_and_never_crashes(headers: dict[str, str], path: str) -> None:
    with pytest.raises(NotAllowed):
        verifier().check("GET", path, headers)


@pytest.mark.parametrize("keys", [(), ("",), (KEY, "")])
def test_verifier_without_a_key_is_refused(keys: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="key"):
        Verifier(keys)


def test_answer_is_genuine_only_for_its_request_status_and_body() -> None:
    signature = sign_answer(KEY, "1" * 32, 200, b"{}")
    assert is_answer(KEY, "1" * 32, 200, b"{}", signature)
    assert not is_answer(OTHER, "1" * 32, 200, b"{}", signature)
    assert not is_answer(KEY, "2" * 32, 200, b"{}", signature)
    assert not is_answer(KEY, "1" * 32, 404, b"{}", signature)
    assert not is_answer(KEY, "1" * 32, 200, b"[]", signature)
    assert not is_answer(KEY, "1" * 32, 200, b"{}", "ü\udcff")

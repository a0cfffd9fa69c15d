"""Where a request comes from: only a peer, a Host and an Origin of this machine together are this machine."""

from __future__ import annotations

from unittest.mock import Mock

import pytest
from aiohttp import HttpVersion, HttpVersion10, HttpVersion11, web
from aiohttp.test_utils import make_mocked_request

from bot.web.origin import is_from_here


def request(peer: str | None, headers: dict[str, str], version: HttpVersion = HttpVersion11) -> web.Request:
    transport = Mock()
    transport.get_extra_info = lambda name, default=None: (peer, 50000) if name == "peername" and peer else default
    named = {"Host": "localhost:8730"} | headers
    return make_mocked_request("GET", "/", headers=named, version=version, transport=transport)


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("headers", [{}, {"Host": "[::1]:8730"}, {"Origin": "http://localhost:8730"}])
def test_programs_and_the_page_on_this_machine(peer: str, headers: dict[str, str]) -> None:
    assert is_from_here(request(peer, headers))


@pytest.mark.parametrize("peer", ["192.0.2.9", "10.0.0.1", "::ffff:192.0.2.9", "2001:db8::1", None])
@pytest.mark.parametrize("headers", [{}, {"Origin": "http://localhost:8730"}, {"Host": "127.0.0.1"}])
def test_another_machine_may_write_into_its_headers_what_it_likes(peer: str | None, headers: dict[str, str]) -> None:
    assert not is_from_here(request(peer, headers))


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "192.0.2.9:8730"},
        {"Host": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "http://localhost:1"},
        {"Origin": "null"},
        {"X-Forwarded-For": "192.0.2.9"},
        {"X-Forwarded-Proto": "https"},
        {"Via": "1.1 proxy"},
    ],
)
def test_foreign_names_pages_and_proxies_on_this_machine(headers: dict[str, str]) -> None:
    assert not is_from_here(request("127.0.0.1", headers))


def test_a_proxy_that_adds_nothing_is_known_by_its_old_protocol() -> None:
    assert not is_from_here(request("127.0.0.1", {}, HttpVersion10))

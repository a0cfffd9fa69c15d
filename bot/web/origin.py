"""Where a request comes from: this machine or another, our own page or a stranger's.

A browser on this machine can be made to call a loopback address by any page it shows, and a program anywhere writes
into Host and Origin what it likes. So only together do they prove something: a peer on this machine, a Host that is a
name of this machine (else a foreign name was rebound to it), and an Origin, where there is one, that is our own page.
"""

from __future__ import annotations

from aiohttp import HttpVersion11, web
from yarl import URL

from storage.settings import is_loopback

ONLY_HERE = "This page answers only on the machine where it runs, and under its own address."
_FORWARDED = (
    *("Forwarded", "Via", "X-Real-IP", "X-Forwarded-For", "X-Forwarded-Host"),
    *("X-Forwarded-Proto", "X-Forwarded-Server"),
)


def is_from_here(request: web.Request) -> bool:
    """A program or our own page on this machine, that speaks for itself."""
    ours = _parse(f"http://{request.host}")
    return _is_local(request) and is_loopback(ours.host or "") and _is_our_page(request, ours)


def _is_local(request: web.Request) -> bool:
    """A peer on this machine; a proxy on this machine speaks for somebody else.

    One that adds no header, as nginx unless it is told to, asks by HTTP/1.0, which nobody else does today.
    """
    if request.version < HttpVersion11 or any(name in request.headers for name in _FORWARDED):
        return False
    return request.remote is not None and is_loopback(request.remote)


def _is_our_page(request: web.Request, ours: URL) -> bool:
    """No Origin (not a browser, or its own navigation), or the same host and port that the request names."""
    origin = request.headers.get("Origin")
    if origin is None:
        return True
    theirs = _parse(origin)
    return theirs.host is not None and (theirs.host, theirs.explicit_port) == (ours.host, ours.explicit_port)


def _parse(url: str) -> URL:
    try:
        return URL(url)
    except ValueError:
        return URL()

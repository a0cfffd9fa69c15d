"""Requests that only a holder of the key can make, and answers that only the right trainer can give.

A request carries HMAC-SHA256(key, "METHOD\\npath?query\\nid\\ntimestamp\\nsha256(body)"). That is the shape of Standard
Webhooks with method and path bound in, so that a signature is worth nothing on another route. The digest travels in a
header of its own: a forged upload is refused before its first byte is read. Knows nothing of HTTP libraries, and does
not encrypt: across an untrusted network put TLS in front.

    Pupil-Id         32 hex digits, never used twice
    Pupil-Time       Unix seconds
    Pupil-Digest     sha256 of the body, hex
    Pupil-Signature  hex
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

from storage.errors import NotAllowed

ID, TIME, DIGEST, SIGNATURE = "Pupil-Id", "Pupil-Time", "Pupil-Digest", "Pupil-Signature"

TOLERANCE = 300.0
"""Seconds the two clocks may differ, as in Standard Webhooks."""

EMPTY = hashlib.sha256(b"").hexdigest()
"""Digest of a request without a body."""

_SHAPES = {
    ID: re.compile(r"[0-9a-f]{32}"),
    TIME: re.compile(r"[0-9]{1,12}"),
    DIGEST: re.compile(r"[0-9a-f]{64}"),
    SIGNATURE: re.compile(r"[0-9a-f]{64}"),
}


def sign_request(key: str, method: str, path: str, digest: str = EMPTY, now: float | None = None) -> dict[str, str]:
    """Headers for one request.

    Args:
        path: from "/v1" on, with the query, percent-encoded exactly as it is sent.
        digest: sha256 hex of the body.
        now: Unix seconds; None: the clock.
    """
    request, stamp = secrets.token_hex(16), str(int(time.time() if now is None else now))
    signature = _mac(key, method, path, request, stamp, digest)
    return {ID: request, TIME: stamp, DIGEST: digest, SIGNATURE: signature}


def sign_answer(key: str, request: str, status: int, body: bytes) -> str:
    """Signature of the answer to the request with that id: artifact ids come from answers, so they must be genuine."""
    return _mac(key, "answer", request, str(status), hashlib.sha256(body).hexdigest())


def is_answer(key: str, request: str, status: int, body: bytes, signature: str) -> bool:
    return hmac.compare_digest(sign_answer(key, request, status, body).encode(), signature.encode(errors="replace"))


class Verifier:
    """Decides whether a request was made by a holder of one of the keys, just now, for the first time.

    Ids are remembered in memory for as long as their time would be accepted, and only those of genuine requests, so
    that a stranger cannot fill it. A restart forgets them; every route is idempotent for that reason too.
    """

    def __init__(self, keys: Sequence[str], clock: Callable[[], float] = time.time) -> None:
        """Args:
        keys: usually one; two while a key is being replaced.
        """
        if not keys or not all(keys):
            raise ValueError("a verifier needs at least one key that is not empty")
        self._keys = tuple(keys)
        self._clock = clock
        self._seen: OrderedDict[str, float] = OrderedDict()

    def check(self, method: str, path: str, headers: Mapping[str, str]) -> str:
        """The key that signed the request.

        Raises:
            NotAllowed: not signed, signed with another key or for another request, too old, or a repetition.
        """
        given = {name: headers.get(name, "") for name in _SHAPES}
        if not all(shape.fullmatch(given[name]) for name, shape in _SHAPES.items()):
            raise NotAllowed("The request is not signed. Use the key of this trainer.")
        key = self._signer(method, path, given)
        now = self._clock()
        # The clock is spoken of only to holders of the key.
        if abs(now - int(given[TIME])) > TOLERANCE:
            raise NotAllowed(
                f"The request's time is {abs(now - int(given[TIME])):.0f} s away from this trainer's clock "
                f"(at most {TOLERANCE:.0f}). Set both clocks."
            )
        self._remember(given[ID], now)
        return key

    def _signer(self, method: str, path: str, given: Mapping[str, str]) -> str:
        for key in self._keys:
            expected = _mac(key, method, path, given[ID], given[TIME], given[DIGEST])
            if hmac.compare_digest(expected, given[SIGNATURE]):
                return key
        raise NotAllowed("The request's signature is wrong. Use the key of this trainer.")

    def _remember(self, request: str, now: float) -> None:
        # A stamp may lie TOLERANCE ahead and stays good for TOLERANCE after that.
        while self._seen and next(iter(self._seen.values())) < now - 2 * TOLERANCE:
            self._seen.popitem(last=False)
        if request in self._seen:
            raise NotAllowed("The request was seen before. Sign each request anew.")
        self._seen[request] = now


def _mac(key: str, *parts: str) -> str:
    # surrogateescape: what arrived as bytes that are no UTF-8 is signed as those bytes.
    return hmac.new(key.encode(), "\n".join(parts).encode(errors="surrogateescape"), hashlib.sha256).hexdigest()

"""Reading a JSON body: bounded, and checked down to its fields before anything acts on it.

Every refusal is an InvalidInput whose sentence names the field. Knows nothing of what the fields mean.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NoReturn

from aiohttp import web

from storage.errors import InvalidInput
from storage.events import is_whole

MAX_BODY = 16 * 2**20
"""Bytes: 50,000 rows of a 10 MiB file with JSON's own characters around them."""

_KINDS = {
    str: "a string",
    int: "a whole number",
    float: "a decimal number",
    list: "a list",
    dict: "an object",
    bool: "true or false",
}


async def read_json(request: web.Request) -> Any:
    """The body as Python data; None when there is none.

    Raises:
        InvalidInput: compressed, not UTF-8, not JSON, nested too deeply, or with NaN.
        HTTPRequestEntityTooLarge: more than MAX_BODY bytes.
    """
    if request.headers.get("Content-Encoding", "identity") != "identity":
        # A small compressed body can unfold to gigabytes.
        raise InvalidInput("Send the body uncompressed.")
    raw = await _read_bounded(request)
    if not raw.strip():
        return None
    try:
        return json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        raise InvalidInput("The body is not UTF-8.") from None
    except json.JSONDecodeError as error:
        raise InvalidInput(f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}.") from None
    except RecursionError:
        raise InvalidInput("The body is nested too deeply.") from None
    except ValueError:  # an integer of thousands of digits
        raise InvalidInput("The body holds a number that is too large.") from None


async def read_fields(request: web.Request, **kinds: type) -> dict[str, Any]:
    """The fields of a JSON object that were given, none other than `kinds` and each of its kind; no body: no fields."""
    return check_fields(await read_json(request), "The body", **kinds)


def check_fields(value: Any, where: str, **kinds: type) -> dict[str, Any]:
    """`value` as an object with at most the fields of `kinds`; `where` begins the sentence that refuses it."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidInput(f"{where} must be an object, not {_kind_of(value)}.")
    for name, item in value.items():
        if name not in kinds:
            known = ", ".join(f"`{field}`" for field in kinds) or "none"
            raise InvalidInput(f"{where} has an unknown field `{_short(name)}`; there are: {known}.")
        check_kind(item, kinds[name], f"`{name}`" if where == "The body" else f"{where}: `{name}`")
    return value


def check_kind(value: Any, kind: type, where: str) -> None:
    """Raises InvalidInput unless `value` is exactly of `kind`, and, if a string, made of whole characters."""
    if type(value) is not kind:
        raise InvalidInput(f"{where} must be {_KINDS[kind]}, not {_kind_of(value)}.")
    if isinstance(value, str) and not is_whole(value):
        raise InvalidInput(f"{where} holds half of a surrogate pair, which is no character.")


def check_strings(values: Sequence[Any], field: str, most: int) -> None:
    """Raises InvalidInput unless there is at least one string, at most `most`, and nothing else."""
    if not 1 <= len(values) <= most:
        raise InvalidInput(f"`{field}` must hold 1 to {most:,} strings, not {len(values):,}.")
    for position, value in enumerate(values):
        check_kind(value, str, f"`{field}[{position}]`")


async def _read_bounded(request: web.Request) -> bytes:
    """Counts while reading: the application's own limit does not apply to a stream."""
    body = bytearray()
    async for chunk in request.content.iter_chunked(2**16):
        body += chunk
        if len(body) > MAX_BODY:
            sentence = f"The body has more than {MAX_BODY // 2**20} MiB. Send it in parts."
            raise web.HTTPRequestEntityTooLarge(MAX_BODY, len(body), text=sentence)
    return bytes(body)


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidInput(f"The body holds {name}, which is not JSON.")


def _kind_of(value: Any) -> str:
    if value is None:
        return "null"
    return "a number" if type(value) is float else _KINDS[type(value)]


def _short(name: str) -> str:
    return name.encode("utf-8", "replace").decode()[:40].replace("`", "'")

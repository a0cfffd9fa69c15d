"""The trainer's HTTP API as an OpenAPI 3.1 document, served at `/v1/openapi.json`.

What is said about messages comes from the dataclasses and docstrings of `trainer.protocol`; what is said about routes
is the table here, which a test compares with what is served. The document is the same for everybody and tells nothing
that the source does not, so it needs no signature: tools that read such documents cannot sign.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from typing import Any

from storage.artifacts import ALLOWED
from trainer import protocol, signing
from trainer.protocol import VERSION, ArtifactFiles, BaseStatus, Health, JobSpec, JobStatus, Progress, Refusal

PATH = "/v1/openapi.json"

LARGEST_SPEC = 64 << 10
LARGEST_SNAPSHOT = 1 << 30
"""Bytes; 200,000 texts of the greatest length would fit."""
LARGEST_FILE = 8 << 30
"""Bytes; an encoder of two billion float32 parameters."""
LONGEST_WAIT = 60.0
"""Seconds a long poll may ask for; proxies give up soon after."""

Schema = dict[str, Any]

_BYTES: Schema = {"type": "string", "contentMediaType": "application/octet-stream"}
_DIGEST: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_JOB: Schema = {"type": "string", "pattern": "^[0-9a-f]{8,64}$"}
_WAIT: Schema = {"type": "number", "minimum": 0, "default": 0}

_REASONS = {
    400: "Malformed.",
    401: "Not signed with this trainer's key, too old, or seen before. The only answer that is not signed itself.",
    404: "Not known here.",
    409: "Contradicts what is here.",
    411: "The body's length was not announced.",
    413: "The body is too large.",
    415: "The body is encoded (gzip or another); send it as it is.",
    416: "The file has nothing from there on.",
    422: "Can never work.",
    500: "The trainer met an error of its own.",
    503: "Not now; try again.",
    507: "No space is left on the trainer's disk.",
}
_WITH_BODY = (411, 413, 415, 507)


@dataclass(frozen=True, slots=True)
class Parameter:
    name: str
    schema: Schema
    says: str = ""
    place: str = "path"


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    path: str
    name: str
    says: str
    answers: dict[int, type | Schema | None]
    """Status to message, schema of bytes, or nothing."""
    errors: Sequence[int] = ()
    """Besides 401 and 500, which every signed route may answer."""
    parameters: Sequence[Parameter] = ()
    body: type | Schema | None = None
    largest: int = 0
    """Bytes the body may have."""
    signed: bool = True


_ID = Parameter("id", _JOB, "Chosen by the bot.")
_ARTIFACT = (
    Parameter("id", _DIGEST, "sha256 of manifest.json, which holds size and sha256 of every other file."),
    Parameter("file", {"type": "string", "enum": sorted(ALLOWED)}),
)

ROUTES = (
    Route("GET", PATH, "openapi", "This document.", {200: {"type": "object"}}, signed=False),
    Route("GET", "/v1/health", "health", "How the trainer is doing.", {200: Health}),
    Route(
        "POST",
        "/v1/warm",
        "warm",
        "A job is to be expected soon: the trainer may get ready for it, and forgets about it when none comes.",
        {204: None},
        (503,),
    ),
    Route(
        "PUT",
        "/v1/snapshots/{sha256}",
        "put_snapshot",
        "Gives the trainer a snapshot file. Sending one again is harmless.",
        {204: None},
        (400, *_WITH_BODY),
        (Parameter("sha256", _DIGEST, "Of the body."),),
        _BYTES,
        LARGEST_SNAPSHOT,
    ),
    Route(
        "PUT",
        "/v1/jobs/{id}",
        "put_job",
        "Starts a training, or queues it. The same id and attempt again is the same job; a higher attempt replaces a "
        "lower one; a lower one, or one whose snapshot or champion is not here, is refused (409).",
        {200: JobStatus},
        (400, 409, *_WITH_BODY, 503),
        (_ID,),
        JobSpec,
        LARGEST_SPEC,
    ),
    Route(
        "GET",
        "/v1/jobs/{id}",
        "get_job",
        "Where a job stands and its events after `after`; with none yet, waits up to `wait` seconds for one.",
        {200: JobStatus},
        (400, 404),
        (
            _ID,
            Parameter(
                "after", {"type": "integer", "minimum": 0, "default": 0}, "`seq` of the last event seen.", "query"
            ),
            Parameter("wait", _WAIT, f"Seconds; more than {LONGEST_WAIT:.0f} count as that.", "query"),
        ),
    ),
    Route(
        "DELETE",
        "/v1/jobs/{id}",
        "cancel_job",
        "Ends a job and answers its final status; nothing of it runs any more then. Doing it again is harmless.",
        {200: JobStatus},
        (400, 404),
        (_ID,),
    ),
    Route(
        "GET",
        "/v1/bases/{name}",
        "get_base",
        "A pretrained encoder as an artifact: exported on first use, for which this waits up to `wait` seconds.",
        {200: BaseStatus},
        (400, 422, 503),
        (
            Parameter("name", {"type": "string", "minLength": 1, "maxLength": 1000}, "Slashes may be percent-encoded."),
            Parameter("precision", {"enum": ["int8", "fp32"], "default": "int8"}, place="query"),
            Parameter("wait", _WAIT, f"Seconds; more than {LONGEST_WAIT:.0f} count as that.", "query"),
        ),
    ),
    Route(
        "GET",
        "/v1/artifacts/{id}",
        "list_artifact",
        "What the trainer holds of an artifact.",
        {200: ArtifactFiles},
        (400,),
        _ARTIFACT[:1],
    ),
    Route(
        "GET",
        "/v1/artifacts/{id}/{file}",
        "get_artifact_file",
        "A file of a complete artifact; manifest.json names the others. Not signed: the id covers the bytes.",
        {200: _BYTES, 206: _BYTES},
        (400, 404, 416),
        (
            *_ARTIFACT,
            Parameter("Range", {"type": "string"}, "One range of bytes; others are ignored.", "header"),
            Parameter("If-Range", {"type": "string"}, "An ETag; if it is another one, the whole file comes.", "header"),
        ),
    ),
    Route(
        "PUT",
        "/v1/artifacts/{id}/{file}",
        "put_artifact_file",
        "Gives a version back to a trainer that has lost it. manifest.json comes last and makes it complete.",
        {204: None},
        (400, *_WITH_BODY),
        _ARTIFACT,
        _BYTES,
        LARGEST_FILE,
    ),
)

_ABOUT = f"""What a Pupil bot says to its trainer.

A signed request carries HMAC-SHA256(key, "METHOD\\npath?query\\nid\\ntimestamp\\nsha256(body)") in hex, where the path
is percent-encoded as it is sent and the other three are the headers {signing.ID}, {signing.TIME} and {signing.DIGEST}.
An id is never used twice; the clocks may differ by {signing.TOLERANCE:.0f} seconds. An answer in JSON is signed in
{signing.SIGNATURE} with HMAC-SHA256(key, "answer\\nid of the request\\nstatus\\nsha256(body)").

Unknown keys of a message are to be ignored. A body has a Content-Length and no Content-Encoding. A request whose head
is too long or no HTTP is refused with 400 before any of this, in plain text."""

_HEADERS = {
    signing.ID: "32 hex digits, never used twice.",
    signing.TIME: "Unix seconds.",
    signing.DIGEST: "sha256 of the body in hex, also of an empty one.",
    signing.SIGNATURE: "In hex; see above.",
}


def document() -> Schema:
    """The whole document, as plain JSON values."""
    paths: Schema = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    schemes = {
        name: {"type": "apiKey", "in": "header", "name": name, "description": says} for name, says in _HEADERS.items()
    }
    messages = (ArtifactFiles, BaseStatus, Health, JobSpec, JobStatus, Progress, Refusal)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Pupil trainer", "version": f"{VERSION} ({version('pupil')})", "description": _ABOUT},
        "security": [{name: [] for name in _HEADERS}],
        "paths": paths,
        "components": {"schemas": {kind.__name__: _message(kind) for kind in messages}, "securitySchemes": schemes},
    }


def _operation(route: Route) -> Schema:
    answers = {str(status): _answer(status, kind, route.signed) for status, kind in route.answers.items()}
    for status in sorted({*route.errors, *((401, 500) if route.signed else ())}):
        answers[str(status)] = _answer(status, Refusal, signed=status != 401)
    operation: Schema = {"operationId": route.name, "summary": route.says, "responses": answers}
    if not route.signed:
        operation["security"] = []
    if route.parameters:
        operation["parameters"] = [_parameter(each) for each in route.parameters]
    if route.body is not None:
        operation["requestBody"] = {
            "required": True,
            "description": f"At most {route.largest:,} bytes.",
            "content": _content(route.body),
        }
    return operation


def _parameter(parameter: Parameter) -> Schema:
    told = {"name": parameter.name, "in": parameter.place, "required": parameter.place == "path"}
    return told | {"schema": parameter.schema} | ({"description": parameter.says} if parameter.says else {})


def _answer(status: int, kind: type | Schema | None, signed: bool) -> Schema:
    headers: Schema = {}
    if kind is _BYTES:
        headers = {"ETag": "The file's sha256, quoted.", "Accept-Ranges": "bytes"}
        headers |= {"Content-Range": "Which bytes came, of how many."} if status == 206 else {}
    elif signed:
        headers = {signing.SIGNATURE: "Of this answer."}
    answer: Schema = {"description": _REASONS.get(status) or ("Part of it." if status == 206 else "Done.")}
    if headers:
        text = {"schema": {"type": "string"}}
        answer["headers"] = {name: {"description": says, "required": True, **text} for name, says in headers.items()}
    return answer | ({} if kind is None else {"content": _content(kind)})


def _content(kind: type | Schema) -> Schema:
    if kind is _BYTES:
        return {"application/octet-stream": {"schema": kind}}
    return {"application/json": {"schema": kind if isinstance(kind, dict) else _schema(kind)}}


def _message(kind: type[Any]) -> Schema:
    """Schema of a message. What we read may leave out whatever has a default; what we write holds every field."""
    about, fields = _docstrings()[kind.__name__]
    hints = typing.get_type_hints(kind)
    optional = [f.name for f in dataclasses.fields(kind) if kind is JobSpec and _has_default(f)]
    schema: Schema = {"type": "object", "properties": {}, "required": [name for name in hints if name not in optional]}
    for name, hint in hints.items():
        said = {"description": fields[name]} if name in fields else {}
        schema["properties"][name] = _schema(hint) | said
    return schema | ({"description": about} if about else {})


def _schema(kind: Any) -> Schema:
    """Schema of an annotation, for the same annotations that `protocol.from_json` reads."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        options = [_schema(each) for each in arguments if each is not types.NoneType]
        return {"anyOf": [*options, {"type": "null"}]}
    if origin is tuple:
        return {"type": "array", "items": _schema(arguments[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(arguments[1])}
    if dataclasses.is_dataclass(kind):
        return {"$ref": f"#/components/schemas/{typing.cast(type, kind).__name__}"}
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return {"type": "string", "enum": [each.value for each in kind]}
    if kind is Any:
        return {}
    return {"type": {str: "string", int: "integer", float: "number", bool: "boolean"}[kind]}


def _has_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def _docstrings() -> dict[str, tuple[str, dict[str, str]]]:
    """Of every class of `trainer.protocol`: its docstring, and those below its fields, which only the source has."""
    found = {}
    for node in ast.parse(inspect.getsource(protocol)).body:
        if isinstance(node, ast.ClassDef):
            fields = {
                above.target.id: inspect.cleandoc(below.value.value)
                for above, below in zip(node.body, node.body[1:], strict=False)
                if isinstance(above, ast.AnnAssign) and isinstance(above.target, ast.Name)
                if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
                if isinstance(below.value.value, str)
            }
            found[node.name] = (ast.get_docstring(node) or "", fields)
    return found

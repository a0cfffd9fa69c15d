"""Checks requests of a bot against Discord's own OpenAPI file, which is not part of this repository.

The file is found through PUPIL_SHARED (a folder that holds discord-openapi/openapi.json), else in ../shared beside the
repository. Usage in a test: `spec = discord_spec()` (skips where there is no file), then
`assert spec.violations(playground.requests) == []`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from jsonschema.exceptions import best_match  # type: ignore[import-untyped]

_FILE = Path("discord-openapi") / "openapi.json"
_METHODS = ("get", "post", "put", "patch", "delete")
_CONTENT_TYPES = ("application/json", "multipart/form-data")


def discord_spec() -> DiscordSpec:
    """The specification; skips the test where the file is not there."""
    path = find_spec()
    if path is None:
        pytest.skip(
            "Discord's OpenAPI file is not here: set PUPIL_SHARED to the folder with discord-openapi/openapi.json"
        )
    return _load(path)


def find_spec() -> Path | None:
    beside = Path(__file__).resolve().parents[2].parent / "shared"
    folder = Path(os.environ["PUPIL_SHARED"]) if os.environ.get("PUPIL_SHARED") else beside
    return folder / _FILE if (folder / _FILE).is_file() else None


@lru_cache(maxsize=1)
def _load(path: Path) -> DiscordSpec:
    return DiscordSpec(json.loads(path.read_text(encoding="utf-8")))


class DiscordSpec:
    """The routes of the API with the schemas of their bodies."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._components = document["components"]
        self._validators: dict[int, jsonschema_rs.Draft202012Validator] = {}
        routes = [
            (method.upper(), path, operation)
            for path, operations in document["paths"].items()
            for method, operation in operations.items()
            if method in _METHODS
        ]
        # Literal paths (".../@original") before those with names in them.
        routes.sort(key=lambda route: route[1].count("{"))
        self._routes = [
            (method, re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path)), path, operation)
            for method, path, operation in routes
        ]

    def violations(self, requests: Iterable[tuple[str, str, Any]]) -> list[str]:
        """One sentence for each request (method, path below /api/v10, JSON body) that Discord does not describe."""
        return [found for method, path, body in requests if (found := self.check(method, path, body))]

    def check(self, method: str, path: str, body: Any) -> str | None:
        operation = self._operation(method, path)
        if operation is None:
            return f"{method} {path}: Discord has no such route"
        schema = _schema(operation[1].get("requestBody", {}))
        if schema is None:
            return f"{method} {operation[0]}: Discord takes no body here" if body else None
        return self._judge(f"{method} {operation[0]}", schema, _ids_as_text(body if body is not None else {}))

    def check_answer(self, method: str, path: str, status: int, body: Any) -> str | None:
        """The same for an answer of the stand-in."""
        operation = self._operation(method, path)
        if operation is None:
            return f"{method} {path}: Discord has no such route"
        schema = _schema(operation[1]["responses"].get(str(status), {}))
        return self._judge(f"{method} {operation[0]} -> {status}", schema, body) if schema else None

    def _operation(self, method: str, path: str) -> tuple[str, dict[str, Any]] | None:
        for wanted, pattern, name, operation in self._routes:
            if wanted == method and pattern.fullmatch(path):
                return name, operation
        return None

    def _judge(self, where: str, schema: dict[str, Any], value: Any) -> str | None:
        whole = {"$ref": "#/asked", "asked": schema, "components": self._components}
        validator = self._validators.get(id(schema))
        if validator is None:
            validator = self._validators[id(schema)] = jsonschema_rs.Draft202012Validator(whole)
        if validator.is_valid(value):
            return None
        # 150 ms for a message with buttons, where the verdict takes microseconds; but it finds the words for a mistake.
        error = best_match(Draft202012Validator(whole).iter_errors(value))
        if error is None:
            return f"{where}: body: {next(validator.iter_errors(value)).message[:200]}"
        place = "/".join(str(part) for part in error.absolute_path)
        return f"{where}: {place or 'body'}: {error.message[:200]}"


def _schema(described: dict[str, Any]) -> dict[str, Any] | None:
    content = described.get("content", {})
    return next((content[kind]["schema"] for kind in _CONTENT_TYPES if kind in content), None)


def _ids_as_text(node: Any) -> Any:
    """discord.py sends `attachments[].id` and `default_values[].id` as numbers. Discord takes that, its specification
    says text."""
    if isinstance(node, list):
        return [_ids_as_text(one) for one in node]
    if not isinstance(node, dict):
        return node
    changed = {key: _ids_as_text(value) for key, value in node.items()}
    for key in ("attachments", "default_values"):
        if isinstance(node.get(key), list):
            changed[key] = [one | {"id": str(one["id"])} for one in node[key]]
    return changed

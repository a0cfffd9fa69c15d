"""Checks of a submitted form that complain the way Discord does: code 50035 with a tree of errors by place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bot.playground.wire import ApiError, Json


class Spot:
    """One place in a submitted form: its value, and where complaints about it belong.

    `spot["title"]` and `spot.each()` go deeper; a value that is absent (or of the wrong kind) is None there, so that
    checks can be written without asking first.
    """

    def __init__(self, value: Any, errors: Json | None = None, path: tuple[str, ...] = ()) -> None:
        self.value = value
        self.errors: Json = {} if errors is None else errors
        self.path = path

    def __getitem__(self, key: str) -> Spot:
        value = self.value.get(key) if isinstance(self.value, dict) else None
        return Spot(value, self.errors, (*self.path, key))

    def each(self) -> Iterator[Spot]:
        """The elements of a list; nothing when the value is none."""
        if not isinstance(self.value, list):
            if self.value is not None:
                self.complain("LIST_TYPE_CONVERT", "Only iterables may be used in a ListType")
            return
        for index, value in enumerate(self.value):
            yield Spot(value, self.errors, (*self.path, str(index)))

    def complain(self, code: str, message: str) -> None:
        node = self.errors
        for key in self.path:
            node = node.setdefault(key, {})
        node.setdefault("_errors", []).append({"code": code, "message": message})

    def text(self, least: int = 0, most: int = 2**31, required: bool = False) -> str:
        """Complains unless the value is a text of `least` to `most` characters; the text, or "" when it is none."""
        if self.value is None:
            if required:
                self.complain("BASE_TYPE_REQUIRED", "This field is required")
            return ""
        if not isinstance(self.value, str):
            self.complain("STRING_TYPE_CONVERT", "Could not interpret value as string.")
            return ""
        self._length(len(self.value), least, most)
        return self.value

    def count(self, least: int = 0, most: int = 2**31) -> int:
        """Complains unless the list has `least` to `most` elements; their number."""
        number = len(self.value) if isinstance(self.value, list) else 0
        self._length(number, least, most)
        return number

    def whole(self, least: int, most: int, default: int) -> int:
        """Complains unless the value is a whole number in the range; the number, or `default` when absent."""
        if self.value is None:
            return default
        if not isinstance(self.value, int) or isinstance(self.value, bool) or not least <= self.value <= most:
            self.complain("NUMBER_TYPE_RANGE", f"Value should be a whole number between {least} and {most}.")
            return default
        return self.value

    def _length(self, length: int, least: int, most: int) -> None:
        if length > most:
            self.complain("BASE_TYPE_MAX_LENGTH", f"Must be {most} or fewer in length.")
        elif length < least:
            self.complain("BASE_TYPE_MIN_LENGTH", f"Must be {least} or more in length.")

    def finish(self) -> None:
        """Ends the checks of the whole form.

        Raises:
            ApiError: 50035, if anything complained.
        """
        if self.errors:
            raise ApiError(400, 50035, "Invalid Form Body", self.errors)


def refuse(path: str, code: str, message: str) -> ApiError:
    """A 50035 with a single complaint at a dotted path, for checks that need more than the form."""
    spot = Spot(None, path=tuple(path.split(".")))
    spot.complain(code, message)
    return ApiError(400, 50035, "Invalid Form Body", spot.errors)

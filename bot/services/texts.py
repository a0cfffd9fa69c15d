"""What counts as a text: storage's own check, with a reminder for the person who sees it empty."""

from __future__ import annotations

from storage.errors import InvalidInput
from storage.events import clean_text


def check_text(text: str) -> str:
    """The text without surrounding white space.

    Raises:
        InvalidInput: empty, or what `storage.events.clean_text` refuses; the message says what to do.
    """
    if not text.strip():
        raise InvalidInput("The text is empty. Type the text that this is about.")
    return clean_text(text)

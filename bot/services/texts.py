"""What counts as a text: the one check before a text is answered, labelled or imported."""

from __future__ import annotations

from storage.errors import InvalidInput
from storage.records import MAX_TEXT


def check_text(text: str) -> str:
    """The text without surrounding white space.

    Raises:
        InvalidInput: empty, longer than MAX_TEXT characters, or with a NUL; the message says what to do.
    """
    text = text.strip()
    if not text:
        raise InvalidInput("The text is empty. Type the text that this is about.")
    if len(text) > MAX_TEXT:
        raise InvalidInput(
            f"The text has {len(text):,} characters; at most {MAX_TEXT:,} are possible. Shorten it and try again."
        )
    if "\x00" in text:
        raise InvalidInput("The text contains a NUL character. Remove it and try again.")
    return text

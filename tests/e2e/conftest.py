"""No process outlives its test, also when the test fails half-way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from tests.fakes.running import STARTED


@pytest.fixture(autouse=True)
async def no_process_is_left() -> AsyncIterator[None]:
    yield
    while STARTED:
        process = STARTED.pop()
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

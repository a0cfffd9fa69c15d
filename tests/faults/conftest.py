"""What the worlds of every module share: the ready-made version, and the process that starts bots quickly."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.faults.kit import make_kit
from tests.faults.nursery import Nursery
from tests.faults.rounds import Stage
from tests.faults.world import World

OpenStage = Callable[..., AbstractContextManager[Stage]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if sys.platform != "linux":
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="looks at processes through /proc"))


@pytest.fixture(scope="session")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once, also where several workers need it."""
    base = tmp_path_factory.getbasetemp()
    return make_kit((base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "faults-kit")


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    one = Nursery()
    yield one
    one.close()


@pytest.fixture(scope="module")
def open_stage(kit: Path, nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> OpenStage:
    """A stage whose worlds are made with the given fields."""

    @contextmanager
    def opened(**fields: Any) -> Iterator[Stage]:
        stage = Stage(tmp_path_factory.mktemp("world"), lambda folder: World(folder, kit, nursery, **fields))
        try:
            yield stage
        finally:
            stage.end()

    return opened

"""What holds for every test: no library competes for the cores, none reports home, none writes into the home folder."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator

import pytest

from tests.fakes.ray_cluster import RayCluster

# Before anything imports NumPy, torch or the inference runtime.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two files go side by side: torch's threads would wait for each other
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
KEPT = ("PUPIL_SHARED", "PUPIL_TOUR")
for name in [name for name in os.environ if name.startswith("PUPIL_") and name not in KEPT] + ["DISCORD_TOKEN"]:
    os.environ.pop(name, None)  # a developer's own settings decide nothing here


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[RayCluster]:
    """A head and two nodes, started once."""
    require_ray()
    with RayCluster() as cluster:
        yield cluster


def require_ray() -> None:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed here; `make test-ray` makes an environment that has it")

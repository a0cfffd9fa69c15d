"""What a trainer says about its host, with a driver's tool and a control group that are made up."""

from __future__ import annotations

from pathlib import Path

import pytest

import trainer.host
from tests.fakes.trainer_bench import bench
from trainer.host import CPU, Device, describe_device, free_disk, free_memory, installed

TWO = "0, GPU-aaaa, 80000, NVIDIA H200\n1, GPU-bbbb, 500, NVIDIA RTX 4000, Ada"


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An nvidia-smi that is a script; write its body."""
    path = tmp_path / "bin" / "nvidia-smi"
    path.parent.mkdir()
    path.touch(0o755)
    monkeypatch.setenv("PATH", str(path.parent))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return path


def says(tool: Path, output: str) -> None:
    tool.write_text(f"#!/bin/sh\necho '{output}'\n")


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, Device("NVIDIA H200", 80000 << 20, 2)),
        ("0", Device("NVIDIA H200", 80000 << 20, 1)),
        ("1, 0", Device("NVIDIA RTX 4000, Ada", 500 << 20, 2)),
        ("GPU-bbbb", Device("NVIDIA RTX 4000, Ada", 500 << 20, 1)),
        ("", CPU),
        ("-1", CPU),
    ],
)
async def test_gpus_that_are_visible_are_counted(
    tool: Path, monkeypatch: pytest.MonkeyPatch, visible: str | None, expected: Device
) -> None:
    says(tool, TWO)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert await describe_device("auto") == expected
    assert await describe_device("cpu") == CPU


@pytest.mark.parametrize("output", ["", "No devices were found"])
async def test_what_the_tool_cannot_say_is_the_processor(tool: Path, output: str) -> None:
    says(tool, output)
    assert await describe_device("auto") == CPU


async def test_a_gpu_whose_free_memory_the_tool_cannot_say_is_one(tool: Path) -> None:
    says(tool, "0, GPU-aaaa, [N/A], NVIDIA GB10")
    assert await describe_device("auto") == Device("NVIDIA GB10", None, 1)


async def test_a_tool_that_hangs_is_not_waited_for(tool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer.host, "_PATIENCE", 0.2)
    tool.write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    assert await describe_device("cuda") == CPU


def test_memory_is_the_machines_or_what_the_container_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer.host, "MACHINE", tmp_path / "meminfo")
    monkeypatch.setattr(trainer.host, "GROUP", tmp_path)
    assert free_memory() is None
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable: 8000 kB\n")
    assert free_memory() == 8000 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("600000\n")
    assert free_memory() == 8000 * 1024
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 100000\n")
    assert free_memory() == 500_000


def test_what_is_not_there_is_none(tmp_path: Path) -> None:
    assert installed("no-such-package-at-all") is None
    assert installed("aiohttp")
    assert free_disk(tmp_path / "missing") is None


async def test_health_says_what_an_operator_asks_for(tmp_path: Path, tool: Path) -> None:
    says(tool, TWO)
    async with bench(tmp_path) as served:
        first = await served.client.health()
        second = await served.client.health()
    assert (first.device, first.free_gpu_bytes, first.gpus) == ("NVIDIA H200", 80000 << 20, 2)
    assert first.free_disk_bytes
    assert first.free_memory_bytes
    assert (first.pupil, first.torch) == (installed("pupil"), installed("torch"))
    assert 0 <= first.seconds_up <= second.seconds_up

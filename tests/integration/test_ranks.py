"""Several processes train one network: the same result as one alone, and nobody is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from storage.snapshots import write_snapshot
from tests.fakes.lessons import WORDS, make_snapshot, one_torch_thread
from tests.fakes.tiny_encoder import make_tiny_encoder
from trainer.children import child_environment
from trainer.protocol import JobSpec, Phase, RunState
from trainer.run_folder import RunFolder
from trainer.run_job import run

pytestmark = pytest.mark.slow

# Without dropout all ranks together compute what one alone would.
RECIPE = {"body_rate": 1e-3, "frozen_layers": 1, "name_weight": 1.0, "dropout": 0.0, "batch": 7}


@pytest.fixture(scope="module", autouse=True)
def _calm() -> None:
    one_torch_thread()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_encoder(tmp_path_factory.mktemp("base") / "tiny", texts=WORDS.values())


class Host:
    def __init__(self, root: Path, base: Path) -> None:
        self.root = root
        self.snapshot = write_snapshot(make_snapshot(), root)
        self.spec = JobSpec("a" * 8, 1, self.snapshot, str(base), recipe=RECIPE)

    def folder(self, name: str, **recipe: float) -> RunFolder:
        folder = RunFolder(self.root / name)
        spec = replace(self.spec, recipe=RECIPE | recipe)
        folder.create(spec, [self.root / f"{self.snapshot}.jsonl"])
        return folder

    @contextmanager
    def running(self, folder: RunFolder) -> Iterator[subprocess.Popen[bytes]]:
        """As the executor starts it: a group of its own, and a stdin that ends with us."""
        command = [sys.executable, "-m", "trainer", "run-job", str(folder.path), "--device", "cpu"]
        one_thread = child_environment({"OMP_NUM_THREADS": "1"})
        with (folder.path / "output.log").open("ab") as log:
            process = subprocess.Popen(
                [*command, "--parent", str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=one_thread,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def run(self, folder: RunFolder) -> None:
        with self.running(folder) as process:
            process.wait(timeout=240)
        result = folder.result()
        assert result is not None, folder.path.joinpath("output.log").read_text()
        assert result.state is RunState.SUCCEEDED, result.error


@pytest.fixture
def host(tmp_path: Path, base: Path) -> Host:
    return Host(tmp_path, base)


def weights(folder: RunFolder) -> dict[str, np.ndarray]:
    result = folder.result()
    assert result is not None
    artifact = folder.outputs / str(result.artifact)
    return load_file(artifact / "model.safetensors") | load_file(artifact / "head.safetensors")


def wait_for_step(folder: RunFolder, phase: Phase) -> None:
    reader, end = folder.events(), time.monotonic() + 240
    while not any(event.phase is phase and event.step for event in reader.read()):
        assert time.monotonic() < end, folder.path.joinpath("output.log").read_text()
        time.sleep(0.02)


def processes_of(folder: RunFolder) -> list[int]:
    """Those with the folder, or a file in it, among their arguments."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if str(folder.path) in (entry / "cmdline").read_text():
                found.append(int(entry.name))
    return found


def test_two_workers_give_what_one_alone_gives(host: Host) -> None:
    alone, together = host.folder("alone"), host.folder("together", workers=2)
    run(alone.path, "cpu")
    host.run(together)
    one, both = weights(alone), weights(together)
    assert one.keys() == both.keys()
    for name in one:
        if not name.endswith(".key.bias"):  # softmax takes no notice of it, so its gradients are rounding alone
            np.testing.assert_allclose(one[name], both[name], rtol=1e-3, atol=2e-3, err_msg=name)
    before = load_file(Path(host.spec.base) / "model.safetensors")
    assert any(np.abs(both[name] - before[name]).max() > 0.01 for name in before.keys() & both.keys())


def test_a_lost_assistant_ends_the_run_the_next_attempt_goes_on_and_nobody_outlives_it(host: Host) -> None:
    long = {"workers": 2, "checkpoint_seconds": 0.0, "least_steps": 400}
    first, second = host.folder("1", **long), host.folder("2", **long)
    with host.running(first) as process:
        wait_for_step(first, Phase.MEASURING)
        (assistant,) = (pid for pid in processes_of(first) if pid != process.pid)
        os.kill(assistant, signal.SIGKILL)
        assert process.wait(timeout=240) != 0
    assert first.result() is None
    second.take_checkpoint(first)
    with host.running(second) as process:
        wait_for_step(second, Phase.MEASURING)
        assert "training.resumed" in second.path.joinpath("output.log").read_text()
        assert len(processes_of(second)) == 2
        process.kill()
        process.wait()
        end = time.monotonic() + 60
        while processes_of(second):
            assert time.monotonic() < end
            time.sleep(0.02)


def test_an_assistant_whose_connections_end_before_it_does_is_lost_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from trainer import ranks

    assistant = subprocess.Popen(["sleep", "240"])
    ended: list[int] = []
    monkeypatch.setattr(ranks, "_start", lambda *_: assistant)
    monkeypatch.setattr(ranks, "join", lambda *_: None)
    monkeypatch.setattr(ranks.os, "_exit", ended.append)

    def lose_it() -> None:
        threading.Timer(0.2, assistant.kill).start()
        raise RuntimeError("Connection closed by peer")

    with pytest.raises(RuntimeError), ranks.team(tmp_path, 2, torch.device("cpu")):
        lose_it()
    assert ended == [1]


def test_more_workers_than_gpus_is_one_sentence(host: Host) -> None:
    import torch

    from storage.errors import TrainingFailed
    from trainer.ranks import team

    with pytest.raises(TrainingFailed, match="Lower workers"), team(host.root, 3, torch.device("cuda")):
        pass

"""`pupil-trainer serve | run-job`: the service a bot trains with, and the process it starts for each run.

The first line on stdout of `serve` is `{"ready": true, "port": N}`. Exit codes: 0 ended when asked to, 1 could not
start (one sentence on stderr), 2 wrong usage.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import signal
import ssl
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, get_args

import click

from storage.errors import ConfigurationError, PupilError, TrainerUnavailable
from storage.logs import Level, set_up_logging
from trainer.children import end_with_parent, give_way

if TYPE_CHECKING:
    from trainer.executors.base import Executor
    from trainer.executors.ray import RayExecutor

log = logging.getLogger(__name__)

_PARENT_GRACE = 8.0
"""Seconds the service has to end by itself once its bot is gone."""


@click.group()
def main() -> None:
    """Turns labelled texts into classifiers for a Pupil bot."""


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8740, show_default=True, type=click.IntRange(0, 65535), help="0: any free port.")
@click.option("--data", required=True, type=click.Path(path_type=Path), help="Folder for snapshots and models.")
@click.option("--key-file", type=click.Path(path_type=Path), help="Mode 0600; one key, or the new and the old one.")
@click.option("--tls-cert", type=click.Path(path_type=Path), help="Certificate (PEM) to be reached by https with.")
@click.option("--tls-key", type=click.Path(path_type=Path), help="Its key (PEM), mode 0600.")
@click.option("--plain-http", is_flag=True, help="No certificate on a public address: a proxy or a VPN encrypts.")
@click.option("--device", default="auto", show_default=True, type=click.Choice(["auto", "cpu", "cuda"]))
@click.option("--keep-days", default=30, show_default=True, type=click.IntRange(1), help="Unused for longer: deleted.")
@click.option("--keep-gb", default=20.0, show_default=True, type=click.FloatRange(0.1), help="Beyond: oldest deleted.")
@click.option(
    "--log-level", default="INFO", show_default=True, type=click.Choice(get_args(Level), case_sensitive=False)
)
@click.option("--spare/--no-spare", default=True, show_default=True, help="Keep a process ready when a bot says so.")
@click.option("--parent", type=int, hidden=True, help="End with this process, which holds our stdin open.")
@click.option("--executor", default="subprocess", show_default=True, type=click.Choice(["subprocess", "ray"]))
@click.option("--ray-address", metavar="URL", help="Of the cluster's dashboard: http://head:8265")
@click.option("--ray-token-file", type=click.Path(path_type=Path), help="Mode 0600; the cluster's token.")
@click.option("--ray-jobs", default=4, show_default=True, type=click.IntRange(1), help="At a time on the cluster.")
@click.option("--ray-cpus", default=1, show_default=True, type=click.IntRange(1), help="Cores for each worker.")
@click.option("--ray-files", metavar="HOST:PORT", help="Of this host, for the cluster. Default: any free port.")
def serve(
    host: str,
    port: int,
    data: Path,
    key_file: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    plain_http: bool,
    device: str,
    keep_days: int,
    keep_gb: float,
    log_level: str,
    spare: bool,
    parent: int | None,
    executor: str,
    **ray: Any,
) -> None:
    """Accept trainings from bots that know the key."""
    try:
        from trainer.server import require_encryption, require_key

        require_key(host, key_file is not None)
        tls = _tls(tls_cert, tls_key)
        require_encryption(host, tls is not None, plain_http)
        keys = _keys(key_file or data / "trainer.key", make=key_file is None)
        cluster = _cluster(device, **ray) if executor == "ray" else None
        set_up_logging(log_level, [*keys, *([cluster.token] if cluster else [])])
        runner = cluster or _processes(device, spare)
        asyncio.run(_serve(host, port, data, keys, tls, device, (keep_days, keep_gb), parent, runner))
    except PupilError as error:
        click.echo(str(error), err=True)
        sys.exit(1)


@main.command("run-job", hidden=True)
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--device", default="auto")
@click.option("--parent", type=int)
def run_job(folder: Path, device: str, parent: int | None) -> None:
    """Do the task of one run folder; `serve` starts this."""
    begin_run(parent)
    from trainer.run_job import run

    run(folder, device)
    _leave()


@main.command(hidden=True)
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("number", type=int)
@click.argument("workers", type=int)
@click.argument("device", type=click.Choice(["cpu", "cuda"]))
@click.option("--parent", type=int)
def assist(folder: Path, number: int, workers: int, device: str, parent: int | None) -> None:
    """Be one of several processes that train one network; the run's process starts this."""
    begin_run(parent)
    import torch

    from trainer import ranks

    ranks.join(folder, number, workers, torch.device(device))
    ranks.assist(torch.device(device))


@main.command("spare", hidden=True)
@click.option("--device", default="auto")
@click.option("--parent", type=int, required=True)
def spare(device: str, parent: int) -> None:
    """Import what a run needs, wait for a run folder, and do its task; `serve` starts this ahead of time."""
    from trainer.executors.spare import await_folder
    from trainer.run_job import load_ahead, run

    folder = await_folder(parent, load_ahead)
    set_up_logging()
    run(folder, device)
    _leave()


def begin_run(parent: int | None) -> None:
    """What a run's process does first: give way, log to its own output, and never outlive its trainer."""
    give_way()
    set_up_logging()
    if parent is not None:
        end_with_parent(parent, on_end=lambda: None, grace=0.0)


def _leave() -> NoReturn:
    """End this process at once. The result is on disk, and somebody waits for the end of whatever wrote it: torch and
    its kin take another 1.8 s of processor time to clear up.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)


def _cluster(
    device: str,
    ray_address: str | None,
    ray_token_file: Path | None,
    ray_jobs: int,
    ray_cpus: int,
    ray_files: str | None,
) -> RayExecutor:
    from trainer.executors.ray import RayExecutor

    if ray_address is None or ray_token_file is None:
        raise ConfigurationError("--executor ray needs --ray-address and --ray-token-file.")
    host, _, port = (ray_files or "").rpartition(":")
    if ray_files is not None and not (host and port.isdecimal()):
        raise ConfigurationError("--ray-files names an address of this host and a port: 10.0.0.7:8741")
    files = (host, int(port)) if ray_files else None
    return RayExecutor(ray_address, ray_token_file, slots=ray_jobs, cpus=ray_cpus, files=files, device=device)


def _processes(device: str, spare: bool) -> Executor:
    from storage.processes import PYTHON
    from trainer.executors.spare import Spare
    from trainer.executors.subprocess import SubprocessExecutor

    trainer = [*PYTHON, "-m", "trainer"]
    ready = Spare([*trainer, "spare", "--device", device]) if spare else None
    return SubprocessExecutor([*trainer, "run-job", "--device", device], spare=ready)


async def _serve(
    host: str,
    port: int,
    data: Path,
    keys: Sequence[str],
    tls: ssl.SSLContext | None,
    device: str,
    keep: tuple[float, float],
    parent: int | None,
    executor: Executor,
) -> None:
    from trainer.retention import Limits
    from trainer.server import serving
    from trainer.store import Store

    stop = asyncio.Event()
    _stop_on_signals(stop.set)
    if parent is not None:
        loop = asyncio.get_running_loop()
        end_with_parent(parent, on_end=lambda: _set_from_thread(loop, stop), grace=_PARENT_GRACE)
    try:
        await executor.check()
    except TrainerUnavailable as error:  # it may come later
        log.warning("executor.unreachable", extra={"reason": str(error)})
    async with serving(
        Store(data), executor, keys, host=host, port=port, device=device, tls=tls, limits=Limits(*keep)
    ) as bound:
        print(json.dumps({"ready": True, "port": bound}), flush=True)
        log.info("trainer.started", extra={"host": host, "port": bound})
        await stop.wait()
    log.info("trainer.stopped")


def _set_from_thread(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    with suppress(RuntimeError):  # the loop has ended by itself meanwhile
        loop.call_soon_threadsafe(event.set)


def _stop_on_signals(stop: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)


def _tls(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    from trainer.tls import server_context

    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise ConfigurationError("--tls-cert and --tls-key go together: give both files, or neither.")
    return server_context(certificate, key)


def _keys(path: Path, make: bool) -> list[str]:
    """The keys in the file; with `make`, a missing file is written with a new random key."""
    from storage.files import file_errors, write_whole
    from storage.settings import read_secrets

    if make and not path.exists():
        with file_errors(f"creating the data directory {path.parent}"):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, f"{secrets.token_hex(32)}\n".encode(), mode=0o600)
        click.echo(f"A new key was written to {path}; the bot needs it as trainer_key_file.", err=True)
    keys = [key for line in read_secrets(path) for key in line.split()]
    if len(keys) > 2 or min(map(len, keys)) < 16:
        raise ConfigurationError(f"{path} must hold one or two keys of at least 16 characters, one a line.")
    return keys


if __name__ == "__main__":
    main()

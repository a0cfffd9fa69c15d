"""Runs work on a Ray cluster: each run is one Ray job, which the cluster queues over its hosts.

    trainer's host                          a host of the cluster
    RayExecutor ── Jobs API: submit ──────▶ python -m trainer.executors.ray work ...
    Lending     ◀─ files, events, end ────  ├─ one worker: SubprocessExecutor, as at home
                                            └─ several: `team`, which has TorchTrainer start `be_rank` on each

Ray finds a host and starts a program there; the rest is ours. The submission id is the run's, `<job>-<attempt>`, so Ray
itself refuses a second one. Ray's memory dies with its head: what counts is in the run folder, which is lent to the
worker (`trainer.executors.lending`), because hosts share no disk. Neither retries nor deadlines of Ray are used: a
lost host ends the run, and the next attempt goes on from the checkpoint that was brought back. With a host missing, Ray
would retry for ever.

No secret is handed on. Whoever is in the cluster knows its token, and the key of the lent folders is derived from it.
Ray is imported by `team` and `be_rank` alone, so the trainer's host needs neither Ray nor torch.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import os
import secrets
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from storage.errors import ConfigurationError, PupilError, TrainerUnavailable
from storage.files import file_errors
from trainer.executors.base import GRACE, Executor, Exit, Run
from trainer.executors.borrowing import Link, kept_up, place, work_off
from trainer.executors.jobs_api import START_TIMEOUT, JobsApi
from trainer.executors.lending import Lending, Loan
from trainer.executors.subprocess import CLOSING_GRACE, SubprocessExecutor
from trainer.protocol import RunState
from trainer.run_folder import LOG, Result, RunFolder

log = logging.getLogger(__name__)

SLOTS = 4
INTERVAL = 1.0
"""Seconds between two questions to the cluster about a run."""
LOST = 60.0
"""Seconds without the cluster and without the worker after which a run counts as lost."""
_TO_OBEY = 10.0
"""Seconds beyond the grace in which a worker must report its end; then the cluster ends it."""
_PROGRAM = "trainer.executors.ray"
_MODULE = ("trainer", "run-job")
_NOT_INSTALLED = "No module named 'trainer"


class RayExecutor(Executor):
    def __init__(
        self,
        url: str,
        token_file: Path,
        *,
        slots: int = SLOTS,
        files: tuple[str, int] | None = None,
        device: str = "auto",
        cpus: int = 1,
        module: Sequence[str] = _MODULE,
    ) -> None:
        """Args:
        url: of the head's dashboard, "http://head:8265".
        token_file: the cluster's token, mode 0600.
        slots: runs that may be on the cluster at the same time, running or waiting for a free host.
        files: address of this host at which workers fetch and leave files. None: the one from which it reaches the
            head, and a free port.
        device: "cuda" reserves a GPU for each worker, "cpu" none, "auto" one if the cluster has any.
        cpus: cores reserved for each worker.
        module: what works a folder off, as arguments of `python -m`.
        """
        self._slots = slots
        self._api = JobsApi(url, token_file)
        self._files = files
        self._device = device
        self._cpus = cpus
        self._module = tuple(module)
        self._lending: Lending | None = None
        self._here = ""
        self._runs: dict[str, RayRun] = {}
        self._starting = asyncio.Lock()

    @property
    def slots(self) -> int:
        return self._slots

    @property
    def token(self) -> str:
        """Raises:
        ConfigurationError: the file is missing, empty or readable by others.
        """
        return self._api.token

    async def check(self) -> None:
        """Raises:
        ConfigurationError: the cluster runs what anybody sends it, or refuses our token.
        TrainerUnavailable: it cannot be reached now.
        """
        try:
            await self._api.require_token()
        except ConfigurationError:  # it will not be used
            await self._api.close()
            raise

    async def start(self, run_id: str, folder: Path) -> Run:
        async with self._starting:
            if (run := self._runs.get(run_id)) is not None and not run.ended:
                return run
            try:
                await self._api.require_token()
                loan = (await self._open()).lend(folder)
                run = await self._submit(run_id, loan)
            except ConfigurationError as error:
                raise TrainerUnavailable(str(error)) from error
            self._runs = {name: other for name, other in self._runs.items() if not other.ended}
            self._runs[run_id] = run
        log.info("run.started", extra={"run": run_id})
        return run

    async def close(self) -> None:
        await asyncio.gather(*(run.stop(CLOSING_GRACE) for run in self._runs.values()))
        if self._lending is not None:
            await self._lending.close()
            self._lending = None
        await self._api.close()

    async def _open(self) -> Lending:
        key = key_from(self._api.token)
        if self._lending is not None and self._lending.key != key:  # the cluster was started anew, with another token
            await self._lending.close()
            self._lending = None
        if self._lending is None:
            here = await _address_towards(self._api.url)
            host, port = self._files or (here, 0)
            lending = Lending(host, port, key)
            port = await lending.open()
            self._here = f"http://{here if host in ('0.0.0.0', '::') else host}:{port}"  # noqa: S104 -- as asked for
            self._lending = lending
        return self._lending

    async def _submit(self, run_id: str, loan: Loan) -> RayRun:
        try:
            order = await self._order(run_id, loan)
            return RayRun(order, await place_order(self._api, order), self._api, loan)
        except BaseException:
            # The cluster may have taken it and only its answer was lost: it gets nothing to do.
            loan.end(Exit(False, "was never started"))
            raise

    async def _order(self, run_id: str, loan: Loan) -> Order:
        folder = RunFolder(loan.folder)
        workers = _workers(folder)
        gpu = folder.job() is not None and await self._wants_gpu()
        device = "auto" if gpu else "cpu"
        options = ["--workers", str(workers), "--cpus", str(self._cpus), "--device", device]
        module = [*self._module, *(["--device", device] if self._module == _MODULE else [])]
        # "python": that of the environment in which the cluster's nodes were started.
        line = ["python", "-m", _PROGRAM, "work", self._here, loan.ticket, run_id, *options, "--", *module]
        if workers > 1:  # the team reserves for itself; only its leader is this job, and runs beside the head
            return Order(run_id, shlex.join(line), {})
        resources = {"entrypoint_num_cpus": float(self._cpus)}
        return Order(run_id, shlex.join(line), resources | ({"entrypoint_num_gpus": 1.0} if gpu else {}))

    async def _wants_gpu(self) -> bool:
        return self._device == "cuda" or (self._device == "auto" and await self._api.gpus() > 0)


@dataclass(frozen=True, slots=True)
class Order:
    """What a cluster is to do."""

    run_id: str
    entrypoint: str
    resources: Mapping[str, float]


async def place_order(api: JobsApi, order: Order) -> str:
    """The name under which the cluster has taken it: the run's id.

    Unless that is taken, by a run of a trainer before this one or one that found no host. That one is ended, and this
    one is called `<id>.<random>`: a name that is freed and used again is not safe, because Ray's watch over the first
    job may end the second.

    Raises:
        TrainerUnavailable, ConfigurationError
    """
    if await api.submit(order.run_id, order.entrypoint, order.resources):
        return order.run_id
    await api.stop(order.run_id)
    name = f"{order.run_id}.{secrets.token_hex(4)}"
    if not await api.submit(name, order.entrypoint, order.resources):
        raise TrainerUnavailable(f"The Ray cluster at {api.url} has the run {name} already.")
    return name


class RayRun(Run):
    def __init__(self, order: Order, name: str, api: JobsApi, loan: Loan) -> None:
        """Args:
        name: under which the cluster has it.
        """
        self._order = order
        self._name = name
        self._api = api
        self._loan = loan
        self._end = asyncio.create_task(self._follow())

    @property
    def ended(self) -> bool:
        return self._end.done()

    @property
    def waits(self) -> bool:
        return not self._loan.begun

    async def wait(self) -> Exit:
        return await asyncio.shield(self._end)

    async def stop(self, grace: float = GRACE) -> Exit:
        if not self.ended and self._loan.begun:
            self._loan.ask_to_stop(grace)
            with suppress(TimeoutError):
                async with asyncio.timeout(grace + _TO_OBEY):
                    return await self.wait()
        if not self.ended:
            with suppress(PupilError):
                await self._api.stop(self._name)
            if not self._loan.begun:
                # Ray delivers a stop only once it has found a host. The ticket is void, so nothing can begin there.
                self._loan.end(Exit(False, "was stopped before a host was free for it"))
        return await self.wait()

    async def _follow(self) -> Exit:
        """Return when the worker has reported its end, or the cluster, or neither is to be heard of any more."""
        loop = asyncio.get_running_loop()
        heard, ended = loop.time(), self._loan.ended
        while not ended.done():
            await asyncio.wait({ended}, timeout=INTERVAL)
            try:
                gone = None if ended.done() else await self._gone()
                heard = loop.time()
            except PupilError as error:
                log.warning("cluster.unheard", extra={"run": self._name, "reason": str(error)})
                silent = loop.time() - max(heard, self._loan.heard or heard)
                gone = Exit(False, "was lost with its cluster") if silent > LOST else None
            if gone is not None:
                self._loan.end(gone)
        ending = ended.result()
        log.info("run.ended", extra={"run": self._name, "how": ending.how})
        return ending

    async def _gone(self) -> Exit | None:
        """How the job ended, as far as the cluster knows; None: it is there, or waits again."""
        job = await self._api.job(self._name)
        if job is None:
            return Exit(False, "was forgotten by its cluster")
        if not job.over:
            return None
        if job.trouble == START_TIMEOUT and not self._loan.begun:
            # Ray gives up after 15 minutes without a free host, but how long a job may wait is for our queue to decide.
            self._name = await place_order(self._api, self._order)
            return None
        if not job.host_lost:  # with its host its output is gone, and asking for it takes the head half a minute
            with suppress(PupilError):
                self._explain(await self._api.output(self._name))
        return Exit(False, job.how)

    def _explain(self, output: str) -> None:
        """Keep what the worker printed, and what the cluster lacks, where a worker could not begin."""
        folder = RunFolder(self._loan.folder)
        reason = self._loan.refused
        if not self._loan.begun and _NOT_INSTALLED in output:
            reason = "The cluster's hosts lack Pupil. Run on each of them: pip install 'pupil[train,ray]'"
        if reason is not None:
            folder.finish(Result(RunState.FAILED, error=reason, retryable=False))
        with (
            file_errors("keeping a worker's output"),
            (folder.path / LOG).open("a", encoding="utf-8") as file,
        ):
            file.write(output)


def key_from(token: str) -> str:
    """The key of the lent folders, from the cluster's token."""
    return hmac.new(token.encode(), b"Pupil: lent run folders", hashlib.sha256).hexdigest()


def cluster_token(environment: Mapping[str, str] = os.environ) -> str:
    """The token of the cluster that this process is part of, from where Ray looks for it.

    Raises:
        ConfigurationError
    """
    if token := environment.get("RAY_AUTH_TOKEN", "").strip():
        return token
    path = Path(environment.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser()
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigurationError(f"This host's Ray token cannot be read from {path}: {error.strerror}.") from error


def be_rank(config: Mapping[str, str]) -> None:
    """One of the processes that TorchTrainer has started, its process group made: rank 0 has the run folder."""
    import ray.train
    import torch

    from trainer import ranks
    from trainer.run_job import run

    if ray.train.get_context().get_world_rank() > 0:
        ranks.assist(torch.device(config["device"]))
        return
    with place(config["run"]) as folder, kept_up(config["url"], key_from(cluster_token()), config["ticket"], folder):
        result = run(folder, config["device"])
    if result.state is not RunState.SUCCEEDED:
        # The others may be waiting for this one in the middle of a step; the group ends as a whole.
        raise RuntimeError(result.error)


@click.group()
def main() -> None:
    """What runs on the cluster's hosts."""


@main.command()
@click.argument("url")
@click.argument("ticket")
@click.argument("run_id")
@click.option("--workers", type=int, required=True)
@click.option("--cpus", type=int, required=True)
@click.option("--device", required=True)
@click.argument("module", nargs=-1, required=True)
def work(url: str, ticket: str, run_id: str, workers: int, cpus: int, device: str, module: Sequence[str]) -> None:
    """Do one run of the trainer at URL; the cluster starts this."""
    from storage.logs import set_up_logging

    set_up_logging()
    environment: dict[str, str] = {}
    if workers > 1:
        module = [_PROGRAM, "team", url, ticket, run_id, str(workers), str(cpus), device]
        # Ray finds its cluster, the job it belongs to and the token (RAY_AUTH_MODE and RAY_AUTH_TOKEN_PATH, or
        # RAY_AUTH_TOKEN where the operator chose that) in its environment. A single worker gets none of it.
        environment = {name: value for name, value in os.environ.items() if name.startswith("RAY_")}
    executor = SubprocessExecutor([sys.executable, "-m", *module], environment)
    try:
        asyncio.run(_work(url, ticket, run_id, executor, alone=workers == 1))
    except PupilError as error:
        click.echo(str(error), err=True)
        sys.exit(1)


@main.command()
@click.argument("url")
@click.argument("ticket")
@click.argument("run_id")
@click.argument("workers", type=int)
@click.argument("cpus", type=int)
@click.argument("device")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--parent", type=int)
def team(
    url: str, ticket: str, run_id: str, workers: int, cpus: int, device: str, folder: Path, parent: int | None
) -> None:
    """Train with several workers; `work` starts this. Its end is the end of all of them."""
    from trainer.__main__ import begin_run

    begin_run(parent)
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    # By its own name: what is defined in __main__ would travel by value.
    from trainer.executors import ray as ours
    from trainer.ranks import PATIENCE

    gpu = device != "cpu"
    config = {"url": url, "ticket": ticket, "run": run_id, "device": "cuda" if gpu else "cpu"}
    TorchTrainer(
        ours.be_rank,
        train_loop_config=config,
        torch_config=TorchConfig(
            backend="cpu:gloo,cuda:nccl" if gpu else "gloo", timeout_s=int(PATIENCE.total_seconds())
        ),
        scaling_config=ScalingConfig(
            num_workers=workers, use_gpu=gpu, resources_per_worker={"CPU": cpus, **({"GPU": 1} if gpu else {})}
        ),
        run_config=RunConfig(
            name=run_id, storage_path=str(folder / "ray"), failure_config=FailureConfig(max_failures=0)
        ),
    ).fit()


async def _work(url: str, ticket: str, run_id: str, executor: Executor, *, alone: bool) -> None:
    with place(run_id) as folder:
        async with Link(url, key_from(cluster_token()), ticket) as link:
            if alone:
                await link.fetch(folder)
            else:
                await link.greet()
            await work_off(link, executor, run_id, folder, output_only=not alone)


def _workers(folder: RunFolder) -> int:
    """What the job's recipe asks for; a recipe that cannot be is refused by the training itself."""
    spec = folder.job()
    asked: Any = 1 if spec is None else spec.recipe.get("workers", 1)
    return int(asked) if isinstance(asked, (int, float)) and 1 <= asked <= 64 else 1


async def _address_towards(url: str) -> str:
    """This host's address, as those see it who are where `url` is."""
    parts = urlsplit(url)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        _, writer = await asyncio.open_connection(parts.hostname, port)
    except (OSError, ValueError) as error:
        raise TrainerUnavailable(f"The Ray cluster at {url} cannot be reached: {error}.") from error
    try:
        return str(writer.get_extra_info("sockname")[0])
    finally:
        writer.close()


if __name__ == "__main__":
    main()

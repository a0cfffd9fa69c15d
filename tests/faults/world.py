"""One data folder with a real bot process, a real trainer process and questions that never stop, over many rounds.

    async with World(folder, kit, nursery, chance) as world:
        job = await world.train()
        await world.succeeds(job)

Every round asks for a training and says how it must end. What must hold whatever was done to the processes is checked
by the world: see `settled` after each round, and `close`. The harness looks from outside: at the API, at /proc, at
files; into the database only when no bot runs.
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from tests.fakes.tcp_proxy import TcpProxy
from tests.faults import crash
from tests.faults.kit import LABELS
from tests.faults.nursery import Nursery
from tests.faults.processes import TrainerProcess, is_alive, kill, strays, told_pid, trainer_of, tree

FINAL = {"succeeded", "failed", "cancelled", "abandoned"}
PATIENCE = 120.0
"""Seconds after which a job counts as one that never ends: with lease and pauses of seconds it takes ten at most."""
ORPHAN_LIMIT = 10.0
SWAP_SLACK = 5.0
"""Seconds for which the version before may still answer: between the pointer and the swap, held up by a test."""
LEASE = 3.0

Json = dict[str, Any]


@dataclass
class Asked:
    """One question: seconds of the wall clock when it was asked and answered, and who answered or why nobody did."""

    at: float
    until: float
    version: str | None
    error: str = ""


@dataclass
class World:
    folder: Path
    kit: Path
    nursery: Nursery
    chance: random.Random = field(default_factory=random.Random)
    far: bool = False
    """Whether the trainer runs by itself, behind a proxy, instead of as the bot's child."""
    real: bool = False
    """Whether trainings are real ones, of the tiny encoder."""
    bot_data: Path | None = None
    trainer_data: Path | None = None
    """Where their folders are made, if not in `folder`."""
    settings: Json = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.control = self.folder / "control"
        self.control.mkdir(parents=True)
        self.data = (self.bot_data or self.folder) / f"bot-{self.folder.name}"
        self.trainer_data = (self.trainer_data or self.folder) / f"trainer-{self.folder.name}"
        self.space = self.data / "playground"
        self.log = self.folder / "bot.log"
        self.bot: int | None = None
        self.url = ""
        self.trainer: TrainerProcess | None = None
        self.proxy = TcpProxy()
        self.acked: list[tuple[str, str]] = []
        self.taken: list[str] = []
        """Texts of this round whose labels were acknowledged."""
        self.asked: list[Asked] = []
        self.outages: list[tuple[float, float]] = []
        self._down_since: float | None = None
        self._number = 0
        self._asker: asyncio.Task[None] | None = None
        self._before: Json = {}
        self.script()

    # Life

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        if self.far:
            await self.proxy.__aenter__()
            self.trainer = TrainerProcess(self.trainer_data, self.control, self.real)
            self.proxy.target = await self.trainer.start()
        await self.start_bot()
        first = [(f"{word} number {n} of the beginning", word) for n in range(12) for word in LABELS]
        await self.teach(first)
        await self.answer(120)  # brings the base encoder here
        self._asker = asyncio.create_task(self._ask_on())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                await self.close()
        finally:
            if self._asker is not None:
                self._asker.cancel()
            await self._session.close()
            left = [self.bot, *tree(self.bot)] if self.bot is not None else []
            for pid in [*left, *self.strays()]:
                kill(pid, signal.SIGKILL)
            await until(lambda: not any(map(is_alive, left)), "the processes of a world that is lost have ended")
            if self.trainer is not None:
                await self.trainer.kill()
                await self.proxy.__aexit__(None, None, None)

    async def start_bot(self) -> None:
        """Returns when its API answers."""
        settings = {
            "data": str(self.data),
            "base": str(self.kit / "base"),
            "port": 0,
            "lease": LEASE,
            "progress_interval": 0.2,
            "inference_threads": 1,
        }
        if self.far:
            settings |= {"trainer_url": f"http://127.0.0.1:{self.proxy.port}"}
            settings |= {"trainer_key_file": str(self.trainer.key_file)} if self.trainer is not None else {}
        order = {
            "settings": settings | self.settings,
            "control": str(self.control),
            "log": str(self.log),
            "real": self.real,
        }
        pid = self.bot = self.nursery.fork(order)

        def ready() -> str | None:
            assert is_alive(pid), f"the bot did not start: {self.told()}"
            with suppress(OSError, ValueError):
                notice = json.loads((self.space / "api.json").read_text())
                return str(notice["url"]) if notice["pid"] == pid else None
            return None

        self.url = await until(ready, "the bot is there")
        if self._down_since is not None:
            self.outages.append((self._down_since, time.time()))
            self._down_since = None

    async def kill_bot(self) -> None:
        """SIGKILL, and what it must not leave behind."""
        assert self.bot is not None
        pid, below = self.bot, tree(self.bot)
        self._down_since = self._down_since or time.time()
        kill(pid, signal.SIGKILL)
        await self.bot_died(below)

    async def bot_died(self, below: list[int] | None = None) -> None:
        """Waits for the bot's death and the end of all below it (`below`, where it was looked at before)."""
        assert self.bot is not None
        pid = self.bot
        below = below or tree(pid)
        while is_alive(pid):
            below = sorted({*below, *tree(pid)})
            await asyncio.sleep(0.005)
        self._down_since = self._down_since or time.time() - 0.5
        await until(lambda: not any(map(is_alive, below)), f"what the dead bot left: {below}", ORPHAN_LIMIT)
        self.bot = None

    async def close(self) -> None:
        """Ends everything in peace and checks what must hold at the end of any history."""
        assert self.bot is not None
        await self.every_label_is_there(self.acked)
        self._asker, asker = None, self._asker
        if asker is not None:
            asker.cancel()
        pid, below = self.bot, tree(self.bot)
        kill(pid, signal.SIGTERM)
        await until(lambda: not any(map(is_alive, [pid, *below])), "the bot has ended", 40)
        if self.trainer is not None:
            await self.trainer.kill()
        assert self.strays() == [], "processes were left"
        self.check_ledger()

    # What people do

    async def call(self, method: str, path: str, body: Any = None, limit: float = 15) -> Any:
        patience = aiohttp.ClientTimeout(total=limit)
        async with self._session.request(method, f"{self.url}/api/v1{path}", json=body, timeout=patience) as response:
            answer = await response.json()
            assert response.status < 400, (response.status, answer)
            return answer

    async def teach(self, rows: list[tuple[str, str]]) -> None:
        await self.call("POST", "/classifiers/triage/examples", [{"text": t, "label": n} for t, n in rows])
        self.acked += rows
        self.taken += [text for text, _ in rows]

    async def answer(self, limit: float = 15) -> str:
        question = {"text": f"question {self.chance.random()}"}
        asked = await self.call("POST", "/classifiers/triage/predict", question, limit)
        return str(asked["version"])

    async def train(self) -> str:
        """Labels that are new, and a training of all; its id."""
        self._before = await self.versions()
        self._number += 1
        await self.teach([(f"text {self._number} says {word}", word) for word in LABELS])
        return str((await self.call("POST", "/classifiers/triage/train"))["id"])

    async def versions(self) -> Json:
        return await self.call("GET", "/classifiers/triage/versions")  # type: ignore[no-any-return]

    async def job(self, job: str) -> Json:
        return await self.call("GET", f"/jobs/{job}")  # type: ignore[no-any-return]

    # What is done to it

    def script(self, *attempts: list[Any], defect: str | None = None) -> None:
        """What the children of the coming trainings do, by attempt; the last counts for all later ones."""
        (self.control / "go").unlink(missing_ok=True)
        told = {"steps": list(attempts) or [steps(self.chance)], "defect": defect}
        aside = self.control / "script.new"
        aside.write_text(json.dumps(told))
        aside.replace(self.control / "script.json")

    def go(self) -> None:
        (self.control / "go").touch()

    def order(self, whose: str, point: str, **more: Any) -> None:
        """The `whose` ("bot", "trainer") process dies at this point, a random moment after `reached`."""
        for name in ("reached", "leave"):
            (self.control / name).unlink(missing_ok=True)
        more = {"pause": self.chance.choice((0.0, self.chance.uniform(0, 0.1)))} | more
        crash.give(self.control / f"{whose}.json", crash.Order(point, **more))

    async def reached(self, leave: bool = True) -> None:
        """The process has come to the point it was ordered to stop at; with `leave` it may go on at once."""
        await until((self.control / "reached").exists, "the point of the order is reached")
        if leave:
            self.leave()

    def leave(self) -> None:
        (self.control / "leave").touch()

    async def comes_to(self, job: str, fraction: float) -> Json:
        """Waits, from outside, until the bot knows of this much progress."""

        async def there() -> Json | None:
            found = await self.job(job)
            assert found["state"] not in FINAL, found
            return found if (found["progress"] or {"fraction": 0.0})["fraction"] >= fraction else None

        return await until(there, f"{fraction:.0%} of the training")  # type: ignore[no-any-return]

    async def attempt(self, job: str, number: int) -> None:
        async def there() -> bool:
            found = await self.job(job)
            return found["attempt"] >= number or found["state"] in FINAL

        await until(there, f"attempt {number}")

    async def moment(self, longest: float = 0.2) -> None:
        await asyncio.sleep(self.chance.uniform(0, longest))

    def trainer_pid(self) -> int:
        if self.trainer is not None:
            assert self.trainer.pid is not None
            return self.trainer.pid
        assert self.bot is not None
        return trainer_of(self.bot)

    async def gone(self, pid: int) -> None:
        await until(lambda: not is_alive(pid), f"the end of process {pid}", ORPHAN_LIMIT)

    @asynccontextmanager
    async def bot_stopped(self) -> AsyncIterator[None]:
        """SIGSTOP, and SIGCONT at the end of the block."""
        assert self.bot is not None
        began = time.time()
        kill(self.bot, signal.SIGSTOP)
        try:
            yield
        finally:
            kill(self.bot, signal.SIGCONT)
            self.outages.append((began, time.time()))

    async def restart_trainer(self, away: float) -> None:
        """kill -9 of a trainer that runs by itself; `away` seconds later it is started again."""
        assert self.trainer is not None
        await self.trainer.kill()
        await asyncio.sleep(away)
        self.proxy.target = await self.trainer.start()

    async def has_a_trainer(self) -> None:
        async def reachable() -> bool:
            return bool((await self.call("GET", "/status"))["trainer"]["reachable"])

        await until(reachable, "the trainer is there again")

    @property
    def trainer_folder(self) -> Path:
        return self.space / "trainer" if self.trainer is None else self.trainer.data

    async def child_pid(self, job: str, attempt: int = 1) -> int:
        """Of the process that trains, once it does."""
        folder = self.trainer_folder / "jobs" / job / str(attempt)
        return await until(lambda: told_pid(folder, self.real), f"the process of attempt {attempt}")  # type: ignore[no-any-return]

    def limit_files(self, pid: int, size: int | None) -> None:
        """From now on a process can write no file beyond `size` bytes; None: as before."""
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard if size is None else size, hard))

    # How it must end

    async def about(self, job: str) -> Json:
        """What a pretended training wrote about itself into the version of this job."""
        found = [one["artifact"] for one in (await self.versions())["versions"] if one["job"] == job]
        about: Json = json.loads((self.space / "models" / found[0] / "README.md").read_text())
        return about

    async def ends(self, job: str) -> Json:
        async def over() -> Json | None:
            found = await self.job(job)
            return found if found["state"] in FINAL else None

        try:
            return await until(over, f"the end of job {job}")  # type: ignore[no-any-return]
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {await self.job(job)}") from None

    async def succeeds(self, job: str, attempts: tuple[int, ...] = (1,)) -> Json:
        """One new version, which is live and answers."""
        found = await self.ends(job)
        assert found["state"] == "succeeded", (found["state"], found["error"])
        assert found["error"] is None, found["error"]
        assert found["attempt"] in attempts, f"attempt {found['attempt']}, not one of {attempts}"
        after = await self.versions()
        new = [one for one in after["versions"] if one["number"] not in self._numbers(self._before)]
        assert [one["job"] for one in new] == [job], new
        # What a real training makes is for the gate to judge; what a pretended one hands in is better.
        assert new[0]["state"] == "champion" or self.real, new
        await self.settled()
        return found

    async def fails(self, job: str, state: str, sentence: str, *, damaged: bool = False) -> Json:
        """The champion is who it was, and nothing new could go live; `damaged`: a version is told as damaged."""
        found = await self.ends(job)
        assert found["state"] == state, (found["state"], found["error"])
        assert sentence in (found["error"] or ""), found["error"]
        after = await self.versions()
        new = [one for one in after["versions"] if one["number"] not in self._numbers(self._before)]
        assert [one["state"] for one in new] == (["damaged"] if damaged else []), new
        assert champion_of(after) == champion_of(self._before)
        for one in new:
            with_status = await self._promote(one["number"])
            assert with_status in (409, 500), with_status
            assert champion_of(await self.versions()) == champion_of(self._before)
        await self.settled()
        return found

    async def _promote(self, number: int) -> int:
        where = f"{self.url}/api/v1/classifiers/triage/versions/{number}/promote"
        async with self._session.post(where, json={}) as response:
            return response.status

    async def settled(self) -> None:
        """What holds when no job is under way."""
        champion = champion_of(await self.versions())
        assert number_of(await self.answer()) == champion, "what answers is not the champion"
        await self.every_label_is_there([pair for pair in self.acked if pair[0] in set(self.taken)])
        self.taken.clear()
        assert self.bot is not None
        known = {self.trainer_pid()}
        await until(lambda: not self.strays(known), "no process is left of a training", ORPHAN_LIMIT)
        assert not (self.control / "executed").exists(), "a pickle was executed"
        self.check_answers()

    def strays(self, known: set[int] | None = None) -> list[int]:
        """Processes of this world that are none of the known ones; a bot's command line does not tell its folder."""
        return strays((self.folder, self.data, self.trainer_folder), known or set())

    async def every_label_is_there(self, rows: list[tuple[str, str]]) -> None:
        """Given once more, none is new: one that was acknowledged and is not there would be."""
        for start in range(0, len(rows), 500):
            some = [{"text": text, "label": label} for text, label in rows[start : start + 500]]
            again = await self.call("POST", "/classifiers/triage/examples", some)
            assert (again["new"], again["votes"]) == (0, 0) or again["unchanged"] == len(some), again

    def check_answers(self) -> None:
        """While a bot ran, every question was answered."""
        for one in self.asked:
            excused = any(start - 0.5 < one.until and one.at < end + 0.5 for start, end in self._outages())
            assert one.version is not None or excused, f"a question was not answered: {one.error}"

    def _outages(self) -> list[tuple[float, float]]:
        open_end = [] if self._down_since is None else [(self._down_since, time.time() + 1)]
        return [*self.outages, *open_end]

    def check_ledger(self) -> None:
        """From the database of a bot that has ended: one version a job, live once at most; answers by champions."""
        connection = sqlite3.connect(f"file:{self.space / 'pupil.db'}?mode=ro", uri=True)
        with connection:
            states = dict(connection.execute("SELECT id, state FROM jobs").fetchall())
            made = connection.execute("SELECT job_id, count(*) FROM versions GROUP BY job_id").fetchall()
            live = connection.execute("SELECT number, created_at FROM promotions ORDER BY id").fetchall()
        connection.close()
        assert set(states.values()) <= FINAL, states
        assert all(count == 1 for _, count in made), made
        numbers = [number for number, _ in live]
        assert len(numbers) == len(set(numbers)), f"a version went live twice: {numbers}"
        began = [(0, 0.0), *live]
        for one in self.asked:
            if one.version is None:
                continue
            place = next((n for n, (number, _) in enumerate(began) if number == number_of(one.version)), None)
            assert place is not None, f"{one.version} answered and never was champion"
            until_when = began[place + 1][1] if place + 1 < len(began) else float("inf")
            assert began[place][1] <= one.until + 0.5, f"{one.version} answered before it was champion"
            slack = SWAP_SLACK + sum(end - start for start, end in self._outages() if end > until_when)
            assert one.at <= until_when + slack, f"{one.version} answered {one.at - until_when:.1f} s after its time"

    def told(self) -> str:
        """The end of the bot's log, for whoever reads a failure."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return "\n".join([line for line in lines if "question." not in line and "commit.failed" not in line][-25:])

    @staticmethod
    def _numbers(versions: Json) -> set[int]:
        return {one["number"] for one in versions["versions"]}

    async def _ask_on(self) -> None:
        while True:
            began = time.time()
            one = Asked(began, began, None)
            try:
                one.version = await self.answer()
            except (TimeoutError, aiohttp.ClientError, ValueError, AssertionError) as error:
                one.error = f"{type(error).__name__}: {error}"
            one.until = time.time()
            self.asked.append(one)
            await asyncio.sleep(0.05)


def steps(chance: random.Random, *inserted: Any, at: float = 1.0) -> list[Any]:
    """A short training with a checkpoint; `inserted` steps come when `at` of it is done."""
    plan: list[Any] = []
    for fraction in (0.1, 0.3, 0.5, 0.7, 0.9):
        if inserted and fraction > at:
            plan += inserted
            inserted = ()
        plan += [["event", fraction], ["sleep", chance.uniform(0, 0.06)]]
        if fraction == 0.3:
            plan.append(["checkpoint"])
    return [*plan, *inserted]


def champion_of(versions: Json) -> int:
    return next((one["number"] for one in versions["versions"] if one["live"]), 0)


def number_of(version: str) -> int:
    return int(version.removeprefix("v").partition("+")[0])


async def until(found: Callable[[], Any], what: str, limit: float = PATIENCE) -> Any:
    """What `found` (or the awaitable that it gives) comes to, once that is something."""
    deadline = time.monotonic() + limit
    while True:
        value = found()
        if isinstance(value, Awaitable):
            value = await value
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {limit:.0f} s: {what}"
        await asyncio.sleep(0.02)

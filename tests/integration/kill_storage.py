"""Kill a process with SIGKILL while it stores labels, many times, and look whether an acknowledged one is lost.

    python -m tests.integration.kill_storage DIRECTORY [--kills 200] [--bug ack-early]

This process imports everything once and forks: a child opens the database and stores labels from 16 tasks; each
acknowledgement goes through a pipe to the parent, which kills the child after a random number of them. The child
is forked before any thread or database exists. `--bug` plants a known mistake, to show that the harness sees it.

Prints one JSON object: {"kills", "acknowledged", "stored", "lost", "problems"}.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlite_utils

from storage import database, writer
from storage.classifiers import Classifiers
from storage.database import Database
from storage.examples import Examples
from storage.records import Source

GUILD = "g1"
TASKS = 16


async def teach(path: Path, acknowledgements: int, life: int) -> None:
    """Store labels until killed; write the name of each to the pipe once it is acknowledged."""
    async with Database(path) as db:
        classifiers, examples = Classifiers(db), Examples(db)
        known = await classifiers.list(GUILD)
        classifier = known[0] if known else await classifiers.create(GUILD, "triage", "maria", "base", 1.0)
        labels = await classifiers.labels(GUILD, classifier.id)
        label = labels[0] if labels else await classifiers.add_label(GUILD, classifier.id, "bug")

        async def teacher(task: int) -> None:
            for number in range(1_000_000):
                text = f"{life}-{task}-{number}"
                await examples.add_label(GUILD, classifier.id, text, label.id, "maria", Source.API, 2.0)
                os.write(acknowledgements, f"{text}\n".encode())

        await asyncio.gather(*(teacher(task) for task in range(TASKS)))


class EarlyWriter(writer.Writer):
    """The planted mistake: waiters are told when their unit ran, before the commit."""

    def _commit(self, db: sqlite_utils.Database, first: Any) -> None:
        db.conn.execute("BEGIN IMMEDIATE")
        for request in (first, *self._queued(writer.MAX_GROUP - 1)):
            if request.future.set_running_or_notify_cancel():
                writer._attempt(db, request.unit).tell(request.future)
        db.conn.execute("COMMIT")


def one_life(path: Path, life: int, patience: int) -> set[str]:
    """Fork a teacher, kill it right after it acknowledged `patience` labels; all that it acknowledged."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            asyncio.run(teach(path, writing, life))
        finally:
            os._exit(1)  # never into the parent's stack
    os.close(writing)
    said = b""
    with open(reading, "rb", buffering=0) as pipe:
        while said.count(b"\n") < patience and (piece := pipe.read(4096)):
            said += piece
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        while piece := pipe.read(4096):  # acknowledged, but not yet read when it died
            said += piece
    return {line.decode() for line in said.split(b"\n")[:-1]}


def inspect(path: Path) -> tuple[set[str], list[str]]:
    """(texts that have a label event, problems that integrity_check found)."""
    with closing(sqlite3.connect(path)) as connection:
        texts = connection.execute("SELECT text FROM examples JOIN label_events ON example_id = examples.id").fetchall()
        problems = connection.execute("PRAGMA integrity_check").fetchall()
    return {text for (text,) in texts}, [problem for (problem,) in problems if problem != "ok"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--bug", choices=["ack-early"])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.bug == "ack-early":
        database.Writer = EarlyWriter  # type: ignore[misc]
    path, luck = options.directory / "pupil.db", random.Random(options.seed)
    acknowledged: set[str] = set()
    for life in range(options.kills):
        acknowledged |= one_life(path, life, luck.randint(1, 120))
    stored, problems = inspect(path)
    result = {
        "kills": options.kills,
        "acknowledged": len(acknowledged),
        "stored": len(stored),
        "lost": len(acknowledged - stored),
        "problems": problems,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()

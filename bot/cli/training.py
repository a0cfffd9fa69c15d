"""`pupil train`: asks for a training, follows it, and tells what became of it."""

from __future__ import annotations

import asyncio
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from bot.api_client import ApiClient
from bot.cli.connect import find_running
from storage.settings import Settings

POLL = 0.5
"""Seconds between two looks at a job."""
UNHAPPY = frozenset({"failed", "cancelled", "abandoned"})
FINAL = UNHAPPY | {"succeeded"}

Json = dict[str, Any]


async def train(api: ApiClient, settings: Settings, classifier: str | None, wait: bool) -> Json:
    """The job that was started or joined: as it is now, or with `wait` as it ended.

    Where no bot runs, the trainer ends with this command, so there is nothing to leave behind and it always waits.
    """
    job = await api.train(classifier or await api.only_classifier())
    if not wait and await find_running(settings) is not None:
        return job
    try:
        return await follow(api, job)
    except asyncio.CancelledError:  # Ctrl-C stops the waiting, not the work
        click.echo(f"Training {job['id']} goes on as long as a bot runs, and with the next one.", err=True)
        raise


async def follow(api: ApiClient, job: Json) -> Json:
    """Shows a job's progress on stderr until it has ended."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("queued", total=1.0)
        while job["state"] not in FINAL:
            await asyncio.sleep(POLL)
            job = await api.job(job["id"])
            progress = job["progress"] or {"phase": job["state"], "fraction": 0.0}
            words = f"waiting, {job['ahead']} ahead" if job.get("ahead") else progress["phase"]
            bar.update(task, description=words, completed=progress["fraction"])
    return job


def show_result(job: Json) -> None:
    """One or two sentences, the verdict first."""
    decision, report = job["decision"], job["report"]
    if job["state"] not in FINAL:
        click.echo(f"Training {job['id']} of {job['classifier']} is {job['state']}.")
    elif decision is None:
        click.echo(f"The training ended without a model ({job['state']}): {job['error'] or 'no reason was given.'}")
    elif decision["promote"]:
        click.echo(f"{job['version']} is live. {decision['reason']}")
    else:
        click.echo(f"{job['version']} was trained. {decision['reason']}")
    if job["error"] and decision is not None:
        click.echo(job["error"])
    if report is not None:
        click.echo(
            f"{report['train_rows']:,} texts in {sum(report['seconds'].values()):.0f} s; {job['serving']} answers."
        )

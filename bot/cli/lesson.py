"""`pupil demo`: the first lesson in the terminal, step by step, with the accuracy on the kept questions each time."""

from __future__ import annotations

import asyncio
from typing import Any

from rich.console import Console
from rich.text import Text

from bot.api_client import ApiClient

POLL = 0.5
"""Seconds between two looks at a training."""
WIDTH = 30
"""Characters of a full bar."""

Json = dict[str, Any]


async def take(api: ApiClient, *, quiet: bool) -> Json:
    """Takes every step that has not been taken and returns the lesson's state.

    Steps taken earlier are shown as they were. Ends early where a step cannot be taken; its note says why.
    """
    console = Console(quiet=quiet, highlight=False, soft_wrap=True)
    state = await api.lesson()
    console.print(
        f"Support triage: {len(state['labels'])} labels, {state['kept']} questions kept aside. "
        "The same questions are asked after each step.\n"
    )
    for position, step in enumerate(state["steps"]):
        if step["state"] == "locked":
            step = state["steps"][position] = _step(state, step["id"])
        if step["state"] in {"ready", "running"}:
            state = await _take_step(api, state, step, console)
        _show(console, position, _step(state, step["id"]))
        if _step(state, step["id"])["state"] != "done":
            break
    return state


async def _take_step(api: ApiClient, state: Json, step: Json, console: Console) -> Json:
    """Takes one step, or waits for the one under way, and returns the state after it."""
    with console.status(Text(f"{step['title']} …")) as spinner:
        if step["state"] == "ready":
            state = await api.lesson_step(step["id"])
        while state["running"] is not None:
            await asyncio.sleep(POLL)
            state = await api.lesson()
            if (progress := _step(state, step["id"])["progress"]) is not None:
                spinner.update(Text(f"{step['title']}: {progress['phase']} {progress['fraction']:.0%}"))
    return state


def is_done(state: Json) -> bool:
    return all(step["state"] == "done" for step in state["steps"])


def _step(state: Json, name: str) -> Json:
    found: Json = next(step for step in state["steps"] if step["id"] == name)
    return found


def _show(console: Console, position: int, step: Json) -> None:
    console.print(Text(f"{position + 1}. {step['title']}", style="bold"))
    if step["accuracy"] is not None:
        filled = round(WIDTH * step["accuracy"])
        bar = Text("   " + "█" * filled, style="green").append("░" * (WIDTH - filled), style="dim")
        numbers = f"  {step['accuracy']:.1%}  ({step['correct']} of {step['asked']}, by {step['version']})"
        console.print(bar.append(numbers, style="default"))
    elif step["asked"] == 0:
        console.print("   There was nothing to ask: somebody has labelled every question that was kept aside.")
    if step["verdict"] is not None:
        console.print(
            Text(f"   {step['verdict']['reason']}", style="green" if step["verdict"]["promote"] else "yellow")
        )
    if step["note"]:
        console.print(Text(f"   {step['note']}", style="dim"))
    console.print()

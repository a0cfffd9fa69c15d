"""The direction of the arrows: who may import whom, and what the bot's process never loads."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("storage", "trainer", "bot")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

FOR_THE_TRAINER = {
    "records",
    "errors",
    "settings",
    "logs",
    "snapshots",
    "artifacts",
    "files",
    "processes",
    "report_figures",
    "turns",
}
"""`storage.files` is what snapshots and artifacts are written with, `processes` how children are started,
`report_figures` what cards tell, `turns` the rule of both queues: no database."""
FOR_THE_BOT = {"model", "client", "protocol"}

VISIBLE_IN = {
    "discord": ("bot/chat/",),
    "torch": ("trainer/",),
    "transformers": ("trainer/",),
    "sklearn": ("trainer/",),
    "onnxruntime": ("trainer/model/", "trainer/export.py"),
    "ray": ("trainer/executors/ray.py",),
    # A process of its own, which ends with its picture; `test_nobody_imports_what_draws` keeps it out of the bot.
    "matplotlib": ("bot/plots/draw.py",),
}
NEVER_IN = {
    "torch": ("trainer/model/",),
    "transformers": ("trainer/model/",),
    "sklearn": ("trainer/model/",),
    "aiohttp": ("bot/services/", "bot/inference/", "storage/"),
    "pandas": ("storage/", "bot/", "trainer/"),
}


def imports(path: Path) -> set[str]:
    """Dotted names of everything a module imports, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_imports_follow_the_arrows(path: Path) -> None:
    here = name(path)
    for imported in imports(path):
        package, _, rest = imported.partition(".")
        part = rest.partition(".")[0]
        if here.startswith("storage/"):
            assert package not in {"trainer", "bot"}, f"{here} imports {imported}"
        elif here.startswith("trainer/"):
            assert package != "bot", f"{here} imports {imported}"
            assert package != "storage" or part in FOR_THE_TRAINER, f"{here} imports {imported}"
        else:
            assert package != "trainer" or part in FOR_THE_BOT, f"{here} imports {imported}"
        if here.startswith("bot/chat/"):
            assert not imported.startswith(("bot.inference", "bot.web", "storage.database")), f"{here}: {imported}"
        if here.startswith("bot/services/"):
            assert not imported.startswith(("bot.chat", "bot.web", "bot.playground")), f"{here} imports {imported}"


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_libraries_are_visible_from_one_place(path: Path) -> None:
    here = name(path)
    for imported in {dotted.partition(".")[0] for dotted in imports(path)}:
        if imported in VISIBLE_IN:
            assert here.startswith(VISIBLE_IN[imported]), f"{here} imports {imported}"
        assert not here.startswith(NEVER_IN.get(imported, ("none",))), f"{here} imports {imported}"


def test_nobody_imports_what_draws() -> None:
    assert [name(path) for path in MODULES if any("bot.plots.draw" in each for each in imports(path))] == []


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_module_says_what_it_does(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if text.strip():
        assert ast.get_docstring(ast.parse(text)), f"{name(path)} has no docstring"


def test_the_bots_process_loads_no_heavy_library() -> None:
    """Importing the whole bot, chat and inference included, must not bring in what only the trainer needs."""
    program = (
        "import bot.app, bot.run, bot.cli, bot.chat.client, bot.web.api, sys; "
        "print(sorted({'torch','transformers','sklearn','pandas','matplotlib','onnx'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.stdout.strip() == "[]", result.stdout + result.stderr


def test_nothing_is_read_or_opened_at_import(tmp_path: Path) -> None:
    """Importing every module of storage and bot leaves no file behind and starts no thread."""
    program = (
        "import importlib, pkgutil, threading, storage, bot\n"
        "for package in (storage, bot):\n"
        "    for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        if not module.name.endswith('__main__'): importlib.import_module(module.name)\n"
        "print(threading.active_count())"
    )
    environment = {"PATH": "", "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert result.stdout.strip() == "1", result.stdout + result.stderr
    assert list(tmp_path.iterdir()) == []

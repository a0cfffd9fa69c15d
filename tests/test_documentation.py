"""The READMEs may not fall behind: file map, settings, commands, routes and paths are compared with the code.

Most comparisons go both ways: what is there must be named, and what is named must be there.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, cast

import click
import pytest

from bot.chat.cogs import COGS
from bot.cli import main
from bot.web.api import Api
from storage.settings import Settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
ABOUT_TESTS = (ROOT / "tests" / "README.md").read_text(encoding="utf-8")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def section(title: str) -> str:
    """The text under one heading of the README, up to the next heading of its level."""
    start = README.index(f"\n## {title}\n")
    return README[start:].partition("\n## ")[2].partition("\n## ")[0]


def first_cells(title: str) -> list[str]:
    """What stands in backticks first in each row of a section's table."""
    return re.findall(r"^\| `([^`]+)`", section(title), re.MULTILINE)


# File map


def modules() -> set[str]:
    files = (path for package in ("storage", "trainer", "bot") for path in (ROOT / package).rglob("*.py"))
    # A package file with nothing but a docstring needs no purpose of its own.
    return {path.relative_to(ROOT).as_posix() for path in files if path.name != "__init__.py"}


def mapped() -> dict[str, str]:
    """path → purpose, from the headings (folders) and list items (files) of the file map."""
    found: dict[str, str] = {}
    for part in section("File map").split("\n### ")[1:]:
        folder = part.partition("\n")[0].strip("`")
        for file, purpose in re.findall(r"^- `([^`]+)`: (.*)$", part, re.MULTILINE):
            found[folder + file] = purpose
    return found


def test_file_map_names_every_module_and_no_other() -> None:
    named = mapped()
    assert sorted(modules() - named.keys()) == [], "the file map lacks these"
    assert sorted(named.keys() - modules()) == [], "the file map names these, which are not there"


def test_file_map_says_what_each_module_is_for() -> None:
    assert [path for path, purpose in mapped().items() if len(purpose.split()) < 2] == []


@pytest.mark.parametrize("text", [README, ABOUT_TESTS], ids=["README.md", "tests/README.md"])
def test_paths_that_are_named_exist(text: str) -> None:
    named = set(re.findall(r"`((?:storage|trainer|bot|tests|docs)/[\w./-]*\w)`", text))
    named |= set(re.findall(r"\]\(((?!https?:)[^)#]+)\)", text))
    assert named
    assert sorted(path for path in named if not (ROOT / path).exists()) == []


# Configuration


def test_configuration_names_every_setting_and_no_other() -> None:
    assert sorted(first_cells("Configuration")) == sorted(Settings.model_fields)


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_setting_is_told_with_its_variable_and_default(name: str) -> None:
    row = next(line for line in section("Configuration").splitlines() if line.startswith(f"| `{name}` |"))
    variable, default = row.split(" | ")[1:3]
    assert f"`PUPIL_{name.upper()}`" in variable
    value = Settings.model_fields[name].default
    if isinstance(value, str | int | float):
        assert default == f"`{value:g}`" if isinstance(value, float) else default == f"`{value}`"


def test_example_of_pupil_toml_is_accepted(tmp_path: Path) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    assert blocks
    for block in blocks:
        values = tomllib.loads(block)
        assert Settings(data=tmp_path, **values).model_fields_set >= values.keys()


# Commands


def commands(group: click.Group, prefix: str = "pupil") -> list[str]:
    names = []
    for name, command in group.commands.items():
        full = f"{prefix} {name}"
        names += commands(command, full) if isinstance(command, click.Group) else [full]
    return names


def test_command_table_names_every_command_and_no_other() -> None:
    known = commands(main)
    told = [cell for cell in first_cells("Command line") if cell.startswith("pupil ")]
    assert [command for command in known if not any(cell.startswith(command) for cell in told)] == []
    assert [cell for cell in told if not cell.startswith(tuple(known))] == []


def slash_commands() -> set[str]:
    names = set()
    for cog in COGS:
        group = f"{cog.__cog_group_name__} " if cog.__cog_is_app_commands_group__ else ""
        names |= {f"{group}{command.name}" for command in cog.__cog_app_commands__}
    return names


def test_slash_commands_that_are_named_exist() -> None:
    named = set(re.findall(r"`/([a-z]+(?: [a-z-]+)?)[ `]", README))
    groups = {name.partition(" ")[0] for name in slash_commands()}
    assert sorted(named - slash_commands() - groups) == []
    assert sorted(slash_commands() - named) == [], "nobody hears of these"


def test_make_targets_that_are_named_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    targets |= {f"bench-{path.stem.removeprefix('bench_')}" for path in (ROOT / "tests/benchmarks").glob("bench_*.py")}
    named = set(re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)`", README + ABOUT_TESTS, re.MULTILINE))
    assert sorted({first or second for first, second in named} - targets) == []
    assert {("run", ""), ("test", "")} <= named


# HTTP API


def test_route_table_is_what_is_served() -> None:
    nothing = cast(Any, None)
    served = {f"{route.method} {route.path}" for route in Api(nothing, nothing).routes()} | {"GET /metrics"}
    assert {re.sub(r"\{number:[^/]*\}", "{n}", route) for route in served} == set(first_cells("HTTP API"))


# How the tests are told


def test_every_folder_and_mark_of_the_tests_is_explained() -> None:
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/__init__.py")}
    marks = {mark.partition(":")[0] for mark in PYPROJECT["tool"]["pytest"]["ini_options"]["markers"]}
    assert [f"{name}/" for name in sorted(folders) if f"`{name}/`" not in ABOUT_TESTS] == []
    assert [mark for mark in sorted(marks) if f"`{mark}`" not in ABOUT_TESTS] == []

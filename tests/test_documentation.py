"""The README may not fall behind: its file map, settings and commands are compared with the code."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from bot.cli import main
from storage.settings import Settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def modules() -> list[str]:
    files = [path for package in ("storage", "trainer", "bot") for path in (ROOT / package).rglob("*.py")]
    return sorted(path.relative_to(ROOT).as_posix() for path in files if path.name != "__init__.py")


@pytest.mark.parametrize("module", modules())
def test_file_map_names_every_module(module: str) -> None:
    folder, _, file = module.rpartition("/")
    section = README[README.index(f"`{folder}/`") :] if f"`{folder}/`" in README else ""
    assert f"`{file}`" in section.partition("\n### ")[0] or f"`{module}`" in README, f"README's file map lacks {module}"


def test_file_map_names_no_module_that_is_gone() -> None:
    named = set(re.findall(r"`((?:storage|trainer|bot|tests)/[\w/]+\.py)`", README))
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("setting", sorted(Settings.model_fields))
def test_configuration_table_names_every_setting(setting: str) -> None:
    assert f"`{setting}`" in README, f"README's configuration lacks `{setting}`"


def commands(group: click.Group, prefix: str = "pupil") -> list[str]:
    names = []
    for name, command in group.commands.items():
        full = f"{prefix} {name}"
        names += commands(command, full) if isinstance(command, click.Group) else [full]
    return names


@pytest.mark.parametrize("command", commands(main) if isinstance(main, click.Group) else [])
def test_readme_names_every_command(command: str) -> None:
    assert command in README, f"README does not mention `{command}`"


def test_readme_names_the_two_commands() -> None:
    assert "make run" in README
    assert "make test" in README

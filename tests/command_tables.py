"""Every option of the three commands, as tables of the documentation."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Any, Literal, get_args, get_origin

from typer.main import get_command

from evaluation import __main__ as evaluation
from export import __main__ as export
from export import all_command, import_command
from service.cli import commands

FROM_TYPER = {"install_completion", "show_completion", "help"}


def vision_options() -> str:
    return _table("of `vision …`", list(_commands(get_command(commands.app), "")))


def export_options() -> str:
    apps = {"": export.app, "--all": all_command.app, "--import": import_command.app}
    return _table("with", [(words, get_command(app)) for words, app in apps.items()])


def evaluation_options() -> str:
    return _table("", [("", get_command(evaluation.app))])


def _commands(group: Any, before: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        words = f"{before} {name}".strip()
        if hasattr(command, "commands"):
            yield from _commands(command, words)
        else:
            yield words, command


def _table(of: str, named: list[tuple[str, Any]]) -> str:
    """One row for each option, and the commands that have it with the same meaning."""
    rows: dict[tuple[str, str], list[str]] = {}
    for words, command in named:
        for option in command.params:
            if option.param_type_name == "option" and option.name not in FROM_TYPER:
                rows.setdefault((_spelling(option), _meaning(option)), []).append(f"`{words}`" if words else "names")
    columns = [f"| {spelling} | {', '.join(where)} | {meaning} |" for (spelling, meaning), where in rows.items()]
    if not of:
        plain = [f"| {spelling} | {meaning} |" for spelling, meaning in rows]
        return "\n".join(["| option | meaning |", "|---|---|", *plain])
    return "\n".join([f"| option | {of} | meaning |", "|---|---|---|", *columns])


def _spelling(option: Any) -> str:
    value = "" if option.is_flag else f" {option.metavar or option.name.upper()}".replace("|", "/")
    spellings = [*option.opts, *option.secondary_opts]
    return ", ".join(f"`{spelling}{value}`" for spelling in spellings)


def _meaning(option: Any) -> str:
    default = None if option.default in (None, "", "first") else option.default
    choices = [f"`{choice}`" for choice in _choices(option.type_descriptor.annotation)]
    parts = [
        option.help or "",
        f"One of {', '.join(choices)}." if choices else "",
        f"Default: `{default}`." if default is not None and not option.is_flag else "",
        f"Also `{option.envvar}`." if option.envvar else "",
    ]
    return " ".join(part for part in parts if part)


def _choices(annotation: Any) -> list[str]:
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return [str(choice.value) for choice in annotation]
    return [str(choice) for choice in get_args(annotation)] if get_origin(annotation) is Literal else []

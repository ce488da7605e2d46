"""What the commands of `vision-export` have in common: how they look, what the shell completes."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer

from export.catalogue.registry import CATALOGUE

PROGRAM = "vision-export"
MANNERS: dict[str, Any] = {
    # Plain: what is wrong stays one sentence, in a log too, and is not broken into a box.
    "rich_markup_mode": None,
    "pretty_exceptions_show_locals": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}


def complete_name(incomplete: str) -> list[str]:
    """Every name of the catalogue that begins so."""
    return [name for name in CATALOGUE if name.startswith(incomplete)]


Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="NAME",
        help="Models of the catalogue, which `--list` shows; with `--all`, only these.",
        autocompletion=complete_name,
    ),
]


def words_typed() -> list[str]:
    """The command line; while the shell completes it, the line that is being typed."""
    line = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS")
    return line.split() if line and "_VISION_EXPORT_COMPLETE" in os.environ else sys.argv

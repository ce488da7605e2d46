"""The environment → settings, or one sentence about the variable that is wrong.

A name beginning with VISION_ that nobody reads is wrong as well: misspelt, it would leave what it meant at its default.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping

import typer
from pydantic import ValidationError

from service.settings import Settings

_PREFIX = "VISION_"
# Of the command line and the client (server, key), of the export stage and its training data.
_OF_OTHERS = frozenset({"VISION_SERVER", "VISION_API_KEY", "VISION_CACHE", "VISION_DATA"})
# What Kubernetes and Docker's links tell of services called vision-something.
_LINK_NAME = re.compile(r"_SERVICE_(HOST|PORT)|_PORT_\d+_(TCP|UDP|SCTP)")
_LINK_VALUE = re.compile(r"(tcp|udp|sctp)://")


def read_settings() -> Settings:
    """The settings of the environment. Raises BadParameter (exit code 2) naming the variable that is wrong."""
    misspelt = unknown_setting(os.environ)
    if misspelt:
        raise typer.BadParameter(f"{misspelt}.")
    try:
        return Settings()
    except ValidationError as err:
        first = err.errors()[0]
        name = "_".join(str(part) for part in first["loc"]).upper()
        raise typer.BadParameter(f"{first['msg']}.", param_hint=f"VISION_{name}") from err


def unknown_setting(environment: Mapping[str, str]) -> str | None:
    """A sentence about the first name that is no setting, and which one may have been meant; None: there is none."""
    known = {f"{_PREFIX}{field.upper()}" for field in Settings.model_fields} | _OF_OTHERS
    for name, value in sorted(environment.items()):
        if not name.startswith(_PREFIX) or name in known or _LINK_NAME.search(name) or _LINK_VALUE.match(value):
            continue
        close = difflib.get_close_matches(name, known, n=1)
        return f"{name} is no setting" + (f"; did you mean {close[0]}?" if close else "")
    return None

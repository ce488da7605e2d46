"""Class names: the sets the service ships in `service/labels/`, or a model's own."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

from service.errors import InvalidEntry
from service.manifest import ModelCard

_SET_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


def label_names(card: ModelCard) -> tuple[str, ...]:
    """The model's class names, index = class id.

    Raises InvalidEntry for a set that the service does not ship, or whose names are not as many as the model's classes.
    """
    names = card.label_names if card.label_set == "own" else _shipped(card.label_set)
    probabilities = card.output("probabilities")
    if probabilities is not None and probabilities.dims != (len(names),):
        raise InvalidEntry(
            f"{card.name}: probabilities are {list(probabilities.dims)}, label set {card.label_set!r} has {len(names)}"
        )
    return names


@cache
def _shipped(label_set: str) -> tuple[str, ...]:
    file = resources.files("service") / "labels" / f"{label_set}.txt"
    try:
        if not _SET_NAME.fullmatch(label_set):  # a name, never a path
            raise FileNotFoundError(label_set)
        return tuple(file.read_text(encoding="utf-8").splitlines())
    except OSError as err:
        raise InvalidEntry(f"label set {label_set!r} is not among those the service ships") from err

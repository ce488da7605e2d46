"""Class names: the sets the service ships in `service/labels/`, or a model's own."""

from __future__ import annotations

from functools import cache
from importlib import resources

from service.errors import InvalidEntry
from service.manifest import ModelCard


def label_names(card: ModelCard) -> tuple[str, ...]:
    """The model's class names, index = class id. Raises InvalidEntry for a set that the service does not ship."""
    if card.label_set == "own":
        return card.label_names
    return _shipped(card.label_set)


@cache
def _shipped(label_set: str) -> tuple[str, ...]:
    file = resources.files("service") / "labels" / f"{label_set}.txt"
    try:
        return tuple(file.read_text(encoding="utf-8").splitlines())
    except OSError as err:
        raise InvalidEntry(f"label set {label_set!r} is not among those the service ships") from err

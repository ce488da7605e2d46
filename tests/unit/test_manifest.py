"""What cannot be true of a model cannot be put on a card."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from service.manifest import Accuracy, ResizeRule, Weights
from tests.cards import classifier

CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"weights": Weights("untrained", "", "", "")}, "untrained weights carry no accuracy"),
    ({"label_set": "own"}, "label_names"),
    ({"task": "segment"}, "segment_kind"),
    ({"segment_kind": "semantic"}, "segment_kind"),
    ({"label_names": ("a",)}, "label_names"),
    ({"label_set": "own", "label_names": ("a", "")}, "empty"),
    ({"label_set": "own", "label_names": ("a\nb",)}, "line"),
]


@pytest.mark.parametrize(("changes", "why"), CHANGES)
def test_a_card_that_contradicts_itself_cannot_be_made(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        replace(classifier(), **changes)


@pytest.mark.parametrize(
    ("mode", "size_hw", "shorter"),
    [("crop", (10, 10), None), ("squash", (10, 10), 12), ("crop", (10, 20), 15), ("squash", (0, 10), None)],
)
def test_a_resize_rule_that_cannot_be_cannot_be_made(mode: Any, size_hw: tuple[int, int], shorter: int | None) -> None:
    with pytest.raises(ValueError, match=r"crop|height"):
        ResizeRule(mode, size_hw, "bilinear", shorter)


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0, 100.1])
def test_an_accuracy_is_percent(value: float) -> None:
    with pytest.raises(ValueError, match="accuracy"):
        Accuracy(value, "top-1", "imagenet-1k", "somewhere")

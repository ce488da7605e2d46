"""From the cards there are to what a request may mean by them: by task, by name, or exactly one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from service.label_sets import label_names
from service.manifest import ModelCard, SegmentKind, Task
from service.variants import Variants


class Selection:
    """An index over cards.

    groups  task and kind → trained models that can stand in for one another
    named   name → that variant alone, or every variant of the model of that name
    exact   name → that classifier and no other
    """

    def __init__(self, cards: Iterable[ModelCard]) -> None:
        self.cards = tuple(sorted(cards, key=lambda card: card.name))
        self.groups = _groups(self.cards)
        self.named = _named(self.cards)
        self.exact = {card.name: Variants([card]) for card in self.cards if card.task == "classify"}


def _groups(cards: Iterable[ModelCard]) -> dict[tuple[Task, SegmentKind | None], Variants]:
    """Per task and kind the trained, profiled models that can stand in for one another.

    They share a label set and the yardstick of their accuracy. Of several such groups, the one with most classes, then
    with most models.
    """
    alike: dict[tuple[Any, ...], list[ModelCard]] = {}
    for card in cards:
        if card.weights.trained and card.accuracy is not None and card.profile is not None:
            yardstick = (card.accuracy.metric, card.accuracy.dataset)
            alike.setdefault((card.task, card.segment_kind, label_names(card), yardstick), []).append(card)
    groups: dict[tuple[Task, SegmentKind | None], Variants] = {}
    for (task, kind, *_), members in sorted(alike.items(), key=lambda item: (len(item[0][2]), len(item[1]))):
        groups[task, kind] = Variants(members)
    return groups


def _named(cards: Iterable[ModelCard]) -> dict[str, Variants]:
    """Name → what it may mean: that variant alone, or every variant of the model of that name."""
    members: dict[str, list[ModelCard]] = {}
    for card in cards:
        members.setdefault(card.name, []).append(card)
        if card.variant_of != card.name:
            members.setdefault(card.variant_of, []).append(card)
    return {name: Variants(found) for name, found in members.items()}

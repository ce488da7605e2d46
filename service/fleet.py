"""Which models exist, which would answer now, and which can stand in for one another."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import logging
from collections.abc import Iterable
from functools import cache
from importlib import resources
from typing import Any

from service.engines.protocol import Engine
from service.errors import (
    EngineUnavailable,
    InvalidEntry,
    ModelNotExported,
    NotReady,
    UnknownModel,
    VisionError,
    WrongTask,
)
from service.graph_contract import contract_outputs
from service.label_sets import label_names
from service.latency import Variants
from service.manifest import ModelCard, SegmentKind, Task
from service.metrics import Metrics

log = logging.getLogger(__name__)


class Fleet:
    """The engine's models as of the last look, which is `poll_interval_s` old at most."""

    def __init__(self, engine: Engine, metrics: Metrics, poll_interval_s: float) -> None:
        self._engine = engine
        self._metrics = metrics
        self._poll_interval_s = poll_interval_s
        self._seen: list[ModelCard] = []
        self._cards: dict[str, ModelCard] = {}
        self._groups: dict[tuple[Task, SegmentKind | None], Variants] = {}
        self._named: dict[str, Variants] = {}
        self._exact: dict[str, Variants] = {}
        self._reachable = False
        self._watch: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Looks once, then goes on looking in the background; an engine that is away is not an error."""
        await self._engine.open()
        await self._look()
        self._watch = asyncio.create_task(self._keep_looking(), name="fleet")

    async def close(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
        await self._engine.close()

    @property
    def ready(self) -> bool:
        """True if the engine answers and has a model."""
        return self._reachable and bool(self._cards)

    @property
    def cards(self) -> tuple[ModelCard, ...]:
        """Every model, by name; as last seen if the engine is away."""
        return tuple(self._cards.values())

    def require_ready(self) -> None:
        """Raises NotReady, or EngineUnavailable if the models are known but the engine is away."""
        if self.ready:
            return
        if self._cards:
            raise EngineUnavailable("the inference server does not answer; the gateway keeps trying")
        raise NotReady(
            "no model is ready: the repository is empty, or the inference server does not answer yet",
        )

    def card(self, name: str) -> ModelCard:
        """The model of that exact name. Raises UnknownModel, ModelNotExported."""
        card = self._cards.get(name)
        if card is None:
            raise self._missing(name)
        return card

    def candidates(
        self, name: str | None, task: Task, kind: SegmentKind | None = None, *, exact: bool = False
    ) -> Variants:
        """What there is to choose from: `pinned` if the client named a model, else `routable`.

        exact  a name means the model of exactly that name, if there is one: never another variant of it
        """
        if exact and name in self._exact:
            self.require_ready()
            return self._exact[name]
        return self.pinned(name, task, kind) if name else self.routable(task, kind)

    def routable(self, task: Task, kind: SegmentKind | None = None) -> Variants:
        """The trained models of a task and kind that share a label set, to choose from. Raises NotReady if none is."""
        self.require_ready()
        variants = self._groups.get((task, kind))
        if variants is None:
            raise NotReady(f"no model with trained weights is ready to {task}" + (f" ({kind})" if kind else ""))
        return variants

    def pinned(self, name: str, task: Task, kind: SegmentKind | None = None) -> Variants:
        """The model named, or the variants of it (precisions, sizes) if `name` is what they are variants of.

        Raises UnknownModel, ModelNotExported, WrongTask, NotReady, EngineUnavailable.
        """
        self.require_ready()
        variants = self._named.get(name)
        if variants is None:
            raise self._missing(name)
        if variants.cards[0].task != task:
            raise WrongTask(f"{name} is there to {variants.cards[0].task}, not to {task}", field="model")
        if kind is not None and variants.cards[0].segment_kind != kind:
            raise WrongTask(f"{name} gives {variants.cards[0].segment_kind} segments, not {kind}", field="kind")
        return variants

    def engine_lost(self) -> None:
        """A request found the engine away: say so at once, not at the next look."""
        self._see(None)

    def model_lost(self, name: str) -> None:
        """A request found the model gone: it is not chosen again before the next look has seen it."""
        if self._reachable and name in self._cards:
            self._see([card for card in self._seen if card.name != name])

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(self._poll_interval_s)
            await self._look()

    async def _look(self) -> None:
        try:
            self._see(await self._engine.cards())
        except VisionError as err:
            if self._reachable:
                log.warning("the engine is away: %s", err.detail)
            self._see(None)
        except Exception:
            log.exception("looking at the engine failed. This is a bug.")
            self._see(None)

    def _see(self, cards: list[ModelCard] | None) -> None:
        self._reachable = cards is not None
        if cards is not None and cards != self._seen:
            self._seen = cards
            self._adopt([card for card in cards if _servable(card)])
        for name in self._cards:
            self._metrics.model_ready.labels(name).set(1.0 if self._reachable else 0.0)

    def _adopt(self, cards: list[ModelCard]) -> None:
        self._metrics.model_ready.clear()
        self._metrics.model_info.clear()
        self._cards = {card.name: card for card in sorted(cards, key=lambda card: card.name)}
        self._groups = _groups(self._cards.values())
        self._named = _named(self._cards.values())
        self._exact = {card.name: Variants([card]) for card in self._cards.values() if card.task == "classify"}
        for card in self._cards.values():
            self._metrics.model_info.labels(
                card.name, card.task, card.precision, card.backend, card.weights.source, card.onnx_sha256
            ).set(1.0)

    def _missing(self, name: str) -> VisionError:
        if name in catalogue_names():
            return ModelNotExported(
                f"{name} is in the catalogue, but not in this repository; `vision-export {name}` adds it", field="model"
            )
        shown = name if len(name) <= 80 else name[:80] + "…"
        close = difflib.get_close_matches(shown, [*self._cards, *catalogue_names()], n=3)
        hint = f"; did you mean {' or '.join(close)}?" if close else "; GET /v1/models lists what there is"
        return UnknownModel(f"nobody knows a model named {shown!r}{hint}", field="model")


@cache
def catalogue_names() -> frozenset[str]:
    """Every name `vision-export` knows. The file is written by the export stage, and a test keeps them equal."""
    text = (resources.files("service") / "catalogue_names.txt").read_text(encoding="utf-8")
    return frozenset(text.split())


def _servable(card: ModelCard) -> bool:
    """Whether the model's classes have names, and its outputs are those of its task.

    One that cannot be served must not keep the others from being.
    """
    try:
        label_names(card)
        missing = [name for name in contract_outputs(card.task, card.segment_kind) if card.output(name) is None]
        if missing:
            raise InvalidEntry(f"{card.name}: to {card.task} it needs the outputs {', '.join(missing)}")
        probabilities = card.output("probabilities")
        if card.task == "classify" and probabilities is not None and probabilities.dims != (len(label_names(card)),):
            classes = len(label_names(card))
            raise InvalidEntry(f"{card.name}: it gives {list(probabilities.dims)} probabilities for {classes} classes")
    except InvalidEntry as err:
        log.error("refused: %s", err.detail)
        return False
    return True


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

"""Which models exist, which are in memory, which would answer now, and which can stand in for one another."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import logging
import time
from functools import cache
from importlib import resources

from service.circuits import Circuit, Circuits
from service.engines.protocol import Engine, Entry
from service.errors import (
    EngineUnavailable,
    ModelNotExported,
    ModelUnavailable,
    NoModel,
    NotReady,
    UnknownModel,
    VisionError,
    WrongTask,
)
from service.inventory import Inventory, State
from service.manifest import ModelCard, SegmentKind, Task
from service.metrics import Metrics
from service.selection import Selection
from service.variants import Variants

log = logging.getLogger(__name__)


class Fleet:
    """The engine's models as of the last look, which is `poll_interval_s` old at most.

    memory_budget_bytes  0: what the engine has loaded is what there is; else models come and go within it
    """

    def __init__(
        self, engine: Engine, metrics: Metrics, poll_interval_s: float, *, memory_budget_bytes: int = 0
    ) -> None:
        self._engine = engine
        self._metrics = metrics
        self._poll_interval_s = poll_interval_s
        self.circuits = Circuits(metrics)
        self.inventory = Inventory(engine, metrics, memory_budget_bytes, self._refresh)
        self._selection = Selection(())
        self._resident_of: dict[Variants, Variants | None] = {}
        self._reachable = False
        self._was_ready = False
        self._watch: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Looks once, then goes on looking in the background; an engine that is away is not an error."""
        await self._engine.open()
        self.inventory.loads.start()
        await self._look()
        self._watch = asyncio.create_task(self._keep_looking(), name="fleet")

    async def close(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
        await self.inventory.loads.close()
        await self._engine.close()

    @property
    def ready(self) -> bool:
        """True if the engine answers and has a model, or has had one and may load one."""
        return self._reachable and bool(self._selection.cards) and self._was_ready

    @property
    def cards(self) -> tuple[ModelCard, ...]:
        """Every model, by name, in memory or not; as last seen if the engine is away."""
        return tuple(card for _, card in sorted(self.inventory.cards.items()) if self._is_shown(card))

    @property
    def loaded_cards(self) -> tuple[ModelCard, ...]:
        """The models that new work may go to."""
        return tuple(card for card in self._selection.cards if self.inventory.loaded(card.name))

    def state(self, name: str) -> State:
        return self.inventory.state(name)

    def circuit(self, card: ModelCard) -> Circuit:
        """Whether the router leaves it out for now, because it fails time after time."""
        return self.circuits.state(card, time.monotonic())

    def loaded(self, card: ModelCard) -> bool:
        """Whether new work may go to it now."""
        return self.inventory.loaded(card.name)

    def load_s(self, card: ModelCard) -> float:
        """Seconds until the model would be in memory, were it asked for now."""
        return self.inventory.loads.expected_s(card.name)

    def wish(self, card: ModelCard) -> None:
        """The router would have chosen it, were it in memory. What is wished for often enough is loaded."""
        self.inventory.wish(card.name)

    def fetch(self, name: str) -> None:
        """Loads the model, whoever has to go: a request that cannot wait so long was told to come again."""
        self.inventory.loads.want(name, "request")

    def worth_waiting_for(self, card: ModelCard) -> bool:
        """Whether a request that nobody pinned to it may load it: not if what is popular has to go."""
        return self.inventory.worth_loading(card.name)

    def require_ready(self) -> None:
        """Raises NotReady, or EngineUnavailable if the models are known but the engine is away."""
        if self.ready:
            return
        if self._was_ready and not self._reachable:
            raise EngineUnavailable("the inference server does not answer; the gateway keeps trying")
        raise NotReady(
            "no model is ready: the repository is empty, or the inference server does not answer yet",
        )

    def require_well(self) -> None:
        """As `require_ready`; raises NotReady as well while every model that is loaded fails whatever it is given."""
        self.require_ready()
        if self.loaded_cards and all(self.circuit(card) == "open" for card in self.loaded_cards):
            raise NotReady("every model fails, and is left alone for a while")

    def card(self, name: str) -> ModelCard:
        """The model of that exact name. Raises UnknownModel, ModelNotExported."""
        card = self.inventory.cards.get(name)
        if card is None or not self._is_shown(card):
            raise self._missing(name)
        return card

    def known(self, name: str) -> ModelCard:
        """As `card`, of any entry whose card is known: what an operator may load though it is not offered."""
        card = self.inventory.cards.get(name)
        if card is None:
            raise self._missing(name)
        return card

    def candidates(
        self, name: str | None, task: Task, kind: SegmentKind | None = None, *, exact: bool = False
    ) -> Variants:
        """What there is to choose from: `pinned` if the client named a model, else `routable`. Some may be cold.

        exact  a name means the model of exactly that name, if there is one: never another variant of it
        """
        if exact and name in self._selection.exact:
            self.require_ready()
            return self._selection.exact[name]
        return self.pinned(name, task, kind) if name else self.routable(task, kind)

    def routable(self, task: Task, kind: SegmentKind | None = None) -> Variants:
        """The trained models of a task and kind that share a label set, to choose from.

        Raises NotReady if there is one that cannot be used now, or may be, NoModel if there is none.
        """
        self.require_ready()
        variants = self._selection.groups.get((task, kind))
        if variants is None:
            wanted = f"{task} ({kind})" if kind else task
            alike = [card for card in self.inventory.cards.values() if (card.task, card.segment_kind) == (task, kind)]
            if any(card.weights.trained for card in alike) or not self.inventory.complete:
                raise NotReady(f"no model with trained weights is ready to {wanted}")
            # Nothing that the client does, or waits for, changes it.
            raise NoModel(
                f"no model with trained weights is there to {wanted}; GET /v1/models lists what there is",
                field="kind" if kind else None,
            )
        return variants

    def pinned(self, name: str, task: Task, kind: SegmentKind | None = None) -> Variants:
        """The model named, or the variants of it (precisions, sizes) if `name` is what they are variants of.

        Raises UnknownModel, ModelNotExported, ModelUnavailable, WrongTask, NotReady, EngineUnavailable.
        """
        self.require_ready()
        variants = self._selection.named.get(name)
        if variants is None:
            raise self._missing(name)
        if variants.cards[0].task != task:
            raise WrongTask(f"{name} is there to {variants.cards[0].task}, not to {task}", field="model")
        if kind is not None and variants.cards[0].segment_kind != kind:
            raise WrongTask(f"{name} gives {variants.cards[0].segment_kind} segments, not {kind}", field="kind")
        return variants

    def resident(self, variants: Variants) -> Variants | None:
        """Those of them that are in memory, themselves if all are; None if none is. A look-up."""
        if variants not in self._resident_of:
            cards = [card for card in variants.cards if self.inventory.loaded(card.name)]
            all_of_them = len(cards) == len(variants.cards)
            self._resident_of[variants] = variants if all_of_them else Variants(cards) if cards else None
        return self._resident_of[variants]

    def in_use(self, card: ModelCard, deadline_s: float) -> InUse:
        """Inside, the model is in memory and stays there: one that is cold is loaded and waited for.

        Raises ModelLoading at the deadline; ModelUnavailable, EngineUnavailable if it cannot be loaded.
        """
        return InUse(self, card, deadline_s)

    async def bring(self, card: ModelCard, deadline_s: float) -> None:
        """Returns when the model is in memory. Raises what `in_use` does."""
        inventory = self.inventory
        if inventory.loaded(card.name):
            return
        if not inventory.controlled or not inventory.usable(card.name):
            raise self._unavailable(card.name)
        await inventory.loads.bring(card.name, deadline_s)

    def engine_lost(self) -> None:
        """A request found the engine away: say so at once, not at the next look."""
        self._reachable = False
        self._refresh()

    def model_lost(self, name: str) -> None:
        """A request found the model gone from memory: another gateway, or an operator, unloaded it."""
        self.inventory.lost(name)

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(self._poll_interval_s)
            await self._look()

    async def _look(self) -> None:
        looked_s = time.monotonic()
        try:
            entries = await self._entries()
        except VisionError as err:
            if self._reachable:
                log.warning("the engine is away: %s", err.detail)
            self.engine_lost()
        except Exception:
            log.exception("looking at the engine failed. This is a bug.")
            self.engine_lost()
        else:
            self._reachable = True
            self.inventory.see(entries, looked_s)

    async def _entries(self) -> list[Entry]:
        """What the engine has. One that was there a moment ago is asked twice: slow once is not away."""
        try:
            return await self._engine.entries()
        except VisionError:
            if not self._reachable:
                raise
            return await self._engine.entries()

    def _refresh(self) -> None:
        """Something came, went or changed: what was derived from it is derived anew."""
        inventory = self.inventory
        self._resident_of.clear()
        usable = [card for name, card in sorted(inventory.cards.items()) if inventory.usable(name)]
        if list(self._selection.cards) != usable:
            self._selection = Selection(usable)
            self._metrics.model_info.clear()
            for card in usable:
                self._metrics.model_info.labels(
                    card.name, card.task, card.precision, card.backend, card.weights.source, card.onnx_sha256
                ).set(1.0)
            self.circuits.keep(usable)
        self._was_ready = self._was_ready or bool(self.loaded_cards)
        self._metrics.model_ready.clear()
        for name in inventory.cards:
            state = inventory.state(name)
            # With a budget it is no fault to be cold, and never one to have been unloaded by an operator.
            if state == "loaded" or state == "refused" or (state == "cold" and not inventory.controlled):
                self._metrics.model_ready.labels(name).set(state == "loaded" and self._reachable)

    def _is_shown(self, card: ModelCard) -> bool:
        """Without a budget the engine decides what there is; but what an operator unloaded here does not vanish."""
        return self.inventory.controlled or self.inventory.state(card.name) != "cold"

    def _missing(self, name: str) -> VisionError:
        if name in self.inventory.cards:
            return self._unavailable(name)
        if name in catalogue_names():
            return ModelNotExported(
                f"{name} is in the catalogue, but not in this repository; `vision-export {name}` adds it", field="model"
            )
        shown = name if len(name) <= 80 else name[:80] + "…"
        close = difflib.get_close_matches(shown, [*self.inventory.cards, *catalogue_names()], n=3)
        hint = f"; did you mean {' or '.join(close)}?" if close else "; GET /v1/models lists what there is"
        return UnknownModel(f"nobody knows a model named {shown!r}{hint}", field="model")

    def _unavailable(self, name: str) -> ModelUnavailable:
        because = {"withdrawn": "an operator has unloaded it", "refused": "it was refused, the log says why"}
        why = because.get(self.inventory.state(name), "it is not loaded")
        return ModelUnavailable(f"{name} is in the repository, but {why}", field="model")


class InUse:
    """What `Fleet.in_use` gives; a class, for a generator costs every request more than what it does."""

    def __init__(self, fleet: Fleet, card: ModelCard, deadline_s: float) -> None:
        self._fleet = fleet
        self._card = card
        self._deadline_s = deadline_s

    async def __aenter__(self) -> None:
        self._fleet.inventory.hold(self._card.name)
        try:
            await self._fleet.bring(self._card, self._deadline_s)
        except BaseException:
            self._fleet.inventory.let_go(self._card.name)
            raise

    async def __aexit__(self, *failure: object) -> None:
        self._fleet.inventory.let_go(self._card.name)


@cache
def catalogue_names() -> frozenset[str]:
    """Every name `vision-export` knows. The file is written by the export stage, and a test keeps them equal."""
    text = (resources.files("service") / "catalogue_names.txt").read_text(encoding="utf-8")
    return frozenset(text.split())

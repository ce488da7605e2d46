"""Every entry of the repository and the state it is in; which of them are brought into memory when nobody waits."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable
from typing import Literal

from service.engines.protocol import Engine, Entry
from service.errors import InvalidEntry
from service.graph_contract import contract_outputs
from service.label_sets import label_names
from service.loads import Loads
from service.manifest import ModelCard, SegmentKind, Task
from service.metrics import Metrics
from service.residency import DoesNotFit, Place, Popularity, Residency, estimated_bytes

log = logging.getLogger(__name__)

# loading and unloading take memory as well; withdrawn: an operator unloaded it; refused: it cannot be loaded
State = Literal["loaded", "loading", "unloading", "cold", "withdrawn", "refused"]

# Of an entry whose size nobody knows yet: this, or as much as the largest that is known; the whole budget at most.
_UNKNOWN_BYTES = 64 * 2**20
_HARDLY_WANTED = 0.1

_PLACES: dict[Place, State] = {Place.COMING: "loading", Place.RESIDENT: "loaded", Place.LEAVING: "unloading"}


class Inventory:
    """`budget_bytes` 0: whatever the engine has loaded is served, and only an operator loads or unloads.

    on_change  called after anything came, went, or changed its state
    """

    def __init__(self, engine: Engine, metrics: Metrics, budget_bytes: int, on_change: Callable[[], None]) -> None:
        self.controlled = budget_bytes > 0
        self.residency = Residency(budget_bytes)
        self.loads = Loads(engine, self.residency, metrics, self)
        self.cards: dict[str, ModelCard] = {}
        self._engine = engine
        self._metrics = metrics
        self._on_change = on_change
        self._popularity = Popularity()
        self._entries: dict[str, Entry] = {}
        self._withdrawn: set[str] = set()
        self._tried: dict[str, tuple[ModelCard | None, str]] = {}
        self._taken: dict[str, tuple[str, int]] = {}
        self._surveyed: set[str] = set()
        self._filled = False

    def see(self, entries: Iterable[Entry], looked_s: float) -> None:
        """Takes in what the engine said. What came or went after `looked_s` is known better here."""
        self._entries = {entry.name: entry for entry in entries}
        self.cards = {
            name: entry.card for name, entry in self._entries.items() if entry.card and self._servable(entry.card)
        }
        for name in self.residency.names - self._entries.keys():
            if self.residency.resident(name) and not self._is_newer(name, looked_s):
                self.residency.gone(name)
        # The most useful last: of what came by itself, they are then the last to be sent away again.
        useful = {name: rank for rank, name in enumerate(_most_useful_first(self.cards.values()))}
        for entry in sorted(self._entries.values(), key=lambda entry: -useful.get(entry.name, len(useful))):
            if not self._is_newer(entry.name, looked_s):
                self._settle(entry)
            if self.residency.place(entry.name) is None and not self._refusal(entry.name):
                self._refuse_if_too_large(entry.name)
        self.changed()

    @property
    def complete(self) -> bool:
        """Whether it is known of every entry what it is, or that it is refused."""
        return all(entry.card is not None or self._refusal(name) for name, entry in self._entries.items())

    def state(self, name: str) -> State:
        """The state of an entry that has a card."""
        place = self.residency.place(name)
        if name in self._withdrawn and place is not Place.LEAVING:
            return "withdrawn"
        if place is not None:
            return _PLACES[place]
        return "refused" if self._refusal(name) else "cold"

    def loaded(self, name: str) -> bool:
        """Whether new work may go to it."""
        return self.residency.resident(name) and name not in self._withdrawn

    def usable(self, name: str) -> bool:
        """Whether a request may mean it: it is loaded, or may be."""
        if name in self._withdrawn or name not in self.cards:
            return False
        return self.residency.resident(name) or (self.controlled and not self._refusal(name))

    def hold(self, name: str) -> None:
        self.residency.hold(name)
        self._popularity.wanted(name, time.monotonic())

    def let_go(self, name: str) -> None:
        self.residency.let_go(name)
        if self.loads.pending:
            self.loads.look_again()

    def lost(self, name: str) -> None:
        """It turned out not to be in memory any more."""
        if self.residency.resident(name):
            self.residency.gone(name)
            self.loads.changed_s[name] = time.monotonic()
            self.changed()

    def wish(self, name: str) -> None:
        """A request would have gone to it, were it loaded: it is, as soon as it is worth more than what makes room."""
        self._popularity.wanted(name, time.monotonic())
        if self.worth_loading(name):
            self.loads.want(name)

    def worth_loading(self, name: str) -> bool:
        """Whether there is room for it, or only what is wanted less than half as often has to go."""
        return self.usable(name) and self._room_for(name) is not None

    async def load(self, name: str) -> None:
        """The operator's: returns when the model is there. Raises what `Loads.bring` does."""
        self._withdrawn.discard(name)
        self._tried.pop(name, None)
        self.changed()
        if not self.residency.resident(name):
            await self.loads.want(name, "operator")

    async def unload(self, name: str) -> None:
        """The operator's: nothing new goes to it from now on; returns when it has left."""
        self._withdrawn.add(name)
        self.changed()
        await self.loads.unload(name)

    def needs_bytes(self, name: str) -> int:
        card = self._card(name)
        if card is None:
            largest = max([_UNKNOWN_BYTES, *(estimated_bytes(known) for known in self.cards.values())])
            return self.residency.at_most(largest)
        sha256, taken_bytes = self._taken.get(name, ("", 0))
        return taken_bytes if sha256 == card.onnx_sha256 else estimated_bytes(card)

    def file_bytes(self, name: str) -> int:
        card = self._card(name)
        return card.onnx_bytes if card else _UNKNOWN_BYTES

    def spared(self, name: str, victim: str) -> bool:
        now_s = time.monotonic()
        return 2 * self._popularity.at(victim, now_s) > max(_HARDLY_WANTED, self._popularity.at(name, now_s))

    async def learn(self, name: str) -> None:
        if self._card(name) is not None:
            return
        entry = next((entry for entry in await self._engine.entries() if entry.name == name), None)
        if entry is None or entry.card is None:
            await self._engine.unload_model(name)
            raise InvalidEntry(f"{name}: it carries no card, so it was not exported by vision-export", "config")
        self._entries[name] = entry
        if self._servable(entry.card):
            self.cards[name] = entry.card

    def took(self, name: str, measured_bytes: int | None) -> int:
        card = self._card(name)
        taken_bytes = self.needs_bytes(name) if card is None else estimated_bytes(card)
        if card is not None:
            # It counts only if it can be true: other work allocates and frees at the same time.
            if measured_bytes and taken_bytes / 2 <= measured_bytes <= 4 * taken_bytes:
                taken_bytes = measured_bytes
            self._taken[name] = (card.onnx_sha256, taken_bytes)
        return taken_bytes

    def refused(self, name: str, err: InvalidEntry) -> None:
        self._tried[name] = (self._card(name), err.reason)
        log.error("refused: %s", err.detail)

    def changed(self) -> None:
        self._tell_metrics()
        self._on_change()
        if self.controlled and not self.loads.pending:
            self._use_free_memory()
        self.loads.look_again()

    def _card(self, name: str) -> ModelCard | None:
        entry = self._entries.get(name)
        return entry.card if entry else None

    def _is_newer(self, name: str, looked_s: float) -> bool:
        return self.loads.changed_s.get(name, -math.inf) >= looked_s

    def _settle(self, entry: Entry) -> None:
        """What came or went without us: a server that restarted, another gateway, an operator."""
        place = self.residency.place(entry.name)
        if entry.loaded and place is None:
            self.residency.arrived(entry.name, self.needs_bytes(entry.name))
        elif entry.loaded and place is Place.RESIDENT:
            self.residency.resize(entry.name, self.needs_bytes(entry.name))
        elif not entry.loaded and place is Place.RESIDENT:
            self.residency.gone(entry.name)

    def _refuse_if_too_large(self, name: str) -> None:
        try:
            self.residency.victims(name, self.needs_bytes(name))
        except DoesNotFit as err:
            self.refused(name, InvalidEntry(str(err), "too-large"))

    def _refusal(self, name: str) -> str:
        """Why the entry cannot be served; empty if it can, for all that is known."""
        entry = self._entries.get(name)
        if entry is None or entry.loaded:
            return "" if name in self.cards or entry is None else "contract"
        card, reason = self._tried.get(name, (None, ""))
        if reason and card == entry.card:
            return reason
        return entry.refused or ("" if entry.card is None or name in self.cards else "contract")

    def _servable(self, card: ModelCard) -> bool:
        """Whether the model's classes have names, and its outputs are those of its task.

        One that cannot be served must not keep the others from being.
        """
        try:
            label_names(card)
            missing = [name for name in contract_outputs(card.task, card.segment_kind) if card.output(name) is None]
            if missing:
                raise InvalidEntry(f"{card.name}: to {card.task} it needs the outputs {', '.join(missing)}", "contract")
            found, classes = card.output("probabilities"), len(label_names(card))
            if card.task == "classify" and found is not None and found.dims not in ((classes,), (-1,)):
                raise InvalidEntry(f"{card.name}: {list(found.dims)} probabilities for {classes} classes", "contract")
        except InvalidEntry as err:
            if self._tried.get(card.name) != (card, "contract"):
                self._tried[card.name] = (card, "contract")
                log.error("refused: %s", err.detail)
            return False
        return True

    def _use_free_memory(self) -> None:
        """At the start, loads what fits without anybody's leaving: what is not known yet, then the most useful.

        Later what is free stays free, for what is asked for next.
        """
        if not self.residency.names:
            self._filled = False
        for name in (*self._unknown(), *(() if self._filled else _most_useful_first(self.cards.values()))):
            if self.residency.place(name) is None and name not in self._withdrawn and not self._refusal(name):
                leaving = self._room_for(name)
                if leaving == () or (leaving and name not in self.cards):
                    self._surveyed.add(name)
                    self.loads.want(name)
                    return
        self._filled = bool(self.cards)

    def _room_for(self, name: str) -> tuple[str, ...] | None:
        """Who would make room for it if nobody waited for it; None: not enough of them."""
        try:
            return self.residency.victims(name, self.needs_bytes(name), lambda victim: self.spared(name, victim))
        except DoesNotFit:
            return None

    def _unknown(self) -> list[str]:
        """Entries that no server has told of, as it does of what it has loaded: each is loaded once."""
        return sorted(n for n, e in self._entries.items() if e.card is None and n not in self._surveyed)

    def _tell_metrics(self) -> None:
        for family in (self._metrics.model_state, self._metrics.model_refused, self._metrics.model_memory):
            family.clear()
        for name, entry in self._entries.items():
            refusal = self._refusal(name)
            if refusal and self.residency.place(name) is None:
                self._metrics.model_refused.labels(name, refusal).set(1)
            elif entry.loaded and entry.refused:
                self._metrics.model_refused.labels(name, entry.refused).set(1)
            self._metrics.model_state.labels(name, self.state(name)).set(1)
            if self.residency.place(name) is not None:
                self._metrics.model_memory.labels(name).set(self.residency.bytes_of(name))


def _most_useful_first(cards: Iterable[ModelCard]) -> list[str]:
    """The fastest of each task, so that each is answered; then of each the most accurate, the next, and so on."""
    groups: dict[tuple[Task, SegmentKind | None], list[ModelCard]] = {}
    for card in cards:
        if card.weights.trained and card.accuracy is not None and card.profile is not None:
            groups.setdefault((card.task, card.segment_kind), []).append(card)
    fastest = [min(group, key=_run_ms).name for _, group in sorted(groups.items(), key=str)]
    ranked = [
        (rank, card.name)
        for group in groups.values()
        for rank, card in enumerate(sorted(group, key=lambda card: -(card.accuracy.value if card.accuracy else 0.0)))
    ]
    others = sorted(card.name for card in cards)
    return list(dict.fromkeys([*fastest, *(name for _, name in sorted(ranked)), *others]))


def _run_ms(card: ModelCard) -> float:
    return card.profile.alpha_ms + card.profile.beta_ms if card.profile else math.inf

"""Models come and go beside the requests: one load at a time, in a task of its own, those first that are waited for."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import math
import time
from dataclasses import dataclass, field
from typing import Literal, Protocol

from service.engines.protocol import Engine
from service.errors import EngineUnavailable, InvalidEntry, ModelLoading, ModelUnavailable, VisionError
from service.load_times import LoadTimes
from service.metrics import Metrics
from service.residency import DoesNotFit, Place, Residency

log = logging.getLogger(__name__)

_LOOK_S = 0.02
# After a failure: an engine that is away, or does not let go of a model, is asked again ever less often.
_AGAIN_AFTER_S = (0.1, 5.0)

Why = Literal["request", "background", "operator"]


class Owner(Protocol):
    """Who knows the models; told of every change."""

    def needs_bytes(self, name: str) -> int:
        """What the model will take in memory."""

    def file_bytes(self, name: str) -> int:
        """What has to be read to load it."""

    def spared(self, name: str, victim: str) -> bool:
        """Whether `victim` is too popular to make room for a load of `name` that nobody waits for."""

    def changed(self) -> None:
        """A model came, went, or began to."""

    async def learn(self, name: str) -> None:
        """The model is loaded: now the engine can say what it is. Raises InvalidEntry if it is not ours."""

    def took(self, name: str, measured_bytes: int | None) -> int:
        """The model is loaded; returns what it is taken to occupy from now on."""

    def refused(self, name: str, err: InvalidEntry) -> None:
        """The model cannot be loaded."""


@dataclass(eq=False)
class _Request:
    name: str
    why: Why
    done: asyncio.Future[None]
    sequence: int
    began_s: float | None = field(default=None)
    since_s: float = field(default=0.0)  # when room was first made for it

    def __lt__(self, other: _Request) -> bool:
        return (self.why == "background", self.sequence) < (other.why == "background", other.sequence)


class Loads:
    """`changed_s` says when each model last came or went: a look at the engine from before that is stale."""

    def __init__(self, engine: Engine, residency: Residency, metrics: Metrics, owner: Owner) -> None:
        self._engine = engine
        self._residency = residency
        self._metrics = metrics
        self._owner = owner
        self._times = LoadTimes()
        self._requests: dict[str, _Request] = {}
        self._sequence = itertools.count()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.changed_s: dict[str, float] = {}

    def start(self) -> None:
        self._task = asyncio.create_task(self._work(), name="loads")

    async def close(self) -> None:
        """Whoever waits for a model is told that none comes any more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        for request in list(self._requests.values()):
            self._end(request, EngineUnavailable("the service is shutting down"))

    @property
    def pending(self) -> bool:
        return bool(self._requests)

    def look_again(self) -> None:
        """Something was let go of, or came by itself: what had no room before may have it now."""
        self._wake.set()

    def expected_s(self, name: str) -> float:
        """Seconds until the model would be there, were it asked for now."""
        own_s = self._times.expected_s(name, self._owner.file_bytes(name))
        before_s = 0.0
        for request in self._requests.values():
            if request.name == name:
                if request.began_s is not None:
                    return max(_LOOK_S, _left_s(own_s, time.monotonic() - request.since_s))
            elif request.began_s is not None:
                other_s = self._times.expected_s(request.name, self._owner.file_bytes(request.name))
                before_s += _left_s(other_s, time.monotonic() - request.since_s)
            elif request.why != "background":
                before_s += self._times.expected_s(request.name, self._owner.file_bytes(request.name))
        return before_s + own_s

    def want(self, name: str, why: Why = "background") -> asyncio.Future[None]:
        """Loads the model as soon as there is room; in the background only by sending away what is less popular."""
        request = self._requests.get(name)
        if request is None:
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            done.add_done_callback(_look_at)
            request = self._requests[name] = _Request(name, why, done, next(self._sequence))
        elif request.why == "background":
            request.why = why
        self._wake.set()
        return request.done

    async def bring(self, name: str, deadline_s: float) -> None:
        """Returns when the model is there. The load goes on when the deadline ends the wait.

        Raises ModelLoading at the deadline; ModelUnavailable, EngineUnavailable if it cannot be loaded.
        """
        done = self.want(name, "request")
        try:
            async with asyncio.timeout(None if deadline_s == math.inf else deadline_s - time.monotonic()):
                await asyncio.shield(done)
        except TimeoutError:
            raise self.loading(name) from None

    def loading(self, name: str) -> ModelLoading:
        """The error of a request that does not wait any longer."""
        wait_s = self.expected_s(name)
        return ModelLoading(
            f"{name} is being loaded, which takes about {wait_s:.1f} s more", field="model", retry_after_s=wait_s
        )

    async def unload(self, name: str) -> None:
        """Returns when the model has left memory, after whatever uses it. Raises EngineUnavailable."""
        request = self._requests.get(name)
        if request is not None and request.began_s is None:
            self._end(request, ModelUnavailable(f"{name} was unloaded by an operator", field="model"))
        while self._residency.place(name) is Place.COMING:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_S)
        if self._residency.resident(name):
            self._residency.leave(name)
            self._change(name)
            while self._residency.in_use(name):  # noqa: ASYNC110
                await asyncio.sleep(_LOOK_S)
        try:
            await self._engine.unload_model(name)
        finally:
            self._residency.gone(name)
            self._change(name)

    async def _work(self) -> None:
        pause_s = 0.0
        while True:
            self._wake.clear()
            try:
                busy = await self._step()
                pause_s = 0.0
            except VisionError as err:
                log.warning("%s", err.detail)
                pause_s = _longer(pause_s)
            except Exception:
                log.exception("loading models failed. This is a bug.")
                pause_s = _longer(pause_s)
            if pause_s:  # what failed has changed something itself, and would wake this at once
                await asyncio.sleep(pause_s)
            elif not busy:
                await self._wake.wait()

    async def _step(self) -> bool:
        """One eviction or load; false if there is nothing to do that can be done now."""
        surplus = self._residency.surplus()
        if surplus:
            await self._evict(surplus[0])
            return True
        for request in sorted(self._requests.values()):
            victims = self._victims(request)
            if victims is None:
                continue
            request.since_s = time.monotonic()
            try:
                for victim in victims:
                    await self._evict(victim)
                await self._load(request)
            except VisionError as err:
                self._end(request, _as_seen_by_a_client(request.name, err))
            except Exception:
                self._end(request, ModelUnavailable(f"{request.name} cannot be loaded"))
                raise
            return True
        return False

    def _victims(self, request: _Request) -> tuple[str, ...] | None:
        """Who makes room for it; None: nobody can, now. What nobody waits for is then given up."""
        name, in_background = request.name, request.why == "background"
        if self._residency.resident(name):
            self._end(request, None)
            return None
        try:
            victims = self._residency.victims(
                name,
                self._owner.needs_bytes(name),
                (lambda victim: self._owner.spared(name, victim)) if in_background else lambda victim: False,
            )
        except DoesNotFit as err:
            self._owner.refused(name, InvalidEntry(str(err), "too-large"))
            self._change(name)
            self._end(request, ModelUnavailable(f"{name} does not fit into the memory budget", field="model"))
            return None
        if victims is None and in_background:
            self._end(request, ModelUnavailable(f"there is no room for {name}"))
        return victims

    async def _evict(self, name: str) -> None:
        self._residency.leave(name)
        self._change(name)
        try:
            await self._engine.unload_model(name)
        except VisionError:
            self._residency.stay(name)
            raise
        else:
            self._residency.gone(name)
            self._metrics.model_evictions.labels(name).inc()
            log.info("unloaded %s to make room", name)
        finally:
            self._change(name)

    async def _load(self, request: _Request) -> None:
        name, outcome = request.name, "failed"
        self._residency.reserve(name, self._owner.needs_bytes(name))
        request.began_s = time.monotonic()
        self._change(name)
        try:
            measured_bytes = await self._engine.load_model(name)
            await self._owner.learn(name)
            self._residency.arrived(name, self._owner.took(name, measured_bytes))
            arrived_s = time.monotonic()
            # Whoever waits, waits for those that make room as well: Triton takes seconds to unload.
            self._times.observe(name, self._owner.file_bytes(name), arrived_s - request.since_s)
            self._metrics.model_load_duration.labels(name).observe(arrived_s - request.began_s)
            outcome = "loaded"
            self._end(request, None)
        except InvalidEntry as err:
            self._owner.refused(name, err)
            raise
        finally:
            if outcome == "failed":
                self._residency.gone(name)
            self._metrics.model_loads.labels(name, request.why, outcome).inc()
            self._change(name)

    def _end(self, request: _Request, err: VisionError | None) -> None:
        if self._requests.get(request.name) is request:
            del self._requests[request.name]
        if request.done.done():
            return
        if err is None:
            request.done.set_result(None)
        else:
            request.done.set_exception(err)

    def _change(self, name: str) -> None:
        self.changed_s[name] = time.monotonic()
        self._owner.changed()


def _longer(pause_s: float) -> float:
    """The next pause after a failure, in seconds."""
    first_s, most_s = _AGAIN_AFTER_S
    return min(most_s, max(first_s, 2 * pause_s))


def _left_s(expected_s: float, spent_s: float) -> float:
    """Of a load that should take `expected_s`. One that is overdue is no nearer its end: as long again as so far."""
    return expected_s - spent_s if spent_s < expected_s else spent_s


def _as_seen_by_a_client(name: str, err: VisionError) -> VisionError:
    """Why an entry is bad is for the log: it may quote paths."""
    return ModelUnavailable(f"{name} cannot be loaded", field="model") if isinstance(err, InvalidEntry) else err


def _look_at(done: asyncio.Future[None]) -> None:
    """Nobody need wait for a load: its error is not to be reported as never retrieved."""
    if not done.cancelled():
        done.exception()

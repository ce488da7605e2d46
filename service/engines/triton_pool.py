"""Several Triton servers as one engine: the less loaded of two, without those that fail, retried where that is safe.

Inference changes nothing, so work that a server lost, or refused because it was full, is given to another one as long
as its deadline lasts. All servers are taken to be alike: a model is there if one of them has it, and loads go to all.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from service.engines.addresses import Addresses
from service.engines.breaker import Breaker
from service.engines.mirror import Mirror
from service.engines.protocol import Entry, Job, Load, Outputs
from service.engines.repository_folder import RepositoryFolder
from service.engines.triton import TritonEngine
from service.errors import EngineUnavailable, InvalidEntry, ModelUnavailable, Overloaded, UnknownModel, VisionError
from service.manifest import ModelCard
from service.metrics import Metrics

log = logging.getLogger(__name__)

RESOLVE_EVERY_S = 5.0


@dataclass
class Server:
    address: str
    engine: TritonEngine
    breaker: Breaker = field(default_factory=Breaker)


class TritonPool:
    """The servers of `urls` (service/engines/addresses.py), which names are resolved anew every few seconds.

    `load` knows the jobs that this gateway has on the way: a new one is expected to wait for the batches that they
    fill on the server that has fewest.

    expected_s  (card, rows) → seconds a run is expected to take
    folder      the repository that the servers have, where the gateway sees it as well: cards of models never loaded
    mirrored    what one server has loaded the others load too
    """

    name = "triton"

    def __init__(
        self,
        urls: str,
        expected_s: Callable[[ModelCard, int], float] = lambda card, rows: 0.0,
        metrics: Metrics | None = None,
        *,
        folder: Path | None = None,
        mirrored: bool = False,
    ) -> None:
        self._addresses = Addresses(urls)
        self._expected_s = expected_s
        self._metrics = metrics or Metrics()
        self._folder = RepositoryFolder(folder) if folder else None
        self._mirror = Mirror() if mirrored else None
        self._servers: dict[str, Server] = {}
        self._cards: dict[str, ModelCard] = {}
        self._names: set[str] = set()
        self._announced: Counter[str] = Counter()
        self._resolved_s = 0.0
        self._background: set[asyncio.Task[None]] = set()
        self._closed = True

    @property
    def addresses(self) -> tuple[str, ...]:
        """Of the servers that it has now."""
        return tuple(self._servers)

    async def open(self) -> None:
        self._closed = False
        await self._resolve()

    async def cards(self) -> list[ModelCard]:
        await self.entries()
        return list(self._cards.values())

    async def entries(self) -> list[Entry]:
        if self._closed:
            raise EngineUnavailable("the connection to the inference server is closed")
        if not self._addresses.literal and time.monotonic() - self._resolved_s > RESOLVE_EVERY_S:
            self._resolved_s = time.monotonic()
            self._run(self._resolve())
        servers = list(self._servers.values())
        looks = await asyncio.gather(*[self._look(server) for server in servers])
        seen = {server.address: entries for server, entries in zip(servers, looks, strict=True) if entries is not None}
        if not seen:
            raise EngineUnavailable("the inference server does not answer")
        merged = await self._with_cards_from_disk(_merged(list(seen.values())))
        self._names = {entry.name for entry in merged}
        self._cards = {entry.name: entry.card for entry in merged if entry.loaded and entry.card is not None}
        if self._mirror is not None:
            for address, name in self._mirror.missing(seen, time.monotonic()):
                self._run(self._copy(address, name))
        return merged

    async def load_model(self, name: str) -> int | None:
        await self._on_all(name, lambda engine: engine.load_model(name))
        return None

    async def unload_model(self, name: str) -> None:
        self._cards.pop(name, None)
        await self._on_all(name, lambda engine: engine.unload_model(name))

    async def infer(self, job: Job) -> Outputs:
        tried: set[str] = set()
        error: VisionError | None = None
        while (server := self._choose(job.model, tried)) is not None:
            tried.add(server.address)
            if error is not None:
                self._metrics.backend_retries.labels(server.address).inc()
            try:
                return await self._infer_on(server, job)
            except (EngineUnavailable, Overloaded) as err:
                error = err
        raise self._nobody(job.model, error)

    def load(self, deadline_s: float) -> Load:
        engines = [server.engine for server in self._servers.values() if not server.breaker.ejected]
        names = set(self._announced).union(*(engine.busy_models() for engine in engines))
        waits_s = {}
        for name in names:
            card = self._cards.get(name)
            rows = [engine.rows_of(name) for engine in engines if engine.serves(name)]
            if card is not None and rows:
                waits_s[name] = _batches_s(card, min(rows) + self._announced[name] // len(rows), self._expected_s)
        return Load(wait_s=0.0, wait_s_by_model={name: wait_s for name, wait_s in waits_s.items() if wait_s > 0})

    def expect(self, card: ModelCard, rows: int, deadline_s: float) -> Callable[[], None]:
        self._announced[card.name] += rows
        open_rows = [rows]

        def arrived() -> None:
            self._announced[card.name] -= open_rows[0]
            open_rows[0] = 0

        return arrived

    def providers(self) -> tuple[str, ...]:
        """`Triton`, then the backends of the models that were ready when last asked."""
        return ("Triton", *sorted({card.backend for card in self._cards.values()}))

    async def close(self) -> None:
        self._closed = True
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await asyncio.gather(*[server.engine.close() for server in self._servers.values()])

    def _choose(self, model: str, tried: set[str]) -> Server | None:
        """The less loaded of two drawn from those that have the model; one on trial only if there is no other."""
        if self._closed:
            return None
        now_s = time.monotonic()
        able = [s for s in self._servers.values() if s.address not in tried and s.breaker.allows(now_s)]
        # Where nobody is known to have it, a server is asked all the same: it knows better than our last look.
        able = [s for s in able if s.engine.serves(model)] or ([] if tried else able)
        trusted = [server for server in able if not server.breaker.ejected]
        on_trial = [server for server in able if server.breaker.ejected]
        if on_trial and (not trusted or not tried):
            return on_trial[0]  # a request that can still go elsewhere is what a trial is made with
        if len(trusted) < 2:
            return trusted[0] if trusted else None
        return min(random.sample(trusted, 2), key=lambda server: server.engine.in_flight)

    async def _infer_on(self, server: Server, job: Job) -> Outputs:
        outcome = "cancelled"
        server.breaker.began()
        self._metrics.backend_in_flight.labels(server.address).inc()
        try:
            outputs = await server.engine.infer(job)
        except VisionError as err:
            outcome = err.code
            if isinstance(err, ModelUnavailable):
                server.engine.model_lost(job.model)
            elif isinstance(err, EngineUnavailable):
                self._say_if_ejected(server, server.breaker.failed(time.monotonic()), err)
            raise self._known(job.model, err) from err
        else:
            outcome = "ok"
            if server.breaker.ejected:
                self._metrics.backend_up.labels(server.address).set(1)
            server.breaker.worked()
            return outputs
        finally:
            server.breaker.ended()
            self._metrics.backend_in_flight.labels(server.address).dec()
            self._metrics.backend_requests.labels(server.address, outcome).inc()

    def _known(self, model: str, err: VisionError) -> VisionError:
        """Of an entry that it never loaded, Triton says that it does not know it."""
        if isinstance(err, UnknownModel) and model in self._names:
            return ModelUnavailable(f"{model} is not loaded on the inference server")
        return err

    def _nobody(self, model: str, error: VisionError | None) -> VisionError:
        alive = any(not server.breaker.ejected for server in self._servers.values())
        if self._closed or not alive or len(self._servers) == 1 or isinstance(error, Overloaded):
            return error or EngineUnavailable("the inference server does not answer")
        return ModelUnavailable(f"no inference server that answers has {model} loaded")

    async def _look(self, server: Server) -> list[Entry] | None:
        """None if it does not answer."""
        entries, error = None, None
        try:
            entries = await server.engine.entries()
        except VisionError as err:
            error = err
        ejected = server.breaker.looked(time.monotonic(), well=entries is not None)
        self._say_if_ejected(server, ejected, error)
        self._metrics.backend_up.labels(server.address).set(entries is not None and not server.breaker.ejected)
        return entries

    def _say_if_ejected(self, server: Server, ejected: bool, err: VisionError | None) -> None:
        if ejected:
            self._metrics.backend_ejections.labels(server.address).inc()
            self._metrics.backend_up.labels(server.address).set(0)
            log.warning("%s gets no work for now: %s", server.address, err.detail if err else "")

    async def _on_all(self, name: str, what: Callable[[TritonEngine], Awaitable[object]]) -> None:
        """Asks every server; good enough if one did it: the others follow when they are back. Else raises why not."""
        results = await asyncio.gather(
            *[what(server.engine) for server in self._servers.values()], return_exceptions=True
        )
        errors = [result for result in results if isinstance(result, BaseException)]
        for err in errors:
            if not isinstance(err, VisionError):
                raise err
        if errors and len(errors) == len(results):
            # That an entry is bad says more than that another server is away.
            raise next((err for err in errors if isinstance(err, InvalidEntry)), errors[0])
        if not results:
            raise EngineUnavailable(f"no inference server to load {name} on")

    async def _copy(self, address: str, name: str) -> None:
        server = self._servers.get(address)
        if server is not None:
            log.info("loading %s on %s, as others have it", name, address)
            await server.engine.load_model(name)

    async def _with_cards_from_disk(self, entries: list[Entry]) -> list[Entry]:
        """The entries, with the card of what no server ever loaded where the gateway can read it itself."""
        if self._folder is None or all(entry.card is not None for entry in entries):
            return entries
        on_disk = await asyncio.to_thread(self._folder.scan)
        unknown = {entry.name for entry in entries if entry.card is None} & on_disk.keys()
        return [
            Entry(
                entry.name, on_disk[entry.name].card, loaded=False, refused=entry.refused or on_disk[entry.name].refused
            )
            if entry.name in unknown
            else entry
            for entry in entries
        ]

    async def _resolve(self) -> None:
        """Takes in addresses that are new, and lets go of those that went; what runs there is waited for."""
        self._resolved_s = time.monotonic()
        try:
            wanted = await self._addresses.resolve()
        except EngineUnavailable as err:
            log.warning("%s", err.detail)
            return
        for address in wanted:
            if address not in self._servers:
                engine = TritonEngine(address)
                await engine.open()
                self._servers[address] = Server(address, engine)
        for address in self._servers.keys() - set(wanted):
            log.info("%s is no address of the inference server any more", address)
            self._run(self._retire(self._servers.pop(address)))

    async def _retire(self, server: Server) -> None:
        while server.engine.in_flight:  # noqa: ASYNC110  ends by itself: everything on the way has a deadline
            await asyncio.sleep(0.05)
        await server.engine.close()
        for family in (self._metrics.backend_up, self._metrics.backend_in_flight):
            family.remove(server.address)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        async def logged() -> None:
            try:
                await work
            except VisionError as err:
                log.warning("%s", err.detail)

        task = asyncio.create_task(logged())
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _batches_s(card: ModelCard, rows: int, expected_s: Callable[[ModelCard, int], float]) -> float:
    """Seconds that a new job waits for `rows` of its model: full batches and a rest, all but what it can join."""
    if rows <= 0:
        return 0.0
    batch = max(1, card.max_batch_size)
    return rows // batch * expected_s(card, batch) + expected_s(card, rows % batch) / 2


def _merged(by_server: list[list[Entry]]) -> list[Entry]:
    """What there is on any of them: loaded if it is so anywhere, refused only if no server has taken it."""
    merged: dict[str, Entry] = {}
    for entry in (entry for entries in by_server for entry in entries):
        other = merged.get(entry.name)
        if other is None or _says_more(entry, other):
            merged[entry.name] = entry
    return [merged[name] for name in sorted(merged)]


def _says_more(entry: Entry, other: Entry) -> bool:
    return (entry.loaded, not entry.refused, entry.card is not None) > (
        other.loaded,
        not other.refused,
        other.card is not None,
    )

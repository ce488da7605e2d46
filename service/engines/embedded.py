"""ONNX Runtime in this process: the laptop's, the test's and the small host's engine."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from service.engines.freed_memory import hand_back
from service.engines.idle_cores import IdleCores, Sessions
from service.engines.protocol import Before, Entry, Item, Job, Load, Outputs, Result
from service.engines.providers import usable_providers
from service.engines.repository_folder import OnDisk, RepositoryFolder, Signature, signature_of
from service.entry_files import onnx_path
from service.errors import (
    DeadlineExceeded,
    EngineFailed,
    EngineUnavailable,
    InvalidEntry,
    ModelUnavailable,
    UnknownModel,
)
from service.graph_contract import check_outputs
from service.integrity import check_files
from service.manifest import ModelCard
from service.thread_priority import step_back
from service.work_queue import Done, Lane, Next
from service.workers import Workers

log = logging.getLogger(__name__)

Arrays = dict[str, NDArray[np.generic]]

# Of the thread that loads: it gets what the workers leave, where the system knows priorities of threads (Linux).
_LOADER_STEPS_BACK = 10
_LOOKS_FOR_THE_MISSING = 25
_LOOK_AGAIN_S = 0.02
# What did not fit into memory may fit when somebody else has gone.
_MEMORY_AGAIN_AFTER_S = 10.0


@dataclass(frozen=True, slots=True)
class _Ran:
    arrays: Arrays
    saved_ms: float = 0.0


@dataclass(frozen=True)
class _Loaded:
    """A model in memory; `running` has an item for each run that goes on just now."""

    card: ModelCard
    signature: Signature
    lane: Lane[Job, _Ran]
    running: list[None]


class EmbeddedEngine:
    """Serves the entries of a repository folder; `cards` and `entries` notice those that came, changed or went.

    expected_s(card, rows) → seconds a run is expected to take; it decides what can no longer finish.
    load_all  every valid entry is loaded as it is noticed; else those that `load_model` names
    """

    name = "embedded"

    def __init__(
        self,
        repository: Path,
        workers: Workers,
        expected_s: Callable[[ModelCard, int], float] = lambda card, rows: 0.0,
        *,
        idle_cores: bool = False,
        load_all: bool = True,
    ) -> None:
        self._folder = RepositoryFolder(repository)
        self._workers = workers
        self._expected_s = expected_s
        self._load_all = load_all
        self._providers = usable_providers()
        on_cpu = self._providers == ("CPUExecutionProvider",)
        wide = idle_cores and on_cpu and workers.count > 1
        self._wide_sessions = Sessions(workers.count, list(self._providers)) if wide else None
        self._found: dict[str, OnDisk] = {}
        self._loaded: dict[str, _Loaded] = {}
        self._replaced: dict[str, _Loaded] = {}  # until the next look: who asks may know only the card of the old one
        self._refused: dict[str, tuple[Signature, InvalidEntry]] = {}
        self._try_again_s: dict[str, float] = {}
        self._held_out: set[str] = set()
        self._loading = asyncio.Lock()
        self._loader = ThreadPoolExecutor(1, "model-loader", initializer=lambda: step_back(_LOADER_STEPS_BACK))
        self._closed = False

    async def open(self) -> None:
        await self.cards()
        if not self._found:
            folder = self._folder.folder
            what = "holds no entry" if folder.is_dir() else "does not exist"
            log.warning("%s %s; `vision-export --default --repository %s` fills it", folder, what, folder)

    async def cards(self) -> list[ModelCard]:
        await self._scan()
        return [loaded.card for loaded in self._loaded.values()]

    async def entries(self) -> list[Entry]:
        await self._scan()
        return [self._entry(name, on_disk) for name, on_disk in self._found.items()]

    async def load_model(self, name: str) -> int | None:
        async with self._loading:
            on_disk = self._found.get(name)
            if on_disk is None:
                raise UnknownModel(f"{name!r} is not in the repository", field="model")
            self._held_out.discard(name)
            if name in self._loaded and self._loaded[name].signature == on_disk.signature:
                return None
            return await self._load(name, on_disk)

    async def unload_model(self, name: str) -> None:
        async with self._loading:
            self._held_out.add(name)
            last = [models.pop(name) for models in (self._loaded, self._replaced) if name in models]
            self._drop_wide(name)
            while any(leaving.running for leaving in last):  # noqa: ASYNC110  runs end by themselves, on another thread
                await asyncio.sleep(0.002)
            await self._free(last)

    async def infer(self, job: Job) -> Outputs:
        loaded = self._loaded_for(job, len(job.pixels))
        work = self._workers.run(
            loaded.lane,
            job,
            rows=len(job.pixels),
            cost_s=self._expected_s(loaded.card, len(job.pixels)),
            deadline_s=job.deadline_s,
            keep_late=job.keep_late,
        )
        return _outputs(await self._in_time(work, job))

    async def infer_after(self, before: Before[Item, Result], job: Job) -> tuple[Done[Result], Outputs]:
        loaded = self._loaded_for(job, 1)

        def then(result: Result) -> Next[Job]:
            before.arrived()
            whole = replace(job, pixels=before.pixels_of(result))
            return Next(loaded.lane, whole, 1, self._expected_s(loaded.card, 1))

        work = self._workers.run(
            before.lane,
            before.item,
            cost_s=before.cost_s,
            deadline_s=job.deadline_s,
            keep_late=job.keep_late,
            then=then,
        )
        done = await self._in_time(work, job)
        if done.before is None:
            raise AssertionError("a job that followed on nothing. This is a bug.")
        return done.before, _outputs(done)

    def _loaded_for(self, job: Job, rows: int) -> _Loaded:
        both = (self._loaded.get(job.model), self._replaced.get(job.model))
        loaded = next((one for one in both if one and job.onnx_sha256 in ("", one.card.onnx_sha256)), None)
        if loaded is None:
            if job.model in self._found:
                raise ModelUnavailable(f"{job.model} is not loaded")
            raise UnknownModel(f"no model {job.model!r} is loaded", field="model")
        if rows > max(1, loaded.card.max_batch_size):
            raise ValueError(f"{rows} rows for {job.model}, which takes {loaded.card.max_batch_size}")
        return loaded

    async def _in_time(self, work: Awaitable[Done[_Ran]], job: Job) -> Done[_Ran]:
        try:
            async with asyncio.timeout(job.remaining_s()):
                return await work
        except TimeoutError:
            raise DeadlineExceeded(f"{job.model} did not finish in time") from None

    def load(self, deadline_s: float) -> Load:
        backlog = self._workers.backlog(deadline_s)
        return Load(backlog.wait_s, backlog.room_s)

    def expect(self, card: ModelCard, rows: int, deadline_s: float) -> Callable[[], None]:
        return self._workers.announce(self._expected_s(card, rows), deadline_s)

    def providers(self) -> tuple[str, ...]:
        return self._providers

    async def close(self) -> None:
        self._closed = True
        await self._workers.close()
        if self._wide_sessions is not None:
            await asyncio.to_thread(self._wide_sessions.close)
        await asyncio.to_thread(self._loader.shutdown, cancel_futures=True)
        self._loaded.clear()
        self._replaced.clear()

    async def _scan(self) -> None:
        """Looks at the folder. What went is dropped, what changed is loaded anew; if `load_all`, what came as well."""
        async with self._loading:
            self._found = await asyncio.to_thread(self._folder.scan)
            for _ in range(_LOOKS_FOR_THE_MISSING):
                if self._loaded.keys() <= self._found.keys():
                    break
                # Replaced by two renames, an entry is away for a moment; nobody shall be told that it is gone.
                await asyncio.sleep(_LOOK_AGAIN_S)
                self._found = await asyncio.to_thread(self._folder.scan)
            gone = self._loaded.keys() - self._found.keys()
            for name in gone:
                self._drop_wide(name)
            last = [self._loaded.pop(name) for name in gone]
            last += [self._replaced.pop(name) for name in list(self._replaced)]
            await self._free(last)
            for name, on_disk in self._found.items():
                if self._wants_loading(name, on_disk):
                    with contextlib.suppress(InvalidEntry):  # it was logged; the others serve
                        await self._load(name, on_disk)

    def _wants_loading(self, name: str, on_disk: OnDisk) -> bool:
        if on_disk.card is None or self._refusal(name, on_disk) is not None:
            return False
        current = self._loaded.get(name)
        if current is None:
            return self._load_all and name not in self._held_out
        return current.signature != on_disk.signature

    def _refusal(self, name: str, on_disk: OnDisk) -> InvalidEntry | None:
        """Why these very files cannot be loaded, if that was tried."""
        signature, err = self._refused.get(name, (None, None))
        if err is not None and err.reason == "memory" and time.monotonic() >= self._try_again_s.get(name, math.inf):
            return None
        return err if signature == on_disk.signature else None

    def _entry(self, name: str, on_disk: OnDisk) -> Entry:
        refusal = self._refusal(name, on_disk)
        refused = refusal.reason if refusal else on_disk.refused
        loaded = self._loaded.get(name)
        if loaded is not None:  # if what lies there now is refused, what it replaces goes on
            return Entry(name, loaded.card, loaded=True, refused=refused)
        return Entry(name, on_disk.card, loaded=False, refused=refused)

    async def _load(self, name: str, on_disk: OnDisk) -> int:
        """Loads one entry beside whatever runs; a bad one is refused with one log line, and what it replaces stays."""
        started_s, before = time.monotonic(), _resident_bytes()
        try:
            if on_disk.card is None:
                raise InvalidEntry(f"{name}: {on_disk.refused}", on_disk.refused)
            entry = self._folder.folder / name
            session = await self._in_loader(self._open_entry, entry, on_disk.card, on_disk.signature)
        except InvalidEntry as err:
            self._refused[name] = (on_disk.signature, err)
            self._try_again_s[name] = time.monotonic() + _MEMORY_AGAIN_AFTER_S
            log.error("refused: %s", err.detail)
            raise
        except OSError as err:  # it went while it was read: refused this once, the next look sees what is there then
            raise InvalidEntry(f"{name}: it could not be read: {err}", "incomplete") from err
        self._refused.pop(name, None)
        self._drop_wide(name)
        running: list[None] = []
        lane = self._lane(on_disk.card, session, running)
        if name in self._loaded:
            self._replaced[name] = self._loaded[name]
        self._loaded[name] = _Loaded(on_disk.card, on_disk.signature, lane, running)
        log.info("loaded %s in %.0f ms", name, (time.monotonic() - started_s) * 1e3)
        return max(0, _resident_bytes() - before)

    async def _free(self, last: list[_Loaded]) -> None:
        """Drops what are the last references on the thread that loads: freeing a session takes milliseconds."""

        def free() -> None:
            last.clear()
            hand_back()

        if last and not self._closed:
            await self._in_loader(free)

    async def _in_loader(self, what: Callable[..., Any], *arguments: Any) -> Any:
        """The result of the call on the one thread that loads and frees. Raises EngineUnavailable when closed."""
        if self._closed:
            raise EngineUnavailable("the service is shutting down")
        return await asyncio.get_running_loop().run_in_executor(self._loader, what, *arguments)

    def _open_entry(self, entry: Path, card: ModelCard, signature: Signature) -> ort.InferenceSession:
        check_files(entry, card)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1  # the worker threads are the parallelism
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            session = ort.InferenceSession(onnx_path(entry), options, providers=list(self._providers))
            _check_and_warm(card, session)
        except Exception as err:  # ONNX Runtime's exceptions share no base class
            if _is_lack_of_memory(err):
                raise InvalidEntry(f"{entry.name}: there is not enough memory to load it: {err}", "memory") from err
            raise InvalidEntry(f"{entry.name}: ONNX Runtime refuses it: {err}", "graph") from err
        if signature_of(entry) != signature:  # what was opened need not be what was checked
            raise OSError(f"{entry.name} was replaced while it was read")
        hand_back()  # what optimising the graph took
        return session

    def _drop_wide(self, name: str) -> None:
        if self._wide_sessions is not None:
            self._wide_sessions.drop(name)

    def _idle_cores(self, card: ModelCard) -> IdleCores | None:
        if self._wide_sessions is None:
            return None
        path = onnx_path(self._folder.folder / card.name)
        graph = (card.name, card.onnx_sha256)

        def check(wide: Any) -> None:
            # The file may have become another one since this model was loaded from it.
            check_files(self._folder.folder / card.name, card)
            _check_and_warm(card, wide)

        return IdleCores(self._wide_sessions, graph, path, check)

    def _lane(self, card: ModelCard, session: ort.InferenceSession, running: list[None]) -> Lane[Job, _Ran]:
        idle = self._idle_cores(card)

        def run(jobs: list[Job]) -> list[_Ran]:
            running.append(None)  # one step for the interpreter, as is `pop`: no lock
            try:
                if idle is not None and len(jobs) == 1 and self._workers.alone:
                    return [_run_alone(card, session, idle, jobs[0])]
                return [_Ran(arrays) for arrays in _run_session(card, session, jobs)]
            except Exception as err:
                if len(jobs) == 1:  # of several each is tried again by itself
                    log.exception("%s failed", card.name)
                raise EngineFailed(f"{card.name} failed while running") from err
            finally:
                running.pop()

        def expected_s(rows: int) -> float:
            return self._expected_s(card, rows)

        return Lane(card.name, run, max_rows=max(1, card.max_batch_size), expected_s=expected_s)


def _resident_bytes() -> int:
    """What the process takes of memory now (Linux); 0 where that cannot be read."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _check_and_warm(card: ModelCard, session: ort.InferenceSession) -> None:
    """Runs one grey picture, so that the first request does not pay for it, and compares the outputs with the card."""
    grey = np.full((1, *card.resize.size_hw, 3), 114, np.uint8)
    names = {output.name for output in session.get_outputs()}
    missing = {spec.name for spec in card.outputs} - names
    if missing:
        raise ValueError(f"the graph has no output {', '.join(sorted(missing))}")
    wanted = [spec.name for spec in card.outputs]
    check_outputs(card, dict(zip(wanted, session.run(wanted, {card.input_name: grey}), strict=True)), 1)


def _is_lack_of_memory(err: Exception) -> bool:
    """Of ONNX Runtime's exceptions only the sentence says so."""
    said = str(err).lower()
    return isinstance(err, MemoryError) or "bad_alloc" in said or "failed to allocate memory" in said


def _run_alone(card: ModelCard, session: Any, idle: IdleCores, job: Job) -> _Ran:
    wide = idle.session()
    started_s = time.monotonic()
    (arrays,) = _run_session(card, wide or session, [job])
    return _Ran(arrays, idle.took((time.monotonic() - started_s) * 1e3, wide=wide is not None))


def _outputs(done: Done[_Ran]) -> Outputs:
    ran = done.result
    return Outputs(ran.arrays, done.queue_s * 1e3, done.run_s * 1e3, done.batch_rows, saved_ms=ran.saved_ms)


def _run_session(card: ModelCard, session: Any, jobs: list[Job]) -> list[Arrays]:
    wanted = list(dict.fromkeys(name for job in jobs for name in job.outputs))
    pixels = jobs[0].pixels if len(jobs) == 1 else np.concatenate([job.pixels for job in jobs])  # (N, H, W, 3)
    arrays = dict(zip(wanted, session.run(wanted, {card.input_name: pixels}), strict=True))
    check_outputs(card, arrays, len(pixels))
    results, row = [], 0
    for job in jobs:
        end = row + len(job.pixels)
        results.append({name: arrays[name][row:end] for name in job.outputs})
        row = end
    return results

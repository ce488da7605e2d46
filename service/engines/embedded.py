"""ONNX Runtime in this process: the laptop's, the test's and the small host's engine."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from service.engines.protocol import Job, Load, Outputs
from service.errors import DeadlineExceeded, EngineFailed, InvalidEntry, UnknownModel, VisionError
from service.graph_contract import check_outputs
from service.manifest import CONFIG_FILE, ModelCard, file_sha256, onnx_path, read_entry
from service.workers import Lane, Workers

log = logging.getLogger(__name__)

Arrays = dict[str, NDArray[np.generic]]
# mtime and size of the config and of the ONNX file: enough to see that an entry was exported anew.
Signature = tuple[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class _Loaded:
    card: ModelCard
    signature: Signature
    lane: Lane[Job, Arrays]


class EmbeddedEngine:
    """Serves every valid entry of a repository folder; `cards` notices entries that came, changed or went.

    expected_s(card, rows) → seconds a run is expected to take; it decides what can no longer finish.
    """

    name = "embedded"

    def __init__(
        self,
        repository: Path,
        workers: Workers,
        expected_s: Callable[[ModelCard, int], float] = lambda card, rows: 0.0,
    ) -> None:
        self._repository = repository
        self._workers = workers
        self._expected_s = expected_s
        self._providers = _usable_providers()
        self._loaded: dict[str, _Loaded] = {}
        self._refused: dict[str, Signature] = {}
        self._scan = asyncio.Lock()

    async def open(self) -> None:
        await self.cards()

    async def cards(self) -> list[ModelCard]:
        async with self._scan:
            found = await asyncio.to_thread(_signatures, self._repository)
            for name in self._loaded.keys() - found.keys():
                del self._loaded[name]
            for name, signature in found.items():
                current = self._loaded.get(name)
                if (current is None or current.signature != signature) and self._refused.get(name) != signature:
                    await self._load(name, signature)
        return [loaded.card for loaded in self._loaded.values()]

    async def infer(self, job: Job) -> Outputs:
        loaded = self._loaded.get(job.model)
        if loaded is None:
            raise UnknownModel(f"no model {job.model!r} is loaded", field="model")
        if len(job.pixels) > max(1, loaded.card.max_batch_size):
            raise ValueError(f"{len(job.pixels)} rows for {job.model}, which takes {loaded.card.max_batch_size}")
        try:
            async with asyncio.timeout(job.remaining_s()):
                done = await self._workers.run(
                    loaded.lane,
                    job,
                    rows=len(job.pixels),
                    cost_s=self._expected_s(loaded.card, len(job.pixels)),
                    deadline_s=job.deadline_s,
                    keep_late=job.keep_late,
                )
        except TimeoutError:
            raise DeadlineExceeded(f"{job.model} did not finish in time") from None
        except VisionError:
            raise
        except Exception as err:
            log.exception("%s failed", job.model)
            raise EngineFailed(f"{job.model} failed while running") from err
        return Outputs(done.result, done.queue_s * 1e3, done.run_s * 1e3, done.batch_rows)

    def load(self, deadline_s: float) -> Load:
        backlog = self._workers.backlog(deadline_s)
        return Load(backlog.wait_s, backlog.room_s)

    def expect(self, card: ModelCard, rows: int, deadline_s: float) -> Callable[[], None]:
        return self._workers.announce(self._expected_s(card, rows), deadline_s)

    def providers(self) -> tuple[str, ...]:
        return self._providers

    async def close(self) -> None:
        await self._workers.close()
        self._loaded.clear()

    async def _load(self, name: str, signature: Signature) -> None:
        """Loads one entry beside whatever runs; a bad one is refused with one log line, and what it replaces stays."""
        started_s = time.monotonic()
        try:
            card, session = await asyncio.to_thread(self._open_entry, self._repository / name)
        except InvalidEntry as err:
            self._refused[name] = signature
            log.error("refused: %s", err.detail)
            return
        except OSError as err:  # it went while it was read: the next look sees what is there then
            log.warning("%s could not be read, it is looked at again: %s", name, err)
            return
        self._refused.pop(name, None)
        self._loaded[name] = _Loaded(card, signature, self._lane(card, session))
        log.info("loaded %s in %.0f ms", name, (time.monotonic() - started_s) * 1e3)

    def _open_entry(self, entry: Path) -> tuple[ModelCard, ort.InferenceSession]:
        card = read_entry(entry)
        path = onnx_path(entry)
        digest = file_sha256(path)
        if digest != card.onnx_sha256:
            raise InvalidEntry(f"{entry.name}: model.onnx has sha256 {digest}, its card says {card.onnx_sha256}")
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1  # the worker threads are the parallelism
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            session = ort.InferenceSession(path, options, providers=list(self._providers))
            _check_and_warm(card, session)
        except Exception as err:  # ONNX Runtime's exceptions share no base class
            raise InvalidEntry(f"{entry.name}: ONNX Runtime refuses it: {err}") from err
        return card, session

    def _lane(self, card: ModelCard, session: ort.InferenceSession) -> Lane[Job, Arrays]:
        def run(jobs: list[Job]) -> list[Arrays]:
            return _run_session(card, session, jobs)

        def expected_s(rows: int) -> float:
            return self._expected_s(card, rows)

        return Lane(card.name, run, max_rows=max(1, card.max_batch_size), expected_s=expected_s)


def _signatures(repository: Path) -> dict[str, Signature]:
    """Entry name → signature, for the complete entries of the folder; hidden and staging folders are not entries."""
    found: dict[str, Signature] = {}
    if not repository.is_dir():
        return found
    for entry in sorted(repository.iterdir()):
        if entry.name.startswith(".") or not entry.is_dir():
            continue
        try:
            config, onnx = (entry / CONFIG_FILE).stat(), onnx_path(entry).stat()
        except OSError:
            continue
        found[entry.name] = ((config.st_mtime_ns, config.st_size), (onnx.st_mtime_ns, onnx.st_size))
    return found


def _check_and_warm(card: ModelCard, session: ort.InferenceSession) -> None:
    """Runs one grey picture, so that the first request does not pay for it, and compares names with the card."""
    grey = np.full((1, *card.resize.size_hw, 3), 114, np.uint8)
    names = {output.name for output in session.get_outputs()}
    missing = {spec.name for spec in card.outputs} - names
    if missing:
        raise ValueError(f"the graph has no output {', '.join(sorted(missing))}")
    session.run(None, {card.input_name: grey})


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


def _usable_providers() -> tuple[str, ...]:
    """ONNX Runtime's providers that can really work here, best first.

    The GPU build lists CUDA and TensorRT on machines that have neither, so the driver is asked, not the build.
    """
    available = ort.get_available_providers()
    wanted = ["CPUExecutionProvider"]
    if _cuda_devices() > 0:
        wanted = ["TensorrtExecutionProvider", "CUDAExecutionProvider", *wanted]
    return tuple(name for name in wanted if name in available)


def _cuda_devices() -> int:
    for library in ("libcuda.so.1", "nvcuda.dll"):
        try:
            cuda = ctypes.CDLL(library)
        except OSError:
            continue
        count = ctypes.c_int(0)
        if cuda.cuInit(0) == 0 and cuda.cuDeviceGetCount(ctypes.byref(count)) == 0:
            return count.value
    return 0

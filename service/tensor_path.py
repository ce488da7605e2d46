"""One request of tensors, the whole straight line: permit → unpack and read → admission → infer → write and pack.

The same permits, deadlines, queue and predictor as pictures have; only, nothing is chosen and nothing decoded.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from service.ask import Ask
from service.clients import Client, task_of
from service.compression import Coding, pack, unpack
from service.decision import Decision, demand_of, refusal_error
from service.engines.protocol import Engine, Job, Outputs
from service.errors import DeadlineExceeded, EngineUnavailable, InvalidParameter, ModelUnavailable
from service.manifest import ModelCard
from service.pipeline import Pipeline
from service.routing import Refusal, admit_pinned
from service.tensors import TensorRequest, read_request, write_answer
from service.variants import Variants
from service.work_queue import Lane
from service.workers import Workers

# Less than this is read or written where the request is, on the event loop: a millisecond at most.
_SMALL_BYTES = 16 * 1024
# Bytes are only copied, numbers are written digit by digit.
_SMALL_BINARY_BYTES = 512 * 1024
# First guess for the queue; a byte of JSON, or of what is packed.
_S_PER_BYTE = 10e-9

T = TypeVar("T")
Work = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Packet:
    """A body with what its headers say of it: how much of it is JSON (None: all), and what it is packed with."""

    body: bytes | bytearray
    header_bytes: int | None = None
    coding: Coding | None = None
    answer_coding: Coding | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """json_bytes  how much of the unpacked body is JSON; None: all of it"""

    body: bytes
    json_bytes: int | None
    ask: Ask
    rows: int
    timing_ms: dict[str, float]


def _run_all(items: list[Work]) -> list[Any]:
    return [work() for work in items]


class TensorPath:
    """Answers for one gateway; `max_bytes` is how large a body may become when it is unpacked."""

    def __init__(
        self, engine: Engine, pipeline: Pipeline, workers: Workers, *, max_bytes: int, max_budget_ms: float
    ) -> None:
        self._engine = engine
        self._pipeline = pipeline
        self._workers = workers
        self._max_bytes = max_bytes
        self._max_budget_ms = max_budget_ms
        self._lane: Lane[Work, Any] = Lane("tensors", _run_all)
        self._alone: dict[str, Variants] = {}

    def ask(self, card: ModelCard, received_s: float, client: Client) -> Ask:
        """What is asked of the model as long as the body is not read: it may take as long as the client may ask for.

        Raises Forbidden if the client may ask for none of the outputs.
        """
        tasks = [task_of(card.task, output.name) for output in card.outputs]
        client.require_task(next((task for task in tasks if client.may(task)), card.task))
        return Ask(
            task=card.task,
            outputs=(),
            tier="none",
            budget_ms=min(self._max_budget_ms, client.max_budget_ms or math.inf),
            received_s=received_s,
            model=card.name,
            kind=card.segment_kind,
            client=client.name,
        )

    async def serve(self, card: ModelCard, packet: Packet, ask: Ask, client: Client) -> Answered:
        """The model's answer to the body. Raises whatever keeps it from being answered."""
        with self._pipeline.permit(ask.client):
            request, read_ms = await self._read(card, packet, ask)
            ask = self._asked(card, ask, request, client)
            decision = self._admit(card, len(request.pixels), ask)
            cold = not self._pipeline.fleet.loaded(card)
            try:
                async with self._pipeline.fleet.in_use(card, ask.deadline_s):
                    outputs = await self._infer(card, request, ask)
                (body, json_bytes), write_ms = await self._write(card, packet, request, outputs, ask)
            except ModelUnavailable:
                self._pipeline.fleet.model_lost(card.name)
                raise
            except EngineUnavailable:
                self._pipeline.fleet.engine_lost()
                raise
            except DeadlineExceeded:
                self._pipeline.learn_miss(decision, ask)
                raise
            took_ms = ask.spent_ms()
            if not cold:  # of a load, predictions of runs learn nothing
                worked_ms = outputs.infer_ms if outputs.run_alone else None
                self._pipeline.observe(decision, ask, took_ms, worked_ms, late=took_ms > ask.budget_ms)
            if took_ms > ask.budget_ms:
                raise DeadlineExceeded(f"the answer came after {took_ms:.0f} ms; the budget was {ask.budget_ms:g} ms")
            self._pipeline.execution.statistics.answered(
                card.name, input_ms=read_ms, queue_ms=outputs.queue_ms, infer_ms=outputs.infer_ms, output_ms=write_ms
            )
            timing_ms = {"decode": read_ms, "queue": outputs.queue_ms, "infer": outputs.infer_ms, "post": write_ms}
            return Answered(body, json_bytes, ask, len(request.pixels), timing_ms)

    async def _read(self, card: ModelCard, packet: Packet, ask: Ask) -> tuple[TensorRequest, float]:
        def read() -> TensorRequest:
            body = unpack(packet.body, self._max_bytes) if packet.coding else packet.body
            return read_request(card, body, packet.header_bytes)

        size = len(packet.body) if packet.header_bytes is None or packet.coding else packet.header_bytes
        return await self._work(read, size, ask, small=size <= _SMALL_BYTES and packet.coding is None)

    async def _write(
        self, card: ModelCard, packet: Packet, request: TensorRequest, outputs: Outputs, ask: Ask
    ) -> tuple[tuple[bytes, int | None], float]:
        def write() -> tuple[bytes, int | None]:
            pieces, json_bytes = write_answer(card, request, outputs.arrays)
            follows = any(wanted.binary for wanted in request.outputs)
            body = pack(pieces, packet.answer_coding) if packet.answer_coding else b"".join(pieces)
            return body, json_bytes if follows else None

        def bytes_of(binary: bool) -> int:
            return sum(outputs.arrays[o.name].nbytes for o in request.outputs if o.binary == binary)

        small = bytes_of(False) <= _SMALL_BYTES and bytes_of(True) <= _SMALL_BINARY_BYTES
        return await self._work(write, bytes_of(False), ask, small=small and packet.answer_coding is None)

    async def _work(self, work: Callable[[], T], size: int, ask: Ask, *, small: bool) -> tuple[T, float]:
        """The work's result and its milliseconds: here if it is small, else on a worker. Raises DeadlineExceeded."""
        if small:
            started_s = time.perf_counter()
            return work(), (time.perf_counter() - started_s) * 1e3
        try:
            async with asyncio.timeout(ask.deadline_s - time.monotonic()):
                done = await self._workers.run(self._lane, work, cost_s=size * _S_PER_BYTE, deadline_s=ask.deadline_s)
        except TimeoutError:
            raise DeadlineExceeded("the tensors were not read or written in time") from None
        result: T = done.result
        return result, done.run_s * 1e3

    def _asked(self, card: ModelCard, ask: Ask, request: TensorRequest, client: Client) -> Ask:
        """The ask with what the body says.

        Raises InvalidParameter, and Forbidden for an output that is not the client's, or too long a timeout.
        """
        names = tuple(wanted.name for wanted in request.outputs)
        for name in names:
            client.require_task(task_of(card.task, name))
        if not request.timeout_us:
            return replace(ask, outputs=names, priority=request.priority)
        budget_ms = request.timeout_us / 1e3
        if budget_ms > self._max_budget_ms:
            limit = f"{self._max_budget_ms * 1e3:g} µs"
            raise InvalidParameter(f"timeout is above {limit}", field="timeout", limit=limit)
        client.require_budget(budget_ms, "timeout")
        return replace(ask, outputs=names, priority=request.priority, tier="custom", budget_ms=budget_ms)

    def _admit(self, card: ModelCard, rows: int, ask: Ask) -> Decision:
        """The model that was named, if it can make it; else the refusal as the error it is."""
        variants = self._alone.get(card.name)
        if variants is None or variants.cards[0] is not card:
            variants = self._alone[card.name] = Variants([card])
        load = self._engine.load(ask.deadline_s)
        estimates = self._pipeline.predictor.estimate_batch(
            variants,
            rows,
            spent_ms=ask.spent_ms(),
            wait_ms=load.wait_s * 1e3,
            wait_ms_by_model={name: wait_s * 1e3 for name, wait_s in load.wait_s_by_model.items()},
            budget_ms=ask.budget_ms,
        )
        choice = admit_pinned(estimates, 0, demand_of(ask), room_ms=load.room_s * 1e3)
        if isinstance(choice, Refusal):
            raise refusal_error(choice, ask)
        self._pipeline.metrics.decisions.labels(ask.tier, card.name, choice.reason).inc()
        return Decision(variants, estimates, choice, demand_of(ask))

    async def _infer(self, card: ModelCard, request: TensorRequest, ask: Ask) -> Outputs:
        job = Job(card.name, request.pixels, ask.outputs, ask.deadline_s, ask.priority, onnx_sha256=card.onnx_sha256)
        return await self._pipeline.execution.infer(job, card)

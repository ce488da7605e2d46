"""One Triton server, somewhere else: one gRPC channel, what the server said last, and what is on the way to it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from tritonclient.grpc import InferInput, InferRequestedOutput, InferResult, model_config_pb2
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from service import tracing
from service.engines.protocol import Entry, Job, Outputs
from service.entry_config import card_from_config
from service.errors import (
    DeadlineExceeded,
    EngineFailed,
    EngineUnavailable,
    InvalidEntry,
    ModelUnavailable,
    Overloaded,
    UnknownModel,
    VisionError,
)
from service.graph_contract import check_outputs
from service.manifest import INPUT_NAME, ModelCard

log = logging.getLogger(__name__)

# An engine's `entries` promise an answer within a second.
LOOK_TIMEOUT_S = 0.9
# A model of gigabytes from a slow disk takes minutes; one whose runs never end is not waited for longer than this.
LOAD_TIMEOUT_S = 600.0
UNLOAD_TIMEOUT_S = 60.0
_UNLOAD_LOOK_S = 0.05
# The largest job, 64 pictures of 1024×1024, is 201 MB; gRPC's own limit of 4 MiB would not carry one of 1200×1200.
MAX_MESSAGE_BYTES = 256 * 1024 * 1024

CHANNEL_ARGUMENTS = [
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # A peer that vanished without closing the connection is noticed after 15 s. Pings go out only while a request
    # waits and nothing else moves: Triton hangs up on clients that ping it more often.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 0),
    # gRPC's default backs off to two minutes: the gateway would stay away long after Triton is back.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
]


class TritonEngine:
    """What a Triton at `url` (host:port of its gRPC service) has READY; of such servers the pool makes an Engine.

    Triton tells a client nothing about one request's queue or batch, so `Outputs` carries what is seen from here:
    infer_ms is the whole round trip (network, queue and run), queue_ms is 0, batch_rows the job's own rows, and
    run_alone is true only if no other job was on its way to that server.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._on_the_way: Counter[str] = Counter()
        self._client: InferenceServerClient | None = None
        self._cards: dict[str, ModelCard] = {}
        self._seen: dict[str, ModelCard] = {}
        self._refused: dict[str, str] = {}

    async def open(self) -> None:
        # Connects at the first request; a server that is away now may be there then.
        self._client = InferenceServerClient(self._url, channel_args=CHANNEL_ARGUMENTS)

    async def entries(self) -> list[Entry]:
        client = self._open_client()
        with _as_our_errors("the list of models", late=EngineUnavailable), self._unless_closed():
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                states = await _states(client)
                ready = [name for name, (state, _) in states.items() if state == "READY"]
                configs = await asyncio.gather(*[_config(client, name) for name in ready])
        cards = [card for config in configs if config is not None and (card := self._card(config)) is not None]
        self._cards = {card.name: card for card in cards}
        self._seen = {name: card for name, card in (self._seen | self._cards).items() if name in states}
        # What is loaded and carries no card, or carried none when it was, is somebody else's.
        foreign = {name for name in states if name in self._refused or (name in ready and name not in self._cards)}
        return [self._entry(name, reason) for name, (_, reason) in sorted(states.items()) if name not in foreign]

    async def load_model(self, name: str) -> int | None:
        """Also takes in an entry that was exported anew. Triton tells nobody how much memory a model takes: None."""
        client = self._open_client()
        started_s = time.monotonic()
        try:
            with _as_our_errors(name, late=EngineUnavailable), self._unless_closed():
                async with asyncio.timeout(LOAD_TIMEOUT_S):
                    await client.load_model(name)
            log.info("%s: loaded %s in %.0f ms", self._url, name, (time.monotonic() - started_s) * 1e3)
        except EngineFailed as err:
            cause = err.__cause__
            said = str(cause.message()) if isinstance(cause, InferenceServerException) else ""
            raise InvalidEntry(f"{name}: Triton refuses it: {said}", "graph") from err
        return None

    async def unload_model(self, name: str) -> None:
        client = self._open_client()
        self._cards.pop(name, None)
        with _as_our_errors(name, late=EngineUnavailable), self._unless_closed():
            async with asyncio.timeout(UNLOAD_TIMEOUT_S):
                await client.unload_model(name)
                # Triton answers when it has begun; the memory is free when the last run has ended.
                while (await _states(client)).get(name, ("", ""))[0] in ("READY", "UNLOADING"):  # noqa: ASYNC110
                    await asyncio.sleep(_UNLOAD_LOOK_S)

    def serves(self, name: str) -> bool:
        """Whether the model was READY when last looked."""
        return name in self._cards

    def model_lost(self, name: str) -> None:
        """A request found the model away: remembered at once, not at the next look."""
        self._cards.pop(name, None)

    @property
    def in_flight(self) -> int:
        """Pictures on their way to the server and back."""
        return self._on_the_way.total()

    async def infer(self, job: Job) -> Outputs:
        self._refuse_too_many_rows(job)
        client = self._open_client()
        remaining_s = job.remaining_s()
        if remaining_s is not None and remaining_s <= 0:
            raise DeadlineExceeded(f"no time was left to run {job.model}")
        alone = not self._on_the_way.total()
        self._on_the_way[job.model] += len(job.pixels)
        started_s = time.monotonic()
        try:
            with _as_our_errors(job.model):
                # Triton looks at a request's timeout only when it takes the next batch, so this timer answers the
                # client.
                async with asyncio.timeout(remaining_s):
                    result = await self._round_trip(client, job, remaining_s)
            alone = alone and self._on_the_way.total() == len(job.pixels)
        finally:
            self._on_the_way[job.model] -= len(job.pixels)
        infer_ms = (time.monotonic() - started_s) * 1e3
        try:
            arrays = {name: result.as_numpy(name) for name in job.outputs}
        except ValueError as err:  # bytes and shape that do not belong together
            raise EngineFailed(f"{job.model} gave an answer that cannot be read") from err
        card = self._cards.get(job.model)
        if card is not None:
            check_outputs(card, arrays, len(job.pixels))
        elif any(array is None or len(array) != len(job.pixels) for array in arrays.values()):
            raise EngineFailed(f"{job.model} did not give its outputs for {len(job.pixels)} pictures")
        return Outputs(arrays, queue_ms=0.0, infer_ms=infer_ms, batch_rows=len(job.pixels), run_alone=alone)

    def busy_models(self) -> set[str]:
        """Names of the models that have pictures on the way."""
        return {name for name, rows in self._on_the_way.items() if rows > 0}

    def rows_of(self, name: str) -> int:
        """Pictures of that model on their way."""
        return self._on_the_way[name]

    async def close(self) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            await client.close()

    def _open_client(self) -> InferenceServerClient:
        if self._client is None:
            raise EngineUnavailable("the connection to the inference server is closed")
        return self._client

    def _refuse_too_many_rows(self, job: Job) -> None:
        card = self._cards.get(job.model)
        if card is not None and len(job.pixels) > max(1, card.max_batch_size):
            raise ValueError(f"{len(job.pixels)} rows for {job.model}, which takes {card.max_batch_size}")

    async def _round_trip(self, client: InferenceServerClient, job: Job, remaining_s: float | None) -> InferResult:
        card = self._cards.get(job.model)
        image = InferInput(card.input_name if card else INPUT_NAME, list(job.pixels.shape), "UINT8")
        image.set_data_from_numpy(job.pixels)
        with self._unless_closed():
            return await client.infer(
                job.model,
                [image],
                outputs=[InferRequestedOutput(name) for name in job.outputs],
                priority=job.priority,
                # Microseconds in the queue; 0 would mean the default of the model.
                timeout=None if remaining_s is None else max(1, int(remaining_s * 1e6)),
                client_timeout=remaining_s,
                # gRPC metadata: a Triton that traces by itself goes on with the same trace.
                headers=tracing.outgoing() or None,
            )

    @contextmanager
    def _unless_closed(self) -> Iterator[None]:
        """Closing the channel cancels what is on it; the caller's own task was not cancelled by that."""
        try:
            yield
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._client is None and task is not None and not task.cancelling():
                raise EngineUnavailable("the connection to the inference server was closed") from None
            raise

    def _entry(self, name: str, reason: str) -> Entry:
        card = self._cards.get(name)
        failed = card is None and reason not in ("", "unloaded")
        return Entry(name, card or self._seen.get(name), card is not None, "graph" if failed else "")

    def _card(self, config: model_config_pb2.ModelConfig) -> ModelCard | None:
        """None for a model that this project did not export; that is logged once for each reason."""
        try:
            card = card_from_config(config)
        except InvalidEntry as err:
            if self._refused.get(config.name) != err.detail:
                self._refused[config.name] = err.detail
                log.warning("not ours, left alone: %s", err.detail)
            return None
        self._refused.pop(config.name, None)
        return card


async def _states(client: InferenceServerClient) -> dict[str, tuple[str, str]]:
    """Name → (state, reason) of everything in the server's repository; one that was never loaded has no state."""
    index = await client.get_model_repository_index(client_timeout=LOOK_TIMEOUT_S)
    states: dict[str, tuple[str, str]] = {}
    for model in index.models:  # one line per version; what begins with a dot is half made, or no model
        if not model.name.startswith(".") and states.get(model.name, ("", ""))[0] != "READY":
            states[model.name] = (model.state, model.reason)
    return states


async def _config(client: InferenceServerClient, name: str) -> model_config_pb2.ModelConfig | None:
    try:
        return (await client.get_model_config(name, client_timeout=LOOK_TIMEOUT_S)).config
    except InferenceServerException as err:
        if err.status() == "StatusCode.NOT_FOUND":  # unloaded since the index was read
            return None
        raise


@contextmanager
def _as_our_errors(what: str, late: type[VisionError] = DeadlineExceeded) -> Iterator[None]:
    """The one place where tritonclient's and gRPC's errors become ours.

    what  the model, or what else was asked for      late  what it means that no answer came in time
    """
    try:
        yield
    except TimeoutError:
        raise late(f"{what} did not come in time") from None
    except InferenceServerException as err:
        status = str(err.status()).removeprefix("StatusCode.")
        ours = _translated(what, status, str(err.message()), late)
        log.log(logging.ERROR if isinstance(ours, EngineFailed) else logging.DEBUG, "%s: %s", what, err)
        raise ours from err
    except grpc.aio.UsageError as err:
        raise EngineUnavailable("the connection to the inference server is closed") from err


def _translated(what: str, status: str, message: str, late: type[VisionError]) -> VisionError:
    """Our error for a gRPC status; the sentences are Triton's own (2.51), and the contract tests provoke each."""
    match status:
        case "DEADLINE_EXCEEDED":
            return late(f"{what} did not come in time")
        case "UNAVAILABLE" if "Request timeout expired" in message:
            return late(f"{what} was not begun in time")
        case "UNAVAILABLE" if "Exceeds maximum queue size" in message:
            return Overloaded(f"the inference server's queue for {what} is full")
        # A server that stops or reloads says NOT_FOUND of models it has: a 404 for them would be wrong in a moment.
        case "NOT_FOUND" if "has no available versions" in message:
            return ModelUnavailable(f"{what} is not loaded on the inference server")
        case "NOT_FOUND":
            return UnknownModel(f"no model {what!r} is loaded", field="model")
        case "UNAVAILABLE" | "CANCELLED":
            return EngineUnavailable("the inference server does not answer")
    return EngineFailed(f"{what} failed while running")

"""The client that waits for its answers. What it says and understands is in calls and attempts; here is the waiting."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Self, TypeVar, Unpack, overload

import httpx

import service.client.calls as calls
from service.client.attempts import Attempts, Done
from service.client.connection import DEFAULT_RETRIES, DEFAULT_TIMEOUT_S, Connection
from service.client.errors import NotAvailable
from service.client.located import Detections, Segmentation
from service.client.options import (
    ClassifyOptions,
    DetectOptions,
    EmbedOptions,
    RouteOptions,
    SegmentOptions,
    Tier,
)
from service.client.pictures import Picture
from service.client.results import Classification, Embedding, ModelInfo, Readiness, Route

T = TypeVar("T")


class Client:
    """A vision-gateway, asked synchronously. Threads may share it.

    Close it, or use it in a `with`.

    url        where it listens: http://127.0.0.1:8080
    tier       the budget of calls that name none; left out, the gateway's own default
    api_key    sent as `Authorization: Bearer`
    timeout_s  how long a call may take in all, retries included
    retries    how often a call may be repeated: after a connection that never came about, or a 503 or 429 that says
               when to come back; and only if that is before its deadline
    transport  what carries the requests, for tests and for proxies; left out, the network

    Calls raise ClientError: service.client.errors has the tree. A picture is a path, bytes, a PIL image, or an
    (H, W, 3) uint8 RGB array.
    """

    def __init__(
        self,
        url: str,
        *,
        tier: Tier | None = None,
        api_key: str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        retries: int = DEFAULT_RETRIES,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.connection = Connection(url, tier, api_key, timeout_s, retries)
        self._http = httpx.Client(transport=transport, **self.connection.client_arguments())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes its connections."""
        self._http.close()

    @overload
    def classify(self, picture: Picture, **options: Unpack[ClassifyOptions]) -> Classification: ...  # type: ignore[overload-overlap]
    @overload
    def classify(self, picture: Sequence[Picture], **options: Unpack[ClassifyOptions]) -> list[Classification]: ...
    def classify(
        self, picture: Picture | Sequence[Picture], **options: Unpack[ClassifyOptions]
    ) -> Classification | list[Classification]:
        """The most likely classes of a picture; of a list of pictures a list, in one request."""
        call = calls.classify(picture, options, self.connection.tier)
        return self._send(self.connection.attempts(call, options))

    @overload
    def detect(self, picture: Picture, **options: Unpack[DetectOptions]) -> Detections: ...  # type: ignore[overload-overlap]
    @overload
    def detect(self, picture: Sequence[Picture], **options: Unpack[DetectOptions]) -> list[Detections]: ...
    def detect(
        self, picture: Picture | Sequence[Picture], **options: Unpack[DetectOptions]
    ) -> Detections | list[Detections]:
        """The things in a picture: class, score, box; of a list of pictures a list."""
        call = calls.detect(picture, options, self.connection.tier)
        return self._send(self.connection.attempts(call, options))

    @overload
    def segment(self, picture: Picture, **options: Unpack[SegmentOptions]) -> Segmentation: ...  # type: ignore[overload-overlap]
    @overload
    def segment(self, picture: Sequence[Picture], **options: Unpack[SegmentOptions]) -> list[Segmentation]: ...
    def segment(
        self, picture: Picture | Sequence[Picture], **options: Unpack[SegmentOptions]
    ) -> Segmentation | list[Segmentation]:
        """The pixels of a picture: a mask for every class or thing; of a list of pictures a list."""
        call = calls.segment(picture, options, self.connection.tier)
        return self._send(self.connection.attempts(call, options))

    @overload
    def embed(self, picture: Picture, **options: Unpack[EmbedOptions]) -> Embedding: ...  # type: ignore[overload-overlap]
    @overload
    def embed(self, picture: Sequence[Picture], **options: Unpack[EmbedOptions]) -> list[Embedding]: ...
    def embed(
        self, picture: Picture | Sequence[Picture], **options: Unpack[EmbedOptions]
    ) -> Embedding | list[Embedding]:
        """A picture as a vector; of a list of pictures a list. Compare only vectors of one model: name it."""
        call = calls.embed(picture, options, self.connection.tier)
        return self._send(self.connection.attempts(call, options))

    def route(self, picture: Picture | None = None, **options: Unpack[RouteOptions]) -> Route:
        """Which model would answer now, and why not the others; nothing is run. Without a picture: as for 640×480."""
        call = calls.route(picture, options, self.connection.tier)
        return self._send(self.connection.attempts(call, options))

    def models(self) -> tuple[ModelInfo, ...]:
        """Every model there is."""
        return self._send(self.connection.attempts(calls.models(), {}))

    def model(self, name: str) -> ModelInfo:
        """One model, with the names of its classes. Raises ModelNotFound."""
        return self._send(self.connection.attempts(calls.model(name), {}))

    def ready(self) -> Readiness:
        """Whether a request would be answered now; asked once. Raises NotReachable if nobody is there."""
        try:
            return self._send(self.connection.attempt(calls.ready()))
        except NotAvailable as err:
            return Readiness(False, err.detail)

    def _send(self, attempts: Attempts[T]) -> T:
        while True:
            outcome: httpx.Response | httpx.TransportError
            try:
                outcome = self._http.send(self._http.build_request(**attempts.request_arguments()))
            except httpx.TransportError as err:
                outcome = err
            step = attempts.after(outcome)
            if isinstance(step, Done):
                return step.answer
            time.sleep(step.seconds)

"""HTTP/1.1 as uvicorn speaks it, with the limits that uvicorn leaves to a proxy in front.

Without them one client that never ends its headers has memory for as long as it sends, and a connection for as long as
it likes; and what cannot be parsed is answered in plain text, without the headers that all other answers have.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from typing import Any, cast

import httptools
from starlette.types import Scope
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from service.errors import HeadersTooLarge, HeadersTooSlow, InvalidRequest, Overloaded, VisionError
from service.front import SCOPE_KEY, Answer, Asked, Front
from service.hang_up import HangUp, tell_of
from service.joined_writes import JoinedWrites
from service.metrics import Metrics
from service.problem_document import PROBLEM_MEDIA_TYPE, problem_document
from service.security_headers import SECURITY_HEADERS
from service.settings import Settings

_MOST_HEADERS = 128
# What may have arrived of a body and not been read before the connection is held: uvicorn's own 64 KiB stop reading
# and start it again for nearly every photograph.
_MOST_UNREAD_BYTES = 524_288
# Sent on one connection before the first of them is answered; each costs memory while it waits.
_MOST_PIPELINED = 16
# Connections beyond the limit that are still heard, for whoever asks whether the gateway is well.
_SURPLUS = 64
_HEALTH = frozenset({b"/health/live", b"/health/ready", b"/v2/health/live", b"/v2/health/ready"})


def limited(settings: Settings, metrics: Metrics, front: Front | None = None) -> type[HttpToolsProtocol]:
    """The protocol class with these limits; what it refuses is counted in these metrics. `front` refuses for it."""

    class Limited(LimitedProtocol):
        max_header_bytes = settings.max_header_bytes
        header_timeout_s = settings.header_timeout_s
        linger_s = settings.body_timeout_s
        answer_timeout_s = settings.answer_timeout_s
        max_connections = settings.max_connections

        def count(self, err: VisionError) -> None:
            metrics.problems.labels(str(err.status), err.code).inc()

        def count_connections(self) -> None:
            if front is not None:
                metrics.connections.set(len(self.connections))

    Limited.front = front
    return Limited


class LimitedProtocol(HttpToolsProtocol):
    """One connection.

    header_timeout_s  from the connection, or from a request's first byte, to the end of its headers
    linger_s          a client that was answered before all of its body was read may send on for so long
    answer_timeout_s  a client must have taken its answer by then
    max_connections   beyond so many one is asked for its health, and told 503; some more, and it is closed at once
    """

    max_header_bytes = 65_536
    header_timeout_s = 10.0
    linger_s = 15.0
    answer_timeout_s = 30.0
    max_connections = 1000
    front: Front | None = None

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any], **rest: Any) -> None:
        super().__init__(config, server_state, app_state, **rest)
        self._in_headers = True
        self._header_bytes = 0
        self._header_count = 0
        self._header_size = 0
        self._broken = False
        self._timer: asyncio.TimerHandle | None = None
        self._messages = 0
        self._end = HangUp()
        self._untaken: asyncio.TimerHandle | None = None
        self._surplus = False

    def count_connections(self) -> None:
        """Told of every connection that comes or goes."""

    def count(self, err: VisionError) -> None:
        """Told of every refusal."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast(asyncio.Transport, JoinedWrites(transport, self.loop)))
        self.count_connections()
        self._surplus = len(self.connections) > self.max_connections
        if len(self.connections) > self.max_connections + _SURPLUS:
            transport.abort()
        else:
            self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        if self._untaken is not None:
            self._untaken.cancel()
        super().connection_lost(exc)
        self._end.happen()
        self.count_connections()

    def data_received(self, data: bytes) -> None:
        if self._broken:
            return
        messages = self._messages
        if self.front is not None:
            self.front.lag.arm(self.loop)
        if self._in_headers:
            if self._timer is None:  # the first bytes of another request on the same connection
                self._header_bytes = 0
            # What one read brings may hold the end of the headers and a body: only what came before is surely headers.
            if self._header_bytes > self.max_header_bytes:
                self._refuse(self._too_large())
                return
            self._header_bytes += len(data)
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # nothing is offered to upgrade to: the request was answered as it is
        except httptools.HttpParserError as err:
            cause = err.__context__
            not_http = InvalidRequest("this is not HTTP/1.1 as it is read here", field="request")
            self._refuse(cause if isinstance(cause, VisionError) else not_http)
            return
        # Headers mostly come in one piece, and need no timer then.
        if self._in_headers and self._timer is None and self._messages == messages and not self._broken:
            self._timer = self.loop.call_later(self.header_timeout_s, self._too_slow)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        tell_of(cast(Scope, self.scope), self._end)
        self._in_headers = True
        self._header_count = 0
        self._header_size = 0

    def on_url(self, url: bytes) -> None:
        self._count_header(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_count += 1
        if self._header_count > _MOST_HEADERS:
            raise HeadersTooLarge("too many headers", field="headers", limit=f"{_MOST_HEADERS} headers")
        self._count_header(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= _MOST_PIPELINED:
            limit = f"{_MOST_PIPELINED} requests"
            raise InvalidRequest("too many requests were sent ahead of their answers", field="headers", limit=limit)
        self._in_headers = False
        self._header_bytes = 0
        self._stop_timer()
        self._judge()

    def _judge(self) -> None:
        """Hands the request to the app, or refuses it from its headers."""
        cast(Any, self.scope)["vision.received_s"] = time.monotonic()
        address, _, query = self.url.partition(b"?")
        if self._surplus and address not in _HEALTH:
            limit = f"{self.max_connections} connections"
            raise Overloaded("there are too many connections", field="connection", limit=limit)
        asked = None
        if self.front is not None:
            asked = self.front.asked(self.parser.get_method(), address, query, self.headers)
        if self.front is None or asked is None:
            super().on_headers_complete()
            return
        self.scope[SCOPE_KEY] = asked  # type: ignore[literal-required]
        err = self.front.refusal(asked)
        if err is None:
            super().on_headers_complete()
            return
        app = self.app
        self.app = self.front.answer(asked, err, self.headers)
        try:
            super().on_headers_complete()
        finally:
            self.app = app

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if isinstance(app, Answer) and not self.flow.write_paused:
            # With room to write, a ready answer never waits: its one step is done here, without a task.
            step = cycle.run_asgi(cast(Any, app))
            try:
                step.send(None)
            except StopIteration:
                return
            raise AssertionError("a ready answer had to wait. This is a bug.")
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        if (self.parser.should_upgrade() and self._should_upgrade()) or self.cycle.response_complete:
            return
        self.cycle.body += body
        if len(self.cycle.body) > _MOST_UNREAD_BYTES:
            self.flow.pause_reading()
        self.cycle.message_event.set()

    def on_message_complete(self) -> None:
        self._in_headers = True
        self._messages += 1
        asked: Asked | None = self.scope.get(SCOPE_KEY)  # type: ignore[assignment]
        if asked is not None:
            asked.whole = True
        if self.cycle is not None and self.cycle.response_complete:
            self._stop_timer()
            self._expect_another()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._untaken is not None:
            self._untaken.cancel()
            self._untaken = None
        if self.transport.get_write_buffer_size():
            self._untaken = self.loop.call_later(self.answer_timeout_s, self._give_up_answer)
        if self.cycle.response_complete and self.cycle.more_body and self._timer is None:
            self._timer = self.loop.call_later(self.linger_s, self._hang_up)

    def _expect_another(self) -> None:
        """The keep-alive timer, once more: what came of the body after its answer has stopped uvicorn's."""
        if self.timeout_keep_alive_task is None and not self.pipeline:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _count_header(self, size: int) -> None:
        self._header_size += size
        if self._header_size > self.max_header_bytes:
            raise self._too_large()

    def _expect_headers(self) -> None:
        self._header_bytes = 0
        self._timer = self.loop.call_later(self.header_timeout_s, self._too_slow)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        limit = f"{self.header_timeout_s:g} s"
        if self._header_bytes:
            self._refuse(HeadersTooSlow(f"the headers did not arrive within {limit}", field="headers", limit=limit))
        else:
            self._hang_up()  # it never said anything: there is nothing to answer

    def _too_large(self) -> HeadersTooLarge:
        limit = f"{self.max_header_bytes} bytes"
        return HeadersTooLarge(f"address and headers exceed {limit}", field="headers", limit=limit)

    def _give_up_answer(self) -> None:
        """Ends a connection whose answer nobody takes: it would hold the answer's memory for as long as it likes."""
        self._untaken = None
        if self.transport.get_write_buffer_size():
            self.transport.abort()

    def _hang_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()

    def _refuse(self, err: VisionError) -> None:
        """Answers in place of the app, and ends the connection: what follows cannot be read either."""
        self._stop_timer()
        self._broken = True
        if self.transport.is_closing():
            return
        pending = self.cycle is not None and not self.cycle.response_complete
        if pending and not self.cycle.more_body:
            # The request before this one was whole and has its own answer coming; the connection ends with it.
            self.cycle.keep_alive = False
            return
        if pending and (self.cycle.response_started or self.pipeline):
            self.transport.close()  # an answer now would be taken for that of another request
            return
        self.count(err)
        identity = uuid.uuid4().hex
        body = json.dumps(problem_document(err, identity)).encode()
        headers = {
            "Content-Type": PROBLEM_MEDIA_TYPE,
            "Content-Length": str(len(body)),
            "Connection": "close",
            "X-Request-Id": identity,
            **SECURITY_HEADERS,
            **err.headers,
        }
        lines = b"".join(f"{name.lower()}: {value}\r\n".encode("ascii") for name, value in headers.items())
        self.transport.write(STATUS_LINE[err.status] + lines + b"\r\n" + body)
        self.transport.close()

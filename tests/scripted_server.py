"""A small real HTTP server that answers by script and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Reply:
    status: int
    document: Any
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """One request; `connection` counts the connections it came over, from 0."""

    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    connection: int


def problem(status: int, code: str, *, retry_after_s: float | None = None, **more: Any) -> Reply:
    """A problem as the gateway words it."""
    document = {
        "type": f"urn:vision-gateway:problem:{code}",
        "title": "Title",
        "status": status,
        "detail": f"because of {code}",
        "instance": "abc",
        **more,
    }
    headers = {}
    if retry_after_s is not None:
        document["retry_after_s"] = retry_after_s
        headers["Retry-After"] = str(max(1, round(retry_after_s)))
    return Reply(status, document, headers)


READY = Reply(200, {"status": "ready"})
MODELS = Reply(200, {"engine": "embedded", "providers": [], "ready": True, "models": []})


class ScriptedServer:
    """Answers with `replies` in turn, then with the last one again; on a free port of 127.0.0.1."""

    def __init__(self, *replies: Reply, port: int = 0) -> None:
        self.replies = list(replies)
        self.asked: list[Asked] = []
        self._connections = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                self.connection_number = outer._connections
                outer._connections += 1

            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", "0")))
                address = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(address.query).items()}
                outer.asked.append(Asked(address.path, query, dict(self.headers), self.connection_number))
                reply = outer.replies.pop(0) if len(outer.replies) > 1 else outer.replies[0]
                body = reply.document if isinstance(reply.document, bytes) else json.dumps(reply.document).encode()
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

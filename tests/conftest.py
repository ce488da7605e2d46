"""A gateway to speak HTTP to: one over the fake engine, one over the real models."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from service.admin import create_admin_app
from service.app import create_app
from service.engines.fake import FakeEngine
from service.gateway import Gateway
from service.http_protocol import limited
from service.settings import Settings
from tests.cards import classifier

REPOSITORY = Path(__file__).resolve().parents[1] / "model_repository"
DEFAULT_MODELS = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2", "mobilenet_v2")


@pytest.fixture(autouse=True, scope="session")
def _no_settings_of_the_developer() -> Iterator[None]:
    """Tests see the defaults, whatever VISION_* variables the shell has."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.upper().startswith("VISION_")]:
            patch.delenv(name)
        yield


@dataclass
class FakeGateway:
    """`client` speaks HTTP to the app, `admin` to its admin port; `engine` has switches; `gateway` are the parts."""

    client: httpx.AsyncClient
    admin: httpx.AsyncClient
    engine: FakeEngine
    gateway: Gateway
    app: FastAPI

    async def metric(self, sample: str) -> float:
        """The value of one line of /metrics, `name{label="…"}` as it stands there; 0.0 if there is no such line."""
        lines = (await self.admin.get("/metrics")).text.splitlines()
        return next((float(line.rsplit(" ", 1)[1]) for line in lines if line.rsplit(" ", 1)[0] == sample), 0.0)


class FakeGateways:
    """Opens gateways over fake engines: `async with FakeGateways.open(...)`."""

    def __init__(self, settings: Settings, engine: FakeEngine) -> None:
        self._app = create_app(settings, engine)
        self._engine = engine

    async def __aenter__(self) -> FakeGateway:
        self._lifespan = self._app.router.lifespan_context(self._app)
        await self._lifespan.__aenter__()
        gateway: Gateway = self._app.state.gateway
        client, admin = _client(self._app), _client(create_admin_app(gateway))
        self._opened = FakeGateway(client, admin, self._engine, gateway, self._app)
        return self._opened

    async def __aexit__(self, *_: object) -> None:
        await self._opened.client.aclose()
        await self._opened.admin.aclose()
        await self._lifespan.__aexit__(None, None, None)


def _client(app: FastAPI) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://gateway", timeout=30)


@pytest.fixture
async def fake_gateway() -> AsyncIterator[FakeGateway]:
    """The gateway with two fake classifiers, `fake_large` and `fake_small`, and room for eight requests."""
    cards = [classifier("fake_large", accuracy=76.0, run_ms=4.0), classifier("fake_small", accuracy=70.0, run_ms=2.0)]
    async with FakeGateways(Settings(workers=2, max_in_flight=8), FakeEngine(cards)) as opened:
        yield opened


@pytest.fixture(scope="session")
def real_gateway_url(real_gateway_served: tuple[str, Gateway]) -> str:
    """Where a gateway listens that serves the repository's real models, in this process."""
    return real_gateway_served[0]


@pytest.fixture(scope="session")
def real_gateway_served() -> Iterator[tuple[str, Gateway]]:
    """The same, and its parts to look at."""
    missing = [name for name in DEFAULT_MODELS if not (REPOSITORY / name / "1" / "model.onnx").is_file()]
    if missing:
        pytest.skip(f"{', '.join(missing)} not in {REPOSITORY.name}/: `make export` makes them")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        app = create_app(Settings(repository=REPOSITORY, workers=2))
        http = limited(app.state.gateway.settings, app.state.gateway.metrics)
        config = uvicorn.Config(app, log_level="warning", access_log=False, http=http, ws="none", lifespan="on")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])), name="real-gateway")
        thread.start()
        try:
            started_s = time.monotonic()
            while not server.started:
                if not thread.is_alive() or time.monotonic() - started_s > 60:
                    pytest.fail("the gateway did not start within 60 s")
                time.sleep(0.02)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}", app.state.gateway
        finally:
            server.should_exit = True
            thread.join(60)


@pytest.fixture
async def real_gateway(real_gateway_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the gateway over the real models."""
    async with httpx.AsyncClient(base_url=real_gateway_url, timeout=60) as client:
        yield client

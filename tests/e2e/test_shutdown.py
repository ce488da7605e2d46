"""SIGTERM under load, to the real `vision serve`: nothing that was admitted is lost, nothing new gets in."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import photograph
from tests.gateway_server import GatewayServer, require_models
from tests.triton_server import TritonServer

CLIENTS = 8
GRACE_S = 20
ANSWER = "answer"
REFUSED = "refused"
DROPPED = "dropped"


class Load:
    """Clients that ask one after the other, on a new connection each time, until told to stop or refused."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/v1/classify"
        self._picture = photograph("chelsea")
        self._stop = threading.Event()
        self.told_s = math.inf
        self.ended: Counter[str] = Counter()
        self.answered_s: list[float] = []
        self._pool = ThreadPoolExecutor(CLIENTS)
        self._clients = [self._pool.submit(self._ask_on) for _ in range(CLIENTS)]

    def finish(self) -> None:
        self._stop.set()
        for client in self._clients:
            client.result(60)
        self._pool.shutdown()

    def _ask_on(self) -> None:
        while not self._stop.is_set():
            how = self._ask()
            self.ended[how] += 1
            if how != ANSWER:
                return

    def _ask(self) -> str:
        asked_s = time.monotonic()
        try:
            asked = httpx.post(
                self._url,
                params={"model": "efficientnet_lite0", "latency_budget_ms": 20000},
                content=self._picture,
                headers={"Content-Type": "image/jpeg"},
                timeout=40,
            )
        except httpx.ConnectError:
            return REFUSED
        except httpx.TransportError as err:
            # Connected, but the listening socket closed before the gateway saw it: refused by the kernel.
            return REFUSED if asked_s > self.told_s - 0.05 else f"{DROPPED}: {err!r}"
        self.answered_s.append(time.monotonic())
        return ANSWER if asked.status_code == 200 else f"{asked.status_code}: {asked.text}"


def _settings(drain_s: float) -> dict[str, str]:
    return {
        "VISION_REPOSITORY": str(require_models()),
        "VISION_WORKERS": "1",
        "VISION_DRAIN_S": str(drain_s),
        "VISION_GRACE_S": str(GRACE_S),
    }


@pytest.fixture(params=["embedded", pytest.param("triton", marks=pytest.mark.triton)])
def engine(request: pytest.FixtureRequest) -> dict[str, str]:
    """Settings of either engine."""
    if request.param == "embedded":
        return {}
    triton: TritonServer = request.getfixturevalue("triton_server")
    return {"VISION_ENGINE": "triton", "VISION_TRITON_URL": triton.url}


def test_after_sigterm_admitted_requests_are_answered_and_no_new_one_gets_in(
    tmp_path: Path, engine: dict[str, str]
) -> None:
    with GatewayServer(tmp_path / "log", _settings(drain_s=0) | engine) as gateway:
        gateway.wait_for("/health/ready")
        load = Load(gateway.url)
        _wait_until_admitted(gateway, CLIENTS)
        load.told_s = time.monotonic()
        gateway.terminate()
        gateway.wait(GRACE_S)
        gone_s = time.monotonic()
        load.finish()
    assert set(load.ended) == {ANSWER, REFUSED}, load.ended
    assert load.ended[REFUSED] == CLIENTS
    assert sum(load.told_s < at for at in load.answered_s) >= CLIENTS - 1, "none was in flight: the test shows nothing"
    assert gone_s - load.told_s < GRACE_S


def test_ready_says_no_first_while_requests_are_still_taken(tmp_path: Path) -> None:
    with GatewayServer(tmp_path / "log", _settings(drain_s=3)) as gateway:
        gateway.wait_for("/health/ready")
        load = Load(gateway.url)
        _wait_until_admitted(gateway, 1)
        load.told_s = time.monotonic() + 3
        gateway.terminate()
        assert gateway.wait_for("/health/ready", status=503, timeout_s=1.5) < 1.5
        refusal = httpx.get(f"{gateway.url}/health/ready")
        assert refusal.json()["type"] == "urn:vision-gateway:problem:not-ready"
        assert len(refusal.headers.get_list("X-Request-Id")) == 1
        assert httpx.get(f"{gateway.url}/health/live").status_code == 200
        before = load.ended[ANSWER]
        time.sleep(0.7)
        assert load.ended[ANSWER] > before, "new requests should still be answered while load balancers look away"
        gateway.wait(GRACE_S)
        load.finish()
    assert set(load.ended) == {ANSWER, REFUSED}, load.ended


def _wait_until_admitted(gateway: GatewayServer, count: int) -> None:
    give_up_s = time.monotonic() + 30
    while time.monotonic() < give_up_s:
        page = httpx.get(f"{gateway.admin_url}/metrics").text
        line = next(line for line in page.splitlines() if line.startswith("vision_in_flight_requests "))
        if float(line.split()[1]) >= count:
            return
    raise TimeoutError(f"never saw {count} requests in flight")

"""Many clients at once: every answer is the one computed alone, and who hangs up costs nothing."""

from __future__ import annotations

import itertools
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import uvloop

from benchmarks import mix
from benchmarks.concurrency import concurrency
from benchmarks.served import served
from tests.e2e.conftest import photograph
from tests.gateway_server import DEFAULT_MODELS, GatewayServer, require_starter_models
from tests.triton_server import require_triton

PICTURES = ("chelsea", "coffee", "astronaut", "rocket")
# A batch may add up its convolutions in another order than a single picture.
TOLERANCE = 1e-4


def classify(client: httpx.Client, gateway: GatewayServer, model: str, picture: bytes) -> dict[str, Any]:
    answer = client.post(
        f"{gateway.url}/v1/classify",
        params={"model": model, "top_k": 3},
        content=picture,
        headers={"Content-Type": "image/jpeg"},
    )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_every_client_gets_the_answer_to_its_own_picture_from_its_own_model(gateway: GatewayServer) -> None:
    wanted = list(itertools.product(DEFAULT_MODELS, PICTURES)) * 4
    pictures = {name: photograph(name) for name in PICTURES}
    with httpx.Client(timeout=120) as client, ThreadPoolExecutor(len(wanted)) as pool:
        alone = {pair: classify(client, gateway, pair[0], pictures[pair[1]]) for pair in set(wanted)}
        together = list(pool.map(lambda pair: classify(client, gateway, pair[0], pictures[pair[1]]), wanted))
    for (model, name), answer in zip(wanted, together, strict=True):
        expected = alone[model, name]
        assert answer["model"]["name"] == model
        assert [p["label"] for p in answer["predictions"]] == [p["label"] for p in expected["predictions"]]
        for found, right in zip(answer["predictions"], expected["predictions"], strict=True):
            assert found["score"] == pytest.approx(right["score"], abs=TOLERANCE)
    assert len({answer["id"] for answer in together}) == len(together)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("engine", ["embedded", pytest.param("triton", marks=pytest.mark.triton)])
def test_every_task_and_form_of_answer_is_under_load_what_it_is_alone(engine: str) -> None:
    require_starter_models(mix.MODELS)
    if engine == "triton":
        require_triton()
    with served(engine, {"VISION_IDLE_CORES": "false"}) as gateway:
        run = uvloop.run(concurrency(gateway, 8.0 / 60, tolerant=engine == "triton", pictures=4))
    assert run.problems == []
    assert run.statuses["200"] > 50


def test_clients_that_hang_up_leave_nothing_behind(embedded_gateway: GatewayServer) -> None:
    picture = photograph("coffee")
    head = (
        "POST /v1/classify?model=efficientnet_lite2 HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
    ).encode()
    for _ in range(60):
        with socket.create_connection(("127.0.0.1", embedded_gateway.port), timeout=10) as connection:
            connection.sendall(head + picture)
    deadline_s = time.monotonic() + 30
    while _metric(embedded_gateway, "vision_in_flight_requests") > 0 and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert _metric(embedded_gateway, "vision_in_flight_requests") == 0
    assert _metric(embedded_gateway, "vision_queue_depth") == 0
    cancelled = 'vision_requests_total{outcome="cancelled",task="classify",tier="none"}'
    assert _metric(embedded_gateway, cancelled) > 0
    with httpx.Client(timeout=60) as client:
        answer = classify(client, embedded_gateway, "efficientnet_lite2", picture)
    assert answer["predictions"][0]["label"] == "espresso", json.dumps(answer)


def _metric(gateway: GatewayServer, sample: str) -> float:
    lines = httpx.get(f"{gateway.admin_url}/metrics", timeout=30).text.splitlines()
    return next((float(line.rsplit(" ", 1)[1]) for line in lines if line.rsplit(" ", 1)[0] == sample), 0.0)

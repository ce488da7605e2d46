"""Twenty models under a memory budget for six, on a real Triton: what is cold comes, and nobody else notices."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.manifest import ModelCard
from tests.e2e.conftest import photograph
from tests.gateway_server import GatewayServer, require_models
from tests.many_models import budget_bytes, copies
from tests.triton_server import TritonServer, require_triton

pytestmark = pytest.mark.triton

MODELS = 20
ROOM_FOR = 6

Fleet = tuple[GatewayServer, TritonServer, list[ModelCard]]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[ModelCard]]:
    folder = tmp_path_factory.mktemp("repository")
    return folder, copies(require_models() / "efficientnet_lite0_int8", folder, MODELS)


@pytest.fixture(scope="module")
def fleet(repository: tuple[Path, list[ModelCard]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    require_triton()
    folder, cards = repository
    logs = tmp_path_factory.mktemp("logs")
    with TritonServer(folder, logs / "triton", cold=True) as triton:
        settings = _settings(triton, cards) | {"VISION_REPOSITORY": str(folder)}
        with GatewayServer(logs / "gateway", settings) as gateway:
            gateway.wait_for("/health/ready")
            _wait_until_loaded(gateway, ROOM_FOR)
            yield gateway, triton, cards


def test_every_entry_is_known_and_as_many_are_loaded_as_fit(fleet: Fleet) -> None:
    gateway, triton, cards = fleet
    assert sorted(_states(gateway)) == [card.name for card in cards]
    assert _in_state(gateway, "loaded") == _ready_on(triton)
    assert len(_ready_on(triton)) == ROOM_FOR


def test_a_cold_model_that_is_named_is_loaded_and_answers(fleet: Fleet) -> None:
    gateway, triton, _ = fleet
    cold = sorted(_in_state(gateway, "cold"))[0]
    answer = _classify(gateway, model=cold)
    assert answer.status_code == 200, answer.text
    assert answer.json()["model"]["name"] == cold
    assert "Egyptian cat" in {found["label"] for found in answer.json()["predictions"]}
    assert cold in _ready_on(triton)
    assert len(_ready_on(triton)) <= ROOM_FOR


def test_a_cold_model_that_cannot_be_there_in_time_is_promised_for_later(fleet: Fleet) -> None:
    gateway, _, _ = fleet
    cold = sorted(_in_state(gateway, "cold"))[0]
    refused = _classify(gateway, model=cold, latency_budget_ms=100)
    assert refused.status_code == 503
    assert refused.json()["type"] == "urn:vision-gateway:problem:model-loading"
    assert int(refused.headers["Retry-After"]) >= 1
    deadline_s = time.monotonic() + 60
    while _states(gateway)[cold] != "loaded":
        assert time.monotonic() < deadline_s
        time.sleep(0.1)
    assert _classify(gateway, model=cold).status_code == 200


async def test_loads_under_load_fail_nobody_and_evict_nothing_that_is_used(fleet: Fleet) -> None:
    gateway, triton, _ = fleet
    warm = sorted(_in_state(gateway, "loaded"))[:3]
    cold = sorted(_in_state(gateway, "cold"))[:4]
    picture = photograph("chelsea")
    stop = asyncio.Event()
    statuses: list[int] = []

    async with httpx.AsyncClient(base_url=gateway.url, timeout=60, headers={"Content-Type": "image/jpeg"}) as client:

        async def keep_asking(model: str) -> None:
            while not stop.is_set():
                answer = await client.post("/v1/classify", params={"model": model}, content=picture)
                statuses.append(answer.status_code)

        busy = [asyncio.create_task(keep_asking(model)) for model in warm]
        while len(statuses) < 5 * len(warm):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        for model in cold:
            answer = await client.post("/v1/classify", params={"model": model}, content=picture)
            assert answer.status_code == 200, answer.text
            assert set(warm) <= _ready_on(triton), "never one that is in use"
            assert len(_ready_on(triton)) <= ROOM_FOR
        stop.set()
        await asyncio.gather(*busy)
    assert set(statuses) == {200}
    assert _metric(gateway, "vision_model_evictions_total") >= len(cold)


def test_without_the_folder_the_cards_are_learnt_by_loading_each_once(tmp_path: Path) -> None:
    require_triton()
    cards = copies(require_models() / "efficientnet_lite0_int8", tmp_path / "repository", 6)
    with TritonServer(tmp_path / "repository", tmp_path / "triton", cold=True) as triton:
        settings = _settings(triton, cards, room_for=2) | {"VISION_REPOSITORY": str(tmp_path / "nothing")}
        with GatewayServer(tmp_path / "gateway", settings) as gateway:
            deadline_s = time.monotonic() + 200
            while len(_states(gateway)) < len(cards):
                assert time.monotonic() < deadline_s, gateway.log()
                assert len(_ready_on(triton)) <= 2
                time.sleep(0.2)
            cold = sorted(_in_state(gateway, "cold"))[0]
            assert _classify(gateway, model=cold).status_code == 200


def _settings(triton: TritonServer, cards: list[ModelCard], room_for: int = ROOM_FOR) -> dict[str, str]:
    return {
        "VISION_ENGINE": "triton",
        "VISION_TRITON_URL": triton.url,
        "VISION_MEMORY_BUDGET_BYTES": str(budget_bytes(cards[0], room_for)),
        "VISION_PROBE_AFTER_S": "0",
    }


def _classify(gateway: GatewayServer, **query: str | float) -> httpx.Response:
    headers = {"Content-Type": "image/jpeg"}
    return httpx.post(
        f"{gateway.url}/v1/classify", params=query, content=photograph("chelsea"), headers=headers, timeout=60
    )


def _states(gateway: GatewayServer) -> dict[str, str]:
    models = httpx.get(f"{gateway.url}/v1/models", timeout=10).json()["models"]
    return {model["name"]: model["state"] for model in models}


def _in_state(gateway: GatewayServer, state: str) -> set[str]:
    return {name for name, found in _states(gateway).items() if found == state}


def _ready_on(triton: TritonServer) -> set[str]:
    """What Triton itself says that it has loaded."""
    index = httpx.post(f"{triton.http_url}/v2/repository/index", timeout=10).json()
    return {model["name"] for model in index if model.get("state") == "READY"}


def _wait_until_loaded(gateway: GatewayServer, count: int) -> None:
    deadline_s = time.monotonic() + 120
    while len(_in_state(gateway, "loaded")) < count:
        assert time.monotonic() < deadline_s, gateway.log()
        time.sleep(0.1)


def _metric(gateway: GatewayServer, name: str) -> float:
    text = httpx.get(f"{gateway.admin_url}/metrics", timeout=10).text
    return sum(float(value) for value in re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)", text, re.MULTILINE))

"""Two Tritons behind one gateway, one killed under load: no request fails that another server could answer."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import photograph
from tests.gateway_server import GatewayServer, require_models
from tests.triton_server import TritonServer, require_triton

pytestmark = pytest.mark.triton

AT_ONCE = 6


def _samples(gateway: GatewayServer, name: str) -> dict[str, float]:
    """Labels → value of a metric's lines."""
    text = httpx.get(f"{gateway.admin_url}/metrics", timeout=10).text
    return {labels: float(value) for labels, value in re.findall(rf"^{name}{{([^}}]*)}} (\S+)", text, re.MULTILINE)}


@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_one_that_goes_under_load_costs_no_request_and_returns(tmp_path: Path, how: str) -> None:
    require_triton()
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / "efficientnet_lite0_int8").symlink_to(require_models() / "efficientnet_lite0_int8")
    first = TritonServer(repository, tmp_path / "first")
    second = TritonServer(repository, tmp_path / "second")
    settings = {"VISION_ENGINE": "triton", "VISION_TRITON_URL": f"{first.url},{second.url}"}
    with first, second, GatewayServer(tmp_path / "gateway", settings) as gateway:
        gateway.wait_for("/health/ready")
        statuses: list[int] = []
        stop = asyncio.Event()
        headers = {"Content-Type": "image/jpeg"}

        async with httpx.AsyncClient(base_url=gateway.url, timeout=60, headers=headers) as client:

            async def keep_asking() -> None:
                query: dict[str, str | int] = {"model": "efficientnet_lite0_int8", "latency_budget_ms": 20_000}
                while not stop.is_set():
                    answer = await client.post("/v1/classify", params=query, content=photograph("chelsea"))
                    statuses.append(answer.status_code)

            async def asked(count: int) -> None:
                enough = len(statuses) + count
                async with asyncio.timeout(60):
                    while len(statuses) < enough:  # noqa: ASYNC110
                        await asyncio.sleep(0.02)

            busy = [asyncio.create_task(keep_asking()) for _ in range(AT_ONCE)]
            await asked(60)
            both = _samples(gateway, "vision_backend_jobs_total")
            assert all(any(server.url in labels for labels in both) for server in (first, second)), both
            await asyncio.to_thread(getattr(first, how))
            await asked(100)
            assert (await client.get("/health/ready")).status_code == 200
            await asyncio.to_thread(first.start)
            gone = _samples(gateway, "vision_backend_jobs_total")
            async with asyncio.timeout(30):
                while True:
                    await asked(20)
                    now = _samples(gateway, "vision_backend_jobs_total")
                    back = f'backend="{first.url}",outcome="ok"'
                    if now.get(back, 0) > gone.get(back, 0) + 5:
                        break
            stop.set()
            await asyncio.gather(*busy)
        assert set(statuses) == {200}, {status: statuses.count(status) for status in set(statuses)}
        if how == "kill":
            assert sum(_samples(gateway, "vision_backend_retries_total").values()) > 0
        assert _samples(gateway, "vision_backend_up") == {f'backend="{s.url}"': 1.0 for s in (first, second)}

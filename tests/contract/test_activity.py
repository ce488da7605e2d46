"""GET /v1/activity: what was asked a second ago."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from tests.conftest import FakeGateway
from tests.pictures import encoded, photograph

JPEG = {"Content-Type": "image/jpeg"}


async def whole_second() -> None:
    """Until the second that runs now is over: only whole ones are shown."""
    await asyncio.sleep(1.05 - time.monotonic() % 1)


async def activity(gateway: FakeGateway) -> dict[str, Any]:
    response = await gateway.client.get("/v1/activity")
    assert response.status_code == 200
    document: dict[str, Any] = response.json()
    return document


async def test_nothing_asked_is_nothing_shown(fake_gateway: FakeGateway) -> None:
    found = await activity(fake_gateway)
    assert (found["window_s"], found["models"], found["seconds"], found["p95_ms"]) == (0, [], [], None)
    assert (found["in_flight"], found["max_in_flight"], found["queue_depth"]) == (0, 8, 0)


async def test_answers_and_refusals_are_counted_by_model_task_and_reason(fake_gateway: FakeGateway) -> None:
    client, picture = fake_gateway.client, encoded(photograph())
    chosen = (await client.post("/v1/classify?tier=batch", content=picture, headers=JPEG)).json()
    await client.post("/v1/classify?tier=batch&model=fake_small", content=picture, headers=JPEG)
    await client.post("/v1/embed?model=fake_small&tier=batch", content=picture, headers=JPEG)
    await client.post("/v1/classify", content=b"no picture", headers=JPEG)
    await whole_second()
    found = await activity(fake_gateway)
    assert found["outcomes"] == {"ok": 3, "invalid": 1}
    rows = {(row["task"], row["model"]): row for row in found["models"]}
    assert rows.keys() == {("classify", "fake_large"), ("classify", "fake_small"), ("embed", "fake_small")}
    assert rows["classify", "fake_large"]["reasons"] == {chosen["routing"]["reason"]: 1}
    assert rows["classify", "fake_small"]["reasons"] == {"pinned": 1}
    assert sum(row["share"] for row in found["models"]) > 0.999
    assert found["rate_per_s"] == round(3 / found["window_s"], 3)
    assert sum(second["answers"] for second in found["seconds"]) == 3
    assert sum(second["ended"] for second in found["seconds"]) == 4
    assert len(found["seconds"]) == found["window_s"]
    assert 0 < found["p50_ms"] <= found["p95_ms"]

"""Top-1 over 200 photographs through HTTP, beside what the same weights give in torch."""

from __future__ import annotations

import csv
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.gateway_server import GatewayServer, shared_data

# Measured in torch with the reference preprocessing (tests/parity), percent. Easy pictures: one for every fifth class.
IN_TORCH = {"efficientnet_lite0": 90.0, "efficientnet_lite1": 89.5, "efficientnet_lite2": 93.0, "mobilenet_v2": 87.5}
TOLERANCE_POINTS = 1.0


@pytest.mark.parametrize("model", IN_TORCH)
def test_top_1_through_http_is_that_of_torch(embedded_gateway: GatewayServer, model: str) -> None:
    folder = shared_data("imagenet")
    with (folder / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with httpx.Client(params={"model": model, "top_k": 1}, timeout=120) as client, ThreadPoolExecutor(4) as pool:

        def right(row: dict[str, str]) -> bool:
            picture = (folder / "images" / row["file"]).read_bytes()
            headers = {"Content-Type": "image/jpeg"}
            answer = client.post(f"{embedded_gateway.url}/v1/classify", content=picture, headers=headers)
            return bool(answer.json()["predictions"][0]["class_id"] == int(row["class_id"]))

        top_1 = 100.0 * sum(pool.map(right, rows)) / len(rows)
    print(f"{model}: {top_1:.1f} % over {len(rows)} pictures")
    assert top_1 == pytest.approx(IN_TORCH[model], abs=TOLERANCE_POINTS)

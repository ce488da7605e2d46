"""The same repository, unchanged, in process and in a real Triton: the same answers."""

from __future__ import annotations

import httpx
import pytest

from tests.e2e.conftest import photograph
from tests.gateway_server import DEFAULT_MODELS, GatewayServer

TOLERANCE = 1e-4

pytestmark = pytest.mark.triton


@pytest.mark.parametrize("model", DEFAULT_MODELS)
def test_probabilities_agree_within_the_tolerance(
    embedded_gateway: GatewayServer, triton_gateway: GatewayServer, model: str
) -> None:
    for name in ("chelsea", "coffee", "astronaut", "rocket"):
        embedded, triton = (_probabilities(gateway, model, name) for gateway in (embedded_gateway, triton_gateway))
        assert embedded.keys() == triton.keys()
        assert max(abs(embedded[class_id] - triton[class_id]) for class_id in embedded) <= TOLERANCE


def _probabilities(gateway: GatewayServer, model: str, name: str) -> dict[int, float]:
    """Class id → probability, of all 1000 classes."""
    answer = httpx.post(
        f"{gateway.url}/v1/classify",
        params={"model": model, "top_k": 1000},
        content=photograph(name),
        headers={"Content-Type": "image/jpeg"},
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    return {p["class_id"]: p["score"] for p in answer.json()["predictions"]}

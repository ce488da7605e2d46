"""Triton stopped under a running gateway, and back: what clients see, and how soon."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import photograph
from tests.gateway_server import GatewayServer, require_models
from tests.triton_server import TritonServer, require_triton

pytestmark = pytest.mark.triton

NOT_READY_WITHIN_S = 2.0
READY_AGAIN_WITHIN_S = 5.0


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_the_gateway_says_so_at_once_and_recovers_by_itself(tmp_path: Path, how: str) -> None:
    require_triton()
    with TritonServer(require_models(), log=tmp_path / "triton.log") as triton:
        settings = {"VISION_ENGINE": "triton", "VISION_TRITON_URL": triton.url}
        with GatewayServer(tmp_path / "gateway.log", settings) as gateway:
            gateway.wait_for("/health/ready")
            assert _classify(gateway).status_code == 200

            getattr(triton, how)()
            gateway.wait_for("/health/ready", status=503, timeout_s=NOT_READY_WITHIN_S)
            refused = _classify(gateway)
            assert refused.status_code == 503
            assert int(refused.headers["Retry-After"]) >= 1
            assert refused.json()["type"] == "urn:vision-gateway:problem:engine-unavailable"
            assert httpx.get(f"{gateway.url}/health/live").status_code == 200

            triton.start()
            gateway.wait_for("/health/ready", timeout_s=READY_AGAIN_WITHIN_S)
            assert _classify(gateway).status_code == 200


def test_a_gateway_started_before_triton_becomes_ready_with_it(tmp_path: Path) -> None:
    require_triton()
    triton = TritonServer(require_models(), log=tmp_path / "triton.log")
    settings = {"VISION_ENGINE": "triton", "VISION_TRITON_URL": triton.url}
    with GatewayServer(tmp_path / "gateway.log", settings) as gateway:
        refused = _classify(gateway)
        assert refused.status_code == 503
        assert refused.json()["type"] == "urn:vision-gateway:problem:not-ready"
        with triton:
            gateway.wait_for("/health/ready", timeout_s=READY_AGAIN_WITHIN_S)
            assert _classify(gateway).status_code == 200


def _classify(gateway: GatewayServer) -> httpx.Response:
    return httpx.post(
        f"{gateway.url}/v1/classify",
        params={"model": "efficientnet_lite0"},
        content=photograph("chelsea"),
        headers={"Content-Type": "image/jpeg"},
        timeout=60,
    )

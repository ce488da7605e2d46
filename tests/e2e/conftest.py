"""Real gateways over the real default models: one on ONNX Runtime in process, one on a real Triton."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
import skimage.data
from PIL import Image

from tests.gateway_server import GatewayServer, require_models
from tests.triton_server import TritonServer, require_triton


@pytest.fixture(scope="session")
def embedded_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayServer]:
    repository = require_models()
    log = tmp_path_factory.mktemp("gateway") / "log"
    with GatewayServer(log, {"VISION_REPOSITORY": str(repository)}) as server:
        server.wait_for("/health/ready")
        yield server


@pytest.fixture(scope="session")
def triton_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    require_triton()
    with TritonServer(require_models(), log=tmp_path_factory.mktemp("triton") / "log") as server:
        yield server


@pytest.fixture(scope="session")
def triton_gateway(triton_server: TritonServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayServer]:
    log = tmp_path_factory.mktemp("gateway") / "log"
    settings = {"VISION_ENGINE": "triton", "VISION_TRITON_URL": triton_server.url}
    with GatewayServer(log, settings) as server:
        server.wait_for("/health/ready")
        yield server


@pytest.fixture(params=["embedded", pytest.param("triton", marks=pytest.mark.triton)])
def gateway(request: pytest.FixtureRequest) -> GatewayServer:
    """Either gateway: what holds for one holds for both."""
    server: GatewayServer = request.getfixturevalue(f"{request.param}_gateway")
    return server


def photograph(name: str, image_format: str = "JPEG") -> bytes:
    """A real photograph out of the scikit-image wheel."""
    encoded = io.BytesIO()
    Image.fromarray(getattr(skimage.data, name)()).save(encoded, image_format, quality=95)
    return encoded.getvalue()

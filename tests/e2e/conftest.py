"""Real gateways over the real default models: on ONNX Runtime in process, and on a real Triton.

Where a test names a model it wants that graph and no variant of it, so these two gateways have the FP32 entries only;
`default_gateway` has all that `make serve` serves.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
import skimage.data
from PIL import Image

from tests.gateway_server import REPOSITORY, GatewayServer, fp32_models, require_models, require_starter_models
from tests.triton_server import TritonServer, require_triton
from tests.vision_command import CLASSIFIER, DETECTOR, SEGMENTER, SLOW_DETECTOR


@pytest.fixture(scope="session")
def embedded_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayServer]:
    folder = tmp_path_factory.mktemp("gateway")
    repository = fp32_models(folder / "repository")
    with GatewayServer(folder / "log", {"VISION_REPOSITORY": str(repository)}) as server:
        server.wait_for("/health/ready")
        yield server


@pytest.fixture(scope="session")
def default_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayServer]:
    """On ONNX Runtime, with every entry of the repository, INT8 variants included."""
    log = tmp_path_factory.mktemp("gateway") / "log"
    with GatewayServer(log, {"VISION_REPOSITORY": str(require_models())}) as server:
        server.wait_for("/health/ready")
        yield server


@pytest.fixture(scope="session")
def few_models(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A repository with links to what these tests ask for: a process that loads all sixteen takes its time."""
    require_models()
    require_starter_models((DETECTOR, SEGMENTER, SLOW_DETECTOR))
    folder = tmp_path_factory.mktemp("repository")
    for name in (CLASSIFIER, "mobilenet_v2", DETECTOR, SLOW_DETECTOR, SEGMENTER):
        (folder / name).symlink_to(REPOSITORY / name, target_is_directory=True)
    return str(folder)


@pytest.fixture(scope="session")
def triton_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    require_triton()
    folder = tmp_path_factory.mktemp("triton")
    with TritonServer(fp32_models(folder / "repository"), log=folder / "log") as server:
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

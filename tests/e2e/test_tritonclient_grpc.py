"""tritonclient.grpc against `vision serve` with VISION_GRPC_PORT: the same numbers and refusals, the same queue."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from service.entry_config import config_from_card, read_entry
from tests.e2e.test_tritonclient import DETECTOR, MODEL, SEGMENTER, TOLERANCE, pixels_for, straight
from tests.gateway_server import REPOSITORY, GatewayServer, fp32_models, require_starter_models


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GatewayServer, str]]:
    """A gateway with a gRPC port, and its address."""
    folder = tmp_path_factory.mktemp("gateway")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {"VISION_REPOSITORY": str(fp32_models(folder / "repository")), "VISION_GRPC_PORT": str(port)}
    with GatewayServer(folder / "log", settings) as gateway:
        gateway.wait_for("/health/ready")
        yield gateway, f"127.0.0.1:{port}"


@pytest.fixture
def client(server: tuple[GatewayServer, str]) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server[1]) as client:
        yield client


def image(pixels: NDArray[np.uint8]) -> triton.InferInput:
    tensor = triton.InferInput("image", list(pixels.shape), "UINT8")
    tensor.set_data_from_numpy(pixels)
    return tensor


def test_health_metadata_config_statistics_and_index(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL)
    assert client.is_model_ready(MODEL, "1")
    assert not client.is_model_ready(MODEL, "2")
    assert not client.is_model_ready("nobody")
    assert client.get_server_metadata().name == "vision-gateway"
    (tensor,) = client.get_model_metadata(MODEL).inputs
    assert (tensor.name, tensor.datatype, list(tensor.shape)) == ("image", "UINT8", [-1, 224, 224, 3])
    config = client.get_model_config(MODEL).config
    config.platform = ""
    assert config == config_from_card(read_entry(REPOSITORY / MODEL))
    assert MODEL in {model.name for model in client.get_model_repository_index().models}
    client.infer(MODEL, [image(pixels_for(MODEL))])
    (stats,) = client.get_inference_statistics(MODEL).model_stats
    assert stats.inference_count >= 3
    assert stats.inference_stats.compute_infer.ns > 0


@pytest.mark.parametrize("model", [MODEL, DETECTOR, SEGMENTER])
def test_the_numbers_are_the_model_s_own(client: triton.InferenceServerClient, model: str) -> None:
    require_starter_models((model,))
    pixels = pixels_for(model)
    expected = straight(model, pixels)
    names = list(reversed(expected))
    wishes = [triton.InferRequestedOutput(name) for name in names]
    result = client.infer(model, [image(pixels)], outputs=wishes, request_id="7", priority=1, timeout=30_000_000)
    response = result.get_response()
    assert (response.id, response.model_name, response.model_version) == ("7", model, "1")
    assert [output.name for output in response.outputs] == names
    for name, wanted in expected.items():
        found = result.as_numpy(name)
        assert found.dtype == wanted.dtype
        if wanted.dtype.kind == "f":
            np.testing.assert_allclose(found, wanted, atol=TOLERANCE)
        else:
            assert (found != wanted).mean() <= 1e-3


def test_refusals_have_the_status_that_fits(client: triton.InferenceServerClient) -> None:
    for status, words, call in (
        ("INVALID_ARGUMENT", "33 rows in one batch", lambda: client.infer(MODEL, [image(_grey(33))])),
        ("NOT_FOUND", "nobody knows a model", lambda: client.infer("nobody", [image(_grey(1))])),
        ("NOT_FOUND", "nobody knows a model", lambda: client.get_model_config("nobody")),
        ("INVALID_ARGUMENT", "budget", lambda: client.infer(MODEL, [image(_grey(1))], timeout=1)),
        ("UNIMPLEMENTED", "not implemented", lambda: client.load_model(MODEL)),
        ("UNIMPLEMENTED", "not implemented", client.get_system_shared_memory_status),
    ):
        with pytest.raises(InferenceServerException, match=f"(?i){words}") as refused:
            call()
        assert refused.value.status() == f"StatusCode.{status}"


def _grey(rows: int) -> NDArray[np.uint8]:
    return np.full((rows, 224, 224, 3), 114, np.uint8)


async def test_cancelled_calls_leave_nothing_behind(server: tuple[GatewayServer, str]) -> None:
    gateway, address = server
    async with triton_aio.InferenceServerClient(address) as client:
        calls = [asyncio.create_task(client.infer(MODEL, [image(_grey(32))])) for _ in range(6)]
        await asyncio.sleep(0.05)
        for call in calls[1:]:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert (await client.infer(MODEL, [image(pixels_for(MODEL))])).as_numpy("probabilities").shape == (3, 1000)
    async with httpx.AsyncClient(base_url=gateway.admin_url) as http:
        metrics = (await http.get("/metrics")).text
    assert "\nvision_in_flight_requests 0.0\n" in metrics
    assert 'outcome="cancelled",task="classify"' in metrics


def test_the_request_id_travels_as_metadata(client: triton.InferenceServerClient) -> None:
    result = client.infer(MODEL, [image(_grey(1))], headers={"x-request-id": "from-grpc"})
    assert result.as_numpy("embedding").shape == (1, 1280)


def test_a_port_that_is_taken_stops_the_start(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("taken")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = {"VISION_REPOSITORY": str(folder), "VISION_GRPC_PORT": str(taken.getsockname()[1])}
        gateway = GatewayServer(folder / "log", settings)
        with pytest.raises((AssertionError, TimeoutError)):
            gateway.__enter__()
        gateway.wait(20)
    assert "gRPC cannot be served" in gateway.log()

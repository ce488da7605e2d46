"""tritonclient, unchanged, against `vision serve` on either engine: the numbers that the model itself gives."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from numpy.typing import NDArray
from PIL import Image
from tritonclient.utils import InferenceServerException

from service.entry_config import read_entry
from service.entry_files import onnx_path
from service.label_sets import label_names
from tests.e2e.conftest import photograph
from tests.gateway_server import REPOSITORY, GatewayServer, require_starter_models
from tests.triton_server import TritonServer

MODEL = "mobilenet_v2"
DETECTOR, SEGMENTER, MASKS = (
    "ssdlite_efficientnet_lite0_256",
    "unet_efficientnet_lite0_192x256",
    "masks_efficientnet_lite0_256",
)
# The two engines may have two versions of ONNX Runtime.
TOLERANCE = 1e-4

CODINGS = (None, "gzip", "deflate")


def pixels_for(model: str) -> NDArray[np.uint8]:
    """(3, H, W, 3) real photographs, squashed to the model's size."""
    height, width = read_entry(REPOSITORY / model).resize.size_hw
    pictures = [Image.open(io.BytesIO(photograph(name))) for name in ("chelsea", "coffee", "astronaut")]
    return np.stack([np.asarray(picture.convert("RGB").resize((width, height))) for picture in pictures])


def straight(model: str, pixels: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """The model's outputs by ONNX Runtime alone."""
    session = ort.InferenceSession(onnx_path(REPOSITORY / model), providers=["CPUExecutionProvider"])
    names = [spec.name for spec in read_entry(REPOSITORY / model).outputs]
    return dict(zip(names, session.run(names, {"image": pixels}), strict=True))


def image(pixels: NDArray[np.uint8], *, binary: bool = True) -> triton.InferInput:
    tensor = triton.InferInput("image", list(pixels.shape), "UINT8")
    tensor.set_data_from_numpy(pixels, binary_data=binary)
    return tensor


@pytest.fixture
def client(gateway: GatewayServer) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"127.0.0.1:{gateway.port}") as client:
        yield client


def test_health_metadata_config_and_index(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL)
    assert client.is_model_ready(MODEL, "1")
    assert not client.is_model_ready(MODEL, "2")
    assert not client.is_model_ready("nobody")
    assert client.get_server_metadata()["name"] == "vision-gateway"
    metadata = client.get_model_metadata(MODEL)
    assert metadata["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, 224, 224, 3]}]
    assert client.get_model_metadata(MODEL, "1") == metadata
    config = client.get_model_config(MODEL)
    assert config["parameters"]["accuracy_metric"] == {"string_value": "top-1"}
    index = client.get_model_repository_index()
    assert {"name": MODEL, "version": "1", "state": "READY", "reason": ""} in index


@pytest.mark.parametrize("model", [MODEL, DETECTOR, SEGMENTER, MASKS])
def test_the_numbers_are_the_model_s_own(client: triton.InferenceServerClient, model: str) -> None:
    require_starter_models((model,))
    pixels = pixels_for(model)
    expected = straight(model, pixels)
    result = client.infer(model, [image(pixels)])
    assert [output["name"] for output in result.get_response()["outputs"]] == list(expected)
    for name, wanted in expected.items():
        found = result.as_numpy(name)
        assert found.dtype == wanted.dtype
        if wanted.dtype.kind == "f":
            np.testing.assert_allclose(found, wanted, atol=TOLERANCE)
        else:
            assert (found != wanted).mean() <= 1e-3  # a pixel between two classes may fall to the other side


@pytest.mark.parametrize("answered_with", CODINGS)
@pytest.mark.parametrize("sent_with", CODINGS)
@pytest.mark.parametrize("binary", [True, False], ids=["bytes", "json"])
def test_every_way_to_send_and_to_be_answered_gives_the_same(
    client: triton.InferenceServerClient, *, binary: bool, sent_with: str | None, answered_with: str | None
) -> None:
    pixels = pixels_for(MODEL)[:2]
    wishes = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("embedding", "probabilities")]
    result = client.infer(
        MODEL,
        [image(pixels, binary=binary)],
        model_version="1",
        outputs=wishes,
        request_id="number 7",
        priority=1,
        timeout=20_000_000,
        request_compression_algorithm=sent_with,
        response_compression_algorithm=answered_with,
    )
    response = result.get_response()
    assert (response["id"], response["model_name"], response["model_version"]) == ("number 7", MODEL, "1")
    assert [output["name"] for output in response["outputs"]] == ["embedding", "probabilities"]
    assert all(("data" in output) != binary for output in response["outputs"])
    for name, wanted in straight(MODEL, pixels).items():
        np.testing.assert_allclose(result.as_numpy(name), wanted, atol=TOLERANCE)


def test_the_picture_is_a_cat(client: triton.InferenceServerClient) -> None:
    chelsea = pixels_for(MODEL)[:1]
    probabilities = client.infer(MODEL, [image(chelsea)]).as_numpy("probabilities")
    assert "cat" in label_names(read_entry(REPOSITORY / MODEL))[int(probabilities[0].argmax())]


async def test_many_at_once_through_the_async_client(gateway: GatewayServer) -> None:
    pixels = pixels_for(MODEL)
    expected = straight(MODEL, pixels)["probabilities"]
    async with triton_aio.InferenceServerClient(f"127.0.0.1:{gateway.port}") as client:
        assert await client.is_model_ready(MODEL)
        results = await asyncio.gather(
            *[
                client.infer(MODEL, [image(pixels[i % 3 : i % 3 + 1], binary=i % 2 == 0)], request_id=str(i))
                for i in range(12)
            ]
        )
    for i, result in enumerate(results):
        assert result.get_response()["id"] == str(i)
        np.testing.assert_allclose(result.as_numpy("probabilities")[0], expected[i % 3], atol=TOLERANCE)


def test_statistics_have_what_perf_analyzer_reads(client: triton.InferenceServerClient) -> None:
    (before,) = client.get_inference_statistics(MODEL)["model_stats"]
    for _ in range(3):
        client.infer(MODEL, [image(pixels_for(MODEL)[:2])])
    (after,) = client.get_inference_statistics(MODEL, "1")["model_stats"]
    assert after["inference_count"] - before["inference_count"] == 6
    assert after["execution_count"] - before["execution_count"] == 3
    spans, earlier = after["inference_stats"], before["inference_stats"]
    assert spans["success"]["count"] - earlier["success"]["count"] == 3
    assert spans["compute_infer"]["ns"] > earlier["compute_infer"]["ns"]
    for name in ("success", "queue", "compute_input", "compute_infer", "compute_output"):
        assert spans[name]["ns"] >= earlier[name]["ns"]
    assert MODEL in {stats["name"] for stats in client.get_inference_statistics()["model_stats"]}


def test_refusals_reach_the_caller_as_sentences(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="33 rows in one batch"):
        client.infer(MODEL, [image(np.zeros((33, 224, 224, 3), np.uint8))])
    with pytest.raises(InferenceServerException, match=r"must be \[N, 224, 224, 3\]"):
        client.infer(MODEL, [image(np.zeros((1, 3, 224, 224), np.uint8))])
    with pytest.raises(InferenceServerException, match="nobody knows a model"):
        client.infer("nobody", [image(pixels_for(MODEL))])
    with pytest.raises(InferenceServerException, match="there is nothing at /v2/systemsharedmemory/status"):
        client.get_system_shared_memory_status()
    late = pytest.raises(InferenceServerException)
    with late as refused:
        client.infer(MODEL, [image(pixels_for(MODEL))], timeout=1)
    assert refused.value.status() in ("422", "503", "504")


@pytest.mark.triton
def test_triton_itself_says_the_same(triton_server: TritonServer, triton_gateway: GatewayServer) -> None:
    """The same client, the same call, once to the gateway and once to the server behind it."""
    pixels = pixels_for(MODEL)
    answers = []
    for address in (f"127.0.0.1:{triton_gateway.port}", triton_server.http_url.removeprefix("http://")):
        with triton.InferenceServerClient(address) as client:
            result = client.infer(MODEL, [image(pixels)], outputs=[triton.InferRequestedOutput("probabilities")])
            config = client.get_model_config(MODEL)
            metadata = client.get_model_metadata(MODEL)
            answers.append((result.as_numpy("probabilities"), config, metadata))
    (ours, config, metadata), (theirs, their_config, their_metadata) = answers
    assert (ours == theirs).all()
    assert metadata["inputs"] == their_metadata["inputs"]
    assert metadata["outputs"] == their_metadata["outputs"]
    assert metadata["versions"] == their_metadata["versions"]
    for field in ("name", "max_batch_size", "parameters"):
        assert config[field] == their_config[field]
    for field in ("input", "output"):
        for tensor, their_tensor in zip(config[field], their_config[field], strict=True):
            assert tensor.items() <= their_tensor.items()

"""/v2, the Open Inference Protocol: what comes back, what is refused and how, and that it is the same queue."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from service.drain import Drain
from service.engines.fake import FakeEngine
from service.settings import Settings
from service.tensors import read_request
from tests.cards import classifier, detector, segmenter
from tests.conftest import FakeGateway, FakeGateways
from tests.pictures import encoded, photograph

MODEL = "/v2/models/fake_large"
INFER = MODEL + "/infer"
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
SIZE = PIXELS.nbytes

Change = Callable[[dict[str, Any]], None]


def document(pixels: NDArray[np.uint8] = PIXELS, *, binary: bool = False, **more: Any) -> dict[str, Any]:
    """An inference request as JSON; `binary`: its tensor follows."""
    tensor: dict[str, Any] = {"name": "image", "shape": list(pixels.shape), "datatype": "UINT8"}
    tensor |= {"parameters": {"binary_data_size": pixels.nbytes}} if binary else {"data": pixels.ravel().tolist()}
    return {"inputs": [tensor], **more}


async def send(
    gateway: FakeGateway, header: dict[str, Any], tail: bytes | None = None, *, path: str = INFER, **headers: str
) -> httpx.Response:
    text = json.dumps(header).encode()
    if tail is not None:
        headers = {"Inference-Header-Content-Length": str(len(text))} | headers
    return await gateway.client.post(path, content=text + (tail or b""), headers=headers)


def assert_refused(answer: httpx.Response, status: int, *words: str) -> None:
    assert answer.status_code == status, answer.text[:500]
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["error"]
    error = answer.json()["error"]
    assert len(error) < 400, "a sentence, not the client's own words back"
    for word in words:
        assert word in error


def top_class(pixels: NDArray[np.uint8]) -> list[int]:
    """The class that the fake finds most likely: the picture's mean level."""
    return [int(picture.mean()) for picture in pixels]


@pytest.fixture
async def all_tasks() -> AsyncIterator[FakeGateway]:
    cards = [classifier(), detector(), segmenter("fake_semantic", "semantic"), classifier("one", max_batch_size=0)]
    async with FakeGateways(Settings(workers=2), FakeEngine(cards)) as opened:
        yield opened


async def test_json_in_json_out(fake_gateway: FakeGateway) -> None:
    answer = await send(fake_gateway, document(id="seven"))
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert answer.headers["content-type"] == "application/json"
    assert "inference-header-content-length" not in answer.headers
    assert {key: body[key] for key in ("id", "model_name", "model_version")} == {
        "id": "seven",
        "model_name": "fake_large",
        "model_version": "1",
    }
    assert [(o["name"], o["datatype"], o["shape"]) for o in body["outputs"]] == [
        ("probabilities", "FP32", [2, 1000]),
        ("embedding", "FP32", [2, 16]),
    ]
    probabilities = np.array(body["outputs"][0]["data"]).reshape(2, 1000)
    assert probabilities.argmax(1).tolist() == top_class(PIXELS)
    assert answer.headers["x-model"] == "fake_large"
    assert "infer;dur=" in answer.headers["server-timing"]


async def test_bytes_in_bytes_out_in_the_order_asked_for(fake_gateway: FakeGateway) -> None:
    outputs = [{"name": "embedding", "parameters": {"binary_data": True}}, {"name": "probabilities"}]
    header = document(binary=True, outputs=outputs)
    answer = await send(fake_gateway, header, PIXELS.tobytes())
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/octet-stream"
    end = int(answer.headers["inference-header-content-length"])
    body = json.loads(answer.content[:end])
    assert "id" not in body
    assert [o["name"] for o in body["outputs"]] == ["embedding", "probabilities"]
    assert body["outputs"][0]["parameters"] == {"binary_data_size": 2 * 16 * 4}
    embedding = np.frombuffer(answer.content[end:], np.float32).reshape(2, 16)
    assert np.allclose(embedding[:, 0], PIXELS.reshape(2, -1).mean(1))
    assert len(body["outputs"][1]["data"]) == 2000


async def test_binary_data_output_is_the_default_of_outputs_that_do_not_say(fake_gateway: FakeGateway) -> None:
    wishes = [{"name": "embedding"}, {"name": "probabilities", "parameters": {"binary_data": False}}]
    header = document(binary=True, outputs=wishes, parameters={"binary_data_output": True})
    answer = await send(fake_gateway, header, PIXELS.tobytes())
    body = json.loads(answer.content[: int(answer.headers["inference-header-content-length"])])
    assert "data" not in body["outputs"][0]
    assert "data" in body["outputs"][1]


async def test_large_json_goes_to_a_worker_and_answers_the_same(fake_gateway: FakeGateway) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    long_way, short_way = (
        await send(fake_gateway, document(pixels)),
        await send(fake_gateway, document(pixels, binary=True), pixels.tobytes()),
    )
    assert long_way.json() == short_way.json()
    nested = document(pixels)
    nested["inputs"][0]["data"] = pixels.tolist()
    assert (await send(fake_gateway, nested)).json() == long_way.json()


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_packed_both_ways(fake_gateway: FakeGateway, coding: str) -> None:
    text = json.dumps(document()).encode()
    body = gzip.compress(text) if coding == "gzip" else zlib.compress(text)
    headers = {"Content-Encoding": coding, "Accept-Encoding": coding}
    answer = await fake_gateway.client.post(INFER, content=body, headers=headers)
    assert answer.headers["content-encoding"] == coding
    assert answer.json() == (await send(fake_gateway, document())).json()


async def test_every_task_has_its_own_outputs(all_tasks: FakeGateway) -> None:
    pixels = np.zeros((3, 64, 64, 3), np.uint8)
    pixels[:, 10:20, 30:50] = (255, 0, 0)
    for model, shapes in {
        "fake_detector": {"boxes": [3, 5, 4], "scores": [3, 5], "classes": [3, 5]},
        "fake_semantic": {"class_map": [3, 64, 64]},
    }.items():
        answer = await send(
            all_tasks, document(pixels, binary=True), pixels.tobytes(), path=f"/v2/models/{model}/infer"
        )
        assert {o["name"]: o["shape"] for o in answer.json()["outputs"]} == shapes
        for name, shape in shapes.items():
            metadata = (await all_tasks.client.get(f"/v2/models/{model}")).json()
            described = next(o for o in metadata["outputs"] if o["name"] == name)
            assert described["shape"] == [-1, *shape[1:]]
    (class_map,) = answer.json()["outputs"]
    assert class_map["datatype"] == "UINT8"
    assert set(class_map["data"]) == {0, 1}


async def test_a_model_without_a_batch_axis_takes_one(all_tasks: FakeGateway) -> None:
    assert (await send(all_tasks, document(PIXELS[:1]), path="/v2/models/one/infer")).status_code == 200
    assert_refused(await send(all_tasks, document(), path="/v2/models/one/infer"), 400, "image", "2 rows", "takes 1")
    assert (await all_tasks.client.get("/v2/models/one")).json()["inputs"][0]["shape"] == [1, 32, 32, 3]


def _tensor(**changes: Any) -> Change:
    return lambda request: request["inputs"][0].update(changes)


def _top(**changes: Any) -> Change:
    return lambda request: request.update(changes)


# what is wrong → how the request is changed, status, words of the sentence
WRONG: dict[str, tuple[Change, int, tuple[str, ...]]] = {
    "name": (_tensor(name="picture"), 400, ("image", "picture")),
    "datatype": (_tensor(datatype="FP32"), 400, ("image", "UINT8", "FP32")),
    "height": (_tensor(shape=[2, 31, 32, 3]), 400, ("image", "[N, 32, 32, 3]", "[2, 31, 32, 3]")),
    "NCHW": (_tensor(shape=[2, 3, 32, 32]), 400, ("image", "[N, 32, 32, 3]")),
    "no batch axis": (_tensor(shape=[32, 32, 3]), 400, ("image", "[N, 32, 32, 3]")),
    "no shape": (_tensor(shape=[]), 400, ("image", "[N, 32, 32, 3]")),
    "no rows": (_tensor(shape=[0, 32, 32, 3], data=[]), 400, ("image", "[N, 32, 32, 3]")),
    "negative rows": (_tensor(shape=[-1, 32, 32, 3]), 400, ("image", "[N, 32, 32, 3]")),
    "too many rows": (_tensor(shape=[9, 32, 32, 3]), 400, ("image", "9 rows", "fake_large takes 8")),
    "endless rows": (_tensor(shape=[10**30, 32, 32, 3]), 400, ("image", "takes 8")),
    "shape in words": (_tensor(shape="2,32,32,3"), 400, ("inputs.0.shape",)),
    "shape in floats": (_tensor(shape=[2.0, 32, 32, 3]), 400, ("inputs.0.shape",)),
    "too few numbers": (_tensor(data=[1, 2, 3]), 400, ("image", "3 numbers", "6,144")),
    "too many numbers": (_tensor(data=[1] * 6145), 400, ("image", "6,144")),
    "a number above 255": (_tensor(data=[256] * 6144), 400, ("image", "0..255")),
    "a fraction": (_tensor(data=[0.5] * 6144), 400, ("image", "0..255")),
    "strings": (_tensor(data=["a"] * 6144), 400, ()),
    "one string": (_tensor(data="AAAA"), 400, ("image",)),
    "null": (_tensor(data=None), 400, ("image", "neither data nor binary_data_size")),
    "shared memory": (_tensor(parameters={"shared_memory_region": "x"}), 400, ("image", "shared memory")),
    "both": (_tensor(parameters={"binary_data_size": 6144}), 400, ("image", "both")),
    "no inputs": (_top(inputs=[]), 400, ("inputs",)),
    "inputs that are none": (_top(inputs=3), 400, ("inputs",)),
    "an unknown output": (_top(outputs=[{"name": "logits"}]), 400, ("logits", "probabilities, embedding")),
    "an output twice": (_top(outputs=[{"name": "embedding"}] * 2), 400, ("embedding", "2 times")),
    "classification": (
        _top(outputs=[{"name": "probabilities", "parameters": {"classification": 3}}]),
        400,
        ("probabilities", "classification"),
    ),
    "shared memory out": (
        _top(outputs=[{"name": "embedding", "parameters": {"shared_memory_region": "x"}}]),
        400,
        ("embedding", "shared memory"),
    ),
    "a sequence": (_top(parameters={"sequence_id": 3, "sequence_start": True}), 422, ("sequences",)),
    "priority 4": (_top(parameters={"priority": 4}), 400, ("priority",)),
    "a negative timeout": (_top(parameters={"timeout": -1}), 400, ("timeout",)),
    "an endless timeout": (_top(parameters={"timeout": 10**12}), 422, ("timeout", "µs")),
    "a timeout nobody meets": (_top(parameters={"timeout": 1}), 422, ("budget",)),
    "a long id": (_top(id="x" * 2000), 400, ("id",)),
    "a long header": (_top(parameters={"x": "y" * 70_000}), 413, ("65536",)),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_what_is_wrong_is_refused_and_named(fake_gateway: FakeGateway, wrong: str) -> None:
    change, status, words = WRONG[wrong]
    request = document()
    change(request)
    assert_refused(await send(fake_gateway, request), status, *words)
    await nothing_is_lost(fake_gateway)


async def test_two_inputs_are_refused(fake_gateway: FakeGateway) -> None:
    request = document()
    request["inputs"] *= 2
    assert_refused(await send(fake_gateway, request), 400, "one input, image")


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b'{"inputs":', b"\xff\xfe", b"[" * 100_000, b'"data":[1'])
async def test_what_is_no_request_is_refused(fake_gateway: FakeGateway, text: bytes) -> None:
    answer = await fake_gateway.client.post(INFER, content=text)
    assert_refused(answer, 413 if len(text) > 65_536 else 400)
    await nothing_is_lost(fake_gateway)


@pytest.mark.parametrize(
    ("tail", "headers", "words"),
    [
        (PIXELS.tobytes()[:-1], {}, ("image", "6,144 bytes are described", "6,143")),
        (PIXELS.tobytes() + b"x", {}, ("image", "6,145")),
        (b"", {}, ("image", "0 follow")),
        (PIXELS.tobytes(), {"Inference-Header-Content-Length": "99999"}, ("99999",)),
        (PIXELS.tobytes(), {"Inference-Header-Content-Length": "-5"}, ("'-5'",)),
        (PIXELS.tobytes(), {"Inference-Header-Content-Length": "9" * 5000}, ("number of bytes",)),
        (PIXELS.tobytes(), {"Inference-Header-Content-Length": "0"}, ()),
        (PIXELS.tobytes(), {"Inference-Header-Content-Length": "20"}, ()),
    ],
)
async def test_bytes_that_do_not_add_up_are_refused(
    fake_gateway: FakeGateway, tail: bytes, headers: dict[str, str], words: tuple[str, ...]
) -> None:
    assert_refused(await send(fake_gateway, document(binary=True), tail, **headers), 400, *words)
    await nothing_is_lost(fake_gateway)


async def test_bytes_that_nothing_describes_are_refused(fake_gateway: FakeGateway) -> None:
    assert_refused(await send(fake_gateway, document(), b"more"), 400, "image", "4 follow")
    wrong = document(binary=True)
    wrong["inputs"][0]["parameters"]["binary_data_size"] = 5
    assert_refused(await send(fake_gateway, wrong, b"12345"), 400, "image", "binary_data_size is 5", "6,144")


async def test_a_body_beyond_the_limit_is_refused_while_it_arrives() -> None:
    settings = Settings(workers=2, max_tensor_bytes=10_000, max_body_bytes=1024)
    async with FakeGateways(settings, FakeEngine([classifier("fake_large")])) as gateway:
        assert (await send(gateway, document(binary=True), PIXELS.tobytes())).status_code == 200
        sent = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal sent
            while True:
                sent += 1000
                yield bytes(1000)

        answer = await gateway.client.post(INFER, content=endless())
        assert_refused(answer, 413, "10,000 bytes")
        assert sent <= 12_000
        bomb = gzip.compress(bytes(1_000_000))
        assert len(bomb) < 10_000
        answer = await gateway.client.post(INFER, content=bomb, headers={"Content-Encoding": "gzip"})
        assert_refused(answer, 413, "10,000 bytes")
        answer = await gateway.client.post(INFER, content=b"x", headers={"Content-Encoding": "br"})
        assert_refused(answer, 415, "'br'")


async def nothing_is_lost(gateway: FakeGateway) -> None:
    assert await gateway.metric("vision_in_flight_requests") == 0
    assert await gateway.metric("vision_queue_depth") == 0
    assert (await send(gateway, document())).status_code == 200


async def test_models_and_versions_that_are_not_there_are_404(fake_gateway: FakeGateway) -> None:
    for path in ("", "/ready", "/config", "/stats", "/versions/1", "/versions/1/ready"):
        assert_refused(await fake_gateway.client.get("/v2/models/nobody" + path), 404, "nobody")
        assert (await fake_gateway.client.get(MODEL + path)).status_code == 200
    for path in ("", "/ready", "/config", "/stats"):
        assert_refused(await fake_gateway.client.get(f"{MODEL}/versions/2{path}"), 404, "version 1")
    assert_refused(await send(fake_gateway, document(), path="/v2/models/nobody/infer"), 404, "nobody")
    assert_refused(await send(fake_gateway, document(), path=MODEL + "/versions/2/infer"), 404, "version 1")
    assert (await send(fake_gateway, document(), path=MODEL + "/versions/1/infer")).status_code == 200
    assert_refused(await fake_gateway.client.post("/v2/repository/models/x/load"), 404, "/v2/repository/models/x/load")
    assert_refused(await fake_gateway.client.get(INFER), 405, "GET")


async def test_an_engine_that_is_away(fake_gateway: FakeGateway) -> None:
    fake_gateway.engine.available = False
    assert_refused(await send(fake_gateway, document()), 503, "switched off")
    answer = await fake_gateway.client.get("/v2/health/ready")
    assert_refused(answer, 503)
    assert answer.headers["retry-after"]
    assert_refused(await fake_gateway.client.get(MODEL + "/ready"), 503)
    assert (await fake_gateway.client.get("/v2/health/live")).json() == {"live": True}
    entries = (await fake_gateway.client.post("/v2/repository/index")).json()
    assert [(entry["name"], entry["state"]) for entry in entries] == [
        ("fake_large", "UNAVAILABLE"),
        ("fake_small", "UNAVAILABLE"),
    ]


async def test_a_model_that_fails_is_500_and_counted(fake_gateway: FakeGateway) -> None:
    fake_gateway.engine.failing.add("fake_large")
    assert_refused(await send(fake_gateway, document()), 500, "fake_large failed")
    fake_gateway.engine.failing.clear()
    await nothing_is_lost(fake_gateway)
    (stats,) = (await fake_gateway.client.get(MODEL + "/stats")).json()["model_stats"]
    assert stats["inference_stats"]["fail"]["count"] == 1
    assert stats["inference_stats"]["success"]["count"] == 1


async def test_a_deadline_that_passes_is_504(fake_gateway: FakeGateway) -> None:
    fake_gateway.engine.delay_s = 30.0
    answer = await send(fake_gateway, document(parameters={"timeout": 1_000_000, "priority": 1}))
    assert_refused(answer, 504, "in time")
    assert fake_gateway.gateway.pipeline.in_flight == 0


async def test_tensors_need_a_permit_like_pictures(fake_gateway: FakeGateway) -> None:
    """Eight are admitted; whoever is the ninth, of either kind, is told so at once."""
    fake_gateway.engine.delay_s = 1.5
    eight = [asyncio.create_task(send(fake_gateway, document())) for _ in range(8)]
    await asyncio.sleep(0.3)
    assert fake_gateway.gateway.pipeline.in_flight == 8
    assert_refused(await send(fake_gateway, document()), 503, "8 requests are in flight")
    picture = await fake_gateway.client.post(
        "/v1/classify", content=encoded(photograph()), headers={"Content-Type": "image/jpeg"}
    )
    assert picture.status_code == 503
    assert {answer.status_code for answer in await asyncio.gather(*eight)} == {200}


async def test_the_engine_is_told_deadline_and_priority(fake_gateway: FakeGateway) -> None:
    await send(fake_gateway, document(parameters={"timeout": 5_000_000, "priority": 3}))
    await send(fake_gateway, document(parameters={"timeout": 0, "priority": 0, "content_type": "np"}))
    hurried, calm = fake_gateway.engine.jobs
    assert (hurried.priority, calm.priority) == (3, 2)
    assert hurried.deadline_s is not None
    assert calm.deadline_s is not None
    assert 50 < calm.deadline_s - hurried.deadline_s < 60
    assert (hurried.pixels == PIXELS).all()


async def test_statistics_count_pictures_and_tensors(fake_gateway: FakeGateway) -> None:
    await send(fake_gateway, document())
    await fake_gateway.client.post(
        "/v1/classify?model=fake_large", content=encoded(photograph()), headers={"Content-Type": "image/jpeg"}
    )
    stats = {s["name"]: s for s in (await fake_gateway.client.get("/v2/models/stats")).json()["model_stats"]}
    assert stats.keys() == {"fake_large", "fake_small"}
    large = stats["fake_large"]
    assert (large["inference_count"], large["execution_count"]) == (3, 2)
    assert [(batch["batch_size"], batch["compute_infer"]["count"]) for batch in large["batch_stats"]] == [
        (1, 1),
        (2, 1),
    ]
    spans = large["inference_stats"]
    assert {span: spans[span]["count"] for span in spans} == dict.fromkeys(spans, 2) | {"fail": 0}
    parts = sum(spans[name]["ns"] for name in ("queue", "compute_input", "compute_infer", "compute_output"))
    assert spans["success"]["ns"] == pytest.approx(parts, abs=10)
    assert stats["fake_small"]["inference_stats"]["success"] == {"count": 0, "ns": 0}
    assert stats["fake_small"]["last_inference"] == 0


async def test_metrics_count_them_as_requests_of_their_task(fake_gateway: FakeGateway) -> None:
    await send(fake_gateway, document(parameters={"timeout": 5_000_000}))
    await send(fake_gateway, document(parameters={"priority": 9}))
    ok = 'vision_requests_total{outcome="ok",task="classify",tier="custom"}'
    assert await fake_gateway.metric(ok) == 1
    assert await fake_gateway.metric('vision_requests_total{outcome="invalid",task="classify",tier="none"}') == 1
    assert await fake_gateway.metric('vision_problems_total{code="invalid-body",status="400"}') == 1


async def test_the_config_is_triton_s_own_message(fake_gateway: FakeGateway) -> None:
    config = (await fake_gateway.client.get(MODEL + "/config")).json()
    assert config["name"] == "fake_large"
    assert config["max_batch_size"] == 8
    assert config["input"] == [{"name": "image", "data_type": "TYPE_UINT8", "dims": [32, 32, 3]}]
    assert config["dynamic_batching"]["max_queue_delay_microseconds"] == 500
    assert config["parameters"]["task"] == {"string_value": "classify"}


async def test_the_server_says_what_it_is(fake_gateway: FakeGateway) -> None:
    metadata = (await fake_gateway.client.get("/v2")).json()
    assert metadata["name"] == "vision-gateway"
    assert "binary_tensor_data" in metadata["extensions"]
    assert (await fake_gateway.client.get("/v2/health/ready")).json() == {"ready": True}
    assert (await fake_gateway.client.get(MODEL + "/ready")).json() == {"name": "fake_large", "ready": True}


async def test_bytes_become_the_model_s_input_without_being_copied() -> None:
    header = json.dumps(document(binary=True)).encode()
    body = bytearray(header + PIXELS.tobytes())
    request = read_request(classifier(), body, len(header))
    assert np.shares_memory(request.pixels, np.frombuffer(body, np.uint8))
    assert (request.pixels == PIXELS).all()


async def test_a_gateway_that_leaves_is_not_ready_here_either(fake_gateway: FakeGateway) -> None:
    drain = Drain(fake_gateway.app)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(drain), base_url="http://gateway") as client:
        assert (await client.get("/v2/health/ready")).status_code == 200
        drain.begin()
        assert_refused(await client.get("/v2/health/ready"), 503, "shutting down")
        assert (await client.get("/v2/health/live")).status_code == 200
        assert (await client.post(INFER, json=document())).status_code == 200


async def test_a_client_that_hangs_up_costs_nothing(fake_gateway: FakeGateway) -> None:
    """In the middle of its body, and while the model runs."""
    fake_gateway.engine.delay_s = 5.0
    body = json.dumps(document()).encode()
    gone: dict[str, Any] = {"type": "http.disconnect"}
    for sent, more in ((body[:99], True), (body, False)):
        messages = [{"type": "http.request", "body": sent, "more_body": more}, gone]

        async def receive(left: list[dict[str, Any]] = messages) -> dict[str, Any]:
            return left.pop(0) if len(left) > 1 else left[0]

        async def send(message: Any) -> None:
            pass

        scope = {"type": "http", "method": "POST", "path": INFER, "raw_path": INFER.encode(), "query_string": b""}
        scope |= {"headers": [], "http_version": "1.1", "scheme": "http"}
        with suppress(asyncio.CancelledError):
            async with asyncio.timeout(4):
                await fake_gateway.app(scope, receive, send)
    assert fake_gateway.engine.jobs == []
    fake_gateway.engine.delay_s = 0.0
    await nothing_is_lost(fake_gateway)

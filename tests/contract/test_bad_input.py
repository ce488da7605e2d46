"""Whatever a client sends: the documented answer, and nothing lost."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from service.gateway import Gateway
from tests.conftest import FakeGateway
from tests.contract.problem import assert_problem
from tests.pictures import encoded, photograph, png, stored

# Pillow warns of damaged metadata; the service silences that where it reads pictures.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

CLASSIFY = "/v1/classify?tier=batch"
JPEG = {"Content-Type": "image/jpeg"}
JSON = {"Content-Type": "application/json"}
MULTIPART = {"Content-Type": "multipart/form-data; boundary=edge"}
MIB = 1024 * 1024
GOOD = encoded(photograph())
GOOD_64 = base64.b64encode(GOOD).decode()


async def nothing_is_lost(gateway: FakeGateway) -> None:
    """No permit, no work left behind, and the next request is answered as if nothing had happened."""
    assert await gateway.metric("vision_in_flight_requests") == 0
    assert await gateway.metric("vision_queue_depth") == 0
    response = await gateway.client.post(CLASSIFY, content=GOOD, headers=JPEG)
    assert response.status_code == 200, response.text
    assert response.json()["image"] == {"width": 451, "height": 300}


def part(content: bytes, disposition: str = 'name="file"; filename="a.jpg"') -> bytes:
    return b"--edge\r\nContent-Disposition: form-data; " + disposition.encode() + b"\r\n\r\n" + content + b"\r\n"


END = b"--edge--\r\n"


def files(*contents: bytes) -> dict[str, Any]:
    return {"files": [("file", (f"{i}.jpg", content)) for i, content in enumerate(contents)]}


def as_json(document: Any) -> dict[str, Any]:
    return {"content": json.dumps(document).encode(), "headers": JSON}


def raw(content: bytes, content_type: str = "image/jpeg") -> dict[str, Any]:
    return {"content": content, "headers": {"Content-Type": content_type}}


def gif() -> bytes:
    return encoded(photograph(), "GIF")


# what is sent → status, code, field, limit
BODIES: dict[str, tuple[dict[str, Any], int, str, str | None, str | None]] = {
    "truncated JPEG": (raw(GOOD[:9000]), 400, "bad-image", "image", None),
    "JPEG cut off in its header": (raw(GOOD[:100]), 400, "bad-image", "image", None),
    "truncated PNG": (raw(encoded(photograph(), "PNG")[:9000], "image/png"), 400, "bad-image", "image", None),
    "truncated WebP": (raw(encoded(photograph(), "WEBP")[:5000], "image/webp"), 400, "bad-image", "image", None),
    "text named .jpg": (files(b"just some text"), 415, "unsupported-media", "image", None),
    "text that says it is a JPEG": (raw(b"just some text"), 415, "unsupported-media", "image", None),
    "0 bytes": (raw(b""), 400, "bad-image", "image", None),
    "a file of 0 bytes": (files(b""), 400, "bad-image", "image", None),
    "20,000 × 20,000": (raw(png(20_000, 20_000), "image/png"), 413, "too-large", "image", "16384 px a side"),
    "too many pixels": (raw(png(9_000, 9_000), "image/png"), 413, "too-large", "image", "50000000 px"),
    "0 × 0": (raw(png(0, 0), "image/png"), 400, "bad-image", "image", None),
    "GIF": (raw(gif(), "application/octet-stream"), 415, "unsupported-media", "image", None),
    "GIF that says so": (raw(gif(), "image/gif"), 415, "unsupported-media", "Content-Type", None),
    "a form": (raw(GOOD, "application/x-www-form-urlencoded"), 415, "unsupported-media", "Content-Type", None),
    "a very long content type": (raw(GOOD, "x" * 5000), 415, "unsupported-media", "Content-Type", None),
    "11 MiB": (raw(GOOD + bytes(11 * MIB)), 413, "too-large", "body", "10485760 bytes"),
    "11 MiB in a file": (files(GOOD + bytes(11 * MIB)), 413, "too-large", "body", "10485760 bytes"),
    "a length of 5000 digits": (
        {"content": GOOD, "headers": {**JPEG, "Content-Length": "9" * 5000}},
        *(413, "too-large", "body", "10485760 bytes"),
    ),
    "17 files": (files(*[GOOD] * 17), 413, "too-large", "images", "16 pictures"),
    "40 files": (files(*[GOOD] * 40), 413, "too-large", "images", "16 pictures"),
    "one bad file of three": (files(GOOD, b"text", GOOD), 415, "unsupported-media", "images[1]", None),
    "one damaged file of three": (files(GOOD, GOOD, GOOD[:9000]), 400, "bad-image", "images[2]", None),
    "one file cut off in its header of two": (files(GOOD, b"\xff\xd8\xff"), 400, "bad-image", "images[1]", None),
    "multipart without boundary": (raw(part(GOOD) + END, "multipart/form-data"), 400, "invalid-body", "body", None),
    "multipart with an empty boundary": (
        raw(part(GOOD) + END, "multipart/form-data; boundary="),
        *(400, "invalid-body", "body", None),
    ),
    "multipart with another boundary": (
        raw(part(GOOD) + END, "multipart/form-data; boundary=other"),
        *(400, "invalid-body", "body", None),
    ),
    "multipart cut off in its only part": (
        {"content": part(GOOD)[:9000], "headers": MULTIPART},
        *(400, "invalid-body", "body", None),
    ),
    "multipart cut off in its second part": (
        {"content": part(GOOD) + part(GOOD)[:9000], "headers": MULTIPART},
        *(400, "invalid-body", "body", None),
    ),
    "multipart cut off between parts": (
        {"content": part(GOOD), "headers": MULTIPART},
        400,
        "invalid-body",
        "body",
        None,
    ),
    "multipart of nothing": ({"content": b"", "headers": MULTIPART}, 400, "invalid-body", "body", None),
    "multipart without parts": ({"content": END, "headers": MULTIPART}, 400, "invalid-body", "image", None),
    "a text field": (
        {"content": part(GOOD) + part(b"5", 'name="top_k"') + END, "headers": MULTIPART},
        *(400, "invalid-body", "top_k", None),
    ),
    "a picture as a text field": (
        {"content": part(GOOD, 'name="file"') + END, "headers": MULTIPART},
        *(400, "invalid-body", "file", None),
    ),
    "a field without a name": (
        {"content": part(GOOD, 'filename="a.jpg"') + END, "headers": MULTIPART},
        *(400, "invalid-body", "body", None),
    ),
    "a field with an endless name": (
        {"content": part(b"", f'name="{"n" * 2000}"') + END, "headers": MULTIPART},
        *(400, "invalid-body", "n" * 80 + "…", None),
    ),
    "a hundred fields": (
        {"content": part(b"", 'name="x"') * 100 + END, "headers": MULTIPART},
        *(400, "invalid-body", "body", None),
    ),
    "not JSON": ({"content": b"image=1", "headers": JSON}, 400, "invalid-body", "body", None),
    "JSON of 0 bytes": ({"content": b"", "headers": JSON}, 400, "invalid-body", "body", None),
    "JSON cut off": (
        {"content": b'{"image": "' + GOOD_64.encode(), "headers": JSON},
        400,
        "invalid-body",
        "body",
        None,
    ),
    "JSON that is not UTF-8": (
        {"content": b'{"image": "\xff\xfe"}', "headers": JSON},
        400,
        "invalid-body",
        "body",
        None,
    ),
    "JSON nested deeply": ({"content": b"[" * 100_000, "headers": JSON}, 400, "invalid-body", "body", None),
    "JSON nested deeply where a picture belongs": (
        {"content": b'{"image":' + b'{"a":' * 100_000, "headers": JSON},
        *(400, "invalid-body", "body", None),
    ),
    "JSON null": (as_json(None), 400, "invalid-body", "body", None),
    "JSON number": (as_json(7), 400, "invalid-body", "body", None),
    "empty JSON": (as_json({}), 400, "invalid-body", "image", None),
    "image and images": (as_json({"image": GOOD_64, "images": [GOOD_64]}), 400, "invalid-body", "image", None),
    "images that are none": (as_json({"images": []}), 400, "invalid-body", "images", None),
    "bad base64": (as_json({"image": "not base64!"}), 400, "invalid-body", "image", None),
    "base64 beyond ASCII": (as_json({"image": "ÄÖÜ"}), 400, "invalid-body", "image", None),
    "base64 that lacks its end": (as_json({"image": "abcde"}), 400, "invalid-body", "image", None),
    "bad base64 among good": (as_json({"images": [GOOD_64, "%%%"]}), 400, "invalid-body", "images[1]", None),
    "base64 of nothing": (as_json({"image": ""}), 400, "bad-image", "image", None),
    "base64 of text": (
        as_json({"image": base64.b64encode(b"text").decode()}),
        *(415, "unsupported-media", "image", None),
    ),
    "17 images": (as_json({"images": [GOOD_64] * 17}), 413, "too-large", "images", "16 pictures"),
    "options in JSON": (as_json({"image": GOOD_64, "top_k": 5}), 400, "invalid-body", "top_k", None),
    "an endless JSON key": (as_json({"k" * 9000: 1}), 400, "invalid-body", "k" * 80 + "…", None),
    "a URL": (as_json({"image": "http://169.254.169.254/"}), 400, "invalid-body", "image", None),
}


@pytest.mark.parametrize(("request_", "status", "code", "field", "limit"), BODIES.values(), ids=BODIES.keys())
async def test_a_bad_body_has_its_documented_answer(
    fake_gateway: FakeGateway, request_: dict[str, Any], status: int, code: str, field: str | None, limit: str | None
) -> None:
    response = await fake_gateway.client.post(CLASSIFY, **request_)
    assert_problem(response, status, code, field=field, limit=limit)
    await nothing_is_lost(fake_gateway)


EXPORTABLE = "resnet50"
BUDGET = "X-Latency-Budget-Ms"

# query and headers → status, code, field, limit
QUERIES: dict[str, tuple[str, dict[str, str], int, str, str | None, str | None]] = {
    "unknown model": ("model=nobody", {}, 404, "unknown-model", "model", None),
    "a model's name of 9,000 letters": ("model=" + "n" * 9000, {}, 404, "unknown-model", "model", None),
    "a model's name that is a path": ("model=../../etc/passwd", {}, 404, "unknown-model", "model", None),
    "top_k of 0": ("top_k=0", {}, 422, "invalid-parameter", "top_k", "ge 1"),
    "top_k of -1": ("top_k=-1", {}, 422, "invalid-parameter", "top_k", "ge 1"),
    "top_k of 5000": ("top_k=5000", {}, 422, "invalid-parameter", "top_k", "1..1000"),
    "top_k of 1001, model named": ("top_k=1001&model=fake_small", {}, 422, "invalid-parameter", "top_k", "1..1000"),
    "top_k in words": ("top_k=five", {}, 422, "invalid-parameter", "top_k", None),
    "top_k of 5000 digits": ("top_k=" + "9" * 5000, {}, 422, "invalid-parameter", "top_k", None),
    "unknown parameter": ("topk=5", {}, 422, "invalid-parameter", "topk", None),
    "temperature of 0": ("temperature=0", {}, 422, "invalid-parameter", "temperature", "gt 0.0"),
    "temperature of nan": ("temperature=nan", {}, 422, "invalid-parameter", "temperature", "le 100.0"),
    "budget of 0": ("latency_budget_ms=0", {}, 422, "invalid-parameter", "latency_budget_ms", "gt 0.0"),
    "budget of nan": ("latency_budget_ms=nan", {}, 422, "invalid-parameter", "latency_budget_ms", "gt 0.0"),
    "budget of inf": ("latency_budget_ms=inf", {}, 422, "invalid-parameter", "latency_budget_ms", "60000 ms"),
    "budget beyond all": ("latency_budget_ms=60001", {}, 422, "invalid-parameter", "latency_budget_ms", "60000 ms"),
    "budget in words": ("latency_budget_ms=soon", {}, 422, "invalid-parameter", "latency_budget_ms", None),
    "budget twice": ("latency_budget_ms=50", {BUDGET: "50"}, 422, "invalid-parameter", BUDGET, None),
    "budget and tier": ("latency_budget_ms=50&tier=batch", {}, 422, "invalid-parameter", "tier", None),
    "header and tier": ("tier=batch", {BUDGET: "50"}, 422, "invalid-parameter", "tier", None),
    "unknown tier": (
        "tier=gold",
        {},
        *(422, "invalid-parameter", "tier"),
        "expected 'realtime', 'interactive', 'standard', 'relaxed' or 'batch'",
    ),
    "accuracy above 100": ("min_accuracy=101", {}, 422, "invalid-parameter", "min_accuracy", "le 100.0"),
    "accuracy that nobody has": ("min_accuracy=99", {}, 422, "accuracy-unsatisfiable", "min_accuracy", None),
    "priority of 4": ("priority=4", {}, 422, "invalid-parameter", "priority", "le 3"),
    **{
        f"budget header {value!r}": ("", {BUDGET: value}, 422, "invalid-parameter", BUDGET, "above 0 ms")
        for value in ("nan", "-5", "0", "soon", "", "inf", "-inf", "1e400", "5ms", "9" * 5000)
    },
    "budget header beyond all": (
        "",
        {BUDGET: "60001"},
        *(422, "invalid-parameter", "latency_budget_ms", "60000 ms"),
    ),
}


@pytest.mark.parametrize(("query", "headers", "status", "code", "field", "limit"), QUERIES.values(), ids=QUERIES.keys())
async def test_a_bad_query_has_its_documented_answer(
    fake_gateway: FakeGateway,
    query: str,
    headers: dict[str, str],
    status: int,
    code: str,
    field: str | None,
    limit: str | None,
) -> None:
    response = await fake_gateway.client.post(f"/v1/classify?{query}", content=GOOD, headers={**JPEG, **headers})
    assert_problem(response, status, code, field=field, limit=limit)
    await nothing_is_lost(fake_gateway)


async def test_a_model_that_is_not_exported_comes_with_the_command_that_exports_it(fake_gateway: FakeGateway) -> None:
    for url in (f"/v1/classify?model={EXPORTABLE}", f"/v1/embed?model={EXPORTABLE}", f"/v1/route?model={EXPORTABLE}"):
        response = await fake_gateway.client.post(url, content=GOOD, headers=JPEG)
        document = assert_problem(response, 404, "model-not-exported", field="model")
        assert f"vision-export {EXPORTABLE}" in document["detail"]
    assert_problem(await fake_gateway.client.get(f"/v1/models/{EXPORTABLE}"), 404, "model-not-exported", field="model")
    await nothing_is_lost(fake_gateway)


async def test_a_misspelt_model_is_answered_with_what_was_meant(fake_gateway: FakeGateway) -> None:
    response = await fake_gateway.client.post("/v1/classify?model=fake_larg", content=GOOD, headers=JPEG)
    assert "fake_large" in assert_problem(response, 404, "unknown-model", field="model")["detail"]


async def test_a_budget_of_1_ms_says_what_would_do(fake_gateway: FakeGateway) -> None:
    response = await fake_gateway.client.post("/v1/classify?latency_budget_ms=0.5", content=GOOD, headers=JPEG)
    limit = response.json()["limit"]
    assert_problem(response, 422, "budget-unsatisfiable", field="latency_budget_ms", limit=limit)
    assert limit.startswith("at least ")
    await nothing_is_lost(fake_gateway)


@pytest.mark.parametrize(
    ("method", "url", "allowed"),
    [
        ("GET", "/v1/classify", "POST"),
        ("PUT", "/v1/embed", "POST"),
        ("POST", "/v1/models", "GET"),
        ("DELETE", "/v1/models/fake_small", "GET"),
        ("POST", "/metrics", "GET"),
    ],
)
async def test_another_method_is_405_and_names_the_right_one(
    fake_gateway: FakeGateway, method: str, url: str, allowed: str
) -> None:
    client = fake_gateway.admin if url == "/metrics" else fake_gateway.client
    response = await client.request(method, url)
    assert_problem(response, 405, "method-not-allowed")
    assert response.headers["Allow"] == allowed


@pytest.mark.parametrize(
    "url",
    [
        "/console/none.js",
        "/console/",
        "/console/%2e%2e/settings.py",
        "/v1",
        "/v1/classify/x",
        "/v3/models",
        "/v1/models/",
        "/%ff%fe",
        "/..%2f..%2fetc",
    ],
)
async def test_an_unknown_address_is_404(fake_gateway: FakeGateway, url: str) -> None:
    response = await fake_gateway.client.get(url, follow_redirects=False)
    if url != "/v1/models/":
        assert_problem(response, 404, "not-found")
    assert response.status_code in (307, 404)


async def chunks(total: int, sent: list[int]) -> AsyncIterator[bytes]:
    for _ in range(total // 65_536):
        sent.append(65_536)
        yield bytes(65_536)


async def test_a_body_without_length_is_counted_while_it_arrives(fake_gateway: FakeGateway) -> None:
    sent: list[int] = []
    response = await fake_gateway.client.post(CLASSIFY, content=chunks(64 * MIB, sent), headers=JPEG)
    assert_problem(response, 413, "too-large", field="body", limit="10485760 bytes")
    assert sum(sent) < 11 * MIB, "what lies beyond the limit is never asked for"
    await nothing_is_lost(fake_gateway)


async def test_a_declared_length_beyond_the_limit_is_refused_unread(fake_gateway: FakeGateway) -> None:
    sent: list[int] = []
    headers = {**JPEG, "Content-Length": str(64 * MIB)}
    response = await fake_gateway.client.post(CLASSIFY, content=chunks(64 * MIB, sent), headers=headers)
    assert_problem(response, 413, "too-large", field="body", limit="10485760 bytes")
    assert sent == []


async def test_a_declared_length_below_the_truth_is_not_believed(fake_gateway: FakeGateway) -> None:
    sent: list[int] = []
    headers = {**JPEG, "Content-Length": "10"}
    response = await fake_gateway.client.post(CLASSIFY, content=chunks(64 * MIB, sent), headers=headers)
    assert_problem(response, 413, "too-large", field="body", limit="10485760 bytes")


async def test_a_body_of_exactly_the_limit_is_read(fake_gateway: FakeGateway) -> None:
    padded = GOOD + bytes(10 * MIB - len(GOOD))
    assert (await fake_gateway.client.post(CLASSIFY, content=padded, headers=JPEG)).status_code == 200


@pytest.mark.parametrize("count", [1, 2, 16])
async def test_as_many_files_as_allowed_are_answered_in_their_order(fake_gateway: FakeGateway, count: int) -> None:
    pictures = [encoded(Image.new("L", (20 + i, 30), 10 * i), "PNG") for i in range(count)]
    for request in (files(*pictures), as_json({"images": [base64.b64encode(p).decode() for p in pictures]})):
        response = await fake_gateway.client.post(CLASSIFY, **request)
        assert response.status_code == 200, response.text
        document = response.json()
        answers = document["answers"] if count > 1 else [document]
        assert [answer["image"]["width"] for answer in answers] == [20 + i for i in range(count)]
        assert [answer["predictions"][0]["class_id"] for answer in answers] == [10 * i for i in range(count)]
    await nothing_is_lost(fake_gateway)


async def test_large_files_need_no_temporary_folder(fake_gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers run read-only."""
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    response = await fake_gateway.client.post(CLASSIFY, **files(GOOD + bytes(3 * MIB), GOOD + bytes(3 * MIB)))
    assert response.status_code == 200, response.text


PICTURES: dict[str, Callable[[], bytes]] = {
    "CMYK": lambda: encoded(photograph().convert("CMYK")),
    "16-bit grey": lambda: encoded(
        Image.fromarray(np.asarray(photograph().convert("L")).astype(np.uint16) * 257), "PNG"
    ),
    "greyscale": lambda: encoded(photograph().convert("L")),
    "alpha": lambda: encoded(photograph().convert("RGBA"), "PNG"),
    "grey and alpha": lambda: encoded(photograph().convert("LA"), "PNG"),
    "palette": lambda: encoded(photograph().quantize(64), "PNG"),
    "black and white": lambda: encoded(photograph().convert("1"), "PNG"),
    "animated WebP": lambda: encoded(
        photograph(), "WEBP", save_all=True, append_images=[photograph("rocket").resize((451, 300))]
    ),
    "progressive": lambda: encoded(photograph(), progressive=True),
    "lossless WebP": lambda: encoded(photograph(), "WEBP", lossless=True),
}


@pytest.mark.parametrize("name", PICTURES)
async def test_an_odd_picture_is_a_picture(fake_gateway: FakeGateway, name: str) -> None:
    response = await fake_gateway.client.post(CLASSIFY, content=PICTURES[name](), headers=JPEG)
    assert response.status_code == 200, response.text
    assert response.json()["image"] == {"width": 451, "height": 300}
    await nothing_is_lost(fake_gateway)


@pytest.mark.parametrize("size", [(1, 1), (16_384, 1), (1, 16_384), (10_000, 8)])
async def test_an_odd_shape_is_a_picture(fake_gateway: FakeGateway, size: tuple[int, int]) -> None:
    response = await fake_gateway.client.post(CLASSIFY, content=encoded(Image.new("RGB", size), "PNG"), headers=JPEG)
    assert response.status_code == 200, response.text
    assert response.json()["image"] == {"width": size[0], "height": size[1]}


async def test_route_refuses_a_bad_picture_as_classify_does(fake_gateway: FakeGateway) -> None:
    response = await fake_gateway.client.post("/v1/route", **raw(b"just some text"))
    assert_problem(response, 415, "unsupported-media", field="image")


async def test_embed_takes_no_top_k(fake_gateway: FakeGateway) -> None:
    response = await fake_gateway.client.post("/v1/embed?top_k=3", content=GOOD, headers=JPEG)
    assert_problem(response, 422, "invalid-parameter", field="top_k")


async def test_many_bad_and_good_requests_at_once_leave_nothing_behind(fake_gateway: FakeGateway) -> None:
    bodies = [GOOD, GOOD[:9000], b"", b"text", png(20_000, 20_000)] * 12
    answers = await asyncio.gather(*[fake_gateway.client.post(CLASSIFY, content=body, headers=JPEG) for body in bodies])
    assert {answer.status_code for answer in answers} <= {200, 400, 413, 415, 503}
    assert any(answer.status_code == 200 for answer in answers)
    await nothing_is_lost(fake_gateway)


async def test_a_client_that_hangs_up_is_no_bug_and_costs_nothing(
    fake_gateway: FakeGateway, caplog: pytest.LogCaptureFixture
) -> None:
    """In the middle of its body, and while the model runs."""
    fake_gateway.engine.delay_s = 5.0

    async def call(messages: list[dict[str, Any]]) -> None:
        async def receive() -> dict[str, Any]:
            return messages.pop(0) if len(messages) > 1 else messages[0]

        async def send(message: Any) -> None:
            pass

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/classify",
            "raw_path": b"/v1/classify",
            "query_string": b"tier=batch",
            "headers": [(b"content-type", b"image/jpeg")],
            "http_version": "1.1",
            "scheme": "http",
        }
        async with asyncio.timeout(4):
            await fake_gateway.app(scope, receive, send)

    gone = {"type": "http.disconnect"}
    await call([{"type": "http.request", "body": GOOD[:99], "more_body": True}, gone])
    whole = {"type": "http.request", "body": GOOD, "more_body": False}
    with suppress(asyncio.CancelledError):
        await call([whole, gone])
    assert "bug" not in caplog.text
    fake_gateway.engine.delay_s = 0.0
    await nothing_is_lost(fake_gateway)


# --- against the real models, over a real socket


async def classified(client: httpx.AsyncClient, data: bytes) -> list[dict[str, Any]]:
    url = "/v1/classify?model=efficientnet_lite0"
    response = await client.post(url, content=data, headers={"Content-Type": "application/octet-stream"})
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["predictions"]
    return found


CATS = ("tabby", "tiger cat", "Egyptian cat", "lynx")


@pytest.mark.parametrize("name", PICTURES)
async def test_the_cat_is_a_cat_however_it_is_stored(real_gateway: httpx.AsyncClient, name: str) -> None:
    top = (await classified(real_gateway, PICTURES[name]()))[:3]
    if name != "black and white":
        assert any(cat in prediction["label"] for prediction in top for cat in CATS), top


@pytest.mark.parametrize("orientation", range(1, 9))
async def test_a_turned_picture_has_the_upright_one_s_answer(real_gateway: httpx.AsyncClient, orientation: int) -> None:
    upright = photograph("coffee")
    turned, exif = stored(upright, orientation)
    expected = await classified(real_gateway, encoded(upright, "PNG"))
    found = await classified(real_gateway, encoded(turned, "PNG", exif=exif))
    assert [p["label"] for p in found][:2] == [p["label"] for p in expected][:2]
    assert found[0]["score"] == pytest.approx(expected[0]["score"], abs=0.01)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
async def test_a_truncated_picture_is_refused_by_the_real_gateway(real_gateway: httpx.AsyncClient, format: str) -> None:
    data = encoded(photograph(), format)
    response = await real_gateway.post(CLASSIFY, content=data[: len(data) * 2 // 3], headers=JPEG)
    assert_problem(response, 400, "bad-image", field="image")


def spoken(url: str, request: bytes, body: bytes) -> bytes:
    """What a server answers on a bare socket, to a client that may never be listened to till its end."""
    host, port = url.removeprefix("http://").split(":")
    answer = io.BytesIO()
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(request)
        with suppress(OSError):
            connection.sendall(body)
        with suppress(OSError):
            while b"\r\n\r\n" not in answer.getvalue() and (received := connection.recv(65_536)):
                answer.write(received)
    return answer.getvalue()


@pytest.mark.parametrize("size_mib", [11, 40])
@pytest.mark.parametrize("chunked", [False, True])
async def test_too_much_over_a_socket_is_413_also_for_clients_that_read_last(
    real_gateway_url: str, size_mib: int, chunked: bool
) -> None:
    declared = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size_mib * MIB}"
    head = f"POST {CLASSIFY} HTTP/1.1\r\nHost: gateway\r\nContent-Type: image/jpeg\r\n{declared}\r\n\r\n"
    body = (b"10000\r\n" + bytes(65_536) + b"\r\n") * (16 * size_mib) if chunked else bytes(size_mib * MIB)
    started_s = time.monotonic()
    answer = await asyncio.to_thread(spoken, real_gateway_url, head.encode(), body)
    assert time.monotonic() - started_s < 10, "nobody is kept waiting for the rest to be read"
    assert answer.startswith(b"HTTP/1.1 413"), answer[:200]
    async with httpx.AsyncClient(base_url=real_gateway_url) as client:
        assert (await client.post(CLASSIFY, content=GOOD, headers=JPEG)).status_code == 200


async def test_a_client_that_vanishes_in_its_body_harms_nobody(real_gateway_served: tuple[str, Gateway]) -> None:
    real_gateway_url, gateway = real_gateway_served
    host, port = real_gateway_url.removeprefix("http://").split(":")
    for _ in range(5):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(
                f"POST {CLASSIFY} HTTP/1.1\r\nHost: gateway\r\nContent-Type: image/jpeg\r\n"
                f"Content-Length: {len(GOOD)}\r\n\r\n".encode()
                + GOOD[:999]
            )
    async with httpx.AsyncClient(base_url=real_gateway_url) as client:
        assert (await client.post(CLASSIFY, content=GOOD, headers=JPEG)).status_code == 200
        lines = gateway.metrics.exposition().decode().splitlines()
    assert "vision_in_flight_requests 0.0" in lines


@pytest.mark.parametrize(
    "query", ["top_k=1&top_k=2", "latency_budget_ms=10&latency_budget_ms=1000", "tier=batch&tier=batch"]
)
async def test_a_parameter_given_twice_is_refused_and_named(fake_gateway: FakeGateway, query: str) -> None:
    answer = await fake_gateway.client.post(f"/v1/classify?{query}", content=GOOD, headers=JPEG)
    assert answer.status_code == 422
    assert answer.json()["field"] == query.split("=")[0]
    assert answer.json()["limit"] == "once"


@pytest.mark.parametrize("form", ["{}=1", "top_k=1", "p{}", ""])
async def test_thousands_of_parameters_are_refused_before_they_are_taken_apart(
    fake_gateway: FakeGateway, form: str
) -> None:
    query = "&".join(form.format(i) for i in range(6_000))
    response = await fake_gateway.client.post(f"/v1/classify?{query}", content=GOOD, headers=JPEG)
    assert_problem(response, 422, "invalid-parameter", field="query", limit="64 parameters")


async def test_a_parameter_that_nobody_knows_is_named_but_not_at_length(fake_gateway: FakeGateway) -> None:
    response = await fake_gateway.client.post(f"/v1/classify?{'n' * 9000}=1", content=GOOD, headers=JPEG)
    assert_problem(response, 422, "invalid-parameter", field="n" * 80 + "…")


async def test_a_parameter_without_a_name_is_the_query_s_fault(fake_gateway: FakeGateway) -> None:
    response = await fake_gateway.client.post("/v1/classify?==", content=GOOD, headers=JPEG)
    assert_problem(response, 422, "invalid-parameter", field="query")


async def test_an_endless_address_or_method_is_not_repeated(fake_gateway: FakeGateway) -> None:
    assert_problem(await fake_gateway.client.get("/" + "a" * 9000), 404, "not-found")
    assert_problem(await fake_gateway.client.request("A" * 9000, "/v1/models"), 405, "method-not-allowed")


async def test_a_model_s_name_that_is_too_long_says_how_long_it_may_be(fake_gateway: FakeGateway) -> None:
    response = await fake_gateway.client.get("/v1/models/" + "a" * 201)
    assert_problem(response, 422, "invalid-parameter", field="name", limit="max_length 200")


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b'{"images":[' + b"1," * 2_000_000 + b"1]}", 413, "images"),
        (b'{"images":[' + b'"",' * 2_000_000 + b'""]}', 413, "images"),
        (b"{" + b",".join(b'"%d":1' % i for i in range(500_000)) + b"}", 400, "0"),
        (b'{"images":[1,2,3]}', 400, "images[0]"),
        (b'{"image":{"a":1}}', 400, "image"),
    ],
    ids=["numbers", "strings", "keys", "three numbers", "an object"],
)
async def test_a_body_full_of_causes_for_complaint_is_refused_at_the_first(
    fake_gateway: FakeGateway, body: bytes, status: int, field: str
) -> None:
    """Five million numbers where pictures belong once kept the event loop busy for three quarters of a minute."""
    started_s = time.monotonic()
    response = await fake_gateway.client.post(CLASSIFY, content=body, headers=JSON)
    assert time.monotonic() - started_s < 10
    limit = "16 pictures" if status == 413 else None
    assert_problem(response, status, "too-large" if status == 413 else "invalid-body", field=field, limit=limit)


async def test_a_damaged_multipart_body_is_nothing_for_the_log(
    fake_gateway: FakeGateway, caplog: pytest.LogCaptureFixture
) -> None:
    """The parser would warn of every one: a log that clients write."""
    response = await fake_gateway.client.post(CLASSIFY, content=b"x" * 99, headers=MULTIPART)
    assert_problem(response, 400, "invalid-body", field="body")
    assert not [record for record in caplog.records if record.name.startswith("python_multipart")]

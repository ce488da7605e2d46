"""A few hundred of what `make fuzz` tries by the thousand; and memory, counted block by block."""

from __future__ import annotations

import asyncio
import gc
import random
import tracemalloc
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.bodies import BodyLimits, read_pictures
from service.errors import RequestError
from service.image_header import read_header
from service.images import to_model_pixels
from service.manifest import ResizeRule
from tests.fuzz import wire
from tests.fuzz.cases import BUDGET, Case, picture_case, request_case
from tests.fuzz.corpus import good, nasty
from tests.fuzz.harness import Answer, Defects, complaints, errors_logged, opened, send, still_well
from tests.fuzz.mutate import harmed
from tests.gateway_server import REPOSITORY, GatewayServer, require_models
from tests.pictures import LIMITS

SEED = 7
# Fewer models: they start sooner, and what is tried here is not them.
MODELS = (
    *("mobilenet_v2", "ssdlite_efficientnet_lite0_256"),
    *("unet_efficientnet_lite0_192x256", "masks_efficientnet_lite0_256"),
)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_models()
    folder = tmp_path_factory.mktemp("models")
    for entry in REPOSITORY.iterdir():
        if entry.name in MODELS and (entry / "config.pbtxt").is_file():
            (folder / entry.name).symlink_to(entry, target_is_directory=True)
    return folder


def through_the_app(repository: Path, do: Callable[[FastAPI, Defects], Coroutine[Any, Any, None]]) -> None:
    """Runs it on an app that must be well before and after. Fails with all that was wrong."""
    defects = Defects()

    async def run() -> None:
        async with opened(repository) as app:
            expected = await still_well(app, defects)
            with errors_logged(defects):
                await do(app, defects)
            await still_well(app, defects, expected)

    asyncio.run(run())
    assert defects.found == []


def test_the_corpus_s_good_pictures_are_good(repository: Path) -> None:
    async def do(app: FastAPI, defects: Defects) -> None:
        for name, data in good().items():
            case = Case("good", name, "/v1/classify", BUDGET.encode(), data, headers=[(b"content-type", b"image/jpeg")])
            answer = await send(app, case)
            assert answer.status == 200, (name, answer.body)

    through_the_app(repository, do)


def test_every_nasty_picture_has_its_answer(repository: Path) -> None:
    """As it is, on every route."""

    async def do(app: FastAPI, defects: Defects) -> None:
        for name, data in nasty().items():
            for route in ("classify", "route"):
                headers = [(b"content-type", b"application/octet-stream")]
                answer = await send(app, Case("nasty", name, f"/v1/{route}", BUDGET.encode(), data, headers=headers))
                defects.judge(f"{route}: {name}", answer)
                assert answer.status in (200, 400, 413, 415), (name, answer.body)

    through_the_app(repository, do)


def test_no_mutated_picture_breaks_anything(repository: Path) -> None:
    async def do(app: FastAPI, defects: Defects) -> None:
        for number in range(150):
            case = picture_case(random.Random(f"{SEED}:{number}"), number)
            defects.judge(f"picture {number}, {case.name}", await send(app, case))

    through_the_app(repository, do)


def test_no_mutated_request_breaks_anything(repository: Path) -> None:
    async def do(app: FastAPI, defects: Defects) -> None:
        for number in range(200):
            case = request_case(random.Random(f"{SEED}:{number}"), number)
            defects.judge(f"request {number}, {case.kind}", await send(app, case))

    through_the_app(repository, do)


def test_no_memory_is_kept_by_what_was_refused(repository: Path) -> None:
    """The same cases again and again: a leak leaves more each time, not so what is made once or kept for a moment."""

    async def do(app: FastAPI, defects: Defects) -> None:
        async def round_of_all() -> int:
            for number in range(60):
                rng = random.Random(f"{SEED}:{number}")
                case = request_case(rng, number) if number % 2 else picture_case(rng, number)
                await send(app, case)
            gc.collect()
            return tracemalloc.get_traced_memory()[0]

        tracemalloc.start()
        try:
            await round_of_all()
            before, grew = await round_of_all(), []
            for _ in range(4):
                after = await round_of_all()
                grew.append(after - before)
                if grew[-1] < 300_000:
                    break
                before = after
        finally:
            tracemalloc.stop()
        assert grew[-1] < 300_000, f"so many bytes more each time after the same 60 requests: {grew}"

    through_the_app(repository, do)


def test_no_mutated_byte_stream_breaks_the_real_server(repository: Path, tmp_path: Path) -> None:
    defects = Defects()
    with GatewayServer(tmp_path / "log", {"VISION_REPOSITORY": str(repository), **wire.SETTINGS}) as server:
        server.wait_for("/health/ready")
        for number in range(60):
            what = wire.spoken(SEED, number)
            if what.pause_s:
                continue  # what is slow, tests/contract/test_http.py tries
            answer = wire.speak(server.port, what)
            if answer.status:
                defects.judge(f"wire {number}, {what.kind}", answer)
            elif not (what.silent or what.hang_up):
                defects.found.append(f"wire {number}, {what.kind}: no answer")
        server.wait_for("/health/ready")
    log = (tmp_path / "log").read_text(errors="replace")
    assert "Traceback" not in log
    assert defects.found == []


# --- hypothesis, on the two parsers by themselves


def assert_a_sentence(err: RequestError) -> None:
    assert err.field
    assert len(err.detail) < 400
    assert " object at 0x" not in err.detail


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    name=st.sampled_from(sorted(good())),
    seed=st.integers(0, 2**32),
    mode=st.sampled_from(["crop", "squash", "letterbox"]),
    size=st.sampled_from([(8, 8), (224, 224), (32, 100)]),
)
def test_the_decoder_gives_the_model_s_pixels_or_a_sentence(
    name: str, seed: int, mode: Any, size: tuple[int, int]
) -> None:
    data = harmed(good()[name], random.Random(seed), list(good().values()))
    try:
        header = read_header(data, LIMITS)
        if header.pixels > 1_000_000:
            return  # the app's tests take their time for those
        pixels, geometry = to_model_pixels(
            data, header, ResizeRule(mode, size, shorter_side_px=max(size) if mode == "crop" else None)
        )
    except RequestError as err:
        assert_a_sentence(err)
        return
    assert pixels.shape == (*size, 3)
    assert pixels.dtype == "uint8"
    assert sorted(geometry.image_hw) == sorted((header.height, header.width))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    content_type=st.sampled_from(["multipart/form-data; boundary=edge", "application/json", "image/png"])
    | st.text(st.characters(max_codepoint=255), max_size=60),
    body=st.binary(max_size=300)
    | st.lists(
        st.sampled_from(
            [
                b"--edge",
                b"--",
                b"\r\n",
                b"\r",
                b": ",
                b'name="a"; filename="b"',
                b"Content-Disposition: form-data; ",
                b"x",
            ]
        )
    ).map(b"".join)
    | st.recursive(
        st.sampled_from(["null", "1", '"AAAA"', "{}"]),
        lambda inner: st.lists(inner).map(lambda some: f'{{"images": [{",".join(some)}]}}'),
    ).map(str.encode),
)
def test_the_body_parser_gives_pictures_or_a_sentence(content_type: str, body: bytes) -> None:
    from starlette.requests import Request

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", content_type.encode("latin-1"))]}
    try:
        pictures = asyncio.run(read_pictures(Request(scope, receive), BodyLimits(10_000, 4, 5.0)))
    except RequestError as err:
        assert_a_sentence(err)
    else:
        assert 1 <= len(pictures) <= 4


# --- the judge itself


@pytest.mark.parametrize(
    "bad",
    [
        Answer(500, {}, b"", 0.0),
        Answer(502, {}, b"", 0.0),
        Answer(200, {"content-type": "application/json"}, b'{"score": NaN}', 0.0),
        Answer(200, {}, b"", 99.0),
        Answer(400, {"content-type": "text/plain"}, b"no", 0.0),
        Answer(400, {"content-type": "application/problem+json"}, b'{"type": "about:blank", "status": 400}', 0.0),
        Answer(
            400,
            {"content-type": "application/problem+json"},
            b'{"type": "urn:vision-gateway:problem:bad-image", "status": 400, "detail": "x"}',
            0.0,
        ),
        Answer(
            413,
            {"content-type": "application/problem+json"},
            b'{"type": "urn:vision-gateway:problem:too-large", "status": 413, "detail": "x", "field": "body"}',
            0.0,
        ),
    ],
    ids=lambda answer: f"{answer.status} {answer.body[-20:]!r}",
)
def test_the_judge_sees_what_is_wrong(bad: Answer) -> None:
    assert list(complaints(bad))

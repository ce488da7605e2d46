"""The tree of errors: what its docstring, its classes and the documentation say is the same."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from service import errors, problems
from service.engines.fake import FakeEngine
from service.engines.protocol import Job, Outputs
from service.errors import VisionError
from service.manifest import ModelCard, TensorSpec
from service.settings import Settings
from tests.cards import classifier
from tests.conftest import FakeGateway, FakeGateways
from tests.contract.problem import assert_problem
from tests.pictures import encoded, photograph

API_PAGE = Path(__file__).resolve().parents[2] / "docs" / "api.md"
# `├── InvalidParameter    422  a query parameter…` or `├── RequestError   400..422: the client can mend it`
TREE_LINE = re.compile(r"[├└]── (?P<name>\w+)(?: +(?P<status>\d{3}(?:\.\.\d{3})?))?")

JPEG = {"Content-Type": "image/jpeg"}


def subclasses(error: type[VisionError]) -> list[type[VisionError]]:
    found = [error]
    for child in error.__subclasses__():
        if child.__module__.startswith("service."):
            found += subclasses(child)
    return found


ALL = subclasses(VisionError)
IN_TREE = [error for error in ALL if error.__module__ == errors.__name__ and error is not VisionError]


def tree() -> dict[str, str | None]:
    assert errors.__doc__
    return {match["name"]: match["status"] for match in TREE_LINE.finditer(errors.__doc__)}


def test_the_tree_names_every_class_and_no_other() -> None:
    assert set(tree()) == {error.__name__ for error in IN_TREE}


@pytest.mark.parametrize("error", IN_TREE)
def test_the_status_in_the_tree_is_the_class_s(error: type[VisionError]) -> None:
    said = tree()[error.__name__]
    if said is None:
        assert error.status == 500, "only what is nobody's fault but ours goes without a status in the tree"
    elif ".." in said:
        low, high = map(int, said.split(".."))
        assert low <= error.status <= high
        assert all(low <= child.status <= high for child in subclasses(error))
    else:
        assert error.status == int(said)


def test_codes_are_unique_and_stable_in_form() -> None:
    codes = [error.code for error in ALL]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in codes)


@pytest.mark.parametrize("error", ALL)
def test_every_class_has_a_title_of_its_own(error: type[VisionError]) -> None:
    assert error.title
    assert [other.title for other in ALL].count(error.title) == 1
    assert not error.title.endswith(".")


@pytest.mark.parametrize("error", [error for error in ALL if error.status == 503])
def test_what_passes_by_itself_says_when_to_come_back(error: type[VisionError]) -> None:
    assert error.retry_after_s is not None


def test_the_documentation_lists_exactly_these_codes() -> None:
    """A row a code; groups that are never raised themselves need none."""
    rows = re.findall(r"^\| (\d{3}) \| `([a-z-]+)` \|", API_PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    groups = {"bad-request", "unavailable", "engine-error", "invalid-entry", "internal"}
    raised = {error.code: str(error.status) for error in ALL if error.code not in groups}
    assert {code: status for status, code in rows if code not in groups} == raised


@pytest.mark.parametrize(("status", "retry_after_s", "header"), [(503, 0.02, "1"), (503, 1.2, "2"), (503, 60.0, "60")])
async def test_retry_after_is_whole_seconds_rounded_up(
    fake_gateway: FakeGateway, status: int, retry_after_s: float, header: str
) -> None:
    app = fake_gateway.app

    @app.get("/raise")
    async def fail() -> None:
        raise errors.Overloaded("full", limit="1", retry_after_s=retry_after_s)

    response = await fake_gateway.client.get("/raise")
    document = assert_problem(response, status, "overloaded", limit="1")
    assert response.headers["Retry-After"] == header
    assert document["retry_after_s"] == retry_after_s


async def test_a_bug_is_500_in_the_same_shape_and_tells_nothing(
    fake_gateway: FakeGateway, caplog: pytest.LogCaptureFixture
) -> None:
    app = fake_gateway.app

    @app.get("/bug")
    async def fail() -> None:
        raise RuntimeError("the secret of the house")

    response = await fake_gateway.client.get("/bug", headers={"X-Request-Id": "find-me"})
    assert_problem(response, 500, "internal")
    assert "secret" not in response.text
    assert response.headers["X-Request-Id"] == "find-me"
    assert "find-me failed" in caplog.text
    assert "the secret of the house" in caplog.text


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("abc-123", True),
        ("a" * 128, True),
        ("a" * 129, False),
        ("", False),
        ("a b", False),
        ("a\tb", False),
        ("é", False),
    ],
)
async def test_a_client_s_own_id_is_kept_if_it_is_harmless(fake_gateway: FakeGateway, given: str, kept: bool) -> None:
    headers = [(b"X-Request-Id", given.encode("latin-1"))]
    response = await fake_gateway.client.get("/health/live", headers=headers)
    assert (response.headers["X-Request-Id"] == given) is kept
    assert response.headers["X-Request-Id"]


# --- every error that a request can meet


async def test_an_engine_that_is_away_is_503(fake_gateway: FakeGateway) -> None:
    fake_gateway.engine.available = False
    for _ in range(2):  # found out by a request, then known
        response = await fake_gateway.client.post(
            "/v1/classify?tier=batch", content=encoded(photograph()), headers=JPEG
        )
        assert_problem(response, 503, "engine-unavailable")
    assert_problem(await fake_gateway.client.get("/health/ready"), 503, "engine-unavailable")
    assert (await fake_gateway.client.get("/health/live")).status_code == 200


async def test_a_model_that_fails_is_500_and_names_itself_only(fake_gateway: FakeGateway) -> None:
    fake_gateway.engine.failing = {"fake_large", "fake_small"}
    url = "/v1/classify?model=fake_small"
    response = await fake_gateway.client.post(url, content=encoded(photograph()), headers=JPEG)
    document = assert_problem(response, 500, "engine-failed")
    assert "fake_small" in document["detail"]


async def test_a_queue_that_is_too_long_is_503_with_a_time(fake_gateway: FakeGateway) -> None:
    fake_gateway.engine.wait_s = 100.0
    response = await fake_gateway.client.post("/v1/classify?tier=batch", content=encoded(photograph()), headers=JPEG)
    limit = response.json().get("limit")
    document = assert_problem(response, 503, "deadline-infeasible", limit=limit)
    assert document["retry_after_s"] > 10


async def test_a_model_that_is_late_is_504(fake_gateway: FakeGateway) -> None:
    fake_gateway.engine.delay_s = 5.0
    url = "/v1/classify?model=fake_small&latency_budget_ms=500"
    response = await fake_gateway.client.post(url, content=encoded(photograph()), headers=JPEG)
    assert_problem(response, 504, "deadline-exceeded")


async def test_a_late_answer_is_handed_over_if_wanted(fake_gateway: FakeGateway) -> None:
    fake_gateway.engine.delay_s = 0.6
    url = "/v1/classify?model=fake_small&latency_budget_ms=500&late=return"
    response = await fake_gateway.client.post(url, content=encoded(photograph()), headers=JPEG)
    assert response.status_code == 200, response.text


async def test_beyond_the_requests_admitted_at_once_it_is_503(fake_gateway: FakeGateway) -> None:
    fake_gateway.engine.delay_s = 0.3
    picture = encoded(photograph())
    url = "/v1/classify?model=fake_small"
    answers = await asyncio.gather(*[fake_gateway.client.post(url, content=picture, headers=JPEG) for _ in range(20)])
    refused = [answer for answer in answers if answer.status_code != 200]
    assert len(refused) == 12, "eight are admitted at once"
    for answer in refused:
        assert_problem(answer, 503, "overloaded", limit="8 requests in flight")
    assert await fake_gateway.metric("vision_in_flight_requests") == 0


async def test_a_body_that_never_comes_is_400() -> None:
    async def slowly() -> AsyncIterator[bytes]:
        yield encoded(photograph())[:500]
        await asyncio.sleep(60)
        yield b""

    settings = Settings(workers=1, body_timeout_s=0.2)
    async with FakeGateways(settings, FakeEngine([classifier()])) as gateway, asyncio.timeout(20):
        response = await gateway.client.post("/v1/classify?tier=batch", content=slowly(), headers=JPEG)
        assert_problem(response, 400, "invalid-body", field="body", limit="0.2 s")
        assert await gateway.metric("vision_in_flight_requests") == 0


async def test_an_empty_repository_is_503_not_ready() -> None:
    async with FakeGateways(Settings(workers=1), FakeEngine([])) as gateway:
        assert_problem(await gateway.client.get("/health/ready"), 503, "not-ready")
        for url in ("/v1/classify", "/v1/embed", "/v1/route", "/v1/classify?model=fake_small"):
            response = await gateway.client.post(url, content=encoded(photograph()), headers=JPEG)
            assert_problem(response, 503, "not-ready")
        assert (await gateway.client.get("/v1/models")).json()["models"] == []


async def test_a_model_of_another_task_is_422() -> None:
    outputs = (
        TensorSpec("boxes", "FP32", (9, 4)),
        TensorSpec("scores", "FP32", (9,)),
        TensorSpec("classes", "INT32", (9,)),
    )
    detector = classifier("detector", task="detect", outputs=outputs)
    async with FakeGateways(Settings(workers=1), FakeEngine([classifier(), detector])) as gateway:
        url = "/v1/classify?model=detector"
        response = await gateway.client.post(url, content=encoded(photograph()), headers=JPEG)
        assert_problem(response, 422, "wrong-task", field="model")


async def test_only_untrained_models_are_404_unless_named_and_then_say_so() -> None:
    async with FakeGateways(Settings(workers=1), FakeEngine([classifier("raw", accuracy=None)])) as gateway:
        picture = encoded(photograph())
        response = await gateway.client.post("/v1/classify?tier=batch", content=picture, headers=JPEG)
        assert_problem(response, 404, "no-model")
        named = await gateway.client.post("/v1/classify?model=raw", content=picture, headers=JPEG)
        assert named.status_code == 200, named.text
        assert "random weights" in named.json()["warnings"][0]


@pytest.mark.parametrize(
    "bad",
    [
        classifier("bad", label_set="nobody-ships-this"),
        classifier("bad", outputs=(TensorSpec("probabilities", "FP32", (1001,)),)),
    ],
    ids=["unknown label set", "more classes than names"],
)
async def test_one_entry_that_cannot_be_served_takes_no_other_with_it(bad: ModelCard) -> None:
    async with FakeGateways(Settings(workers=1), FakeEngine([bad, classifier("good")])) as gateway:
        assert (await gateway.client.get("/health/ready")).status_code == 200
        assert [model["name"] for model in (await gateway.client.get("/v1/models")).json()["models"]] == ["good"]
        response = await gateway.client.post("/v1/classify?tier=batch", content=encoded(photograph()), headers=JPEG)
        assert response.json()["model"]["name"] == "good"


async def test_an_engine_that_answers_with_nan_has_failed() -> None:
    class Broken(FakeEngine):
        async def infer(self, job: Job) -> Outputs:
            outputs = await super().infer(job)
            nothing = {name: np.full_like(array, np.nan) for name, array in outputs.arrays.items()}
            return replace(outputs, arrays=nothing)

    async with FakeGateways(Settings(workers=1), Broken([classifier()])) as gateway:
        for url in ("/v1/classify?tier=batch", "/v1/embed?tier=batch"):
            response = await gateway.client.post(url, content=encoded(photograph()), headers=JPEG)
            assert_problem(response, 500, "engine-failed")


def test_the_two_errors_of_the_surface_itself_are_problems_too() -> None:
    assert {problems.NotFound.status, problems.MethodNotAllowed.status} == {404, 405}

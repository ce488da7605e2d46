"""The client against a small real server: what it repeats, what it never repeats, and what it makes of refusals."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from service.client import (
    AsyncClient,
    Client,
    ClientError,
    DeadlineExceeded,
    ModelNotFound,
    NoAnswerInTime,
    NotAllowed,
    NotAvailable,
    NotReachable,
    PictureRefused,
    ProblemError,
    RequestRefused,
    ServerFailed,
    UnexpectedAnswer,
    Unsatisfiable,
)
from service.client.attempts import Attempts, Wait
from service.client.calls import Call
from tests.scripted_server import MODELS, READY, Reply, ScriptedServer, problem

BUSY = problem(503, "overloaded", retry_after_s=0.05)
Asks = Callable[..., Any]


@pytest.fixture(params=["waiting", "async"])
def models(request: pytest.FixtureRequest) -> Asks:
    """`models(url, **arguments of the client)`, through either client: what holds for one holds for both."""

    def waiting(url: str, **arguments: Any) -> Any:
        with Client(url, **arguments) as client:
            return client.models()

    async def awaited(url: str, **arguments: Any) -> Any:
        async with AsyncClient(url, **arguments) as client:
            return await client.models()

    return waiting if request.param == "waiting" else lambda url, **more: asyncio.run(awaited(url, **more))


@pytest.fixture(params=["waiting", "async"])
def route(request: pytest.FixtureRequest) -> Asks:
    """The same for `route(url, **options of the call)`."""

    def waiting(url: str, **options: Any) -> Any:
        with Client(url) as client:
            return client.route(**options)

    async def awaited(url: str, **options: Any) -> Any:
        async with AsyncClient(url) as client:
            return await client.route(**options)

    return waiting if request.param == "waiting" else lambda url, **more: asyncio.run(awaited(url, **more))


# --- what is repeated


def test_a_503_with_retry_after_is_repeated_after_that_time(models: Asks) -> None:
    with ScriptedServer(BUSY, BUSY, MODELS) as server:
        started_s = time.monotonic()
        assert models(server.url) == ()
        assert time.monotonic() - started_s >= 0.1
        assert len(server.asked) == 3


def test_a_429_with_retry_after_is_repeated_too(models: Asks) -> None:
    with ScriptedServer(problem(429, "too-many-requests", retry_after_s=0.01), MODELS) as server:
        assert models(server.url) == ()


def test_the_header_counts_where_the_document_says_nothing(models: Asks) -> None:
    with ScriptedServer(Reply(503, b"<html>upstream is busy</html>", {"Retry-After": "1"}), MODELS) as server:
        started_s = time.monotonic()
        assert models(server.url) == ()
        assert time.monotonic() - started_s >= 1.0


def test_it_gives_up_after_as_many_repetitions_as_it_was_given(models: Asks) -> None:
    with ScriptedServer(BUSY) as server:
        with pytest.raises(NotAvailable) as caught:
            models(server.url, retries=2)
        assert len(server.asked) == 3
    assert caught.value.retry_after_s == 0.05


@pytest.mark.parametrize("give", ["timeout_s", "budget_ms"])
def test_it_does_not_wait_for_a_time_beyond_its_deadline(give: str, route: Asks) -> None:
    with ScriptedServer(problem(503, "deadline-infeasible", retry_after_s=30)) as server:
        started_s = time.monotonic()
        with pytest.raises(NotAvailable):
            route(server.url, **{give: 2 if give == "timeout_s" else 2000})
        assert time.monotonic() - started_s < 1.5
        assert len(server.asked) == 1


def test_a_repeated_request_has_only_what_is_left_of_its_budget(route: Asks) -> None:
    with ScriptedServer(problem(503, "overloaded", retry_after_s=0.2), problem(400, "bad-request")) as server:
        with pytest.raises(RequestRefused):
            route(server.url, budget_ms=5000)
        first, second = (float(asked.query["latency_budget_ms"]) for asked in server.asked)
    assert first == 5000
    assert 3000 < second <= 4800


def test_a_remainder_too_small_for_any_model_is_the_first_refusals_fault(route: Asks) -> None:
    with ScriptedServer(BUSY, problem(422, "budget-unsatisfiable")) as server:
        with pytest.raises(NotAvailable) as caught:
            route(server.url, budget_ms=1000)
        assert len(server.asked) == 2
    assert caught.value.code == "overloaded"


def test_a_connection_that_is_refused_is_tried_again(models: Asks) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    opened: list[ScriptedServer] = []

    def open_late() -> None:
        opened.append(ScriptedServer(MODELS, port=port).__enter__())

    timer = threading.Timer(0.15, open_late)
    timer.start()
    try:
        assert models(f"http://127.0.0.1:{port}", retries=20) == ()
    finally:
        timer.join()
        opened[0].__exit__()


# --- what is not


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (problem(400, "bad-image", field="images[2]"), PictureRefused),
        (problem(413, "too-large", limit="10 bytes"), PictureRefused),
        (problem(404, "unknown-model"), ModelNotFound),
        (problem(404, "not-found"), RequestRefused),
        (problem(422, "accuracy-unsatisfiable"), Unsatisfiable),
        (problem(401, "unauthorized"), NotAllowed),
        (problem(403, "forbidden"), NotAllowed),
        (problem(500, "engine-failed"), ServerFailed),
        (problem(503, "not-ready"), NotAvailable),
        (problem(504, "deadline-exceeded"), DeadlineExceeded),
    ],
    ids=lambda value: value.document["type"] if isinstance(value, Reply) else "",
)
def test_every_other_refusal_is_raised_at_once_as_what_it_is(
    reply: Reply, error: type[ProblemError], models: Asks
) -> None:
    with ScriptedServer(reply) as server:
        with pytest.raises(error) as caught:
            models(server.url)
        assert len(server.asked) == 1
    err = caught.value
    assert type(err) is error
    assert (err.status, err.type, err.detail) == (reply.status, reply.document["type"], reply.document["detail"])
    assert (err.title, err.instance, err.retry_after_s) == ("Title", "abc", None)
    assert (err.field, err.limit) == (reply.document.get("field"), reply.document.get("limit"))
    assert err.detail in str(err)


def test_an_answer_that_does_not_come_is_not_asked_for_twice(models: Asks) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(NoAnswerInTime, match=r"within 0\.3 s"):
            models(url, timeout_s=0.3)
        silent.settimeout(0.05)
        silent.accept()[0].close()
        with pytest.raises(TimeoutError):
            silent.accept()


def test_a_connection_that_breaks_is_not_tried_again(models: Asks) -> None:
    with socket.create_server(("127.0.0.1", 0)) as rude:
        threading.Thread(target=lambda: rude.accept()[0].close()).start()
        with pytest.raises(NotReachable, match="the connection broke"):
            models(f"http://127.0.0.1:{rude.getsockname()[1]}")


@pytest.mark.parametrize(
    "reply",
    [Reply(200, b"<html>"), Reply(200, [1, 2]), Reply(200, {"models": [{}]}), Reply(502, b"no"), Reply(302, {})],
)
def test_what_is_no_gateway_is_said_to_be_none(reply: Reply, models: Asks) -> None:
    with ScriptedServer(reply) as server, pytest.raises(UnexpectedAnswer, match=server.url):
        models(server.url)


def test_nobody_there_is_said_within_the_retries(models: Asks) -> None:
    with pytest.raises(NotReachable, match="does not answer"):
        models("http://127.0.0.1:1", retries=1)


def test_every_error_is_a_client_error() -> None:
    errors = (NotReachable, NoAnswerInTime, UnexpectedAnswer, ProblemError)
    assert all(issubclass(error, ClientError) for error in errors)


# --- how it speaks


def test_calls_share_a_connection_and_send_the_key() -> None:
    with ScriptedServer(MODELS) as server, Client(server.url, api_key="s3cret") as client:
        for _ in range(3):
            client.models()
        assert {asked.connection for asked in server.asked} == {0}
        assert {asked.headers["Authorization"] for asked in server.asked} == {"Bearer s3cret"}
        assert "s3cret" not in repr(client.connection)


def test_readiness_is_asked_once_and_says_why_not() -> None:
    with ScriptedServer(problem(503, "not-ready", retry_after_s=1.0), READY) as server, Client(server.url) as client:
        first, second = client.ready(), client.ready()
    assert (bool(first), first.detail) == (False, "because of not-ready")
    assert bool(second)


def test_a_gateway_below_a_path_is_asked_there() -> None:
    with ScriptedServer(MODELS) as server, Client(f"{server.url}/vision/") as client:
        client.models()
        assert server.asked[0].path == "/vision/v1/models"


def test_options_travel_under_the_names_of_the_api(route: Asks) -> None:
    with ScriptedServer(problem(400, "bad-request")) as server, pytest.raises(RequestRefused):
        route(server.url, task="segment", kind="instance", tier="relaxed", min_accuracy=50.5, priority=None)
    assert server.asked[0].query == {
        "task": "segment",
        "kind": "instance",
        "tier": "relaxed",
        "min_accuracy": "50.5",
    }


def test_the_clients_tier_holds_for_calls_without_a_budget_of_their_own() -> None:
    with ScriptedServer(problem(400, "bad-request")) as server, Client(server.url, tier="relaxed") as client:
        for options in ({}, {"tier": "batch"}, {"budget_ms": 70}):
            with pytest.raises(RequestRefused):
                client.classify(b"x", **options)
        with pytest.raises(RequestRefused):
            client.detect(b"x", classes=["a", "b"])
    assert [asked.query for asked in server.asked] == [
        {"tier": "relaxed"},
        {"tier": "batch"},
        {"latency_budget_ms": "70"},
        {"classes": "a,b", "tier": "relaxed"},
    ]


@pytest.mark.parametrize("arguments", [{"url": "127.0.0.1:8080"}, {"timeout_s": 0}, {"retries": -1}])
def test_a_client_that_cannot_work_is_refused_at_once(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must|begin"):
        Client(**{"url": "http://127.0.0.1:8080", **arguments})


def test_a_misspelt_option_is_refused_before_anything_is_sent() -> None:
    with ScriptedServer(MODELS) as server, Client(server.url) as client:
        with pytest.raises(TypeError, match="classify\\(\\) has no option 'topk'"):
            client.classify(b"x", topk=1)  # type: ignore[call-overload]
        with pytest.raises(TypeError, match="score_threshold"):
            client.classify(b"x", score_threshold=0.5)  # type: ignore[call-overload]
        assert server.asked == []


def attempts_of(now_s: list[float], timeout_s: float = 65.0, **params: Any) -> Attempts[Any]:
    """Of a call that has been turned away or not reached, by a clock that the test moves."""
    call: Call[Any] = Call("POST", "/v1/classify", params, lambda document: document)
    attempts = Attempts(call, "http://gateway", timeout_s, 3, clock=lambda: now_s[0])
    attempts.request_arguments()
    return attempts


TURNED_AWAY = httpx.Response(BUSY.status, json=BUSY.document, headers=BUSY.headers)
NOT_REACHED = httpx.ConnectError("nobody there")


@pytest.mark.parametrize(("outcome", "error"), [(TURNED_AWAY, NotAvailable), (NOT_REACHED, NotReachable)])
@pytest.mark.parametrize(("timeout_s", "params"), [(65.0, {"latency_budget_ms": 200.0}), (0.2, {"tier": "batch"})])
def test_a_wait_that_took_longer_than_it_should_ends_with_what_it_waited_for(
    outcome: Any, error: type[ClientError], timeout_s: float, params: dict[str, Any]
) -> None:
    """Not with a 422 for a budget below zero, and not with a try of a millisecond."""
    now_s = [0.0]
    attempts = attempts_of(now_s, timeout_s, **params)
    assert isinstance(attempts.after(outcome), Wait)
    now_s[0] = 0.201
    with pytest.raises(error):
        attempts.request_arguments()


@pytest.mark.parametrize("outcome", [TURNED_AWAY, NOT_REACHED])
def test_whatever_it_is_repeated_for_a_request_has_what_is_left_of_its_budget(outcome: Any) -> None:
    now_s = [0.0]
    attempts = attempts_of(now_s, latency_budget_ms=1000.0)
    assert isinstance(attempts.after(outcome), Wait)
    now_s[0] = 0.4
    assert attempts.request_arguments()["params"]["latency_budget_ms"] == pytest.approx(600.0)

"""Refusals from the headers: only while the loop is behind, only what is known, each counted as any other."""

from __future__ import annotations

import asyncio
import json

import pytest

from service.errors import DeadlineInfeasible, OverFairShare, Overloaded
from service.front import BEHIND_S, STANDS_AT_LEAST_S, STANDS_S, Asked, Front
from service.loop_lag import CALM_S, LATE_S, SUSTAINED_S, TICK_S, LoopLag
from service.metrics import Metrics

QUERY = b"tier=relaxed&top_k=3"
REFUSED = DeadlineInfeasible("the queue is too long", retry_after_s=0.4)


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def front(clock: Clock) -> Front:
    return Front(Metrics(), LoopLag(clock), clock)


def asked(front: Front, query: bytes = QUERY, *headers: tuple[bytes, bytes]) -> Asked:
    found = front.asked(b"POST", b"/v1/classify", query, headers)
    assert found is not None
    return found


def fall_behind(front: Front, clock: Clock, late_s: float) -> None:
    """The timer is set, and should have rung `late_s` ago."""
    loop = asyncio.new_event_loop()  # never runs: the test rings the timer itself
    front.lag.arm(loop)
    loop.close()
    clock.now_s += TICK_S + late_s


def drown(front: Front, clock: Clock) -> None:
    """Late again and again, and late just now."""
    for _ in range(round(SUSTAINED_S / LATE_S) + 2):
        fall_behind(front, clock, LATE_S + 0.001)
        front.lag.ring()
    fall_behind(front, clock, LATE_S)


def test_a_loop_that_keeps_up_refuses_nothing_from_headers(front: Front, clock: Clock) -> None:
    asked(front).refused(REFUSED)
    fall_behind(front, clock, BEHIND_S / 2)
    assert front.refusal(asked(front)) is None


def test_behind_a_refusal_is_repeated_for_the_same_request_alone_and_not_for_long(front: Front, clock: Clock) -> None:
    asked(front).refused(REFUSED)
    fall_behind(front, clock, BEHIND_S * 2)
    assert front.refusal(asked(front)) is REFUSED
    assert front.refusal(asked(front, b"tier=batch")) is None
    assert front.refusal(asked(front, QUERY, (b"authorization", b"Bearer another"))) is None
    assert front.refusal(asked(front, QUERY, (b"x-latency-budget-ms", b"90"))) is None
    clock.now_s += STANDS_S
    assert front.refusal(asked(front)) is None


@pytest.mark.parametrize("again_s", [0.001, 0.05, 0.08, 2.0])
def test_a_refusal_stands_until_there_would_be_time_again(front: Front, clock: Clock, again_s: float) -> None:
    """Repeated for longer it would leave workers idle: in 100 ms a queue of 100 ms is empty."""
    last = asked(front)
    clock.now_s += BEHIND_S
    err = DeadlineInfeasible("the queue is too long", retry_after_s=again_s)
    last.refused(err)
    clock.now_s += min(STANDS_S, max(STANDS_AT_LEAST_S, again_s)) * 0.99
    assert front.refusal(last) is err
    clock.now_s += STANDS_S * 0.02
    assert front.refusal(last) is None


def test_while_the_loop_drowns_a_refusal_stands_as_long_as_it_can(front: Front, clock: Clock) -> None:
    err = DeadlineInfeasible("the queue is too long", retry_after_s=0.001)
    drown(front, clock)
    asked(front).refused(err)
    clock.now_s += STANDS_S * 0.9
    assert front.refusal(asked(front)) is err


def test_who_waited_for_its_turn_is_told_at_once_though_the_loop_is_catching_up(front: Front, clock: Clock) -> None:
    """A burst was read in one go, and its first requests were refused while the last of it waited."""
    last = asked(front)
    clock.now_s += BEHIND_S * 2
    asked(front).refused(REFUSED)
    assert front.lag.behind_s() == 0.0
    assert front.refusal(asked(front)) is None
    assert front.refusal(last) is REFUSED


def test_who_presses_is_not_looked_at_whatever_it_asks_though_the_loop_keeps_up(front: Front, clock: Clock) -> None:
    """Looks at a flood's requests, each with a budget of its own, took the time that the others' pictures needed."""
    key = (b"authorization", b"Bearer flood")
    err = OverFairShare("2 requests of yours are in flight already, and others wait behind them")
    asked(front, QUERY, key).refused(err)
    assert front.refusal(asked(front, b"latency_budget_ms=51.7", key)) is err
    assert front.refusal(asked(front, QUERY, (b"authorization", b"Bearer calm"))) is None
    clock.now_s += STANDS_AT_LEAST_S
    assert front.refusal(asked(front, QUERY, key)) is None


def test_a_hiccup_is_no_reason_to_refuse_who_was_not_refused_before(front: Front, clock: Clock) -> None:
    asked(front).served()
    fall_behind(front, clock, 0.5)
    assert front.refusal(asked(front)) is None


def test_a_loop_that_only_lacks_a_core_refuses_nobody(front: Front, clock: Clock) -> None:
    asked(front).served()
    drown(front, clock)
    assert front.refusal(asked(front)) is None


def test_a_drowning_loop_refuses_known_requests_and_looks_at_new_ones(front: Front, clock: Clock) -> None:
    asked(front, b"latency_budget_ms=90.5").served()
    drown(front, clock)
    asked(front, b"tier=realtime").refused(REFUSED)
    assert isinstance(front.refusal(asked(front, b"latency_budget_ms=87")), Overloaded)
    assert front.refusal(asked(front, b"latency_budget=87")) is None
    front.lag.ring()
    clock.now_s += CALM_S
    fall_behind(front, clock, BEHIND_S)
    assert front.refusal(asked(front, b"latency_budget_ms=87")) is None


@pytest.mark.parametrize(("method", "path"), [(b"GET", b"/v1/classify"), (b"POST", b"/v1/route"), (b"GET", b"/live")])
def test_only_pictures_are_refused(front: Front, method: bytes, path: bytes) -> None:
    assert front.asked(method, path, b"", []) is None


@pytest.mark.parametrize(
    ("query", "tier"),
    [
        (b"", "standard"),
        (b"tier=batch", "batch"),
        (b"top_k=2&tier=interactive", "interactive"),
        (b"tier=nonsense", "standard"),
        (b"latency_budget_ms=20", "custom"),
        (b"model=fake", "none"),
        (b"model=fake&tier=relaxed", "relaxed"),
    ],
)
def test_it_is_counted_under_the_tier_it_asked_for(front: Front, query: bytes, tier: str) -> None:
    assert asked(front, query).tier == tier


def test_the_answer_is_the_problem_and_counts(front: Front, clock: Clock) -> None:
    request = asked(front)
    clock.now_s += 0.004
    answer = front.answer(request, REFUSED, [(b"x-request-id", b"mine")])
    headers, document = dict(answer.headers), json.loads(answer.body)
    assert answer.status == document["status"] == 503
    assert document["type"].endswith(":deadline-infeasible")
    assert document["instance"] == headers[b"x-request-id"].decode() == "mine"
    assert headers[b"retry-after"] == b"1"
    assert headers[b"server-timing"] == b"refused;dur=4.000"
    assert headers[b"x-content-type-options"] == b"nosniff"
    text = front._metrics.exposition().decode()
    assert 'vision_requests_total{outcome="shed",task="classify",tier="relaxed"} 1.0' in text
    assert 'vision_problems_total{code="deadline-infeasible",status="503"} 1.0' in text
    for gained in ("slo_met", "effective_accuracy_sum"):
        assert f'vision_{gained}_total{{task="classify",tier="relaxed"}} 0.0' in text, "its absence would hide the miss"


def test_what_is_remembered_is_bounded(front: Front) -> None:
    for number in range(5000):
        asked(front, b"model=m" + bytes([97 + number % 26]) * (number // 26)).refused(REFUSED)
    assert len(front._refusals) <= 4096
    assert len(front._shapes) <= 4096

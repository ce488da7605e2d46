"""A minute of the long run: nothing is lost, nothing is kept, and the counters are the client's own."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks import counters, mix
from benchmarks.soak import COMES_AND_GOES, soak_a_gateway
from tests.gateway_server import require_models, require_starter_models


@pytest.mark.timeout(240)
def test_a_minute_of_mixed_load_with_faults_leaves_everything_as_it_was() -> None:
    require_models()
    require_starter_models((*mix.MODELS, *COMES_AND_GOES))
    run = soak_a_gateway(1.0)
    assert run.problems == []
    assert run.statuses[200] > 0
    assert run.statuses[400] > 0
    assert run.events["entry corrupted"] > 0
    assert run.events["model came"] > 0


def test_a_count_that_differs_is_named() -> None:
    requests = 'vision_requests_total{outcome="%s",task="classify",tier="none"}'
    problems = 'vision_problems_total{code="bad-image",status="400"}'
    after = {requests % "ok": 5.0, requests % "invalid": 2.0, problems: 2.0}
    assert counters.compare({}, after, Counter({200: 5, 400: 2}), 0) == []
    assert counters.compare({}, after, Counter({200: 6, 400: 1}), 0) == [
        "400: client 1, server 2",
        "200: client 6, server 5",
    ]


def test_who_hung_up_is_either_of_two_answers_that_nobody_read() -> None:
    problems = 'vision_problems_total{code="%s",status="%s"}'
    requests = 'vision_requests_total{outcome="%s",task="classify",tier="none"}'
    after = {problems % ("bad-image", "400"): 3.0, problems % ("overloaded", "503"): 2.0}
    after |= {requests % "invalid": 3.0, requests % "shed": 2.0}
    assert counters.compare({}, after, Counter({400: 2, 503: 1}), 0, hung_up=2) == []
    assert counters.compare({}, after, Counter({400: 2, 503: 2}), 0, hung_up=2) == [
        "hung up: client 2, server 1",
        "requests: client 6, server 5",
    ]
    assert counters.compare({}, after, Counter({400: 4, 503: 2}), 0) == [
        "400: client 4, server 3",
        "requests: client 6, server 5",
    ]

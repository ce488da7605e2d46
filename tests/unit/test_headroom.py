"""The headroom: it learns from requests close to the edge alone, and from misses quickly."""

from __future__ import annotations

import numpy as np
import pytest

from service.headroom import FIRST, LEAST, MOST, Headroom


def observe(headroom: Headroom, count: int, *, late: bool, p95_ms: float = 90.0) -> None:
    for _ in range(count):
        headroom.observe(p95_ms=p95_ms, budget_ms=100.0, late=late)


def test_requests_with_time_to_spare_say_nothing() -> None:
    headroom = Headroom()
    observe(headroom, 1000, late=False, p95_ms=50.0)
    observe(headroom, 1000, late=True, p95_ms=50.0)
    assert headroom.share == FIRST


def test_it_shrinks_while_promises_hold_and_never_vanishes() -> None:
    headroom = Headroom()
    observe(headroom, 200, late=False)
    assert LEAST < headroom.share < FIRST
    observe(headroom, 5000, late=False)
    assert headroom.share == LEAST


def test_a_few_broken_promises_take_back_what_many_kept_ones_gave() -> None:
    headroom = Headroom()
    observe(headroom, 400, late=False)
    observe(headroom, 3, late=True)
    assert headroom.share > FIRST


def test_one_broken_promise_costs_a_seasoned_gateway_a_point() -> None:
    headroom = Headroom()
    observe(headroom, 5000, late=False)
    observe(headroom, 1, late=True)
    assert headroom.share == pytest.approx(LEAST + 0.01, abs=1e-3)


def test_the_widest_headroom_still_has_an_edge_to_learn_from() -> None:
    """Nobody is admitted beyond it, so what is close to the edge has to move with it."""
    headroom = Headroom()
    observe(headroom, 1000, late=True)
    for _ in range(5000):
        headroom.observe(p95_ms=0.9 * 100.0 * (1.0 - headroom.share), budget_ms=100.0, late=False)
    assert headroom.share == LEAST


def test_it_has_an_end_however_late_everybody_is() -> None:
    headroom = Headroom()
    observe(headroom, 1000, late=True)
    assert headroom.share == MOST


@pytest.mark.parametrize("noise_ms", [2.0, 5.0, 10.0])
def test_about_one_in_200_at_the_edge_is_late_however_noisy_the_machine(noise_ms: float) -> None:
    """Everybody is admitted as late as the headroom allows, and what they take is off by so much."""
    headroom, rng = Headroom(), np.random.default_rng(11)
    late = []
    for _ in range(20_000):
        p95_ms = 100.0 * (1.0 - headroom.share)
        late.append(p95_ms + rng.normal(-1.64 * noise_ms, noise_ms) > 100.0)
        headroom.observe(p95_ms=p95_ms, budget_ms=100.0, late=late[-1])
    assert np.mean(late[2000:]) <= 0.006

"""How often, and how many at once: token buckets and the fair share of permits, without clock or network."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.fair_share import ALPHA, Permits, admits
from service.rate_limit import Buckets, Rate, TokenBucket


def test_a_burst_passes_then_the_rate_holds() -> None:
    bucket = TokenBucket(Rate(per_s=2.0, burst=3), now_s=0.0)
    assert [bucket.take(0.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert bucket.take(0.25) == pytest.approx(0.25)
    assert bucket.take(0.5) == 0.0
    assert bucket.take(100.0) == 0.0


@given(
    per_s=st.floats(0.1, 1000),
    burst=st.integers(1, 50),
    gaps_s=st.lists(st.floats(0, 2), min_size=1, max_size=200),
)
def test_never_more_pass_than_burst_and_rate_allow(per_s: float, burst: int, gaps_s: list[float]) -> None:
    bucket = TokenBucket(Rate(per_s, burst), now_s=0.0)
    now_s, passed = 0.0, 0
    for gap_s in gaps_s:
        now_s += gap_s
        passed += bucket.take(now_s) == 0.0
    assert passed <= burst + now_s * per_s + 1e-6


@given(per_s=st.floats(0.1, 1000), burst=st.integers(1, 5))
def test_who_waits_as_long_as_told_is_let_in(per_s: float, burst: int) -> None:
    bucket = TokenBucket(Rate(per_s, burst), now_s=0.0)
    wait_s = next(wait_s for _ in range(100) if (wait_s := bucket.take(0.0)) > 0)
    assert bucket.take(wait_s * (1 + 1e-9) + 1e-9) == 0.0


def test_a_clock_that_goes_back_gives_nothing_away() -> None:
    bucket = TokenBucket(Rate(1.0, 1), now_s=10.0)
    assert bucket.take(10.0) == 0.0
    assert bucket.take(5.0) > 0.0


def test_each_name_has_its_own_bucket_and_a_new_rate_a_new_one() -> None:
    buckets = Buckets()
    slow = Rate(1.0, 1)
    assert buckets.take("a", slow, 0.0) == 0.0
    assert buckets.take("a", slow, 0.0) > 0.0
    assert buckets.take("b", slow, 0.0) == 0.0
    assert buckets.take("a", Rate(1.0, 2), 0.0) == 0.0


def test_buckets_do_not_grow_with_the_addresses_that_ask() -> None:
    buckets = Buckets(most=100)
    for number in range(10_000):
        buckets.take(str(number), Rate(1.0, 1), 0.0)
    assert len(buckets) == 100


def test_without_keys_the_limit_alone_binds() -> None:
    permits = Permits(8)
    assert [permits.take("anonymous") for _ in range(9)] == [True] * 8 + [False]


@pytest.mark.parametrize("limit", [2, 3, 8, 64, 256])
def test_a_flood_never_takes_the_last_permit(limit: int) -> None:
    permits = Permits(limit, shared=True)
    while permits.take("flood"):
        pass
    assert permits.in_flight < limit
    assert permits.in_flight >= limit * ALPHA // (ALPHA + 1) - 1, "one client alone is not kept small for nobody's sake"
    assert permits.take("another"), "who holds nothing is let in at once"


@pytest.mark.parametrize("floods", [2, 3, 5])
def test_floods_get_equal_parts_however_unequal_they_are(floods: int) -> None:
    """One of them asks up to forty times as often; in the end they hold the same, while permits come and go."""
    rng = random.Random(3)
    permits, held = Permits(256, shared=True), Counter[str]()
    for _ in range(60_000):
        client = "0" if rng.random() < 0.9 else str(rng.randrange(1, floods))
        if permits.take(client):
            held[client] += 1
        if rng.random() < 0.02 and (held.total()):  # one is answered, whosever it is
            done = rng.choices(list(held), [held[name] for name in held])[0]
            held[done] -= 1
            permits.give(done)
    shares = sorted(held.values())
    assert len(shares) == floods
    assert shares[0] >= 0.8 * shares[-1], shares


@given(held=st.integers(0, 300), free=st.integers(0, 300), shared=st.booleans())
def test_nobody_is_let_in_where_there_is_no_room(held: int, free: int, shared: bool) -> None:
    assert not admits(held, 0, shared=shared)
    if free > 0:
        assert admits(0, free, shared=shared)
    if admits(held, free, shared=True):
        assert admits(held, free, shared=False)


def test_what_is_given_back_is_free_again() -> None:
    permits = Permits(4, shared=True)
    assert permits.take("a")
    assert permits.take("b")
    permits.give("a")
    assert (permits.held("a"), permits.held("b"), permits.in_flight) == (0, 1, 1)


class Crowd:
    """Permits of four workers at a time of our own."""

    def __init__(self, limit: int = 256) -> None:
        self.now_s = 100.0
        self.permits = Permits(limit, shared=True, workers=4, clock=lambda: self.now_s)

    def fill(self, client: str) -> int:
        """How many the client holds once it has asked for all it can get."""
        while self.permits.take(client):
            pass
        return self.permits.held(client)

    def answer(self, client: str, count: int) -> None:
        for _ in range(count):
            self.permits.give(client)


def test_who_misses_a_deadline_behind_a_flood_has_the_flood_thinned_for_a_while() -> None:
    crowd = Crowd()
    flood = crowd.fill("flood")
    assert flood > 200
    assert crowd.permits.take("calm")
    crowd.permits.missed("calm")
    crowd.answer("flood", flood)
    assert crowd.fill("flood") == 4, "one a worker: none that waits"
    assert crowd.fill("calm") == 16, "all of four permits a worker: it was let in less often"
    crowd.now_s += 3.0
    assert crowd.fill("flood") > 100


def test_a_flood_stays_thinned_while_it_presses_and_the_other_is_there() -> None:
    """Given up every two seconds, thinning would begin each time with a request of the calm client that is late."""
    crowd = Crowd()
    flood = crowd.fill("flood")
    assert crowd.permits.take("calm")
    crowd.permits.missed("calm")
    crowd.answer("flood", flood)
    for _ in range(20):
        crowd.now_s += 0.5
        assert crowd.permits.take("calm")
        crowd.answer("calm", 1)
        assert crowd.fill("flood") <= 4
        crowd.answer("flood", crowd.permits.held("flood") // 2)
    crowd.answer("calm", 1)
    for _ in range(10):
        crowd.now_s += 0.5
        crowd.fill("flood")
    assert crowd.permits.held("flood") > 200, "who was crowded out has left"


@pytest.mark.parametrize("floods", [1, 2, 3, 4])
def test_thinned_floods_together_leave_the_next_free_worker_to_who_waits(floods: int) -> None:
    crowd = Crowd()
    assert crowd.permits.take("calm")
    names = [f"flood {number}" for number in range(floods)]
    for name in names * 20:
        assert crowd.permits.take(name)
    crowd.permits.missed("calm")
    for name in names:
        crowd.answer(name, 20)
    assert 0 < sum(crowd.fill(name) for name in names) <= 4


def test_in_a_thinned_crowd_who_was_let_in_more_often_gives_way_and_comes_back() -> None:
    crowd = Crowd()
    held = crowd.fill("flood")
    assert crowd.permits.take("calm")
    crowd.permits.missed("calm")
    crowd.answer("flood", held)
    assert (crowd.fill("flood"), crowd.fill("calm")) == (4, 16)
    for _ in range(30):  # the calm one turns into the flood
        crowd.now_s += 0.1
        crowd.answer("calm", crowd.permits.held("calm"))
        crowd.fill("calm")
        crowd.fill("flood")
    for name in ("calm", "flood"):
        crowd.answer(name, crowd.permits.held(name))
    assert (crowd.fill("calm"), crowd.fill("flood")) == (4, 16)


@pytest.mark.parametrize(("calm", "each"), [(1, 16), (2, 8), (5, 3), (20, 1)])
def test_those_who_ask_seldom_share_what_the_workers_can_keep_moving(calm: int, each: int) -> None:
    """A burst of theirs is not cut off: behind a flood that only keeps the workers busy they are in time."""
    crowd = Crowd()
    flood = crowd.fill("flood")
    names = [f"calm {number}" for number in range(calm)]
    for name in names:
        assert crowd.permits.take(name)
    crowd.permits.missed(names[0])
    crowd.answer("flood", flood)
    assert [crowd.fill(name) for name in names] == [each] * calm


def test_only_who_was_let_in_more_often_than_others_in_a_thinned_crowd_presses() -> None:
    crowd = Crowd()
    flood = crowd.fill("flood")
    assert crowd.permits.take("calm")
    assert not crowd.permits.presses("flood"), "nobody was hurt yet"
    crowd.permits.missed("calm")
    crowd.answer("flood", flood)
    crowd.fill("calm")
    assert crowd.permits.presses("flood")
    assert not crowd.permits.presses("calm"), "though it is at its limit as well"
    crowd.now_s += 3.0
    assert not crowd.permits.presses("flood")


def test_nobody_presses_on_clients_that_have_left() -> None:
    crowd = Crowd()
    flood = crowd.fill("flood")
    assert crowd.permits.take("calm")
    crowd.now_s += 1.0
    assert not crowd.permits.take("flood")
    crowd.permits.missed("calm")
    crowd.answer("flood", flood)
    crowd.answer("calm", 1)
    crowd.now_s += 1.5  # still thinned, but it is 2.5 s since the other asked
    crowd.fill("flood")
    assert not crowd.permits.presses("flood")


def test_a_flood_that_misses_its_own_deadlines_thins_nobody() -> None:
    crowd = Crowd()
    assert crowd.permits.take("calm")
    flood = crowd.fill("flood")
    crowd.permits.missed("flood")
    crowd.answer("flood", flood)
    assert crowd.fill("flood") == flood


def test_who_is_alone_is_never_thinned() -> None:
    crowd = Crowd()
    held = crowd.fill("alone")
    crowd.permits.missed("alone")
    crowd.answer("alone", 1)
    assert crowd.permits.take("alone")
    assert crowd.permits.held("alone") == held


def test_bursts_that_hurt_nobody_are_not_thinned() -> None:
    crowd = Crowd()
    assert [crowd.permits.take(name) for name in ("a", "b") for _ in range(30)] == [True] * 60


def test_clients_that_left_are_forgotten() -> None:
    crowd = Crowd()
    for number in range(5000):
        assert crowd.permits.take(str(number))
        crowd.answer(str(number), 1)
        crowd.now_s += 1.0
        crowd.permits.missed("nobody")
    assert len(crowd.permits._asked_s) <= 4


def test_clients_that_left_are_forgotten_though_nobody_is_ever_hurt() -> None:
    crowd = Crowd()
    for number in range(5000):
        assert crowd.permits.take(str(number))
        crowd.answer(str(number), 1)
        crowd.now_s += 1.0
    assert len(crowd.permits._asked_s) <= 1100
    assert len(crowd.permits._let_in) <= 1100

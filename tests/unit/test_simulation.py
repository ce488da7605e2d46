"""The simulation counts as the gateway does, and its oracle deserves the name."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.arrivals import GAMMA_CV2, PROCESSES, Arrivals, arrivals, missing
from benchmarks.fleets import Fleet, Spread, Workload, capacity_per_s, workload
from benchmarks.oracle import best_schedule, upper_bound
from benchmarks.policies import Ours, Policy, fixed
from benchmarks.scores import Outcome, score
from benchmarks.shared_machine import SharedMachine
from benchmarks.virtual_engine import Clock, VirtualWorkers, Work
from benchmarks.virtual_gateway import VirtualGateway
from service.image_header import ImageHeader
from service.work_queue import Lane
from service.workers import Workers
from tests.cards import classifier

BUDGET_MS = 100.0


def fleet(*, workers: int = 2) -> Fleet:
    """78 % in 24 ms, 75 % in 12 ms, 71 % in 8 ms."""
    cards = [
        classifier(name, accuracy=accuracy, run_ms=run_ms)
        for name, accuracy, run_ms in (("large", 78.0, 24.0), ("middle", 75.0, 12.0), ("small", 71.0, 8.0))
    ]
    times = tuple(Spread(run_ms, 0.08) for run_ms in (24.0, 12.0, 8.0))
    return Fleet(workers, tuple(cards), times, Spread(1.2, 0.2), (ImageHeader("jpeg", 500, 375),))


def load(process: str, share: float, *, seconds: float = 10.0, seed: int = 1) -> Workload:
    of = fleet()
    return workload(of, arrivals(process, share * capacity_per_s(of, 2), seconds, seed), BUDGET_MS, seed)


@pytest.mark.parametrize("process", PROCESSES)
def test_every_process_offers_exactly_the_wanted_rate(process: str) -> None:
    if why := missing(process):
        pytest.skip(why)
    came = arrivals(process, 50.0, 20.0, seed=3)
    assert len(came.times_s) == 1000
    assert came.times_s[0] >= 0.0
    assert came.times_s[-1] <= 20.0
    assert (np.diff(came.times_s) >= 0).all()


@pytest.mark.parametrize(("process", "cv2"), GAMMA_CV2.items())
def test_gamma_gaps_are_as_bursty_as_named(process: str, cv2: float) -> None:
    assert arrivals(process, 1000.0, 100.0, seed=1).cv2 == pytest.approx(cv2, rel=0.15)


def test_the_same_seed_is_the_same_load() -> None:
    first, second = load("gamma-16", 0.7), load("gamma-16", 0.7)
    assert (first.run_ms == second.run_ms).all()
    assert (first.times_s == second.times_s).all()


async def test_the_backlog_is_what_the_real_workers_say() -> None:
    """Two kinds of work wait behind a thread that is busy; some of it is announced only."""
    real, clock = Workers(1), Clock()
    virtual = VirtualWorkers(clock, 1)
    held, holding = threading.Event(), threading.Event()

    def hold(items: list[None]) -> list[None]:
        holding.set()
        held.wait(10)
        return items

    pieces = [(0.5, 0.02, 0.03), (0.2, 0.01, 0.0), (0.9, 0.04, 0.05), (0.3, 0.02, 0.01)]
    lane: Lane[None, None] = Lane("held", hold)
    tasks = [asyncio.create_task(real.run(lane, None))]
    await asyncio.to_thread(holding.wait, 10)
    now_s = time.monotonic()
    virtual.put(Work(60.0, 0.0, 60.0, lambda took_s: None, lambda: None))
    for deadline_s, cost_s, after_s in pieces:
        tasks.append(asyncio.create_task(real.run(lane, None, cost_s=cost_s, deadline_s=now_s + deadline_s)))
        real.announce(after_s, now_s + deadline_s)
        virtual.put(Work(deadline_s, cost_s, cost_s, lambda took_s: None, lambda: None, after_s))
    await asyncio.sleep(0.01)
    for deadline_s in (0.1, 0.25, 0.4, 0.6, 1.0):
        told = real.backlog(now_s + deadline_s)
        wait_s, room_s = virtual.backlog(deadline_s)
        assert told.wait_s == pytest.approx(wait_s, abs=1e-6)
        assert told.room_s == pytest.approx(room_s, abs=0.1)
    held.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    await real.close()


def test_work_is_taken_by_deadline_and_dropped_when_hopeless() -> None:
    clock, order = Clock(), list[str]()
    workers = VirtualWorkers(clock, 1)

    def put(name: str, deadline_s: float, cost_s: float = 1.0) -> None:
        done, dropped = (lambda took_s: order.append(name)), (lambda: order.append(f"no {name}"))
        workers.put(Work(deadline_s, cost_s, cost_s, done, dropped))

    put("first", 9.0)
    put("late", 8.0)
    put("soon", 2.5)
    put("hopeless", 2.9)
    clock.run()
    assert order == ["first", "soon", "no hopeless", "late"]
    assert clock.now_s == 3.0


def test_every_request_comes_to_one_end() -> None:
    outcomes = VirtualGateway(load("gamma-64", 1.5), Ours(fleet())).run()
    assert len(outcomes) == len(load("gamma-64", 1.5).times_s)
    assert {outcome.status for outcome in outcomes} <= {200, 503, 504}
    assert all(outcome.latency_ms <= BUDGET_MS for outcome in outcomes)


@pytest.mark.parametrize("process", ["poisson", "gamma-64"])
@pytest.mark.parametrize("share", [0.3, 1.0, 1.5])
def test_nobody_is_above_the_bound_and_the_oracle_is_close_below(process: str, share: float) -> None:
    offered = load(process, share, seconds=4.0)
    best, bound = best_schedule(offered)[0], upper_bound(offered)
    assert 0.95 * bound <= best <= bound + 1e-6
    policies: list[Policy] = [Ours(fleet()), fixed(fleet(), 0), fixed(fleet(), 2)]
    for policy in policies:
        outcomes = VirtualGateway(offered, policy).run()
        assert sum(outcome.accuracy for outcome in outcomes if outcome.in_time) <= bound + 1e-6


def test_the_oracle_finds_the_best_of_a_case_done_by_hand() -> None:
    """One worker, three pictures at once, 89 ms: the largest model leaves too little for the others."""
    three = load("poisson", 0.5, seconds=0.1)
    times = np.zeros(3)
    one = replace(three.fleet, workers=1, front_ms=0.0, post_ms=0.0)
    case = Workload(
        one, times, three.headers[:1] * 3, np.zeros((3, 3)), np.tile([50.0, 30.0, 10.0], (3, 1)), np.full(3, 89.0)
    )
    assert best_schedule(case) == (75.0 + 75.0 + 71.0, 3)  # 30 + 30 + 10 ms


@pytest.mark.parametrize("process", ["poisson", "gamma-4", "gamma-16", "gamma-64"])
@pytest.mark.parametrize("share", [0.3, 0.7, 1.5])
def test_ours_is_about_as_good_as_the_best_single_model_and_far_better_than_the_worst(
    process: str, share: float
) -> None:
    offered = load(process, share, seconds=20.0)
    policies: list[Policy] = [Ours(fleet()), *(fixed(fleet(), model) for model in range(3))]
    reached = [score(VirtualGateway(offered, policy).run(), 20.0).effective_accuracy for policy in policies]
    assert reached[0] >= 0.96 * max(reached[1:])
    assert reached[0] > min(reached[1:])


@pytest.mark.parametrize("process", ["poisson", "gamma-16"])
def test_who_is_admitted_is_answered_in_time_at_70_percent_and_beyond(process: str) -> None:
    for share in (0.7, 1.5):
        result = score(VirtualGateway(load(process, share, seconds=20.0), Ours(fleet())).run(), 20.0)
        assert result.in_time_of_admitted >= 99.0


def test_a_bad_spell_on_a_shared_machine_does_not_spoil_the_calm_after_it() -> None:
    """Budgets of all lengths at 150 %, a loop that takes its share, a neighbour on a core: promises break by the
    hundred, above all those of long budgets, which everybody overtakes. Then peace: the largest model would do."""
    of, dice = fleet(), np.random.default_rng(1)
    rate = 0.75 * capacity_per_s(of, 2)
    storm = arrivals("poisson", 1.5 * rate, 15.0, seed=1).times_s
    calm = 20.0 + arrivals("poisson", 0.2 * rate, 20.0, seed=2).times_s
    times = np.concatenate([storm, calm])
    budgets = np.where(times < 20.0, dice.choice([50.0, 150.0, 500.0], len(times)), 60.0)
    offered = workload(of, Arrivals("spell", times, 40.0), budgets, seed=1)
    gateway = VirtualGateway(offered, Ours(of), machine=SharedMachine(2, 0.7, ((4.0, 7.0), (10.0, 12.0))))
    after = score(gateway.run()[len(storm) :], 20.0)
    assert after.models["large"] > 80.0
    assert after.in_time_of_admitted >= 99.0


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_promises_hold_on_a_shared_machine(share: float) -> None:
    """A neighbour who comes and goes costs up to three points of coverage, and nobody's budget."""
    of = fleet()
    neighbours = tuple((float(at), at + 1.5) for at in range(3, 30, 6))
    offered = load("poisson", 0.75 * share, seconds=30.0)
    gateway = VirtualGateway(offered, Ours(of), machine=SharedMachine(2, 0.7, neighbours))
    assert score(gateway.run(), 30.0).in_time_of_admitted >= 99.0
    coverage = gateway.predictor.coverage()
    assert coverage is not None
    assert 0.915 <= coverage <= 0.97


def test_the_loop_reads_one_after_the_other_and_slows_the_workers() -> None:
    machine = SharedMachine(2, loop_ms=10.0, neighbours=((1.0, 2.0),))
    assert machine.slowdown(0.5) == 1.0
    assert machine.slowdown(1.5) == 1.5
    assert machine.read(3.0) == pytest.approx(3.010)
    assert machine.read(3.0) == pytest.approx(3.020)
    assert machine.slowdown(3.020) == pytest.approx(1.5), (
        "busy all the time that is looked back on, on one of two cores"
    )
    assert machine.slowdown(3.030) == pytest.approx(1.25)
    assert machine.slowdown(9.0) == 1.0


def test_a_score_is_counted_over_all_offered() -> None:
    outcomes = [
        Outcome(200, 40.0, 50.0, "large", 80.0, True),
        Outcome(200, 60.0, 50.0, "large", 80.0, True, wasted_ms=30.0),
        Outcome(503, 5.0, 50.0, late_ms=2.0),
        Outcome(504, 50.0, 50.0),
    ]
    result = score(outcomes, 2.0)
    assert (result.in_time_of_offered, result.in_time_of_admitted) == (25.0, 33.33)
    assert (result.effective_accuracy, result.top1) == (20.0, 25.0)
    assert (result.shed, result.missed, result.goodput_per_s) == (1, 2, 0.5)
    assert (result.shed_p50_ms, result.wasted_ms_per_s) == (3.0, 15.0)

"""Budget → model, as a table: numbers in, a choice or a refusal out."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.image_header import ImageHeader
from service.latency import Estimates, Predictor
from service.routing import STEP_UP_AFTER, Choice, Demand, Pressure, Refusal, Steadiness, admit_pinned, choose, fullness
from service.variants import Variants
from tests.cards import classifier


def models(*accuracies: float) -> Variants:
    """Variants a, b, c… with those accuracies, which must fall."""
    return Variants([classifier(chr(97 + i), accuracy=value) for i, value in enumerate(accuracies)])


def estimates(typical_ms: Sequence[float], *, wait_ms: float = 0.0, spent_ms: float = 0.0) -> Estimates:
    """p95 is twice the typical time; unloaded is the typical time without the wait; the headroom is 10 %."""
    run_ms = np.array(typical_ms, np.float64)
    return Estimates(
        p95_ms=(run_ms + wait_ms) * 2 + spent_ms,
        p50_ms=run_ms + wait_ms + spent_ms,
        unloaded_ms=run_ms,
        run_ms=run_ms,
        work_ms=run_ms,
        expected_ms=run_ms + wait_ms,
        alone_ms=run_ms,
        spent_ms=spent_ms,
        wait_ms=wait_ms,
        headroom=0.10,
    )


def decide(
    variants: Variants, when: Estimates, demand: Demand, *, room_ms: float = math.inf, held: Steadiness | None = None
) -> Choice | Refusal:
    return choose(variants, when, demand, room_ms=room_ms, steadiness=held or Steadiness())


ABC = models(80.0, 75.0, 70.0)
SPEEDS = [40.0, 20.0, 5.0]  # p95: 80, 40, 10

TABLE: list[tuple[str, Demand, dict[str, Any], Choice | str]] = [
    ("time for all", Demand(1000), {}, Choice(0, "most-accurate")),
    ("90 % of the budget counts", Demand(89), {}, Choice(0, "most-accurate")),
    ("just below it", Demand(88), {}, Choice(1, "within-budget")),
    ("only the fastest", Demand(20), {}, Choice(2, "within-budget")),
    ("surely none, typically the fastest", Demand(9), {}, Choice(2, "degraded")),
    ("the same, but rather nothing", Demand(9, degrade=False), {}, "deadline-infeasible"),
    ("1 ms is never enough", Demand(1), {}, "budget-unsatisfiable"),
    ("nor if degrading is refused", Demand(1, degrade=False), {}, "budget-unsatisfiable"),
    ("a floor leaves out the fast", Demand(1000, min_accuracy=75.0), {}, Choice(0, "most-accurate")),
    ("a floor is met by equality", Demand(50, min_accuracy=75.0), {}, Choice(1, "within-budget")),
    ("degrading respects the floor", Demand(30, min_accuracy=75.0), {}, Choice(1, "degraded")),
    ("below the floor is no way out", Demand(15, min_accuracy=75.0), {}, "budget-unsatisfiable"),
    ("nobody is that accurate", Demand(1000, min_accuracy=80.1), {}, "accuracy-unsatisfiable"),
    ("what is spent is gone", Demand(95), {"spent_ms": 10.0}, Choice(1, "within-budget")),
    ("waiting counts", Demand(89), {"wait_ms": 10.0}, Choice(1, "within-budget")),
    ("a full machine, come back", Demand(60), {"wait_ms": 59.0}, "deadline-infeasible"),
    ("a budget that is spent already", Demand(50), {"spent_ms": 60.0}, "deadline-infeasible"),
]


@pytest.mark.parametrize(("demand", "state", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_the_choice(demand: Demand, state: dict[str, Any], expected: Choice | str) -> None:
    made = decide(ABC, estimates(SPEEDS, **state), demand)
    assert made == expected if isinstance(expected, Choice) else isinstance(made, Refusal) and made.kind == expected


def test_within_three_tenths_of_a_point_the_cheapest_wins() -> None:
    variants = models(80.0, 79.8, 79.7, 79.6)
    assert decide(variants, estimates([40, 30, 20, 1]), Demand(1000)) == Choice(2, "cheaper-equal")


def test_the_cheapest_of_equals_must_be_in_time_itself() -> None:
    variants = models(80.0, 79.9)
    assert decide(variants, estimates([20, 40]), Demand(60)) == Choice(0, "most-accurate")


def test_a_refusal_for_good_says_what_an_idle_machine_would_take() -> None:
    made = decide(ABC, estimates(SPEEDS, wait_ms=500), Demand(1))
    assert made == Refusal("budget-unsatisfiable", 5.0)


def test_a_refusal_for_now_says_when_to_come_back() -> None:
    made = decide(ABC, estimates(SPEEDS, wait_ms=500), Demand(100))
    assert isinstance(made, Refusal)
    assert made.kind == "deadline-infeasible"
    assert 0.3 < made.retry_after_s < 1.0


def test_stepping_down_is_at_once_and_up_after_three() -> None:
    held, fast, slow = Steadiness(), estimates(SPEEDS), estimates(SPEEDS, wait_ms=15)
    budget = Demand(90)
    made = [decide(ABC, fast, budget, held=held), decide(ABC, slow, budget, held=held)]
    assert made == [Choice(0, "most-accurate"), Choice(1, "within-budget")]
    up = [decide(ABC, fast, budget, held=held) for _ in range(STEP_UP_AFTER)]
    assert up == [*[Choice(1, "held")] * (STEP_UP_AFTER - 1), Choice(0, "most-accurate")]


def test_one_bad_moment_starts_the_count_again() -> None:
    held, fast, slow = Steadiness(), estimates(SPEEDS), estimates(SPEEDS, wait_ms=15)
    made = [decide(ABC, when, Demand(90), held=held) for when in (slow, fast, fast, slow, fast, fast, fast)]
    assert [choice.index for choice in made if isinstance(choice, Choice)] == [1, 1, 1, 1, 1, 1, 0]


def test_what_is_held_on_to_must_still_be_feasible() -> None:
    held = Steadiness()
    decide(ABC, estimates([100, 100, 5]), Demand(90), held=held)
    assert decide(ABC, estimates([10, 100, 100]), Demand(90), held=held) == Choice(0, "most-accurate")


def test_a_model_that_went_away_is_not_held_on_to() -> None:
    held = Steadiness()
    decide(ABC, estimates([100, 100, 5]), Demand(90), held=held)
    assert decide(models(80.0, 75.0), estimates([5, 5]), Demand(90), held=held) == Choice(0, "most-accurate")


def test_work_must_fit_before_what_is_admitted_already() -> None:
    assert decide(ABC, estimates(SPEEDS), Demand(1000), room_ms=25) == Choice(1, "within-budget")
    assert isinstance(decide(ABC, estimates(SPEEDS), Demand(1000), room_ms=4), Refusal)


@pytest.mark.parametrize(("room_ms", "admitted"), [(40.0, True), (39.0, False), (-1.0, False)])
def test_a_named_model_keeps_what_was_promised_to_others_as_well(room_ms: float, admitted: bool) -> None:
    made = admit_pinned(estimates(SPEEDS), 0, Demand(1000), room_ms=room_ms)
    assert made == Choice(0, "pinned") if admitted else isinstance(made, Refusal) and made.kind == "deadline-infeasible"


def test_only_the_fastest_is_tried_when_nothing_fits_surely() -> None:
    """Beside 40 ms of its own a wait of 2 ms is next to none, beside 5 ms it is a queue."""
    doubtful = replace(estimates(SPEEDS, wait_ms=2), p95_ms=np.array([400.0, 200.0, 80.0]))
    assert isinstance(decide(ABC, doubtful, Demand(60)), Refusal)


@pytest.mark.parametrize(("budget_ms", "admitted"), [(1000, True), (41, True), (39, False), (1, False)])
def test_a_named_model_is_admitted_if_it_typically_makes_it(budget_ms: float, admitted: bool) -> None:
    made = admit_pinned(estimates(SPEEDS), 0, Demand(budget_ms), room_ms=math.inf)
    assert made == Choice(0, "pinned") if admitted else isinstance(made, Refusal)


@pytest.mark.parametrize(("wait_ms", "kind"), [(0.0, "budget-unsatisfiable"), (30.0, "deadline-infeasible")])
def test_a_named_model_is_refused_for_good_or_for_now(wait_ms: float, kind: str) -> None:
    made = admit_pinned(estimates(SPEEDS, wait_ms=wait_ms), 0, Demand(39 if wait_ms == 0 else 60), room_ms=math.inf)
    assert isinstance(made, Refusal)
    assert made.kind == kind


@pytest.mark.parametrize(("pressure", "index"), [(0.0, 0), (0.01, 0), (0.02, 1), (0.5, 2), (1.0, 2)])
def test_the_more_it_is_likely_to_cost_others_the_smaller_the_model(pressure: float, index: int) -> None:
    """40 ms are 7 more answers of the fastest (70 %) not given, 20 ms are 3: at 0.02 that is 9.8 and 4.2 points."""
    made = choose(ABC, estimates(SPEEDS), Demand(1000), room_ms=math.inf, steadiness=Steadiness(), pressure=pressure)
    assert isinstance(made, Choice)
    assert made.index == index


def test_a_floor_is_kept_under_any_pressure() -> None:
    wish = Demand(1000, min_accuracy=75.0)
    made = choose(ABC, estimates(SPEEDS), wish, room_ms=math.inf, steadiness=Steadiness(), pressure=1.0)
    assert made == Choice(1, "within-budget")


def test_fullness_is_the_share_of_the_rest_that_goes_by_in_waiting() -> None:
    assert fullness(estimates(SPEEDS), Demand(100)) == 0.0
    assert fullness(estimates(SPEEDS, wait_ms=40, spent_ms=20), Demand(100)) == pytest.approx(0.5)
    assert fullness(estimates(SPEEDS, wait_ms=400), Demand(100)) == 1.0


def test_pressure_is_how_often_a_refusal_came_before_an_empty_queue() -> None:
    pressure = Pressure()
    for spell in range(400):
        for full in (0.0, 0.3, 0.7):
            pressure.told(full, 0.0, refused=False)
        pressure.told(0.95, 0.0, refused=spell % 4 == 0)
    assert [pressure.at(full, 0.0) for full in (0.0, 0.3, 0.7, 0.95)] == pytest.approx([0.25] * 4, abs=0.1)
    assert pressure.at(0.5, 0.0) == 0.0, "the queue was never half full"


def test_a_refusal_says_nothing_of_what_was_chosen_before_the_queue_was_last_empty() -> None:
    pressure = Pressure()
    pressure.told(0.5, 0.0, refused=False)
    pressure.told(0.0, 0.0, refused=False)
    pressure.told(0.9, 0.0, refused=True)
    assert pressure.at(0.5, 0.0) == 0.0
    assert pressure.at(0.9, 0.0) > 0.0


def test_pressure_fades_while_nobody_comes() -> None:
    pressure = Pressure()
    pressure.told(0.5, 100.0, refused=True)
    assert pressure.at(0.5, 200.0) < 1e-3 * pressure.at(0.5, 100.0)
    pressure.told(0.5, 200.0, refused=False)
    assert pressure.at(0.5, 200.0) < 1e-3


def test_on_a_busy_machine_only_what_surely_makes_it_is_admitted() -> None:
    typically = estimates(SPEEDS, wait_ms=20)  # fastest: 25 ms typically, 50 ms in 95 of 100 cases
    assert isinstance(decide(ABC, typically, Demand(55)), Refusal)
    assert decide(ABC, typically, Demand(56)) == Choice(2, "within-budget")
    assert isinstance(admit_pinned(typically, 2, Demand(55), room_ms=math.inf), Refusal)
    assert admit_pinned(typically, 2, Demand(56), room_ms=math.inf) == Choice(2, "pinned")


@settings(max_examples=200, deadline=None)
@given(
    speeds=st.lists(st.floats(0.1, 1000), min_size=3, max_size=3),
    budget_ms=st.floats(0.01, 60_000),
    wait_ms=st.floats(0, 1000),
    spent_ms=st.floats(0, 100),
    room_ms=st.floats(-100, 2000),
    min_accuracy=st.none() | st.floats(60, 90),
    degrade=st.booleans(),
    priority=st.sampled_from([1, 2, 3]),
)
def test_whatever_the_numbers_a_promise_is_one(
    speeds: list[float],
    budget_ms: float,
    wait_ms: float,
    spent_ms: float,
    room_ms: float,
    min_accuracy: float | None,
    degrade: bool,
    priority: int,
) -> None:
    when = estimates(speeds, wait_ms=wait_ms, spent_ms=spent_ms)
    made = decide(ABC, when, Demand(budget_ms, min_accuracy, degrade, priority), room_ms=room_ms)
    if isinstance(made, Refusal):
        assert made.retry_after_s >= 0
        assert math.isfinite(made.fastest_ms)
        return
    assert when.p50_ms[made.index] <= budget_ms
    assert when.work_ms[made.index] <= room_ms
    assert min_accuracy is None or ABC.accuracy[made.index] >= min_accuracy
    if not made.degraded:
        assert when.p95_ms[made.index] <= budget_ms
    else:
        assert degrade


def test_deciding_among_150_variants_is_quick(capsys: pytest.CaptureFixture[str]) -> None:
    """The number is printed, not asserted: it belongs to the machine."""
    rng = np.random.default_rng(1)
    cards = [
        classifier(f"m{i:03}", accuracy=float(rng.uniform(60, 85)), run_ms=float(rng.uniform(1, 90)))
        for i in range(150)
    ]
    variants, predictor, picture = Variants(cards), Predictor(2), ImageHeader("jpeg", 640, 480)
    took_us = []
    for i in range(1000):
        started_s = time.perf_counter()
        when = predictor.estimate(variants, [picture], spent_ms=1.0, wait_ms=2.0, wait_ms_by_model={})
        decide(variants, when, Demand(float(10 + i % 200)))
        took_us.append((time.perf_counter() - started_s) * 1e6)
    p50_us, p99_us = np.percentile(took_us, [50, 99])
    with capsys.disabled():
        print(f"\n  decision among 150 variants: p50 {p50_us:.0f} µs, p99 {p99_us:.0f} µs")


def test_what_only_being_overtaken_makes_too_long_is_refused_for_now_and_not_for_ever() -> None:
    overtaken = replace(estimates([300.0]), overtaken_ms=250.0)
    now = decide(models(70.0), overtaken, Demand(100.0))
    assert isinstance(now, Refusal)
    assert now.kind == "deadline-infeasible"
    never = decide(models(70.0), overtaken, Demand(40.0))
    assert isinstance(never, Refusal)
    assert (never.kind, never.fastest_ms) == ("budget-unsatisfiable", 50.0)

"""A model that fails time after time is left out of the choice for a while; the clock is an argument."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.circuits import FAILURES, FIRST_PAUSE_S, LONGEST_PAUSE_S, Circuits
from service.engines.breaker import Breaker
from service.errors import BadImage, EngineFailed
from service.metrics import Metrics
from service.routing import Choice, Demand, Refusal, Steadiness, choose
from service.variants import Variants
from tests.cards import classifier
from tests.unit.test_routing import estimates, models

ABC = models(80.0, 75.0, 70.0)
CARD = classifier("a")


def of_a_model() -> Breaker:
    return Breaker(FAILURES, FIRST_PAUSE_S, LONGEST_PAUSE_S)


def test_the_pause_doubles_with_every_trial_that_fails_and_never_with_what_had_begun_before() -> None:
    breaker, now_s = of_a_model(), 0.0
    for _ in range(FAILURES + 5):  # eight at once, all of which fail
        breaker.failed(now_s)
    for pause_s in (5.0, 10.0, 20.0, 40.0, 60.0, 60.0):
        assert breaker.paused(now_s + pause_s - 0.01)
        assert not breaker.allows(now_s + pause_s - 0.01)
        now_s += pause_s
        assert breaker.allows(now_s)
        breaker.failed(now_s)
    breaker.worked()
    assert not breaker.ejected
    for _ in range(FAILURES):
        breaker.failed(now_s)
    assert breaker.allows(now_s + FIRST_PAUSE_S), "one good answer, and all is forgotten"


EVENTS = st.lists(st.tuples(st.sampled_from(["worked", "failed", "began", "ended"]), st.floats(0.0, 20.0)), max_size=60)


@given(events=EVENTS)
def test_whatever_happens_it_closes_with_a_good_answer_opens_after_three_and_is_tried_within_a_minute(
    events: list[tuple[str, float]],
) -> None:
    breaker, now_s, in_a_row, under_way = of_a_model(), 0.0, 0, 0
    for event, later_s in events:
        now_s += later_s
        if event == "began":
            breaker.began()
            under_way += 1
        elif event == "ended":
            if under_way:
                breaker.ended()
                under_way -= 1
        elif event == "worked":
            breaker.worked()
            in_a_row = 0
        else:
            breaker.failed(now_s)
            in_a_row += 1
        assert breaker.ejected == (in_a_row >= FAILURES)
        assert not (breaker.ejected and under_way and breaker.allows(now_s)), "one trial at a time"
        if not under_way:
            assert breaker.allows(now_s + LONGEST_PAUSE_S)


def decide(well: Sequence[bool] | None, demand: Demand | None = None, held: Steadiness | None = None) -> object:
    flags = None if well is None else np.array(well)
    speeds = estimates([40.0, 20.0, 5.0])
    return choose(ABC, speeds, demand or Demand(1000), room_ms=math.inf, steadiness=held or Steadiness(), well=flags)


@pytest.mark.parametrize(
    ("well", "demand", "expected"),
    [
        ([False, True, True], Demand(1000), Choice(1, "circuit-open")),
        ([True, False, True], Demand(1000), Choice(0, "most-accurate")),
        ([False, False, True], Demand(1000), Choice(2, "circuit-open")),
        ([False, False, False], Demand(1000), Choice(0, "most-accurate")),
        # The failing one would not have been in time anyway.
        ([False, True, True], Demand(60), Choice(1, "within-budget")),
        # Nobody else is that accurate.
        ([False, True, True], Demand(1000, min_accuracy=78.0), Choice(0, "most-accurate")),
        ([True, True, False], Demand(9), "deadline-infeasible"),
    ],
)
def test_who_fails_is_chosen_only_where_nobody_else_would_do(
    well: list[bool], demand: Demand, expected: Choice | str
) -> None:
    made = decide(well, demand)
    assert made == expected if isinstance(expected, Choice) else isinstance(made, Refusal) and made.kind == expected


def test_what_begins_to_fail_is_not_held_on_to() -> None:
    held = Steadiness()
    assert decide(None, held=held) == Choice(0, "most-accurate")
    assert decide([False, True, True], held=held) == Choice(1, "circuit-open")


@given(
    run_ms=st.lists(st.floats(0.1, 200.0), min_size=3, max_size=3),
    well=st.lists(st.booleans(), min_size=3, max_size=3),
    budget_ms=st.floats(1.0, 1000.0),
    floor=st.sampled_from([None, 72.0, 78.0]),
)
def test_a_failing_model_is_never_chosen_while_one_that_is_well_is_accurate_enough(
    run_ms: list[float], well: list[bool], budget_ms: float, floor: float | None
) -> None:
    flags, demand = np.array(well), Demand(budget_ms, min_accuracy=floor)
    made = choose(ABC, estimates(run_ms), demand, room_ms=math.inf, steadiness=Steadiness(), well=flags)
    enough = np.ones(3, bool) if floor is None else ABC.accuracy >= floor
    if isinstance(made, Choice) and (enough & flags).any():
        assert flags[made.index]
    if flags.all() or not (enough & flags).any():
        assert made == choose(ABC, estimates(run_ms), demand, room_ms=math.inf, steadiness=Steadiness())


def fail(circuits: Circuits, times: int = FAILURES) -> None:
    for _ in range(times):
        with pytest.raises(EngineFailed) as failure, circuits.watched(CARD):
            raise EngineFailed("on purpose")
        assert failure.value.model == "a"


def test_only_the_models_own_failures_in_a_row_open_its_circuit() -> None:
    circuits, variants = Circuits(Metrics()), Variants([CARD, classifier("b")])
    fail(circuits, FAILURES - 1)
    with circuits.watched(CARD):
        pass
    fail(circuits, FAILURES - 1)
    for _ in range(FAILURES):
        with pytest.raises(BadImage), circuits.watched(CARD):
            raise BadImage("a bad picture")
    assert circuits.well(variants, 0.0) is None
    fail(circuits, 1)
    assert circuits.state(CARD, 0.0) == "open"
    assert circuits.state(CARD, math.inf) == "half-open"
    flags = circuits.well(variants, 0.0)
    assert flags is not None
    assert dict(zip(variants.names, flags.tolist(), strict=True)) == {"a": False, "b": True}


def test_an_entry_that_is_exported_anew_begins_with_a_closed_circuit() -> None:
    metrics = Metrics()
    circuits = Circuits(metrics)
    fail(circuits)
    assert b'vision_model_circuit_open{model="a"} 1.0' in metrics.exposition()
    mended = classifier("a", onnx_sha256="1" * 64)
    assert circuits.state(mended, 0.0) == "closed"
    work = circuits.watched(CARD)
    work.__enter__()
    circuits.keep([mended])
    late = EngineFailed("what had begun before")
    assert not work.__exit__(EngineFailed, late, None)
    assert circuits.well(Variants([mended]), 0.0) is None
    assert b'vision_model_circuit_open{model="a"} 0.0' in metrics.exposition()

"""The predictor: quantiles that converge, predictions that hold as often as they say."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import Generator

from service.image_header import ImageHeader
from service.latency import Estimates, Predictor, octave
from service.manifest import ResizeRule
from service.tracked import TrackedQuantile
from service.variants import Variants
from service.waits import TrackedWait
from tests.cards import classifier

PICTURE = ImageHeader("jpeg", 640, 480)

DISTRIBUTIONS: dict[str, Callable[[Generator, int], np.ndarray[tuple[int], np.dtype[np.float64]]]] = {
    "constant with noise": lambda rng, n: rng.normal(10, 0.5, n).clip(1),
    "exponential": lambda rng, n: rng.exponential(3.0, n) + 1e-6,
    "lognormal": lambda rng, n: rng.lognormal(1.0, 0.7, n),
    "pareto, heavy-tailed": lambda rng, n: rng.pareto(2.0, n) + 1.0,
    "two humps": lambda rng, n: np.where(rng.random(n) < 0.8, rng.normal(5, 0.2, n), rng.normal(50, 2, n)).clip(0.1),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("quantile", [0.5, 0.95])
@pytest.mark.parametrize("start", [0.01, 1000.0])
def test_it_converges_to_the_quantile_from_either_side(name: str, quantile: float, start: float) -> None:
    numbers = DISTRIBUTIONS[name](np.random.default_rng(3), 8000)
    tracked = TrackedQuantile(quantile, start, step=0.02, first_step=0.5)
    below = []
    for number in numbers:
        below.append(number <= tracked.value)
        tracked.observe(float(number))
    assert np.mean(below[-4000:]) == pytest.approx(quantile, abs=0.015)


@pytest.mark.parametrize("direction", [1.0, -1.0])
def test_it_follows_a_drift(direction: float) -> None:
    """Everything becomes ten times slower, or faster, over 4,000 observations."""
    rng = np.random.default_rng(5)
    speed = 10.0 ** (direction * np.linspace(0, 1, 4000))
    tracked = TrackedQuantile(0.95, 1.3, step=0.1, first_step=0.5)
    below = []
    for number in rng.lognormal(0, 0.3, 4000) * speed:
        below.append(number <= tracked.value)
        tracked.observe(float(number))
    assert 0.93 <= np.mean(below[500:]) <= 0.97


def test_a_sudden_change_is_noticed_within_some_dozen_observations() -> None:
    tracked = TrackedQuantile(0.95, 1.0, step=0.1, first_step=0.5)
    for _ in range(1000):
        tracked.observe(1.0)
    for _ in range(40):
        tracked.observe(10.0)
    assert tracked.value > 10


def observed(predictor: Predictor, now: Estimates, took_ms: float, at: int = 0) -> None:
    """Tells of a request that had all the time in the world."""
    predictor.observe_request(now.promise(at), took_ms=took_ms)


def stream(name: str, seed: int, requests: int) -> list[float]:
    """Observed / expected of one request after the other."""
    rng = np.random.default_rng(seed)
    calm = rng.lognormal(0.0, 0.15, requests)
    if name == "calm":
        return list(calm)
    if name == "heavy tail":
        return list(calm + np.where(rng.random(requests) < 0.1, rng.pareto(1.5, requests), 0))
    if name == "slower by half in the middle":
        return list(calm * np.where(np.arange(requests) < requests // 2, 1.0, 1.5))
    waves = 1.0 + 0.5 * np.sin(np.arange(requests) / 200)
    return list(calm * waves)


@pytest.mark.parametrize("name", ["calm", "heavy tail", "slower by half in the middle", "waves"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_predictions_hold_for_93_to_97_percent(name: str, seed: int) -> None:
    predictor, card = Predictor(2), classifier(run_ms=10.0)
    variants = Variants([card])
    first = predictor.estimate(variants, [PICTURE], spent_ms=3.0, wait_ms=2.0, wait_ms_by_model={})
    held = []
    for ratio in stream(name, seed, 4000):
        estimates = predictor.estimate(variants, [PICTURE], spent_ms=3.0, wait_ms=2.0, wait_ms_by_model={})
        took_ms = 3.0 + ratio * float(first.expected_ms[0])
        held.append(took_ms <= float(estimates.p95_ms[0]))
        observed(predictor, estimates, took_ms)
    assert 0.93 <= np.mean(held[300:]) <= 0.97
    assert predictor.coverage() == pytest.approx(np.mean(held[-1000:]))


@pytest.mark.parametrize("late_by", [1, 20, 100])
def test_predictions_hold_as_often_when_their_truth_comes_late(late_by: int) -> None:
    """So many requests are decided before the first of them is answered, as in a full queue."""
    predictor, card = Predictor(2), classifier(run_ms=10.0)
    variants, rng, held = Variants([card]), np.random.default_rng(7), []
    under_way: list[Estimates] = []
    for _ in range(6000):
        under_way.append(predictor.estimate(variants, [PICTURE], spent_ms=3.0, wait_ms=50.0, wait_ms_by_model={}))
        if len(under_way) > late_by:
            then = under_way.pop(0)
            took_ms = 3.0 + 50.0 + float(then.alone_ms[0] + rng.normal(0, 4))
            held.append(took_ms <= float(then.p95_ms[0]))
            observed(predictor, then, took_ms)
    assert 0.93 <= np.mean(held[300:]) <= 0.97


def test_many_broken_promises_at_once_do_not_widen_the_margin_beyond_what_they_needed() -> None:
    """A burst: three hundred were admitted before the first of them came back, all twice as late as expected."""
    predictor, variants = Predictor(2), Variants([classifier(run_ms=10.0)])

    def p95_ms() -> float:
        now = predictor.estimate(variants, [PICTURE], spent_ms=0, wait_ms=0, wait_ms_by_model={})
        return float(now.p95_ms[0])

    now = predictor.estimate(variants, [PICTURE], spent_ms=0, wait_ms=0, wait_ms_by_model={})
    expected_ms = float(now.expected_ms[0])
    for _ in range(300):
        observed(predictor, now, 2 * expected_ms)
    assert 1.9 * expected_ms < p95_ms() < 3.5 * expected_ms


def test_a_long_wait_is_not_doubted_more_than_a_short_one() -> None:
    predictor, variants = Predictor(), Variants([classifier()])
    doubts_ms = []
    for wait_ms in (0.0, 100.0):
        now = predictor.estimate(variants, [PICTURE], spent_ms=0, wait_ms=wait_ms, wait_ms_by_model={})
        doubts_ms.append(float(now.p95_ms[0] - now.expected_ms[0]))
    assert doubts_ms[0] == pytest.approx(doubts_ms[1])


def test_the_fastest_stays_the_soonest_however_often_it_is_late() -> None:
    """It is taken when time is short, so it is late more often; that must not make a slower one look sooner."""
    cards = [classifier("slow", accuracy=80.0, run_ms=12.0), classifier("fast", accuracy=70.0, run_ms=10.0)]
    predictor, variants = Predictor(2), Variants(cards)
    for i in range(500):
        now = predictor.estimate(variants, [PICTURE], spent_ms=0, wait_ms=20, wait_ms_by_model={})
        at, ratio = (1, 3.0) if i % 2 else (0, 0.5)
        observed(predictor, now, ratio * float(now.expected_ms[at]), at)
    now = predictor.estimate(variants, [PICTURE], spent_ms=0, wait_ms=20, wait_ms_by_model={})
    assert now.p95_ms[1] < now.p95_ms[0]


def test_before_the_first_request_there_is_no_coverage() -> None:
    assert Predictor().coverage() is None


def test_runs_are_learnt_by_model() -> None:
    predictor, slow, other = Predictor(), classifier("slow", run_ms=10.0), classifier("other", run_ms=10.0)
    for i in range(200):
        predictor.observe_run(slow, 1, 30.0, float(i))
    assert predictor.run_ms(slow, 1) == pytest.approx(30.0, rel=0.1)
    assert predictor.run_ms(slow, 3) == pytest.approx(60.0, rel=0.1), "alpha + 3 beta, three times as slow as profiled"
    assert predictor.run_ms(other, 1) == 10.0


def test_what_is_learnt_of_one_model_reaches_its_own_row_alone() -> None:
    cards = [classifier("a", accuracy=80.0), classifier("b", accuracy=70.0), classifier("c", accuracy=75.0)]
    variants, predictor = Variants(cards), Predictor()
    before = predictor.estimate(variants, [PICTURE], spent_ms=0, wait_ms=0, wait_ms_by_model={}).run_ms
    for i in range(100):
        predictor.observe_run(cards[1], 1, 100.0, float(i))
    after = predictor.estimate(variants, [PICTURE], spent_ms=0, wait_ms=0, wait_ms_by_model={}).run_ms
    assert variants.names == ("a", "c", "b")
    assert (after[:2] == before[:2]).all()
    assert after[2] == pytest.approx(100.0, rel=0.1)


def test_a_model_without_profile_has_no_estimate_and_learns_nothing() -> None:
    predictor, card = Predictor(), classifier(profile=None)
    predictor.observe_run(card, 1, 50.0, 1.0)
    assert predictor.run_ms(card, 1) == 0.0


def test_waiting_counts_for_everybody_or_for_one_model() -> None:
    variants = Variants([classifier("a", accuracy=80.0), classifier("b", accuracy=70.0)])
    predictor = Predictor()
    idle = predictor.estimate(variants, [PICTURE], spent_ms=0, wait_ms=0, wait_ms_by_model={})
    busy = predictor.estimate(variants, [PICTURE], spent_ms=0, wait_ms=20, wait_ms_by_model={"b": 5.0})
    assert (busy.expected_ms - idle.expected_ms).tolist() == pytest.approx([20.0, 25.0])
    assert busy.unloaded_ms.tolist() == idle.unloaded_ms.tolist()


def test_a_batch_is_one_run_on_one_core_with_nothing_to_decode() -> None:
    card = classifier("a", run_ms=4.0)  # 2 ms and 2 ms a row
    variants, predictor = Variants([card]), Predictor(workers=8)
    batch = predictor.estimate_batch(variants, 8, spent_ms=1.0, wait_ms=5.0, wait_ms_by_model={})
    assert batch.run_ms.tolist() == batch.work_ms.tolist() == pytest.approx([18.0])
    assert batch.expected_ms.tolist() == pytest.approx([23.0])
    assert float(batch.p95_ms[0]) > 24.0
    predictor.observe_run(card, 8, 36.0, 1.0)
    slower = predictor.estimate_batch(variants, 8, spent_ms=1.0, wait_ms=5.0, wait_ms_by_model={})
    assert float(slower.run_ms[0]) > 18.0


def test_decoding_is_learnt_by_format_and_costs_more_for_larger_pictures() -> None:
    predictor, rule = Predictor(), ResizeRule("crop", (224, 224), "bilinear", 256)
    small, large = ImageHeader("png", 640, 480), ImageHeader("png", 4000, 3000)
    assert predictor.decode_ms(large, rule) > 10 * predictor.decode_ms(small, rule)
    assert predictor.decode_ms(ImageHeader("jpeg", 640, 480, True), rule) > predictor.decode_ms(PICTURE, rule)
    before_ms = predictor.decode_ms(PICTURE, rule)
    for _ in range(200):
        predictor.observe_decode(small, rule, 40.0)
    assert predictor.decode_ms(small, rule) == pytest.approx(40.0, rel=0.1)
    assert predictor.decode_ms(PICTURE, rule) == before_ms


def test_variants_stand_most_accurate_first_and_untrained_last() -> None:
    cards = [classifier("u", accuracy=None), classifier("a", accuracy=70.0), classifier("b", accuracy=80.0)]
    assert Variants(cards).names == ("b", "a", "u")


def answered(
    predictor: Predictor, variants: Variants, count: int, *, backlog_ms: float, waited: float, budget_ms: float = 100.0
) -> None:
    """So many requests waited that many times as long as the engine had counted; their own work was as expected."""
    for _ in range(count):
        now = predictor.estimate(
            variants, [PICTURE], spent_ms=0, wait_ms=backlog_ms, wait_ms_by_model={}, budget_ms=budget_ms
        )
        own_ms = float(now.alone_ms[0])
        took_ms = own_ms + waited * backlog_ms
        predictor.observe_request(now.promise(0), took_ms=took_ms, worked_ms=own_ms, late=took_ms > budget_ms)


def asked(predictor: Predictor, variants: Variants, backlog_ms: float, budget_ms: float = 100.0) -> Estimates:
    return predictor.estimate(
        variants, [PICTURE], spent_ms=0, wait_ms=backlog_ms, wait_ms_by_model={}, budget_ms=budget_ms
    )


@pytest.mark.parametrize("waited", [0.5, 1.5, 4.0])
def test_waits_that_are_longer_than_counted_are_learnt_as_waits(waited: float) -> None:
    predictor, variants = Predictor(2), Variants([classifier(run_ms=10.0)])
    before = asked(predictor, variants, 0.0)
    answered(predictor, variants, 300, backlog_ms=40.0, waited=waited)
    assert asked(predictor, variants, 40.0).wait_ms == pytest.approx(waited * 40.0, rel=0.05)
    assert asked(predictor, variants, 40.0).expected_ms[0] == pytest.approx(
        float(before.alone_ms[0]) + waited * 40, rel=0.05
    )


def test_a_queue_slower_than_it_looked_does_not_make_an_idle_machine_look_slow() -> None:
    predictor, variants = Predictor(2), Variants([classifier(run_ms=10.0)])
    before_ms = float(asked(predictor, variants, 0.0).p95_ms[0])
    rng = np.random.default_rng(2)
    for _ in range(1000):
        answered(predictor, variants, 1, backlog_ms=float(rng.uniform(5, 60)), waited=float(rng.uniform(0.5, 6)))
    assert float(asked(predictor, variants, 50.0).p95_ms[0]) > 150.0
    assert float(asked(predictor, variants, 0.0).p95_ms[0]) < 1.3 * before_ms


def test_a_bad_minute_of_waits_is_forgotten_within_a_few_hundred_answers() -> None:
    predictor, variants = Predictor(2), Variants([classifier(run_ms=10.0)])
    answered(predictor, variants, 300, backlog_ms=40.0, waited=1.0)
    before_ms = float(asked(predictor, variants, 40.0).p95_ms[0])
    answered(predictor, variants, 1000, backlog_ms=40.0, waited=5.0)
    answered(predictor, variants, 300, backlog_ms=40.0, waited=1.0)
    assert float(asked(predictor, variants, 40.0).p95_ms[0]) < 1.2 * before_ms


def test_waits_are_learnt_for_each_length_of_budget() -> None:
    """Those with time to spare are overtaken; those in a hurry are not."""
    predictor, variants = Predictor(2), Variants([classifier(run_ms=10.0)])
    answered(predictor, variants, 300, backlog_ms=40.0, waited=3.0, budget_ms=500.0)
    assert asked(predictor, variants, 40.0, budget_ms=50.0).wait_ms == pytest.approx(40.0)
    assert asked(predictor, variants, 40.0, budget_ms=450.0).wait_ms == pytest.approx(120.0, rel=0.05)


def test_what_the_gateway_itself_takes_is_learnt_from_those_who_wait_for_nobody() -> None:
    predictor, variants = Predictor(2), Variants([classifier(run_ms=10.0)])
    for _ in range(500):
        now = asked(predictor, variants, 0.0)
        own_ms = float(now.alone_ms[0])
        predictor.observe_request(now.promise(0), took_ms=own_ms + 3.0, worked_ms=own_ms)
    assert float(asked(predictor, variants, 0.0).expected_ms[0]) == pytest.approx(own_ms + 3.0, rel=0.01)


def test_those_with_a_burst_behind_them_do_not_widen_the_promises_of_those_who_wait_in_it() -> None:
    """Whoever finds nobody there loses much, never the same, to the looks at those who follow; the others little."""
    predictor, variants = Predictor(2), Variants([classifier(run_ms=10.0)])
    rng = np.random.default_rng(4)
    held: dict[float, list[bool]] = {0.0: [], 40.0: []}
    for _ in range(3000):
        for backlog_ms, lost_ms in ((0.0, rng.uniform(0, 28)), (40.0, rng.normal(8, 4))):
            now = asked(predictor, variants, backlog_ms)
            own_ms = float(now.alone_ms[0])
            took_ms = own_ms + backlog_ms + max(0.0, float(lost_ms))
            held[backlog_ms].append(took_ms <= float(now.p95_ms[0]))
            predictor.observe_request(now.promise(0), took_ms=took_ms, worked_ms=own_ms)
    for of_those in held.values():
        assert 0.93 <= np.mean(of_those[1000:]) <= 0.97
    waiting = asked(predictor, variants, 40.0)
    assert float(waiting.p95_ms[0]) < float(waiting.alone_ms[0]) + 40.0 + 18.0, "8 ms, and twice what they differ by"


def test_being_overtaken_does_not_make_anything_look_impossible() -> None:
    """Those with seconds to wait find nobody there, and then others come and go first."""
    predictor, variants = Predictor(2), Variants([classifier(run_ms=10.0)])
    for i in range(600):
        budget_ms, lost_ms = (5000.0, 2000.0) if i % 2 else (50.0, 1.0)
        now = asked(predictor, variants, 0.0, budget_ms)
        own_ms = float(now.alone_ms[0])
        predictor.observe_request(now.promise(0), took_ms=own_ms + lost_ms, worked_ms=own_ms)
    patient = asked(predictor, variants, 0.0, 5000.0)
    assert float(patient.unloaded_ms[0]) > 100.0
    assert float(patient.unloaded_ms[0]) - patient.overtaken_ms < 20.0
    assert float(asked(predictor, variants, 0.0, 50.0).p95_ms[0]) < 20.0


def test_what_nobody_has_found_out_yet_does_not_count_as_the_least() -> None:
    """A budget that was only asked about, and one so short that nobody is ever admitted with it."""
    predictor, variants = Predictor(2), Variants([classifier(run_ms=10.0)])
    for _ in range(300):
        for budget_ms in (700.0, 1e-300, 0.3):
            asked(predictor, variants, 0.0, budget_ms)
        now = asked(predictor, variants, 0.0, 100.0)
        own_ms = float(now.alone_ms[0])
        predictor.observe_request(now.promise(0), took_ms=own_ms + 5.0, worked_ms=own_ms)
    assert asked(predictor, variants, 0.0, 100.0).overtaken_ms == 0.0
    assert octave(1e-300) == octave(0.3) == octave(1.0) == 0


@pytest.mark.parametrize("behind_ms", [0.0, 1.99, 2.0, 3.99, 4.0, 63.0, 64.0, 1e6, np.inf])
def test_a_wait_has_the_same_margin_whether_all_models_share_it_or_not(behind_ms: float) -> None:
    wait = TrackedWait()
    for at_ms, times in ((0.0, 3), (2.0, 5), (4.0, 7), (40.0, 9), (64.0, 11), (5000.0, 13)):
        for _ in range(times):
            wait.move_margin(at_ms, above=True)
    (of_one,) = np.atleast_1d(wait.margin(np.array([behind_ms])))
    assert of_one == wait.margin(behind_ms) > 2.0


@given(
    told=st.lists(
        st.tuples(st.floats(0, 500), st.floats(0, 1e4), st.one_of(st.none(), st.floats(0, 1e3)), st.booleans()),
        max_size=60,
    ),
    backlog_ms=st.floats(0, 1000),
)
def test_whatever_it_is_told_it_promises_no_less_than_it_expects_and_expects_longer_of_longer_waits(
    told: list[tuple[float, float, float | None, bool]], backlog_ms: float
) -> None:
    predictor, variants = Predictor(2), Variants([classifier(run_ms=10.0)])
    for waits_ms, took_ms, worked_ms, late in told:
        promise = asked(predictor, variants, waits_ms).promise(0)
        predictor.observe_request(promise, took_ms=took_ms, worked_ms=worked_ms, late=late)
    shorter, longer = asked(predictor, variants, backlog_ms), asked(predictor, variants, backlog_ms + 10.0)
    assert np.isfinite(longer.p95_ms).all()
    assert shorter.p95_ms[0] >= shorter.expected_ms[0] >= shorter.alone_ms[0]
    assert longer.expected_ms[0] >= shorter.expected_ms[0]

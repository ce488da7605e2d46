"""The ring of the last minute: what it remembers, how exactly, and what it forgets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.activity import WINDOW_S, Activity


def answered(
    activity: Activity, now_s: float, took_ms: float = 10.0, model: str = "small", reason: str = "held"
) -> None:
    activity.answered(now_s, "classify", model, reason, took_ms, 1)
    activity.ended(now_s, "ok")


def test_nothing_was_seen_yet() -> None:
    summary = Activity().summary(1000.5)
    assert (summary.window_s, summary.moments, summary.total.answers) == (0, (), 0)
    assert summary.total.quantile_ms(0.95) is None


def test_the_second_that_runs_is_not_shown_and_the_whole_ones_are() -> None:
    activity = Activity()
    answered(activity, 1000.2)
    answered(activity, 1000.9)
    assert activity.summary(1000.95).total.answers == 0
    answered(activity, 1001.1)
    summary = activity.summary(1001.5)
    assert (summary.window_s, summary.total.answers) == (1, 2)
    summary = activity.summary(1003.0)
    assert [moment.answers for moment in summary.moments] == [2, 1, 0]


def test_a_minute_is_forgotten_second_by_second() -> None:
    activity = Activity()
    for second in range(200):
        answered(activity, 1000.0 + second, model=f"model_{second % 2}", reason="held" if second % 3 else "pinned")
    summary = activity.summary(1200.0)
    assert summary.window_s == len(summary.moments) == WINDOW_S
    assert summary.total.answers == WINDOW_S
    assert {key: tally.answers for key, tally in summary.tallies.items()} == {
        ("classify", "model_0"): 30,
        ("classify", "model_1"): 30,
    }
    assert summary.total.reasons == {"held": 40, "pinned": 20}
    assert activity.summary(1260.0).total.answers == 0
    assert activity.summary(9999.0).outcomes == {}


def test_a_request_without_an_answer_is_counted_by_how_it_ended() -> None:
    activity = Activity()
    answered(activity, 1000.0)
    activity.ended(1000.0, "shed")
    summary = activity.summary(1001.0)
    assert summary.outcomes == {"ok": 1, "shed": 1}
    assert (summary.moments[0].ended, summary.moments[0].answers) == (2, 1)


@given(st.lists(st.floats(0.05, 60_000), min_size=1, max_size=80), st.sampled_from([0.5, 0.95, 1.0]))
def test_a_quantile_is_off_by_half_a_bin_at_most(durations_ms: list[float], quantile: float) -> None:
    activity = Activity()
    for took_ms in durations_ms:
        answered(activity, 1000.0, took_ms)
    exact = sorted(durations_ms)[max(0, -(-len(durations_ms) * quantile // 1).__int__() - 1)]
    assert activity.summary(1001.0).total.quantile_ms(quantile) == pytest.approx(exact, rel=0.045)


def test_memory_does_not_grow_with_the_load() -> None:
    activity = Activity()
    for number in range(50_000):
        answered(activity, 1000.0 + number / 500, took_ms=1.0 + number % 997)
    ring = activity._ring
    assert len(ring) == WINDOW_S + 1
    assert max(len(tally.bins) for second in ring for tally in second.tallies.values()) < 100

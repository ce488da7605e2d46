"""The backlog: the queue played through, whatever stands in it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.backlog import UNFORESEEN, backlog

PIECES = st.lists(st.tuples(st.floats(0, 10), st.floats(0, 2)), max_size=30)


def test_seventeen_equal_pieces_take_two_workers_eight_before_the_last_begins() -> None:
    assert backlog(0.0, [], 2, [(1.0, 1.0)] * 16, 2.0).wait_s == 8.0
    assert backlog(0.0, [], 2, [(1.0, 1.0)] * 17, 2.0).wait_s == 8.0


def test_what_runs_too_long_already_is_expected_to_end_now() -> None:
    assert backlog(5.0, [4.0, 7.0], 2, [], 9.0).wait_s == 0.0
    assert backlog(5.0, [6.0, 7.0], 2, [], 9.0).wait_s == 1.0
    assert backlog(5.0, [6.0, 7.0], 3, [], 9.0).wait_s == 0.0


def test_room_is_what_the_first_of_those_behind_could_still_wait() -> None:
    told = backlog(0.0, [], 1, [(3.0, 1.0), (10.0, 2.0), (10.5, 3.0)], 5.0)
    assert told.wait_s == 1.0
    assert told.room_s == pytest.approx(10.5 / UNFORESEEN - 6.0)


def test_on_a_machine_that_is_slow_lately_there_is_less_room() -> None:
    pieces = [(12.0, 6.0)]
    assert backlog(0.0, [], 1, pieces, 1.0).room_s == pytest.approx(12.0 / UNFORESEEN - 6.0)
    assert backlog(0.0, [], 1, pieces, 1.0, pace=1.5).room_s == pytest.approx(12.0 / 1.5 / UNFORESEEN - 6.0)
    assert backlog(0.0, [], 1, pieces, 1.0, pace=1.5).wait_s == backlog(0.0, [], 1, pieces, 1.0).wait_s


def test_nobody_is_kept_waiting_for_what_is_late_anyway() -> None:
    assert backlog(0.0, [], 1, [(10.0, 11.0)], 1.0).room_s == math.inf
    assert backlog(0.0, [], 1, [(10.0, 6.0)], 1.0, pace=2.0).room_s == math.inf
    assert backlog(0.0, [], 1, [(10.0, 9.0)], 1.0).room_s < 0.0


@given(ends_s=st.lists(st.floats(-1, 5), max_size=4), pieces=PIECES, deadline_s=st.floats(0, 10))
def test_the_wait_is_never_above_the_mean_of_the_workers_and_falls_short_by_one_piece_at_most(
    ends_s: list[float], pieces: list[tuple[float, float]], deadline_s: float
) -> None:
    told = backlog(0.0, ends_s, 4, pieces, deadline_s)
    before_s = [cost_s for due_s, cost_s in pieces if due_s <= deadline_s]
    longest_s = max([0.0, *before_s, *ends_s])
    mean_s = (sum(before_s) + sum(max(0.0, end_s) for end_s in ends_s)) / 4
    assert mean_s - longest_s - 1e-9 <= told.wait_s <= mean_s + 1e-9
    if all(due_s <= deadline_s for due_s, _ in pieces):
        assert told.room_s == math.inf


def test_one_piece_may_keep_one_worker_from_all_that_waits_for_it() -> None:
    """Of two workers one is busy for long: what is put before the last piece puts it off by all that it takes."""
    told = backlog(0.0, [9.0], 2, [(12.0, 1.0)], 5.0)
    assert told.room_s == pytest.approx(12.0 / UNFORESEEN - 1.0)

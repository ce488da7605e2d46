"""What somebody could reach who knows every arrival and every service time beforehand: from below and from above.

Finding the best schedule is NP-hard (choosing and placing jobs with deadlines on parallel machines), so it is boxed in:

schedule  the best that a beam search finds among schedules which start pictures in order of arrival, each in one piece
          on one worker: it could really be carried out, so no optimum is below it
bound     a linear programme in which pictures may be split at will, over models, workers and time; nobody, knowing
          whatever, is above it. In bursts it is loose by up to one run per worker and budget.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import csr_array

from benchmarks.fleets import Floats, Workload

_BUCKET_MS = 0.5
_SPREAD_MS = 8.0
_MOST_STATES = 1500


@dataclass(frozen=True, slots=True)
class Oracle:
    """Percent over all offered, as in Score."""

    schedule_accuracy: float
    schedule_in_time: float
    bound_accuracy: float


def oracle(load: Workload) -> Oracle:
    value, count = best_schedule(load)
    offered = len(load.times_s)
    return Oracle(round(value / offered, 2), round(100.0 * count / offered, 2), round(upper_bound(load) / offered, 2))


def best_schedule(load: Workload) -> tuple[float, int]:
    """(sum of the accuracies, number) of the pictures answered in time.

    A state is when each worker becomes free, (S, k) ms, ascending, and what was gained so far. Of states with nearly
    the same work ahead and nearly the same imbalance only the one that gained most is kept.
    """
    fleet = load.fleet
    work_ms = load.decode_ms + load.run_ms  # (N, V)
    window_ms = load.budget_ms - fleet.post_ms
    free_ms = np.zeros((1, fleet.workers))
    gained = np.zeros(1)
    counts = np.zeros(1, dtype=np.int64)
    for arrived_ms, works_ms in zip(load.times_s * 1e3, work_ms, strict=True):
        free_ms = np.maximum(free_ms, arrived_ms + fleet.front_ms)
        frees, gains, numbers = [free_ms], [gained], [counts]
        for model, takes_ms in enumerate(works_ms):
            end_ms = free_ms[:, 0] + takes_ms
            fits = end_ms <= arrived_ms + window_ms
            frees.append(np.sort(np.column_stack([end_ms[fits], free_ms[fits, 1:]]), axis=1))
            gains.append(gained[fits] + fleet.accuracy[model])
            numbers.append(counts[fits] + 1)
        free_ms, gained, counts = np.concatenate(frees), np.concatenate(gains), np.concatenate(numbers)
        kept = _keep(free_ms - arrived_ms, gained)
        free_ms, gained, counts = free_ms[kept], gained[kept], counts[kept]
    best = int(gained.argmax())
    return float(gained[best]), int(counts[best])


def _keep(ahead_ms: Floats, gained: Floats) -> NDArray[np.intp]:
    """The states worth going on with: the richest of each bucket, unless one with less work ahead is as rich."""
    total = np.floor(ahead_ms.sum(axis=1) / _BUCKET_MS).astype(np.int64)
    spread = np.floor((ahead_ms[:, -1] - ahead_ms[:, 0]) / _SPREAD_MS).astype(np.int64)
    order = np.lexsort((-gained, spread, total))
    first = np.ones(len(order), dtype=bool)
    first[1:] = (np.diff(total[order]) != 0) | (np.diff(spread[order]) != 0)
    kept = order[first]
    if ahead_ms.shape[1] == 1 or len(kept) > 50:
        richest = np.maximum.accumulate(gained[kept])
        kept = kept[gained[kept] >= richest - _least_gain(gained)]
    return kept[:_MOST_STATES]


def _least_gain(gained: Floats) -> float:
    """States poorer than this beside one with less work ahead are let go, unless they are better balanced."""
    return 2.0


def upper_bound(load: Workload) -> float:
    """The most that the accuracies of answers in time can sum up to.

    Variables: y (N·V) share of a picture done by a model; u (N) work ahead right after an arrival, in ms of all
    workers together: u_j ≥ u_(j-1) - k·gap_j + work_j, u_j ≥ work_j, u_j ≤ k·window. All budgets being equal, that is
    what any schedule, however it may split and interrupt, has to obey.
    """
    fleet = load.fleet
    count, models = load.decode_ms.shape
    work_ms = (load.decode_ms + load.run_ms).ravel()
    window_ms = load.budget_ms - fleet.front_ms - fleet.post_ms
    gaps_ms = np.diff(load.times_s, prepend=load.times_s[0]) * 1e3
    picture = np.repeat(np.arange(count), models)
    variable = np.arange(count * models)
    ahead = count * models + np.arange(count)
    ones = np.ones(count)
    later = np.arange(1, count)
    rows = [picture, picture + count, np.arange(count) + count, later + count, picture + 2 * count]
    columns = [variable, variable, ahead, ahead[:-1], variable]
    values = [np.ones(count * models), work_ms, -ones, ones[1:], work_ms]
    rows.append(np.arange(count) + 2 * count)
    columns.append(ahead)
    values.append(-ones)
    matrix = csr_array(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))),
        shape=(3 * count, count * models + count),
    )
    limits = np.concatenate([ones, fleet.workers * gaps_ms, np.zeros(count)])
    most = np.concatenate([np.where(work_ms <= window_ms, 1.0, 0.0), np.full(count, fleet.workers * window_ms)])
    gain = np.concatenate([np.tile(fleet.accuracy, count), np.zeros(count)])
    found = linprog(-gain, A_ub=matrix, b_ub=limits, bounds=np.column_stack([np.zeros_like(most), most]))
    if not found.success:
        raise RuntimeError(f"the linear programme was not solved: {found.message}")
    return float(-found.fun)

"""What stands before, and behind, new work in a queue of deadlines: costs and deadlines in, seconds out.

The queue is played through in the order in which it will be worked off, each piece on the worker that is free first.
Dividing the sum by the number of workers instead would be wrong by up to one piece a worker: of seventeen equal pieces
two workers begin the last one after eight, not after eight and a half.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from dataclasses import dataclass

# What was promised may turn out to take half as long again as work does lately. Room that is left for it is not lost:
# work that waits long is then done a little sooner, and what comes meanwhile is told to come back.
UNFORESEEN = 1.5


@dataclass(frozen=True, slots=True)
class Backlog:
    """wait_s  until new work would begin      room_s  by how much what is behind may be put off without being late"""

    wait_s: float
    room_s: float


def backlog(
    now_s: float,
    ends_s: Iterable[float],
    workers: int,
    pieces: Iterable[tuple[float, float]],
    deadline_s: float,
    *,
    pace: float = 1.0,
) -> Backlog:
    """What new work with that deadline would meet, in seconds of work as it is expected.

    ends_s  when what runs now is expected to end, at most one a worker     pieces  (deadline, cost) of what waits
    pace    how much longer than expected work takes lately: refusing requests takes a part of the machine as well
    """
    free_s = [max(now_s, end_s) for end_s in ends_s]
    free_s += [now_s] * (workers - len(free_s))
    heapq.heapify(free_s)
    wait_s, slack_s = None, math.inf
    for due_s, cost_s in sorted(pieces):
        begins_s = free_s[0]
        if due_s > deadline_s:
            if wait_s is None:
                wait_s = begins_s - now_s
            ends_after_s, left_s = begins_s + cost_s - now_s, due_s - now_s
            if ends_after_s * pace <= left_s:  # what is late anyway keeps nobody from going first
                slack_s = min(slack_s, left_s / (pace * UNFORESEEN) - ends_after_s)
        heapq.heapreplace(free_s, begins_s + cost_s)
    return Backlog(free_s[0] - now_s if wait_s is None else wait_s, slack_s)

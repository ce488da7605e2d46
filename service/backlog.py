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


@dataclass(frozen=True, slots=True)
class Backlog:
    """wait_s  until new work would begin      room_s  work that may go first without making admitted work late"""

    wait_s: float
    room_s: float


def backlog(
    now_s: float, ends_s: Iterable[float], workers: int, pieces: Iterable[tuple[float, float]], deadline_s: float
) -> Backlog:
    """What new work with that deadline would meet.

    ends_s  when what runs now is expected to end, at most one a worker     pieces  (deadline, cost) of what waits
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
            slack_s = min(slack_s, due_s - begins_s - cost_s)
        heapq.heapreplace(free_s, begins_s + cost_s)
    return Backlog(free_s[0] - now_s if wait_s is None else wait_s, slack_s * workers)

"""How much of what remains of a budget is left free: learnt from those who were admitted close to the edge.

A fixed share is either so large that a burst finds a tenth of the queue closed, or so small that a noisy machine
breaks its promises. So every request whose prediction used most of what admission allows moves the share a little: down
if it was in time, 199 times as far up if it was late. It comes to rest where one in 200 such requests is late. Requests
with time to spare say nothing about the edge and do not count.

The step shrinks over the first such requests, as in `TrackedQuantile`: a restarted gateway finds its share quickly, and
later a single late answer does not close the queue to hundreds of others.
"""

from __future__ import annotations

import math

FIRST = 0.05
LEAST = 0.02
MOST = 0.25
# From this part of the longest prediction that is admitted on, a request is close to the edge. Were it a part of the
# budget, a wide headroom would let nobody near the edge, and never learn that it is too wide.
EDGE = 0.75
_STEP = 0.01
_FIRST_STEP = 0.04
_LATE_SHARE = 0.005


class Headroom:
    """`share`, 0.02..0.25 of the remaining budget."""

    def __init__(self) -> None:
        self.share = FIRST
        self._observations = 0

    def observe(self, *, p95_ms: float, budget_ms: float, late: bool) -> None:
        """One admitted request: what was predicted when it was admitted, and whether its answer came too late."""
        if p95_ms < EDGE * (1.0 - self.share) * budget_ms:
            return
        self._observations += 1
        step = max(_STEP, _FIRST_STEP / math.sqrt(self._observations))
        moved = self.share + step * (1.0 - _LATE_SHARE if late else -_LATE_SHARE)
        self.share = min(MOST, max(LEAST, moved))

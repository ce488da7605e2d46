"""How much of what remains of a budget is left free: learnt from those who were admitted close to the edge.

A fixed share is either so large that a burst finds a tenth of the queue closed, or so small that a noisy machine
breaks its promises. So every request whose prediction used most of its budget moves the share a little: down if it was
in time, 199 times as far up if it was late. It comes to rest where one in 200 such requests is late. Requests with time
to spare say nothing about the edge and do not count.
"""

from __future__ import annotations

FIRST = 0.10
LEAST = 0.02
MOST = 0.25
# From this share of the budget on, a prediction is close to the edge.
EDGE = 0.75
_STEP = 0.04
_LATE_SHARE = 0.005


class Headroom:
    """`share`, 0.02..0.25 of the remaining budget."""

    def __init__(self) -> None:
        self.share = FIRST

    def observe(self, *, p95_ms: float, budget_ms: float, late: bool) -> None:
        """One admitted request: what was predicted when it was admitted, and whether its answer came too late."""
        if p95_ms < EDGE * budget_ms:
            return
        moved = self.share + _STEP * (1.0 - _LATE_SHARE if late else -_LATE_SHARE)
        self.share = min(MOST, max(LEAST, moved))

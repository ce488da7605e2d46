"""What a real server suffers from and a simulation likes to forget: everything else that wants the same cores.

The cores are shared evenly by whoever is ready: the workers, the event loop while it reads and answers requests
(refused ones too), and neighbours, processes that take a core for a while. Work that begins while others are ready
takes longer by their share. None of it is in any profile, and the backlog that the gateway counts knows nothing of it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

_LOOKED_BACK_S = 0.02


@dataclass(slots=True)
class SharedMachine:
    """loop_ms  processor time of the event loop for one request     neighbours  (from, to) seconds, one core each"""

    cores: int = 1
    loop_ms: float = 0.0
    neighbours: tuple[tuple[float, float], ...] = ()
    _loop_free_s: float = 0.0
    _loop_busy: deque[tuple[float, float]] = field(default_factory=deque)

    def read(self, arrived_s: float) -> float:
        """When the loop has read a request that arrived then: one after the other."""
        if self.loop_ms == 0.0:
            return arrived_s
        begins_s = max(arrived_s, self._loop_free_s)
        self._loop_free_s = begins_s + self.loop_ms / 1e3 * (1.0 + self._neighbours_at(begins_s) / self.cores)
        self._loop_busy.append((begins_s, self._loop_free_s))
        return self._loop_free_s

    def slowdown(self, now_s: float) -> float:
        """How much longer work takes that begins now, when every worker has some."""
        since_s = now_s - _LOOKED_BACK_S
        while self._loop_busy and self._loop_busy[0][1] < since_s:
            self._loop_busy.popleft()
        busy_s = sum(max(0.0, min(end_s, now_s) - max(begin_s, since_s)) for begin_s, end_s in self._loop_busy)
        return 1.0 + (self._neighbours_at(now_s) + busy_s / _LOOKED_BACK_S) / self.cores

    def _neighbours_at(self, now_s: float) -> int:
        return sum(begin_s <= now_s < end_s for begin_s, end_s in self.neighbours)

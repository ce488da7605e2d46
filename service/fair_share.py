"""Who gets one of the permits to be in flight, when clients share them.

Dynamic thresholds, as switches share their buffers (Choudhury and Hahne, 1998): each client may hold at most α times
the permits that are free. A flood so stops short of the last, n floods get equal parts, and who holds few is let
in in at once; nothing is reserved for the absent, nothing has to be taken back, and nobody's share is configured.
"""

from __future__ import annotations

from collections import Counter

# One client alone may hold 8/9 of all permits, two 8/17 each.
ALPHA = 8


def admits(held: int, free: int, *, shared: bool) -> bool:
    """Whether a client that holds `held` permits gets one of the `free`. The last one goes to who holds none."""
    if free < 1:
        return False
    return not shared or held == 0 or (free > 1 and held < ALPHA * free)


class Permits:
    """`limit` permits; shared: clients share them as `admits` says, else the limit alone binds."""

    def __init__(self, limit: int, *, shared: bool = False) -> None:
        self.limit = limit
        self.in_flight = 0
        self._shared = shared
        self._held: Counter[str] = Counter()

    def held(self, client: str) -> int:
        return self._held[client]

    def take(self, client: str) -> bool:
        """Whether the client got one, which it gives back with `give`."""
        if not admits(self._held[client], self.limit - self.in_flight, shared=self._shared):
            return False
        self._held[client] += 1
        self.in_flight += 1
        return True

    def give(self, client: str) -> None:
        self.in_flight -= 1
        self._held[client] -= 1
        if not self._held[client]:
            del self._held[client]

"""Who gets one of the permits to be in flight, when clients share them. Two rules, both without a setting a client.

Dynamic thresholds, as switches share their buffers (Choudhury and Hahne, 1998): each client may hold at most α times
the permits that are free. A flood so stops short of the last, n floods get equal parts, and who holds few gets in.

A permit is not yet a processor: behind hundreds of admitted requests nobody is in time. So when a client that holds
less than its equal part misses a deadline, or is told that it would, the crowd is thinned for a while. Who was let in
less often than an equal part of the times shares what the workers can keep moving with those like it. Who was let in
more often presses: those that do together never hold more than there are workers. One more would be one that waits, and
the queue goes by deadlines: a flood of short ones that always has one waiting lets nobody else begin. And who presses
and is refused is not looked at again for some milliseconds (service/front.py), for looks take the cores as well. It
stays thinned for as long as somebody beside others wants more than that: each time it were given up, somebody would
have to be hurt before it is back. Who asks alone never notices.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable

# One client alone may hold 8/9 of all permits, two 8/17 each.
ALPHA = 8
# Twice what keeps a worker busy while its next request is being read and decoded.
PERMITS_A_WORKER = 4
# Who has asked within that time is there to be fair to; and so long a crowd stays thinned after it hurt somebody.
PRESENT_FOR_S = 2.0
# How often a client was let in is counted over about so long.
COUNTED_FOR_S = 1.0
# With more clients, those that left are looked for.
_MOST_REMEMBERED = 1024


def admits(held: int, free: int, *, shared: bool, part: int | None = None) -> bool:
    """Whether a client that holds `held` permits gets one of the `free`. The last one goes to who holds none.

    shared  other clients may come      part  while the crowd is thinned: the most that anybody may hold
    """
    if free < 1 or (part is not None and held >= part):
        return False
    return not shared or held == 0 or (free > 1 and held < ALPHA * free)


class Fading:
    """A count of events that forgets: one that is `over_s` old counts 1/e."""

    def __init__(self, over_s: float) -> None:
        self._over_s = over_s
        self._count = 0.0
        self._at_s = 0.0

    def at(self, now_s: float) -> float:
        return self._count * math.exp((self._at_s - now_s) / self._over_s)

    def add(self, now_s: float) -> None:
        self._count, self._at_s = self.at(now_s) + 1.0, now_s


class Permits:
    """`limit` permits; shared: clients share them as `admits` says, else the limit alone binds."""

    def __init__(
        self, limit: int, *, shared: bool = False, workers: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.limit = limit
        self.in_flight = 0
        self._shared = shared
        self._workers = min(limit, workers)
        self._thinned_limit = min(limit, PERMITS_A_WORKER * workers)
        self._clock = clock
        self._held: Counter[str] = Counter()
        self._asked_s: dict[str, float] = {}
        self._let_in: dict[str, Fading] = {}
        self._let_in_of_all = Fading(COUNTED_FOR_S)
        self._forget_from = _MOST_REMEMBERED
        self._thinned_until_s = 0.0

    def held(self, client: str) -> int:
        return self._held[client]

    def take(self, client: str) -> bool:
        """Whether the client got one, which it gives back with `give`."""
        part = None
        if self._shared:
            self._asked_s[client] = now_s = self._clock()
            if len(self._asked_s) > self._forget_from:
                self._forget_from = max(_MOST_REMEMBERED, 2 * self._present(now_s))
            if now_s < self._thinned_until_s:
                present = self._present(now_s)
                part = self._part(client, present, now_s)
                if present > 1 and self._held[client] >= part:
                    self._thinned_until_s = now_s + PRESENT_FOR_S
        if not admits(self._held[client], self.limit - self.in_flight, shared=self._shared, part=part):
            return False
        self._held[client] += 1
        self.in_flight += 1
        if self._shared:
            for count in (self._let_in.setdefault(client, Fading(COUNTED_FOR_S)), self._let_in_of_all):
                count.add(self._asked_s[client])
        return True

    def presses(self, client: str) -> int | None:
        """The most that the client may hold, if the crowd is thinned and it was let in more often than an equal part
        of the times; else None."""
        now_s = self._clock()
        if not self._shared or now_s >= self._thinned_until_s:
            return None
        present = self._present(now_s)
        return self._part(client, present, now_s) if self._above(client, present, now_s) else None

    def give(self, client: str) -> None:
        self.in_flight -= 1
        self._held[client] -= 1
        if not self._held[client]:
            del self._held[client]

    def missed(self, client: str) -> None:
        """Told of a client, which holds a permit still, that it was not served in time, or would not have been."""
        if not self._shared:
            return
        now_s = self._clock()
        present = self._present(now_s)
        if present > 1 and self._held[client] * present < self.in_flight:
            self._thinned_until_s = now_s + PRESENT_FOR_S

    def _part(self, client: str, present: int, now_s: float) -> int:
        """The most that the client may hold in a thinned crowd of so many."""
        # Not all are above the mean, nor all below it: at most all but one share either.
        limit = self._workers if self._above(client, present, now_s) else self._thinned_limit
        return max(1, limit // max(1, present - 1))

    def _above(self, client: str, present: int, now_s: float) -> bool:
        # Of one that is left alone the others' times are still counted among all: it is below.
        mine = self._let_in.get(client)
        return mine is not None and mine.at(now_s) * present >= self._let_in_of_all.at(now_s)

    def _present(self, now_s: float) -> int:
        """How many clients have asked lately or hold permits; the others are forgotten."""
        for name in [name for name, at_s in self._asked_s.items() if now_s - at_s > PRESENT_FOR_S]:
            if name not in self._held:
                del self._asked_s[name]
                self._let_in.pop(name, None)
        return max(1, len(self._asked_s))

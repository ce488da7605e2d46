"""Token buckets: how often somebody may ask."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

# Buckets remembered; the one that was used longest ago is forgotten first, and is full when it comes back.
_MOST_BUCKETS = 4096


@dataclass(frozen=True, slots=True)
class Rate:
    per_s: float
    burst: int


class TokenBucket:
    """Holds `burst` requests at most and gains `per_s` a second; full at first."""

    def __init__(self, rate: Rate, now_s: float) -> None:
        self.rate = rate
        self._tokens = float(rate.burst)
        self._filled_s = now_s

    def take(self, now_s: float) -> float:
        """0.0 if a request may pass, which is then counted; else the seconds until one may."""
        gained = max(0.0, now_s - self._filled_s) * self.rate.per_s
        self._tokens = min(float(self.rate.burst), self._tokens + gained)
        self._filled_s = now_s
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return 0.0
        return (1.0 - self._tokens) / self.rate.per_s


class Buckets:
    """A bucket a name. A rate that has changed since begins with a full one."""

    def __init__(self, most: int = _MOST_BUCKETS) -> None:
        self._most = most
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, name: str, rate: Rate, now_s: float) -> float:
        """As `TokenBucket.take`, of that name's bucket."""
        bucket = self._buckets.get(name)
        if bucket is None or bucket.rate != rate:
            bucket = self._buckets[name] = TokenBucket(rate, now_s)
        self._buckets.move_to_end(name)
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        return bucket.take(now_s)

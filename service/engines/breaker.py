"""Whether work should go to a server. Pure: events and the caller's clock in, yes or no out.

closed     it gets work
open       it failed twice in a row: nothing goes there, for a second, then two, at most ten
half-open  that time is over, or it answered when it was looked at: one piece of work at a time, as a trial
"""

from __future__ import annotations

_FAILURES = 2
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 10.0


class Breaker:
    def __init__(self) -> None:
        self._failed_work = 0
        self._failed_looks = 0
        self._pause_s = _FIRST_PAUSE_S
        self._open_until_s: float | None = None
        self._trials = 0

    @property
    def ejected(self) -> bool:
        """Open or half-open: not trusted yet."""
        return self._open_until_s is not None

    def allows(self, now_s: float) -> bool:
        if self._open_until_s is None:
            return True
        # Who does not even say what it has is not worth a request.
        return now_s >= self._open_until_s and self._trials == 0 and self._failed_looks == 0

    def began(self) -> None:
        """A piece of work goes there; `ended` follows, whatever becomes of it."""
        self._trials += 1

    def ended(self) -> None:
        self._trials -= 1

    def worked(self) -> None:
        """A piece of work was answered: the server is well."""
        self._failed_work = 0
        self._open_until_s = None
        self._pause_s = _FIRST_PAUSE_S

    def failed(self, now_s: float) -> bool:
        """A piece of work was lost there; true if that ejects the server."""
        self._failed_work += 1
        return self._eject(self._failed_work >= _FAILURES or self.ejected, now_s)

    def looked(self, now_s: float, *, well: bool) -> bool:
        """It was asked what it has, and answered or not; true if that ejects the server."""
        self._failed_looks = 0 if well else self._failed_looks + 1
        if well and self._open_until_s is not None:
            self._open_until_s = min(self._open_until_s, now_s)
        return not well and self._eject(self._failed_looks >= _FAILURES or self.ejected, now_s)

    def _eject(self, far_enough: bool, now_s: float) -> bool:
        if not far_enough:
            return False
        first = not self.ejected
        self._open_until_s = now_s + self._pause_s
        self._pause_s = min(_LONGEST_PAUSE_S, self._pause_s * 2)
        return first

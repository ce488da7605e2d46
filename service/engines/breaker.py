"""Whether work should go to a server, or to a model. Pure: events and the caller's clock in, yes or no out.

closed     it gets work
open       it failed several times in a row: nothing goes there for a pause, twice as long each time a trial fails
half-open  that time is over, or it answered when it was looked at: one piece of work at a time, as a trial
"""

from __future__ import annotations


class Breaker:
    """`failures` in a row open it; the defaults are those of a server, which is looked at every second."""

    def __init__(self, failures: int = 2, first_pause_s: float = 1.0, longest_pause_s: float = 10.0) -> None:
        self._failures = failures
        self._first_pause_s = first_pause_s
        self._longest_pause_s = longest_pause_s
        self._failed_work = 0
        self._failed_looks = 0
        self._pause_s = first_pause_s
        self._open_until_s: float | None = None
        self._trials = 0

    @property
    def ejected(self) -> bool:
        """Open or half-open: not trusted yet."""
        return self._open_until_s is not None

    def paused(self, now_s: float) -> bool:
        """Open, and not half-open yet."""
        return self._open_until_s is not None and now_s < self._open_until_s

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
        """A piece of work was answered: it is well."""
        self._failed_work = 0
        self._open_until_s = None
        self._pause_s = self._first_pause_s

    def failed(self, now_s: float) -> bool:
        """A piece of work was lost there; true if that opens it."""
        self._failed_work += 1
        return self._eject(self._failed_work >= self._failures or self.ejected, now_s)

    def looked(self, now_s: float, *, well: bool) -> bool:
        """It was asked what it has, and answered or not; true if that ejects the server."""
        self._failed_looks = 0 if well else self._failed_looks + 1
        if well and self._open_until_s is not None:
            self._open_until_s = min(self._open_until_s, now_s)
        return not well and self._eject(self._failed_looks >= self._failures or self.ejected, now_s)

    def _eject(self, far_enough: bool, now_s: float) -> bool:
        if not far_enough:
            return False
        first = self._open_until_s is None
        # What had begun before it opened, and fails after that, is no trial.
        if self._open_until_s is not None and now_s >= self._open_until_s:
            self._pause_s = min(self._longest_pause_s, self._pause_s * 2)
        self._open_until_s = now_s + self._pause_s
        return first

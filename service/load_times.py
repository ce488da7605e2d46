"""How long it takes to load a model: seconds from bytes, learnt; the clock never read."""

from __future__ import annotations

from service.tracked import TrackedQuantile

# First guesses of the right order, not measurements; what is observed corrects them.
_FLOOR_S = 0.1
_S_PER_BYTE = 1 / 200e6
_QUANTILE = 0.9


class LoadTimes:
    """What was seen of a model counts for it; what was seen of all, compared with their size, for the others."""

    def __init__(self) -> None:
        self._factor = TrackedQuantile(_QUANTILE, 1.0, step=0.05, first_step=0.7)
        self._of_model: dict[str, TrackedQuantile] = {}

    def expected_s(self, name: str, file_bytes: int) -> float:
        """Seconds that nine of ten such loads do not exceed."""
        own = self._of_model.get(name)
        return own.value if own else _prior_s(file_bytes) * self._factor.value

    def observe(self, name: str, file_bytes: int, took_s: float) -> None:
        self._factor.observe(took_s / _prior_s(file_bytes))
        own = self._of_model.setdefault(name, TrackedQuantile(_QUANTILE, took_s, step=0.05, first_step=0.5))
        own.observe(took_s)


def _prior_s(file_bytes: int) -> float:
    return _FLOOR_S + file_bytes * _S_PER_BYTE

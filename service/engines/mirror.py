"""Which server lacks what another one has loaded. Pure: what was seen in, what to do out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from service.engines.protocol import Entry

# While another gateway unloads a model, it is gone from one server before it is from the next: no reason to load it.
_LASTS_S = 5.0
_AGAIN_AFTER_S = 30.0


class Mirror:
    def __init__(self) -> None:
        self._since_s: dict[tuple[str, str], float] = {}

    def missing(self, seen: Mapping[str, Sequence[Entry]], now_s: float) -> list[tuple[str, str]]:
        """(address, model) to load now: what others have and that one has lacked for some seconds."""
        loaded = {address: {e.name for e in entries if e.loaded} for address, entries in seen.items()}
        everywhere = set().union(*loaded.values())
        lacking = {(address, name) for address, names in loaded.items() for name in everywhere - names}
        self._since_s = {pair: self._since_s.get(pair, now_s) for pair in lacking}
        due = sorted(pair for pair, since_s in self._since_s.items() if now_s - since_s >= _LASTS_S)
        for pair in due:
            self._since_s[pair] = now_s + _AGAIN_AFTER_S - _LASTS_S
        return due

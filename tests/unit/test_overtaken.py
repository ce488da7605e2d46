"""Work that can wait long, overtaken by many that cannot, on a machine that is slower than it is taken for."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import pytest

from benchmarks.shared_machine import SharedMachine
from benchmarks.virtual_engine import Clock, VirtualWorkers, Work

LONG_S, LONG_WORK_S, LONGS = 5.0, 0.040, 40
SHORT_S, SHORT_WORK_S, SHORT_EVERY_S = 0.15, 0.008, 0.001
ENDS_S = 6.0


@dataclass
class Overtaking:
    """`LONGS` that may take 5 s come at once; then eight times as many short ones as two workers can do. Each is
    admitted if it fits before what was admitted. `neighbours`: processes that have a core each all the while."""

    neighbours: int
    clock: Clock = field(default_factory=Clock)
    done: dict[str, int] = field(default_factory=lambda: {"long": 0, "short": 0})
    dropped: dict[str, int] = field(default_factory=lambda: {"long": 0, "short": 0})

    def __post_init__(self) -> None:
        machine = SharedMachine(cores=2, neighbours=((0.0, 2 * ENDS_S),) * self.neighbours)
        self.workers = VirtualWorkers(self.clock, 2, machine)

    def run(self) -> None:
        warm = 0.0
        while warm < 1.0:  # how slow the machine is shows when there is work
            self.clock.at(warm, partial(self._put, "warm", 1.0, SHORT_WORK_S))
            warm += SHORT_WORK_S
        for _ in range(LONGS):
            self.clock.at(1.0, partial(self._put, "long", LONG_S, LONG_WORK_S))
        for number in range(round(ENDS_S / SHORT_EVERY_S)):
            self.clock.at(1.0 + number * SHORT_EVERY_S, self._short)
        self.clock.run()

    def _short(self) -> None:
        wait_s, room_s = self.workers.backlog(self.clock.now_s + SHORT_S)
        slowest = 1.0 + self.neighbours / 2
        if room_s >= SHORT_WORK_S and (wait_s + SHORT_WORK_S) * slowest <= 0.9 * SHORT_S:
            self._put("short", SHORT_S, SHORT_WORK_S)

    def _put(self, name: str, budget_s: float, cost_s: float) -> None:
        deadline_s = self.clock.now_s + budget_s

        def done(took_s: float) -> None:
            counted = self.done if self.clock.now_s <= deadline_s else self.dropped
            counted[name] = counted.get(name, 0) + 1

        def dropped() -> None:
            self.dropped[name] = self.dropped.get(name, 0) + 1

        self.workers.put(Work(deadline_s, cost_s, cost_s, done, dropped))


@pytest.mark.parametrize("neighbours", [0, 1, 2])
def test_what_was_admitted_with_seconds_to_wait_is_answered(neighbours: int) -> None:
    overtaking = Overtaking(neighbours)
    overtaking.run()
    assert overtaking.dropped["long"] == 0
    assert overtaking.done["long"] == LONGS
    assert overtaking.done["short"] > 20 * LONGS / (1.0 + neighbours / 2)
    assert overtaking.dropped["short"] < 0.02 * overtaking.done["short"]

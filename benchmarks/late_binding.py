"""What it would bring to choose the model when a worker takes the picture, not when the request is admitted.

    python -m benchmarks.late_binding [--processes gamma-4 ...] [--loads 0.3 ...] [--seconds 20] [--seeds 1]

A prototype, in virtual time only. Admission asks whether the request would be in time behind the models planned for
those who wait; if not, whether it would be if they all took the fastest. A worker that takes a picture chooses anew:
feasible is what leaves those behind it time for the fastest model; work is priced by what a newcomer would wait now.
"""

from __future__ import annotations

import argparse
import heapq
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from benchmarks.arrivals import PROCESSES, arrivals
from benchmarks.device import RESULTS, slug
from benchmarks.fleets import capacity_per_s, read_fleet, workload
from benchmarks.policies import Decided, Ours, Situation, estimate
from benchmarks.scores import Outcome, Score, score
from benchmarks.simulate import LOADS, fastest
from benchmarks.virtual_engine import Then, VirtualWorkers, Work
from benchmarks.virtual_gateway import VirtualGateway
from service.backlog import Backlog, backlog
from service.latency import Estimates, Predictor, octave
from service.routing import Choice, Demand, Pressure, Refusal, Steadiness, choose, fullness


@dataclass(slots=True)
class LateWork(Work):
    """least_s  decoding and inference with the fastest model     bind  called when a worker takes it: sets the rest"""

    least_s: float = 0.0
    bind: Then | None = None


class LateWorkers(VirtualWorkers):
    """Workers that have the model of a piece chosen when they take it."""

    def met(self, deadline_s: float, *, least: bool, mine_s: float | None = None) -> Backlog:
        """What new work would meet if those who wait did as planned, or with the fastest model.

        mine_s  what the worker that is free just now is about to begin
        """
        pieces = [(work.deadline_s, work.after_s) for _, work in self._running.values() if work.after_s]
        for *_, work in self._queue:
            cost_s = work.cost_s + work.after_s
            if least and isinstance(work, LateWork) and work.bind is not None:
                cost_s = work.least_s
            pieces.append((work.deadline_s, cost_s))
        ends_s = [end_s for end_s, _ in self._running.values()]
        ends_s += [] if mine_s is None else [self.clock.now_s + mine_s]
        return backlog(self.clock.now_s, ends_s, self.count, pieces, deadline_s)

    def _begin(self) -> None:
        while self._queue and len(self._running) < self.count:
            _, _, number, work = heapq.heappop(self._queue)
            if isinstance(work, LateWork) and work.bind is not None:
                work.bind()
                work.bind = None
            if self.clock.now_s + work.cost_s > work.deadline_s:
                work.dropped()
                continue
            self._running[number] = (self.clock.now_s + work.cost_s, work)
            takes_s = work.takes_s * self.machine.slowdown(self.clock.now_s)
            self.clock.at(self.clock.now_s + takes_s, partial(self._end, number, work, takes_s))


class LateOurs(Ours):
    """The gateway's router, asked twice: whether some model will do, and later which."""

    def admit(self, situation: Situation, planned: Backlog, least: Backlog, predictor: Predictor) -> Decided | None:
        demand, now_s = Demand(situation.budget_ms), situation.now_s
        pressure = self._of(demand)
        as_planned, at_least = (self._behind(situation, met.wait_s, predictor) for met in (planned, least))
        estimates = as_planned
        choice = choose(
            self._variants,
            estimates,
            demand,
            room_ms=planned.room_s * 1e3,
            steadiness=self._steadiness,
            pressure=pressure.at(fullness(as_planned, demand), now_s),
        )
        if isinstance(choice, Refusal):
            estimates, room_ms = at_least, least.room_s * 1e3
            choice = choose(self._variants, estimates, demand, room_ms=room_ms, steadiness=Steadiness(), pressure=1.0)
        pressure.told(fullness(at_least, demand), now_s, refused=isinstance(choice, Refusal))
        return None if isinstance(choice, Refusal) else Decided(choice.index, choice.index, estimates)

    def bind(self, situation: Situation, room_s: float, newcomer_waits_s: float, predictor: Predictor) -> int:
        """The model for a picture whose turn has come."""
        demand = Demand(situation.budget_ms)
        own = self._behind(situation, 0.0, predictor)
        newcomer = self._behind(replace(situation, spent_ms=0.0), newcomer_waits_s, predictor)
        pressure = self._of(demand).at(fullness(newcomer, demand), situation.now_s)
        choice: Choice | Refusal = choose(
            self._variants, own, demand, room_ms=room_s * 1e3, steadiness=Steadiness(), pressure=pressure
        )
        return int(np.argmin(own.p50_ms)) if isinstance(choice, Refusal) else choice.index

    def _of(self, demand: Demand) -> Pressure:
        return self._pressure.setdefault(octave(demand.budget_ms), Pressure())

    def _behind(self, situation: Situation, wait_s: float, predictor: Predictor) -> Estimates:
        return estimate(predictor, self._variants, replace(situation, wait_s=wait_s))


class LateGateway(VirtualGateway):
    """Promises are kept to as admission would have made them for the model that answered."""

    policy: LateOurs

    def __post_init__(self) -> None:
        self.workers: LateWorkers = LateWorkers(self.clock, self.load.fleet.workers, self.machine)

    def _decide(self, number: int) -> None:
        load, budget_ms = self.load, float(self.load.budgets_ms[number])
        spent_ms = (self.clock.now_s - float(load.times_s[number])) * 1e3
        planned, least = (self.workers.met(self._deadline_s(number), least=least) for least in (False, True))
        situation = Situation(
            self.clock.now_s, load.headers[number], budget_ms, spent_ms, planned.wait_s, planned.room_s
        )
        decided = self.policy.admit(situation, planned, least, self.predictor)
        if decided is None:
            self.outcomes[number] = Outcome(503, spent_ms, budget_ms)
            return
        costs_s = [self._costs_s(number, model) for model in range(len(load.fleet.cards))]
        decode_s, run_s = costs_s[decided.model]
        work = LateWork(
            deadline_s=self._deadline_s(number),
            cost_s=decode_s,
            takes_s=0.0,
            done=lambda took_s: None,
            dropped=lambda: self._missed(number, decided, 0.0),
            after_s=run_s,
            request=number,
            least_s=min(sum(cost_s) for cost_s in costs_s),
        )
        work.bind = lambda: self._bind(number, work, decided)
        self.workers.put(work)

    def _bind(self, number: int, work: LateWork, planned: Decided) -> None:
        load, now_s, budget_ms = self.load, self.clock.now_s, float(self.load.budgets_ms[number])
        header, spent_ms = load.headers[number], (now_s - float(load.times_s[number])) * 1e3
        room_s = self.workers.met(np.nextafter(work.deadline_s, 0.0), least=True).room_s
        waits_s = self.workers.met(now_s + budget_ms / 1e3, least=True, mine_s=work.least_s).wait_s
        situation = Situation(now_s, header, budget_ms, spent_ms, 0.0, room_s)
        model = self.policy.bind(situation, room_s, waits_s, self.predictor)
        decided = Decided(model, model, planned.estimates)

        def done(took_s: float) -> None:
            self.predictor.observe_decode(header, load.fleet.cards[model].resize, took_s * 1e3)
            self._infer(number, decided, took_s * 1e3)

        work.cost_s, work.after_s = self._costs_s(number, model)
        work.takes_s, work.done = float(load.decode_ms[number, model]) / 1e3, done
        work.dropped = lambda: self._missed(number, decided, 0.0)

    def _costs_s(self, number: int, model: int) -> tuple[float, float]:
        card = self.load.fleet.cards[model]
        decode_ms = self.predictor.decode_ms(self.load.headers[number], card.resize)
        return decode_ms / 1e3, self.predictor.run_ms(card, 1) / 1e3


@dataclass(frozen=True, slots=True)
class Cell:
    process: str
    load: float
    seconds: float
    seed: int


def run_cell(cell: Cell) -> tuple[Score, Score]:
    """The gateway's router as it is, and with models bound late."""
    fleet = read_fleet(RESULTS / f"service-times-{slug()}.json")
    rate = cell.load * capacity_per_s(fleet, fastest(fleet))
    load, warm_up = (
        workload(fleet, arrivals(cell.process, rate, cell.seconds, seed), 100.0, seed)
        for seed in (cell.seed, cell.seed + 1000)
    )
    scores = []
    for gateway, policy in ((VirtualGateway, Ours(fleet)), (LateGateway, LateOurs(fleet))):
        before = gateway(warm_up, policy, Predictor(fleet.workers))
        before.run()
        scores.append(score(gateway(load, policy, before.predictor).run(), cell.seconds))
    return scores[0], scores[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--processes", nargs="+", choices=PROCESSES, default=list(PROCESSES))
    parser.add_argument("--loads", nargs="+", type=float, default=list(LOADS))
    asked = parser.parse_args()
    cells = [
        Cell(process, load, asked.seconds, seed)
        for process in asked.processes
        for load in asked.loads
        for seed in range(1, asked.seeds + 1)
    ]
    print("effective accuracy (admitted in time), %: bound at admission, bound late")
    gained = []
    with ProcessPoolExecutor() as pool:
        for cell, (early, late) in zip(cells, pool.map(run_cell, cells), strict=True):
            gained.append(late.effective_accuracy - early.effective_accuracy)
            told = "  ".join(f"{of.effective_accuracy:5.2f} ({of.in_time_of_admitted:6.2f})" for of in (early, late))
            print(f"{cell.process:11} {cell.load:4} {told}  {gained[-1]:+.2f}", flush=True)
    print(f"gained: {np.mean(gained):+.2f} on average, {min(gained):+.2f} to {max(gained):+.2f}")


if __name__ == "__main__":
    main()

"""One gateway in virtual time: decide, decode, infer, answer, learn, as in service/pipeline.py (no hedges)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from benchmarks.fleets import Workload
from benchmarks.policies import Decided, Policy, Situation
from benchmarks.scores import Outcome
from benchmarks.shared_machine import SharedMachine
from benchmarks.virtual_engine import Clock, VirtualWorkers, Work
from service.latency import Predictor


@dataclass
class VirtualGateway:
    """counts_what_follows: while a picture waits to be decoded, its model's run counts as work to come."""

    load: Workload
    policy: Policy
    predictor: Predictor = field(default_factory=Predictor)
    machine: SharedMachine = field(default_factory=SharedMachine)
    counts_what_follows: bool = True
    clock: Clock = field(default_factory=Clock)
    outcomes: dict[int, Outcome] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.workers = VirtualWorkers(self.clock, self.load.fleet.workers, self.machine)

    def run(self) -> list[Outcome]:
        """What came of every request, in order of arrival."""
        for number, arrived_s in enumerate(self.load.times_s):
            self.clock.at(float(arrived_s), partial(self._read, number))
        self.clock.run()
        return [self.outcomes[number] for number in range(len(self.load.times_s))]

    def _read(self, number: int) -> None:
        read_s = self.machine.read(self.clock.now_s)
        self.clock.at(read_s + self.load.fleet.front_ms / 1e3, partial(self._decide, number))

    def _decide(self, number: int) -> None:
        load, budget_ms = self.load, float(self.load.budgets_ms[number])
        spent_ms = (self.clock.now_s - float(load.times_s[number])) * 1e3
        deadline_s = self._deadline_s(number)
        wait_s, room_s = self.workers.backlog(deadline_s)
        situation = Situation(self.clock.now_s, load.headers[number], budget_ms, spent_ms, wait_s, room_s)
        decided = self.policy.decide(situation, self.predictor)
        if decided is None:
            self.outcomes[number] = Outcome(503, spent_ms, budget_ms)
            return
        self._decode(number, decided)

    def _decode(self, number: int, decided: Decided) -> None:
        load, header = self.load, self.load.headers[number]
        card, took_ms = load.fleet.cards[decided.model], float(load.decode_ms[number, decided.model])

        def done(took_s: float) -> None:
            self.predictor.observe_decode(header, card.resize, took_s * 1e3)
            self._infer(number, decided, took_s * 1e3)

        run_s = self.predictor.run_ms(card, 1) / 1e3
        self.workers.put(
            Work(
                deadline_s=self._deadline_s(number),
                cost_s=self.predictor.decode_ms(header, card.resize) / 1e3,
                takes_s=took_ms / 1e3,
                done=done,
                dropped=lambda: self._missed(number, decided, 0.0),
                after_s=run_s if self.counts_what_follows else 0.0,
                request=number,
            )
        )

    def _infer(self, number: int, decided: Decided, decode_ms: float) -> None:
        load = self.load
        card, took_ms = load.fleet.cards[decided.model], float(load.run_ms[number, decided.model])

        def done(took_s: float) -> None:
            self.predictor.observe_run(card, 1, took_s * 1e3, self.clock.now_s)
            self._answer(number, decided, decode_ms + took_s * 1e3)

        self.workers.put(
            Work(
                deadline_s=self._deadline_s(number),
                cost_s=self.predictor.run_ms(card, 1) / 1e3,
                takes_s=took_ms / 1e3,
                done=done,
                dropped=lambda: self._missed(number, decided, decode_ms),
                request=number,
            )
        )

    def _answer(self, number: int, decided: Decided, work_ms: float) -> None:
        load, budget_ms = self.load, float(self.load.budgets_ms[number])
        latency_ms = (self.clock.now_s - float(load.times_s[number])) * 1e3 + load.fleet.post_ms
        if latency_ms > budget_ms:
            self._missed(number, decided, work_ms)
            return
        self._learn(decided, latency_ms, work_ms, late=False)
        card = load.fleet.cards[decided.model]
        accuracy = float(load.fleet.accuracy[decided.model])
        self.outcomes[number] = Outcome(200, latency_ms, budget_ms, card.name, accuracy)

    def _missed(self, number: int, decided: Decided, work_ms: float) -> None:
        """Answered when the budget ends at the latest; what was worked for it is wasted."""
        budget_ms = float(self.load.budgets_ms[number])
        elapsed_ms = (self.clock.now_s - float(self.load.times_s[number])) * 1e3
        if decided.p95_ms <= budget_ms:
            self._learn(decided, max(elapsed_ms, decided.p95_ms * 1.01), None, late=True)
        latency_ms = min(elapsed_ms, budget_ms)
        self.outcomes[number] = Outcome(504, latency_ms, budget_ms, wasted_ms=work_ms)

    def _learn(self, decided: Decided, took_ms: float, worked_ms: float | None, *, late: bool) -> None:
        promise = decided.estimates.promise(decided.at)
        self.predictor.observe_request(promise, took_ms=took_ms, worked_ms=worked_ms, late=late)

    def _deadline_s(self, number: int) -> float:
        return float(self.load.times_s[number] + self.load.budgets_ms[number] / 1e3)

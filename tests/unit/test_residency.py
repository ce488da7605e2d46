"""The memory policy under any order of events: the budget holds, and nobody who is used has to go."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service.load_times import LoadTimes
from service.residency import DoesNotFit, Place, Popularity, Residency, estimated_bytes
from tests.cards import classifier

BUDGET = 100
NAMES = st.sampled_from("abcdefgh")
SIZES = st.integers(1, 130)


class AnyOrder(RuleBasedStateMachine):
    """What `Loads` does, in any order, with an oracle of who was used when."""

    def __init__(self) -> None:
        super().__init__()
        self.residency = Residency(BUDGET)
        self.held: list[str] = []
        self.used: list[str] = []

    @rule(name=NAMES)
    def use(self, name: str) -> None:
        self.residency.hold(name)
        self.held.append(name)
        self._newest(name)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        name = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        self.residency.let_go(name)

    @rule(name=NAMES, size=SIZES, spared=st.sets(NAMES))
    def load(self, name: str, size: int, spared: set[str]) -> None:
        if self.residency.place(name) is not None:
            return
        if size > BUDGET:
            with pytest.raises(DoesNotFit):
                self.residency.victims(name, size)
            return
        before = self.residency.used_bytes
        victims = self.residency.victims(name, size, spared.__contains__)
        idle = [n for n in self.used if self.residency.resident(n) and n not in self.held and n not in spared]
        if victims is None:
            assert before - sum(self.residency.bytes_of(n) for n in idle) + size > BUDGET, "there was a way"
            return
        assert list(victims) == idle[: len(victims)], "least recently used first, never one in use or spared"
        without_last = sum(self.residency.bytes_of(n) for n in victims[:-1])
        assert not victims or before - without_last + size > BUDGET, "nobody leaves for nothing"
        for victim in victims:
            self.residency.leave(victim)
            assert not self.residency.resident(victim)
            self.residency.gone(victim)
        self.residency.reserve(name, size)

    @rule(name=NAMES, taken=st.integers(1, BUDGET))
    def arrive(self, name: str, taken: int) -> None:
        if self.residency.place(name) is Place.COMING:
            self.residency.arrived(name, min(taken, self.residency.bytes_of(name)))
            self._newest(name)

    @rule(name=NAMES)
    def fail(self, name: str) -> None:
        if self.residency.place(name) is Place.COMING:
            self.residency.gone(name)

    @invariant()
    def within_the_budget(self) -> None:
        assert self.residency.used_bytes <= BUDGET
        assert self.residency.surplus() == ()

    def _newest(self, name: str) -> None:
        if name in self.used:
            self.used.remove(name)
        self.used.append(name)


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_what_came_by_itself_or_took_more_is_surplus_until_the_budget_holds() -> None:
    residency = Residency(BUDGET)
    for name in "abc":
        residency.arrived(name, 40)
    residency.hold("a")
    assert residency.surplus() == ("b",)
    residency.leave("b")
    assert residency.surplus() == ()
    residency.gone("b")
    residency.resize("c", 70)
    assert residency.surplus() == ("c",)


def test_without_a_budget_everything_fits() -> None:
    residency = Residency(0)
    residency.arrived("a", 10**12)
    assert residency.victims("b", 10**12) == ()
    assert residency.surplus() == ()


def test_popularity_halves_in_half_a_minute() -> None:
    popularity = Popularity()
    for _ in range(8):
        popularity.wanted("a", 100.0)
    assert popularity.at("a", 100.0) == pytest.approx(8.0)
    assert popularity.at("a", 130.0) == pytest.approx(4.0)
    assert popularity.at("nobody", 130.0) == 0.0


def test_the_estimate_grows_with_file_and_input() -> None:
    small = classifier("a", onnx_bytes=10_000_000)
    assert estimated_bytes(small) > 2 * 10_000_000
    assert estimated_bytes(classifier("a", onnx_bytes=20_000_000)) > estimated_bytes(small)


def test_load_times_are_learnt_from_others_and_then_from_oneself() -> None:
    times = LoadTimes()
    guess_s = times.expected_s("new", 100_000_000)
    for _ in range(30):
        times.observe("other", 100_000_000, 10 * guess_s)
    assert times.expected_s("new", 100_000_000) > 5 * guess_s
    times.observe("new", 100_000_000, 0.2)
    assert times.expected_s("new", 100_000_000) == pytest.approx(0.2, rel=0.7)

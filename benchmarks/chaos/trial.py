"""One fault on one engine: load before, while, and after; what was seen of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx

from benchmarks import counters
from benchmarks.chaos.fault import Broken, Fault, NotRun
from benchmarks.chaos.load import Load, Seen
from benchmarks.chaos.site import Site
from benchmarks.chaos.watch import Watch, moved
from benchmarks.scrape import scrape

BEFORE_S = 1.5
# Well again is what is well for so long; who is not by then is given up.
WELL_FOR_S = 2.0
PATIENCE_S = 30.0


@dataclass
class Trial:
    """answers   by status, and code where it is a problem; `rerouted`: 200s whose first model failed
    again_s      from the fault's end to the last request that was not answered 200 or moment not ready; None: never
    lost         what differs between the client's count and the server's; empty: nothing
    not_run      why not
    """

    fault: str
    engine: str
    not_run: str = ""
    answers: dict[str, int] = field(default_factory=dict)
    rerouted: int = 0
    worst_ms: float = 0.0
    readiness: str = ""
    moved: list[str] = field(default_factory=list)
    again_s: float | None = None
    sent: int = 0
    counted: int = 0
    lost: list[str] = field(default_factory=list)


def run_trial(site: Site, fault: Fault) -> Trial:
    """Breaks it, mends it, and waits until it is well."""
    trial = Trial(fault.name, site.engine)
    before = scrape(site.gateway)
    broken = ""
    with Watch(site.gateway) as watch, Load(site.gateway.port) as load:
        time.sleep(BEFORE_S)
        began_s = time.monotonic()
        try:
            with fault.inject(site):
                time.sleep(fault.held_s)
        except NotRun as err:
            trial.not_run = str(err)
        except (Broken, OSError, httpx.TransportError) as err:  # the last two: nobody answered an operator
            broken = str(err)
        ended_s = time.monotonic()
        trial.again_s = _well_again_s(load, watch, ended_s)
    _quiet(site)
    after = scrape(site.gateway)
    _sum_up(trial, load.seen, watch, began_s)
    trial.moved = moved(before, watch, after)
    trial.sent = load.sent
    trial.counted = sum(counters.difference(counters.by_outcome(after), counters.by_outcome(before)).values())
    statuses = Counter(seen.status for seen in load.seen)
    for (status, _), count in watch.problems.items():
        statuses[status] += count
    trial.lost = [*counters.compare(before, after, statuses, watch.problems.total()), *([broken] if broken else [])]
    if load.sent != len(load.seen):
        trial.lost.append(f"sent {load.sent}, answered {len(load.seen)}")
    return trial


def _well_again_s(load: Load, watch: Watch, ended_s: float) -> float | None:
    """Waits until all has been well for WELL_FOR_S. None: not within PATIENCE_S."""
    while True:
        now_s = time.monotonic()
        bad_s = max(_bad_s(load.seen, watch), default=ended_s)
        if now_s - max(bad_s, ended_s) >= WELL_FOR_S:
            return max(0.0, bad_s - ended_s)
        if now_s - ended_s > PATIENCE_S:
            return None
        time.sleep(0.1)


def _bad_s(seen: list[Seen], watch: Watch) -> Iterator[float]:
    """When anything was not as it should be."""
    yield from (one.sent_s for one in list(seen) if one.status != 200 or one.failed)
    yield from (at_s for at_s, status in list(watch.ready_s) if status != 200)


def _sum_up(trial: Trial, seen: list[Seen], watch: Watch, began_s: float) -> None:
    trial.answers = dict(Counter(_named(one) for one in seen))
    trial.rerouted = sum(bool(one.failed) for one in seen)
    trial.worst_ms = max((one.latency_ms for one in seen if one.sent_s >= began_s), default=0.0)
    away = [(at_s, status) for at_s, status in watch.ready_s if status != 200]
    if away:
        first, last = away[0][0] - began_s, away[-1][0] - began_s
        statuses = "/".join(sorted({str(status) for _, status in away}))
        trial.readiness = f"{statuses} from {first:.1f} s to {last:.1f} s"
    else:
        trial.readiness = "200"
    if watch.failing:
        trial.readiness += f", failing: {', '.join(sorted(watch.failing))}"


def _named(one: Seen) -> str:
    return f"{one.status} {one.code}".strip() if one.status else f"no answer ({one.code})"


def _quiet(site: Site) -> None:
    for _ in range(100):
        if scrape(site.gateway)["vision_in_flight_requests"] == 0:
            time.sleep(0.3)
            return
        time.sleep(0.1)
    raise TimeoutError("requests are still in flight 10 s after the last")

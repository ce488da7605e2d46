"""The routing benchmark in virtual time: the gateway's own predictor and router, and an oracle, hours in minutes.

    python -m benchmarks.simulate [--workers 16] [--seconds 20] [--budget 100] [--seeds 2] [--parts cells]

Three parts: `cells`, the fleet as measured; `shared`, the same on a machine that has other things to do; `alike`, all
pictures the same and no time varying, which shows what the oracle gains from knowing which ones take long.

Service times come from results/service-times-<device>.json (`python -m benchmarks.service_times`), so neither models
nor photographs are needed. Results: results/simulation-<device>.json and .csv.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.arrivals import PROCESSES, arrivals, missing
from benchmarks.device import RESULTS, circumstances, slug
from benchmarks.fleets import Fleet, alike, capacity_per_s, read_fleet, workload
from benchmarks.oracle import best_schedule, upper_bound
from benchmarks.policies import Ours, Policy, Static, any_model, fixed
from benchmarks.scores import score
from benchmarks.shared_machine import SharedMachine
from benchmarks.virtual_gateway import VirtualGateway
from service.latency import Predictor

LOADS = (0.3, 0.7, 1.0, 1.5)
PARTS = ("cells", "shared", "alike")
# Beyond it the search for the best schedule is slow and no longer close to the bound.
MOST_WORKERS_SEARCHED = 4
# Processor time of the event loop for one request, as `python -m benchmarks.overhead` finds it, and the client's.
LOOP_MS = 0.7
# Added to a cell's seed: what its gateways have answered before, of the same kind and length. They run for months.
_WARM_UP = 1000


@dataclass(frozen=True, slots=True)
class Cell:
    """One arrival process at one load, the share of what the fastest model could do on a machine of its own.

    part  "cells", "shared" or "alike"; on a shared machine nobody knows the best schedule
    """

    times: Path
    workers: int | None
    process: str
    load: float
    budget_ms: float
    seconds: float
    seed: int
    part: str = "cells"


def policies(fleet: Fleet, part: str = "cells") -> Iterator[Policy]:
    """Those whose numbers the part is there for, ours last."""
    if part != "alike":
        for model in range(len(fleet.cards)):
            yield fixed(fleet, model)
    if part == "cells":
        yield any_model(fleet)
        yield Static(fleet)
        yield Ours(fleet, prices=False)
    yield Ours(fleet)


def fastest(fleet: Fleet) -> int:
    return max(range(len(fleet.cards)), key=lambda model: capacity_per_s(fleet, model))


def run_cell(cell: Cell) -> list[dict[str, Any]]:
    """One row for every policy; each says what share of the oracle's effective accuracy it reached."""
    fleet = read_fleet(cell.times, workers=cell.workers)
    rate = cell.load * capacity_per_s(fleet, fastest(fleet))
    if cell.part == "alike":
        fleet = alike(fleet)
    load, warm_up = (
        workload(fleet, arrivals(cell.process, rate, cell.seconds, seed), cell.budget_ms, seed)
        for seed in (cell.seed, cell.seed + _WARM_UP)
    )
    offered = len(load.times_s)
    bound = None if cell.part == "shared" else upper_bound(load) / offered
    searched = cell.part != "shared" and fleet.workers <= MOST_WORKERS_SEARCHED
    found = best_schedule(load)[0] / offered if searched else None
    rows = []
    for policy in policies(fleet, cell.part):
        before = VirtualGateway(warm_up, policy, Predictor(fleet.workers), _machine(cell, fleet))
        before.run()
        gateway = VirtualGateway(load, policy, before.predictor, _machine(cell, fleet))
        result = score(gateway.run(), cell.seconds)
        coverage = gateway.predictor.coverage()
        rows.append(
            {
                **{key: value for key, value in asdict(cell).items() if key not in ("times", "part")},
                "policy": policy.name,
                "oracle": None if found is None else round(found, 2),
                "bound": None if bound is None else round(bound, 2),
                "of_oracle": None if found is None else round(100 * result.effective_accuracy / found, 1),
                "of_bound": None if bound is None else round(100 * result.effective_accuracy / bound, 1),
                "coverage": None if coverage is None else round(100 * coverage, 1),
                **result.flat(),
            }
        )
    return rows


def _machine(cell: Cell, fleet: Fleet) -> SharedMachine:
    """Alone, or with an event loop that works and a neighbour who takes a core for a second in every six."""
    if cell.part != "shared":
        return SharedMachine(fleet.workers)
    neighbours = tuple((float(at_s), at_s + 1.0) for at_s in range(3, int(cell.seconds), 6))
    return SharedMachine(fleet.workers, LOOP_MS, neighbours)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=Path, default=RESULTS / f"service-times-{slug()}.json")
    parser.add_argument("--workers", type=int, help="cores to simulate; as measured if not given")
    parser.add_argument("--budget", type=float, default=100.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--processes", nargs="+", choices=PROCESSES, default=list(PROCESSES))
    parser.add_argument("--loads", nargs="+", type=float, default=list(LOADS))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="the others stay as they are")
    parser.add_argument("--out", type=Path, default=RESULTS / f"simulation-{slug()}")
    asked = parser.parse_args()
    started_s = time.monotonic()
    cells = [
        Cell(asked.times, asked.workers, process, load, asked.budget, asked.seconds, seed, part)
        for part in asked.parts
        for process in asked.processes
        if not _said_missing(process)
        for load in asked.loads
        for seed in range(1, asked.seeds + 1)
    ]
    rows: dict[str, list[dict[str, Any]]] = {part: [] for part in asked.parts}
    with ProcessPoolExecutor() as pool:
        for cell, found in zip(cells, pool.map(run_cell, cells), strict=True):
            rows[cell.part] += found
            ours = found[-1]
            told = f"{ours['process']:11} {ours['load']:4} ours {ours['effective_accuracy']:.1f}"
            print(cell.part, told, f"{ours['of_oracle']} % of the oracle" if ours["oracle"] else "", flush=True)
    _write(asked.out, asked.times, rows)
    print(f"{time.monotonic() - started_s:.0f} s -> {asked.out}.json, .csv")


def _write(out: Path, times: Path, rows: dict[str, list[dict[str, Any]]]) -> None:
    measured = json.loads(times.read_text(encoding="utf-8"))
    path = out.with_suffix(".json")
    document = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    document |= {
        "circumstances": circumstances(),
        "service_times": {"file": times.name, **measured["circumstances"]},
        **rows,
    }
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if "cells" not in rows:
        return
    with out.with_suffix(".csv").open("w", newline="", encoding="utf-8") as lines:
        lines.write("".join(f"# {name}: {value}\n" for name, value in circumstances().items()))
        table = csv.DictWriter(lines, rows["cells"][0].keys())
        table.writeheader()
        table.writerows(rows["cells"])


def _said_missing(process: str) -> bool:
    why = missing(process)
    if why:
        print(why)
    return why is not None


if __name__ == "__main__":
    main()

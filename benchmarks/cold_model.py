"""`python -m benchmarks.cold_model`: what the loading of a cold model costs those who use other models.

Twenty copies of one model under a memory budget for six, on a real Triton or embedded. Requests for three of them come
at random times, whatever became of those before. In every other stretch of time nobody asks for anything else; in the
ones between, a cold model is asked for every few seconds, which unloads one and loads another. Compared is the latency
of the requests for the three, from when each was due.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.client import Client, Sent, open_loop, post
from benchmarks.device import RESULTS, circumstances, slug
from benchmarks.server import metrics, serving
from tests.many_models import budget_bytes, copies
from tests.triton_server import TritonServer

MODELS, ROOM_FOR, WARM = 20, 6, 3


@dataclass
class Stretches:
    """What came of the requests of all stretches of one kind."""

    others: list[list[Sent]] = field(default_factory=list)
    cold: list[Sent] = field(default_factory=list)

    @property
    def all_others(self) -> list[Sent]:
        return list(itertools.chain.from_iterable(self.others))

    def latency_ms(self, quantile: float) -> float:
        return float(np.quantile([sent.latency_ms for sent in self.all_others], quantile))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=("triton", "embedded"), default="triton")
    parser.add_argument("--entry", type=Path, default=Path("model_repository/efficientnet_lite0_int8"))
    parser.add_argument("--picture", type=Path, default=Path("examples/chelsea.jpg"))
    parser.add_argument("--rate", type=float, default=15.0, help="requests a second for the warm models together")
    parser.add_argument("--cold-every-s", type=float, default=5.0)
    parser.add_argument("--stretch-s", type=float, default=12.0)
    parser.add_argument("--rounds", type=int, default=15, help="of a stretch without and one with cold requests")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cards = copies(given.entry, Path(folder) / "repository", MODELS)
        budget = {"VISION_MEMORY_BUDGET_BYTES": str(budget_bytes(cards[0], ROOM_FOR)), "VISION_PROBE_AFTER_S": "0"}
        with (
            _engine(given.engine, Path(folder)) as settings,
            serving(Path(folder) / "repository", {**budget, **settings}) as server,
        ):
            without, with_cold = asyncio.run(_measure(given, server.port, [card.name for card in cards]))
            loads = _loads(metrics(server.admin_port))
    result = _result(given, without, with_cold, loads)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"cold-model-{given.engine}-{slug()}.json"
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    _show(result, path)


@contextmanager
def _engine(engine: str, folder: Path) -> Iterator[Mapping[str, str]]:
    """The settings of a gateway on that engine."""
    triton = TritonServer(folder / "repository", folder / "triton.log", cold=True) if engine == "triton" else None
    with triton or nullcontext():
        yield {"VISION_ENGINE": engine} | ({"VISION_TRITON_URL": triton.url} if triton else {})


async def _measure(given: argparse.Namespace, port: int, names: Sequence[str]) -> tuple[Stretches, Stretches]:
    picture = given.picture.read_bytes()
    requests = {name: post(f"/v1/classify?model={name}", picture, port) for name in names}
    dice = np.random.default_rng(given.seed)
    client = Client(port)
    await client.open(4)
    for name in itertools.islice(itertools.cycle(names[:WARM]), 20 * WARM):
        await client.ask(requests[name])
    without, with_cold = Stretches(), Stretches()
    cold_names = itertools.cycle(names[WARM:])
    for _ in range(given.rounds):
        for stretches in (without, with_cold):
            due_s = np.sort(dice.uniform(0.0, given.stretch_s, int(given.rate * given.stretch_s)))
            wanted = [requests[name] for name in dice.choice(names[:WARM], len(due_s))]
            times_s = np.arange(1.0, given.stretch_s - 2.0, given.cold_every_s).tolist()
            cold_s: list[float] = times_s if stretches is with_cold else []
            cold = [requests[next(cold_names)] for _ in cold_s]
            others, came = await asyncio.gather(
                open_loop(client, wanted, due_s.tolist()), open_loop(client, cold, cold_s)
            )
            stretches.others.append(others)
            stretches.cold.extend(came)
    client.close()
    return without, with_cold


def _loads(series: Mapping[str, float]) -> dict[str, float]:
    def total(prefix: str) -> float:
        return sum(value for name, value in series.items() if name.startswith(prefix))

    count = total("vision_model_load_duration_seconds_count")
    return {"count": count, "mean_s": total("vision_model_load_duration_seconds_sum") / max(1.0, count)}


def _result(
    given: argparse.Namespace, without: Stretches, with_cold: Stretches, loads: Mapping[str, float]
) -> dict[str, Any]:
    def of(stretches: Stretches) -> dict[str, float]:
        return {
            "requests": len(stretches.all_others),
            "failed": sum(sent.status != 200 for sent in stretches.all_others),
            **{f"p{round(100 * q)}_ms": round(stretches.latency_ms(q), 2) for q in (0.5, 0.95, 0.99)},
            "cold_requests": len(stretches.cold),
            "cold_failed": sum(sent.status != 200 for sent in stretches.cold),
        }

    settings = {key: str(value) for key, value in vars(given).items()}
    ratio = with_cold.latency_ms(0.99) / without.latency_ms(0.99)
    low, high = _interval(without, with_cold, given.seed)
    return {
        **circumstances(),
        "settings": settings,
        "without": of(without),
        "with_cold": of(with_cold),
        "p99_ratio": round(ratio, 3),
        "p99_ratio_95": [round(low, 3), round(high, 3)],
        "loads": dict(loads),
    }


def _interval(without: Stretches, with_cold: Stretches, seed: int) -> tuple[float, float]:
    """Where 95 % of the ratios of the 99th percentiles lie when the rounds are drawn again (bootstrap).

    Whole rounds, each with both of its stretches: what else the machine did in them is in both.
    """
    dice = np.random.default_rng(seed)
    first, second = (
        [np.array([sent.latency_ms for sent in stretch]) for stretch in stretches.others]
        for stretches in (without, with_cold)
    )
    drawn = dice.integers(0, len(first), (1000, len(first)))
    ratios = [
        np.quantile(np.concatenate([second[i] for i in rounds]), 0.99)
        / np.quantile(np.concatenate([first[i] for i in rounds]), 0.99)
        for rounds in drawn
    ]
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(low), float(high)


def _show(result: Mapping[str, Any], path: Path) -> None:
    table = Table("", "without loads", "with loads", title=f"requests for warm models, {path.name}")
    for key in result["without"]:
        table.add_row(key, str(result["without"][key]), str(result["with_cold"][key]))
    console = Console()
    console.print(table)
    low, high = result["p99_ratio_95"]
    console.print(f"p99 with / without: {result['p99_ratio']} (95 %: {low} … {high})")
    console.print(f"{result['loads']['count']:.0f} loads, {result['loads']['mean_s']:.2f} s each")


if __name__ == "__main__":
    main()

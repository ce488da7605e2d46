"""What is left for a modest client while another floods.

python -m benchmarks.fairness

Two clients. One sends ten times its equal part of what the gateway can do, the other half of its own, each request when
it is due (open loop). Once each has a key of its own, so that the gateway can be fair to them; once both have the same,
which is what it would be without fairness. The pairs of runs take turns, so that a busy moment hits both.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

from benchmarks import mix
from benchmarks.arrivals import arrivals
from benchmarks.client import Client
from benchmarks.crowd import Asked, Crowd, in_the_open
from benchmarks.reliability_page import plain, publish, table
from benchmarks.served import served
from service.keys import key_sha256, new_key
from tests.gateway_server import GatewayServer

TIMES_SHARE = 10.0
MODEST_SHARE = 0.5
CONNECTIONS = 300
# What the flood asks for, and what the modest client does.
PAIRS = (("standard", "standard"), ("interactive", "standard"), ("relaxed", "relaxed"), ("batch", "standard"))
MODES = ("one key", "two keys")
Keys = tuple[str, str]


@dataclass
class Side:
    """What one client got; ms of its answers."""

    sent: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    answered_ms: list[float] = field(default_factory=list)

    def add(self, asked: Sequence[Asked]) -> None:
        self.sent += len(asked)
        self.statuses.update(a.status for a in asked)
        self.answered_ms += [a.took_ms for a in asked if a.status == 200]

    @property
    def attained(self) -> float:
        """Share of the requests that were answered within their budget."""
        return self.statuses[200] / max(1, self.sent)


@dataclass
class Cell:
    """One pair of demands in one mode."""

    flood_tier: str
    modest_tier: str
    mode: str
    flood: Side = field(default_factory=Side)
    modest: Side = field(default_factory=Side)


@dataclass
class Fairness:
    capacity_per_s: float
    alone: dict[str, float]
    cells: list[Cell]


async def fairness(gateway: GatewayServer, keys: Keys, seconds: float, turns: int = 2) -> Fairness:
    """Runs it against a gateway that knows the two keys."""
    pictures = mix.variations(24)
    capacity_per_s = await _capacity(gateway.port, keys[0], pictures)
    equal_per_s = capacity_per_s / 2
    run = Fairness(round(capacity_per_s, 1), {}, [Cell(*pair, mode) for pair in PAIRS for mode in MODES])
    for tier in dict.fromkeys(modest for _, modest in PAIRS):
        side = Side()
        side.add(await _send(gateway.port, keys[1], tier, MODEST_SHARE * equal_per_s, seconds, pictures, 1))
        run.alone[tier] = round(side.attained, 4)
    for turn in range(turns):
        for cell in run.cells:
            flood_key = keys[0] if cell.mode == "two keys" else keys[1]
            flood = _send(
                gateway.port, flood_key, cell.flood_tier, TIMES_SHARE * equal_per_s, seconds, pictures, 10 + turn
            )
            modest = _send(
                gateway.port, keys[1], cell.modest_tier, MODEST_SHARE * equal_per_s, seconds, pictures, 20 + turn
            )
            for side, asked in zip((cell.flood, cell.modest), await asyncio.gather(flood, modest), strict=True):
                side.add(asked)
            await asyncio.sleep(3.0)  # what was admitted last is answered, and nobody is remembered as present
    return run


async def _capacity(port: int, key: str, pictures: Sequence[bytes], seconds: float = 4.0) -> float:
    """Classifications a second when eight are always under way."""
    client, answered = Client(port), 0
    loop = asyncio.get_running_loop()
    ends_s = loop.time() + seconds

    async def keep_asking(number: int) -> None:
        nonlocal answered
        while loop.time() < ends_s:
            status, _ = await client.ask(_request("standard", key, pictures[number], port))
            answered += status == 200

    await asyncio.gather(*(keep_asking(number) for number in range(8)))
    client.close()
    return answered / seconds


async def _send(
    port: int, key: str, tier: str, rate_per_s: float, seconds: float, pictures: Sequence[bytes], seed: int
) -> list[Asked]:
    due_s = arrivals("poisson", rate_per_s, seconds, seed).times_s.tolist()
    requests = [_request(tier, key, pictures[number % len(pictures)], port) for number in range(len(due_s))]
    crowd = Crowd(port)
    await crowd.open(min(CONNECTIONS, len(due_s)))
    found = await in_the_open(crowd, requests, due_s)
    crowd.close()
    await asyncio.sleep(0.05)
    return found


def _request(tier: str, key: str, picture: bytes, port: int) -> bytes:
    head = (
        f"POST /v1/classify?tier={tier} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: image/jpeg\r\n"
        f"Authorization: Bearer {key}\r\nContent-Length: {len(picture)}\r\n\r\n"
    )
    return head.encode() + picture


def report(run: Fairness) -> str:
    rows = []
    for cell in run.cells:
        ms = cell.modest.answered_ms
        rows.append(
            [
                cell.flood_tier,
                cell.modest_tier,
                cell.mode,
                f"{run.alone[cell.modest_tier]:.1%}",
                f"{cell.modest.attained:.1%}",
                f"{np.percentile(ms, 50):.0f} / {np.percentile(ms, 99):.0f}" if ms else "–",
                f"{cell.modest.statuses[503]:,} / {cell.modest.statuses[504]:,}",
                f"{cell.flood.statuses[200]:,} of {cell.flood.sent:,}",
            ]
        )
    heads = ["the flood asks", "the modest client", "keys", "alone", "beside the flood", "its answers, ms (p50 / p99)"]
    heads += ["it was told 503 / 504", "the flood's answers"]
    return "\n".join(
        [
            f"The gateway can do {run.capacity_per_s:g} classifications a second; an equal part is half of that. The "
            f"flood sends {TIMES_SHARE:g} times its part, the modest client {MODEST_SHARE:.0%} of its own. Shares are "
            "of the modest client's requests that were answered within their budget.",
            "",
            table(heads, rows),
        ]
    )


def serve_two(seconds: float) -> Fairness:
    """Starts a gateway with two keys, floods it, ends it."""
    names = ("flood", "modest")
    keys = new_key(), new_key()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "keys.jsonl"
        lines = [json.dumps({"name": name, "sha256": key_sha256(key)}) for name, key in zip(names, keys, strict=True)]
        file.write_text("\n".join(lines), encoding="utf-8")
        with served("embedded", {"VISION_API_KEYS_FILE": str(file)}) as gateway:
            return uvloop.run(fairness(gateway, keys, seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description="What a flood leaves to another client, with and without fairness.")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each run; there are eighteen")
    parser.add_argument("--no-docs", action="store_true", help="print only")
    asked = parser.parse_args()
    run = serve_two(asked.seconds)
    text = report(run)
    print(text)
    if not asked.no_docs:
        publish("fairness", f"python -m benchmarks.fairness --seconds {asked.seconds:g}", text, _numbers(run))
    by_mode = {mode: [cell.modest.attained for cell in run.cells if cell.mode == mode] for mode in MODES}
    sys.exit(1 if sum(by_mode["two keys"]) < sum(by_mode["one key"]) else 0)


def _numbers(run: Fairness) -> dict[str, Any]:
    numbers: dict[str, Any] = plain(run)
    for cell in numbers["cells"]:
        for side in (cell["flood"], cell["modest"]):
            ms = side.pop("answered_ms")
            side["answered_ms_percentiles"] = np.percentile(ms, [50, 95, 99]).round(1).tolist() if ms else []
    return numbers


if __name__ == "__main__":
    main()

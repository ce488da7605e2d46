"""Ten times what the gateway can do, from a thousand connections; then the load goes.

python -m benchmarks.overload [--engine triton]

Mixed tiers and tasks come when they are due, whatever became of those before (open loop). Beside them some clients read
their answers a few bytes at a time, some send as slowly, and some want a connection when there are none left. Twice in
a row, so that what the first round made the process take for good is told from what grows.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

from benchmarks import mix
from benchmarks.arrivals import arrivals
from benchmarks.client import Client
from benchmarks.crowd import Crowd, in_the_open, read_slowly, send_slowly
from benchmarks.overload_report import (
    CONNECTIONS,
    LONE,
    SLOW_READERS,
    SLOW_SENDERS,
    SURPLUS,
    TIMES_CAPACITY,
    Overload,
    Round,
    broken,
    budget_ms,
    numbers,
    report,
)
from benchmarks.process import held, waited_for_core_s
from benchmarks.reliability_page import publish
from benchmarks.served import served
from tests.gateway_server import GatewayServer

_UNLOADED_IN_A_ROW = 5
_ALONE_FIRST = 10
_GAP_S = 0.1


async def overload(gateway: GatewayServer, seconds: float, process: str, rounds: int = 2, seed: int = 1) -> Overload:
    """Runs it against the gateway, which serves `mix.MODELS`."""
    pictures = mix.variations(48)
    await _each_alone(gateway.port, pictures)
    capacity_per_s = await _capacity(gateway.port, pictures)
    run = Overload(
        round(capacity_per_s, 1),
        round(TIMES_CAPACITY * capacity_per_s, 1),
        await _alone(gateway.port, pictures, 60),
        held(gateway.pid),
    )
    for number in range(rounds):
        run.rounds.append(await _round(gateway, run, pictures, seconds, process, seed + number))
    await asyncio.sleep(7.0)  # idle connections are closed after five seconds
    run.after = held(gateway.pid)
    run.problems = [*broken(run)]
    return run


async def _capacity(port: int, pictures: Sequence[bytes], seconds: float = 6.0) -> float:
    """Good answers a second when eight requests are always under way."""
    client, answered = Client(port), 0
    ends_s = time.perf_counter() + seconds

    async def keep_asking(number: int) -> None:
        nonlocal answered
        rng = random.Random(number)
        while time.perf_counter() < ends_s:
            kind = rng.choice(mix.GOOD)
            status, _ = await client.ask(mix.request_of(kind, rng.choice(pictures), port))
            answered += status == 200

    await asyncio.gather(*(keep_asking(i) for i in range(8)))
    client.close()
    return answered / seconds


async def _each_alone(port: int, pictures: Sequence[bytes]) -> None:
    """Each kind of request by itself, so that a model which then gets all cores has its second session already: opened
    between two rounds, it would look like memory that the load has left behind."""
    client = Client(port)
    for number in range(_ALONE_FIRST * len(mix.GOOD)):
        await client.ask(mix.request_of(mix.GOOD[number % len(mix.GOOD)], pictures[number % len(pictures)], port))
        await asyncio.sleep(0.02)
    client.close()


async def _alone(port: int, pictures: Sequence[bytes], count: int) -> list[float]:
    """Milliseconds that a request takes when nothing else goes on."""
    client, took_ms = Client(port), []
    for number in range(count):
        began_s = time.perf_counter()
        status, body = await client.ask(mix.request_of(LONE, pictures[number % len(pictures)], port))
        if status != 200:
            raise RuntimeError(f"a lone request was answered {status}: {body[:200]!r}")
        took_ms.append((time.perf_counter() - began_s) * 1e3)
        await asyncio.sleep(0.02)
    client.close()
    return took_ms


async def _round(
    gateway: GatewayServer, run: Overload, pictures: Sequence[bytes], seconds: float, process: str, seed: int
) -> Round:
    rng, this, port = random.Random(seed), Round(), gateway.port
    due_s = arrivals(process, run.offered_per_s, seconds, seed).times_s.tolist()
    this.kinds = [rng.choice(mix.GOOD) for _ in due_s]
    requests = [mix.request_of(kind, rng.choice(pictures), port) for kind in this.kinds]
    crowd = Crowd(port)
    await crowd.open(CONNECTIONS - SLOW_READERS - SLOW_SENDERS)
    began_s, cpu_s, waited_s = time.perf_counter(), time.process_time(), waited_for_core_s(gateway.pid)
    until_s = began_s + seconds
    drawn = mix.request_of(mix.GOOD[-1], pictures[0], port)
    readers = [asyncio.create_task(read_slowly(port, drawn, until_s)) for _ in range(SLOW_READERS)]
    slow = mix.request_of(mix.GOOD[4], pictures[1], port)
    senders = [asyncio.create_task(send_slowly(port, slow, until_s)) for _ in range(SLOW_SENDERS)]
    watch = asyncio.create_task(_watch(gateway, this, until_s))
    more = asyncio.create_task(_surplus(port, this, seconds / 2))
    this.asked = await in_the_open(crowd, requests, due_s)
    this.generator_cpu_s, this.took_s = time.process_time() - cpu_s, time.perf_counter() - began_s
    this.loop_waited_s = waited_for_core_s(gateway.pid) - waited_s
    this.in_budget_s, this.recovered_s = await _recovered(run, port, pictures, until_s)
    this.slowly_read_bytes = sum(await asyncio.gather(*readers))
    this.answered_before_sent = sum(await asyncio.gather(*senders))
    await asyncio.gather(watch, more)
    this.reopened = crowd.reopened
    crowd.close()
    return this


async def _watch(gateway: GatewayServer, this: Round, until_s: float) -> None:
    """Twice a second: what the process holds, how many connections it has, and whether it says that it is ready."""
    while time.perf_counter() < until_s:
        this.samples.append(held(gateway.pid))
        this.connections_most = max(this.connections_most, _connections(gateway.port))
        began_s = time.perf_counter()
        client = Client(gateway.port)
        status, _ = await client.ask(f"GET /health/ready HTTP/1.1\r\nHost: 127.0.0.1:{gateway.port}\r\n\r\n".encode())
        client.close()
        this.not_ready += status != 200
        this.ready_ms.append((time.perf_counter() - began_s) * 1e3)
        await asyncio.sleep(0.5)


def _connections(port: int) -> int:
    """Established connections of the server's own side (Linux)."""
    here = f":{port:04X}"
    lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    return sum(1 for line in lines if (cells := line.split())[1].endswith(here) and cells[3] == "01")


async def _surplus(port: int, this: Round, after_s: float) -> None:
    """Connections beyond those there may be: what they are told."""
    await asyncio.sleep(after_s)
    request = mix.request_of(LONE, b"", port).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)

    async def one() -> None:
        began_s = time.perf_counter()
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request)
            async with asyncio.timeout(10.0):
                answer = await reader.read()
            writer.close()
            told = answer[9:12].decode("ascii") or "closed"
        except (OSError, TimeoutError) as err:
            told = type(err).__name__
        this.surplus[told] += 1
        this.surplus["ms"] = max(this.surplus["ms"], round((time.perf_counter() - began_s) * 1e3))

    await asyncio.gather(*(one() for _ in range(SURPLUS)))


async def _recovered(run: Overload, port: int, pictures: Sequence[bytes], ended_s: float) -> tuple[float, float]:
    """Seconds from the load's end until lone requests are answered in their budget, and until they take no longer than
    before it: what was admitted last, with five seconds to wait, is still being worked on. 30 if they do not."""
    client, slowest_ms, ends_s = Client(port), max(run.unloaded_ms), ended_s + 30.0
    in_budget_s, fast_s = ends_s, ends_s
    in_a_row = 0
    while in_a_row < _UNLOADED_IN_A_ROW and time.perf_counter() < ends_s:
        began_s = time.perf_counter()
        status, _ = await client.ask(mix.request_of(LONE, pictures[in_a_row], port))
        took_ms = (time.perf_counter() - began_s) * 1e3
        in_budget_s = min(in_budget_s, began_s) if status == 200 and took_ms <= budget_ms(LONE) else ends_s
        fast_s = min(fast_s, began_s) if status == 200 and took_ms <= slowest_ms else ends_s
        in_a_row = in_a_row + 1 if fast_s < ends_s else 0
        await asyncio.sleep(_GAP_S)
    client.close()
    return max(0.0, in_budget_s - ended_s), max(0.0, fast_s - ended_s)


def main() -> None:
    parser = argparse.ArgumentParser(description="Ten times what the gateway can do, then nothing.")
    parser.add_argument("--engine", choices=("embedded", "triton"), default="embedded")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each of the two rounds")
    parser.add_argument("--process", default="poisson", help="when requests come: benchmarks/arrivals.py")
    parser.add_argument("--no-docs", action="store_true", help="print only")
    asked = parser.parse_args()
    with served(asked.engine) as gateway:
        run = uvloop.run(overload(gateway, asked.seconds, asked.process))
    text = report(run)
    print(text)
    if not asked.no_docs:
        part = "overload" if asked.engine == "embedded" else "overload-triton"
        publish(part, _command(asked), text, numbers(run))
    sys.exit(1 if run.problems else 0)


def _command(asked: argparse.Namespace) -> str:
    options = {"engine": "embedded", "seconds": 60.0, "process": "poisson"}
    given = [f"--{name} {getattr(asked, name)}" for name, usual in options.items() if getattr(asked, name) != usual]
    return " ".join(["python -m benchmarks.overload", *given])


if __name__ == "__main__":
    main()

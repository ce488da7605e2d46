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
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import uvloop

from benchmarks import mix
from benchmarks.arrivals import arrivals
from benchmarks.changing_repository import repository_of_links
from benchmarks.client import Client
from benchmarks.crowd import Asked, Crowd, in_the_open, read_slowly, send_slowly
from benchmarks.process import Held, held, waited_for_core_s
from benchmarks.reliability_page import publish, table
from service.settings import Settings
from tests.gateway_server import GatewayServer
from tests.triton_server import TritonServer

TIMES_CAPACITY = 10.0
CONNECTIONS = 1000
SLOW_READERS = 50
SLOW_SENDERS = 50
SURPLUS = 100
LONE = mix.GOOD[0]
# What is asked of it: the issue's own numbers, and what still counts as bounded and as recovered.
REFUSED_WITHIN_MS = 10.0
IN_TIME_SHARE = 0.95
MOST_GROWTH = 1.05
IN_BUDGET_WITHIN_S = 1.0
# The longest budget that was admitted, and a little.
RECOVERED_WITHIN_S = 6.0
_UNLOADED_IN_A_ROW = 5
_GAP_S = 0.1


@dataclass
class Round:
    """One go of the load, and what came after it."""

    asked: list[Asked] = field(default_factory=list)
    kinds: list[mix.Kind] = field(default_factory=list)
    samples: list[Held] = field(default_factory=list)
    ready_ms: list[float] = field(default_factory=list)
    not_ready: int = 0
    connections_most: int = 0
    reopened: int = 0
    surplus: Counter[str] = field(default_factory=Counter)
    slowly_read_bytes: int = 0
    answered_before_sent: int = 0
    generator_cpu_s: float = 0.0
    took_s: float = 0.0
    loop_waited_s: float = 0.0
    recovered_s: float = 0.0
    in_budget_s: float = 0.0


@dataclass
class Overload:
    capacity_per_s: float
    offered_per_s: float
    unloaded_ms: list[float]
    before: Held
    rounds: list[Round] = field(default_factory=list)
    after: Held | None = None
    problems: list[str] = field(default_factory=list)


async def overload(gateway: GatewayServer, seconds: float, process: str, rounds: int = 2, seed: int = 1) -> Overload:
    """Runs it against the gateway, which serves `mix.MODELS`."""
    pictures = mix.variations(48)
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
    run.problems = [*_broken(run)]
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


def budget_ms(kind: mix.Kind) -> float:
    """What the kind of request asks for."""
    given = re.search(r"latency_budget_ms=([\d.]+)", kind.path)
    tier = re.search(r"tier=(\w+)", kind.path)
    return float(given[1]) if given else Settings().tier_budget_ms(tier[1] if tier else "standard")  # type: ignore[arg-type]


def refusals(run: Overload) -> list[Asked]:
    """Requests that were not admitted."""
    return [asked for this in run.rounds for asked in this.asked if asked.status in (503, 429)]


def _percentiles(ms: Sequence[float]) -> str:
    return f"{np.percentile(ms, 50):.1f} / {np.percentile(ms, 99):.1f}" if ms else "none"


def _broken(run: Overload) -> Iterator[str]:
    asked = [asked for this in run.rounds for asked in this.asked]
    unanswered = Counter(a.body.decode(errors="replace") for a in asked if a.status == 0)
    yield from (f"{count} requests without an answer: {why}" for why, count in unanswered.items())
    wrong = Counter(a.status for a in asked if a.status not in (0, 200, 422, 503, 504))
    yield from (f"{count} requests answered {status}" for status, count in wrong.items())
    in_time, admitted = _kept(run)
    if admitted and in_time < IN_TIME_SHARE * admitted:
        yield f"{admitted - in_time} of {admitted} admitted requests were not answered within their budget"
    server_ms = [a.server_ms for a in refusals(run) if a.server_ms is not None]
    if server_ms and np.percentile(server_ms, 99) > REFUSED_WITHIN_MS:
        yield f"a refusal takes more than {REFUSED_WITHIN_MS:g} ms at p99"
    peaks = [max(s.resident_mb for s in this.samples) for this in run.rounds]
    if peaks[-1] > MOST_GROWTH * peaks[0] + 24.0:
        yield f"memory grew from {peaks[0]} MB in the first round to {peaks[-1]} MB in the last"
    for this in run.rounds:
        if this.in_budget_s > IN_BUDGET_WITHIN_S:
            yield f"{this.in_budget_s:.1f} s until lone requests were answered in their budget"
        if this.recovered_s > RECOVERED_WITHIN_S:
            yield f"{this.recovered_s:.1f} s until lone requests were as fast as before"
        if this.not_ready:
            yield f"readiness was not 200 {this.not_ready} times"


def _kept(run: Overload, kind: mix.Kind | None = None) -> tuple[int, int]:
    """Answers within their budget by the gateway's clock, and requests that it admitted; of one kind or of all."""
    statuses = Counter(
        asked.status for this in run.rounds for asked in this.asked if kind is None or this.kinds[asked.number] is kind
    )
    return statuses[200], statuses[200] + statuses[504]


def report(run: Overload) -> str:
    asked = [asked for this in run.rounds for asked in this.asked]
    refused = refusals(run)
    statuses = Counter(a.status for a in asked)
    in_time, admitted = _kept(run)
    late_ms = [a.late_ms for a in asked]
    cpu = sum(this.generator_cpu_s for this in run.rounds) / sum(this.took_s for this in run.rounds)
    waited = sum(this.loop_waited_s for this in run.rounds) / sum(this.took_s for this in run.rounds)
    first, last = run.rounds[0], run.rounds[-1]
    surplus = ", ".join(f"{told}: {count}" for told, count in last.surplus.items() if told != "ms")
    most = max(max(s.file_descriptors for s in this.samples) for this in run.rounds)
    rows = [
        ["capacity, offered (requests/s)", f"{run.capacity_per_s:g}, {run.offered_per_s:g}"],
        ["sent", f"{len(asked):,} in {len(run.rounds)} rounds"],
        ["answered by status", ", ".join(f"{s}: {n:,}" for s, n in sorted(statuses.items()))],
        [
            "admitted and answered within their budget",
            f"{in_time:,} of {admitted:,} ({in_time / max(1, admitted):.1%})",
        ],
        [
            "refusal, ms from the server's receipt (p50 / p99)",
            _percentiles([a.server_ms for a in refused if a.server_ms is not None]),
        ],
        ["refusal, ms at the client (p50 / p99)", _percentiles([a.took_ms for a in refused])],
        [
            "readiness, asked on a new connection, ms (p50 / p99)",
            _percentiles([ms for r in run.rounds for ms in r.ready_ms]),
        ],
        ["most connections, file descriptors", f"{max(r.connections_most for r in run.rounds)}, {most}"],
        [f"{SURPLUS} more connections were told", f"{surplus}; the last after {last.surplus['ms']} ms"],
        [
            "resident memory, MB: before, most in round 1, most in the last, after",
            f"{run.before.resident_mb:g}, {max(s.resident_mb for s in first.samples):g}, "
            f"{max(s.resident_mb for s in last.samples):g}, {run.after.resident_mb if run.after else 0:g}",
        ],
        [
            "a lone request, ms, before (p50 / most)",
            f"{np.percentile(run.unloaded_ms, 50):.1f} / {max(run.unloaded_ms):.1f}",
        ],
        ["in its budget again, s after the load's end", ", ".join(f"{r.in_budget_s:.1f}" for r in run.rounds)],
        ["as fast again, s after the load's end", ", ".join(f"{r.recovered_s:.1f}" for r in run.rounds)],
        ["time in which the gateway's event loop wanted a core and had none", f"{waited:.0%}"],
        [
            "the generator: processor, requests sent late (p99)",
            f"{cpu:.0%} of a core, {np.percentile(late_ms, 99):.1f} ms",
        ],
    ]
    return "\n".join(
        [
            f"{CONNECTIONS:,} connections: {CONNECTIONS - SLOW_READERS - SLOW_SENDERS} that are used in turn, "
            f"{SLOW_READERS} that read 64 bytes every 20 ms, {SLOW_SENDERS} that take six seconds to send a picture.",
            "",
            table(["", ""], rows),
            "",
            table(
                ["request", "budget, ms", "sent", "admitted", "of them within the budget"],
                [_of_kind(run, kind) for kind in mix.GOOD],
            ),
            "",
            "**Nothing broke.**" if not run.problems else "**Broken:** " + "; ".join(run.problems),
        ]
    )


def _of_kind(run: Overload, kind: mix.Kind) -> list[str]:
    in_time, admitted = _kept(run, kind)
    sent = sum(this.kinds.count(kind) for this in run.rounds)
    share = f"{in_time / admitted:.1%}" if admitted else "–"
    return [kind.name, f"{budget_ms(kind):g}", f"{sent:,}", f"{admitted:,}", share]


@contextmanager
def served(engine: str, more: dict[str, str] | None = None) -> Iterator[GatewayServer]:
    """A gateway with `mix.MODELS`, ready, on that engine."""
    with ExitStack() as stack:
        repository = stack.enter_context(repository_of_links(mix.MODELS))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        settings = {"VISION_REPOSITORY": str(repository), "VISION_LOG_LEVEL": "error", **(more or {})}
        if engine == "triton":
            triton = stack.enter_context(TritonServer(repository, folder / "triton-log"))
            settings |= {"VISION_ENGINE": "triton", "VISION_TRITON_URL": triton.url}
        gateway = stack.enter_context(GatewayServer(folder / "log", settings))
        gateway.wait_for("/health/ready")
        yield gateway


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
        publish(part, _command(asked), text, _numbers(run))
    sys.exit(1 if run.problems else 0)


def _command(asked: argparse.Namespace) -> str:
    options = {"engine": "embedded", "seconds": 60.0, "process": "poisson"}
    given = [f"--{name} {getattr(asked, name)}" for name, usual in options.items() if getattr(asked, name) != usual]
    return " ".join(["python -m benchmarks.overload", *given])


def _numbers(run: Overload) -> dict[str, object]:
    """What was measured, without each single request."""
    rounds = [
        {name: value for name, value in vars(this).items() if name not in ("asked", "kinds", "samples")}
        | {"samples": this.samples[::4]}
        for this in run.rounds
    ]
    refused = refusals(run)
    percentiles = [50, 90, 95, 99, 99.9, 100]
    return {
        "capacity_per_s": run.capacity_per_s,
        "offered_per_s": run.offered_per_s,
        "unloaded_ms": run.unloaded_ms,
        "refused_percentiles": percentiles,
        "refused_at_client_ms": np.percentile([a.took_ms for a in refused], percentiles).tolist() if refused else [],
        "refused_at_server_ms": np.percentile([a.server_ms or 0.0 for a in refused], percentiles).tolist()
        if refused
        else [],
        "rounds": rounds,
        "problems": run.problems,
    }


if __name__ == "__main__":
    main()

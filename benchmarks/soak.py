"""A long run: mixed load at 70 % of capacity, models that come and go, faults; then everything is as before.

python -m benchmarks.soak --minutes 30

Resident memory, file descriptors, threads and permits are sampled every second; the medians of the second and of the
last tenth of the run are compared. The server's counters must equal the client's own count to the last request.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks import counters, mix
from benchmarks.changing_repository import corrupt, link, repository_of_links, take_away
from benchmarks.client import Client
from benchmarks.process import Held, held
from benchmarks.reliability_page import publish, table
from benchmarks.scrape import scrape
from tests.gateway_server import GatewayServer

COMES_AND_GOES = ("efficientnet_lite1", "efficientnet_lite1_int8")
SHARE_OF_CAPACITY = 0.7
PICTURES = 48
# What still counts as flat, from the second tenth to the last.
MOST_GROWTH_MB = 24.0
MOST_GROWTH_SHARE = 0.03
# Memory still rises to its high-water mark for some minutes (models come, arenas grow): shorter runs do not judge it.
JUDGE_MEMORY_MINUTES = 10.0
MOST_MORE_DESCRIPTORS = 8
MOST_MORE_THREADS = 1


@dataclass
class Soak:
    """What happened; `problems` is empty if nothing broke."""

    minutes: float
    rate_per_s: float
    statuses: Counter[int] = field(default_factory=Counter)
    unexpected: Counter[str] = field(default_factory=Counter)
    not_observed: int = 0
    hung_up: int = 0
    events: Counter[str] = field(default_factory=Counter)
    samples: list[Held] = field(default_factory=list)
    in_flight: list[int] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    server: dict[str, int] = field(default_factory=dict)


async def soak(gateway: GatewayServer, repository: Path, minutes: float, seed: int = 1) -> Soak:
    """Runs it against the gateway, which serves the repository: a folder of links that may be changed."""
    client, rng = Client(gateway.port), random.Random(seed)
    pictures = mix.variations(PICTURES)
    capacity_per_s = await _capacity(client, pictures, gateway.port)
    run = Soak(minutes, round(SHARE_OF_CAPACITY * capacity_per_s, 1))
    before = scrape(gateway)
    ends_s = time.monotonic() + 60 * minutes
    watch = asyncio.create_task(_sample(gateway, run, ends_s))
    events = asyncio.create_task(_events(gateway, repository, run, ends_s, rng))
    async with asyncio.TaskGroup() as group:
        while time.monotonic() < ends_s:
            await asyncio.sleep(rng.expovariate(run.rate_per_s))
            group.create_task(_one(client, gateway.port, mix.draw(rng), pictures, rng, run))
    await asyncio.gather(watch, events)
    client.close()
    await _quiet(gateway)
    after = scrape(gateway)
    run.server = counters.difference(counters.by_outcome(after), counters.by_outcome(before))
    run.problems += [
        f"counters differ, {line}"
        for line in counters.compare(before, after, run.statuses, run.not_observed, run.hung_up)
    ]
    run.problems += [f"{what}: {count} times" for what, count in run.unexpected.items()]
    run.problems += _grown(run)
    return run


async def _capacity(client: Client, pictures: Sequence[bytes], port: int, seconds: float = 5.0) -> float:
    """Requests of the good kinds answered a second when eight are always under way."""
    ends_s, answered = time.perf_counter() + seconds, 0

    async def keep_asking(number: int) -> None:
        nonlocal answered
        rng = random.Random(number)
        while time.perf_counter() < ends_s:
            kind = rng.choice(mix.GOOD)
            await client.ask(mix.request_of(kind, mix.body_of(kind, pictures, rng), port))
            answered += 1

    began_s = time.perf_counter()
    await asyncio.gather(*(keep_asking(i) for i in range(8)))
    return answered / (time.perf_counter() - began_s)


async def _one(
    client: Client, port: int, kind: mix.Kind, pictures: Sequence[bytes], rng: random.Random, run: Soak
) -> None:
    request = mix.request_of(kind, mix.body_of(kind, pictures, rng), port)
    status, body = await client.ask(request)
    # An idle connection that the server had just given up says one or the other: ask again.
    if status == 0 and (b"closed the connection" in body or b"ConnectionResetError" in body):
        status, body = await client.ask(request)
    run.statuses[status] += 1
    run.not_observed += not kind.observed
    if status not in kind.statuses:
        run.unexpected[f"{kind.name} was answered {status} {body[:120]!r}"] += 1


async def _sample(gateway: GatewayServer, run: Soak, ends_s: float) -> None:
    while time.monotonic() < ends_s:
        run.samples.append(held(gateway.pid))
        series = await asyncio.to_thread(scrape, gateway)
        run.in_flight.append(int(series["vision_in_flight_requests"]))
        await asyncio.sleep(min(1.0, run.minutes))


async def _events(gateway: GatewayServer, repository: Path, run: Soak, ends_s: float, rng: random.Random) -> None:
    """In turn: a model comes, a broken entry takes another's place, it is mended, the model goes; clients hang up."""

    def each(change: Callable[[Path, str], None]) -> None:
        for name in COMES_AND_GOES:
            change(repository, name)

    pause_s = max(1.0, min(10.0, run.minutes * 60 / 12))
    turn: list[tuple[str, Callable[[], None]]] = [
        ("model came", lambda: each(link)),
        ("entry corrupted", lambda: corrupt(repository, "mobilenet_v2")),
        ("entry mended", lambda: link(repository, "mobilenet_v2")),
        ("model went", lambda: each(take_away)),
    ]
    number = 0
    while time.monotonic() + pause_s < ends_s:
        await asyncio.sleep(pause_s)
        name, act = turn[number % len(turn)]
        await asyncio.to_thread(act)
        run.events[name] += 1
        number += 1
        if rng.random() < 0.5:
            await _hang_up(gateway.port, run)


async def _hang_up(port: int, run: Soak) -> None:
    """Half a picture, then nothing: whoever is not refused within a moment is gone before there is an answer."""
    run.events["client hung up half-way"] += 1
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(mix.request_of(mix.GOOD[0], b"x" * 4000, port)[:-2000])
    head = b""
    with contextlib.suppress(TimeoutError):
        await writer.drain()
        head = await asyncio.wait_for(reader.readline(), 0.3)
    writer.close()
    if head:
        run.statuses[int(head.split()[1])] += 1
    else:
        run.hung_up += 1


async def _quiet(gateway: GatewayServer) -> None:
    for _ in range(200):
        series = await asyncio.to_thread(scrape, gateway)
        if series["vision_in_flight_requests"] == 0 and series["vision_queue_depth"] == 0:
            await asyncio.sleep(0.3)
            return
        await asyncio.sleep(0.1)
    raise TimeoutError("requests are still in flight 20 s after the last")


def medians(run: Soak) -> tuple[Held, Held]:
    """Of the second and of the last tenth."""
    tenth = max(1, len(run.samples) // 10)

    def median(samples: Sequence[Held]) -> Held:
        return Held(
            round(statistics.median(s.resident_mb for s in samples), 1),
            int(statistics.median(s.file_descriptors for s in samples)),
            int(statistics.median(s.threads for s in samples)),
        )

    return median(run.samples[tenth : 2 * tenth]), median(run.samples[-tenth:])


def _grown(run: Soak) -> Iterator[str]:
    second, last = medians(run)
    allowed_mb = max(MOST_GROWTH_MB, MOST_GROWTH_SHARE * second.resident_mb)
    if run.minutes >= JUDGE_MEMORY_MINUTES and last.resident_mb > second.resident_mb + allowed_mb:
        yield f"resident memory grew from {second.resident_mb} to {last.resident_mb} MB"
    if last.file_descriptors > second.file_descriptors + MOST_MORE_DESCRIPTORS:
        yield f"file descriptors grew from {second.file_descriptors} to {last.file_descriptors}"
    if last.threads > second.threads + MOST_MORE_THREADS:
        yield f"threads grew from {second.threads} to {last.threads}"


def soak_a_gateway(minutes: float) -> Soak:
    """Starts a gateway on the embedded engine, soaks it, ends it."""
    with (
        repository_of_links(mix.MODELS) as repository,
        tempfile.TemporaryDirectory() as folder,
        GatewayServer(Path(folder) / "log", {"VISION_REPOSITORY": str(repository)}) as gateway,
    ):
        gateway.wait_for("/health/ready")
        return asyncio.run(soak(gateway, repository, minutes))


def main() -> None:
    parser = argparse.ArgumentParser(description="Mixed load, faults and model loads for a long time.")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--no-docs", action="store_true", help="print only")
    arguments = parser.parse_args()
    run = soak_a_gateway(arguments.minutes)
    text = report(run)
    print(text)
    if not arguments.no_docs:
        measured = {k: v for k, v in vars(run).items() if k not in ("samples", "in_flight")}
        every = max(1, len(run.samples) // 120)
        publish(
            "soak",
            f"python -m benchmarks.soak --minutes {arguments.minutes:g}",
            text,
            {
                **measured,
                "samples": [asdict(sample) for sample in run.samples[::every]],
                "in_flight": run.in_flight[::every],
            },
        )
    sys.exit(1 if run.problems else 0)


def _flat(run: Soak) -> str:
    judged = "memory, descriptors, threads"
    return judged if run.minutes >= JUDGE_MEMORY_MINUTES else "descriptors, threads (too short to judge memory)"


def report(run: Soak) -> str:
    second, last = medians(run)
    rows = [
        [
            "resident memory, MB",
            str(second.resident_mb),
            str(last.resident_mb),
            str(max(s.resident_mb for s in run.samples)),
        ],
        *(
            [
                name.replace("_", " "),
                str(getattr(second, name)),
                str(getattr(last, name)),
                str(max(getattr(s, name) for s in run.samples)),
            ]
            for name in ("file_descriptors", "threads")
        ),
    ]
    answers = ", ".join(f"{status}: {count:,}" for status, count in sorted(run.statuses.items()))
    unheard = f" and {run.hung_up} unheard" if run.hung_up else ""
    outcomes = ", ".join(f"{name} {count:,}" for name, count in sorted(run.server.items()))
    events = ", ".join(f"{name} {count}×" for name, count in run.events.items())
    return "\n".join(
        [
            f"{run.minutes:g} minutes, {run.rate_per_s:g} requests/s ({SHARE_OF_CAPACITY:.0%} of what eight clients at "
            f"once get through), {run.statuses.total() + run.hung_up:,} requests in all, 15 % of them bad. "
            f"Meanwhile: {events or 'nothing'}.",
            "",
            table(["", "second tenth (median)", "last tenth (median)", "most"], rows),
            "",
            f"Answers by status: {answers}{unheard}. The server's own count: {outcomes}.",
            "",
            f"**Nothing broke**: counters equal to the last request; {_flat(run)} flat; no permit left."
            if not run.problems
            else "**Broken:** " + "; ".join(run.problems),
        ]
    )


if __name__ == "__main__":
    main()

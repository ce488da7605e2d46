"""`python -m tests.fuzz --cases 10000 --write docs/reliability-input.md`: bad input by the thousand, and a table of it.

Nine of ten cases go through the whole app with the real embedded engine in this process, where memory can be watched;
the tenth over bare sockets to `vision serve`. Exit 1 if anything was wrong. A seed and a number make a case again.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import sys
import tempfile
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import httpx

from tests.fuzz import wire
from tests.fuzz.cases import case
from tests.fuzz.harness import Answer, Defects, errors_logged, opened, resident_mb, send, still_well
from tests.gateway_server import GatewayServer, require_models

_TOGETHER = 4
_PACKAGES = ("pillow", "starlette", "uvicorn", "httptools", "python-multipart")
_HEADING = """# Bad input, tried

Written by `make fuzz`: pictures and requests, harmed by a seeded generator, each answer judged. No crash, no 5xx but
503 and 504; every refusal a problem of a declared type that names its field, and its limit where the status is 408, 413
or 431; nothing in the log, nothing left in flight, no answer after 20 s; and in the end a good picture is answered to
the last digit as before. *hung up*: clients that went away, or said nothing that could be answered. Times are of a
machine that did four at once, and other things.
"""
# By then every path has run, and caches, pools and the allocator's own reserves are what they will be.
_WARM_PART = 0.2


@dataclass
class Row:
    statuses: Counter[int] = field(default_factory=Counter)
    slowest_ms: float = 0.0

    def add(self, answer: Answer) -> None:
        self.statuses[answer.status] += 1
        self.slowest_ms = max(self.slowest_ms, answer.took_s * 1e3)


@dataclass
class Run:
    """What is known in the end. Memory in MB: after a fifth of the cases, and after all."""

    rows: defaultdict[str, Row] = field(default_factory=lambda: defaultdict(Row))
    defects: Defects = field(default_factory=Defects)
    app_mb: tuple[float, float] = (0.0, 0.0)
    server_mb: tuple[float, float] = (0.0, 0.0)
    took_s: float = 0.0


async def through_the_app(run: Run, seed: int, cases: int) -> None:
    """Four at a time; after each thousand a good picture must be answered as before."""
    async with opened() as app:
        expected = await still_well(app, run.defects)
        numbers = iter(range(cases))
        warm_mb = resident_mb()

        async def client() -> None:
            nonlocal warm_mb
            for number in numbers:
                what = case(seed, number)
                answer = await send(app, what)
                run.rows[what.kind].add(answer)
                run.defects.judge(f"seed {seed}, case {number}, {what.kind}", answer)
                if number == int(cases * _WARM_PART):
                    warm_mb = resident_mb()

        with errors_logged(run.defects):
            await asyncio.gather(*[client() for _ in range(_TOGETHER)])
        await still_well(app, run.defects, expected)
        run.app_mb = (warm_mb, resident_mb())


def over_sockets(run: Run, seed: int, cases: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        settings = {"VISION_REPOSITORY": str(require_models()), "VISION_ACCESS_LOG": "false", **wire.SETTINGS}
        with GatewayServer(Path(folder) / "log", settings) as server, ThreadPoolExecutor(_TOGETHER) as pool:
            server.wait_for("/health/ready")
            warm = int(cases * _WARM_PART)
            for part in (range(warm), range(warm, cases)):
                before_mb = server.resident_mb()
                for number, answer in pool.map(lambda number: (number, _said(server.port, seed, number)), part):
                    what = wire.spoken(seed, number)
                    run.rows[what.kind].add(answer)
                    if answer.status:
                        run.defects.judge(f"seed {seed}, wire {number}, {what.kind}", answer)
                    elif not (what.hang_up or what.silent):
                        run.defects.found.append(f"seed {seed}, wire {number}, {what.kind}: no answer")
            run.server_mb = (before_mb, server.resident_mb())
            lines = httpx.get(f"{server.admin_url}/metrics").text.splitlines()
            if "vision_in_flight_requests 0.0" not in lines:
                run.defects.found.append("sockets: permits are still held")
            log = (Path(folder) / "log").read_text(errors="replace")
            run.defects.found += [
                f"logged: {line}" for line in log.splitlines() if "ERROR" in line or "Traceback" in line
            ]


def _said(port: int, seed: int, number: int) -> Answer:
    return wire.speak(port, wire.spoken(seed, number))


def page(run: Run, seed: int) -> str:
    statuses = sorted({status for row in run.rows.values() for status in row.statuses})
    total = sum(row.statuses.total() for row in run.rows.values())
    names = [str(status) if status else "hung up" for status in statuses]
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    lines = [
        _HEADING,
        f"{total:,} cases of seed {seed}, {len(run.defects.found)} defects, {run.took_s:.0f} s.",
        "Resident memory after a fifth of the cases and after all:",
        f"app {run.app_mb[0]:.0f} → {run.app_mb[1]:.0f} MB,",
        f"`vision serve` {run.server_mb[0]:.0f} → {run.server_mb[1]:.0f} MB.",
        f"{platform.machine()}, Python {platform.python_version()},",
        f"{packages}.",
        "",
        "| what | cases | " + " | ".join(names) + " | slowest, ms |",
        "|---|--:|" + "--:|" * (len(names) + 1),
    ]
    for kind, row in sorted(run.rows.items()):
        cells = [str(row.statuses[status] or "") for status in statuses]
        lines.append(f"| {kind} | {row.statuses.total()} | {' | '.join(cells)} | {row.slowest_ms:.0f} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", type=Path, help="the page to write; printed if left out")
    asked = parser.parse_args()
    run, started_s = Run(), time.monotonic()
    over_sockets(run, asked.seed, asked.cases // 10)
    asyncio.run(through_the_app(run, asked.seed, asked.cases - asked.cases // 10))
    run.took_s = time.monotonic() - started_s
    text = page(run, asked.seed)
    if asked.write:
        asked.write.write_text(text, encoding="utf-8")
    print(text)
    print("\n".join(run.defects.found[:50]), file=sys.stderr)
    return 1 if run.defects.found else 0


if __name__ == "__main__":
    sys.exit(main())

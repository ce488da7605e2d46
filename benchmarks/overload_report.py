"""What `benchmarks.overload` saw, its table, and what of it counts as broken."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks import mix
from benchmarks.crowd import Asked
from benchmarks.process import Held
from benchmarks.reliability_page import table
from service.settings import Settings

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


def broken(run: Overload) -> Iterator[str]:
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


def numbers(run: Overload) -> dict[str, object]:
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

"""Whether the server's counters say the same as the client's own count, to the last request."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

Series = Mapping[str, float]

# What a client that hung up half-way may have been told, had it listened.
OF_HUNG_UP = (400, 503)
_REQUESTS = re.compile(r"^vision_requests_total\{(.*)\}$")
_PROBLEMS = re.compile(r"^vision_problems_total\{(.*)\}$")


def by_outcome(series: Series, task: str | None = None) -> Counter[str]:
    """vision_requests_total by outcome; of one task, or of all."""
    return _summed(series, _REQUESTS, "outcome", {"task": task} if task else {})


def by_status(series: Series) -> Counter[int]:
    """vision_problems_total by status."""
    return Counter({int(status): count for status, count in _summed(series, _PROBLEMS, "status", {}).items()})


def difference(after: Counter[str] | Counter[int], before: Counter[str] | Counter[int]) -> dict[str, int]:
    """What was added, without zeros."""
    return {str(key): n for key in after if (n := after[key] - before[key])}  # type: ignore[index]


def compare(before: Series, after: Series, statuses: Counter[int], not_observed: int, hung_up: int = 0) -> list[str]:
    """What differs, as sentences; nothing if all is equal.

    statuses      the client's answers by status
    not_observed  requests refused before a task began to count them: an unknown parameter, no such address
    hung_up       clients that left half-way without an answer: each is a 400 that nobody read or, if there was no room
                  for it, a 503; which of them only the server knows
    """
    problems = difference(by_status(after), by_status(before))
    outcomes = difference(by_outcome(after), by_outcome(before))
    wrong, unheard = [], 0
    for status in sorted({*(s for s in statuses if s >= 400), *map(int, problems)}):
        more = problems.get(str(status), 0) - statuses[status]
        if status in OF_HUNG_UP and 0 <= more <= hung_up:
            unheard += more
        elif more:
            wrong.append(f"{status}: client {statuses[status]}, server {problems.get(str(status), 0)}")
    if unheard != hung_up:
        wrong.append(f"hung up: client {hung_up}, server {unheard}")
    counted, sent = sum(outcomes.values()), statuses.total() + hung_up - not_observed
    if counted != sent:
        wrong.append(f"requests: client {sent}, server {counted}")
    # A late answer is a 504, or, if the last lines of code were what made it late, still a 200.
    answered = sum(outcomes.get(name, 0) for name in ("ok", "degraded", "late")) - statuses[504]
    if answered != statuses[200]:
        wrong.append(f"200: client {statuses[200]}, server {answered}")
    return wrong


def _summed(series: Series, pattern: re.Pattern[str], label: str, wanted: Mapping[str, str]) -> Counter[str]:
    found: Counter[str] = Counter()
    for name, value in series.items():
        match = pattern.match(name)
        if match is None:
            continue
        labels = dict(re.findall(r'(\w+)="([^"]*)"', match[1]))
        if all(labels.get(key) == text for key, text in wanted.items()):
            found[labels[label]] += int(value)
    return found

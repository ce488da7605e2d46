"""Whose processor time and memory it was: process trees by /proc (Linux), stopped and continued as a whole."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import time
from dataclasses import dataclass
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """Seconds of processor time so far: of everybody, of this process with the children it waited for, of a server."""

    at_s: float
    everybody_s: float
    own_s: float
    server_s: float

    def others_since(self, before: Usage) -> float:
        """What nobody of ours used meanwhile, as a share of all cores."""
        known_s = self.own_s - before.own_s + self.server_s - before.server_s
        cores_s = (self.at_s - before.at_s) * (os.cpu_count() or 1)
        return round(max(0.0, self.everybody_s - before.everybody_s - known_s) / max(1e-3, cores_s), 4)


def tree(root: int) -> list[int]:
    """The process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text(encoding="utf-8", errors="replace").rsplit(")", 1)[1].split()
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, queue = [], [root]
    while queue:
        pid = queue.pop()
        found.append(pid)
        queue.extend(children.get(pid, []))
    return found


def usage(server: int | None = None) -> Usage:
    """Now; of the tree under `server`, if one is given."""
    server_s = _tree_s(server) if server is not None else 0.0
    at_s = time.monotonic()
    user, nice, system, _, _, irq, softirq, steal = (
        int(number) for number in Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]
    )
    own_s = sum(
        used.ru_utime + used.ru_stime
        for used in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )
    everybody_s = (user + nice + system + irq + softirq + steal) / _TICK
    return Usage(at_s, everybody_s, own_s, server_s)


def _tree_s(root: int) -> float:
    ticks = 0
    for pid in tree(root):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICK


def memory_mb(root: int) -> float:
    """Proportional set size of the tree: what several of its processes share counts once."""
    kilobytes = 0
    for pid in tree(root):
        with contextlib.suppress(OSError, StopIteration):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
            kilobytes += int(next(line for line in lines if line.startswith("Pss:")).split()[1])
    return kilobytes / 1024


def send(root: int, what: signal.Signals) -> None:
    """A signal to the whole tree."""
    for pid in tree(root):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, what)

"""How many cores this process may keep busy, and which of them a thread stays on.

A container's share is smaller than its machine: `docker run --cpus 2` on 64 cores, or a limit of Kubernetes, is a quota
of processor time (Linux control groups, `cpu.max`, in version 1 `cpu.cfs_quota_us`). With a thread for each core of the
machine the quota would be used up in the first part of every tenth of a second, and all of them stopped for the rest.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterator
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """Cores that this process may keep busy, at least 1: those it may run on, or its quota rounded up, if that is less.

    Only Linux tells of less than the machine has.
    """
    return max(1, math.ceil(min(len(allowed_cores()), _quota_cores())))


def allowed_cores() -> list[int]:
    """The numbers of the cores that the process may run on: of its main thread, whoever asks."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(os.getpid()))
    return list(range(os.cpu_count() or 1))


def core_each(threads: int) -> list[int]:
    """A core for each of so many threads, if those are all that there is; else none, and any thread runs anywhere.

    With fewer threads than cores, or a quota, the kernel knows better than we which core is free.
    """
    cores = allowed_cores()
    return cores if len(cores) == threads == usable_cores() > 1 else []


class OwnCore:
    """Where a thread runs: on its core while it keeps there, else on any. Used by that thread alone; None: no core.

    While an event loop and as many threads as cores want to run, the kernel moves a thread aside for the loop, and then
    leaves two on one core and the other core idle for milliseconds. It keeps its hands off threads that stay.
    """

    def __init__(self, core: int | None) -> None:
        self._core = core
        self._keeps = False

    def keep(self) -> None:
        """From now on it stays."""
        if self._core is not None and not self._keeps:
            self._keeps = True
            stay_on({self._core})

    def leave(self) -> None:
        """From now on it runs where there is room."""
        if self._keeps:
            self._keeps = False
            stay_on(allowed_cores())


def stay_on(cores: Collection[int]) -> None:
    """The calling thread, and those it starts, run on these cores only. Nothing where threads have no affinity."""
    if not hasattr(os, "sched_setaffinity"):
        return
    try:
        os.sched_setaffinity(0, cores)
    except OSError:  # cores that were there a moment ago, or a sandbox that forbids it: it runs where it may
        return


def _quota_cores() -> float:
    """The smallest quota of the process's control group and of those it lies in, in cores; inf if there is none."""
    try:
        groups = [line.split(":", 2) for line in _OWN.read_text(encoding="ascii").splitlines()]
    except (OSError, UnicodeDecodeError):
        return math.inf
    quotas = [math.inf]
    for _, controllers, path in groups:
        if controllers == "":
            quotas += [_quota_v2(folder) for folder in _upwards(_CGROUPS, path)]
        elif "cpu" in controllers.split(","):
            quotas += [_quota_v1(folder) for folder in _upwards(_CGROUPS / controllers, path)]
    return min(quotas)


def _upwards(root: Path, path: str) -> Iterator[Path]:
    """The group's folder and those above it. In a container the path may be the host's: then there is only the root."""
    folder = root / path.strip("/")
    while folder != root:
        yield folder
        folder = folder.parent
    yield root


def _quota_v2(folder: Path) -> float:
    """`cpu.max`: "QUOTA PERIOD" in µs, or "max PERIOD"."""
    try:
        quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        return int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf


def _quota_v1(folder: Path) -> float:
    """`cpu.cfs_quota_us`, -1 for none, of every `cpu.cfs_period_us`."""
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text(encoding="ascii"))
        period = int((folder / "cpu.cfs_period_us").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return math.inf
    return quota / period if quota > 0 and period > 0 else math.inf

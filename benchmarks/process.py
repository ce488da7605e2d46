"""What a process holds (Linux): memory, file descriptors, threads."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Held:
    resident_mb: float
    file_descriptors: int
    threads: int


def held(pid: int) -> Held:
    """Now. Raises OSError if there is no such process."""
    folder = Path(f"/proc/{pid}")
    pages = int((folder / "statm").read_text(encoding="ascii").split()[1])
    return Held(
        resident_mb=round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1),
        file_descriptors=sum(1 for _ in (folder / "fd").iterdir()),
        threads=sum(1 for _ in (folder / "task").iterdir()),
    )


def waited_for_core_s(pid: int) -> float:
    """Seconds in which the process's first thread could have run, but all cores were busy with others."""
    fields = Path(f"/proc/{pid}/task/{pid}/schedstat").read_text(encoding="ascii").split()
    return int(fields[1]) / 1e9

"""The machine's clock, its names and its memory, and the gateway's own threads."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx

from benchmarks.chaos.doctored import of_bytes, put_back, put_doctored
from benchmarks.chaos.fault import Broken, Fault, NotRun, Surroundings
from benchmarks.chaos.load import CLASSIFIER
from benchmarks.chaos.site import EngineName, Site, serve_command

_CLOCK = "clock"
_DAY_S = 86_400
_HOSTS = "hosts"
_TRITON_NAME = "triton.chaos"
_ROOM_BYTES = 768 * 2**20
_STRIKES, _STRIKE_EVERY_S = 8, 0.4


def wall_clock(folder: Path) -> Surroundings:
    """The gateway's wall clock, and only that, goes by a file (wall_clock.c)."""
    library = folder / "wall_clock.so"
    source = Path(__file__).with_name("wall_clock.c")
    compiler = shutil.which("cc")
    if compiler is None:
        raise NotRun("there is no C compiler to make the library that shifts a process's clock")
    command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    if (made := subprocess.run(command, capture_output=True, text=True, check=False)).returncode != 0:
        raise NotRun(f"{source.name} cannot be compiled: {made.stderr.strip().splitlines()[-1]}")
    (folder / _CLOCK).write_bytes(struct.pack("q", 0))
    return Surroundings(environment={"LD_PRELOAD": str(library), "CHAOS_CLOCK_FILE": str(folder / _CLOCK)})


def jumped(offset_s: int) -> Callable[[Site], AbstractContextManager[None]]:
    @contextmanager
    def inject(site: Site) -> Iterator[None]:
        _set_clock(site, offset_s)
        _require_jump(site, far=True)
        yield
        _set_clock(site, 0)
        _require_jump(site, far=False)

    return inject


def _set_clock(site: Site, offset_s: int) -> None:
    """In place: the process has mapped this very file."""
    with (site.folder / _CLOCK).open("r+b") as file:
        file.write(struct.pack("q", offset_s))


def _require_jump(site: Site, *, far: bool) -> None:
    """Raises NotRun unless the Date of the gateway's answers is far from, or close to, the real one."""
    for _ in range(30):
        date = parsedate_to_datetime(httpx.get(f"{site.gateway.url}/health/live", timeout=30).headers["Date"])
        if (abs((date - datetime.now(UTC)).total_seconds()) > 3600) is far:
            return
        time.sleep(0.1)
    raise NotRun("the clock of the running gateway did not move")


def triton_by_name(folder: Path) -> Surroundings:
    """The gateway sees a hosts file of its own, in which Triton has a name."""
    hosts = folder / _HOSTS
    hosts.write_text(f"127.0.0.1 localhost {_TRITON_NAME}\n")
    inner = ["sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(hosts), *serve_command()]
    tried = ["unshare", "-m", *inner[:4], "true"]
    if shutil.which("unshare") is None or subprocess.run(tried, capture_output=True, check=False).returncode != 0:
        raise NotRun("a mount namespace of its own needs root, or unprivileged user namespaces")
    return Surroundings(command=["unshare", "-m", *inner], triton_host=_TRITON_NAME)


@contextmanager
def name_gone(site: Site) -> Iterator[None]:
    """Written in place: the mount shows this very file."""
    hosts = site.folder / _HOSTS
    before = hosts.read_text()
    hosts.write_text("127.0.0.1 localhost\n")
    yield
    hosts.write_text(before)


def struck_threads(_: Path) -> Surroundings:
    return Surroundings(command=[sys.executable, "-m", "benchmarks.chaos.struck_gateway"])


@contextmanager
def threads_struck(site: Site) -> Iterator[None]:
    """SystemExit comes up in every worker thread at once, whatever it does, eight times."""
    for _ in range(_STRIKES):
        os.kill(site.gateway.pid, signal.SIGUSR1)
        time.sleep(_STRIKE_EVERY_S)
    yield


@contextmanager
def out_of_memory(site: Site) -> Iterator[None]:
    """The loading process may take 768 MB more; an entry comes that needs thrice that while it is opened."""
    pid = site.triton.pid if site.triton else site.gateway.pid
    limit = _virtual_bytes(pid) + _ROOM_BYTES
    unlimited = resource.prlimit(pid, resource.RLIMIT_AS)
    resource.prlimit(pid, resource.RLIMIT_AS, (limit, unlimited[1]))
    # Triton loads in a new process, which inherits the limit and begins with nothing.
    needs = 3 * _ROOM_BYTES if site.triton is None else limit + _ROOM_BYTES
    try:
        put_doctored(site.repository, CLASSIFIER, of_bytes(needs))
        said = site.reload(CLASSIFIER)
        if site.triton is not None and not said:
            raise Broken("Triton has loaded what cannot fit")
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_AS, unlimited)
        put_back(site.repository, CLASSIFIER)
        site.reload(CLASSIFIER)


def _virtual_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()


_NO_NAME: dict[EngineName, str] = {"embedded": "there is no server to be found by name"}

FAULTS = (
    Fault("the wall clock jumps a day ahead", jumped(_DAY_S), surroundings=wall_clock),
    Fault("the wall clock jumps a day back", jumped(-_DAY_S), surroundings=wall_clock),
    Fault(
        "DNS gone: Triton's name cannot be resolved for 8 s",
        name_gone,
        held_s=8.0,
        not_on=_NO_NAME,
        surroundings=triton_by_name,
    ),
    Fault("worker threads are struck down, 8 times", threads_struck, held_s=0.5, surroundings=struck_threads),
    Fault("out of memory while a model is loaded", out_of_memory, held_s=4.0),
)

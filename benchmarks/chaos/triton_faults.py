"""The inference server dies, stands still, or stutters."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.chaos.fault import Fault
from benchmarks.chaos.site import EngineName, Site
from tests.triton_server import TritonServer

_ONLY_TRITON: dict[EngineName, str] = {"embedded": "there is no server: the models run in the gateway's own process"}
_PULSE_S = 0.2


@contextmanager
def killed(site: Site) -> Iterator[None]:
    """kill -9 of the server and its stubs; started again at the end, which counts as undone when all is loaded."""
    triton = _triton(site)
    triton.kill()
    yield
    triton.start()


@contextmanager
def paused(site: Site) -> Iterator[None]:
    triton = _triton(site)
    triton.send(signal.SIGSTOP)
    try:
        yield
    finally:
        triton.send(signal.SIGCONT)


@contextmanager
def stuttering(site: Site) -> Iterator[None]:
    """Stopped for a fifth of a second, five times in two seconds: half as fast, and never steadily so."""
    triton, over = _triton(site), threading.Event()

    def pulse() -> None:
        while not over.wait(_PULSE_S):
            triton.send(signal.SIGSTOP)
            over.wait(_PULSE_S)
            triton.send(signal.SIGCONT)

    thread = threading.Thread(target=pulse)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _triton(site: Site) -> TritonServer:
    assert site.triton is not None
    return site.triton


FAULTS = (
    Fault("Triton killed (`kill -9`), then started again", killed, not_on=_ONLY_TRITON),
    Fault("Triton paused (SIGSTOP) for 4 s", paused, held_s=4.0, not_on=_ONLY_TRITON),
    Fault("Triton stutters (SIGSTOP every other 0.2 s)", stuttering, held_s=4.0, not_on=_ONLY_TRITON),
)

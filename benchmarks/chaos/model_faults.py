"""One model goes bad: its answers, its speed, or its place in memory. The entry is whole, so nothing forewarns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from benchmarks.chaos.doctored import Change, another_shape, no_numbers, put_back, put_doctored, slow
from benchmarks.chaos.fault import Broken, Fault
from benchmarks.chaos.load import CLASSIFIER
from benchmarks.chaos.site import Site


def replaced_by(change: Change) -> Callable[[Site], AbstractContextManager[None]]:
    """The classifier that the router prefers is replaced by a doctored one, and put back."""

    @contextmanager
    def inject(site: Site) -> Iterator[None]:
        put_doctored(site.repository, CLASSIFIER, change)
        site.reload(CLASSIFIER)
        yield
        put_back(site.repository, CLASSIFIER)
        if refusal := site.reload(CLASSIFIER):
            raise Broken(f"Triton does not load the good entry again: {refusal}")

    return inject


@contextmanager
def unloaded(site: Site) -> Iterator[None]:
    """Behind the gateway's back: Triton is told to unload it; from the embedded engine's folder it is taken away."""
    if site.triton is not None:
        site.control(CLASSIFIER, "unload")
        yield
        site.control(CLASSIFIER, "load")
        return
    away = site.repository / f".away-{CLASSIFIER}"
    (site.repository / CLASSIFIER).rename(away)
    yield
    away.rename(site.repository / CLASSIFIER)


FAULTS = (
    Fault("a model gives NaN (its digest agrees)", replaced_by(no_numbers), held_s=6.0),
    Fault("a model gives another shape than its card says", replaced_by(another_shape)),
    Fault("a model becomes slow, by some tenths of a second", replaced_by(slow), held_s=5.0),
    Fault("a model is unloaded under load", unloaded),
)

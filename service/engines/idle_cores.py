"""A picture that comes alone is run on all cores: a second session of the same graph, where that is really faster."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime as ort

from service.cores import allowed_cores, stay_on
from service.tracked import TrackedQuantile

log = logging.getLogger(__name__)

# Sessions of that kind kept at once: each holds the weights once more.
MOST_SESSIONS = 4
# A session gives way only if so many lone pictures came since its own last one: opening another takes as long as many
# runs save, and with more models in use than there are sessions they would be opened in turn for ever.
RESTED = 64
# Used where its median is at most this part of one thread's; now and then the other way is tried again.
_GAIN = 0.9
_TRY_EVERY = 64
# Threads of one run wait for each other this long before they sleep. Longer gains nothing on an idle machine, and on
# one that others use too it takes their time and ours (docs/benchmarks.md).
_SPIN_US = 20


# A model's name and the sha256 of its file: one that was exported anew never gets the session of what it was.
Graph = tuple[str, str]


class IdleCores:
    """Which session a lone picture of one model takes, learnt from both. Used by worker threads."""

    def __init__(self, pool: Sessions, graph: Graph, path: Path, warm: Callable[[Any], None]) -> None:
        self._pool = pool
        self._graph = graph
        self._path = path
        self._warm = warm
        self._wide = _median()
        self._narrow = _median()
        self._asked = 0
        self._try_again = False

    def session(self) -> Any | None:
        """The session with all cores, or None: one thread is as fast here, or the session is still being opened."""
        self._asked += 1
        session = self._pool.get(self._graph, self._path, self._warm)
        if session is None or self._narrow.value == 0.0:
            return None
        if self._wide.value == 0.0:
            return session
        the_other_way = self._try_again or self._asked % _TRY_EVERY == 0
        return session if self._pays() is not the_other_way else None

    def _pays(self) -> bool:
        return self._wide.value <= _GAIN * self._narrow.value

    def took(self, took_ms: float, *, wide: bool) -> float:
        """Tells what a lone run took; answers how much longer one thread would have taken, in ms."""
        median = self._wide if wide else self._narrow
        if median.value == 0.0:
            median.value = took_ms
        else:
            median.observe(took_ms)
        # A median moves slowly, and only with those who go that way: a try that went well is repeated at once, or a
        # minute in which others used the cores would be remembered for hundreds of pictures.
        went_well = took_ms <= _GAIN * self._narrow.value if wide else _GAIN * took_ms < self._wide.value
        self._try_again = went_well and wide is not self._pays()
        return max(0.0, self._narrow.value - took_ms) if wide else 0.0


class Sessions:
    """At most MOST_SESSIONS, those used last; opened beside whatever runs, on a thread of their own."""

    def __init__(self, threads: int, providers: list[str]) -> None:
        self.threads = threads
        self._providers = providers
        self._lock = threading.Lock()
        self._open: OrderedDict[Graph, Any] = OrderedDict()
        self._asked = 0
        self._asked_last: dict[Graph, int] = {}
        self._failed: set[Graph] = set()
        self._opening = False
        self._opener: threading.Thread | None = None

    def get(self, graph: Graph, path: Path, warm: Callable[[Any], None]) -> Any | None:
        """The graph's session; None until it has been opened, which the first call begins, or if it cannot be."""
        with self._lock:
            self._asked += 1
            session = self._open.get(graph)
            if session is not None:
                self._open.move_to_end(graph)
                self._asked_last[graph] = self._asked
                return session
            if self._opening or graph in self._failed or not self._has_place():
                return None
            self._opening = True
            self._opener = threading.Thread(target=self._make, args=(graph, path, warm), name="idle-cores", daemon=True)
            self._opener.start()
        return None

    def close(self) -> None:
        """Returns when nothing is being opened: a process that ends while ONNX Runtime starts threads is aborted."""
        with self._lock:
            opener = self._opener
        if opener is not None:
            opener.join()

    def drop(self, name: str) -> None:
        """Every graph that the model of that name has had."""
        with self._lock:
            for graph in [graph for graph in self._open if graph[0] == name]:
                del self._open[graph], self._asked_last[graph]
            self._failed = {graph for graph in self._failed if graph[0] != name}

    def _has_place(self) -> bool:
        return len(self._open) < MOST_SESSIONS or self._asked - self._asked_last[next(iter(self._open))] > RESTED

    def _make(self, graph: Graph, path: Path, warm: Callable[[Any], None]) -> None:
        stay_on(allowed_cores())  # not only on the one core of the worker that began this thread
        try:
            session = ort.InferenceSession(path, _options(self.threads), providers=self._providers)
            warm(session)
        except Exception:  # ONNX Runtime's exceptions share no base class; the model goes on with one thread
            log.exception("%s cannot be opened for all cores", graph[0])
            session = None
        with self._lock:
            self._opening = False
            if session is None:
                self._failed.add(graph)
            else:
                self._open[graph] = session
                self._asked_last[graph] = self._asked
                while len(self._open) > MOST_SESSIONS:
                    gone, _ = self._open.popitem(last=False)
                    del self._asked_last[gone]


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.add_session_config_entry("session.intra_op.spin_duration_us", str(_SPIN_US))
    return options


def _median() -> TrackedQuantile:
    return TrackedQuantile(0.5, 0.0, step=0.02, first_step=0.3)

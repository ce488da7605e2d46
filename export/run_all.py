"""Every row, each in a process of its own with a bound on its time and its memory.

A row that fails, hangs or is killed costs its own result and nothing else. The table is written after every row, so
that a run which is stopped goes on where it was.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from export.catalogue.row import Row
from export.catalogue.twins import TWINS
from export.errors import WeightsError
from export.repository import recipe, up_to_date
from export.run_one import Order, command
from export.run_order import Together, Waiting, smallest_first
from export.run_table import Run, markdown, read_runs, write_runs
from export.sources import Choice, sources_of
from service.cores import usable_cores

POLL_S = 0.1
# Ctrl-C, `kill`, and a terminal that is closed.
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one row may take, and the whole run: no row is begun after `whole_run_s`."""

    seconds: float
    memory_bytes: int
    whole_run_s: float = float("inf")


@dataclass(frozen=True, slots=True)
class AllPlan:
    """What holds for every row.

    discard     go through the gates and leave no entry, for a run that only proves
    runs        the table's JSON file
    jobs        rows at the same time
    twins_too   also rows that are known to be too large, and are proved by a smaller size (export.catalogue.twins)
    """

    repository: Path
    weights: Choice
    force: bool
    discard: bool
    runs: Path
    bounds: Bounds
    twins_too: bool = False
    jobs: int = 1


def run_all(rows: Iterable[Row], plan: AllPlan, console: Console, together: Together | None = None) -> dict[str, Run]:
    """Name → run, of this run and of those before it. The table's two files are up to date after every row.

    A row that passed before counts as not run where that holds no more: another recipe, or its entry is not there.
    `together` learns how much memory all children had at the same time.
    """
    rows = tuple(rows)
    together = together or Together()
    runs = read_runs(plan.runs)
    wanted = [row for row in smallest_first(rows) if plan.twins_too or row.name not in TWINS]
    not_done = [row for row in wanted if not _is_done(row, plan, runs)]
    todo = Waiting(wanted if plan.force else not_done, runs, plan.jobs, plan.bounds.memory_bytes)
    for row in not_done:
        if row.name in runs and runs[row.name].state == "passed":
            del runs[row.name]
    console.print(f"{len(wanted) - len(todo)} of {len(wanted)} rows are done already.", highlight=False)
    for row, run in _each(todo, plan, console, together):
        runs[row.name] = run
        _write(rows, plan.runs, runs)
    _write(rows, plan.runs, runs)
    return runs


def _write(rows: tuple[Row, ...], file: Path, runs: dict[str, Run]) -> None:
    # In the order of the rows; a table of more rows than these keeps the others.
    known = {row.name: runs[row.name] for row in rows if row.name in runs}
    others = {name: run for name, run in runs.items() if name not in known}
    write_runs(file, known | others)
    file.with_suffix(".md").write_text(markdown(rows, known), encoding="utf-8")


def _each(todo: Waiting, plan: AllPlan, console: Console, together: Together) -> Iterator[tuple[Row, Run]]:
    """Every row and what became of it, as they end, `plan.jobs` at a time."""
    began_s = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress,
        ThreadPoolExecutor(plan.jobs) as pool,
        _stopped_early() as stop,
    ):
        task = progress.add_task("", total=len(todo))
        running: dict[Future[Run], Row] = {}
        while True:
            while len(running) < plan.jobs and time.monotonic() - began_s <= plan.bounds.whole_run_s:
                row = None if stop.is_set() else todo.next(running.values())
                if row is None:
                    break
                running[pool.submit(run_one, row, plan, stop, together)] = row
            if not running:
                break
            progress.update(task, description=", ".join(row.name for row in running.values()))
            ended = wait(running, return_when=FIRST_COMPLETED).done
            if stop.is_set():
                break
            for future in ended:
                progress.advance(task)
                console.print(_sentence(future.result()), soft_wrap=True, highlight=False, markup=False)
                yield running.pop(future), future.result()
    if len(todo):
        console.print("The time for the whole run is up; the same command goes on from here.")


@contextmanager
def _stopped_early() -> Iterator[threading.Event]:
    """An event that is set when the run is to end: children are in sessions of their own, no signal reaches them.

    After a signal SystemExit is raised at the end, 128 + its number, as a shell has it; not by the handler, for an
    exception at any place may leave one of the pool's locks behind. What is ignored, as nohup's SIGHUP, stays ignored.
    """
    stop = threading.Event()
    received: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        received.append(number)
        stop.set()

    before = {number: signal.signal(number, end) for number in _ENDING if signal.getsignal(number) != signal.SIG_IGN}
    try:
        yield stop
    except BaseException:
        stop.set()
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if received:
        sys.exit(128 + received[0])


def _sentence(run: Run) -> str:
    said = f": {run.reason}" if run.reason else ""
    return f"{run.name}: {run.state} ({run.seconds:.0f} s, {run.peak_mb} MB){said}"


def _choice(row: Row, plan: AllPlan) -> Choice:
    """A starter head is nothing without its weights, and they are in this repository."""
    return Choice("starter") if row.network.library == "starter" else plan.weights


def _recipe(row: Row, plan: AllPlan) -> str:
    try:
        return recipe(row, sources_of(row, _choice(row, plan))[0])
    except WeightsError:
        return ""


def _is_done(row: Row, plan: AllPlan, runs: dict[str, Run]) -> bool:
    run = runs.get(row.name)
    if run is None or run.state != "passed" or run.recipe != _recipe(row, plan):
        return False
    return plan.discard or up_to_date(plan.repository, row, sources_of(row, _choice(row, plan))) is not None


def run_one(row: Row, plan: AllPlan, stop: threading.Event, together: Together) -> Run:
    """What became of one row. Never raises for what the row does; `stop` ends it at once."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        choice, most_bytes = _choice(row, plan), plan.bounds.memory_bytes
        order = Order(
            name=row.name,
            repository=str(plan.repository),
            weights=choice.argument,
            force=plan.force,
            prove_only=plan.discard,
            most_seconds=plan.bounds.seconds,
            most_bytes=most_bytes,
            report=str(report),
        )
        run = _bounded(order, plan, _recipe(row, plan), stop, together)
        if report.is_file():
            run = replace(run, **json.loads(report.read_text(encoding="utf-8")))
    return run


def _bounded(order: Order, plan: AllPlan, recipe_digest: str, stop: threading.Event, together: Together) -> Run:
    """The child's time and memory; `failed` until its own report says otherwise."""
    start_s, most_seconds = time.monotonic(), plan.bounds.seconds
    # A session of its own, so that whatever the child starts ends with it. The command is this program's own.
    child = subprocess.Popen(  # noqa: S603
        command(order),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=_shared(os.environ, plan.jobs),
    )
    timed_out = False
    while True:
        pid, status, usage = os.wait4(child.pid, os.WNOHANG)
        if pid:
            break
        if not timed_out and (time.monotonic() - start_s > most_seconds or stop.is_set()):
            timed_out = True
            os.killpg(child.pid, signal.SIGKILL)
        together.look_at(child.pid)
        time.sleep(POLL_S)
    together.forget(child.pid)
    child.returncode = os.waitstatus_to_exitcode(status)
    reason = f"stopped after {most_seconds:.0f} s" if timed_out else f"the process ended with {child.returncode}"
    seconds = round(time.monotonic() - start_s, 1)
    # Linux counts in units of 1024 bytes.
    return Run(order.name, "failed", recipe_digest, seconds, round(usage.ru_maxrss * 1024 / 1e6), reason)


def _shared(environment: Mapping[str, str], jobs: int) -> dict[str, str]:
    """The same, with an equal part of the cores for torch in each child: its threads spin while they wait for each
    other, and two children with all the cores each take nearly twice as long as with half of them."""
    if jobs == 1:
        return dict(environment)
    return {"OMP_NUM_THREADS": str(max(1, usable_cores() // jobs)), **environment}

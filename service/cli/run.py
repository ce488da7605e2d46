"""What classify, detect and segment do alike: pictures, a gateway, a report, an exit code."""

from __future__ import annotations

import io
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from service.cli.asking import Outcome, outcomes
from service.cli.exit_codes import ExitCode
from service.cli.gateway import Where, failed, ready_gateway, run
from service.cli.pictures import PictureFile, check_targets, find_pictures
from service.cli.reports import CsvReport, JsonReport, Report, TableReport, Task, reason
from service.client import AsyncClient, ClientError
from service.cores import usable_cores

_PARALLEL_TO_A_SERVER = 8
_PARALLEL_A_CORE = 2


@dataclass(frozen=True, slots=True)
class Output:
    """`--json`, `--csv`, `--overlay`."""

    json: bool
    csv: bool
    overlay: Path | None


@dataclass
class _Tally:
    """What there is to say at the end."""

    answered: int = 0
    failed: int = 0

    def __post_init__(self) -> None:
        self.models: Counter[str] = Counter()
        self._began_s = time.monotonic()

    def count(self, outcome: Outcome) -> None:
        if outcome.result is None:
            self.failed += 1
        else:
            self.answered += 1
            self.models[outcome.result.model.name] += 1

    def __str__(self) -> str:
        seconds = time.monotonic() - self._began_s
        models = ", ".join(f"{name} ({count})" for name, count in self.models.most_common())
        rate = f"{self.answered / seconds:.1f} a second" if seconds > 0 else ""
        lost = f", {self.failed} failed" if self.failed else ""
        return f"{self.answered} answered{lost}, {seconds:.1f} s, {rate}; {models or 'no model'}"


def ask_about(
    files: list[str], task: Task, options: dict[str, Any], where: Where, output: Output, parallel: int | None
) -> None:
    """Asks for every picture and shows the answers. Raises Exit with what the exit code means, BadParameter."""
    if output.json and output.csv:
        raise typer.BadParameter("choose one of --json and --csv.", param_hint="--csv")
    pictures = find_pictures(files)
    if output.overlay is not None:
        check_targets(pictures, output.overlay)
    given = {name: value for name, value in options.items() if value is not None}
    if not {"tier", "budget_ms", "model"} & given.keys():
        given["tier"] = "batch"  # nobody waits for one picture of many: the most accurate model that there is
    at_once = parallel or (_PARALLEL_TO_A_SERVER if where.server else _PARALLEL_A_CORE * usable_cores())
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="surrogateescape")  # a file's name may be any bytes: they are shown as they are
    tally = _Tally()
    try:
        run(_ask(pictures, task, given, where, output, at_once, tally))
    finally:
        if len(pictures) > 1 and (tally.answered or tally.failed):
            typer.echo(str(tally), err=True)
    if tally.failed:
        raise typer.Exit(ExitCode.SOME_FAILED)


async def _ask(
    pictures: list[PictureFile],
    task: Task,
    options: dict[str, Any],
    where: Where,
    output: Output,
    parallel: int,
    tally: _Tally,
) -> None:
    async with ready_gateway(where) as client:
        report = _report(task, output)
        call = _call(client, task)

        def ask(path: Path) -> Any:
            return call(path, **options)

        with _progress(len(pictures), output) as progress:
            bar = progress.add_task(task, total=len(pictures))
            try:
                async for outcome in outcomes(pictures, ask, parallel, output.overlay):
                    tally.count(outcome)
                    report.add(outcome)
                    if outcome.result is None:
                        said = f"{outcome.picture.path}: {reason(outcome)}"
                        progress.console.print(Text(said), soft_wrap=True)
                    progress.advance(bar)
            except ClientError as err:
                progress.stop()
                raise failed(err) from err
            finally:
                progress.stop()
                report.close()


def _call(client: AsyncClient, task: Task) -> Callable[..., Any]:
    calls: dict[Task, Callable[..., Any]] = {
        "classify": client.classify,
        "detect": client.detect,
        "segment": client.segment,
    }
    return calls[task]


def _report(task: Task, output: Output) -> Report:
    if output.json:
        return JsonReport()
    return CsvReport(task) if output.csv else TableReport(task)


def _progress(count: int, output: Output) -> Progress:
    """A bar on standard error, if that is a terminal, and nothing else is being written to the same one."""
    console = Console(stderr=True)
    lines_beside_it = (output.json or output.csv) and sys.stdout.isatty()
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
        disable=not console.is_terminal or count == 1 or lines_beside_it,
    )

"""Every fault, on both engines: `make chaos`.

python -m benchmarks.chaos [--only WORD] [--engine embedded|triton] [--no-docs]

Where only some are run, the page's other rows stay as they were.

Exit code 1 if anything was lost, or is not well again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import get_args

from benchmarks.chaos import machine_faults, model_faults, repository_faults, triton_faults
from benchmarks.chaos.fault import Fault, NotRun, Surroundings
from benchmarks.chaos.report import report
from benchmarks.chaos.site import EngineName, gateway_on, models_and_triton
from benchmarks.chaos.trial import Trial, run_trial
from benchmarks.device import RESULTS, slug
from benchmarks.reliability_page import publish
from tests.triton_server import PROGRAMS

FAULTS: tuple[Fault, ...] = (
    *triton_faults.FAULTS,
    *model_faults.FAULTS,
    *repository_faults.FAULTS,
    *machine_faults.FAULTS,
)


def run(engine: EngineName, faults: Sequence[Fault]) -> Iterator[Trial]:
    """The trials, as they end. Faults that need no surroundings of their own share a gateway."""
    apply = [fault for fault in faults if engine not in fault.not_on]
    if engine == "triton" and (why := _no_triton()):
        yield from (Trial(fault.name, engine, not_run=why) for fault in apply)
        return
    with models_and_triton(engine) as parts, contextlib.ExitStack() as shared:
        common = [fault for fault in apply if fault.surroundings is None]
        if common:
            site = shared.enter_context(gateway_on(engine, parts))
            for fault in common:
                yield run_trial(site, fault)
            shared.close()
        for fault in (fault for fault in apply if fault.surroundings is not None):
            try:
                around = fault.surroundings(parts[0]) if fault.surroundings else Surroundings()
            except NotRun as err:
                yield Trial(fault.name, engine, not_run=str(err))
                continue
            with gateway_on(
                engine, parts, command=around.command, more=around.environment, triton_host=around.triton_host
            ) as site:
                yield run_trial(site, fault)
    yield from (Trial(fault.name, engine, not_run=fault.not_on[engine]) for fault in faults if engine in fault.not_on)


def _kept(trials: Sequence[Trial]) -> list[Trial]:
    """Those of the last run here that were not run again, of faults that there still are."""
    path = RESULTS / f"chaos-{slug()}.json"
    if not path.is_file():
        return []
    again, names = {(trial.fault, trial.engine) for trial in trials}, {fault.name for fault in FAULTS}
    before = [Trial(**row) for row in json.loads(path.read_text(encoding="utf-8"))["trials"]]
    return [trial for trial in before if trial.fault in names and (trial.fault, trial.engine) not in again]


def _no_triton() -> str:
    """Why there is no Triton here; empty if there is one."""
    check = subprocess.run(
        [sys.executable, PROGRAMS / "install.py", "--check"], capture_output=True, text=True, check=False
    )
    return check.stderr.strip().splitlines()[-1] if check.returncode else ""


def main() -> None:
    parser = argparse.ArgumentParser(description="Faults on a running gateway.")
    parser.add_argument("--only", default="", help="faults whose name has this in it")
    parser.add_argument("--engine", choices=get_args(EngineName), help="left out: both")
    parser.add_argument("--no-docs", action="store_true", help="print only")
    arguments = parser.parse_args()
    faults = [fault for fault in FAULTS if arguments.only in fault.name]
    started_s, trials = time.monotonic(), list[Trial]()
    for engine in [arguments.engine] if arguments.engine else get_args(EngineName):
        for trial in run(engine, faults):
            trials.append(trial)
            print(f"{time.monotonic() - started_s:5.0f} s  {trial}", file=sys.stderr, flush=True)
    print(report([fault.name for fault in FAULTS], trials))
    if not arguments.no_docs:
        rows = [*trials, *_kept(trials)]
        text = report([fault.name for fault in FAULTS], rows)
        publish("chaos", "python -m benchmarks.chaos", text, {"trials": [asdict(trial) for trial in rows]})
    sys.exit(any(trial.lost or (trial.again_s is None and not trial.not_run) for trial in trials))


if __name__ == "__main__":
    main()

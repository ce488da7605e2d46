"""`vision-export --all`: children that pass, fail, crash or hang, and the table that survives all of them."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from export.all_command import app
from export.catalogue.registry import CATALOGUE, find
from export.run_all import AllPlan, Bounds, run_all
from export.run_one import Order, command
from export.run_order import Together, Waiting, expected_bytes, smallest_first
from export.run_table import Run, error_of, markdown, read_runs, summary, write_runs
from export.sources import Choice

ROWS = tuple(find(name) for name in ("lenet5", "effnet_cifar10", "nin_cifar10", "vgg16"))

# What each child does in place of an export.
CHILDREN = {
    "lenet5": 'import pathlib; pathlib.Path(report).write_text(\'{"state": "passed", "reason": "", "gates": 10}\')',
    "effnet_cifar10": "import time; time.sleep(60)",
    "nin_cifar10": "import os; os.abort()",
    "vgg16": 'import pathlib; pathlib.Path(report).write_text(\'{"state": "failed", "reason": "wrong"}\')',
}

REPORTS_ITS_THREADS = (
    "import json, os, pathlib; pathlib.Path(report).write_text(json.dumps("
    "{'state': 'passed', 'reason': os.environ.get('OMP_NUM_THREADS', '')}))"
)


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AllPlan:
    """A run in which no child exports anything; each notes that it was there."""

    def instead(order: Order) -> list[str]:
        began = f"open({str(tmp_path / 'began')!r}, 'a').write({order.name!r} + ' ')"
        return [sys.executable, "-c", f"{began}; report = {order.report!r}; {CHILDREN[order.name]}"]

    monkeypatch.setattr("export.run_all.command", instead)
    bounds = Bounds(seconds=1.0, memory_bytes=0)
    return AllPlan(tmp_path / "repository", Choice("random"), False, True, tmp_path / "runs.json", bounds)


def began(plan: AllPlan) -> list[str]:
    names = (plan.runs.parent / "began").read_text().split()
    (plan.runs.parent / "began").unlink()
    return names


def test_every_row_gets_its_turn_whatever_the_others_do(plan: AllPlan) -> None:
    runs = run_all(ROWS, plan, Console(quiet=True))
    assert {name: run.state for name, run in runs.items()} == {
        "lenet5": "passed",
        "effnet_cifar10": "failed",
        "nin_cifar10": "failed",
        "vgg16": "failed",
    }
    assert runs["effnet_cifar10"].reason == "stopped after 1 s"
    assert runs["nin_cifar10"].reason == "the process ended with -6"
    assert runs["vgg16"].reason == "wrong"
    assert runs["lenet5"].peak_mb > 0
    assert began(plan) == ["lenet5", "effnet_cifar10", "nin_cifar10", "vgg16"]


def test_a_second_run_leaves_what_passed_and_tries_the_rest_again(plan: AllPlan) -> None:
    run_all(ROWS, plan, Console(quiet=True))
    began(plan)
    run_all(ROWS, plan, Console(quiet=True))
    assert began(plan) == ["effnet_cifar10", "nin_cifar10", "vgg16"]


def test_a_row_that_has_changed_is_run_again(plan: AllPlan) -> None:
    run_all(ROWS[:1], plan, Console(quiet=True))
    began(plan)
    run_all((replace(ROWS[0], mean=(0.1, 0.1, 0.1)),), plan, Console(quiet=True))
    assert began(plan) == ["lenet5"]


def test_an_entry_that_was_kept_and_is_gone_is_made_again(plan: AllPlan) -> None:
    kept = replace(plan, discard=False)
    run_all(ROWS[:1], kept, Console(quiet=True))
    began(plan)
    run_all(ROWS[:1], kept, Console(quiet=True))
    assert began(plan) == ["lenet5"]


def test_a_run_that_only_proves_leaves_the_entries_that_are_there(plan: AllPlan) -> None:
    served = plan.repository / "lenet5" / "1" / "model.onnx"
    served.parent.mkdir(parents=True)
    served.write_bytes(b"being served")
    assert run_all(ROWS[:1], plan, Console(quiet=True))["lenet5"].state == "passed"
    assert served.read_bytes() == b"being served"


@pytest.mark.parametrize(("jobs", "given", "threads"), [(1, "", ""), (2, "", "3"), (8, "", "1"), (2, "5", "5")])
def test_rows_at_the_same_time_share_the_cores(
    plan: AllPlan, monkeypatch: pytest.MonkeyPatch, jobs: int, given: str, threads: str
) -> None:
    monkeypatch.setattr("export.run_all.usable_cores", lambda: 6)
    monkeypatch.setitem(CHILDREN, "lenet5", REPORTS_ITS_THREADS)
    monkeypatch.setenv("OMP_NUM_THREADS", given) if given else monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    runs = run_all(ROWS[:1], replace(plan, jobs=jobs), Console(quiet=True))
    assert runs["lenet5"].reason == threads


def test_no_row_is_begun_after_the_whole_run_s_time(plan: AllPlan) -> None:
    short = replace(plan, bounds=Bounds(1.0, 0, whole_run_s=0.0))
    run_all(ROWS, short, Console(quiet=True))
    assert not (plan.runs.parent / "began").exists()
    assert summary(ROWS, read_runs(plan.runs)).startswith("4 rows: 0 run, 0 passed every gate, 0 failed, 4 not run")


@pytest.mark.parametrize("change", ["only proved", "another recipe", "other weights"])
def test_what_passed_once_and_is_not_so_any_more_counts_as_not_run(plan: AllPlan, change: str) -> None:
    rows = ROWS[:1]
    write_runs(plan.runs, {"vgg11": Run("vgg11", "passed", "0123", 1.5, 300)})
    run_all(rows, plan, Console(quiet=True))
    late = replace(plan, bounds=replace(plan.bounds, whole_run_s=0.0))
    assert run_all(rows, late, Console(quiet=True))["lenet5"].state == "passed"
    match change:
        case "only proved":
            late = replace(late, discard=False)
        case "another recipe":
            rows = (replace(rows[0], mean=(0.1, 0.1, 0.1)),)
        case "other weights":
            late = replace(late, weights=Choice("hub"))
    runs = run_all(rows, late, Console(quiet=True))
    assert summary(rows, runs).startswith("1 rows: 0 run, 0 passed every gate, 0 failed, 1 not run")
    assert "| `lenet5` | not run |" in plan.runs.with_suffix(".md").read_text(encoding="utf-8")
    # What is said of rows that were not asked for stays.
    assert read_runs(plan.runs).keys() == runs.keys() == {"vgg11"}


def test_what_was_only_proved_is_not_exported_and_the_exit_code_says_so(plan: AllPlan) -> None:
    run_all(ROWS[:1], plan, Console(quiet=True))
    words = ["lenet5", "--weights", "random", "--runs", str(plan.runs), "--repository", str(plan.repository)]
    assert CliRunner().invoke(app, [*words, "--discard"]).exit_code == 0
    result = CliRunner().invoke(app, [*words, "--stop-after", "1e-9"])
    assert result.exit_code == 1
    assert "0 passed every gate" in " ".join(result.output.split())


def test_the_table_is_both_files_and_says_what_was_not_run(plan: AllPlan) -> None:
    run_all(ROWS[:3], plan, Console(quiet=True))
    runs = read_runs(plan.runs)
    page = markdown(ROWS, runs)
    assert "4 rows: 3 run, 1 passed every gate, 2 failed, 1 not run" in page
    assert "| `vgg16` | not run |" in page
    assert plan.runs.with_suffix(".md").read_text(encoding="utf-8") == markdown(ROWS[:3], runs)


def test_runs_are_read_as_they_were_written(tmp_path: Path) -> None:
    runs = {"a": Run("a", "passed", "0123", 1.5, 300, p50_ms=2.25), "b": Run("b", "failed", "", 0.1, 9, "“why” | not")}
    write_runs(tmp_path / "deep" / "runs.json", runs)
    assert read_runs(tmp_path / "deep" / "runs.json") == runs
    assert read_runs(tmp_path / "none.json") == {}


def test_the_table_names_the_output_that_is_closest_to_its_limit() -> None:
    said = "logits 1.4e-05 ≤ 5.8e-05, mask_logits 1.6e-05 ≤ 1.7e-05"
    assert error_of((("before_error", said), ("pixels", "100% ≥ 99.9%"))) == said
    assert error_of((("error", "probabilities 1e-06 ≤ 2e-06"),)) == "probabilities 1e-06 ≤ 2e-06"
    run = Run("lenet5", "passed", "", 1.5, 300, gates=12, error=said)
    assert "| 12 | 1.6e-05 ≤ 1.7e-05 |" in markdown(ROWS, {"lenet5": run})
    assert "| – | – | – |" in markdown(ROWS, {"lenet5": Run("lenet5", "failed", "", 1.5, 300)})


def test_smaller_networks_come_first() -> None:
    names = [row.name for row in smallest_first(CATALOGUE.values())]
    assert names[0] == "lenet5"
    assert names.index("mobilenet_v1_025_128") < names.index("resnet50") < names.index("efficientnet_l2_ns")


def test_of_several_at_a_time_one_comes_from_the_large_end() -> None:
    waiting = Waiting(ROWS, {}, jobs=2, most_bytes=16e9)
    lenet5, effnet, nin, vgg16 = ROWS
    assert waiting.next(()) == vgg16
    assert waiting.next((vgg16,)) == lenet5
    assert waiting.next((vgg16,)) == effnet
    assert waiting.next((effnet,)) == nin
    assert waiting.next(()) is None
    alone = Waiting(ROWS, {}, jobs=1, most_bytes=16e9)
    assert [alone.next(()) for _ in ROWS] == [lenet5, effnet, nin, vgg16]


def test_no_row_begins_beside_others_where_the_memory_is_not_enough() -> None:
    lenet5, effnet, nin, vgg16 = ROWS
    # As measured 9 GB each: two do not fit 16 GB.
    runs = {row.name: Run(row.name, "passed", "", 1.0, 9000) for row in ROWS[2:]}
    waiting = Waiting(ROWS, runs, jobs=3, most_bytes=16e9)
    assert [waiting.next(()), waiting.next((vgg16,)), waiting.next((vgg16, lenet5))] == [vgg16, lenet5, effnet]
    assert waiting.next((vgg16,)) is None
    assert len(waiting) == 1
    assert waiting.next(()) == nin
    # A row that is larger than the bound has its turn alone; without a bound all run beside each other.
    assert Waiting(ROWS[3:], runs, jobs=2, most_bytes=1e9).next(()) == vgg16
    unbounded = Waiting(ROWS[2:], runs, jobs=2, most_bytes=0)
    assert [unbounded.next(()), unbounded.next((vgg16,))] == [vgg16, nin]


def test_what_a_row_will_need_is_what_it_needed_when_it_passed() -> None:
    vgg16 = find("vgg16")
    assert expected_bytes(vgg16, {"vgg16": Run("vgg16", "passed", "", 1.0, 4579)}) == 4.579e9
    # A row that failed may have ended before its largest step.
    guessed = expected_bytes(vgg16, {"vgg16": Run("vgg16", "failed", "", 1.0, 10)})
    assert guessed == expected_bytes(vgg16, {}) == pytest.approx(4.1e9, rel=0.03)


def test_the_memory_of_all_children_is_added_up() -> None:
    together = Together()
    hold = "import sys; held = bytearray(50_000_000); print(flush=True); sys.stdin.read()"
    children = [
        subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)
    ]
    for child in children:
        assert child.stdout is not None
        child.stdout.readline()
        together.look_at(child.pid)
    assert 100e6 < together.most_bytes < 300e6
    for child in children:
        together.forget(child.pid)
        child.communicate()
        together.look_at(child.pid)
    assert together.most_bytes < 300e6


def test_what_is_known_to_be_too_large_is_run_only_when_it_is_named(plan: AllPlan) -> None:
    assert run_all((find("igpt_xl"),), plan, Console(quiet=True)) == {}
    assert "proved by `igpt_s`" in markdown((find("igpt_xl"),), {})


def test_the_child_is_told_everything_in_one_argument() -> None:
    order = Order("lenet5", "repository", "random", True, False, 1200.0, 16, "report.json")
    assert command(order)[1:3] == ["-m", "export.run_one"]
    assert Order(**json.loads(command(order)[3])) == order
    assert asdict(order)["most_bytes"] == 16


def test_a_real_child_proves_the_smallest_row(tmp_path: Path) -> None:
    words = ["lenet5", "--weights", "random", "--discard", "--runs", str(tmp_path / "runs.json")]
    result = CliRunner().invoke(app, [*words, "--repository", str(tmp_path / "repository")])
    assert result.exit_code == 0, result.output
    assert "1 passed every gate" in result.output
    together = re.search(r"1 at a time, (\d\.\d) GB together", " ".join(result.output.split()))
    assert together is not None
    assert 0.1 < float(together[1]) < 16
    run = read_runs(tmp_path / "runs.json")["lenet5"]
    assert (run.state, run.weights, run.params, run.gates) == ("passed", "untrained", 61706, 10)
    assert run.flops > 0
    assert run.error.startswith("probabilities ")
    assert 100 < run.peak_mb < 16_000
    assert not (tmp_path / "repository" / "lenet5").exists()


def test_too_little_memory_fails_the_row_and_nothing_else(tmp_path: Path) -> None:
    words = ["lenet5", "--weights", "random", "--discard", "--memory-gb", "0.05", "--runs", str(tmp_path / "runs.json")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 1
    assert read_runs(tmp_path / "runs.json")["lenet5"].state == "failed"


def test_names_that_nobody_knows_are_wrong_usage() -> None:
    assert CliRunner().invoke(app, ["resnet5000"]).exit_code == 2


def test_two_at_a_time_come_to_the_same_table(plan: AllPlan) -> None:
    runs = run_all(ROWS, replace(plan, jobs=2), Console(quiet=True))
    assert [run.state for run in read_runs(plan.runs).values()] == ["passed", "failed", "failed", "failed"]
    assert runs.keys() == {row.name for row in ROWS}


@pytest.mark.parametrize(("sent", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_run_that_is_ended_has_its_exit_code_and_takes_the_child_along(
    tmp_path: Path, sent: signal.Signals, exit_code: int
) -> None:
    command_line = [str(Path(sys.executable).with_name("vision-export")), "--all", "vgg16", "--weights", "random"]
    files = ["--discard", "--runs", str(tmp_path / "runs.json"), "--repository", str(tmp_path / "repository")]
    with subprocess.Popen(
        [*command_line, *files],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # These tests may run under nohup, and what is ignored there stays ignored here.
        preexec_fn=partial(signal.signal, sent, signal.SIG_DFL),
    ) as run:
        child = _child_of(run.pid)
        run.send_signal(sent)
        assert run.wait(60) == exit_code
        assert run.stderr is not None
        assert "Traceback" not in run.stderr.read()
    assert not Path("/proc", str(child)).exists()
    assert read_runs(tmp_path / "runs.json") == {}


def test_a_child_without_a_parent_ends_itself_by_its_bound(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    order = Order("vgg16", str(tmp_path), "random", False, True, 0.5, 0, str(report))
    with subprocess.Popen(command(order)) as child:
        assert child.wait(60) == -signal.SIGALRM
    assert not report.exists()


def _child_of(pid: int) -> int:
    """The first process that this one started, once there is one."""
    until_s = time.monotonic() + 60
    while time.monotonic() < until_s:
        # Any of its threads may have started it.
        started = [file.read_text().split() for file in Path(f"/proc/{pid}/task").glob("*/children")]
        found = [child for children in started for child in children]
        if found:
            return int(found[0])
        time.sleep(0.05)
    raise TimeoutError("no child was started")

"""How many cores there are: of the machine, of what the process may run on, of its quota. And who stays on which."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from service import cores
from service.cores import allowed_cores, core_each, usable_cores
from service.work_queue import Lane
from service.workers import Workers

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="affinity and control groups are Linux's")
several = pytest.mark.skipif(len(allowed_cores()) < 2, reason="one core: there is nowhere else to run")


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of 8 cores without a quota; what is written under the folder is its control groups."""
    monkeypatch.setattr(cores, "_CGROUPS", tmp_path)
    monkeypatch.setattr(cores, "_OWN", tmp_path / "own")
    monkeypatch.setattr(cores, "allowed_cores", lambda: list(range(8)))
    return tmp_path


def say(groups: Path, own: str, **files: str) -> None:
    (groups / "own").write_text(own + "\n")
    for name, text in files.items():
        path = groups / name.replace("__", "/").replace("_max", ".max").replace("cfs", "cpu.cfs")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("200000 100000", 2), ("150000 100000", 2), ("10000 100000", 1), ("0 100000", 1), ("max 100000", 8)],
)
def test_quota_of_version_2(groups: Path, quota: str, expected: int) -> None:
    say(groups, "0::/", cpu_max=quota)
    assert usable_cores() == expected


@pytest.mark.parametrize(("quota", "expected"), [("300000", 3), ("250000", 3), ("-1", 8), ("1600000", 8)])
def test_quota_of_version_1(groups: Path, quota: str, expected: int) -> None:
    say(groups, "4:cpu,cpuacct:/", **{"cpu,cpuacct__cfs_quota_us": quota, "cpu,cpuacct__cfs_period_us": "100000"})
    assert usable_cores() == expected


def test_the_smallest_quota_on_the_way_up_counts(groups: Path) -> None:
    say(groups, "0::/pods/pod/one", pods__cpu_max="400000 100000", pods__pod__one__cpu_max="max 100000")
    assert usable_cores() == 4


def test_in_a_container_the_groups_path_may_be_the_hosts(groups: Path) -> None:
    say(groups, "0::/system.slice/docker-1.scope", cpu_max="200000 100000")
    assert usable_cores() == 2


@pytest.mark.parametrize("text", ["", "nonsense", "100000", "100000 0", "- -"])
def test_what_cannot_be_read_is_no_quota(groups: Path, text: str) -> None:
    say(groups, "0::/", cpu_max=text)
    assert usable_cores() == 8


def test_without_control_groups_there_is_no_quota(groups: Path) -> None:
    assert usable_cores() == 8


def test_a_core_for_each_thread_only_if_those_are_all(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert core_each(8) == list(range(8))
    assert core_each(4) == core_each(9) == []
    say(groups, "0::/", cpu_max="400000 100000")
    assert core_each(8) == core_each(4) == [], "a quota is spent on whichever core is free"
    monkeypatch.setattr(cores, "allowed_cores", lambda: [3])
    assert core_each(1) == [], "there is no other to keep off"


def where(items: list[None]) -> list[set[int]]:
    return [os.sched_getaffinity(0) for _ in items]


@linux_only
@several
async def test_while_work_waits_each_worker_stays_on_its_core() -> None:
    first, second = allowed_cores()[:2]
    workers = Workers(2, cores=[first, second])
    together = threading.Barrier(2, timeout=20)

    def where_all_are(items: list[None]) -> list[set[int]]:
        together.wait()
        return where(items)

    lane: Lane[None, set[int]] = Lane("where", where_all_are)
    done = await asyncio.gather(*[workers.run(lane, None) for _ in range(10)])
    ran_on = [one.result for one in done]
    await workers.close()
    assert ran_on.count({first}) >= 4
    assert ran_on.count({second}) >= 4, "the last two may be taken with nothing behind them"
    assert os.sched_getaffinity(0) == set(allowed_cores()), "the event loop stays nowhere"


@linux_only
@several
async def test_work_that_comes_alone_runs_where_there_is_room() -> None:
    workers = Workers(1, cores=[allowed_cores()[0]])
    lane: Lane[None, set[int]] = Lane("where", where)
    busy = await asyncio.gather(*[workers.run(lane, None) for _ in range(3)])
    while workers.idle < 1:  # noqa: ASYNC110  threads have no asyncio.Event to set
        await asyncio.sleep(0.01)
    alone = await workers.run(lane, None)
    await workers.close()
    assert busy[1].result == {allowed_cores()[0]}
    assert alone.result == set(allowed_cores())


@linux_only
async def test_workers_without_cores_run_anywhere() -> None:
    workers = Workers(1)
    done = await asyncio.gather(*[workers.run(Lane("where", where), None) for _ in range(3)])
    await workers.close()
    assert [one.result for one in done] == [set(allowed_cores())] * 3


@contextlib.contextmanager
def quota_group(quota_us: int) -> Iterator[Path]:
    """A control group of this machine with that much of every 100 ms; the test skips where none may be made."""
    name = f"vision-gateway-test-{uuid.uuid4().hex[:8]}"
    for root, limit, text in (
        (Path("/sys/fs/cgroup/cpu"), "cpu.cfs_quota_us", str(quota_us)),
        (Path("/sys/fs/cgroup"), "cpu.max", f"{quota_us} 100000"),
    ):
        group = root / name
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            if (group / limit).exists():
                (group / limit).write_text(text)
                yield group
                return
        finally:
            group.rmdir()
    pytest.skip("no control group with a quota of processor time can be made here")


@linux_only
@several
def test_a_real_quota_is_seen() -> None:
    ask = "import sys; sys.stdin.readline(); from service.cores import usable_cores; print(usable_cores())"
    with quota_group(100_000) as group:
        child = subprocess.Popen([sys.executable, "-c", ask], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        (group / "cgroup.procs").write_text(str(child.pid))
        said, _ = child.communicate("go\n", timeout=60)
    assert said.strip() == "1"

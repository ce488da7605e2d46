"""A picture that comes alone on all cores: the same answer, learnt whether it pays, bounded, gone with its model."""

from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.cores import allowed_cores, stay_on
from service.engines.embedded import EmbeddedEngine
from service.engines.idle_cores import MOST_SESSIONS, RESTED, IdleCores, Sessions
from service.engines.protocol import Job, Outputs
from service.entry_files import onnx_path
from service.manifest import ModelCard
from service.workers import Workers
from tests.contract.tiny_repository import pictures

Repository = tuple[Path, list[ModelCard]]
CPU = ["CPUExecutionProvider"]


def nothing(_: Any) -> None:
    return None


def said(outputs: Outputs) -> NDArray[np.float64]:
    return outputs.arrays["probabilities"].astype(np.float64)


def opened(pool: Sessions, name: str, path: Path, sha256: str = "") -> Any:
    """The session, once it is there."""
    give_up_s = time.monotonic() + 20
    while (session := pool.get((name, sha256), path, nothing)) is None:
        assert time.monotonic() < give_up_s
        time.sleep(0.01)
    return session


def test_the_way_that_is_faster_here_is_taken(tiny_repository: Repository) -> None:
    for wide_ms, expected in ((2.0, True), (6.0, False)):
        pool = Sessions(2, CPU)
        idle = IdleCores(pool, ("tiny", ""), onnx_path(tiny_repository[0] / "tiny"), nothing)
        opened(pool, "tiny", onnx_path(tiny_repository[0] / "tiny"))
        for _ in range(20):
            idle.took(wide_ms if idle.session() is not None else 5.0, wide=idle.session() is not None)
            idle.took(5.0, wide=False)
        taken = [idle.session() is not None for _ in range(40)]
        assert (sum(taken) > 35) is expected
        assert (sum(taken) > 2) is expected


def test_what_was_learnt_while_others_used_the_cores_is_soon_forgotten(tiny_repository: Repository) -> None:
    pool = Sessions(2, CPU)
    idle = IdleCores(pool, ("tiny", ""), onnx_path(tiny_repository[0] / "tiny"), nothing)
    opened(pool, "tiny", onnx_path(tiny_repository[0] / "tiny"))

    def lone_pictures(count: int, wide_ms: float, narrow_ms: float) -> list[bool]:
        taken = []
        for _ in range(count):
            wide = idle.session() is not None
            idle.took(wide_ms if wide else narrow_ms, wide=wide)
            taken.append(wide)
        return taken

    lone_pictures(300, wide_ms=8.0, narrow_ms=5.0)
    assert sum(lone_pictures(64, wide_ms=8.0, narrow_ms=5.0)) == 1, "slower: tried now and then"
    assert sum(lone_pictures(150, wide_ms=2.5, narrow_ms=5.0)[-20:]) >= 19
    assert sum(lone_pictures(150, wide_ms=2.5, narrow_ms=1.0)[-20:]) <= 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="threads stay on no core here")
def test_a_session_has_all_cores_though_a_worker_that_stays_on_one_opened_it(tiny_repository: Repository) -> None:
    pool, ran_on = Sessions(2, CPU), []

    def on_one_core() -> None:
        stay_on({allowed_cores()[0]})
        path = onnx_path(tiny_repository[0] / "tiny")
        assert pool.get(("tiny", ""), path, lambda session: ran_on.append(os.sched_getaffinity(0))) is None

    thread = threading.Thread(target=on_one_core)
    thread.start()
    thread.join()
    pool.close()
    assert ran_on == [set(allowed_cores())]


def test_what_was_saved_is_told(tiny_repository: Repository) -> None:
    idle = IdleCores(Sessions(2, CPU), ("tiny", ""), onnx_path(tiny_repository[0] / "tiny"), nothing)
    assert idle.took(5.0, wide=False) == 0.0
    assert idle.took(2.0, wide=True) == 3.0


def test_only_so_many_sessions_are_kept(tiny_repository: Repository) -> None:
    pool = Sessions(2, CPU)
    path = onnx_path(tiny_repository[0] / "tiny")
    for number in range(MOST_SESSIONS + 2):
        opened(pool, f"model {number}", path)
    assert len(pool._open) == MOST_SESSIONS
    assert ("model 0", "") not in pool._open


def test_models_that_take_turns_do_not_take_each_others_sessions(tiny_repository: Repository) -> None:
    pool, path = Sessions(2, CPU), onnx_path(tiny_repository[0] / "tiny")
    first = [opened(pool, f"model {number}", path) for number in range(MOST_SESSIONS)]
    for _ in range(RESTED):
        assert pool.get(("one more", ""), path, nothing) is None
        assert [pool.get((f"model {number}", ""), path, nothing) for number in range(MOST_SESSIONS)] == first
    pool.close()
    assert ("one more", "") not in pool._open


async def test_lone_pictures_get_the_same_answer_and_the_session_goes_with_its_model(
    tiny_repository: Repository, tmp_path: Path
) -> None:
    shutil.copytree(tiny_repository[0] / "slow", tmp_path / "slow")
    engine = EmbeddedEngine(tmp_path, Workers(2), idle_cores=True)
    await engine.open()
    pool = engine._wide_sessions
    assert pool is not None
    alone = [await engine.infer(Job("slow", pictures(1), ("probabilities",))) for _ in range(5)]
    sha256 = next(card for card in tiny_repository[1] if card.name == "slow").onnx_sha256
    opened(pool, "slow", onnx_path(tmp_path / "slow"), sha256)
    alone += [await engine.infer(Job("slow", pictures(1), ("probabilities",))) for _ in range(3)]
    for outputs in alone[1:]:
        assert np.abs(said(outputs) - said(alone[0])).max() < 1e-4
    shutil.rmtree(tmp_path / "slow")
    await engine.cards()
    assert not pool._open
    await engine.close()


def test_a_model_exported_anew_never_gets_the_session_of_what_it_was(tiny_repository: Repository) -> None:
    pool = Sessions(2, CPU)
    before = opened(pool, "model", onnx_path(tiny_repository[0] / "tiny"), "old")
    assert opened(pool, "model", onnx_path(tiny_repository[0] / "slow"), "new") is not before
    pool.drop("model")
    assert not pool._open


def test_closing_waits_for_what_is_being_opened(tiny_repository: Repository) -> None:
    """A process that ends while ONNX Runtime starts its threads is aborted, as `vision classify` once was."""
    pool, opening = Sessions(2, CPU), threading.Event()

    def slowly(_: object) -> None:
        opening.set()
        time.sleep(0.2)

    assert pool.get(("tiny", ""), onnx_path(tiny_repository[0] / "tiny"), slowly) is None
    assert opening.wait(30)
    pool.close()
    assert pool.get(("tiny", ""), onnx_path(tiny_repository[0] / "tiny"), nothing) is not None

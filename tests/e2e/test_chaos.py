"""Two of the faults of `make chaos`, in the real thing: nothing is lost, and all is well again."""

from __future__ import annotations

import pytest

from benchmarks.arrivals import data_folder
from benchmarks.chaos import model_faults, triton_faults
from benchmarks.chaos.__main__ import run
from benchmarks.chaos.load import CLASSIFIER, MODELS
from tests.gateway_server import require_models, require_starter_models
from tests.triton_server import require_triton


@pytest.fixture(autouse=True)
def _pictures_and_models() -> None:
    require_models()
    require_starter_models(MODELS)
    if not (data_folder() / "coco128").is_dir():
        pytest.skip("no pictures at $VISION_DATA")


@pytest.mark.timeout(120)
def test_a_model_that_gives_no_numbers_is_gone_around_and_nothing_is_lost() -> None:
    (trial,) = run("embedded", [model_faults.FAULTS[0]])
    assert trial.lost == []
    assert trial.again_s is not None
    assert trial.rerouted > 0
    assert f"failing: {CLASSIFIER}" in trial.readiness
    assert set(trial.answers) <= {"200", "500 engine-failed", "504 deadline-exceeded", "503 deadline-infeasible"}
    assert f"model_circuit_open{{model={CLASSIFIER}}} 0 → 1" in trial.moved


@pytest.mark.triton
@pytest.mark.timeout(180)
def test_a_triton_that_is_killed_costs_nothing_but_its_time() -> None:
    require_triton()
    (trial,) = run("triton", [triton_faults.FAULTS[0]])
    assert trial.lost == []
    assert trial.again_s is not None
    assert trial.answers["503 engine-unavailable"] > 0
    assert trial.readiness.startswith("503")

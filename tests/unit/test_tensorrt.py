"""Plans, with everything real but TensorRT: what it is given, the cache, the gates, the swap, the way back.

The builder is export.tensorrt.fake, whose plans are ONNX files in an envelope. What it stands for, the forty lines of
export.tensorrt.nvidia that talk to TensorRT, needs a GPU.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from rich.console import Console

from export.batch import run
from export.catalogue.registry import find
from export.catalogue.row import Row
from export.outcome import Outcome, Plan
from export.quantisation.float_graph import float_graph
from export.quantisation.quantise import quantise
from export.quantisation.ranges import Measured, Ranges
from export.repository import recipe
from export.sources import Choice, sources_of
from export.tensorrt.attempt import attempt_plan, attempt_revert
from export.tensorrt.builder import BatchRange, PlanBuilder, TensorRtUnavailable
from export.tensorrt.cache import SEAL_FILE, ForeignPlan, Key, PlanCache
from export.tensorrt.fake import MAGIC, FakeBuilder
from export.tensorrt.graph import cast_first, cast_last, for_tensorrt
from export.tensorrt.nvidia import check_version, find_builder
from export.tensorrt.swap import revert, swap_in
from service.engines.embedded import EmbeddedEngine
from service.engines.protocol import Job
from service.entry_config import read_entry, read_onnx_entry
from service.entry_files import CONFIG_FILE, ONNX_CONFIG_FILE, onnx_path, plan_path
from service.manifest import ModelCard, TensorRtPlan
from service.workers import Workers
from tests.small_entry import ROW_NAME, small_graph, write_small_entry

ROW: Row = find(ROW_NAME)
KEY = Key("a" * 64, "11.4.0", "9.0", BatchRange(1, 8, 32))


def quiet(step: str) -> None:
    pass


@pytest.fixture
def card(tmp_path: Path) -> ModelCard:
    return write_small_entry(tmp_path / "repository")


def plan_of(tmp_path: Path, *, force: bool = False) -> Plan:
    return Plan(tmp_path / "repository", Choice("first"), force, tensorrt=True, engines=tmp_path / "engines")


def attempt(tmp_path: Path, builder: FakeBuilder | None = None, name: str = ROW_NAME) -> Outcome:
    return attempt_plan(ROW, name, plan_of(tmp_path), builder or FakeBuilder(), quiet)


def wrong_at(builder: FakeBuilder, batch: int) -> None:
    builder.error, builder.wrong_batch = 0.2, batch


# --- where there is no TensorRT


@pytest.mark.skipif(importlib.util.find_spec("tensorrt") is not None, reason="TensorRT is installed here")
def test_without_the_package_one_sentence_says_so() -> None:
    with pytest.raises(TensorRtUnavailable) as err:
        find_builder()
    assert str(err.value) == (
        "no TensorRT here: the package tensorrt is not installed "
        "(python -m pip install -c constraints.txt -e '.[gpu]', in the clone)."
    )


LOOK = """
from export.tensorrt.nvidia import find_builder
from export.tensorrt.builder import TensorRtUnavailable
try:
    print("found", find_builder().target)
except TensorRtUnavailable as err:
    print(err)
"""


@pytest.mark.parametrize(
    ("version", "said"),
    [("11.4.0", r"no GPU answers \(cudaError\w+\)|cuda-bindings is not installed"), ("8.6.1", "not 10 or 11")],
)
def test_with_the_package_and_without_a_gpu_cuda_itself_is_asked(tmp_path: Path, version: str, said: str) -> None:
    """A package of that name and version on the path; CUDA's bindings are the real ones, where they are installed."""
    if Path("/dev/nvidiactl").exists():
        pytest.skip("there is a GPU here")
    (tmp_path / "tensorrt.py").write_text(f'__version__ = "{version}"\n')
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", LOOK], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    assert re.search(said, done.stdout), done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.parametrize("version", ["8.6.1", "9.3.0", "12.0.0", "1.0"])
def test_a_version_that_nobody_tried_is_refused(version: str) -> None:
    with pytest.raises(TensorRtUnavailable, match=f"version {version} is installed, not 10 or 11"):
        check_version(version)


@pytest.mark.parametrize("version", ["10.0.1", "11.4.0.106"])
def test_versions_that_are_known(version: str) -> None:
    check_version(version)


def nobody() -> PlanBuilder:
    raise TensorRtUnavailable("no TensorRT here: no GPU answers (cudaErrorNoDevice).")


def test_a_run_without_tensorrt_exports_all_the_same_and_says_it_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = sources_of(ROW, Choice("random"))[0]
    write_small_entry(tmp_path / "repository", recipe=recipe(ROW, source))
    plan = replace(plan_of(tmp_path), weights=Choice("random"))
    outcomes = run((ROW,), (), plan, Console(), nobody)
    assert [(outcome.name, outcome.state) for outcome in outcomes] == [
        (ROW_NAME, "up to date"),
        ("every plan", "skipped"),
    ]
    assert capsys.readouterr().out.count("no TensorRT here") == 1
    assert read_entry(tmp_path / "repository" / ROW_NAME).plan is None


# --- the graph


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def test_bytes_are_cast_before_anything_touches_them(tmp_path: Path, card: ModelCard) -> None:
    file = tmp_path / "graph.onnx"
    for_tensorrt(card, tmp_path / "repository", file)
    model = onnx.load(file)
    onnx.checker.check_model(model, full_check=True)
    assert operators(model)[:3] == ["Cast", "Transpose", "Mul"]
    assert operators(onnx.load(onnx_path(tmp_path / "repository" / ROW_NAME)))[:2] == ["Transpose", "Cast"]


def test_a_graph_that_casts_first_stays() -> None:
    model = small_graph()
    cast_first(model)
    before = model.SerializeToString()
    cast_first(model)
    assert model.SerializeToString() == before


def test_maps_of_bytes_are_made_by_way_of_fp32() -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["" : 18]> g (float[N,4,2,2] x) => (uint8[N,2,2] class_map)'
        "{ best = ArgMax <axis = 1, keepdims = 0> (x)\n class_map = Cast <to = 2> (best) }"
    )
    cast_last(model)
    onnx.checker.check_model(model, full_check=True)
    assert operators(model) == ["ArgMax", "Cast", "Cast"]
    assert [node.attribute[0].i for node in model.graph.node[1:]] == [1, 2]


def test_int8_for_tensorrt_is_signed_and_symmetric_with_float_biases(tmp_path: Path, card: ModelCard) -> None:
    graph = float_graph(onnx_path(tmp_path / "repository" / ROW_NAME))
    tensors = {name for node in graph.model.graph.node for name in node.output}
    measured = Measured(1, 1, False, 0, 0, "nobody")
    ranges = Ranges("", graph.structure, "none", dict.fromkeys(tensors, (-3.0, 5.0)), measured)
    for for_trt, file in ((True, tmp_path / "trt.onnx"), (False, tmp_path / "cpu.onnx")):
        quantise(graph, ranges, file, for_tensorrt=for_trt)
    model = onnx.load(tmp_path / "trt.onnx")
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    steps = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    zeros = [constants[node.input[2]] for node in steps]
    assert steps
    assert {zero.data_type for zero in zeros} == {onnx.TensorProto.INT8}
    assert not any(numpy_helper.to_array(zero).any() for zero in zeros)
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    assert constants[conv.input[2]].data_type == onnx.TensorProto.FLOAT
    others = {tensor.data_type for tensor in onnx.load(tmp_path / "cpu.onnx").graph.initializer}
    assert onnx.TensorProto.UINT8 in others  # what CPUs get is another graph


# --- the cache


@pytest.mark.parametrize(
    "changes",
    [
        {"onnx_sha256": "b" * 64},
        {"tensorrt": "11.4.1"},
        {"compute_capability": "8.9"},
        {"batches": BatchRange(1, 8, 16)},
        {"batches": BatchRange(1, 4, 32)},
    ],
)
def test_a_plan_is_for_exactly_its_graph_version_gpu_and_batches(tmp_path: Path, changes: dict[str, object]) -> None:
    cache = PlanCache(tmp_path)
    cache.keep(KEY, b"a plan")
    assert cache.find(KEY) == b"a plan"
    other = replace(KEY, **changes)  # type: ignore[arg-type]
    assert other.digest != KEY.digest
    assert cache.find(other) is None


def test_a_plan_that_was_put_there_by_somebody_else_is_refused_with_its_sha256(tmp_path: Path) -> None:
    ours, theirs = PlanCache(tmp_path / "ours"), PlanCache(tmp_path / "theirs")
    theirs.keep(KEY, b"their plan")
    (tmp_path / "theirs" / KEY.digest).rename(tmp_path / "ours" / KEY.digest)
    with pytest.raises(ForeignPlan, match=r"not built here \(sha256 [0-9a-f]{64}\)"):
        ours.find(KEY)


def test_a_plan_that_was_changed_is_refused(tmp_path: Path) -> None:
    cache = PlanCache(tmp_path)
    cache.keep(KEY, b"a plan")
    (tmp_path / KEY.digest / "model.plan").write_bytes(b"another")
    with pytest.raises(ForeignPlan, match="not built here"):
        PlanCache(tmp_path).find(KEY)
    cache.keep(KEY, b"a plan")
    assert PlanCache(tmp_path).find(KEY) == b"a plan"


def test_the_seal_is_the_owners_alone_and_the_folder_nobody_elses(tmp_path: Path) -> None:
    PlanCache(tmp_path)
    assert (tmp_path / SEAL_FILE).stat().st_mode & 0o077 == 0
    tmp_path.chmod(0o777)
    with pytest.raises(ForeignPlan, match="written by everybody"):
        PlanCache(tmp_path)


# --- build, judge, swap


def test_a_plan_is_built_judged_profiled_and_served(tmp_path: Path, card: ModelCard) -> None:
    builder = FakeBuilder()
    made = attempt(tmp_path, builder)
    assert made.state == "exported", made.reason
    entry = tmp_path / "repository" / ROW_NAME
    now = read_entry(entry)
    assert now == made.card
    assert (now.backend, now.version, now.device) == ("tensorrt", "2", "gpu")
    assert now.plan is not None
    assert (now.plan.tensorrt, now.plan.compute_capability) == ("11.4.0", "9.0")
    assert plan_path(entry, now).read_bytes().startswith(MAGIC)
    assert builder.built == [BatchRange(1, 8, 16)]
    assert {"plan_contract", "plan_cosine", "plan_finite", "plan_top1"} <= set(dict(now.verification))
    assert now.profile is not None
    assert now.profile.device == "Fake GPU, tensorrt 11.4.0"
    assert read_onnx_entry(entry) == card
    text = (entry / CONFIG_FILE).read_text()
    assert 'default_model_filename: "model.plan"' in text
    assert "KIND_GPU" in text


def test_the_second_run_changes_nothing_and_another_gpu_takes_the_next_version(tmp_path: Path, card: ModelCard) -> None:
    entry, builder = tmp_path / "repository" / ROW_NAME, FakeBuilder()
    attempt(tmp_path, builder)
    assert attempt(tmp_path, builder).state == "up to date"
    assert len(builder.built) == 1
    other = attempt(tmp_path, FakeBuilder(compute_capability="8.9"))
    assert other.state == "exported", other.reason
    assert read_entry(entry).version == "3"
    assert sorted(path.name for path in entry.iterdir()) == ["1", "3", ONNX_CONFIG_FILE, CONFIG_FILE]
    assert read_onnx_entry(entry) == card
    revert(entry)
    again = attempt(tmp_path, builder)
    assert again.state == "exported", again.reason
    assert len(builder.built) == 1  # from the cache


@pytest.mark.parametrize(
    ("spoil", "gate"),
    [
        (lambda builder: setattr(builder, "error", 0.2), "plan_cosine"),
        (lambda builder: setattr(builder, "error", float("nan")), "plan_finite"),
        (lambda builder: wrong_at(builder, 1), "plan_cosine"),
        (lambda builder: wrong_at(builder, 7), "plan_cosine"),
        (lambda builder: setattr(builder, "refuses", "no such operator"), "no such operator"),
    ],
)
def test_a_plan_that_answers_otherwise_is_not_served_and_not_kept(
    tmp_path: Path, card: ModelCard, spoil: Callable[[FakeBuilder], None], gate: str
) -> None:
    builder = FakeBuilder()
    spoil(builder)
    refused = attempt(tmp_path, builder)
    assert refused.state == "failed"
    assert gate in refused.reason
    assert refused.command == f"vision-export lenet5 --tensorrt --repository {tmp_path / 'repository'}"
    entry = tmp_path / "repository" / ROW_NAME
    assert read_entry(entry) == card
    assert sorted(path.name for path in entry.iterdir()) == ["1", CONFIG_FILE]
    assert [path.name for path in (tmp_path / "engines").iterdir()] == [SEAL_FILE]


def test_a_plan_from_elsewhere_in_the_entry_is_refused_until_told_what_to_do(tmp_path: Path, card: ModelCard) -> None:
    entry = tmp_path / "repository" / ROW_NAME
    attempt(tmp_path)
    plan_path(entry, read_entry(entry)).write_bytes(b"somebody's code")
    refused = attempt(tmp_path)
    assert refused.state == "failed"
    assert "2/model.plan was not built by this host's cache (sha256 " in refused.reason
    assert "--no-tensorrt" in refused.reason
    moved = attempt_plan(
        ROW, ROW_NAME, replace(plan_of(tmp_path), engines=tmp_path / "another host"), FakeBuilder(), quiet
    )
    assert moved.state == "failed"
    back = attempt_revert(ROW, ROW_NAME, plan_of(tmp_path), quiet)
    assert (back.state, back.reason) == ("exported", "ONNX Runtime answers again")
    assert read_entry(entry) == card
    assert sorted(path.name for path in entry.iterdir()) == ["1", CONFIG_FILE]
    assert attempt_revert(ROW, ROW_NAME, plan_of(tmp_path), quiet).state == "up to date"


def test_who_reads_the_entry_during_swaps_sees_a_whole_one(tmp_path: Path, card: ModelCard) -> None:
    """As Triton reads it: the config first, then the file that it names."""
    entry = tmp_path / "repository" / ROW_NAME
    seen, broken, over = set[str](), list[str](), threading.Event()

    def look() -> None:
        while not over.is_set():
            now = read_entry(entry)
            seen.add(now.backend)
            file = onnx_path(entry) if now.plan is None else plan_path(entry, now)
            try:
                content = file.read_bytes()
            except FileNotFoundError:
                # It went since: then the config must say something else by now.
                if read_entry(entry).version == now.version and not over.is_set():
                    broken.append(f"{file} is not there")
                continue
            if now.plan is not None and content != b"plan " + now.plan.sha256.encode():
                broken.append(f"{file} is not what the config says")

    reader = threading.Thread(target=look)
    reader.start()
    for number in range(60):
        plan = TensorRtPlan(str(number), "key", "11.4.0", "9.0", str(2 + number % 3))
        served = replace(card, backend="tensorrt", device="gpu", plan=plan)
        if number % 3 == 0:
            revert(entry)
        swap_in(entry, served, b"plan " + str(number).encode())
    over.set()
    reader.join()
    assert not broken
    assert seen == {"onnxruntime", "tensorrt"}


def test_a_killed_swap_leaves_onnx_runtime_answering(tmp_path: Path, card: ModelCard) -> None:
    """The version folder is there, the config does not name it: Triton and we serve version 1; the next run goes on."""
    entry = tmp_path / "repository" / ROW_NAME
    (entry / "2").mkdir()
    (entry / "2" / "model.plan").write_bytes(b"half")
    assert read_entry(entry) == card
    assert "versions: 1\n" in (entry / CONFIG_FILE).read_text()
    made = attempt(tmp_path)
    assert made.state == "exported", made.reason
    assert read_entry(entry).version == "3"
    assert not (entry / "2").exists()


async def test_the_embedded_engine_serves_the_onnx_file_beside_a_plan(tmp_path: Path, card: ModelCard) -> None:
    attempt(tmp_path)
    engine = EmbeddedEngine(tmp_path / "repository", Workers(1))
    await engine.open()
    try:
        assert await engine.cards() == [card]
        outputs = await engine.infer(Job(ROW_NAME, np.zeros((1, 32, 32, 3), np.uint8), ("probabilities",)))
        assert outputs.arrays["probabilities"].shape == (1, 10)
    finally:
        await engine.close()


def test_a_run_makes_the_plans_of_an_entry_and_its_variants(tmp_path: Path) -> None:
    source = sources_of(ROW, Choice("random"))[0]
    write_small_entry(tmp_path / "repository", recipe=recipe(ROW, source))
    plan = replace(plan_of(tmp_path), weights=Choice("random"), fp16=frozenset({ROW_NAME}))
    outcomes = run((ROW,), (), plan, Console(quiet=True), FakeBuilder)
    assert [(outcome.name, outcome.state) for outcome in outcomes] == [
        ("lenet5", "up to date"),
        ("lenet5_fp16", "exported"),
        ("lenet5 plan", "exported"),
        ("lenet5_fp16 plan", "exported"),
    ]
    half = read_entry(tmp_path / "repository" / "lenet5_fp16")
    assert dict(half.verification)["plan_cosine"].endswith("≥ 0.999")
    assert plan_path(tmp_path / "repository" / half.name, half).is_file()

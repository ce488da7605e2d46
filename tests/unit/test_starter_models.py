"""The shipped heads as ONNX: the contract, a dynamic batch, and the same answers as torch on real pictures."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import skimage.data
import torch
from torch import nn

from export.cache import weights_folder
from export.errors import SourceUnreachable
from export.heads.nms import keep_best, translation_table
from export.starter.backbone import fetch_weights, package
from export.starter.models import (
    PEOPLE_SIZES_HW,
    SCENE_SIZES_HW,
    detect_module,
    instance_module,
    segment_module,
)
from export.starter.placements import letterbox
from service.entry_files import file_sha256

PEOPLE = ["boxes", "scores", "classes"]
FACTORIES: dict[str, tuple[Callable[[tuple[int, int]], nn.Module], list[str]]] = {
    "detect": (detect_module, PEOPLE),
    "instance": (instance_module, [*PEOPLE, "masks"]),
    "segment": (segment_module, ["class_map"]),
}
CASES = [(task, size_hw) for task in ("detect", "instance") for size_hw in PEOPLE_SIZES_HW]
CASES += [("segment", size_hw) for size_hw in SCENE_SIZES_HW]
pytestmark = pytest.mark.filterwarnings("ignore")  # the exporter's own deprecations


@pytest.fixture(scope="module", autouse=True)
def _weights() -> None:
    try:
        fetch_weights()
    except SourceUnreachable as err:
        pytest.skip(str(err))


def test_the_backbone_lies_with_all_other_weights() -> None:
    """Not beside the code: installed, that is a folder which only root may write to."""
    found = fetch_weights()
    assert found.parent == weights_folder()
    assert file_sha256(found) == package().sha256


def photographs(count: int, size_hw: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """(count, H, W, 3) uint8: real photographs, letterboxed, some mirrored."""
    names = ["astronaut", "chelsea", "coffee", "rocket"]
    pictures = [getattr(skimage.data, name)() for name in names]
    views = [letterbox(p, size_hw)[0] for p in pictures]
    views += [np.ascontiguousarray(v[:, ::-1]) for v in views]
    return np.stack(views[:count])


def export(module: nn.Module, size_hw: tuple[int, int], names: list[str], path: Path) -> onnx.ModelProto:
    """The module as ONNX at `path`, opset 18, batch dynamic."""
    program = torch.onnx.export(
        module,
        (torch.from_numpy(photographs(2, size_hw)),),
        dynamo=True,
        opset_version=18,
        input_names=["image"],
        output_names=names,
        dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
        custom_translation_table=translation_table(),
        verbose=False,
    )
    assert program is not None
    program.save(path)
    return onnx.load(path)


@pytest.mark.slow
@pytest.mark.parametrize(("task", "size_hw"), CASES)
def test_onnx_answers_as_torch_at_every_batch(task: str, size_hw: tuple[int, int], tmp_path: Path) -> None:
    factory, names = FACTORIES[task]
    module = factory(size_hw)
    graph = export(module, size_hw, names, tmp_path / "model.onnx").graph
    assert all(v.type.tensor_type.shape.dim[0].dim_param == "batch" for v in [*graph.input, *graph.output])
    assert "BatchNormalization" not in {node.op_type for node in graph.node}
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for batch in (1, 2, 7):
        image = photographs(batch, size_hw)
        answers = dict(zip(names, session.run(names, {"image": image}), strict=True))
        with torch.inference_mode():
            outputs = module(torch.from_numpy(image))
        expected = outputs if isinstance(outputs, tuple) else (outputs,)
        for name, tensor in zip(names, expected, strict=True):
            assert answers[name].dtype == tensor.numpy().dtype
            assert answers[name].shape == tuple(tensor.shape)
        if task == "segment":
            assert (answers["class_map"] == expected[0].numpy()).mean() >= 0.999
        else:
            assert_same_people(answers, [t.numpy() for t in expected])


def assert_same_people(answers: dict[str, npt.NDArray[np.float32]], expected: list[npt.NDArray[np.float32]]) -> None:
    """Scores within 1e-4; boxes and masks too wherever the order can't hang on the last bit of a score."""
    assert np.abs(answers["scores"] - expected[1]).max() < 1e-4
    gaps = np.abs(np.diff(expected[1], axis=1, prepend=2.0, append=-1.0))
    clear = (np.minimum(gaps[:, :-1], gaps[:, 1:]) > 1e-5) & (expected[1] > 0.05)
    assert clear.any()
    assert np.abs(answers["boxes"] - expected[0])[clear].max() < 1e-4
    if "masks" in answers:
        assert np.abs(answers["masks"] - expected[3])[clear].max() < 1e-3


def test_the_astronaut_is_a_person_and_the_cup_is_not() -> None:
    with torch.inference_mode():
        boxes, scores, classes = detect_module((384, 384))(torch.from_numpy(photographs(3, (384, 384))))
    assert boxes.shape == (3, 100, 4)
    assert boxes.min() >= 0
    assert boxes.max() <= 1
    assert (scores.diff(dim=1) <= 0).all()
    assert classes.dtype == torch.int32
    assert not classes.any()
    assert scores[0, 0] > 0.3 > scores[2, 0]


def test_groups_do_not_suppress_each_other_and_empty_slots_score_zero() -> None:
    boxes = torch.tensor([[[0.0, 0, 1, 1], [0, 0, 1, 0.95], [0, 0, 1, 1], [2, 2, 3, 3]]])
    scores = torch.tensor([[0.9, 0.8, 0.7, 0.0]])
    index, kept = keep_best(boxes, scores, torch.tensor([[0, 0, 1, 0]]), 2, 0.5, 4)
    assert kept[0].tolist() == pytest.approx([0.9, 0.7, 0.0, 0.0])
    assert index[0, :2].tolist() == [0, 2]

"""A detector or segmenter, from the network with its weights to a graph that has passed every gate."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from onnx_ir.passes import PassManager
from onnx_ir.passes import common as passes
from PIL import Image, ImageOps
from torch import nn

from export.catalogue.row import Row
from export.external_data import external_data_result
from export.for_serving import for_serving
from export.heads import nms, roi_pool
from export.heads.by_name import graph_of
from export.heads.located import LocatedGraph
from export.lively import lively
from export.optimise import optimise
from export.photographs import photographs
from export.reference import Arrays, Reference
from export.save import save
from export.starter.placements import letterbox
from export.steps import Say
from export.to_onnx import Translations, to_onnx
from export.upstream import cut_by
from export.verified import Verified
from export.verify_located import verify_located
from service.entry_files import onnx_path
from service.manifest import ResizeRule, TensorSpec

_DTYPES = {torch.float32: "FP32", torch.int32: "INT32", torch.uint8: "UINT8"}
_TAPPED = "tapped"


def make_located(row: Row, module: nn.Module, untrained: bool, entry: Path, say: Say) -> Verified:
    """Writes the entry's ONNX file and judges it. Raises GraphError or GateFailure.

    untrained   the weights are random numbers: made such that something is found
    """
    say("reference")
    graph = graph_of(row, for_serving(module))
    pixels = pictures(row.resize, row.gate_pictures)
    if untrained:
        lively(graph, pixels)
    reference = reference_of(graph, pixels)
    outputs, taps = _specs(graph, row.resize.size_hw)
    say("to ONNX")
    names = (*graph.outputs, *graph.taps)
    model = to_onnx(graph, row.resize.size_hw, names, translations(), trace_first=row.exporter == "trace")
    say("optimise")
    tapped = entry / _TAPPED
    onnx_path(tapped).parent.mkdir(parents=True)
    with_shapes(optimise(model, traced=row.exporter == "trace"), (*outputs, *taps))
    save(model, tapped)
    save(without_taps(model, graph), entry)
    say("verify")
    results = verify_located(onnx_path(tapped), onnx_path(entry), outputs, taps, reference)
    for file in onnx_path(tapped).parent.iterdir():
        file.unlink()
    onnx_path(tapped).parent.rmdir()
    tapped.rmdir()
    return Verified(graph, reference, outputs, results + external_data_result(entry))


def translations() -> Translations:
    """How the operators become ONNX that the exporter does not know, or knows wrong."""
    return {**nms.translation_table(), **roi_pool.translation()}


def pictures(rule: ResizeRule, count: int) -> NDArray[np.uint8]:
    """(count, H, W, 3): real photographs, at most seven, by the row's rule; the last is the first one mirrored."""
    found = photographs()
    found = (*found[: count - 1], ImageOps.mirror(found[0]))
    return np.stack([_placed(picture, rule) for picture in found])


def _placed(picture: Image.Image, rule: ResizeRule) -> NDArray[np.uint8]:
    if rule.mode == "letterbox":
        canvas: NDArray[np.uint8] = letterbox(np.asarray(picture), rule.size_hw)[0]
        return canvas
    chw = np.asarray(cut_by(rule)(picture), dtype=np.float64)  # (3, H, W)
    return np.rint(chw.transpose(1, 2, 0) * 255).astype(np.uint8)


def reference_of(graph: LocatedGraph, pixels: NDArray[np.uint8]) -> Reference:
    """What torch gives for the pictures, in float64 and in float32."""
    return Reference(pixels, _answers(copy.deepcopy(graph).double(), pixels), _answers(graph, pixels), graph.inner_step)


def _answers(graph: LocatedGraph, pixels: NDArray[np.uint8]) -> Arrays:
    """Picture by picture: the largest take gigabytes each in float64."""
    with torch.inference_mode():
        rows = [graph(torch.from_numpy(pixels[i : i + 1])) for i in range(len(pixels))]
    names = (*graph.outputs, *graph.taps)
    return {
        name: torch.cat(tensors).double().numpy() for name, tensors in zip(names, zip(*rows, strict=True), strict=True)
    }


def with_shapes(model: ir.Model, specs: tuple[TensorSpec, ...]) -> None:
    """Declares what the specs promise, where the exporter could not work it out. The gates check what really comes."""
    for value, spec in zip(model.graph.outputs, specs, strict=True):
        if value.shape is None or list(value.shape)[1:] != list(spec.dims):
            value.shape = ir.Shape(["batch", *spec.dims])


def without_taps(model: ir.Model, graph: LocatedGraph) -> ir.Model:
    """The same graph with the contract's outputs alone."""
    del model.graph.outputs[len(graph.outputs) :]
    PassManager([passes.RemoveUnusedNodesPass()])(model)
    return model


def _specs(graph: LocatedGraph, size_hw: tuple[int, int]) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """The outputs and the taps, as torch gives them for one picture."""
    with torch.inference_mode():
        tensors = graph(torch.zeros((1, *size_hw, 3), dtype=torch.uint8))
    names = (*graph.outputs, *graph.taps)
    specs = [TensorSpec(n, _DTYPES[t.dtype], tuple(t.shape[1:])) for n, t in zip(names, tensors, strict=True)]
    return tuple(specs[: len(graph.outputs)]), tuple(specs[len(graph.outputs) :])

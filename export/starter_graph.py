"""The starter models as graphs under the contract, with the numbers before the last step kept for the gates.

What decides is a threshold, a suppression or an argmax, and hides small errors or makes them large. So the graph is
first made with a second set of outputs, before that step, and judged on those; then they are cut off.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from onnx_ir.passes import PassManager
from onnx_ir.passes import common as passes
from torch import Tensor, nn

from export.catalogue.row import Row
from export.photographs import photographs
from export.reference import Arrays, Reference
from export.starter.backbone import normalise, run_stages
from export.starter.models import PeopleBoxes, PeopleMasks, Scenes, detect_module, instance_module, segment_module
from export.starter.placements import letterbox


@dataclass(frozen=True, slots=True)
class Graph:
    """outputs: what the contract asks for      taps: what the gates look at as well"""

    module: nn.Module
    outputs: tuple[str, ...]
    taps: tuple[str, ...]


class TappedBoxes(nn.Module):
    """boxes, scores, classes; then the logits (N, P) and boxes (N, P, 4) of every point."""

    def __init__(self, model: PeopleBoxes) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        dense = self.model.head(run_stages(self.model.frozen, _pixels(image, self)))
        boxes, scores = self.model.select(dense)
        return boxes / self.model.scale, scores, _nothing_but_people(scores), dense.logits, dense.boxes


class TappedMasks(nn.Module):
    """boxes, scores, classes, masks; then the logits and boxes of every point."""

    def __init__(self, model: PeopleMasks) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        detector = self.model.boxes
        maps = run_stages(detector.frozen, _pixels(image, self))
        dense = detector.head(maps)
        boxes, scores = detector.select(dense)
        rows = torch.arange(boxes.shape[0], dtype=boxes.dtype)
        rois = torch.cat([rows[:, None, None].expand(-1, boxes.shape[1], 1), boxes], -1).reshape(-1, 5)
        masks = self.model.masks(maps, rois).sigmoid()  # (N·K, 28, 28)
        masks = masks.reshape(-1, boxes.shape[1], *masks.shape[1:])  # (N, K, 28, 28)
        return boxes / detector.scale, scores, _nothing_but_people(scores), masks, dense.logits, dense.boxes


class TappedScenes(nn.Module):
    """class_map; then the logits (N, C, H / 4, W / 4)."""

    def __init__(self, model: Scenes) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        logits = self.model.head(run_stages(self.model.frozen, _pixels(image, self)))
        full = F.interpolate(logits, scale_factor=4, mode="bilinear", align_corners=False)
        return full.argmax(1).to(torch.uint8), logits


def _pixels(image: Tensor, module: nn.Module) -> Tensor:
    """As export.starter normalises them, in the module's own precision."""
    return normalise(image).to(next(module.parameters()).dtype)


def _nothing_but_people(scores: Tensor) -> Tensor:
    return torch.zeros_like(scores, dtype=torch.int32)


def graph_of(row: Row) -> Graph:
    """The row's model, read from the shipped heads."""
    things, dense = ("boxes", "scores", "classes"), ("logits", "points")
    match row.network.constructor:
        case "detect":
            return Graph(TappedBoxes(detect_module(row.resize.size_hw)).eval(), things, dense)
        case "instance":
            return Graph(TappedMasks(instance_module(row.resize.size_hw)).eval(), (*things, "masks"), dense)
        case "segment":
            return Graph(TappedScenes(segment_module(row.resize.size_hw)).eval(), ("class_map",), ("logits",))
    raise ValueError(f"there is no starter model {row.network.constructor!r}. This is a bug.")


def reference_of(graph: Graph, size_hw: tuple[int, int]) -> Reference:
    """What torch gives for seven real pictures, in float64 and in float32."""
    pixels = seven_letterboxed(size_hw)
    return Reference(
        pixels, _answers(copy.deepcopy(graph.module).double(), graph, pixels), _answers(graph.module, graph, pixels)
    )


def seven_letterboxed(size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """(7, H, W, 3): the six photographs, and the first one mirrored."""
    pictures = [np.asarray(picture) for picture in photographs()]
    pictures.append(np.ascontiguousarray(pictures[0][:, ::-1]))
    return np.stack([letterbox(picture, size_hw)[0] for picture in pictures])


def _answers(module: nn.Module, graph: Graph, pixels: NDArray[np.uint8]) -> Arrays:
    with torch.inference_mode():
        outputs = module(torch.from_numpy(pixels))
    names = (*graph.outputs, *graph.taps)
    return {name: tensor.double().numpy() for name, tensor in zip(names, outputs, strict=True)}


def without_taps(model: ir.Model, graph: Graph) -> ir.Model:
    """The same graph with the contract's outputs alone."""
    del model.graph.outputs[len(graph.outputs) :]
    PassManager([passes.RemoveUnusedNodesPass()])(model)
    return model

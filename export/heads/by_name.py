"""Name → what puts a detector or segmenter of that kind under the graph contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType

from torch import nn

from export.catalogue.row import Row
from export.heads.located import LocatedGraph

Wrapper = Callable[[nn.Module, Row], LocatedGraph]


def _from(file: str, name: str) -> Wrapper:
    """A wrapper that imports its file at the first call: each brings a library."""

    def wrap(module: nn.Module, row: Row) -> LocatedGraph:
        wrapper: Wrapper = getattr(import_module(f"export.heads.{file}"), name)
        return wrapper(module, row)

    return wrap


HEADS: Mapping[str, Wrapper] = MappingProxyType(
    {
        "ssd": _from("one_stage", "Ssd"),
        "retinanet": _from("one_stage", "OneStage"),
        "fcos": _from("one_stage", "Fcos"),
        "faster_rcnn": _from("two_stage", "TwoStage"),
        "mask_rcnn": _from("two_stage", "TwoStageMasks"),
        "queries": _from("queries", "Queries"),
        "deformable_queries": _from("queries", "DeformableQueries"),
        "detr_panoptic": _from("query_masks", "DetrPanoptic"),
        "maskformer_panoptic": _from("query_masks", "MaskFormerPanoptic"),
        "oneformer_panoptic": _from("query_masks", "OneFormerPanoptic"),
        "mask2former_panoptic": _from("query_masks", "Mask2FormerPanoptic"),
        "mask2former_instance": _from("query_masks", "Mask2FormerInstance"),
        "mask2former_semantic": _from("query_masks", "Mask2FormerSemantic"),
        "semantic": _from("semantic", "Semantic"),
        "edges": _from("semantic", "Edges"),
        "unet_2015": _from("semantic", "ValidUNet"),
        "yolo_v1": _from("yolo", "ReadV1"),
        "yolo_v2": _from("yolo", "ReadV2"),
        "yolo_v3": _from("yolo", "ReadV3"),
        "rcnn": _from("windows", "Windows"),
        "mobiledet": _from("mobiledet", "MobileDetBoxes"),
        "max_deeplab": _from("max_deeplab", "MaxDeepLabMaps"),
        "panoptic_fpn": _from("panoptic_fpn", "PanopticFpnMaps"),
        "tsp_fcos": _from("tsp", "TspFcosBoxes"),
        "tsp_rcnn": _from("tsp_rcnn", "TspRcnnBoxes"),
        "torchvision_semantic": _from("semantic", "TorchvisionSemantic"),
    }
)
# The starter rows name no head: their constructors are heads.
STARTERS: Mapping[str, Wrapper] = MappingProxyType(
    {
        "detect": _from("starter", "StarterBoxes"),
        "instance": _from("starter", "StarterMasks"),
        "segment": _from("starter", "StarterScenes"),
    }
)


def graph_of(row: Row, module: nn.Module) -> LocatedGraph:
    """The row's network under the contract, in eval mode."""
    network = row.network
    wrap = STARTERS[network.constructor] if network.library == "starter" else HEADS[network.head]
    # A detector is not trained here; and the counting of FLOPs trips over parameters that are passed on as inputs.
    return wrap(module, row).eval().requires_grad_(False)

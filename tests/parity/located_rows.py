"""Rows of detectors and segmenters small enough for every day: the same code, fewer layers, fewer pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from export.catalogue.registry import CATALOGUE
from export.catalogue.row import Argument, Row
from export.export_row import Measured, _card, make_graph
from export.sources import RandomWeights
from export.weights import load
from service.entry_config import write_entry
from service.entry_files import onnx_path
from service.manifest import Profile, ResizeRule

LOCATED = {n: row for n, row in CATALOGUE.items() if row.task != "classify" and row.network.library != "starter"}

_TRANSFORMER: dict[str, Argument] = {
    "backbone": "resnet18",
    "encoder_layers": 1,
    "decoder_layers": 2,
    "d_model": 64,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "encoder_attention_heads": 8,
    "decoder_attention_heads": 8,
    "num_queries": 40,
}
_MASKS: dict[str, Argument] = {"encoder_layers": 1, "decoder_layers": 2, "num_queries": 30}
_VIT: dict[str, Argument] = {"vit": "vit_tiny_patch16_224", "size_px": 128}


def _small(name: str, side_px: int, **arguments: Argument) -> Row:
    row = LOCATED[name]
    network = replace(row.network, arguments=tuple({**dict(row.network.arguments), **arguments}.items()))
    resize = ResizeRule(row.resize.mode, (side_px, side_px))
    return replace(row, name=f"small_{name}", network=network, resize=resize, gate_pictures=3)


# One of each head, for the default run.
EVERY_DAY = {
    row.name: row
    for row in (
        _small("ssdlite320_mobilenet_v3_large", 320),
        _small("fasterrcnn_mobilenet_v3_large_320_fpn", 160),
        _small("lraspp_mobilenet_v3_large", 128),
        _small("detr_resnet50", 128, **_TRANSFORMER),
        _small("mask2former_swin_tiny_panoptic", 128, **_MASKS),
        _small("unet_resnet34", 128),
        _small("yolo_v3", 128),
    )
}
# The other heads, with `-m slow`: minutes together.
NOT_EVERY_DAY = {
    row.name: row
    for row in (
        _small("retinanet_resnet50_fpn", 160),
        _small("fcos_resnet50_fpn", 160),
        _small("maskrcnn_resnet50_fpn", 160),
        _small("detr_resnet50_panoptic", 128, **_TRANSFORMER),
        _small("deformable_detr_resnet50", 128, **_TRANSFORMER),
        _small("deformable_detr_resnet50_refine", 128, **_TRANSFORMER),
        _small("deformable_detr_resnet50_two_stage", 128, **_TRANSFORMER, two_stage_num_proposals=40),
        _small("mask2former_swin_tiny_instance", 128, **_MASKS),
        _small("mask2former_swin_tiny_semantic", 128, **_MASKS),
        _small("oneformer_swin_large_panoptic", 128, swin="tiny", **_MASKS),
        _small("maskformer_swin_base_panoptic", 128, swin="tiny", decoder_layers=2),
        _small("segformer_b0", 128),
        _small("unet_resnet34_edges", 128),
        _small("setr_mla_vit_large", 128, **_VIT),
        _small("yolo_v1", 448, width=256),
        _small("yolo_v2", 128),
        # Smaller, the last maps have one cell, and BatchNorm measures three numbers.
        _small("ssdlite_mobiledet_edgetpu", 320),
        # Smaller, there is never enough of any stuff.
        _small("panoptic_fpn_resnet50", 256, proposals=150, things=20),
        # Sides of 16 · k + 1, as the authors have them.
        _small("max_deeplab_s", 129, slots=16, width=16),
        _small("tsp_fcos_resnet50", 160, backbone="resnet18", layers=2),
        _small("tsp_rcnn_resnet50", 160, backbone="resnet18", layers=2, proposals=60, things=20),
        # In a smaller picture neighbouring windows see exactly the same, and which of them stays is chance.
        _small("fast_rcnn_vgg16", 384),
        _small("rcnn_alexnet", 256),
    )
}


@dataclass(frozen=True, slots=True)
class Made:
    """An entry that has passed every gate, and the library's module with the very weights that are in it."""

    row: Row
    module: nn.Module
    entry: Path
    gates: dict[str, str]


def make_entry(row: Row, repository: Path) -> Made:
    """A whole entry of seeded random weights, but for its profile: nobody waits for that here."""
    entry = repository / row.name
    onnx_path(entry).parent.mkdir(parents=True)
    loaded = load(row, (RandomWeights(),))
    graph = make_graph(row, loaded, entry, lambda step: None)
    profile = Profile("not measured", 1.0, 1.0, ((1, 2.0),))
    write_entry(_card(row, loaded, Measured(graph.outputs, 1, 1, graph.results, profile), entry), entry)
    return Made(row, loaded.module, entry, dict(graph.results))

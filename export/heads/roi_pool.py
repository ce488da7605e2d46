"""torchvision's RoIPool as ONNX: `MaxRoiPool`. onnxscript's own translation does not know all of its arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torchvision  # noqa: F401 - registers torch.ops.torchvision
from onnxscript import opset18 as op


def _to_onnx(maps: Any, rois: Any, spatial_scale: float, pooled_height: int, pooled_width: int) -> Any:
    pooled = op.MaxRoiPool(maps, rois, pooled_shape=[pooled_height, pooled_width], spatial_scale=spatial_scale)
    return pooled, op.Identity(pooled)  # the second result says where the largest was; nobody reads it


def translation() -> dict[Callable[..., Any], Callable[..., Any]]:
    return {torch.ops.torchvision.roi_pool.default: _to_onnx}

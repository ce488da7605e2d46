"""A detector with masks and a panoptic segmenter of a few weights each, with the taps that the gates look at.

What they find means nothing; that each answer hangs on the picture's pixels is what the gates' tests need.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx.parser
from numpy.typing import NDArray
from onnx import numpy_helper

from service.manifest import TensorSpec

SIDE_PX, CELLS, THINGS, MASK_SIDE, CLASSES = 32, 8, 12, 4, 5
POINTS = CELLS * CELLS

_BEGINNING = """
    planes = Transpose<perm=[0, 3, 1, 2]>(image)
    numbers = Cast<to=1>(planes)
    scaled = Mul(numbers, scale)
    x = Sub(scaled, shift)
"""
_DETECTOR = f"""
<ir_version: 8, opset_import: ["" : 18]>
detector (uint8[batch, {SIDE_PX}, {SIDE_PX}, 3] image)
  => (float[batch, {THINGS}, 4] boxes, float[batch, {THINGS}] scores, int32[batch, {THINGS}] classes,
      float[batch, {THINGS}, {MASK_SIDE}, {MASK_SIDE}] masks,
      float[batch, {POINTS}] logits, float[batch, {POINTS}, 4] points) {{
    {_BEGINNING}
    features = Conv<strides=[4, 4]>(x, weight, bias)
    flat = Reshape(features, by_point)
    table = Transpose<perm=[0, 2, 1]>(flat)
    score_column = Slice(table, zero, one, last_axis)
    logits = Squeeze(score_column, last_axis)
    side_columns = Slice(table, one, five, last_axis)
    sides = Sigmoid(side_columns)
    spread = MatMul(sides, to_edges)
    points = Add(spread, centres)
    best, index = TopK<axis=1>(logits, count)
    scores = Sigmoid(best)
    column = Unsqueeze(index, last_axis)
    four = Expand(column, shape_of_four)
    boxes = GatherElements<axis=1>(points, four)
    kind_columns = Slice(table, five, ten, last_axis)
    kinds = ArgMax<axis=2, keepdims=0>(kind_columns)
    chosen = GatherElements<axis=1>(kinds, index)
    classes = Cast<to=6>(chosen)
    mask_columns = Slice(table, ten, end, last_axis)
    sixteen = Expand(column, shape_of_sixteen)
    cells = GatherElements<axis=1>(mask_columns, sixteen)
    squares = Reshape(cells, by_mask)
    masks = Sigmoid(squares)
}}
"""
_SEGMENTER = f"""
<ir_version: 8, opset_import: ["" : 18]>
segmenter (uint8[batch, {SIDE_PX}, {SIDE_PX}, 3] image)
  => (uint8[batch, {CELLS}, {CELLS}] class_map, uint8[batch, {CELLS}, {CELLS}] segment_map,
      float[batch, {CLASSES}, {CELLS}, {CELLS}] logits) {{
    {_BEGINNING}
    features = Conv<strides=[4, 4]>(x, weight, bias)
    logits = Slice(features, zero, five, second_axis)
    winner = ArgMax<axis=1, keepdims=0>(logits)
    class_map = Cast<to=2>(winner)
    others = Slice(features, five, end, second_axis)
    part = ArgMax<axis=1, keepdims=0>(others)
    segment_map = Cast<to=2>(part)
}}
"""
THING_SPECS = (
    TensorSpec("boxes", "FP32", (THINGS, 4)),
    TensorSpec("scores", "FP32", (THINGS,)),
    TensorSpec("classes", "INT32", (THINGS,)),
    TensorSpec("masks", "FP32", (THINGS, MASK_SIDE, MASK_SIDE)),
)
THING_TAPS = (TensorSpec("logits", "FP32", (POINTS,)), TensorSpec("points", "FP32", (POINTS, 4)))
MAP_SPECS = tuple(TensorSpec(name, "UINT8", (CELLS, CELLS)) for name in ("class_map", "segment_map"))
MAP_TAPS = (TensorSpec("logits", "FP32", (CLASSES, CELLS, CELLS)),)


def detector() -> onnx.ModelProto:
    """boxes, scores, classes, masks; then the logits and boxes of every point."""
    channels = 10 + MASK_SIDE**2
    # Of the four sides (left, top, right, bottom) in 0..1 the edges of a box around its point.
    to_edges = np.diag([-0.2, -0.1, 0.2, 0.1])
    at = (np.arange(CELLS) + 0.5) / CELLS
    x, y = np.meshgrid(0.3 + 0.4 * at, 0.2 + 0.6 * at)
    centres = np.stack([x, y, x, y], axis=-1).reshape(1, POINTS, 4) + np.array([-0.05, -0.02, 0.05, 0.02])
    more = {
        "to_edges": to_edges.astype(np.float32),
        "centres": centres.astype(np.float32),
        "by_point": np.array([0, channels, POINTS]),
        "by_mask": np.array([-1, THINGS, MASK_SIDE, MASK_SIDE]),
        "count": np.array([THINGS]),
        "shape_of_four": np.array([1, 1, 4]),
        "shape_of_sixteen": np.array([1, 1, MASK_SIDE**2]),
        "last_axis": np.array([2]),
        "one": np.array([1]),
        "ten": np.array([10]),
    }
    return _model(_DETECTOR, channels, more)


def segmenter() -> onnx.ModelProto:
    """class_map, segment_map; then the logits."""
    return _model(_SEGMENTER, 2 * CLASSES, {"second_axis": np.array([1])})


def _model(text: str, channels: int, more: dict[str, NDArray[Any]]) -> onnx.ModelProto:
    random = np.random.default_rng(3)
    constants: dict[str, NDArray[Any]] = {
        "scale": np.array([1 / 58, 1 / 57, 1 / 56], np.float32).reshape(1, 3, 1, 1),
        "shift": np.array([2.1, 2.0, 1.8], np.float32).reshape(1, 3, 1, 1),
        "weight": random.normal(0, 0.3, (channels, 3, 4, 4)).astype(np.float32),
        "bias": random.normal(0, 0.3, channels).astype(np.float32),
        "zero": np.array([0]),
        "five": np.array([5]),
        "end": np.array([channels]),
        **more,
    }
    model = onnx.parser.parse_model(text)
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    onnx.checker.check_model(model, full_check=True)
    return model


def noisy_pixels(count: int = 7, seed: int = 0) -> NDArray[np.uint8]:
    """(N, H, W, 3) uint8, brighter to the right and redder below, so that a turned picture is another one."""
    random = np.random.default_rng(seed)
    right, below = np.meshgrid(np.linspace(0, 90, SIDE_PX), np.linspace(0, 60, SIDE_PX))
    ramp = np.stack([right + below, right, right - below / 2], axis=-1)
    noise = random.integers(0, 140, (count, SIDE_PX, SIDE_PX, 3))
    pixels: NDArray[np.uint8] = np.clip(ramp + noise, 0, 255).astype(np.uint8)
    return pixels

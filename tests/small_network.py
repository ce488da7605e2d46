"""A classifier of a few hundred weights with everything that INT8 has to deal with, as the exporter would write it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import numpy_helper

SIZE_PX, CHANNELS, CLASSES = 24, 8, 6
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

Constants = dict[str, NDArray[Any]]

_TEXT = f"""
<ir_version: 8, opset_import: ["" : 18]>
small (uint8[batch, {SIZE_PX}, {SIZE_PX}, 3] image)
  => (float[batch, {CLASSES}] probabilities, float[batch, {CHANNELS}] embedding) {{
    planes = Transpose<perm=[0, 3, 1, 2]>(image)
    numbers = Cast<to=1>(planes)
    scaled = Mul(numbers, scale)
    x = Add(scaled, shift)
    stem = Conv<strides=[2, 2], pads=[1, 1, 1, 1]>(x, stem_weight, stem_bias)
    stem_active = Clip(stem, zero, six)
    depth = Conv<group={CHANNELS}, pads=[1, 1, 1, 1]>(stem_active, depth_weight, depth_bias)
    depth_active = Clip(depth, zero, six)
    point = Conv(depth_active, point_weight, point_bias)
    sum = Add(point, stem_active)
    pooled = ReduceMean<keepdims=1>(sum, height_and_width)
    embedding = Reshape(pooled, flat)
    logits = Gemm<transB=1>(embedding, head_weight, head_bias)
    probabilities = Softmax<axis=-1>(logits)
}}
"""


def write_small_network(file: Path, prefix: str = "") -> Path:
    """The file, holding the network; `prefix` goes before the name of every inner tensor."""
    random = np.random.default_rng(5)
    n = CHANNELS

    def normal(*shape: int, spread: float = 1.0) -> NDArray[np.float32]:
        return random.normal(0, spread, shape).astype(np.float32)

    constants: Constants = {
        "scale": (1 / (255 * np.array(STD))).reshape(1, 3, 1, 1).astype(np.float32),
        "shift": (-np.array(MEAN) / np.array(STD)).reshape(1, 3, 1, 1).astype(np.float32),
        "zero": np.array(0, np.float32),
        "six": np.array(6, np.float32),
        "stem_weight": normal(n, 3, 3, 3, spread=0.3),
        "stem_bias": normal(n),
        "depth_weight": normal(n, 1, 3, 3, spread=0.5),
        "depth_bias": normal(n),
        "point_weight": normal(n, n, 1, 1, spread=0.4),
        "point_bias": normal(n),
        "height_and_width": np.array([2, 3]),
        "flat": np.array([-1, n]),
        "head_weight": normal(CLASSES, n, spread=2.0),
        "head_bias": np.zeros(CLASSES, np.float32),
    }
    # Without what all pictures have in common one class would win every time.
    constants["head_bias"] = -constants["head_weight"] @ _embeddings(constants).mean(axis=0)
    model = _model(constants)
    if prefix:
        _rename(model, prefix)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, file)
    return file


def _model(constants: Constants) -> onnx.ModelProto:
    model = onnx.parser.parse_model(_TEXT)
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    return model


def _embeddings(constants: Constants) -> NDArray[np.float32]:
    """(N, CHANNELS) of 64 coloured pictures."""
    session = ort.InferenceSession(_model(constants).SerializeToString(), providers=["CPUExecutionProvider"])
    (out,) = session.run(["embedding"], {"image": coloured_pixels(64, seed=1)})
    embeddings: NDArray[np.float32] = out
    return embeddings


def _rename(model: onnx.ModelProto, prefix: str) -> None:
    kept = {value.name for value in (*model.graph.input, *model.graph.output)}
    kept |= {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [name if name in kept else prefix + name for name in names]


def coloured_pixels(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """(N, H, W, 3) uint8: fields of one colour with a little texture, so that classes are well apart."""
    random = np.random.default_rng(seed)
    colour = random.integers(0, 256, (count, 1, 1, 3))
    texture = random.integers(-20, 21, (count, SIZE_PX, SIZE_PX, 3))
    pixels: NDArray[np.uint8] = np.clip(colour + texture, 0, 255).astype(np.uint8)
    return pixels

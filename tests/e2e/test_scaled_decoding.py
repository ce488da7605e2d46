"""A JPEG that is scaled while it is decoded: the model's pixels within a tolerance, and its answers unchanged.

The photographs are 500 pixels wide, too small to be scaled, so they are enlarged first to what a camera might have
taken.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.entry_config import read_entry
from service.entry_files import onnx_path
from service.image_header import SizeLimits, jpeg_shrink, read_header
from service.images import to_model_pixels
from service.manifest import ModelCard, ResizeRule
from tests.gateway_server import require_models, shared_data

MODEL = "efficientnet_lite0"
SHORTER_SIDE_PX = 1200
LIMITS = SizeLimits(50_000_000, 16_384)
# Of 255 levels: the mean over each picture, and that of the picture that differs most.
MEAN_LEVELS, WORST_LEVELS = 1.0, 2.0

Pixels = NDArray[np.uint8]


@pytest.mark.parametrize("every", [8, pytest.param(1, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_top_1_is_that_of_full_decoding(every: int) -> None:
    entry = require_models() / MODEL
    card = read_entry(entry)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(onnx_path(entry), options, providers=["CPUExecutionProvider"])
    apart, right, same, count = [], [0, 0], 0, 0
    for path, class_id in _photographs()[::every]:
        scaled, full = _both_ways(_enlarged(path), card.resize)
        apart.append(float(np.abs(scaled.astype(int) - full.astype(int)).mean()))
        answers = [_class(session, card, pixels) for pixels in (scaled, full)]
        right = [hits + (answer == class_id) for hits, answer in zip(right, answers, strict=True)]
        same += answers[0] == answers[1]
        count += 1
    print(
        f"{count} pictures: scaled {right[0]} right, full {right[1]}, the same answer {same}; mean difference "
        f"{np.mean(apart):.2f} levels, of the worst picture {max(apart):.2f}"
    )
    assert np.mean(apart) < MEAN_LEVELS
    assert max(apart) < WORST_LEVELS
    assert abs(right[0] - right[1]) <= max(1, count // 100)
    assert same >= 0.98 * count


def _photographs() -> list[tuple[Path, int]]:
    folder = shared_data("imagenet")
    with (folder / "labels.csv").open(newline="") as file:
        return [(folder / "images" / row["file"], int(row["class_id"])) for row in csv.DictReader(file)]


def _enlarged(path: Path) -> bytes:
    with Image.open(path) as small:
        rgb = small.convert("RGB")
    factor = SHORTER_SIDE_PX / min(rgb.size)
    size = (round(rgb.width * factor), round(rgb.height * factor))
    buffer = io.BytesIO()
    rgb.resize(size, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def _both_ways(jpeg: bytes, rule: ResizeRule) -> tuple[Pixels, Pixels]:
    header = read_header(jpeg, LIMITS)
    assert jpeg_shrink(header, rule) > 1, "nothing is scaled here"
    scaled, _ = to_model_pixels(jpeg, header, rule)
    with Image.open(io.BytesIO(jpeg)) as image:
        whole = io.BytesIO()
        image.convert("RGB").save(whole, "PNG", compress_level=0)
    full, _ = to_model_pixels(whole.getvalue(), read_header(whole.getvalue(), LIMITS), rule)
    return scaled, full


def _class(session: ort.InferenceSession, card: ModelCard, pixels: Pixels) -> int:
    return int(session.run(["probabilities"], {card.input_name: pixels[np.newaxis]})[0][0].argmax())

"""That every contestant gives the same answers: a fast server that is wrong would win."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import onnxruntime as ort

from benchmarks.peers.contestants import MODEL, Running
from benchmarks.peers.load import HOST, message
from service.entry_config import read_entry
from service.entry_files import onnx_path
from service.image_header import SizeLimits, read_header
from service.images import to_model_pixels

PICTURES = 20
LIMITS = SizeLimits(50_000_000, 16_384)


def agreement(server: Running, pictures: Path, repository: Path) -> str:
    """ "20 of 20": how often the server's likeliest class is that of the FP32 graph run by itself.

    Raises RuntimeError if an FP32 contestant disagrees at all: then what is compared is not the same work.
    """
    expected = _expected(repository, pictures)
    server.go()
    same = sum(_ask(server, data) == class_id for data, class_id in expected)
    server.pause()
    if same < len(expected) and server.contestant.model == MODEL:
        raise RuntimeError(f"{server.contestant.title} agrees on {same} of {len(expected)} pictures only")
    return f"{same} of {len(expected)}"


def _expected(repository: Path, pictures: Path) -> list[tuple[bytes, int]]:
    card = read_entry(repository / MODEL)
    session = ort.InferenceSession(onnx_path(repository / MODEL), providers=["CPUExecutionProvider"])
    found = []
    for path in sorted(pictures.iterdir())[:PICTURES]:
        data = path.read_bytes()
        pixels, _ = to_model_pixels(data, read_header(data, LIMITS), card.resize)
        found.append((data, int(session.run(["probabilities"], {card.input_name: pixels[None]})[0][0].argmax())))
    return found


def _ask(server: Running, data: bytes) -> int:
    head, body = message(server.contestant.path, server.port, data, server.contestant.form).split(b"\r\n\r\n", 1)
    content_type = next(line for line in head.decode().split("\r\n") if line.startswith("Content-Type"))
    request = urllib.request.Request(
        f"http://{HOST}:{server.port}{server.contestant.path}",
        data=body,
        headers={"Content-Type": content_type.split(": ", 1)[1]},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        predictions = json.load(answer)["predictions"]
    return int(predictions[0]["class_id"])

"""Mixed traffic: tasks, models, budgets, sizes, and requests that must be refused, each with what it may answer."""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import skimage.data
from PIL import Image

NAMES = ("astronaut", "chelsea", "coffee", "rocket")
FINE = (200, 503, 504)
CLASSIFIERS = ("mobilenet_v2", "efficientnet_lite0")
DETECTOR = "ssdlite_efficientnet_lite0_256"
SEGMENTER = "unet_efficientnet_lite0_192x256"
THINGS = "masks_efficientnet_lite0_256"
MODELS = (*CLASSIFIERS, DETECTOR, SEGMENTER, THINGS)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of request. `observed`: it gets as far as the task's own counters; `statuses`: what it may answer."""

    name: str
    path: str
    statuses: tuple[int, ...] = FINE
    observed: bool = True
    content_type: str = "image/jpeg"


GOOD = (
    Kind("classify, standard", "/v1/classify"),
    Kind("classify, interactive", "/v1/classify?tier=interactive&on_infeasible=reject", (200, 422, 503, 504)),
    Kind("classify, 400 ms", "/v1/classify?latency_budget_ms=400&top_k=3&priority=1"),
    Kind("classify, relaxed, cascade", "/v1/classify?tier=relaxed&strategy=cascade&priority=3"),
    Kind("classify, a model named", "/v1/classify?model=mobilenet_v2&tier=batch"),
    Kind("embed, a model named", "/v1/embed?model=efficientnet_lite0&normalise=true&tier=batch"),
    Kind("detect, relaxed", "/v1/detect?tier=relaxed&score_threshold=0.3"),
    Kind("segment, batch", "/v1/segment?tier=batch"),
    Kind("segment, instances as polygons", "/v1/segment?kind=instance&mask_format=polygon&tier=batch"),
    Kind("detect, drawn", "/v1/detect?overlay=true&tier=batch"),
)
# A picture that comes when there is no time for one is refused for that, before it is looked at.
BAD = (
    Kind("no picture", "/v1/classify", (400, 415, 503)),
    Kind("cut off", "/v1/classify?tier=batch", (400, 503, 504)),
    Kind("unknown model", "/v1/classify?model=no_such_model", (404,)),
    Kind("unknown parameter", "/v1/classify?colour=red", (422,), observed=False),
    Kind("budget of no time", "/v1/detect?latency_budget_ms=0.01", (422,)),
    Kind("unknown type", "/v1/segment", (415,), content_type="text/html"),
    Kind("no such address", "/v1/nothing", (404,), observed=False),
)


def variations(count: int, seed: int = 7) -> list[bytes]:
    """JPEGs, no two alike: cuts out of real photographs, some turned, some mirrored, of several sizes."""
    rng = random.Random(seed)
    photographs = [Image.fromarray(np.asarray(getattr(skimage.data, name)())).convert("RGB") for name in NAMES]
    return [_variation(photographs[i % len(photographs)], rng) for i in range(count)]


def _variation(photograph: Image.Image, rng: random.Random) -> bytes:
    width, height = photograph.size
    share = rng.uniform(0.6, 1.0)
    left, top = rng.uniform(0, (1 - share) * width), rng.uniform(0, (1 - share) * height)
    cut = photograph.crop((int(left), int(top), int(left + share * width), int(top + share * height)))
    if rng.random() < 0.5:
        cut = cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    file = io.BytesIO()
    cut.save(file, "JPEG", quality=rng.randint(70, 95))
    return file.getvalue()


def body_of(kind: Kind, pictures: Sequence[bytes], rng: random.Random) -> bytes:
    picture = rng.choice(pictures)
    if kind.name == "no picture":
        return b"this is no picture, " * rng.randint(1, 50)
    return picture[: len(picture) // 2] if kind.name == "cut off" else picture


def request_of(kind: Kind, body: bytes, port: int) -> bytes:
    """HTTP/1.1 as bytes."""
    head = (
        f"POST {kind.path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: {kind.content_type}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def draw(rng: random.Random, bad_share: float = 0.15) -> Kind:
    return rng.choice(BAD) if rng.random() < bad_share else rng.choice(GOOD)

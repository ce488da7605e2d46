"""How long decoding and each model really take here, and how much they vary: what the simulation rolls its dice with.

    python -m benchmarks.service_times [--runs 200]

One thread per core works at once, as in the gateway, on real photographs, with the gateway's own code; the numbers go
to results/service-times-<device>.json. Counted is the thread's processor time, so that whoever else uses the machine
counts little. Variation is that of the logarithm: time = median · exp(sigma · normal).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from benchmarks.arrivals import data_folder
from benchmarks.device import RESULTS, circumstances, slug
from service.entry_config import read_entry
from service.entry_files import onnx_path
from service.image_header import ImageHeader, SizeLimits, read_header
from service.images import to_model_pixels
from service.latency import Predictor
from service.manifest import ModelCard

MODELS = ("efficientnet_lite2", "efficientnet_lite1", "efficientnet_lite0", "mobilenet_v2")
LIMITS = SizeLimits(50_000_000, 16_384)
_PRIOR = Predictor()  # it has seen nothing yet: its decode times are the first guesses

Timed = Callable[[int], float]


def measure(repository: Path, runs: int) -> dict[str, Any]:
    """The whole document: circumstances, pictures (width, height), and per model its card's numbers and its times."""
    paths = sorted((data_folder() / "imagenet" / "images").iterdir())
    pictures = [path.read_bytes() for path in paths]
    headers = [read_header(picture, LIMITS) for picture in pictures]
    rounds = {name: _model_rounds(repository / name, pictures, headers) for name in MODELS}
    ratios = {name: _on_every_core(timed, runs) for name, (_, timed, _) in rounds.items()}
    decodes = {name: _on_every_core(timed, runs) for name, (_, _, timed) in rounds.items()}
    return {
        "circumstances": circumstances(),
        "cores": os.cpu_count(),
        "pictures": [[header.width, header.height] for header in headers],
        "decode_over_prior": _spread([ratio for name in MODELS for ratio in decodes[name]]),
        "models": [_model_entry(rounds[name][0], ratios[name]) for name in MODELS],
    }


def _model_rounds(entry: Path, pictures: list[bytes], headers: list[ImageHeader]) -> tuple[ModelCard, Timed, Timed]:
    """The card, and two timers by picture number: ms of one run; decode time over what its header promises."""
    card = read_entry(entry)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(onnx_path(entry), options, providers=["CPUExecutionProvider"])
    pixels = [to_model_pixels(p, h, card.resize)[0] for p, h in zip(pictures, headers, strict=True)]

    def run(number: int) -> float:
        batch = pixels[number % len(pixels)][np.newaxis]  # (1, H, W, 3)
        started_s = time.thread_time()
        session.run(["probabilities"], {card.input_name: batch})
        return (time.thread_time() - started_s) * 1e3

    def decode(number: int) -> float:
        picture, header = pictures[number % len(pictures)], headers[number % len(pictures)]
        started_s = time.thread_time()
        to_model_pixels(picture, header, card.resize)
        return (time.thread_time() - started_s) * 1e3 / _PRIOR.decode_ms(header, card.resize)

    return card, run, decode


def _on_every_core(timed: Timed, runs: int) -> list[float]:
    """What `timed` said, from one thread per core at once, after a few runs that do not count."""
    found: list[float] = []

    def work(first: int) -> None:
        for number in range(10):
            timed(number)
        found.extend([timed(first + number) for number in range(runs)])

    threads = [threading.Thread(target=work, args=(core * 101,)) for core in range(os.cpu_count() or 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def _spread(times: list[float]) -> dict[str, float]:
    logs = np.log(times)
    return {"median": round(math.exp(float(np.median(logs))), 4), "sigma": round(float(logs.std()), 4)}


def _model_entry(card: ModelCard, times_ms: list[float]) -> dict[str, Any]:
    assert card.accuracy is not None
    assert card.profile is not None
    return {
        "name": card.name,
        "accuracy": card.accuracy.value,
        "alpha_ms": card.profile.alpha_ms,
        "beta_ms": card.profile.beta_ms,
        "size_px": card.resize.size_hw[0],
        "shorter_side_px": card.resize.shorter_side_px,
        "run_ms": _spread(times_ms),
        "p99_over_median": round(float(np.percentile(times_ms, 99) / np.median(times_ms)), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", type=Path, default=Path("model_repository"))
    parser.add_argument("--runs", type=int, default=200, help="runs of each model on each core")
    asked = parser.parse_args()
    document = measure(asked.repository, asked.runs)
    path = RESULTS / f"service-times-{slug()}.json"
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    for model in document["models"]:
        print(model["name"], model["run_ms"], "p99/median", model["p99_over_median"])
    print("decode over prior", document["decode_over_prior"], "->", path)


if __name__ == "__main__":
    main()

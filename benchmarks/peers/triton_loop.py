"""A plain tritonclient loop straight to a Triton: what the gateway in front of it is compared with.

    python -m benchmarks.peers.triton_loop --url HOST:PORT --model M --pictures DIR --clients 8 --seconds 3 [--decode]

Threads with a client each; tensors are made beforehand, or with --decode from the JPEG each time. One JSON document.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput

from service.entry_config import card_from_config
from service.image_header import SizeLimits, read_header
from service.images import to_model_pixels
from service.manifest import ModelCard

LIMITS = SizeLimits(50_000_000, 16_384)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--warm", type=float, default=0.5)
    parser.add_argument("--decode", action="store_true")
    asked = parser.parse_args()
    card = card_from_config(InferenceServerClient(asked.url).get_model_config(asked.model).config)
    pictures = [path.read_bytes() for path in sorted(asked.pictures.iterdir())]
    tensors = [_pixels(picture, card) for picture in pictures]
    from_s = time.perf_counter() + asked.warm
    until_s = from_s + asked.seconds
    latencies_ms: list[float] = []

    def loop(first: int) -> None:
        client, number = InferenceServerClient(asked.url), first
        while (began_s := time.perf_counter()) < until_s:
            which = number % len(tensors)
            pixels = _pixels(pictures[which], card) if asked.decode else tensors[which]
            image = InferInput(card.input_name, list(pixels.shape), "UINT8")
            image.set_data_from_numpy(pixels)
            client.infer(asked.model, [image], outputs=[InferRequestedOutput("probabilities")]).as_numpy(
                "probabilities"
            )
            number += asked.clients
            if began_s >= from_s:
                latencies_ms.append((time.perf_counter() - began_s) * 1e3)

    threads = [threading.Thread(target=loop, args=(first,)) for first in range(asked.clients)]
    used_s = time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = {
        "latencies_ms": latencies_ms,
        "answered_in_window": len(latencies_ms),
        "client_cpu_s": time.process_time() - used_s,
        "lasted_s": asked.seconds + asked.warm,
    }
    json.dump(found, sys.stdout)


def _pixels(picture: bytes, card: ModelCard) -> NDArray[np.uint8]:
    """(1, H, W, 3)."""
    return to_model_pixels(picture, read_header(picture, LIMITS), card.resize)[0][np.newaxis]


if __name__ == "__main__":
    main()

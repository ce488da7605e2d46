"""`python -m benchmarks.cascade`: accuracy per CPU-millisecond of a cascade beside every single model.

Every model is run once on every picture of the labelled folder, one thread, and its median run time taken; a cascade's
accuracy and cost then follow for any threshold. The threshold is picked on every other picture and judged on the rest,
both ways round, so that no picture judges a threshold that it helped to pick.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.device import circumstances, device
from service.entry_config import read_entry
from service.entry_files import onnx_path
from service.image_header import SizeLimits, read_header
from service.images import to_model_pixels
from service.manifest import ModelCard

LIMITS = SizeLimits(50_000_000, 16_384)
THRESHOLDS = np.round(np.arange(0.05, 1.0, 0.05), 2)
SECOND = "efficientnet_lite2"


@dataclass(frozen=True)
class Run:
    """One model over all pictures: (P,) top class right, (P,) top probability, median run in milliseconds."""

    right: NDArray[np.bool_]
    confidence: NDArray[np.float64]
    run_ms: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, default=Path("../shared/data/imagenet"), help="images/ and labels.csv")
    parser.add_argument("--repository", type=Path, default=Path("model_repository"))
    parser.add_argument("--write", type=Path, default=Path("benchmarks/results/cascade.json"))
    given = parser.parse_args()
    cards = [read_entry(entry) for entry in sorted(given.repository.iterdir()) if (entry / "config.pbtxt").is_file()]
    runs = {card.name: run(card, given.repository, given.pictures) for card in cards if card.task == "classify"}
    rows = [single(name, found) for name, found in runs.items()]
    rows += [cascade(name, runs[name], runs[SECOND]) for name in runs if runs[name].run_ms < runs[SECOND].run_ms]
    given.write.parent.mkdir(parents=True, exist_ok=True)
    pictures = len(runs[SECOND].right)
    given.write.write_text(json.dumps({**circumstances(), "pictures": pictures, "rows": rows}, indent=2) + "\n")
    show(rows)


def run(card: ModelCard, repository: Path, pictures: Path) -> Run:
    """The model over every labelled picture, through the gateway's own pixels."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(onnx_path(repository / card.name), options, providers=["CPUExecutionProvider"])
    with (pictures / "labels.csv").open(newline="") as file:
        labelled = list(csv.DictReader(file))
    right, confidence, took_ms = [], [], []
    for row in track(labelled, description=card.name):
        data = (pictures / "images" / row["file"]).read_bytes()
        pixels, _ = to_model_pixels(data, read_header(data, LIMITS), card.resize)
        started_s = time.perf_counter()
        probabilities = session.run(["probabilities"], {card.input_name: pixels[np.newaxis]})[0][0]
        took_ms.append((time.perf_counter() - started_s) * 1e3)
        right.append(int(probabilities.argmax()) == int(row["class_id"]))
        confidence.append(float(probabilities.max()))
    return Run(np.array(right), np.array(confidence), float(np.median(took_ms)))


def single(name: str, found: Run) -> dict[str, object]:
    return {
        "strategy": name,
        "top1_percent": float(found.right.mean() * 100),
        "cpu_ms": found.run_ms,
        "asked_again": 0.0,
    }


def cascade(name: str, first: Run, second: Run) -> dict[str, object]:
    """Threshold picked on one half of the pictures, judged on the other, both ways round."""
    halves = np.arange(len(first.right)) % 2 == 0
    right, again, thresholds = 0, 0, []
    for pick, judge in ((halves, ~halves), (~halves, halves)):
        threshold = cheapest_as_good(first, second, pick)
        escalated = judge & (first.confidence < threshold)
        right += int(first.right[judge & ~escalated].sum() + second.right[escalated].sum())
        again += int(escalated.sum())
        thresholds.append(threshold)
    share = again / len(first.right)
    return {
        "strategy": f"cascade {name} → {SECOND}",
        "top1_percent": right / len(first.right) * 100,
        "cpu_ms": first.run_ms + share * second.run_ms,
        "asked_again": share,
        "thresholds": thresholds,
    }


def cheapest_as_good(first: Run, second: Run, pick: NDArray[np.bool_]) -> float:
    """The lowest threshold at which the cascade is as accurate as the second model alone on these pictures."""
    target = second.right[pick].mean()
    for threshold in THRESHOLDS:
        sure = first.confidence[pick] >= threshold
        if np.where(sure, first.right[pick], second.right[pick]).mean() >= target:
            return float(threshold)
    return 1.0


def show(rows: list[dict[str, object]]) -> None:
    table = Table("strategy", "top-1 %", "CPU-ms", "asked again", title=device())
    for row in rows:
        table.add_row(
            str(row["strategy"]), f"{row['top1_percent']:.1f}", f"{row['cpu_ms']:.1f}", f"{row['asked_again']:.2f}"
        )
    Console().print(table)


if __name__ == "__main__":
    main()

"""Would OpenVINO pay? ONNX Runtime's own kernels, its OpenVINO provider, and OpenVINO itself, turn by turn, one thread.

    python3.11 -m venv .venv-openvino
    .venv-openvino/bin/pip install onnxruntime-openvino openvino numpy
    .venv-openvino/bin/python benchmarks/openvino_int8.py

In an environment of its own, for onnxruntime-openvino brings the module `onnxruntime` itself and may not stand beside
another build of it. Needs none of this project's packages. Counted is the process's processor time, all threads; what
counts is the median of the ratios: the ways run alternately on the same tensor, so whatever else the machine does hits
all of them. `off` is how far probabilities are from ONNX Runtime's at most. Writes results/openvino.json.
"""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import openvino

ROOT = Path(__file__).resolve().parents[1]
MODELS = {"efficientnet_lite0": 224, "efficientnet_lite0_int8": 224, "efficientnet_lite2_int8": 260}
RUNS = 300
BASE = "ONNX Runtime, CPU"

Way = Callable[[], Any]


def main() -> None:
    rows = [row for model, side_px in MODELS.items() for row in measure(model, side_px)]
    document = {
        "device": f"{_cpu()}, one thread",
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "onnxruntime-openvino": ort.__version__,
        "openvino": openvino.__version__.split("-")[0],
        "runs": RUNS,
        "rows": rows,
    }
    path = ROOT / "benchmarks" / "results" / "openvino.json"
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    for row in rows:
        numbers = f"{row['median_cpu_ms']:6.2f} ms  × {row['ratio']:.2f}  off {row['off']:.4f}"
        print(f"{row['model']:26} {row['way']:34} {numbers}")


def measure(model: str, side_px: int) -> list[dict[str, Any]]:
    """One row a way."""
    path = str(ROOT / "model_repository" / model / "1" / "model.onnx")
    pixels = np.random.default_rng(0).integers(0, 256, (1, side_px, side_px, 3), dtype=np.uint8)
    ways = _ways(path, pixels)
    expected = ways[BASE]()
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(RUNS + 20):
        for name, way in ways.items():
            began_s = time.process_time()
            way()
            if number >= 20:
                taken[name].append((time.process_time() - began_s) * 1e3)
    return [
        {
            "model": model,
            "way": name,
            "median_cpu_ms": round(statistics.median(ms), 3),
            "ratio": round(statistics.median(base / mine for base, mine in zip(taken[BASE], ms, strict=True)), 3),
            "off": round(float(np.abs(ways[name]() - expected).max()), 5),
        }
        for name, ms in taken.items()
    ]


def _ways(path: str, pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> dict[str, Way]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    own = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    config = json.dumps({"CPU": {"INFERENCE_NUM_THREADS": "1"}})
    provider = ("OpenVINOExecutionProvider", {"device_type": "CPU", "load_config": config})
    through = ort.InferenceSession(path, options, providers=[provider])
    if through.get_providers()[0] != provider[0]:
        raise RuntimeError("the OpenVINO provider was not used")
    name = own.get_inputs()[0].name
    ways: dict[str, Way] = {
        BASE: lambda: own.run(["probabilities"], {name: pixels})[0],
        "ONNX Runtime, OpenVINO provider": lambda: through.run(["probabilities"], {name: pixels})[0],
    }
    for title, precision in (("OpenVINO, its default precision", None), ("OpenVINO, float32", "f32")):
        ways[title] = _native(path, name, pixels, precision)
    return ways


def _native(path: str, name: str, pixels: np.ndarray[Any, np.dtype[np.uint8]], precision: str | None) -> Way:
    settings = {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY"}
    hint = {} if precision is None else {"INFERENCE_PRECISION_HINT": precision}
    model = openvino.Core().compile_model(path, "CPU", {**settings, **hint})
    request, output = model.create_infer_request(), model.output("probabilities")
    return lambda: request.infer({name: pixels})[output]


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()

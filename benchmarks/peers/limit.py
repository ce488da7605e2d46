"""The limit: one thread a core decodes and infers, in turn, with no server around it.

    BENCH_MODEL=model.onnx python -m benchmarks.peers.limit PICTURES SECONDS [WARM]

Prints answers a second, and milliseconds of processor time for each, as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path

from benchmarks.peers.plain import Classifier


def main() -> None:
    pictures = [path.read_bytes() for path in sorted(Path(sys.argv[1]).iterdir())]
    seconds = float(sys.argv[2])
    warm_s = float(sys.argv[3]) if len(sys.argv) > 3 else 0.5
    classifier = Classifier(threads=1)
    from_s = time.perf_counter() + warm_s
    until_s = from_s + seconds
    latencies_ms: list[float] = []

    def work(first: int) -> None:
        number = first
        while (began_s := time.perf_counter()) < until_s:
            classifier.of_jpeg(pictures[number % len(pictures)])
            number += 1
            if began_s >= from_s:
                latencies_ms.append((time.perf_counter() - began_s) * 1e3)

    cores = os.cpu_count() or 1
    threads = [threading.Thread(target=work, args=(core * 31,)) for core in range(cores)]
    used_s = time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    used_s = time.process_time() - used_s
    print(
        json.dumps(
            {
                "latencies_ms": [round(ms, 3) for ms in latencies_ms],
                "answered_in_window": len(latencies_ms),
                "server_cpu_s": used_s,
                "lasted_s": seconds + warm_s,
            }
        )
    )


if __name__ == "__main__":
    main()

"""`vision serve` with a watch on its event loop: how long each callback kept it, of processor time and by the clock.

    BENCH_WATCH=stats.json python -m benchmarks.peers.watched --port P

On asyncio's own loop, since uvloop's callbacks cannot be timed from outside; what runs in them is the same. While a
callback waits for the interpreter's lock the clock goes on, so the processor's time tells what the code itself does.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

LIMIT_MS = 2.0


class Watch:
    """Counts the callbacks of a loop once they are `armed`: what happens while starting blocks nobody."""

    def __init__(self) -> None:
        self.callbacks = 0
        self.over: list[tuple[float, float, str]] = []
        self.longest_cpu_ms = 0.0
        self.longest_wall_ms = 0.0

    def run(self, handle: asyncio.Handle, plain: Any) -> None:
        began_s, began_cpu_s = time.perf_counter(), time.thread_time()
        plain(handle)
        cpu_ms, wall_ms = (time.thread_time() - began_cpu_s) * 1e3, (time.perf_counter() - began_s) * 1e3
        self.callbacks += 1
        self.longest_cpu_ms = max(self.longest_cpu_ms, cpu_ms)
        self.longest_wall_ms = max(self.longest_wall_ms, wall_ms)
        if cpu_ms > LIMIT_MS and len(self.over) < 1000:
            self.over.append((cpu_ms, wall_ms, repr(handle)[:300]))

    def document(self) -> dict[str, Any]:
        over = [{"cpu_ms": round(c, 2), "wall_ms": round(w, 2), "callback": what} for c, w, what in self.over]
        return {
            "loop_callbacks": self.callbacks,
            "loop_over_2ms": len(over),
            "loop_longest_ms": round(self.longest_cpu_ms, 3),
            "loop_longest_wall_ms": round(self.longest_wall_ms, 3),
            "over": over[:20],
        }


def main() -> None:
    sys.modules["uvloop"] = None  # type: ignore[assignment]  # uvicorn then takes asyncio's loop
    path = Path(os.environ["BENCH_WATCH"])
    watch = Watch()
    plain = asyncio.Handle._run

    def run(handle: asyncio.Handle) -> None:
        watch.run(handle, plain)

    def keep_telling() -> None:
        armed = False
        while True:
            time.sleep(0.25)
            if not armed and path.with_suffix(".armed").exists():
                armed = True
                asyncio.Handle._run = run  # type: ignore[method-assign, assignment]
            path.write_text(json.dumps(watch.document()), encoding="utf-8")

    threading.Thread(target=keep_telling, daemon=True).start()
    from service.cli.commands import app

    sys.argv[1:1] = ["serve"]
    app()


if __name__ == "__main__":
    main()

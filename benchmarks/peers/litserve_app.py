"""LitServe: one inference worker a core (`workers_per_device`), as many HTTP processes, which is its own default.

Pictures come as multipart/form-data: it reads forms and JSON only. `fast_queue` (ZeroMQ) is what its documentation
advises for load.
"""

# No postponed annotations here: LitServe looks at the class that `decode_request` is annotated with.
import os
import sys
from typing import Any

import litserve
from fastapi import Request

from benchmarks.peers.plain import Classifier


class Predict(litserve.LitAPI):  # type: ignore[misc]
    def setup(self, device: str) -> None:
        self.classifier = Classifier(int(os.environ["BENCH_THREADS"]))

    def decode_request(self, request: Request) -> bytes:
        data: bytes = request["content"].file.read()  # it is the form
        return data

    def predict(self, x: bytes) -> list[dict[str, Any]]:
        return self.classifier.of_jpeg(x)

    def encode_response(self, output: list[dict[str, Any]]) -> dict[str, Any]:
        return {"predictions": output}


if __name__ == "__main__":
    server = litserve.LitServer(
        Predict(), accelerator="cpu", devices=1, workers_per_device=os.cpu_count() or 1, fast_queue=True
    )
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="error", access_log=False)

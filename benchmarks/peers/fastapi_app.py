"""Plain FastAPI, as its tutorial does it: an ordinary `def`, which runs in the thread pool, and the body as bytes.

BENCH_THREADS: of ONNX Runtime, 0 for its default. Processes are uvicorn's `--workers`, which FastAPI's documentation
("Server workers") sets to the number of cores.
"""

from __future__ import annotations

import os
from typing import Annotated, Any

from fastapi import Body, FastAPI

from benchmarks.peers.plain import Classifier

app = FastAPI()
classifier = Classifier(int(os.environ["BENCH_THREADS"]))


@app.get("/health")
def health() -> dict[str, str]:
    return {"status": "ready"}


@app.post("/predict")
def predict(picture: Annotated[bytes, Body(media_type="image/jpeg")]) -> dict[str, Any]:
    return {"predictions": classifier.of_jpeg(picture)}

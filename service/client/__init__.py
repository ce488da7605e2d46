"""A Python client of the gateway: docs/client.md. Needs httpx, numpy and Pillow, and nothing of the server."""

from service.client.awaiting import AsyncClient
from service.client.errors import (
    ClientError,
    DeadlineExceeded,
    ModelNotFound,
    NoAnswerInTime,
    NotAllowed,
    NotAvailable,
    NotReachable,
    PictureRefused,
    ProblemError,
    RequestRefused,
    ServerFailed,
    UnexpectedAnswer,
    Unsatisfiable,
)
from service.client.located import UNSEEN, Detections, Segmentation, Thing
from service.client.pictures import Picture
from service.client.results import Classification, Embedding, ModelInfo, Readiness, Route
from service.client.waiting import Client

__all__ = [
    "AsyncClient",
    "Classification",
    "Client",
    "ClientError",
    "DeadlineExceeded",
    "Detections",
    "Embedding",
    "ModelInfo",
    "ModelNotFound",
    "NoAnswerInTime",
    "NotAllowed",
    "NotAvailable",
    "NotReachable",
    "Picture",
    "PictureRefused",
    "ProblemError",
    "Readiness",
    "RequestRefused",
    "Route",
    "Segmentation",
    "ServerFailed",
    "Thing",
    "UNSEEN",
    "UnexpectedAnswer",
    "Unsatisfiable",
]

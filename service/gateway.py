"""The parts of one running gateway, as the routes see them."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request

from service.engines.protocol import Engine
from service.fleet import Fleet
from service.latency import Predictor
from service.metrics import Metrics
from service.pipeline import Pipeline
from service.settings import Settings
from service.tensor_path import TensorPath


@dataclass(frozen=True)
class Gateway:
    settings: Settings
    engine: Engine
    fleet: Fleet
    predictor: Predictor
    metrics: Metrics
    pipeline: Pipeline
    tensors: TensorPath


def gateway_of_app(request: Request) -> Gateway:
    """The gateway that `create_app` put together for this app."""
    gateway: Gateway = request.app.state.gateway
    return gateway


async def gateway_of(request: Request) -> Gateway:
    """The same as a dependency: async, though it awaits nothing, for FastAPI sends plain functions to a thread."""
    return gateway_of_app(request)

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


@dataclass(frozen=True)
class Gateway:
    settings: Settings
    engine: Engine
    fleet: Fleet
    predictor: Predictor
    metrics: Metrics
    pipeline: Pipeline


async def gateway_of(request: Request) -> Gateway:
    """The gateway that `create_app` put together for this app."""
    # async, though it awaits nothing: FastAPI would send a plain function to a thread, for every request.
    gateway: Gateway = request.app.state.gateway
    return gateway

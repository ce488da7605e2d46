"""create_app: the only place where the parts are joined."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from service import problems, routes, routes_control, routes_locate
from service.decision import Chooser
from service.engines.embedded import EmbeddedEngine
from service.engines.protocol import Engine
from service.execution import Execution
from service.fleet import Fleet
from service.gateway import Gateway
from service.hedging import HedgeBudget
from service.image_header import SizeLimits
from service.latency import Predictor
from service.manifest import ModelCard
from service.metrics import Metrics
from service.pipeline import Pipeline
from service.probes import Probes
from service.request_id import Arrival
from service.settings import Settings
from service.workers import Workers

DESCRIPTION = (
    "Pictures in, labels out, within a latency budget. Say how long you can wait; the gateway picks the most accurate "
    "model that will answer in time, and says which, and why."
)


def create_app(settings: Settings | None = None, engine: Engine | None = None) -> FastAPI:
    """The ASGI application. `engine` replaces the one that the settings name; tests pass the fake one."""
    settings = settings or Settings()
    workers = Workers(settings.workers or os.cpu_count() or 1)
    predictor = Predictor(workers.count)
    metrics = Metrics()
    gateway = _join(settings, engine or _engine(settings, workers, predictor, metrics), workers, predictor, metrics)

    probes = Probes(gateway.engine, gateway.fleet, predictor, gateway.pipeline, settings.probe_after_s)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await gateway.pipeline.execution.warm(gateway.pipeline.size_limits)
        await gateway.fleet.open()
        probes.start()
        yield
        await probes.close()
        await gateway.fleet.close()
        await workers.close()

    app = FastAPI(title="vision-gateway", version="0.1.0", description=DESCRIPTION, lifespan=lifespan)
    app.state.gateway = gateway
    app.include_router(routes.router)
    app.include_router(routes_locate.router)
    app.include_router(routes_control.router)
    problems.install(app)
    app.add_middleware(Arrival)
    return app


def _join(settings: Settings, engine: Engine, workers: Workers, predictor: Predictor, metrics: Metrics) -> Gateway:
    fleet = Fleet(engine, metrics, settings.poll_interval_s, memory_budget_bytes=settings.memory_budget_bytes)
    limits = SizeLimits(settings.max_pixels, settings.max_side_px)
    pipeline = Pipeline(
        chooser=Chooser(engine, fleet, predictor, metrics),
        execution=Execution(engine, workers, predictor, metrics),
        fleet=fleet,
        predictor=predictor,
        metrics=metrics,
        size_limits=limits,
        max_in_flight=settings.max_in_flight,
        hedges=HedgeBudget(settings.hedge_share),
        cascade_confidence=settings.cascade_confidence,
    )
    metrics.queue_depth.set_function(lambda: workers.waiting)
    return Gateway(settings, engine, fleet, predictor, metrics, pipeline)


def _engine(settings: Settings, workers: Workers, predictor: Predictor, metrics: Metrics) -> Engine:
    controlled = settings.memory_budget_bytes > 0

    def expected_s(card: ModelCard, rows: int) -> float:
        return predictor.run_ms(card, rows) / 1e3

    if settings.engine == "triton":
        from service.engines.triton_pool import TritonPool

        folder = settings.repository if controlled else None
        return TritonPool(settings.triton_url, expected_s, metrics, folder=folder, mirrored=controlled)
    return EmbeddedEngine(settings.repository, workers, expected_s, load_all=not controlled)

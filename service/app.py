"""create_app: the only place where the parts are joined."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI

from service import problems, routes, routes_activity, routes_console, routes_locate, routes_v2
from service.access_log import AccessLog
from service.cache import Cache
from service.cores import core_each, usable_cores
from service.decision import Chooser
from service.doors import Doors, describe_keys, require_closed_doors
from service.engines.embedded import EmbeddedEngine
from service.engines.protocol import Engine
from service.execution import Execution
from service.fair_share import Permits
from service.fleet import Fleet
from service.gateway import Gateway
from service.hedging import HedgeBudget
from service.image_header import SizeLimits
from service.keys import KeyRing
from service.latency import Predictor
from service.manifest import ModelCard
from service.metrics import Metrics
from service.pipeline import Pipeline
from service.probes import Probes
from service.query_limit import QueryLimit
from service.request_id import Arrival
from service.security_headers import SecurityHeaders
from service.settings import Settings
from service.straight import Straight
from service.tensor_path import TensorPath
from service.trace_requests import trace_requests
from service.workers import Workers

DESCRIPTION = (
    "Pictures in, labels out, within a latency budget. Say how long you can wait; the gateway picks the most accurate "
    "model that will answer in time, and says which, and why."
)


def create_app(settings: Settings | None = None, engine: Engine | None = None) -> FastAPI:
    """The ASGI application. `engine` replaces the one that the settings name; tests pass the fake one.

    Raises OpenDoors if it would answer strangers unasked, InvalidKeys for a keys file that cannot be used.
    """
    settings = settings or Settings()
    require_closed_doors(settings)
    keys = KeyRing(Path(settings.api_keys_file)) if settings.api_keys_file else None
    count = settings.workers or usable_cores()
    workers = Workers(count, cores=core_each(count) if settings.pin_workers else ())
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
        await end_tracing()

    app = FastAPI(title="vision-gateway", version="0.1.0", description=DESCRIPTION, lifespan=lifespan)
    app.state.gateway = gateway
    app.include_router(routes.router)
    app.include_router(routes_locate.router)
    app.include_router(routes_activity.router)
    app.include_router(routes_console.router)
    app.include_router(routes_v2.router)
    problems.install(app)
    if keys is not None:
        describe_keys(app)
    # The first added is the innermost.
    app.add_middleware(Straight, routes=[*routes.router.routes, *routes_locate.router.routes])
    app.add_middleware(QueryLimit)
    app.add_middleware(Doors, settings=settings, keys=keys)
    app.add_middleware(SecurityHeaders)
    if settings.access_log:
        app.add_middleware(AccessLog)
    app.add_middleware(Arrival)
    end_tracing = trace_requests(app, settings.trace_endpoint)
    return app


def _join(settings: Settings, engine: Engine, workers: Workers, predictor: Predictor, metrics: Metrics) -> Gateway:
    cache = Cache(settings.cache_bytes)
    fleet = Fleet(engine, metrics, settings.poll_interval_s, memory_budget_bytes=settings.memory_budget_bytes)
    limits = SizeLimits(settings.max_pixels, settings.max_side_px)
    pipeline = Pipeline(
        chooser=Chooser(engine, fleet, predictor, metrics),
        execution=Execution(engine, workers, predictor, metrics, fleet.circuits, cache),
        fleet=fleet,
        predictor=predictor,
        metrics=metrics,
        size_limits=limits,
        permits=Permits(settings.max_in_flight, shared=bool(settings.api_keys_file), workers=workers.count),
        hedges=HedgeBudget(settings.hedge_share),
        cascade_confidence=settings.cascade_confidence,
        busy_from=workers.count,
    )
    metrics.queue_depth.set_function(lambda: workers.waiting)
    metrics.cache_bytes.set_function(lambda: cache.size_bytes)
    tensors = TensorPath(
        engine, pipeline, workers, max_bytes=settings.max_tensor_bytes, max_budget_ms=settings.max_budget_ms
    )
    return Gateway(settings, engine, fleet, predictor, metrics, pipeline, tensors)


def _engine(settings: Settings, workers: Workers, predictor: Predictor, metrics: Metrics) -> Engine:
    controlled = settings.memory_budget_bytes > 0

    def expected_s(card: ModelCard, rows: int) -> float:
        return predictor.run_ms(card, rows) / 1e3

    if settings.engine == "triton":
        from service.engines.triton_pool import TritonPool

        folder = settings.repository if controlled else None
        return TritonPool(settings.triton_url, expected_s, metrics, folder=folder, mirrored=controlled)
    # A second session of a model is memory that no budget knows of.
    idle_cores = settings.idle_cores and not controlled
    return EmbeddedEngine(settings.repository, workers, expected_s, idle_cores=idle_cores, load_all=not controlled)

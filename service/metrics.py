"""What Prometheus sees. Base units, `vision_` in front, tiers as an enumeration, never a raw budget."""

from __future__ import annotations

from functools import cache
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest

from service.activity import Activity

# Every tier's default budget (15, 50, 150, 500, 5000 ms) is an edge, so attainment can be read off exactly.
DURATION_BUCKETS_S = (
    *(0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1),
    *(0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0),
)
LOAD_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64)
RATIO_BUCKETS = (0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 4.0)

Labelled = tuple[str, ...]
Series = TypeVar("Series", Counter, Histogram)


def _remembered(metric: Series) -> Series:
    """The metric, whose series are found by their labels once: finding them takes longer than counting.

    Not for metrics that are cleared: a series found before would be counted in no more.
    """
    metric.labels = cache(metric.labels)  # type: ignore[method-assign]
    return metric


class Metrics:
    """All series of one gateway, in a registry of their own: two apps in one process do not mix."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.activity = Activity()
        self._requests()
        self._models()
        self._residency()
        self._backends()
        self._routing()

    def _requests(self) -> None:
        registry = self.registry
        self.requests = _remembered(
            Counter(
                "vision_requests",
                "Requests answered, by how they ended.",
                ("task", "tier", "outcome"),
                registry=registry,
            )
        )
        self.problems = _remembered(
            Counter(
                "vision_problems",
                "Problem documents sent, whichever route and however early.",
                ("status", "code"),
                registry=registry,
            )
        )
        self.request_duration = _remembered(
            Histogram(
                "vision_request_duration_seconds",
                "From the request's headers to its answer.",
                ("task", "tier"),
                buckets=DURATION_BUCKETS_S,
                registry=registry,
            )
        )
        self.stage_duration = _remembered(
            Histogram(
                "vision_stage_duration_seconds",
                "One step of a request: read, decode, queue, infer, post.",
                ("stage",),
                buckets=DURATION_BUCKETS_S,
                registry=registry,
            )
        )
        self.in_flight = Gauge("vision_in_flight_requests", "Requests admitted and not answered.", registry=registry)
        self.connections = Gauge("vision_connections", "Open connections to the public port.", registry=registry)
        self.queue_depth = Gauge(
            "vision_queue_depth", "Pieces of work that no worker has taken yet.", registry=registry
        )

        self.cache_lookups = Counter(
            "vision_cache_lookups",
            "Pictures looked up in the cache, by what came of it.",
            ("result",),
            registry=registry,
        )
        self.cache_bytes = Gauge("vision_cache_bytes", "Memory that the cache holds.", registry=registry)

    def _models(self) -> None:
        registry = self.registry
        self.images = _remembered(
            Counter(
                "vision_images",
                "Pictures answered; its rate is the model's throughput.",
                ("task", "model", "precision", "backend"),
                registry=registry,
            )
        )
        self.infer_duration = _remembered(
            Histogram(
                "vision_model_infer_duration_seconds",
                "One run of a model, of a whole batch.",
                ("model",),
                buckets=DURATION_BUCKETS_S,
                registry=registry,
            )
        )
        self.batch_size = _remembered(
            Histogram(
                "vision_batch_size",
                "Pictures in one run of a model.",
                ("model",),
                buckets=BATCH_BUCKETS,
                registry=registry,
            )
        )
        self.model_info = Gauge(
            "vision_model_info",
            "1 for every model that is served.",
            ("model", "task", "precision", "backend", "weights", "sha256"),
            registry=registry,
        )
        self.model_ready = Gauge(
            "vision_model_ready", "1 if the model would answer now.", ("model",), registry=registry
        )

    def _residency(self) -> None:
        registry = self.registry
        self.model_state = Gauge(
            "vision_model_state",
            "1 for the state that the entry is in: loaded, loading, unloading, cold, withdrawn or refused.",
            ("model", "state"),
            registry=registry,
        )
        self.model_refused = Gauge(
            "vision_model_refused",
            "1 for an entry that is refused, whether or not what it replaces is served on: config, incomplete, digest, "
            "external-data, graph, memory, contract or too-large.",
            ("model", "reason"),
            registry=registry,
        )
        self.model_memory = Gauge(
            "vision_model_memory_bytes",
            "What a loaded model takes: measured on load by the embedded engine, else estimated.",
            ("model",),
            registry=registry,
        )
        self.model_load_duration = Histogram(
            "vision_model_load_duration_seconds",
            "Loading one model.",
            ("model",),
            buckets=LOAD_BUCKETS_S,
            registry=registry,
        )
        self.model_loads = Counter(
            "vision_model_loads",
            "Models loaded by this gateway, by why and how it ended.",
            ("model", "why", "outcome"),
            registry=registry,
        )
        self.model_failures = Counter(
            "vision_model_failures",
            "Work of a model that failed, or gave what cannot be an answer.",
            ("model",),
            registry=registry,
        )
        self.model_circuit_open = Gauge(
            "vision_model_circuit_open",
            "1 while the model failed so often in a row that the router takes others, or tries it once in a while.",
            ("model",),
            registry=registry,
        )
        self.model_evictions = Counter(
            "vision_model_evictions", "Models unloaded to make room for another.", ("model",), registry=registry
        )

    def _backends(self) -> None:
        registry = self.registry
        self.backend_up = Gauge(
            "vision_backend_up", "1 if this Triton answers and gets work.", ("backend",), registry=registry
        )
        self.backend_in_flight = Gauge(
            "vision_backend_in_flight_jobs", "Work on its way to this Triton.", ("backend",), registry=registry
        )
        self.backend_requests = Counter(
            "vision_backend_jobs",
            "Work given to this Triton, by how it ended: ok, cancelled or the code of the error.",
            ("backend", "outcome"),
            registry=registry,
        )
        self.backend_retries = Counter(
            "vision_backend_retries",
            "Work that another Triton lost or was too full for, given to this one.",
            ("backend",),
            registry=registry,
        )
        self.backend_ejections = Counter(
            "vision_backend_ejections",
            "Times that this Triton failed and got no more work until it was well again.",
            ("backend",),
            registry=registry,
        )

    def _routing(self) -> None:
        registry = self.registry
        self.decisions = _remembered(
            Counter(
                "vision_routing_decisions",
                "Choices made by the router, by why.",
                ("tier", "model", "reason"),
                registry=registry,
            )
        )
        self.reroutes = Counter(
            "vision_reroutes",
            "Requests whose chosen model failed, by that model and whether another one answered: answered or failed.",
            ("model", "outcome"),
            registry=registry,
        )
        self.hedges = Counter(
            "vision_hedges", "Hedges fired, by whether their answer was the one used.", ("result",), registry=registry
        )
        self.cascades = Counter("vision_cascades", "Cascades run, by how they ended.", ("outcome",), registry=registry)
        self.decision_duration = Histogram(
            "vision_routing_decision_duration_seconds",
            "Time to choose a model.",
            buckets=(0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.01),
            registry=registry,
        )
        self.prediction_ratio = _remembered(
            Histogram(
                "vision_prediction_ratio",
                "Observed / predicted (95th percentile) time of a request.",
                ("model",),
                buckets=RATIO_BUCKETS,
                registry=registry,
            )
        )
        self.prediction_coverage = Gauge(
            "vision_prediction_coverage_ratio",
            "Share of the last requests that took no longer than predicted; the target is 0.95.",
            registry=registry,
        )
        self.headroom = Gauge(
            "vision_headroom_ratio",
            "Share of what remains of a budget that admission leaves free just now.",
            registry=registry,
        )
        self.slo_requests = _remembered(
            Counter("vision_slo_requests", "Requests that had a budget.", ("task", "tier"), registry=registry)
        )
        self.slo_met = _remembered(
            Counter("vision_slo_met", "Requests answered within their budget.", ("task", "tier"), registry=registry)
        )
        self.effective_accuracy = _remembered(
            Counter(
                "vision_effective_accuracy_sum",
                "Sum of the accuracy of answers in time, in percent; over slo_requests it is the effective accuracy.",
                ("task", "tier"),
                registry=registry,
            )
        )

    def exposition(self) -> bytes:
        """The registry as OpenMetrics text."""
        text: bytes = generate_latest(self.registry)  # type: ignore[no-untyped-call]
        return text

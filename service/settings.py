"""Everything an operator can set, by environment variable `VISION_<NAME>`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

Tier = Literal["realtime", "interactive", "standard", "relaxed", "batch"]


class Settings(BaseSettings):
    """Read once, by `create_app` or the command line; nothing else looks at the environment."""

    model_config = SettingsConfigDict(env_prefix="VISION_", frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8080, ge=1, le=65535, description="Port to listen on.")
    grpc_port: int = Field(
        0, ge=0, le=65535, description="Port of the Open Inference Protocol over gRPC, on the same address; 0: none."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="How much to log.")
    access_log: bool = Field(True, description="One line a request: no key, no picture, no value of a parameter.")

    admin_host: str = Field("127.0.0.1", description="Address of the admin port: metrics; nobody is asked for a key.")
    admin_port: int = Field(8081, ge=0, le=65535, description="The admin port; 0: none, and so no metrics.")
    api_keys_file: str = Field("", description="Who may ask: one key a line, as `vision keys new` prints it.")
    allow_anonymous: bool = Field(False, description="Answer without a key, also beyond the loopback address.")
    anonymous_rate_per_s: float = Field(
        0.0, ge=0, description="Requests a second without a key, by address; 0: no limit."
    )
    anonymous_burst: int = Field(20, ge=1, description="Requests at once without a key, by address.")
    tls_cert: str = Field("", description="Certificate chain, PEM; with it the gateway speaks https.")
    tls_key: str = Field("", description="The certificate's private key, PEM.")

    engine: Literal["embedded", "triton"] = Field("embedded", description="What runs the models.")
    repository: Path = Field(
        Path("model_repository"),
        description="Model repository of the embedded engine; with engine=triton and a memory budget, Triton's, if it "
        "can be read here too.",
    )
    triton_url: str = Field(
        "127.0.0.1:8001",
        description="gRPC address of Triton, or several with commas; a name that stands for several means each of "
        "them. Used by engine=triton only.",
    )
    memory_budget_bytes: int = Field(
        0,
        ge=0,
        description="What all loaded models together may take; the least recently used make room. 0: no limit, and "
        "what Triton has loaded is its own business.",
    )
    poll_interval_s: float = Field(0.5, gt=0, le=60, description="How often the engine is asked what is ready.")

    tier_realtime_ms: float = Field(15, gt=0, description="Budget of tier=realtime.")
    tier_interactive_ms: float = Field(50, gt=0, description="Budget of tier=interactive.")
    tier_standard_ms: float = Field(150, gt=0, description="Budget of tier=standard, which is the default tier.")
    tier_relaxed_ms: float = Field(500, gt=0, description="Budget of tier=relaxed.")
    tier_batch_ms: float = Field(5000, gt=0, description="Budget of tier=batch.")
    max_budget_ms: float = Field(
        60_000, gt=0, description="Longest budget accepted; also the time limit of a named model without a budget."
    )

    workers: int = Field(
        0,
        ge=0,
        le=256,
        description="Threads that decode and infer; 0: one per core, of those that a quota leaves.",
    )
    pin_workers: bool = Field(
        True,
        description="While work waits each worker stays on a core of its own, where they are as many as cores; off: "
        "the kernel decides.",
    )
    idle_cores: bool = Field(
        True, description="A picture that comes alone may have all cores; its model is then in memory twice."
    )
    cache_bytes: int = Field(
        0, ge=0, description="Memory for what models said about pictures that may come again; 0: nothing is kept."
    )
    cascade_confidence: float = Field(
        0.8, gt=0, le=1, description="strategy=cascade keeps the first model's answer from this probability on."
    )
    hedge_share: float = Field(
        0.03, ge=0, le=1, description="Largest share of requests for which the fastest model may be fired as well."
    )
    probe_after_s: float = Field(
        30.0, ge=0, description="A model that has not run for so long is run once when idle; 0: never."
    )
    max_in_flight: int = Field(256, ge=1, description="Requests admitted at once; beyond it 503.")
    max_connections: int = Field(
        1000, ge=1, description="Connections at once; beyond them a new one is told 503, unless it asks for health."
    )
    max_waiting_bytes: int = Field(
        512 * 1024 * 1024, ge=1024, description="What the bodies of all requests may take in memory; beyond it 503."
    )

    trace_endpoint: str = Field(
        "", description="Where traces go, OTLP over HTTP; empty: where OTEL_EXPORTER_OTLP_ENDPOINT says, else nowhere."
    )

    drain_s: float = Field(
        0.0, ge=0, le=300, description="After SIGTERM not ready, but still serving, so that load balancers look away."
    )
    grace_s: float = Field(
        30.0, gt=0, le=600, description="After that, how long admitted requests have to be answered; then they fail."
    )

    max_body_bytes: int = Field(10 * 1024 * 1024, ge=1024, description="Largest body accepted.")
    max_tensor_bytes: int = Field(
        32 * 1024 * 1024,
        ge=1024,
        description="Largest body of /v2/…/infer, unpacked: 32 pictures of 640×480 as raw bytes, 4 times less as JSON.",
    )
    max_pixels: int = Field(50_000_000, ge=1, description="Largest picture accepted, width × height.")
    max_side_px: int = Field(16_384, ge=1, description="Longest side accepted.")
    max_images: int = Field(16, ge=1, le=256, description="Most pictures in one request.")
    max_header_bytes: int = Field(65_536, ge=1024, description="Largest address and headers accepted, together.")
    header_timeout_s: float = Field(10.0, gt=0, description="Address and headers must have arrived by then.")
    body_timeout_s: float = Field(15.0, gt=0, description="A body must have arrived by then.")
    answer_timeout_s: float = Field(30.0, gt=0, description="An answer must have been taken by then.")

    def tier_budget_ms(self, tier: Tier) -> float:
        """The tier's budget."""
        budgets_ms: dict[Tier, float] = {
            "realtime": self.tier_realtime_ms,
            "interactive": self.tier_interactive_ms,
            "standard": self.tier_standard_ms,
            "relaxed": self.tier_relaxed_ms,
            "batch": self.tier_batch_ms,
        }
        return budgets_ms[tier]

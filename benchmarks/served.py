"""A gateway for a measurement, on either engine."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks import mix
from benchmarks.changing_repository import repository_of_links
from tests.gateway_server import GatewayServer
from tests.triton_server import TritonServer


@contextmanager
def served(engine: str, more: dict[str, str] | None = None) -> Iterator[GatewayServer]:
    """A gateway with `mix.MODELS`, ready, on that engine."""
    with ExitStack() as stack:
        repository = stack.enter_context(repository_of_links(mix.MODELS))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        settings = {"VISION_REPOSITORY": str(repository), "VISION_LOG_LEVEL": "error", **(more or {})}
        if engine == "triton":
            triton = stack.enter_context(TritonServer(repository, folder / "triton-log"))
            settings |= {"VISION_ENGINE": "triton", "VISION_TRITON_URL": triton.url}
        gateway = stack.enter_context(GatewayServer(folder / "log", settings))
        gateway.wait_for("/health/ready")
        yield gateway

"""What gRPC may take: the room for bodies that it shares with HTTP, and no more calls than requests."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest
import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException

from service.body_room import BodyRoom
from service.engines.fake import FakeEngine
from service.grpc_front import GrpcFront
from service.settings import Settings
from tests.cards import classifier
from tests.conftest import FakeGateway, FakeGateways

CARD = classifier("fake")


@asynccontextmanager
async def grpc_of(
    gateway: FakeGateway, room_bytes: int, max_in_flight: int
) -> AsyncIterator[triton.InferenceServerClient]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    front = GrpcFront(BodyRoom(gateway.app, room_bytes), Settings(grpc_port=port, max_in_flight=max_in_flight))
    front.bind()
    await front.start()
    try:
        async with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
            yield client
    finally:
        await front.stop(0.0)


async def infer(client: triton.InferenceServerClient) -> None:
    pixels = np.zeros((1, *CARD.resize.size_hw, 3), np.uint8)
    tensor = triton.InferInput("image", list(pixels.shape), "UINT8")
    tensor.set_data_from_numpy(pixels)
    await client.infer(CARD.name, [tensor])


async def test_a_message_for_which_there_is_no_room_is_refused_and_leaves_nothing() -> None:
    async with FakeGateways(Settings(workers=1), FakeEngine([CARD])) as gateway:
        async with grpc_of(gateway, room_bytes=1_000_000, max_in_flight=8) as client:
            for _ in range(10):  # ten of them would not fit beside each other
                await infer(client)
        async with grpc_of(gateway, room_bytes=1_000, max_in_flight=8) as client:
            with pytest.raises(InferenceServerException, match="take all the memory"):
                await infer(client)


async def test_no_more_calls_run_than_requests_may_be_in_flight() -> None:
    engine = FakeEngine([CARD], delay_s=1.0)
    async with (
        FakeGateways(Settings(workers=1), engine) as gateway,
        grpc_of(gateway, room_bytes=10_000_000, max_in_flight=1) as client,
    ):
        ended = await asyncio.gather(*(infer(client) for _ in range(3)), return_exceptions=True)
        refused = [str(err.status()) for err in ended if isinstance(err, InferenceServerException)]
        assert refused == ["StatusCode.RESOURCE_EXHAUSTED"] * 2
        assert ended.count(None) == 1

"""What is written in one go leaves in one piece, and nothing is lost or turned round."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from service.joined_writes import JoinedWrites


class Recorder(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        assert not self.closed
        self.pieces.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


@pytest.fixture
async def behind() -> Recorder:
    return Recorder()


async def test_head_and_body_are_one_piece(behind: Recorder) -> None:
    joined = JoinedWrites(behind, asyncio.get_running_loop())
    joined.write(b"head")
    joined.write(b"body")
    assert behind.pieces == []
    await asyncio.sleep(0)
    assert behind.pieces == [b"headbody"]
    joined.write(b"more")
    await asyncio.sleep(0)
    assert behind.pieces == [b"headbody", b"more"]


async def test_what_is_large_is_sent_at_once_and_in_its_place(behind: Recorder) -> None:
    joined = JoinedWrites(behind, asyncio.get_running_loop())
    large = bytes(100_000)
    joined.write(b"head")
    joined.write(large)
    assert behind.pieces == [b"head", large]
    joined.write(b"end")
    await asyncio.sleep(0)
    assert behind.pieces == [b"head", large, b"end"]


async def test_closing_sends_what_was_written_before(behind: Recorder) -> None:
    joined = JoinedWrites(behind, asyncio.get_running_loop())
    joined.write(b"the last")
    joined.close()
    await asyncio.sleep(0)
    assert (behind.pieces, behind.closed) == ([b"the last"], True)


async def test_a_transport_that_closes_meanwhile_gets_nothing(behind: Recorder) -> None:
    joined = JoinedWrites(behind, asyncio.get_running_loop())
    joined.write(b"too late")
    behind.close()
    await asyncio.sleep(0)
    assert behind.pieces == []
    assert joined.is_closing()

"""Which of several servers gets the work: addresses, breaker, mirror, and the choice; without a server."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from service.engines.addresses import Addresses
from service.engines.breaker import Breaker
from service.engines.mirror import Mirror
from service.engines.protocol import Entry
from service.engines.triton_pool import TritonPool
from service.errors import EngineUnavailable

Resolved = dict[str, list[str]]


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch) -> Resolved:
    """Host → addresses, as the resolver of this test answers; a host without any is unknown."""
    hosts: Resolved = {}

    async def getaddrinfo(self: Any, host: str, port: int, **_: Any) -> list[Any]:
        if not hosts.get(host):
            raise socket.gaierror(f"unknown: {host}")
        return [
            (socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in hosts[host]
        ]

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", getaddrinfo)
    return hosts


async def test_several_addresses_and_names_that_stand_for_several(resolved: Resolved) -> None:
    resolved["triton"] = ["10.0.0.2", "10.0.0.1", "10.0.0.2"]
    found = await Addresses("127.0.0.1:8001, triton:9001,127.0.0.1:8001").resolve()
    assert found == ["127.0.0.1:8001", "10.0.0.1:9001", "10.0.0.2:9001"]


async def test_a_server_with_addresses_of_both_kinds_is_one(resolved: Resolved) -> None:
    resolved["localhost"] = ["::1", "127.0.0.1"]
    resolved["six"] = ["fd00::1"]
    assert await Addresses("localhost:8001,six:8001").resolve() == ["127.0.0.1:8001", "[fd00::1]:8001"]


async def test_a_name_that_nobody_knows_is_unavailable_and_beside_others_left_out(resolved: Resolved) -> None:
    with pytest.raises(EngineUnavailable, match="nobody"):
        await Addresses("nobody:8001").resolve()
    assert await Addresses("nobody:8001,10.0.0.9:1").resolve() == ["10.0.0.9:1"]


@pytest.mark.parametrize("urls", ["", "triton", "http://triton:8001", "triton:port", ":8001"])
def test_what_is_no_address_is_refused_at_once(urls: str) -> None:
    with pytest.raises(ValueError, match="VISION_TRITON_URL"):
        TritonPool(urls)


async def test_addresses_come_and_go_with_the_name(resolved: Resolved, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.engines.triton_pool.RESOLVE_EVERY_S", 0.0)
    resolved["triton"] = ["127.0.0.2", "127.0.0.3"]
    pool = TritonPool("triton:1")
    await pool.open()
    assert set(pool.addresses) == {"127.0.0.2:1", "127.0.0.3:1"}
    resolved["triton"] = ["127.0.0.3", "127.0.0.4"]
    async with asyncio.timeout(5):
        while set(pool.addresses) != {"127.0.0.3:1", "127.0.0.4:1"}:
            with pytest.raises(EngineUnavailable):
                await pool.entries()
            await asyncio.sleep(0.01)
    resolved["triton"] = []
    with pytest.raises(EngineUnavailable):
        await pool.entries()
    await asyncio.sleep(0.05)
    assert set(pool.addresses) == {"127.0.0.3:1", "127.0.0.4:1"}, "what is known is kept while the name is unknown"
    await pool.close()


def test_two_failures_eject_and_a_trial_that_works_brings_back() -> None:
    breaker = Breaker()
    assert breaker.failed(0.0) is False
    breaker.worked()
    assert breaker.failed(1.0) is False
    assert breaker.failed(2.0) is True
    assert not breaker.allows(2.5)
    assert breaker.allows(3.0)
    breaker.began()
    assert not breaker.allows(3.0), "one trial at a time"
    breaker.ended()
    assert breaker.failed(3.5) is False, "ejected already"
    assert not breaker.allows(5.0), "the pause is longer now"
    breaker.looked(5.0, well=True)
    assert breaker.allows(5.0), "it says that it is well"
    assert breaker.ejected
    breaker.worked()
    assert not breaker.ejected


def test_who_does_not_answer_looks_gets_no_trial_either() -> None:
    breaker = Breaker()
    assert breaker.looked(0.0, well=False) is False
    assert breaker.looked(0.5, well=False) is True
    assert not breaker.allows(60.0)
    breaker.looked(60.0, well=True)
    assert breaker.allows(60.0)


def test_what_one_server_lacks_for_seconds_is_copied_once() -> None:
    mirror = Mirror()
    has, lacks = [Entry("a", None, loaded=True)], [Entry("a", None, loaded=False)]
    seen = {"x": has, "y": lacks}
    assert mirror.missing(seen, 0.0) == []
    assert mirror.missing({"x": has, "y": has}, 3.0) == []
    assert mirror.missing(seen, 4.0) == []
    assert mirror.missing(seen, 9.0) == [("y", "a")]
    assert mirror.missing(seen, 10.0) == []
    assert mirror.missing({"x": lacks, "y": lacks}, 60.0) == []

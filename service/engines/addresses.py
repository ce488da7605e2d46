"""`VISION_TRITON_URL` → addresses: several with commas, and names that stand for several, as of a headless service."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket

from service.errors import EngineUnavailable

log = logging.getLogger(__name__)

RESOLVE_TIMEOUT_S = 2.0


class InvalidAddress(ValueError):
    """What is no HOST:PORT[,HOST:PORT…]; the sentence names the setting."""


class Addresses:
    """Raises InvalidAddress."""

    def __init__(self, urls: str) -> None:
        self._hosts = [_host_and_port(url.strip()) for url in urls.split(",") if url.strip()]
        if not self._hosts:
            raise InvalidAddress("VISION_TRITON_URL names no server")

    @property
    def literal(self) -> bool:
        """True if there is no name among them: they never change."""
        return all(_is_address(host) for host, _ in self._hosts)

    async def resolve(self) -> list[str]:
        """Every address as `host:port`, in order, none twice. Raises EngineUnavailable if no name can be resolved."""
        found: dict[str, None] = {}
        for host, port in self._hosts:
            found.update(dict.fromkeys(await _addresses(host, port)))
        if not found:
            raise EngineUnavailable(f"no address for {', '.join(host for host, _ in self._hosts)}")
        return list(found)


def _host_and_port(url: str) -> tuple[str, int]:
    host, colon, port = url.rpartition(":")
    if not colon or not host or not port.isdigit() or "/" in url:
        raise InvalidAddress(f"VISION_TRITON_URL: {url!r} is not HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def _addresses(host: str, port: int) -> list[str]:
    if _is_address(host):
        return [_joined(host, port)]
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(RESOLVE_TIMEOUT_S):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError) as err:
        log.debug("resolving %s: %s", host, err)
        return []
    # One server often has an address of each kind; taken for two, the second would look like one that is away.
    ipv4 = {str(info[4][0]) for info in found if info[0] is socket.AF_INET}
    return sorted(_joined(address, port) for address in ipv4 or {str(info[4][0]) for info in found})


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

"""What the gRPC front makes of who calls."""

from __future__ import annotations

import pytest

from service.grpc_front import _peer


@pytest.mark.parametrize(
    ("peer", "client"),
    [
        ("ipv4:127.0.0.1:50000", ("127.0.0.1", 50000)),
        ("ipv6:%5B::1%5D:50000", ("::1", 50000)),
        ("ipv6:%5B2001:db8::7%5D:443", ("2001:db8::7", 443)),
        ("ipv6:[::1]:50000", ("::1", 50000)),
        ("unix:", None),
    ],
)
def test_the_peer_is_an_address_as_http_has_it(peer: str, client: tuple[str, int] | None) -> None:
    """Else every address of a network that is limited as one would have a bucket of its own."""
    assert _peer(peer) == client

"""Bodies as gzip or deflate, both ways, on a worker: zlib lets go of the interpreter while it works."""

from __future__ import annotations

import re
import zlib
from typing import Literal

from service.errors import InvalidBody, TooLarge, UnsupportedMedia

Coding = Literal["gzip", "deflate"]

_NEVER = re.compile(r"q=0(\.0*)?")
_PIECE_BYTES = 256 * 1024
# Numbers hardly get smaller with more effort than this, and it is an answer that somebody waits for.
_LEVEL = 1
_AUTOMATIC = 32 + zlib.MAX_WBITS
# What HTTP calls deflate is zlib's format (RFC 9110, section 8.4.1.2).
_WBITS: dict[Coding, int] = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


def coding_of_body(content_encoding: str | None) -> Coding | None:
    """What the body is packed with. Raises UnsupportedMedia."""
    coding = (content_encoding or "identity").strip().lower()
    if coding == "identity":
        return None
    if coding in _WBITS:
        return coding
    raise UnsupportedMedia(f"content encoding {coding[:40]!r} is not accepted; send gzip, deflate or none")


def coding_wished(accept_encoding: str | None) -> Coding | None:
    """What the client wants the answer packed with: exactly one of the two named is a wish.

    Most libraries list all they know with every request; for them numbers are not worth the time to pack.
    """
    parts = [part.replace(" ", "").lower().split(";") for part in (accept_encoding or "").split(",")]
    named = [name for name, *rest in parts if not any(_NEVER.fullmatch(quality) for quality in rest)]
    wished: list[Coding] = [coding for coding in ("gzip", "deflate") if coding in named]
    return wished[0] if len(wished) == 1 else None


def unpack(body: bytes | bytearray, max_bytes: int) -> bytearray:
    """The body as it was before it was packed. Raises InvalidBody, and TooLarge as soon as it is larger than that."""
    stream = zlib.decompressobj(_AUTOMATIC)
    unpacked = bytearray()
    packed = memoryview(body)
    try:
        for start in range(0, len(packed), _PIECE_BYTES):
            if stream.eof:
                raise InvalidBody("the packed body goes on behind its end", field="Content-Encoding")
            rest: bytes | memoryview = packed[start : start + _PIECE_BYTES]
            while piece := stream.decompress(rest, _PIECE_BYTES):
                unpacked += piece
                if len(unpacked) > max_bytes:
                    raise TooLarge(f"the body unpacks to more than {max_bytes:,} bytes", limit=f"{max_bytes} bytes")
                rest = stream.unconsumed_tail
    except zlib.error as err:
        raise InvalidBody("the body is not what Content-Encoding says", field="Content-Encoding") from err
    if not stream.eof:
        raise InvalidBody("the packed body is cut off", field="Content-Encoding")
    if stream.unused_data:
        raise InvalidBody("the packed body goes on behind its end", field="Content-Encoding")
    return unpacked


def pack(pieces: list[bytes | memoryview], coding: Coding) -> bytes:
    """All pieces, one after the other, packed."""
    stream = zlib.compressobj(_LEVEL, wbits=_WBITS[coding])
    packed = [stream.compress(piece) for piece in pieces]
    return b"".join([*packed, stream.flush()])

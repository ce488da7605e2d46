"""An HTTP body → the pictures in it, counted while it arrives and refused as soon as it is too much."""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import from_json
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from service.errors import InvalidBody, TooLarge, UnsupportedMedia
from service.problem_document import echo

# The parser warns of every damaged body: a log that clients write.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)

RAW_TYPES = ("image/jpeg", "image/png", "image/webp", "application/octet-stream")


@dataclass(frozen=True, slots=True)
class BodyLimits:
    max_bytes: int
    max_images: int
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture's bytes, and what the request calls it: `image`, or `images[2]`."""

    field: str
    data: bytes


class Base64Body(BaseModel):
    """JSON body: one picture as `image`, or several as `images`, in base64. Options go into the query string."""

    model_config = ConfigDict(extra="forbid")

    image: str | None = Field(None, description="One picture in base64.")
    images: list[str] | None = Field(None, description="Several pictures in base64.", min_length=1)


async def read_pictures(request: Request, limits: BodyLimits) -> list[Picture]:
    """The request's pictures, at least one.

    Raises TooLarge, UnsupportedMedia (unknown content type), InvalidBody (not what its content type says, no picture,
    or not all of it arrived within the time limit).
    """
    content_type = request.headers.get("content-type", "application/octet-stream").split(";")[0].strip().lower()
    if content_type not in (*RAW_TYPES, "multipart/form-data", "application/json"):
        raise UnsupportedMedia(
            f"content type {echo(content_type)!r} is not accepted; send {', '.join(RAW_TYPES[:3])}, "
            "multipart/form-data or application/json "
            "(with curl: -H 'Content-Type: image/jpeg' --data-binary @picture.jpg)",
            field="Content-Type",
        )
    chunks: list[bytes] = []
    await read_chunks(request, limits.max_bytes, limits.timeout_s, chunks.append)
    body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
    if content_type == "multipart/form-data":
        pictures = await _from_multipart(request, body, limits.max_images)
    elif content_type == "application/json":
        pictures = _from_json(body, limits.max_images)
    else:
        return [Picture("image", body)]
    if len(pictures) == 1:
        return [Picture("image", pictures[0])]
    return [Picture(f"images[{i}]", data) for i, data in enumerate(pictures)]


async def read_chunks(request: Request, max_bytes: int, timeout_s: float, take: Callable[[bytes], object]) -> None:
    """Hands over the body piece by piece, as it arrives. Raises TooLarge, and InvalidBody if not all of it comes."""
    try:
        async with asyncio.timeout(timeout_s):
            await _read(request, max_bytes, take)
    except TimeoutError:
        raise InvalidBody(
            f"the body did not arrive within {timeout_s:g} s", field="body", limit=f"{timeout_s:g} s"
        ) from None
    except ClientDisconnect:
        raise InvalidBody("the connection was closed before all of the body had arrived", field="body") from None


async def _read(request: Request, max_bytes: int, take: Callable[[bytes], object]) -> None:
    declared = request.headers.get("content-length", "").lstrip("0")
    # The digits are counted first: Python refuses to read numbers of some thousand digits.
    if declared.isdecimal() and (len(declared) > 18 or int(declared) > max_bytes):
        raise _too_many_bytes(max_bytes)
    received, more = 0, True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk, more = message.get("body", b""), message.get("more_body", False)
        received += len(chunk)
        if received > max_bytes:
            raise _too_many_bytes(max_bytes)
        if chunk:
            take(chunk)


def _too_many_bytes(max_bytes: int) -> TooLarge:
    return TooLarge(f"the body exceeds {max_bytes:,} bytes", field="body", limit=f"{max_bytes} bytes")


class _Multipart(MultiPartParser):
    """Starlette's parser, without temporary files, and noticing whether the closing boundary came."""

    complete = False

    def on_end(self) -> None:
        self.complete = True

    def close(self) -> None:
        """Also the files that were begun and never ended."""
        for file in self._files_to_close_on_error:
            file.close()


async def _from_multipart(request: Request, body: bytes, max_images: int) -> list[bytes]:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    # One more than allowed, so that the refusal is ours and names the limit.
    parser = _Multipart(request.headers, stream(), max_files=max_images + 1, max_fields=16)
    parser.spool_max_size = len(body) + 1  # all of it is in memory already
    try:
        form = await parser.parse()
    except MultiPartException as err:
        if err.message.startswith("Too many files"):
            raise _too_many_images(max_images) from err
        raise InvalidBody(f"the multipart body cannot be read: {err.message}", field="body") from err
    except (KeyError, ValueError, UnicodeDecodeError) as err:
        raise InvalidBody(
            "the multipart body cannot be read: its boundary or a header is damaged", field="body"
        ) from err
    try:
        if not parser.complete:
            raise InvalidBody(
                "the multipart body does not end with the boundary of its content type: it is cut off, or has another",
                field="body",
            )
        pictures = []
        for name, value in form.multi_items():
            if not isinstance(value, UploadFile):
                raise InvalidBody(
                    f"part {echo(name)!r} is not a file; options go into the query string", field=echo(name) or "body"
                )
            pictures.append(await value.read())
    finally:
        parser.close()
    _check_count(len(pictures), max_images)
    return pictures


def _from_json(body: bytes, max_images: int) -> list[bytes]:
    # Not `model_validate_json`: it lists every complaint before it tells the first, and a body of ten megabytes can
    # give cause for five million.
    try:
        parsed = from_json(body)
    except ValueError as err:
        raise InvalidBody(f"the JSON body cannot be read: {err}", field="body") from err
    if not isinstance(parsed, dict):
        raise InvalidBody("the JSON body must be an object with `image` or `images`", field="body")
    for name in parsed:
        if name not in Base64Body.model_fields:
            known = echo(name) or "body"
            raise InvalidBody(f"the JSON body has {echo(name)!r}; options go into the query string", field=known)
    image, images = parsed.get("image"), parsed.get("images")
    if (image is None) == (images is None):
        raise InvalidBody("the JSON body must have either `image` or `images`", field="image")
    if image is not None:
        return [_decode_base64(image, "image")]
    if not isinstance(images, list) or not images:
        raise InvalidBody("`images` must be a list of pictures in base64, at least one", field="images")
    _check_count(len(images), max_images)
    return [_decode_base64(text, f"images[{i}]") for i, text in enumerate(images)]


def _decode_base64(text: object, field: str) -> bytes:
    if not isinstance(text, str):
        raise InvalidBody(f"{field} must be a picture in base64", field=field)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as err:
        raise InvalidBody(f"{field} is not base64", field=field) from err


def _check_count(count: int, max_images: int) -> None:
    if count == 0:
        raise InvalidBody("the body holds no picture", field="image")
    if count > max_images:
        raise _too_many_images(max_images)


def _too_many_images(max_images: int) -> TooLarge:
    return TooLarge(f"at most {max_images} pictures a request", field="images", limit=f"{max_images} pictures")

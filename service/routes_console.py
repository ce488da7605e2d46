"""The console: the files of `service/console/` as they are, from memory, under a policy that allows nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

router = APIRouter(include_in_schema=False)

PAGES = ("/", "/frontier", "/live")

_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
}

# Nothing inline, nothing from elsewhere; `blob:` is the picture that was dropped.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    # Asked for every time, answered with 304 nearly always: an upgrade is never seen by halves.
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class StaticFile:
    data: bytes
    media_type: str
    etag: str


@cache
def files() -> Mapping[str, StaticFile]:
    """Every file of the console, by its path below `service/console/`."""
    return {path: _read(file) for path, file in _walk(resources.files("service") / "console", "")}


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/")
        elif any(entry.name.endswith(suffix) for suffix in _MEDIA_TYPES):
            yield prefix + entry.name, entry


def _read(file: Traversable) -> StaticFile:
    data = file.read_bytes()
    suffix = file.name[file.name.rindex(".") :]
    return StaticFile(data, _MEDIA_TYPES[suffix], f'"{hashlib.sha256(data).hexdigest()[:20]}"')


async def page(request: Request) -> Response:
    """The one page; which of its views is shown is read off the address by the page itself."""
    return _respond(request, files()["index.html"])


for path in PAGES:
    router.add_api_route(path, page, methods=["GET", "HEAD"], response_class=Response)


@router.api_route("/console/{path:path}", methods=["GET", "HEAD"])
async def static(request: Request, path: str) -> Response:
    """One file of the page."""
    file = files().get(path)
    if file is None:
        raise HTTPException(404)
    return _respond(request, file)


def _respond(request: Request, file: StaticFile) -> Response:
    headers = {**HEADERS, "ETag": file.etag}
    if request.headers.get("if-none-match") == file.etag:
        return Response(status_code=304, headers=headers)
    return Response(file.data, media_type=file.media_type, headers=headers)

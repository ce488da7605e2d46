"""Every failure as RFC 9457 `application/problem+json`."""

from __future__ import annotations

import logging
import math
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from service.errors import InvalidParameter, RequestError, VisionError
from service.gateway import gateway_of_app
from service.problem_document import PROBLEM_MEDIA_TYPE, echo, problem_document
from service.request_id import request_id
from service.security_headers import SECURITY_HEADERS

log = logging.getLogger(__name__)


class NotFound(RequestError):
    status = 404
    code = "not-found"
    title = "No such address"


class MethodNotAllowed(RequestError):
    status = 405
    code = "method-not-allowed"
    title = "The address exists, this method does not"


def install(app: FastAPI) -> None:
    """Makes every error of the app a problem document, and says so in its OpenAPI document."""
    described = app.openapi
    app.openapi = lambda: _with_problems(described())  # type: ignore[method-assign]

    @app.exception_handler(VisionError)
    async def on_vision_error(request: Request, err: VisionError) -> Response:
        if err.status >= 500 and err.retry_after_s is None:
            log.warning("%s %s: %s", request_id(request.scope), err.code, err.detail)
        return problem(request, err)

    @app.exception_handler(RequestValidationError)
    async def on_validation_error(request: Request, err: RequestValidationError) -> Response:
        return problem(request, _first_parameter(err))

    @app.exception_handler(HTTPException)
    async def on_http_exception(request: Request, err: HTTPException) -> Response:
        if err.status_code == 405:
            response = problem(
                request, MethodNotAllowed(f"{echo(request.method)} is not offered at {echo(request.url.path)}")
            )
            response.headers.update(err.headers or {})
            return response
        if err.status_code == 404:
            return problem(
                request, NotFound(f"there is nothing at {echo(request.url.path)}; /docs lists what there is")
            )
        return problem(request, RequestError(str(err.detail)))

    @app.exception_handler(Exception)
    async def on_bug(request: Request, err: Exception) -> Response:
        log.error("%s failed. This is a bug.", request_id(request.scope), exc_info=err)
        response = problem(request, VisionError("something unexpected happened; the log has the request's id"))
        # This one answer is made outside of the middleware that puts these on all the others.
        response.headers.update({"X-Request-Id": request_id(request.scope), **SECURITY_HEADERS})
        return response


def problem(request: Request, err: VisionError) -> JSONResponse:
    """The error's problem document, with Retry-After (whole seconds, rounded up) where waiting helps."""
    gateway_of_app(request).metrics.problems.labels(str(err.status), err.code).inc()
    headers = dict(err.headers)
    if err.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(err.retry_after_s)))
    document = problem_document(err, request_id(request.scope))
    return JSONResponse(document, err.status, headers, media_type=PROBLEM_MEDIA_TYPE)


def _with_problems(document: dict[str, Any]) -> dict[str, Any]:
    """The OpenAPI document with every failure in the media type it really has; FastAPI knows but its own shapes."""
    content = {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for operations in document["paths"].values():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    response["content"] = content
    for unused in ("HTTPValidationError", "ValidationError"):
        document.get("components", {}).get("schemas", {}).pop(unused, None)
    return document


def _first_parameter(err: RequestValidationError) -> InvalidParameter:
    first = err.errors()[0]
    field = echo(str(first["loc"][-1]) if first["loc"] else "") or "query"
    context = first.get("ctx", {})
    names = ("gt", "ge", "lt", "le", "min_length", "max_length", "expected")
    bounds = [f"{name} {context[name]}" for name in names if name in context]
    if first["type"] == "extra_forbidden":
        return InvalidParameter(f"there is no parameter {field!r}; /docs lists them", field=field)
    return InvalidParameter(f"{field}: {first['msg']}", field=field, limit=", ".join(bounds) or None)

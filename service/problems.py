"""Every failure as RFC 9457 `application/problem+json`."""

from __future__ import annotations

import logging
import math
import time
from functools import cache
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from service.errors import CapacityError, DeadlineInfeasible, OverFairShare, Overloaded, RequestError, VisionError
from service.front import SCOPE_KEY, Asked
from service.gateway import gateway_of_app
from service.openapi import INFER_SCHEMAS, PROBLEM, TENSOR_PROBLEM, add_headers
from service.openapi_examples import add_examples
from service.problem_document import PROBLEM_MEDIA_TYPE, echo, problem_document
from service.query import invalid_parameter
from service.request_id import received_s, request_id
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
    app.openapi = cache(lambda: _with_problems(described()))  # type: ignore[method-assign]

    @app.exception_handler(VisionError)
    async def on_vision_error(request: Request, err: VisionError) -> Response:
        return answer_error(request, err)

    @app.exception_handler(RequestValidationError)
    async def on_validation_error(request: Request, err: RequestValidationError) -> Response:
        return problem(request, invalid_parameter(err.errors()))

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


def answer_error(request: Request, err: VisionError) -> Response:
    """The error's problem document; what an operator should know of is logged."""
    if err.status >= 500 and err.retry_after_s is None:
        log.warning("%s %s: %s", request_id(request.scope), err.code, err.detail)
    return problem(request, err)


def problem(request: Request, err: VisionError) -> JSONResponse:
    """The error's problem document, with Retry-After (whole seconds, rounded up) where waiting helps.

    Under /v2 it is what the Open Inference Protocol says an error is.
    """
    gateway_of_app(request).metrics.problems.labels(str(err.status), err.code).inc()
    headers = dict(err.headers)
    if err.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(err.retry_after_s)))
    if isinstance(err, CapacityError):
        headers["Server-Timing"] = f"refused;dur={(time.monotonic() - received_s(request.scope)) * 1e3:.3f}"
    asked: Asked | None = request.scope.get(SCOPE_KEY)
    if asked is not None and isinstance(err, (DeadlineInfeasible, Overloaded, OverFairShare)):
        asked.refused(err)
    if speaks_tensors(request.url.path):
        return JSONResponse({"error": err.detail}, err.status, headers)
    document = problem_document(err, request_id(request.scope))
    return JSONResponse(document, err.status, headers, media_type=PROBLEM_MEDIA_TYPE)


def speaks_tensors(path: str) -> bool:
    """Whether what is at that path speaks the Open Inference Protocol, errors included."""
    return path == "/v2" or path.startswith("/v2/")


def _with_problems(document: dict[str, Any]) -> dict[str, Any]:
    """The OpenAPI document with every failure in the media type it really has; FastAPI knows but its own shapes."""
    for path, operations in document["paths"].items():
        content = TENSOR_PROBLEM if speaks_tensors(path) else PROBLEM
        for operation in operations.values():
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    response["content"] = content
                if response["description"] == "Validation Error":
                    response["description"] = "A parameter is outside its limits."
    document.setdefault("components", {}).setdefault("schemas", {}).update(INFER_SCHEMAS)
    add_headers(document)
    add_examples(document, tensors=("/v2",))
    for unused in ("HTTPValidationError", "ValidationError"):
        document.get("components", {}).get("schemas", {}).pop(unused, None)
    return document

"""What FastAPI cannot see by itself: the bodies we read ourselves, and the problems each route may answer with."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from service.bodies import Base64Body
from service.openapi_examples import PICTURES_AS_JSON, TENSORS_AS_JSON
from service.query import query_parameters
from service.schemas import Problem, RouteQuery
from service.tensor_documents import TensorError
from service.tensors import InferRequest

PROBLEM: dict[str, Any] = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
TENSOR_PROBLEM: dict[str, Any] = {"application/json": {"schema": {"$ref": "#/components/schemas/TensorError"}}}

_BINARY = {"schema": {"type": "string", "format": "binary"}}

_BUDGET_HEADER = {
    "name": "X-Latency-Budget-Ms",
    "in": "header",
    "required": False,
    "description": "The latency budget in milliseconds, for clients that cannot change the query.",
    "schema": {"type": "number", "exclusiveMinimum": 0},
}

_BASE64_PICTURE = {"type": "string", "contentEncoding": "base64", "description": "A picture in base64."}
_BASE64_BODY = {
    "title": "Base64Body",
    "description": Base64Body.__doc__,
    "oneOf": [
        {
            "title": "OnePicture",
            "type": "object",
            "properties": {"image": _BASE64_PICTURE},
            "required": ["image"],
            "additionalProperties": False,
        },
        {
            "title": "SeveralPictures",
            "type": "object",
            "properties": {"images": {"type": "array", "items": _BASE64_PICTURE, "minItems": 1}},
            "required": ["images"],
            "additionalProperties": False,
        },
    ],
}

_PICTURE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "One picture as it is, several as multipart files, or base64 in JSON.",
        "content": {
            "image/jpeg": _BINARY,
            "image/png": _BINARY,
            "image/webp": _BINARY,
            "application/octet-stream": _BINARY,
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "file": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                            "minItems": 1,
                            "description": "1 to 16 pictures; what the parts are called does not matter.",
                        }
                    },
                    "required": ["file"],
                }
            },
            "application/json": {"schema": _BASE64_BODY, "examples": PICTURES_AS_JSON},
        },
    },
}


def pictures_and(query: type[RouteQuery]) -> dict[str, Any]:
    """FastAPI's `openapi_extra` for a route that takes pictures and these parameters, both of which it reads itself."""
    return _PICTURE_BODY | {"parameters": [*query_parameters(query), _BUDGET_HEADER]}


# What FastAPI adds to the JSON of a route that may answer with a picture instead.
PICTURE_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "JSON; a picture if `overlay=true`, or if `Accept` is image/png and the answer is a map.",
        "content": {"image/jpeg": _BINARY, "image/png": _BINARY},
    }
}

_COMPONENT = "#/components/schemas/{model}"
# The request of /v2/…/infer, which we read ourselves.
INFER_SCHEMAS: dict[str, Any] = models_json_schema([(InferRequest, "validation")], ref_template=_COMPONENT)[1]["$defs"]

INFER_BODY: dict[str, Any] = {
    "parameters": [
        {
            "name": "Inference-Header-Content-Length",
            "in": "header",
            "required": False,
            "description": "How many bytes of the body are JSON; the rest are tensors. Left out: all of it is JSON.",
            "schema": {"type": "integer", "minimum": 0},
        },
        {
            "name": "Content-Encoding",
            "in": "header",
            "required": False,
            "description": "What the body is packed with.",
            "schema": {"type": "string", "enum": ["gzip", "deflate", "identity"]},
        },
    ],
    "requestBody": {
        "required": True,
        "description": "JSON, or JSON followed by the bytes of the tensors.",
        "content": {
            "application/json": {
                "schema": {"$ref": _COMPONENT.format(model="InferRequest")},
                "examples": TENSORS_AS_JSON,
            },
            "application/octet-stream": _BINARY,
        },
    },
}

METRICS_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Every series, as OpenMetrics text.",
        "content": {"application/openmetrics-text": {"schema": {"type": "string"}}},
    }
}

# What FastAPI adds to the JSON of an answer whose tensors may follow as bytes.
TENSOR_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "JSON; if an output was asked for as bytes, the JSON and then these bytes.",
        "content": {"application/octet-stream": _BINARY},
        "headers": {
            "Inference-Header-Content-Length": {
                "description": "How many bytes are JSON, if bytes follow.",
                "schema": {"type": "integer"},
            }
        },
    }
}

_MEANINGS = {
    400: "The body is not what it says, or the picture cannot be decoded.",
    404: "No such model, or none that does this; if it is known but not exported, the command that exports it.",
    413: "Beyond a size limit: bytes, pixels, a side, or the number of pictures.",
    415: "Neither JPEG, PNG nor WebP; or a content type that is not accepted.",
    422: "A parameter outside its limits, or a budget or accuracy that no model meets.",
    500: "The model failed.",
    503: "No room, or no engine, just now; Retry-After says when to come back.",
    504: "Admitted, but not finished in time.",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """FastAPI's `responses` for these statuses, each a problem document."""
    return {status: {"description": _MEANINGS[status], "model": Problem, "content": PROBLEM} for status in statuses}


_TENSOR_MEANINGS = _MEANINGS | {
    400: "The body is not what it says, or a tensor is not what the model takes; the sentence names it.",
    404: "No such model, or no such version of it.",
    413: "Beyond a size limit.",
    415: "Packed with something other than gzip or deflate.",
    422: "A timeout that the model cannot meet, or a parameter outside its limits.",
}


def tensor_problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The same for /v2, where an error is what the Open Inference Protocol says."""
    return {status: {"description": _TENSOR_MEANINGS[status], "model": TensorError} for status in statuses}


_INFERENCE_HEADERS = {
    "X-Model": {"description": "The model that answered.", "schema": {"type": "string"}},
    "Server-Timing": {"description": "Where the time went, in milliseconds.", "schema": {"type": "string"}},
}
_RETRY_AFTER = {"Retry-After": {"description": "Come back after so many seconds.", "schema": {"type": "integer"}}}
_REQUEST_ID = {"X-Request-Id": {"description": "Yours, if you sent one.", "schema": {"type": "string"}}}


def add_headers(document: dict[str, Any]) -> None:
    """The headers that each answer may have."""
    for operations in document["paths"].values():
        for operation in operations.values():
            runs = "504" in operation["responses"]
            for status, response in operation["responses"].items():
                more = _INFERENCE_HEADERS if status == "200" and runs else _RETRY_AFTER if status == "503" else {}
                response["headers"] = response.get("headers", {}) | _REQUEST_ID | more

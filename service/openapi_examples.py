"""Examples for the OpenAPI document: of every parameter, every answer and every error; openapi_examples.json has them.

Answers were given by the models of `make export`, lists shortened.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any

from service.errors import InvalidEntry, InvalidTensor, VisionError

_ID = "9f1c2b7e4a"
# 8×8 pixels in red.
_PNG_BASE64 = "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAFUlEQVR42mM8YWPDgA0wMeAAg1MCAP8UAVA8mjsgAAAAAElFTkSuQmCC"
PICTURES_AS_JSON = {
    "one": {"summary": "One picture", "value": {"image": _PNG_BASE64}},
    "several": {"summary": "Several pictures", "value": {"images": [_PNG_BASE64, _PNG_BASE64]}},
}
TENSORS_AS_JSON = {
    "numbers": {
        "summary": "One picture as numbers (shortened: the model takes 224 × 224 × 3)",
        "value": {
            "id": _ID,
            "inputs": [{"name": "image", "shape": [1, 224, 224, 3], "datatype": "UINT8", "data": [143, 120, 104]}],
            "outputs": [{"name": "probabilities"}],
        },
    },
    "binary": {
        "summary": "The JSON in front of 150,528 bytes, with Inference-Header-Content-Length",
        "value": {
            "inputs": [
                {
                    "name": "image",
                    "shape": [1, 224, 224, 3],
                    "datatype": "UINT8",
                    "parameters": {"binary_data_size": 150528},
                }
            ],
            "parameters": {"binary_data_output": True, "timeout": 100_000},
        },
    },
}


@cache
def examples() -> dict[str, Any]:
    """`answers` by operation, `problems` by code, `parameters` by name."""
    text = (resources.files("service") / "openapi_examples.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def add_examples(document: dict[str, Any], *, tensors: tuple[str, ...]) -> None:
    """Puts them into the document; `tensors` are the beginnings of paths where errors are `{"error": …}`."""
    for path, operations in document["paths"].items():
        for operation in operations.values():
            _add_to(operation, path.startswith(tensors))


def _add_to(operation: dict[str, Any], tensors: bool) -> None:
    known = examples()
    for parameter in operation.get("parameters", ()):
        if parameter["name"] in known["parameters"]:
            parameter["example"] = known["parameters"][parameter["name"]]
    answer = known["answers"].get(operation["operationId"].replace("v2_version_", "v2_").replace("_version_", "_"))
    if answer is not None:
        operation["responses"]["200"]["content"]["application/json"]["example"] = answer
    for status, response in operation["responses"].items():
        if int(status) >= 400:
            (media_type, content), *_ = response["content"].items()
            shown = dict(_errors(int(status), tensors))
            response["content"] = {media_type: content | {"examples": shown}} if shown else response["content"]


@cache
def _errors(status: int, tensors: bool) -> tuple[tuple[str, dict[str, Any]], ...]:
    """Code → example, for every error of that status."""
    found = {}
    for error in _classes(VisionError):
        if error.status == status and error is not InvalidEntry and (tensors or error is not InvalidTensor):
            said = {"detail": error.title} | examples()["problems"].get(error.code, {})
            problem = {
                "type": f"urn:vision-gateway:problem:{error.code}",
                "title": error.title,
                "status": status,
                "instance": _ID,
            } | said
            found[error.code] = {
                "summary": error.title,
                "value": {"error": said["detail"]} if tensors else problem,
            }
    return tuple(found.items())


def _classes(error: type[VisionError]) -> Iterator[type[VisionError]]:
    yield error
    for child in error.__subclasses__():
        yield from _classes(child)

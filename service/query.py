"""The query string of a request → its model, in one step.

FastAPI would look up and check every parameter by itself, which costs more than all else that the routes do
(benchmarks/overhead.py). So it is told nothing of them, and the OpenAPI document gets them from the same model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from service.errors import InvalidParameter
from service.problem_document import echo

Model = TypeVar("Model", bound=BaseModel)


def query_of(request: Request, model: type[Model]) -> Model:
    """The parameters, checked. Raises InvalidParameter for the first that is wrong, or that the model has not."""
    try:
        return model.model_validate(dict(request.query_params))
    except ValidationError as err:
        raise invalid_parameter(err.errors(include_url=False)) from err


def invalid_parameter(errors: Sequence[Any]) -> InvalidParameter:
    """The first of pydantic's errors as ours, with its bounds."""
    first = errors[0]
    field = echo(str(first["loc"][-1]) if first["loc"] else "") or "query"
    context = first.get("ctx", {})
    names = ("gt", "ge", "lt", "le", "min_length", "max_length", "expected")
    bounds = [f"{name} {context[name]}" for name in names if name in context]
    if first["type"] == "extra_forbidden":
        return InvalidParameter(f"there is no parameter {field!r}; /docs lists them", field=field)
    return InvalidParameter(f"{field}: {first['msg']}", field=field, limit=", ".join(bounds) or None)


def query_parameters(model: type[BaseModel]) -> list[dict[str, Any]]:
    """The model's fields as OpenAPI's query parameters."""
    schema = model.model_json_schema()
    required = schema.get("required", [])
    return [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "schema": {key: value for key, value in field.items() if (key, value) != ("default", None)},
            "description": field.get("description", ""),
        }
        for name, field in schema["properties"].items()
    ]

"""The query string of a request → its model, in one step.

FastAPI would look up and check every parameter by itself, which costs more than all else that the routes do
(benchmarks/overhead.py). So it is told nothing of them, and the OpenAPI document gets them from the same model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeVar, cast

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import QueryParams

from service.errors import InvalidParameter
from service.problem_document import echo

Model = TypeVar("Model", bound=BaseModel)

# Queries that are kept with what they mean: a few hundred kilobytes at most.
_MOST_REMEMBERED = 256
_LONGEST_REMEMBERED = 256


def query_of(request: Request, model: type[Model]) -> Model:
    """The parameters, checked. Raises InvalidParameter for the first that is wrong, or that the model has not."""
    query: bytes = request.scope["query_string"]
    try:
        if len(query) <= _LONGEST_REMEMBERED:
            return cast(Model, _remembered(query, model))
        return model.model_validate(dict(request.query_params))
    except ValidationError as err:
        raise invalid_parameter(err.errors(include_url=False)) from err


def refuse_repeated(request: Request) -> None:
    """Raises InvalidParameter for a parameter that is given more than once."""
    query: bytes = request.scope["query_string"]
    found = (_repeated if len(query) <= _LONGEST_REMEMBERED else _repeated.__wrapped__)(query)
    if found is not None:
        name, times = found
        raise InvalidParameter(f"{name} is given {times} times", field=name, limit="once")


@lru_cache(maxsize=_MOST_REMEMBERED)
def _remembered(query: bytes, model: type[BaseModel]) -> BaseModel:
    """Clients ask the same over and over. What is wrong raises, and is not remembered."""
    return model.model_validate(dict(QueryParams(query)))


@lru_cache(maxsize=_MOST_REMEMBERED)
def _repeated(query: bytes) -> tuple[str, int] | None:
    """The first name that occurs more than once, and how often."""
    counted = Counter(name for name, _ in QueryParams(query).multi_items())
    return next(((name, times) for name, times in counted.items() if times > 1), None)


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

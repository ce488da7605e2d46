"""The OpenAPI document says what the gateway does."""

from __future__ import annotations

import json
from typing import Annotated, Any

import jsonschema_rs
import pytest
from fastapi import FastAPI, Query
from pydantic import BaseModel

from service.app import create_app
from service.engines.fake import FakeEngine
from service.openapi_examples import examples
from service.schemas import ClassifyQuery, DetectQuery, EmbedQuery, RouteTaskQuery, SegmentQuery
from service.settings import Settings
from tests.conftest import FakeGateway
from tests.write_docs import client_errors

DOCUMENT: dict[str, Any] = create_app(Settings(workers=1), FakeEngine([])).openapi()
OPERATIONS: list[tuple[str, str, dict[str, Any]]] = [
    (method, path, operation) for path, methods in DOCUMENT["paths"].items() for method, operation in methods.items()
]
each_operation = pytest.mark.parametrize(
    ("method", "path", "operation"), OPERATIONS, ids=[f"{method} {path}" for method, path, _ in OPERATIONS]
)


def references(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*(references(child) for child in node.values()))
    return set().union(*(references(child) for child in node)) if isinstance(node, list) else set()


@each_operation
def test_every_operation_has_a_name_and_says_what_it_does(method: str, path: str, operation: dict[str, Any]) -> None:
    assert operation["operationId"]
    assert operation["summary"]
    assert len(operation["description"]) > 5
    assert operation["tags"]


def test_operation_names_are_unique() -> None:
    names = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(set(names)) == len(names)


@each_operation
def test_every_parameter_is_described(method: str, path: str, operation: dict[str, Any]) -> None:
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "query":
            assert parameter.get("description"), parameter["name"]


@each_operation
def test_every_failure_is_documented_as_it_is(method: str, path: str, operation: dict[str, Any]) -> None:
    """As a problem; under /v2 as the Open Inference Protocol wants it."""
    tensors = path.startswith("/v2")
    media_type = "application/json" if tensors else "application/problem+json"
    for status, response in operation["responses"].items():
        if int(status) >= 400:
            assert list(response["content"]) == [media_type]
            schema = response["content"][media_type]["schema"]["$ref"]
            assert schema.endswith("/TensorError" if tensors else "/Problem")
            assert response["description"]


@pytest.mark.parametrize("path", ["/v1/classify", "/v1/embed"])
def test_inference_documents_every_status_it_can_have(path: str) -> None:
    statuses = set(DOCUMENT["paths"][path]["post"]["responses"])
    assert statuses == {"200", "400", "404", "413", "415", "422", "500", "503", "504"}


def test_nothing_refers_to_what_is_not_there() -> None:
    schemas = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
    assert references(DOCUMENT) <= schemas
    assert not any("ValidationError" in name for name in schemas), "FastAPI's own errors are never sent"


@pytest.mark.parametrize("path", ["/v1/classify", "/v1/embed", "/v1/route"])
def test_every_way_to_send_a_picture_is_documented(path: str) -> None:
    content = DOCUMENT["paths"][path]["post"]["requestBody"]["content"]
    assert {"image/jpeg", "image/png", "image/webp", "multipart/form-data", "application/json"} <= set(content)


async def test_the_document_is_served_and_the_page_that_shows_it_too(fake_gateway: FakeGateway) -> None:
    served = await fake_gateway.client.get("/openapi.json")
    assert served.json()["paths"].keys() == DOCUMENT["paths"].keys()
    assert json.loads(served.text)["info"]["title"] == "vision-gateway"
    assert (await fake_gateway.client.get("/docs")).status_code == 200


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("classify", ClassifyQuery),
        ("embed", EmbedQuery),
        ("detect", DetectQuery),
        ("segment", SegmentQuery),
        ("route", RouteTaskQuery),
    ],
)
def test_parameters_are_described_as_fastapi_would(path: str, model: type[BaseModel]) -> None:
    """The routes parse the query themselves; who reads the document must not see that."""
    app = FastAPI()

    async def endpoint(query: Any) -> None: ...

    endpoint.__annotations__["query"] = Annotated[model, Query()]
    app.get("/")(endpoint)
    theirs = app.openapi()["paths"]["/"]["get"]["parameters"]
    ours = [p for p in DOCUMENT["paths"][f"/v1/{path}"]["post"]["parameters"] if p["in"] == "query"]
    assert [{key: value for key, value in p.items() if key != "example"} for p in ours] == theirs


def json_of(response: dict[str, Any]) -> dict[str, Any] | None:
    content: dict[str, dict[str, Any]] = response.get("content", {})
    return content.get("application/json") or content.get("application/problem+json")


@each_operation
def test_every_answer_and_every_error_has_an_example_that_fits(
    method: str, path: str, operation: dict[str, Any]
) -> None:
    """Where one is missing: service/openapi_examples.json."""
    for status, response in operation["responses"].items():
        content = json_of(response)
        if content is None:
            continue
        shown = [content["example"]] if "example" in content else [e["value"] for e in content["examples"].values()]
        assert shown, status
        schema = content["schema"] | {"components": DOCUMENT["components"]}
        for example in shown:
            jsonschema_rs.validate(schema, example)


def test_every_error_has_a_sentence_of_its_own() -> None:
    said = examples()["problems"]
    ours = {error.code for error in client_errors() if error.__module__ == "service.errors"}
    assert ours - said.keys() == set()


@each_operation
def test_every_request_has_an_example_that_fits(method: str, path: str, operation: dict[str, Any]) -> None:
    for parameter in operation.get("parameters", []):
        schema = parameter["schema"] | {"components": DOCUMENT["components"]}
        jsonschema_rs.validate(schema, parameter["example"])
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content is not None:
        schema = content["schema"] | {"components": DOCUMENT["components"]}
        for example in content["examples"].values():
            jsonschema_rs.validate(schema, example["value"])


async def test_the_example_pictures_are_pictures(fake_gateway: FakeGateway) -> None:
    content = DOCUMENT["paths"]["/v1/classify"]["post"]["requestBody"]["content"]["application/json"]
    for example in content["examples"].values():
        answer = await fake_gateway.client.post("/v1/classify?tier=batch", json=example["value"])
        assert answer.status_code == 200, answer.text

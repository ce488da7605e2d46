"""The console's files: only what the API has is read, nothing comes from elsewhere, everything is served strictly."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from service.app import create_app
from service.engines.fake import FakeEngine
from service.routes_console import PAGES, files
from service.settings import Settings
from tests.conftest import FakeGateway
from tests.gateway_server import ROOT

CONSOLE = ROOT / "service" / "console"
SCRIPTS = sorted((CONSOLE / "js").glob("*.js"))
DOCUMENT: dict[str, Any] = create_app(Settings(workers=1), FakeEngine([])).openapi()
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
SHAPES: dict[str, Any] = json.loads(
    (CONSOLE / "js" / "shapes.js").read_text(encoding="utf-8").split("export const SHAPES = ")[1].rstrip().rstrip(";")
)
OPERATIONS = {
    operation["operationId"]: (method.upper(), path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}
each_operation = pytest.mark.parametrize("name", [name for name in SHAPES if name != "problem"])


def missing(shape: Any, schema: dict[str, Any], path: str) -> list[str]:
    """The fields of the shape that no variant of the schema has."""
    if shape == 1:
        return []
    variants = _resolved(schema)
    if isinstance(shape, list):
        items = [variant["items"] for variant in variants if "items" in variant]
        return min((missing(shape[0], item, f"{path}[]") for item in items), key=len, default=[f"{path} is no list"])
    objects = [variant["properties"] for variant in variants if "properties" in variant]
    return min(
        (_missing_of(shape, properties, path) for properties in objects), key=len, default=[f"{path} is no object"]
    )


def _missing_of(shape: dict[str, Any], properties: dict[str, Any], path: str) -> list[str]:
    found = []
    for marked, inner in shape.items():
        name = marked.rstrip("?")
        found += missing(inner, properties[name], f"{path}.{name}") if name in properties else [f"{path}.{name}"]
    return found


def _resolved(schema: dict[str, Any]) -> list[dict[str, Any]]:
    if "$ref" in schema:
        return _resolved(SCHEMAS[schema["$ref"].rsplit("/", 1)[1]])
    if "anyOf" in schema:
        return [variant for one in schema["anyOf"] for variant in _resolved(one)]
    return [schema]


@each_operation
def test_every_field_that_the_console_reads_is_in_the_openapi_document(name: str) -> None:
    schema = OPERATIONS[name][2]["responses"]["200"]["content"]["application/json"]["schema"]
    assert missing(SHAPES[name]["answer"], schema, name) == []


def test_every_field_of_a_problem_is_in_the_openapi_document() -> None:
    schema = {"$ref": "#/components/schemas/Problem"}
    assert missing(SHAPES["problem"]["answer"], schema, "problem") == []
    optional = {name.rstrip("?") for name in SHAPES["problem"]["answer"] if name.endswith("?")}
    assert optional.isdisjoint(SCHEMAS["Problem"]["required"])


@each_operation
def test_every_wish_that_the_console_sends_is_a_parameter(name: str) -> None:
    parameters = {parameter["name"] for parameter in OPERATIONS[name][2].get("parameters", [])}
    assert set(SHAPES[name]["query"]) <= parameters


def test_the_addresses_are_those_of_the_operations() -> None:
    text = (CONSOLE / "js" / "api.js").read_text(encoding="utf-8")
    found = dict(re.findall(r'^  (\w+): "((?:GET|POST) /\S+)",$', text, re.MULTILINE))
    assert found.keys() == SHAPES.keys() - {"problem"}
    assert found == {name: f"{OPERATIONS[name][0]} {OPERATIONS[name][1]}" for name in found}


def test_a_field_that_is_not_there_is_noticed() -> None:
    assert missing({"modle": 1}, {"$ref": "#/components/schemas/RouteAnswer"}, "route") == ["route.modle"]
    assert missing([{"x": 1}], {"$ref": "#/components/schemas/RouteAnswer"}, "route") == ["route is no list"]


def test_only_api_js_asks_the_api() -> None:
    asking = [
        path.name for path in SCRIPTS if re.search(r"\bfetch\(|XMLHttpRequest|WebSocket", path.read_text("utf-8"))
    ]
    assert asking == ["api.js", "intake.js"], "intake.js fetches the samples"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_small_import_what_exists_and_make_no_markup(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for name, module in re.findall(r'import \{([^}]*)\} from "(.*?)"', text):
        exported = (path.parent / module).read_text(encoding="utf-8")
        for wanted in (part.strip() for part in name.split(",")):
            assert re.search(rf"^export (?:async )?(?:function|class|const|let) {wanted}\b", exported, re.MULTILINE), (
                wanted
            )
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text)
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert len(text.splitlines()) <= 300


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.identities: list[str] = []
        self.fetched: list[str] = []
        self.inline: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.identities += [given["id"] or ""] if "id" in given else []
        self.fetched += [
            given[name] or "" for name in ("src", "href") if name in given and tag in ("link", "script", "img")
        ]
        self.inline += [tag] if tag == "style" or (tag == "script" and "src" not in given) else []
        self.inline += [f"{tag} {name}" for name in given if name == "style" or name.startswith("on")]


def the_page() -> _Page:
    page = _Page()
    page.feed((CONSOLE / "index.html").read_text(encoding="utf-8"))
    return page


def test_the_page_has_nothing_inline_and_fetches_only_what_is_shipped() -> None:
    page = the_page()
    assert page.inline == []
    assert [url for url in page.fetched if url.removeprefix("/console/") not in files()] == []
    styles = "".join(path.read_text(encoding="utf-8") for path in (CONSOLE / "css").glob("*.css"))
    assert "url(" not in styles
    assert "@import" not in styles


def test_every_element_that_a_script_looks_for_is_on_the_page() -> None:
    identities = the_page().identities
    assert len(set(identities)) == len(identities)
    made = {"task-", "kind-", "tier-", "tab-"}  # by wishes.js and request_card.js
    for path in SCRIPTS:
        for name in re.findall(r'byId\("([\w-]+)"\)', path.read_text(encoding="utf-8")):
            assert name in identities or name.startswith(tuple(made)), f"{path.name}: {name}"


def test_every_sample_has_its_licence_and_is_small() -> None:
    licences = (CONSOLE / "samples" / "LICENCES.md").read_text(encoding="utf-8")
    offered = re.findall(r'name: "(\w+\.jpg)"', (CONSOLE / "js" / "intake.js").read_text(encoding="utf-8"))
    pictures = sorted((CONSOLE / "samples").glob("*.jpg"))
    assert sorted(offered) == [path.name for path in pictures]
    for path in pictures:
        assert f"`{path.name}`" in licences
        assert path.stat().st_size < 100_000


@pytest.mark.parametrize("path", PAGES)
async def test_pages_are_served_under_a_strict_policy(fake_gateway: FakeGateway, path: str) -> None:
    response = await fake_gateway.client.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.strip().split(" ", 1) for part in response.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["x-request-id"]
    assert (await fake_gateway.client.head(path)).status_code == 200


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("js/main.js", "text/javascript; charset=utf-8"),
        ("css/tokens.css", "text/css; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
        ("samples/chelsea.jpg", "image/jpeg"),
    ],
)
async def test_files_are_what_lies_in_the_folder_and_are_not_sent_twice(
    fake_gateway: FakeGateway, path: str, media_type: str
) -> None:
    response = await fake_gateway.client.get(f"/console/{path}")
    assert response.content == (CONSOLE / path).read_bytes()
    assert response.headers["content-type"] == media_type
    again = await fake_gateway.client.get(f"/console/{path}", headers={"If-None-Match": response.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_the_console_is_no_part_of_the_api_s_document(fake_gateway: FakeGateway) -> None:
    paths = (await fake_gateway.client.get("/openapi.json")).json()["paths"]
    assert [path for path in paths if path in PAGES or path.startswith("/console")] == []

"""What every refusal looks like on the wire."""

from __future__ import annotations

from typing import Any

import httpx

PREFIX = "urn:vision-gateway:problem:"


def assert_problem(
    response: httpx.Response, status: int, code: str, *, field: str | None = None, limit: str | None = None
) -> dict[str, Any]:
    """The problem document, once it is seen to be a complete one with these values and no others."""
    assert response.status_code == status, response.text[:500]
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["type"] == PREFIX + code
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    assert len(document["detail"]) < 400, "a sentence, not the client's own words back"
    assert document["instance"] == response.headers["x-request-id"]
    assert document.get("field") == field
    assert document.get("limit") == limit
    assert ("Retry-After" in response.headers) == ("retry_after_s" in document)
    unknown = document.keys() - {"type", "title", "status", "detail", "instance", "field", "limit", "retry_after_s"}
    assert not unknown
    return document

"""One failure as the JSON object of RFC 9457, wherever in the gateway it is answered."""

from __future__ import annotations

from service.errors import VisionError

TYPE_PREFIX = "urn:vision-gateway:problem:"
PROBLEM_MEDIA_TYPE = "application/problem+json"


# How much of a client's own words an error repeats.
_ECHO_CHARACTERS = 80


def echo(text: str) -> str:
    """A client's own words as an error may repeat them: the beginning, if there are many."""
    return text if len(text) <= _ECHO_CHARACTERS else text[:_ECHO_CHARACTERS] + "…"


def problem_document(err: VisionError, identity: str) -> dict[str, object]:
    """type, title, status, detail, instance (the request's id); field, limit and retry_after_s where there are any."""
    body: dict[str, object] = {
        "type": TYPE_PREFIX + err.code,
        "title": err.title,
        "status": err.status,
        "detail": err.detail,
        "instance": identity,
    }
    if err.field is not None:
        body["field"] = err.field
    if err.limit is not None:
        body["limit"] = err.limit
    if err.retry_after_s is not None:
        body["retry_after_s"] = round(err.retry_after_s, 3)
    return body

"""Every way a call can end without an answer.

ClientError
├── NotReachable            no connection, or it broke before the answer came
├── NoAnswerInTime          nothing came within the call's `timeout_s`
├── UnexpectedAnswer        whatever answered is no vision-gateway
└── ProblemError            the gateway said no, and why (RFC 9457)
    ├── RequestRefused      4xx: the caller can mend it
    │   ├── PictureRefused  this picture is the fault: no picture, damaged, too large
    │   ├── ModelNotFound   404: unknown, not in this repository, or none that does this
    │   ├── Unsatisfiable   422: no model is that fast, or that accurate
    │   └── NotAllowed      401, 403: the key is missing, wrong, or not enough
    ├── NotAvailable        503, 429: nothing is wrong with the request; `retry_after_s` says when to ask again
    ├── DeadlineExceeded    504: admitted, but not finished within the budget
    └── ServerFailed        any other 5xx
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TYPE_PREFIX = "urn:vision-gateway:problem:"


class ClientError(Exception):
    """There is no answer; the message says why."""


class NotReachable(ClientError):
    """No connection to the gateway, or it broke before the answer had come."""


class NoAnswerInTime(ClientError):
    """The call's `timeout_s` passed without an answer."""


class UnexpectedAnswer(ClientError):
    """What answered does not speak as a vision-gateway does: a proxy, or another service."""


class ProblemError(ClientError):
    """What the gateway said: a problem document.

    type            urn:vision-gateway:problem:<code>          code     its last part, stable
    status          of HTTP                                    title    what kind of problem
    detail          one sentence on this one                   instance the request's id, as in the gateway's log
    field, limit    what to change, and its bound, or None
    retry_after_s   when the same request may fare better, or None
    """

    def __init__(self, document: Mapping[str, Any], status: int, retry_after_s: float | None = None) -> None:
        self.document = dict(document)
        self.status = status
        self.type = str(document.get("type", "about:blank"))
        self.code = self.type.removeprefix(TYPE_PREFIX)
        self.title = str(document.get("title", ""))
        self.detail = str(document.get("detail", ""))
        self.instance: str | None = document.get("instance")
        self.field: str | None = document.get("field")
        self.limit: str | None = document.get("limit")
        self.retry_after_s = retry_after_s
        super().__init__(f"{self.detail or self.title or 'no reason given'} ({status} {self.code})")


class RequestRefused(ProblemError):
    """4xx: the caller can mend it."""


class PictureRefused(RequestRefused):
    """One picture is the fault; `field` says which, where several were sent."""


class ModelNotFound(RequestRefused):
    """No model of that name, or none in this repository."""


class Unsatisfiable(RequestRefused):
    """No model is that fast even on an idle machine, or that accurate."""


class NotAllowed(RequestRefused):
    """The key is missing, wrong, or does not allow this."""


class NotAvailable(ProblemError):
    """No room, or no model ready, just now."""


class DeadlineExceeded(ProblemError):
    """Admitted, but not finished within the budget."""


class ServerFailed(ProblemError):
    """The gateway or a model failed."""


_BY_CODE: dict[str, type[ProblemError]] = {
    "bad-image": PictureRefused,
    "invalid-body": PictureRefused,
    "too-large": PictureRefused,
    "unsupported-media": PictureRefused,
    "unknown-model": ModelNotFound,
    "model-not-exported": ModelNotFound,
    "no-model": ModelNotFound,
    "budget-unsatisfiable": Unsatisfiable,
    "accuracy-unsatisfiable": Unsatisfiable,
}
_BY_STATUS: dict[int, type[ProblemError]] = {
    401: NotAllowed,
    403: NotAllowed,
    429: NotAvailable,
    503: NotAvailable,
    504: DeadlineExceeded,
}


def problem_error(document: Mapping[str, Any], status: int, retry_after_s: float | None) -> ProblemError:
    """The error that this problem document stands for."""
    code = str(document.get("type", "")).removeprefix(TYPE_PREFIX)
    kind = _BY_STATUS.get(status) or _BY_CODE.get(code) or (RequestRefused if status < 500 else ServerFailed)
    return kind(document, status, retry_after_s)

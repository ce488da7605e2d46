"""Every way a request can fail, and the status it has on the wire.

bytes ──▶ picture ──▶ pixels ──▶ job ──▶ answer: each error belongs to one arrow, and is raised where it is understood.

    VisionError
    ├── RequestError            400..431: the client can mend it
    │   ├── Unauthorized        401  no key, or one that nobody has
    │   ├── Forbidden           403  the key may not ask for this
    │   ├── RateLimited         429  more requests than the key, or the address, may send
    │   ├── InvalidRequest      400  not HTTP/1.1 as we read it
    │   ├── HeadersTooSlow      408  the request's headers did not arrive in time
    │   ├── HeadersTooLarge     431  address and headers beyond a size limit
    │   ├── InvalidParameter    422  a query parameter or JSON field outside its limits
    │   ├── UnknownModel        404  nobody knows that name
    │   ├── ModelNotExported    404  the catalogue knows it, this repository lacks it
    │   ├── NoModel             404  no model of this repository does that
    │   ├── WrongTask           422  the model exists but does something else
    │   ├── BudgetUnsatisfiable    422  no model is that fast, however idle the machine
    │   ├── AccuracyUnsatisfiable  422  no model is that accurate
    │   ├── InvalidBody         400  the body is not what its content type says
    │   ├── InvalidTensor       400  a tensor is not what the model takes (/v2)
    │   ├── UnsupportedMedia    415  neither JPEG, PNG nor WebP; or an unknown content type
    │   ├── TooLarge            413  bytes, pixels, sides or pictures beyond a limit
    │   └── BadImage            400  looks like a picture, cannot be decoded
    ├── CapacityError           503: nothing wrong with the request
    │   ├── Overloaded          503  too many requests in flight
    │   ├── OverFairShare       503  this client has more than its share in flight, and others wait
    │   ├── DeadlineInfeasible  503  no model makes the budget just now
    │   ├── ModelLoading        503  the model is being loaded, and will not be there in time
    │   └── NotReady            503  no model is ready yet
    ├── EngineError
    │   ├── EngineUnavailable   503  the inference server does not answer
    │   │   └── ModelUnavailable   503  it does, but this model is not loaded there
    │   ├── DeadlineExceeded    504  admitted, but not finished in time
    │   └── EngineFailed        500  the model itself failed
    └── InvalidEntry            a repository entry that cannot be served (never reaches a client as such)

`code` is the stable last part of the problem's `type`; `detail` is written for the client and never holds internals.
"""

from __future__ import annotations

from typing import ClassVar


class VisionError(Exception):
    """A failure with an HTTP status, a stable code and a sentence for the client."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"

    # What goes beside the problem document, by the rules of its status.
    headers: ClassVar[dict[str, str]] = {}

    retry_after_s: float | None = None

    def __init__(
        self, detail: str, *, field: str | None = None, limit: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field
        self.limit = limit
        if retry_after_s is not None:
            self.retry_after_s = retry_after_s


class RequestError(VisionError):
    """The client can mend it."""

    status = 400
    code = "bad-request"
    title = "Bad request"


class Unauthorized(RequestError):
    status = 401
    code = "unauthorized"
    title = "A key is needed"
    headers: ClassVar[dict[str, str]] = {"WWW-Authenticate": 'Bearer realm="vision-gateway"'}


class Forbidden(RequestError):
    status = 403
    code = "forbidden"
    title = "The key may not ask for this"


class RateLimited(RequestError):
    status = 429
    code = "rate-limited"
    title = "More requests than allowed"
    retry_after_s = 1.0


class InvalidRequest(RequestError):
    status = 400
    code = "invalid-request"
    title = "The request cannot be read"


class HeadersTooSlow(RequestError):
    status = 408
    code = "headers-too-slow"
    title = "The request did not arrive in time"


class HeadersTooLarge(RequestError):
    status = 431
    code = "headers-too-large"
    title = "The request's headers are too large"


class InvalidParameter(RequestError):
    status = 422
    code = "invalid-parameter"
    title = "A parameter is outside its limits"


class UnknownModel(RequestError):
    status = 404
    code = "unknown-model"
    title = "No such model"


class ModelNotExported(RequestError):
    status = 404
    code = "model-not-exported"
    title = "The model is known but not in this repository"


class NoModel(RequestError):
    status = 404
    code = "no-model"
    title = "No model of this repository does that"


class WrongTask(RequestError):
    status = 422
    code = "wrong-task"
    title = "The model does something else"


class BudgetUnsatisfiable(RequestError):
    status = 422
    code = "budget-unsatisfiable"
    title = "No model is that fast, even on an idle machine"


class AccuracyUnsatisfiable(RequestError):
    status = 422
    code = "accuracy-unsatisfiable"
    title = "No model is that accurate"


class InvalidBody(RequestError):
    status = 400
    code = "invalid-body"
    title = "The body cannot be read"


class InvalidTensor(RequestError):
    status = 400
    code = "invalid-tensor"
    title = "A tensor is not what the model takes"


class UnsupportedMedia(RequestError):
    status = 415
    code = "unsupported-media"
    title = "Not a supported picture format"


class TooLarge(RequestError):
    status = 413
    code = "too-large"
    title = "Beyond a size limit"


class BadImage(RequestError):
    status = 400
    code = "bad-image"
    title = "The picture cannot be decoded"


class CapacityError(VisionError):
    """Nothing is wrong with the request; there is no room for it now."""

    status = 503
    code = "unavailable"
    title = "Not available now"
    retry_after_s = 1.0


class Overloaded(CapacityError):
    code = "overloaded"
    title = "Too many requests in flight"


class OverFairShare(CapacityError):
    code = "over-fair-share"
    title = "Other clients get their share first"


class DeadlineInfeasible(CapacityError):
    code = "deadline-infeasible"
    title = "No model would answer in time just now"


class ModelLoading(CapacityError):
    code = "model-loading"
    title = "The model is being loaded"


class NotReady(CapacityError):
    code = "not-ready"
    title = "No model is ready"


class EngineError(VisionError):
    """Something went wrong behind the gateway."""

    code = "engine-error"
    title = "Inference failed"


class EngineUnavailable(EngineError):
    status = 503
    code = "engine-unavailable"
    title = "The inference server does not answer"
    retry_after_s = 1.0


class ModelUnavailable(EngineUnavailable):
    code = "model-unavailable"
    title = "The model is in the repository, but cannot be used now"


class DeadlineExceeded(EngineError):
    status = 504
    code = "deadline-exceeded"
    title = "Not finished in time"


class EngineFailed(EngineError):
    status = 500
    code = "engine-failed"
    title = "The model failed"

    # Which one, where that is known: whoever chose it may choose another.
    model: str = ""


class InvalidEntry(VisionError):
    """`reason` is one word for metrics: config, incomplete, digest, external-data, graph, memory, too-large."""

    code = "invalid-entry"
    title = "A model repository entry cannot be served"

    def __init__(self, detail: str, reason: str = "config") -> None:
        super().__init__(detail)
        self.reason = reason

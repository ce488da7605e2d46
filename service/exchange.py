"""What every inference route does: query → Ask, body → pictures, hang-up → cancelled, result → response."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request
from starlette.responses import Response

from service import tracing
from service.ask import Ask, Strategy
from service.bodies import BodyLimits, Picture, read_pictures
from service.clients import Client, client_of, task_of
from service.errors import InvalidParameter
from service.front import SCOPE_KEY, Asked
from service.gateway import Gateway
from service.hang_up import hang_up_of
from service.manifest import SegmentKind, Task
from service.pipeline import Served
from service.query import refuse_repeated
from service.request_id import ClientGone, received_s
from service.schemas import RouteQuery, Wire
from service.settings import Settings

T = TypeVar("T")


def ask_of(
    request: Request,
    settings: Settings,
    query: RouteQuery,
    task: Task,
    outputs: tuple[str, ...],
    strategy: Strategy = "single",
) -> Ask:
    """The query in the pipeline's terms.

    Raises InvalidParameter for a parameter given twice, for two budgets, or one that is too long; Forbidden for what
    the client's key may not ask for.
    """
    client = client_of(request.scope)
    client.require_task(task_of(task, outputs[0]) if outputs else task)  # a route's outputs belong to one task
    refuse_repeated(request)
    budget_ms = query.latency_budget_ms
    header = request.headers.get("x-latency-budget-ms")
    if header is not None:
        if budget_ms is not None:
            raise InvalidParameter(
                "the budget is given twice, in the query and in a header", field="X-Latency-Budget-Ms"
            )
        budget_ms = _positive_ms(header)
    if budget_ms is not None and query.tier is not None:
        raise InvalidParameter("give a tier or a budget, not both", field="tier")
    if budget_ms is not None and budget_ms > settings.max_budget_ms:
        limit = f"{settings.max_budget_ms:g} ms"
        raise InvalidParameter(f"the budget is above {limit}", field="latency_budget_ms", limit=limit)
    tier, allowed_ms = _tier(settings, query, budget_ms, client)
    return Ask(
        task=task,
        outputs=outputs,
        tier=tier,
        budget_ms=allowed_ms,
        received_s=received_s(request.scope),
        model=query.model,
        min_accuracy=query.min_accuracy,
        degrade=query.on_infeasible == "degrade",
        keep_late=query.late == "return",
        priority=query.priority,
        strategy=strategy,
        client=client.name,
    )


def kind_of(gateway: Gateway, model: str | None, kind: SegmentKind | None) -> SegmentKind:
    """The kind asked for, else what the model named gives, else semantic. Raises what `Fleet.pinned` raises."""
    named = gateway.fleet.pinned(model, "segment", kind).cards[0].segment_kind if model else None
    return kind or named or "semantic"


def _tier(settings: Settings, query: RouteQuery, budget_ms: float | None, client: Client) -> tuple[Any, float]:
    """The tier's label and its budget. A model named without a budget may take as long as any request may.

    What the client did not ask for stays below its ceiling; what it did ask for and may not have is refused.
    """
    if budget_ms is not None:
        client.require_budget(budget_ms, "latency_budget_ms")
        return "custom", budget_ms
    if query.tier is not None:
        budget_ms = settings.tier_budget_ms(query.tier)
        client.require_budget(budget_ms, "tier")
        return query.tier, budget_ms
    ceiling_ms = math.inf if client.max_budget_ms is None else client.max_budget_ms
    if query.model is not None:
        return "none", min(settings.max_budget_ms, ceiling_ms)
    standard_ms = settings.tier_budget_ms("standard")
    if ceiling_ms < standard_ms:
        return client.max_tier or "custom", ceiling_ms
    return "standard", standard_ms


def _positive_ms(text: str) -> float:
    try:
        budget_ms = float(text)
    except ValueError:
        budget_ms = 0.0
    if not 0.0 < budget_ms < float("inf"):
        raise InvalidParameter(
            f"X-Latency-Budget-Ms is {text[:40]!r}, must be a number of milliseconds above 0",
            field="X-Latency-Budget-Ms",
            limit="above 0 ms",
        )
    return budget_ms


async def read_body(
    request: Request, gateway: Gateway, ask: Ask, *, to_run: bool = True
) -> tuple[list[Picture], float]:
    """The request's pictures, and how many milliseconds they took to arrive.

    Raises the pipeline's refusal before that, if it is sure already. What has arrived is not looked at twice: its
    picture is judged in a moment. Who only wants to know what would be chosen (not `to_run`) is refused nothing.
    """
    asked: Asked | None = request.scope.get(SCOPE_KEY)
    if to_run and (asked is None or not asked.whole):
        gateway.pipeline.refuse_early(ask)
    settings = gateway.settings
    before_ms = ask.spent_ms()
    limits = BodyLimits(settings.max_body_bytes, settings.max_images, settings.body_timeout_s)
    pictures = await read_pictures(request, limits)
    read_ms = ask.spent_ms() - before_ms
    tracing.took("read", read_ms / 1e3, pictures=len(pictures))
    return pictures, read_ms


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The work's result; if the client hangs up first, the work is cancelled before it costs anything more.

    Raises ClientGone then.
    """
    hang_up = hang_up_of(request.scope)
    if hang_up is None:
        return await _unless_told(request, work)
    if hang_up.happened:
        work.close()
        raise ClientGone
    hang_up.cancels = asyncio.current_task()
    try:
        return await work
    except asyncio.CancelledError:
        if hang_up.happened:
            raise ClientGone from None
        raise
    finally:
        hang_up.cancels = None


async def _unless_told(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The same behind any other server: it tells who goes on listening. Two tasks more for every request."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_hung_up(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)  # till all that it held is given back
            raise ClientGone
        return await task
    finally:
        gone.cancel()
        task.cancel()


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def respond(document: Wire, served: Served, timing_ms: dict[str, float]) -> Response:
    """The document as JSON, with which model it is of and where the time went."""
    headers = _headers(served, timing_ms)
    return Response(document.model_dump_json(), media_type="application/json", headers=headers)


def respond_pictured(data: bytes, media_type: str, served: Served, timing_ms: dict[str, float]) -> Response:
    """A picture as the answer, with the same headers."""
    return Response(data, media_type=media_type, headers=_headers(served, timing_ms))


def _headers(served: Served, timing_ms: dict[str, float]) -> dict[str, str]:
    server_timing = ", ".join(f"{name};dur={ms}" for name, ms in timing_ms.items())
    return {"X-Model": served.card.name, "Server-Timing": server_timing}

"""What operators ask, on the admin port only."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from service.gateway import Gateway, gateway_of
from service.openapi import METRICS_ANSWER

router = APIRouter()


@router.get("/metrics", operation_id="metrics", tags=["operations"], response_class=Response, responses=METRICS_ANSWER)
async def metrics(gateway: Annotated[Gateway, Depends(gateway_of)]) -> Response:
    """Prometheus, as OpenMetrics text."""
    return Response(gateway.metrics.exposition(), media_type=gateway.metrics.content_type)

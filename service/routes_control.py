"""For operators: models into memory and out of it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path

from service.gateway import Gateway, gateway_of
from service.openapi import problems
from service.schemas import ModelState

router = APIRouter()
Gate = Annotated[Gateway, Depends(gateway_of)]
Name = Annotated[str, Path(max_length=200, description="As `GET /v1/models` lists it.")]


@router.post("/v1/models/{name}/load", operation_id="load_model", tags=["models"], responses=problems(404, 503))
async def load(gateway: Gate, name: Name) -> ModelState:
    """Loads the model, whatever was said before; answers when it is in memory."""
    gateway.fleet.known(name)
    await gateway.fleet.inventory.load(name)
    return ModelState(name=name, state=gateway.fleet.state(name))


@router.post("/v1/models/{name}/unload", operation_id="unload_model", tags=["models"], responses=problems(404, 503))
async def unload(gateway: Gate, name: Name) -> ModelState:
    """Takes the model out of memory and keeps it out until it is loaded here again.

    Nothing new goes to it from now on; answers when what it was doing is done.
    """
    gateway.fleet.known(name)
    await gateway.fleet.inventory.unload(name)
    return ModelState(name=name, state=gateway.fleet.state(name))

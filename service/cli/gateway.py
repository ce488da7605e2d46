"""From `--server`, or its absence, to a client of a gateway that is ready."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import typer

from service.cli.exit_codes import ExitCode
from service.cli.in_process import in_process, what_is_missing
from service.client import AsyncClient, ClientError, NotAllowed, NotAvailable, NotReachable, UnexpectedAnswer

T = TypeVar("T")

# Nobody waits for one picture of many: a gateway that is busy, or just being restarted, is given seconds.
_RETRIES = 8


@dataclass(frozen=True, slots=True)
class Where:
    """The gateway to ask; `server` None: one in this process."""

    server: str | None
    api_key: str | None = field(repr=False)


@asynccontextmanager
async def ready_gateway(where: Where) -> AsyncIterator[AsyncClient]:
    """A client of a gateway that answers. Raises Exit(3), having said why, if there is none."""
    async with _client(where) as client:
        try:
            readiness = await client.ready()
        except ClientError as err:
            raise failed(err) from err
        if not readiness:
            said = f"{where.server} is not ready: {readiness.detail}" if where.server else what_is_missing()
            typer.echo(said, err=True)
            raise typer.Exit(ExitCode.NO_GATEWAY)
        yield client


def _client(where: Where) -> AbstractAsyncContextManager[AsyncClient]:
    if where.server is None:
        return in_process(where.api_key)
    try:
        return AsyncClient(where.server, api_key=where.api_key, retries=_RETRIES)
    except ValueError as err:
        raise typer.BadParameter(f"{err}.", param_hint="--server") from err


def failed(err: ClientError) -> typer.Exit:
    """The exit of a command that ends with this error, having said it."""
    typer.echo(str(err), err=True)
    if isinstance(err, NotAllowed):
        return typer.Exit(ExitCode.NOT_ALLOWED)
    if isinstance(err, NotReachable | UnexpectedAnswer | NotAvailable):
        return typer.Exit(ExitCode.NO_GATEWAY)
    return typer.Exit(ExitCode.USAGE)


def run(work: Coroutine[Any, Any, T]) -> T:
    """The coroutine's result. Ctrl-C cancels it, and ends the command with code 130 and without a traceback."""
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        typer.echo("Interrupted.", err=True)
        raise typer.Exit(ExitCode.INTERRUPTED) from None

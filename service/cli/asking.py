"""Many pictures, several on the way at once, their outcomes in order. One that fails stops none of the others."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from service.cli.overlays import write_overlay
from service.cli.pictures import PictureFile
from service.client import (
    Classification,
    ClientError,
    DeadlineExceeded,
    Detections,
    NoAnswerInTime,
    NotAvailable,
    PictureRefused,
    Segmentation,
    ServerFailed,
    Unsatisfiable,
)

Result = Classification | Detections | Segmentation
Ask = Callable[[Path], Awaitable[Result]]

# Beyond so many rounds of answers, one slow picture at the front holds up the asking.
_ROUNDS_AHEAD = 4


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one picture: a result, or why there is none."""

    picture: PictureFile
    result: Result | None = None
    error: ClientError | OSError | None = None
    overlay: Path | None = None


async def outcomes(
    pictures: list[PictureFile], ask: Ask, parallel: int, overlay: Path | None
) -> AsyncIterator[Outcome]:
    """One outcome a picture, in order. Raises the ClientError that all would meet: no gateway, a wrong option.

    Left early, what is on the way is given up.
    """
    room = asyncio.Semaphore(parallel)
    ahead: deque[asyncio.Task[Outcome]] = deque()

    async def one(picture: PictureFile) -> Outcome:
        async with room:
            return await _outcome(picture, ask, overlay)

    try:
        for picture in pictures:
            ahead.append(asyncio.create_task(one(picture)))
            if len(ahead) == _ROUNDS_AHEAD * parallel:
                yield await ahead.popleft()
        while ahead:
            yield await ahead.popleft()
    finally:
        for task in ahead:
            task.cancel()
        await asyncio.gather(*ahead, return_exceptions=True)


async def _outcome(picture: PictureFile, ask: Ask, overlay: Path | None) -> Outcome:
    try:
        result = await ask(picture.path)
        drawn = await asyncio.to_thread(write_overlay, result, picture, overlay) if overlay else None
    except (OSError, NoAnswerInTime, NotAvailable, DeadlineExceeded, PictureRefused, ServerFailed) as err:
        return Outcome(picture, error=err)
    except Unsatisfiable as err:
        # A budget may be too short for one picture and not for the next; an accuracy is beyond every model, always.
        if err.code != "budget-unsatisfiable":
            raise
        return Outcome(picture, error=err)
    return Outcome(picture, result, overlay=drawn)

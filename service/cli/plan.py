"""`vision plan`: how many replicas of what a load needs (docs/planning.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.cores import usable_cores


def plan(
    rps: Annotated[float | None, typer.Option(min=0.001, help="Requests a second, of one picture each.")] = None,
    tier: Annotated[
        str, typer.Option(metavar="NAME=SHARE,…", help="What they are; shares add up to 1.")
    ] = "standard=1",
    device: Annotated[str, typer.Option(help="Part of the name of the device as profiles have it: h100.")] = "",
    profiles: Annotated[Path | None, typer.Option(help="Profiles from elsewhere; left out: the repository's.")] = None,
    repository: Annotated[Path | None, typer.Option(help="Left out: VISION_REPOSITORY.")] = None,
    task: Annotated[str, typer.Option(metavar="classify|detect|segment", help="What is asked for.")] = "classify",
    target: Annotated[float, typer.Option(help="Share of each tier to be answered in time.")] = 0.99,
    max_replicas: Annotated[int | None, typer.Option(min=1, help="No more than so many in all.")] = None,
    cores: Annotated[int, typer.Option(min=1, help="Cores of a replica, where profiles are of a CPU.")] = (
        usable_cores()
    ),
    picture: Annotated[str, typer.Option(metavar="WxH", help="A typical JPEG, for the time to decode it.")] = "640x480",
    write: Annotated[
        Path | None,
        typer.Option("--write-profiles", metavar="FILE", help="Only write what the repository's cards say."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The answer as JSON.")] = False,
) -> None:
    """Say how many replicas of which models a load needs, what share they answer in time, how often they are right.

    Exit code: 0 a plan, 1 there is none, or nothing was measured on that device, 2 wrong usage.
    """
    from service.plan_command import run

    run(
        rps=rps,
        tier=tier,
        device=device,
        profiles=profiles,
        repository=repository,
        task=task,
        target=target,
        max_replicas=max_replicas,
        cores=cores,
        picture=picture,
        write=write,
        as_json=as_json,
    )

"""`vision plan`: how many replicas of what a load needs, from measured profiles (docs/planning.md)."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import typer

from service.environment import read_settings
from service.image_header import ImageHeader
from service.latency import Predictor
from service.planning import FleetPlan, NoPlan, Profiled, TierLoad, make_plan
from service.profile_file import InvalidProfiles, Measured, measured_in, read_profiles, write_profiles
from service.settings import Settings, Tier

NOT_MEASURED = """\
There are no measured profiles for {device!r}; there are for: {known}.
Nothing is guessed. On such a host measure them, and bring the file here:

  vision-export --default --tensorrt          # on a GPU; without --tensorrt on a CPU
  vision plan --write-profiles {file}
  vision plan … --device {device} --profiles {file}"""


def run(
    *,
    rps: float | None,
    tier: str,
    device: str,
    profiles: Path | None,
    repository: Path | None,
    task: str,
    target: float,
    max_replicas: int | None,
    cores: int,
    picture: str,
    write: Path | None,
    as_json: bool,
) -> None:
    """What `vision plan` does, with its options. Raises typer.Exit with its exit codes."""
    settings = read_settings()
    folder = repository or settings.repository
    if write is not None:
        found = measured_in(folder)
        write_profiles(found, write)
        typer.echo(f"{len(found)} profiles of {folder} written to {write}.")
        return
    if rps is None:
        raise typer.BadParameter("how many requests a second?", param_hint="--rps")
    if not 0.0 < target < 1.0:
        raise typer.BadParameter("must lie between 0 and 1.", param_hint="--target")
    loads = _loads(tier, rps, settings)
    header = _header(picture)
    try:
        known = measured_in(folder) if profiles is None else read_profiles(profiles)
    except InvalidProfiles as err:
        raise typer.BadParameter(str(err), param_hint="--profiles") from err
    chosen = _of_device(known, device, task)
    if not chosen:
        names = ", ".join(sorted({one.profile.device for one in known if one.task == task})) or "no device at all"
        slug = device.replace(" ", "-") or "device"
        typer.echo(NOT_MEASURED.format(device=device or "any", known=names, file=f"{slug}.json"), err=True)
        raise typer.Exit(1)
    try:
        made = make_plan([_profiled(one, header, cores) for one in chosen], loads, target, max_replicas)
    except NoPlan as err:
        typer.echo(str(err), err=True)
        raise typer.Exit(1) from err
    measured_on = sorted({one.profile.device for one in chosen})
    typer.echo(
        json.dumps(_document(made, measured_on, target), indent=1) if as_json else _text(made, measured_on, target)
    )


def _loads(text: str, rps: float, settings: Settings) -> list[TierLoad]:
    tiers: dict[str, Tier] = {tier: tier for tier in get_args(Tier)}
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, share = part.strip().partition("=")
        if name not in tiers or name in shares:
            raise typer.BadParameter(f"{name!r} is none of {', '.join(tiers)}, or is there twice.", param_hint="--tier")
        try:
            shares[name] = float(share)
        except ValueError as err:
            raise typer.BadParameter(f"{part.strip()!r} is not NAME=SHARE.", param_hint="--tier") from err
    if abs(sum(shares.values()) - 1.0) > 0.005 or min(shares.values()) <= 0:
        raise typer.BadParameter(f"the shares add up to {sum(shares.values()):g}, not to 1.", param_hint="--tier")
    return [TierLoad(name, settings.tier_budget_ms(tiers[name]), rps * share) for name, share in shares.items()]


def _header(text: str) -> ImageHeader:
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise typer.BadParameter(f"{text!r} is not WxH in pixels.", param_hint="--picture")
    return ImageHeader("jpeg", int(width), int(height))


def _of_device(known: list[Measured], device: str, task: str) -> list[Measured]:
    """Those of the device that can stand in for one another; of several such groups the largest."""
    fitting = [one for one in known if one.task == task and device.lower() in one.profile.device.lower()]
    if not fitting:
        return []
    # Numbers of one device do not compare with another's: the name must mean one kind of replica.
    on_cores = Counter(one.on_cores for one in fitting).most_common(1)[0][0]
    fitting = [one for one in fitting if one.on_cores == on_cores]
    largest = Counter(one.yardstick for one in fitting).most_common(1)[0][0]
    return [one for one in fitting if one.yardstick == largest]


def _profiled(one: Measured, header: ImageHeader, cores: int) -> Profiled:
    profile = one.profile
    return Profiled(
        name=one.model,
        accuracy=one.accuracy,
        alpha_ms=profile.alpha_ms,
        beta_ms=profile.beta_ms,
        max_batch_size=one.max_batch_size,
        decode_ms=Predictor().decode_ms(header, one.resize),
        cores=cores if one.on_cores else 0,
    )


def _document(made: FleetPlan, devices: list[str], target: float) -> dict[str, Any]:
    return {
        "measured_on": devices,
        "target": target,
        "replicas": made.replicas,
        "attainment": round(made.attainment, 5),
        "effective_accuracy": round(made.effective_accuracy, 3),
        "decoding_cores": round(made.decoding_cores, 1),
        "tiers": [
            {
                "tier": share.load.tier,
                "budget_ms": share.load.budget_ms,
                "rate_per_s": share.load.rate_per_s,
                "model": share.model.name,
                "accuracy": share.model.accuracy,
                "replicas": share.replicas,
                "attainment": round(share.attainment, 5),
                "effective_accuracy": round(share.effective_accuracy, 3),
            }
            for share in made.shares
        ],
    }


def _text(made: FleetPlan, devices: list[str], target: float) -> str:
    heading = ("tier", "requests/s", "budget", "model", "accuracy", "replicas", "in time", "effective")
    rows = [
        (
            share.load.tier,
            f"{share.load.rate_per_s:g}",
            f"{share.load.budget_ms:g} ms",
            share.model.name,
            f"{share.model.accuracy:.1f} %",
            str(share.replicas),
            _percent(share.attainment),
            f"{share.effective_accuracy:.1f} %",
        )
        for share in made.shares
    ]
    rate = sum(share.load.rate_per_s for share in made.shares)
    total = (_percent(made.attainment), f"{made.effective_accuracy:.1f} %")
    rows.append(("together", f"{rate:g}", "", "", "", str(made.replicas), *total))
    widths = [max(len(row[i]) for row in (heading, *rows)) for i in range(len(heading))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (heading, *rows)]
    cores = made.shares[0].model.cores
    replica = f"A replica is {cores} such core{'s' if cores > 1 else ''}" if cores else "A replica is one such GPU"
    said = [f"{replica}; {target:.1%} of each tier are to be in time. Measured on {'; '.join(devices)}."]
    if made.decoding_cores:
        said.append(f"Decoding keeps about {made.decoding_cores:.0f} cores of gateways busy (estimated, not measured).")
    return "\n".join([*(line.rstrip() for line in lines), "", *said, "What this assumes: docs/planning.md."])


def _percent(share: float) -> str:
    """Never 100 %: nothing is certain that a formula says."""
    return f"{share:.2%}" if share < 0.9999 else ">99.99%"

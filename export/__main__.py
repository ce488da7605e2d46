"""`vision-export`: catalogue names in, repository entries out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, get_args

import typer
from rich.console import Console

from export import all_command, import_command
from export.batch import run
from export.catalogue.registry import (
    CALIBRATED_HEADS,
    CALIBRATED_NAMES,
    CATALOGUE,
    DEFAULT_NAMES,
    HUB_DEFAULT_NAMES,
    find,
)
from export.catalogue.row import Row
from export.command_line import MANNERS, PROGRAM, Names, words_typed
from export.errors import UnknownRow
from export.outcome import Outcome, Plan
from export.sources import Choice, parse_choice
from export.tables import catalogue_table, outcomes_table
from service.manifest import Device

app = typer.Typer(**MANNERS)


def _choice(text: str) -> Choice:
    try:
        return parse_choice(text)
    except ValueError as err:
        raise typer.BadParameter(f"{err}.", param_hint="--weights") from err


def _rows(names: list[str]) -> tuple[Row, ...]:
    try:
        return tuple(find(name) for name in dict.fromkeys(names))
    except UnknownRow as err:
        raise typer.BadParameter(str(err), param_hint="NAME") from err


def _precisions(
    precision: str, calibration: Path | None, rows: tuple[Row, ...]
) -> tuple[frozenset[str], frozenset[str]]:
    """Names of the rows that must get an INT8 variant, and of those that must get an FP16 one."""
    if precision not in ("fp32", "fp16", "int8"):
        raise typer.BadParameter(f"{precision!r} is neither fp32 nor int8, nor fp16.", param_hint="--precision")
    if calibration is not None and precision != "int8":
        raise typer.BadParameter("pictures are for --precision int8.", param_hint="--calibration")
    if calibration is not None and not calibration.is_dir():
        raise typer.BadParameter(f"there is no folder {calibration}.", param_hint="--calibration")
    heads = [row.name for row in rows if row.task != "classify"]
    others = [name for name in heads if precision == "fp16" or name not in CALIBRATED_HEADS]
    if precision != "fp32" and others:
        also = " and the starter heads" if precision == "int8" else ""
        problem = f"{precision} is for classifiers{also}, and {others[0]} is none."
        raise typer.BadParameter(problem, param_hint="--precision")
    if calibration is not None and heads:
        problem = f"{heads[0]} is judged by boxes or maps, which a folder of pictures has not; its own ranges ship."
        raise typer.BadParameter(problem, param_hint="--calibration")
    names, nobody = frozenset(row.name for row in rows), frozenset[str]()
    return (names if precision == "int8" else nobody, names if precision == "fp16" else nobody)


def _device(text: str | None) -> Device | None:
    devices: dict[str, Device] = {device: device for device in get_args(Device)}
    if text is not None and text not in devices:
        raise typer.BadParameter(f"{text!r} is none of {', '.join(devices)}.", param_hint="--device")
    return None if text is None else devices[text]


@app.command()
def export(
    names: Names = None,
    repository: Annotated[Path, typer.Option(help="Model repository to write to.")] = Path("model_repository"),
    weights: Annotated[
        str,
        typer.Option(
            metavar="hub|package|starter|file:PATH|random",
            help="Where the weights come from; left out: the first source of the model that can be reached.",
        ),
    ] = "first",
    default: Annotated[
        bool, typer.Option("--default", help="The models that `make serve` serves; those of a hub, if it answers.")
    ] = False,
    precision: Annotated[
        str,
        typer.Option(
            metavar="fp32|fp16|int8", help="Also a variant beside the FP32 entry: int8 for CPUs, fp16 for GPUs."
        ),
    ] = "fp32",
    calibration: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Pictures for int8; left out: the ranges that ship with the model."),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(metavar="auto|cpu|gpu|gpu-tensorrt", help="What Triton runs them on; left out: as it was."),
    ] = None,
    tensorrt: Annotated[
        bool | None,
        typer.Option("--tensorrt/--no-tensorrt", help="Serve plans built on this host's GPU; back to ONNX Runtime."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Export even what is up to date.")] = False,
    show_list: Annotated[bool, typer.Option("--list", help="Show the catalogue and do nothing.")] = False,
) -> None:
    """Turn models of the catalogue into verified entries of a model repository.

    `--all` runs every row, `--import FILE` takes an ONNX file of one's own: see `--all --help`, `--import x --help`.

    Exit codes: 0 all done, 1 some failed, 2 wrong usage, 3 all done but the plans: there is no TensorRT here,
    130 interrupted.
    """
    console = Console()
    if show_list:
        console.print(catalogue_table(CATALOGUE.values()))
        return
    wanted = _rows([*(DEFAULT_NAMES if default else ()), *(names or [])])
    optional = _rows([name for name in HUB_DEFAULT_NAMES if default and name not in (names or [])])
    if not wanted:
        raise typer.BadParameter("name at least one model; `vision-export --list` shows all.", param_hint="NAME")
    choice = _choice(weights)
    if choice.kind == "file" and len(wanted) + len(optional) > 1:
        raise typer.BadParameter("one file fits one model; name just that one.", param_hint="--weights")
    int8, fp16 = _precisions(precision, calibration, wanted)
    offered = frozenset((*CALIBRATED_NAMES, *CALIBRATED_HEADS) if default else ())
    variants = Plan(repository, choice, force, int8, offered, calibration, fp16)
    outcomes = run(wanted, optional, replace(variants, device=_device(device), tensorrt=tensorrt), console)
    console.print(outcomes_table(outcomes))
    _say_what_failed(outcomes, console)
    if any(outcome.state == "skipped" and outcome.name.endswith(" plan") for outcome in outcomes):
        raise typer.Exit(3)


def _say_what_failed(outcomes: list[Outcome], console: Console) -> None:
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    for outcome in failed:
        console.print(f"To try {outcome.name} again:", outcome.command, style="bold", soft_wrap=True, highlight=False)
    if failed:
        raise typer.Exit(1)


def main() -> None:
    """`--all` and `--import` have options of their own, so each is a command of its own."""
    words = words_typed()
    if "--all" in words:
        chosen = all_command.app
    elif "--import" in words:
        chosen = import_command.app
    else:
        chosen = app
    chosen(prog_name=PROGRAM)


if __name__ == "__main__":
    main()

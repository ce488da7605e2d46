"""`vision-export --import FILE`: a network that is not in the catalogue, as an ONNX file of one's own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from export.catalogue.registry import CATALOGUE
from export.catalogue.row import Rgb
from export.command_line import MANNERS
from export.errors import ExportError
from export.fp16.identity import fp16_name
from export.quantisation.identity import int8_name
from service.manifest import ResizeRule

app = typer.Typer(**MANNERS)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@app.command()
def import_file(
    file: Annotated[Path, typer.Option("--import", exists=True, dir_okay=False, help="The ONNX file.")],
    labels: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="Class names, one a line, in order.")],
    size: Annotated[tuple[int, int], typer.Option(help="Height and width in pixels.")],
    mean: Annotated[tuple[float, float, float], typer.Option(help="Of R, G, B on a 0..1 scale.")],
    std: Annotated[tuple[float, float, float], typer.Option(help="Of R, G, B on a 0..1 scale.")],
    task: Annotated[Literal["classify"], typer.Option(help="What it does.")] = "classify",
    output: Annotated[Literal["logits", "probabilities"], typer.Option(help="What it gives.")] = "logits",
    name: Annotated[str, typer.Option(help="What clients will ask for; left out: the file's name.")] = "",
    resize: Annotated[Literal["crop", "squash"], typer.Option(help="How pictures are cut.")] = "crop",
    shorter_side: Annotated[int, typer.Option(help="Pixels before the crop; 0: the larger of --size / 0.875.")] = 0,
    repository: Annotated[Path, typer.Option(help="Model repository to write to.")] = Path("model_repository"),
) -> None:
    """Wrap an ONNX file in normalisation and softmax, verify it, and add it to a model repository.

    The file takes float32 (N, 3, H, W), RGB, normalised, with a free batch axis, and gives float32 (N, classes).

    Exit codes: 0 done, 1 refused, 2 wrong usage, 130 interrupted.
    """
    called = name or file.stem
    if not _NAME.fullmatch(called) or called in _taken():
        problem = f"{called!r} is no name, or taken by the catalogue or a variant of its models."
        raise typer.BadParameter(problem, param_hint="--name")
    names = tuple(line.strip() for line in labels.read_text(encoding="utf-8").splitlines() if line.strip())
    _import(file, called, names, _rule(resize, size, shorter_side), (mean, std), output, repository)


def _taken() -> set[str]:
    """Names of every row and of the variants it may have."""
    return {taken for name in CATALOGUE for taken in (name, int8_name(name), fp16_name(name))}


def _rule(mode: Literal["crop", "squash"], size: tuple[int, int], shorter_side_px: int) -> ResizeRule:
    try:
        if mode == "squash":
            return ResizeRule("squash", size)
        return ResizeRule("crop", size, shorter_side_px=shorter_side_px or round(max(size) / 0.875))
    except ValueError as err:
        raise typer.BadParameter(f"{err}.", param_hint="--size") from err


def _import(
    file: Path,
    name: str,
    labels: tuple[str, ...],
    rule: ResizeRule,
    mean_std: tuple[Rgb, Rgb],
    output: str,
    repository: Path,
) -> None:
    # torch and onnx take seconds to import: only when the command line makes sense.
    from export.import_onnx import Import, import_onnx

    console = Console()
    try:
        wanted = Import(file, name, labels, rule, *mean_std, gives_probabilities=output == "probabilities")
        card = import_onnx(wanted, repository)
    except ExportError as err:
        console.print(f"{name}: failed: {err}", soft_wrap=True, highlight=False, markup=False)
        raise typer.Exit(1) from err
    console.print(f"{name}: imported, {len(card.verification)} gates passed", highlight=False, markup=False)

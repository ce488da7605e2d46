"""`python -m benchmarks.rounding NAME`: how far torch's float32 is off float64 after each part of a row's network.

The weights are the random ones that the gates use. Where the numbers rise steadily from part to part, the network makes
rounding larger, and two correct graphs of it may differ by more than three times what either is off; where one part
stands out, that part is inexact.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks.device import device
from export.catalogue.registry import CATALOGUE, find
from export.catalogue.row import Row
from export.for_serving import for_serving
from export.heads.by_name import graph_of
from export.lively import lively
from export.located import pictures
from export.photographs import seven_pixels
from export.reference import normalised
from export.sources import RandomWeights
from export.upstream import upstream
from export.weights import load

Heard = dict[str, Tensor]
PICTURES = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=CATALOGUE, metavar="NAME", help="a row of the catalogue")
    parser.add_argument("--depth", type=int, default=2, help="names of so many parts: 2 shows `stage4.1`")
    given = parser.parse_args()
    network, inputs = _prepared(find(given.name))
    exact = copy.deepcopy(network).double()
    table = Table(title=f"{given.name}: rms error of float32 as a share of the deviation, {device()}", box=None)
    for heading in ("after", *(f"picture {i + 1}" for i in range(len(inputs)))):
        table.add_column(heading, no_wrap=True, justify="left" if heading == "after" else "right")
    columns = [_errors(network, exact, one, given.depth) for one in inputs]
    for name in columns[0]:
        table.add_row(name, *(f"{column[name]:.1e}" if name in column else "–" for column in columns))
    Console(width=160).print(table)


def _prepared(row: Row) -> tuple[nn.Module, list[Callable[[nn.Module], object]]]:
    """The network as the gates have it, and for each picture what runs a copy of the network on it."""
    module = load(row, (RandomWeights(),)).module
    if row.task == "classify":
        source = upstream(row)
        pixels = seven_pixels(source)[:PICTURES]
        return module, [_classify(normalised(pixels[i : i + 1], source.mean, source.std)) for i in range(len(pixels))]
    graph = graph_of(row, for_serving(module))
    pixels = pictures(row.resize, row.gate_pictures)
    lively(graph, pixels)
    return graph, [_locate(pixels[i : i + 1]) for i in range(min(PICTURES, len(pixels)))]


def _classify(x: Tensor) -> Callable[[nn.Module], object]:
    return lambda module: module(x.to(next(module.parameters()).dtype))


def _locate(pixels: NDArray[np.uint8]) -> Callable[[nn.Module], object]:
    return lambda module: module(torch.from_numpy(pixels))


def _errors(network: nn.Module, exact: nn.Module, run: Callable[[nn.Module], object], depth: int) -> dict[str, float]:
    """Part → root mean square of the error as a share of the truth's standard deviation, in the order of running."""
    ours, truth = _heard(network, run, depth), _heard(exact, run, depth)
    return {
        name: float((ours[name] - right).square().mean().sqrt() / right.std().clamp(min=1e-30))
        for name, right in truth.items()
        # What a part selects, as proposals, may be another number of things.
        if name in ours and ours[name].shape == right.shape
    }


def _heard(module: nn.Module, run: Callable[[nn.Module], object], depth: int) -> Heard:
    """Every part's first output, in float64, at its last call."""
    heard: Heard = {}

    def ear(name: str) -> Callable[[nn.Module, object, object], None]:
        def listen(part: nn.Module, inputs: object, out: object) -> None:
            first = out[0] if isinstance(out, tuple | list) and out else out
            if isinstance(first, Tensor) and first.is_floating_point() and first.numel() > 1:
                heard[name] = first.to(torch.float64, copy=True)  # the next part may work in place

        return listen

    parts = [(name.removeprefix("module."), part) for name, part in module.named_modules() if name]
    ears = [part.register_forward_hook(ear(name)) for name, part in parts if name.count(".") < depth]
    try:
        with torch.inference_mode():
            run(module)
    finally:
        for one in ears:
            one.remove()
    return heard


if __name__ == "__main__":
    main()

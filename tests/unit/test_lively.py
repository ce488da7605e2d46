"""Random detectors made to find something: what is wanted of a last layer it gives; one that never runs is an error."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from export.heads.located import Final, LocatedGraph
from export.lively import lively


class Layers(LocatedGraph):
    """Two last layers, of which one is run."""

    outputs = ("scores",)
    taps = ()

    def __init__(self, *wanted: str) -> None:
        super().__init__()
        self.run, self.forgotten, self.wanted = nn.Linear(3, 4), nn.Linear(3, 4), wanted

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return (self.run(image.float().mean((1, 2)) / 255),)

    def finals(self) -> tuple[tuple[Final, ...], ...]:
        return (tuple(Final(getattr(self, name), 2.0, -1.0) for name in self.wanted),)


PIXELS = np.random.default_rng(0).integers(0, 256, (7, 8, 8, 3), dtype=np.uint8)


def test_a_last_layer_gives_the_mean_and_deviation_that_are_wanted() -> None:
    graph = Layers("run")
    lively(graph, PIXELS)
    with torch.no_grad():
        (out,) = graph(torch.from_numpy(PIXELS))
    np.testing.assert_allclose(out.mean(0), -1.0, atol=1e-3)
    np.testing.assert_allclose(out.std(0, correction=0), 2.0, atol=1e-2)


def test_a_last_layer_that_never_ran_is_an_error_and_not_nan() -> None:
    with pytest.raises(TypeError, match="never ran"):
        lively(Layers("run", "forgotten"), PIXELS)

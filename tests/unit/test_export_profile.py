"""Latency, fitted; work, counted."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from export.classifier import as_classifier
from export.errors import GraphError
from export.profile import count_flops, fit_line


def test_a_line_is_found_again() -> None:
    assert fit_line(((1, 5.0), (2, 7.0), (4, 11.0), (8, 19.0))) == pytest.approx((3.0, 2.0))


def test_alpha_is_never_negative() -> None:
    alpha_ms, beta_ms = fit_line(((1, 1.0), (2, 4.0), (4, 9.0), (8, 20.0)))
    assert alpha_ms == 0
    assert beta_ms == pytest.approx((1 + 8 + 36 + 160) / 85)


def test_beta_is_never_zero() -> None:
    alpha_ms, beta_ms = fit_line(((1, 5.0), (2, 5.0), (4, 4.0), (8, 4.0)))
    assert alpha_ms == pytest.approx(4.5)
    assert beta_ms > 0


def tiny() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))


def test_flops_count_a_multiply_add_as_two() -> None:
    module = as_classifier(tiny(), "3", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert count_flops(module, (8, 8)) == 2 * (8 * 8 * 4 * 3 * 9) + 2 * (4 * 5)


def test_a_head_that_is_not_there_or_not_linear_is_refused() -> None:
    with pytest.raises(GraphError, match="no layer 'fc'"):
        as_classifier(tiny(), "fc", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    with pytest.raises(GraphError, match="not the layer with weights"):
        as_classifier(tiny(), "1", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_a_network_that_ends_in_a_convolution_gives_what_the_convolution_saw_averaged() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    wrapped = as_classifier(module.eval(), "1", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    pixels = torch.randint(0, 256, (2, 8, 8, 3), dtype=torch.uint8)
    x = pixels.permute(0, 3, 1, 2) / 255
    probabilities, embedding = wrapped(pixels)
    assert torch.allclose(probabilities, module(x).softmax(-1), atol=1e-6)
    assert torch.allclose(embedding, module[0](x).mean((2, 3)), atol=1e-5)


def test_wrapping_leaves_the_module_as_it_was_and_copies_no_weights() -> None:
    module = tiny()
    wrapped = as_classifier(module, "3", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert isinstance(module[3], nn.Linear)
    assert {id(p) for p in wrapped.parameters()} == {id(p) for p in module.parameters()}

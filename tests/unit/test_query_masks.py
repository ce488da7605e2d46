"""Heads that answer with a mask for each query: what was rearranged for serving says what the library's own says."""

from __future__ import annotations

import pytest
import torch
from transformers.models.detr.modeling_detr import DetrMaskHeadSmallConv

from export.heads.query_masks import LeanMaskHead


@pytest.mark.parametrize("pictures", [1, 3])
def test_a_mask_head_that_computes_once_what_is_a_picture_s_own_is_the_library_s(pictures: int) -> None:
    torch.manual_seed(0)
    head = DetrMaskHeadSmallConv(
        input_channels=32 + 8, fpn_channels=[24, 16, 8], hidden_size=128, activation_function="relu"
    ).double()
    features = torch.randn(pictures, 32, 4, 6, dtype=torch.float64)
    attention = torch.rand(pictures, 5, 8, 4, 6, dtype=torch.float64)
    levels = [
        torch.randn(pictures, channels, 4 * scale, 6 * scale, dtype=torch.float64)
        for channels, scale in ((24, 2), (16, 4), (8, 8))
    ]
    with torch.inference_mode():
        ours, theirs = LeanMaskHead(head)(features, attention, levels), head(features, attention, levels)
    assert ours.shape == (pictures * 5, 1, 32, 48)
    assert theirs.std() > 1e-3
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)

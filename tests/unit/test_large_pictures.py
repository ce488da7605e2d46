"""What a very large picture took while it was decoded goes back to the system."""

from __future__ import annotations

import pytest

from service import execution
from service.bodies import Picture
from service.errors import BadImage
from service.execution import _decode, _DecodeItem
from service.image_header import ImageHeader, SizeLimits, read_header
from service.manifest import ResizeRule
from tests.pictures import encoded, photograph

LIMITS = SizeLimits(max_pixels=50_000_000, max_side_px=10_000)
RULE = ResizeRule("squash", (32, 32))


def item(data: bytes, header: ImageHeader | None = None) -> _DecodeItem:
    return _DecodeItem(Picture("image", data), header or read_header(data, LIMITS), RULE)


def test_only_large_pictures_are_worth_it_and_broken_ones_too(monkeypatch: pytest.MonkeyPatch) -> None:
    handed_back: list[None] = []
    monkeypatch.setattr(execution, "hand_back", lambda: handed_back.append(None))
    small = encoded(photograph())
    _decode([item(small)])
    assert not handed_back
    large = encoded(photograph().resize((4000, 4000)))
    ((pixels, _),) = _decode([item(large)])
    assert pixels.shape == (32, 32, 3)
    assert len(handed_back) == 1
    with pytest.raises(BadImage):
        _decode([item(large[:2000], read_header(large, LIMITS))])
    assert len(handed_back) == 2

"""What INT8 is for where things are found: each size keeps budgets that FP32 is too slow for, for what it lost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from export.catalogue import starter
from export.quantisation.ranges import TaskQuality, shipped_ranges
from service.engines.fake import FakeEngine
from service.manifest import ModelCard, Profile
from service.settings import Settings
from tests.cards import detector, segmenter
from tests.conftest import FakeGateways

# One thread of an AMD EPYC, FP32 and INT8, as the profiles of the exported entries had it: rounded, and fixed here.
MS = {
    "ssdlite_efficientnet_lite0_256": (7, 4),
    "ssdlite_efficientnet_lite0_384": (17, 9.5),
    "ssdlite_efficientnet_lite0_512": (30, 18),
    "masks_efficientnet_lite0_256": (14, 9),
    "masks_efficientnet_lite0_384": (25, 15),
    "masks_efficientnet_lite0_512": (40, 24),
    "unet_efficientnet_lite0_192x256": (6, 3.5),
    "unet_efficientnet_lite0_384x512": (24, 14),
    "unet_efficientnet_lite0_480x640": (38, 22),
}


def entries() -> list[ModelCard]:
    """The heads with what was measured of them, FP32 and INT8."""
    cards: list[ModelCard] = []
    for row in starter.ROWS:
        ranges = shipped_ranges(row.name)
        assert ranges is not None
        assert isinstance(ranges.measured, TaskQuality)
        assert row.accuracy is not None
        kind = row.segment_kind
        made = detector(row.name) if kind is None else segmenter(row.name, kind)
        fp32_ms, int8_ms = MS[row.name]
        lost = replace(row.accuracy, value=row.accuracy.value - round(ranges.measured.lost_points, 2))
        fp32 = replace(made, variant_of=row.variant_of, accuracy=row.accuracy, profile=profile(made, fp32_ms))
        cards += [fp32, replace(fp32, name=f"{row.name}_int8", precision="int8", accuracy=lost)]
        cards[-1] = replace(cards[-1], profile=profile(made, int8_ms))
    return cards


def profile(card: ModelCard, run_ms: float) -> Profile:
    assert card.profile is not None
    return replace(card.profile, alpha_ms=0.0, beta_ms=run_ms, p50_ms_by_batch=((1, run_ms),))


DETECT, INSTANCE, SEMANTIC = "task=detect", "task=segment&kind=instance", "task=segment&kind=semantic"


@pytest.mark.parametrize(
    ("query", "with_int8", "fp32_alone"),
    [
        (f"{DETECT}&latency_budget_ms=32", "ssdlite_efficientnet_lite0_512_int8", "ssdlite_efficientnet_lite0_256"),
        (f"{DETECT}&tier=interactive", "ssdlite_efficientnet_lite0_512_int8", "ssdlite_efficientnet_lite0_512"),
        (f"{INSTANCE}&tier=realtime", "masks_efficientnet_lite0_256_int8", None),
        (f"{INSTANCE}&latency_budget_ms=30", "masks_efficientnet_lite0_384_int8", "masks_efficientnet_lite0_256"),
        (f"{SEMANTIC}&latency_budget_ms=30", "unet_efficientnet_lite0_384x512_int8", "unet_efficientnet_lite0_192x256"),
    ],
)
async def test_a_budget_gets_a_better_answer_or_one_at_all(query: str, with_int8: str, fp32_alone: str | None) -> None:
    every = entries()
    for cards, wanted in ((every, with_int8), ([c for c in every if c.precision == "fp32"], fp32_alone)):
        async with FakeGateways(Settings(workers=2), FakeEngine(cards)) as opened:
            assert (await opened.client.post(f"/v1/route?{query}")).json()["model"] == wanted

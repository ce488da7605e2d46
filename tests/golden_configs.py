"""`config.pbtxt` as written for each device, committed as text: `python -m tests.golden_configs` writes them anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

from service.entry_config import config_text
from service.manifest import Device, ModelCard, Profile, TensorRtPlan
from tests.cards import classifier

GOLDEN = Path(__file__).resolve().parent / "golden"
PROFILE = Profile("nowhere", 1.0, 1.0, ((1, 2.0), (4, 5.0), (64, 65.0)))


def golden_cards() -> dict[str, ModelCard]:
    """Name of the file → the card that is written into it."""
    card = classifier("golden", profile=PROFILE)
    plan = TensorRtPlan("a" * 64, "b" * 64, "11.4.0", "9.0", version="3")
    return {
        **{device: replace(card, device=device) for device in get_args(Device)},
        "cpu-without-batching": replace(card, device="cpu", max_batch_size=0),
        "plan": replace(card, device="gpu", backend="tensorrt", plan=plan),
    }


def golden_path(name: str) -> Path:
    return GOLDEN / f"{name}.pbtxt"


def main() -> None:
    GOLDEN.mkdir(exist_ok=True)
    for name, card in golden_cards().items():
        golden_path(name).write_text(config_text(card), encoding="utf-8")


if __name__ == "__main__":
    main()

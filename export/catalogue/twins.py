"""Rows that a machine of 16 GB cannot export: the same code in a smaller size is what proves them.

Their parameters are counted like everybody's, and `vision-export NAME` exports them where there is room.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# Name → (name of the twin, why it does not fit).
TWINS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "resnetv2_152x4_bit": ("resnetv2_152x2_bit", "3.7 GB of weights, 7.5 GB of them in float64, at 480 pixels"),
        "efficientnet_l2_ns": ("efficientnet_l2_ns_475", "1.9 GB of weights, and maps of 800 × 800 pixels in float64"),
        "igpt_m": ("igpt_s", "1.8 GB of weights, and attention among 1,024 tokens in float64"),
        "igpt_l": ("igpt_s", "5.5 GB of weights, 11 GB of them in float64"),
        "igpt_xl": ("igpt_s", "27 GB of weights"),
    }
)

"""A model's numbers as a person writes them: 0.6087 where JSON would otherwise say 0.6086999773979187."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def shortest(values: NDArray[np.floating]) -> list[float]:
    """(N,) → of each the shortest decimal that is the same number in the array's own precision."""
    return [float(text) for text in map(str, values)]

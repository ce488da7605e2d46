"""Probabilities → the few most likely classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.errors import EngineFailed, InvalidParameter
from service.tasks.shortest import shortest

# Half precision leaves a softmax over a thousand classes well within it; logits are far outside.
_SUM_TOLERANCE = 0.01


class Label(NamedTuple):
    """A class and how likely it is, 0..1."""

    label: str
    class_id: int
    score: float


def check_top_k(top_k: int, classes: int, model: str) -> None:
    """Raises InvalidParameter unless 1 ≤ top_k ≤ the model's number of classes."""
    if not 1 <= top_k <= classes:
        raise InvalidParameter(
            f"top_k is {top_k}; {model} knows {classes} classes, so it must be 1 to {classes}",
            field="top_k",
            limit=f"1..{classes}",
        )


def most_likely(
    probabilities: NDArray[np.floating], names: tuple[str, ...], *, top_k: int, temperature: float = 1.0
) -> list[Label]:
    """The `top_k` classes with the highest probability, best first; ties go to the lower class id.

    probabilities  (C,) that `check_classified` has let through. `temperature` T re-scales them as softmax(log p / T):
    T > 1 flattens, T < 1 sharpens, the order stays. Source: Guo et al. 2017, On Calibration of Modern Neural Networks,
    section 4.2.
    Raises EngineFailed if there are more of them than names.
    """
    if len(probabilities) > len(names):
        raise EngineFailed("the model gave a class that has no name")
    scaled = probabilities if temperature == 1.0 else _with_temperature(probabilities, temperature)  # (C,)
    # Ranked before scaling: close to temperature 0 all but the first underflow to the same score.
    order = _ranked(probabilities, top_k)
    return [Label(names[i], i, score) for i, score in zip(order.tolist(), shortest(scaled[order]), strict=True)]


def _ranked(probabilities: NDArray[np.floating], top_k: int) -> NDArray[np.intp]:
    """(top_k,) class ids, the highest first, of equal ones the lower id."""
    classes = len(probabilities)
    if top_k >= classes:
        everybody: NDArray[np.intp] = (-probabilities).argsort(kind="stable")
        return everybody
    # Everything at least as likely as the k-th, so that ties at the edge are settled by the sort below.
    parted = probabilities.copy()
    parted.partition(classes - top_k)
    candidates = (probabilities >= parted[classes - top_k]).nonzero()[0]
    ranked: NDArray[np.intp] = candidates[(-probabilities[candidates]).argsort(kind="stable")][:top_k]
    return ranked


def check_classified(arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Raises EngineFailed if a classifier's outputs, whichever are there, cannot be what they are called."""
    if "probabilities" in arrays:
        _check_probabilities(arrays["probabilities"])
    if "embedding" in arrays and not np.isfinite(arrays["embedding"].astype(np.float64)).all():
        raise EngineFailed("the model gave an embedding that is no numbers")


def _check_probabilities(probabilities: NDArray[Any]) -> None:
    # What is no number makes the sum none either, so that one look at the sum tells of both.
    total = float(probabilities.sum(dtype=np.float64))
    if not (abs(total - 1) <= _SUM_TOLERANCE and probabilities.min() >= -_SUM_TOLERANCE):
        if not np.isfinite(probabilities).all():
            raise EngineFailed("the model gave probabilities that are no numbers")
        raise EngineFailed("the model gave probabilities that are none: they do not sum to 1")


def _with_temperature(probabilities: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    # The smallest normal float32 keeps a probability that underflowed to 0 finite, and last.
    logits = np.log(np.maximum(probabilities.astype(np.float64), np.finfo(np.float32).tiny))
    with np.errstate(over="ignore"):  # next to temperature 0 all but the first are infinitely far behind
        exponentials = np.exp((logits - logits.max()) / temperature)
    scaled: NDArray[np.float64] = exponentials / exponentials.sum()
    return scaled

"""The outline of a mask, along the edges of its pixels, and the same with fewer points."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ring = NDArray[np.int64]


def outlines(pixels: NDArray[np.bool_]) -> list[Ring]:
    """Closed rings of corners (P, 2) x, y, without repeating the first; even-odd filled they are exactly the mask.

    pixels (h, w); pixel (x, y) covers x..x+1, y..y+1. Pixels that touch only at a corner are in different rings.

    Every corner of the outline lies on one horizontal and one vertical edge. Along each grid line the corners, in
    order, are in turn the beginning and the end of an edge, so two sorts find all edges and a walk joins them.
    """
    across, down, x, y = _partners(pixels)
    rings: list[Ring] = []
    todo = np.ones(len(x), dtype=bool)
    for first in range(len(x)):
        if not todo[first]:
            continue
        walked, at = [], first
        while todo[at]:
            other = across[at]
            walked += [at, other]
            todo[at] = todo[other] = False
            at = down[other]
        rings.append(np.stack([x[walked], y[walked]], axis=1))  # (P, 2)
    return rings


def _partners(pixels: NDArray[np.bool_]) -> tuple[list[int], list[int], Ring, Ring]:
    """Corners (x, y) and, for each, the index of the corner at the other end of its horizontal and vertical edge."""
    padded = np.pad(pixels, 1)
    upper_left, upper_right = padded[:-1, :-1], padded[:-1, 1:]
    lower_left, lower_right = padded[1:, :-1], padded[1:, 1:]
    single = upper_left ^ upper_right ^ lower_left ^ lower_right  # one or three of the four pixels around
    diagonal = (upper_left == lower_right) & (upper_right == lower_left) & (upper_left != upper_right)
    y, x = np.nonzero(single | diagonal)
    # Where two pixels touch at a corner, two corners of the outline meet: A, at the end of the edges from the left,
    # and B, at the beginning of those to the right.
    twice = diagonal[y, x]
    y, x = np.repeat(y, 1 + twice), np.repeat(x, 1 + twice)
    copy = np.zeros(len(x), dtype=np.int64)
    copy[1:] = (y[1:] == y[:-1]) & (x[1:] == x[:-1])
    # If upper left and lower right are inside, A belongs to the edge from above, else to the one below.
    flipped = ~upper_left[y, x] & diagonal[y, x]
    by_row = np.lexsort((copy, x, y))
    by_column = np.lexsort((np.where(flipped, 1 - copy, copy), y, x))
    return _paired(by_row).tolist(), _paired(by_column).tolist(), x, y


def _paired(order: NDArray[np.intp]) -> NDArray[np.intp]:
    """For each element its neighbour, when the order is cut into pairs."""
    partner = np.empty(len(order), dtype=np.intp)
    partner[order[0::2]], partner[order[1::2]] = order[1::2], order[0::2]
    return partner


def simplified(ring: Ring, tolerance: float) -> Ring:
    """Some of the ring's points, at least three, such that no point left out is farther than `tolerance` from it.

    Source: Douglas, Peucker 1973; a ring is cut into two lines at its first point and the one farthest from it.
    """
    if len(ring) <= 4:
        return ring
    points = np.vstack([ring, ring[:1]]).astype(np.float64)  # (P + 1, 2)
    far = int(((points - points[0]) ** 2).sum(axis=1).argmax())
    keep = np.zeros(len(points), dtype=bool)
    keep[[0, far]] = True
    spans = [(0, far), (far, len(points) - 1)]
    while spans:
        start, end = spans.pop()
        if end - start < 2:
            continue
        distance = _distance(points[start + 1 : end], points[start], points[end])
        worst = int(distance.argmax())
        if distance[worst] > tolerance:
            keep[start + 1 + worst] = True
            spans += [(start, start + 1 + worst), (start + 1 + worst, end)]
    chosen = ring[keep[:-1]]
    return chosen if len(chosen) >= 3 else ring


def _distance(points: NDArray[np.float64], start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.float64]:
    """(P,): from each point to the segment between the two ends."""
    along = end - start
    length = float(along @ along)
    share = ((points - start) @ along / length).clip(0.0, 1.0) if length else np.zeros(len(points))
    gap = points - start - share[:, None] * along
    distance: NDArray[np.float64] = np.sqrt((gap**2).sum(axis=1))
    return distance

"""Grids of original | masked | reconstruction: laid out by the task, cut into faces again by the page.

A grid has rows of triples of squares, `GAP_PX` apart; triples are 3 gaps apart, so that one face's three
pictures stand apart from its neighbour's.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Picture: TypeAlias = NDArray[np.uint8]
"""(H, W, 3), in whatever order of channels."""

GAP_PX: Final = 2
COLUMNS: Final = 2
"""Triples in a row."""


def _steps(side_px: int) -> tuple[int, int]:
    """Pixels from one square to the next, and from one triple to the next."""
    cell = side_px + GAP_PX
    return cell, 3 * cell + 2 * GAP_PX


def lay_out(triples: NDArray[np.uint8]) -> Picture:
    """The grid of faces (N, 3, side, side, 3), white where there is none."""
    n, _, side, _, _ = triples.shape
    columns = min(COLUMNS, n)
    cell, triple = _steps(side)
    grid = np.full((-(-n // columns) * cell - GAP_PX, columns * triple - 3 * GAP_PX, 3), 255, np.uint8)
    for index, face in enumerate(triples):
        top, left = index // columns * cell, index % columns * triple
        for part, picture in enumerate(face):
            grid[top : top + side, left + part * cell : left + part * cell + side] = picture
    return grid


def faces(grid: Picture, side_px: int) -> list[tuple[Picture, Picture, Picture]]:
    """Original, masked and reconstruction of each face of the grid; none where it is laid out otherwise.

    White places are those that the last row left empty.
    """
    cell, triple = _steps(side_px)
    height, width = grid.shape[:2]
    if (height + GAP_PX) % cell or (width + 3 * GAP_PX) % triple:
        return []
    found: list[tuple[Picture, Picture, Picture]] = []
    for top in range(0, height, cell):
        for left in range(0, width, triple):
            lefts = (left, left + cell, left + 2 * cell)
            one, two, three = (grid[top : top + side_px, x : x + side_px] for x in lefts)
            if any((part != 255).any() for part in (one, two, three)):
                found.append((one, two, three))
    return found

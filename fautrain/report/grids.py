"""Grids of original | masked | reconstruction, cut into faces and put into the page as text."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Bgr = NDArray[np.uint8]
"""A picture (H, W, 3) uint8 with the channels in OpenCV's order."""

MOST_FRAMES = 6
"""Earlier grids that are shown."""
MOST_FACES = 8
"""Faces of the newest grid that are shown."""
STRIP_FACES = 4
"""Faces that are followed through the earlier grids."""
_WHOLE_PX = 1400
"""Greatest side of a grid that is shown as it is."""
_FACE_PX = 224
"""Greatest side of one picture of a face."""
_STRIP_PX = 160


def read_grid(path: Path) -> Bgr | None:
    """The picture; None where it cannot be read."""
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError:
        return None
    if not len(data):
        return None
    # OpenCV gives None for a picture that it cannot decode.
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return None if picture is None else np.asarray(picture, np.uint8)  # pyright: ignore[reportUnnecessaryComparison]


def spread(steps: Sequence[int], most: int = MOST_FRAMES) -> list[int]:
    """At most `most` of the steps, evenly spread, the first and the last among them."""
    if len(steps) <= most:
        return list(steps)
    return [steps[round(place)] for place in np.linspace(0, len(steps) - 1, most)]


def stacked(pictures: Sequence[Bgr]) -> str:
    """The pictures one below the other, as a `data:` address."""
    gap = np.full((2, pictures[0].shape[1], 3), 255, np.uint8)
    parts = [part for picture in pictures for part in (gap, picture)][1:]
    return data_uri(np.concatenate(parts), _STRIP_PX * len(pictures))


def data_uri(picture: Bgr, side_px: int = _WHOLE_PX) -> str:
    """The picture, at most `side_px` wide and high, as a JPEG in a `data:` address."""
    zoom = side_px / max(picture.shape[:2])
    if zoom < 1:
        size = (max(round(picture.shape[1] * zoom), 1), max(round(picture.shape[0] * zoom), 1))
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}"


def triple_uri(triple: Sequence[Bgr]) -> str:
    """A face's three pictures side by side, as a `data:` address."""
    gap = np.full((triple[0].shape[0], 2, 3), 255, np.uint8)
    row = np.concatenate([triple[0], gap, triple[1], gap, triple[2]], axis=1)
    return data_uri(row, 3 * _FACE_PX)

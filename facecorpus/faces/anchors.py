"""RetinaFace's anchors and what is done with them: decoding, and non-maximum suppression.

RetinaFace (Deng et al., CVPR 2020, section 3) puts two square anchors on every cell of three feature maps.
The network predicts, per anchor, offsets of the box and of five points in units of the anchor's size times a
"variance" (SSD's term). All coordinates here are pixels of the network's input, with the centre of the
top-left pixel at (0, 0). (The network itself was trained with continuous coordinates: faces of mirrored
photographs come out at `width - x`, hence the 0.5 below.)
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

STRIDES = (8, 16, 32)
"""Pixels between the cells of the three feature maps."""
SIZES_PX = ((16, 32), (64, 128), (256, 512))
"""Sides of the two anchors on each cell of the three feature maps."""
MAX_IOU = 0.4
"""Overlap above which the weaker of two boxes is the same face (RetinaFace, section 3.2)."""
CENTRE_VARIANCE = 0.1
SIZE_VARIANCE = 0.2

Floats = NDArray[np.float32]


@functools.lru_cache(maxsize=64)
def anchors(height_px: int, width_px: int) -> Floats:
    """Anchors of an input: (N, 3) float32 of centre x, centre y and side in pixels, read-only.

    Ordered as the network's outputs: by feature map, row, column, size.
    """
    maps: list[Floats] = []
    for stride, sizes in zip(STRIDES, SIZES_PX, strict=True):
        rows, columns = -(-height_px // stride), -(-width_px // stride)
        grid = np.empty((rows, columns, len(sizes), 3), np.float32)
        grid[..., 0] = ((np.arange(columns) + 0.5) * stride - 0.5)[None, :, None]
        grid[..., 1] = ((np.arange(rows) + 0.5) * stride - 0.5)[:, None, None]
        grid[..., 2] = sizes
        maps.append(grid.reshape(-1, 3))
    result = np.concatenate(maps)
    result.flags.writeable = False
    return result


def decode_boxes(offsets: Floats, chosen: Floats) -> Floats:
    """Boxes xyxy (N, 4) from the network's box offsets (N, 4) and their anchors (N, 3)."""
    side = chosen[:, 2:3]
    centre = chosen[:, :2] + offsets[:, :2] * np.float32(CENTRE_VARIANCE) * side
    half = np.exp(offsets[:, 2:] * np.float32(SIZE_VARIANCE)) * side / np.float32(2)
    return np.concatenate([centre - half, centre + half], axis=1, dtype=np.float32)


def decode_points(offsets: Floats, chosen: Floats) -> Floats:
    """Five points (N, 5, 2) from the network's point offsets (N, 10) and their anchors (N, 3)."""
    scaled = offsets.reshape(-1, 5, 2) * (np.float32(CENTRE_VARIANCE) * chosen[:, None, 2:3])
    return np.asarray(chosen[:, None, :2] + scaled, np.float32)


def suppress(boxes: Floats, scores: Floats, max_iou: float) -> NDArray[np.intp]:
    """Greedy non-maximum suppression: indices to keep, by falling score (equal scores by index).

    Args:
        boxes: (N, 4) float32, xyxy.
        scores: (N,) float32.
        max_iou: a box that overlaps a better one by more than this is dropped.
    """
    order = np.argsort(-scores, kind="stable")
    keep: list[np.intp] = []
    while order.size:
        best, rest = order[0], order[1:]
        keep.append(best)
        order = rest[overlap(boxes[best], boxes[rest]) <= max_iou]
    return np.array(keep, np.intp)


def overlap(box: Floats, boxes: Floats) -> Floats:
    """Intersection over union of one box (4,) with others (N, 4)."""
    low = np.maximum(box[:2], boxes[:, :2])
    high = np.minimum(box[2:], boxes[:, 2:])
    shared = np.prod(np.maximum(high - low, np.float32(0)), axis=1)
    union = np.prod(box[2:] - box[:2]) + np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) - shared
    return np.asarray(shared / np.maximum(union, np.finfo(np.float32).tiny), np.float32)

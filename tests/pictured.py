"""A small picture, and its bytes in any format that Pillow writes."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image


def scene() -> Image.Image:
    y, x = np.mgrid[:56, :72]
    waves = [128 + 90 * np.sin(x / a + y / b) for a, b in ((9, 30), (40, 12), (17, -21))]
    return Image.fromarray(np.stack(waves, axis=-1).astype(np.uint8))


def encoded(kind: str, image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()

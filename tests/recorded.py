"""Small recordings for the tests of annotated data sets: frames that show their own number, and faces."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from facecorpus.record import Record
from facecorpus.sources.base import Reader
from facecorpus.synth.face import Framing, draw_face
from facecorpus.synth.identity import Identity

BITS = 10
_BLOCK = 24


def numbered(number: int) -> np.ndarray:
    """RGB uint8 (64, 240, 3): the bits of `number` as blocks of red (1) and blue (0), the lowest first."""
    frame = np.zeros((64, BITS * _BLOCK, 3), np.uint8)
    for bit in range(BITS):
        one = number >> bit & 1
        frame[:, bit * _BLOCK : (bit + 1) * _BLOCK] = (220, 30, 20) if one else (20, 30, 220)
    return frame


def number_of(ppm: bytes) -> int:
    """The number that a frame shows, from its PPM; the colours must be in the order of RGB."""
    bgr = cv2.imdecode(np.frombuffer(ppm, np.uint8), cv2.IMREAD_COLOR)
    assert bgr is not None and bgr.shape == (64, BITS * _BLOCK, 3)
    middles = bgr[32, _BLOCK // 2 :: _BLOCK].astype(int)
    assert (np.abs(middles[:, 2] - middles[:, 0]) > 100).all(), "no frame of blocks"
    return sum(int(red > blue) << bit for bit, (blue, _, red) in enumerate(middles))


def write_video(path: Path, frames: Iterable[np.ndarray], code: str = "MJPG") -> Path:
    """A video of RGB frames; MJPG for .avi, mp4v for .mp4."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = list(frames)
    height, width = pictures[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*code), 20.0, (width, height))
    assert writer.isOpened()
    for picture in pictures:
        writer.write(np.ascontiguousarray(picture[..., ::-1]))
    writer.release()
    return path


def write_levels(path: Path, levels: Iterable[int], first: int = 1) -> Path:
    """Lines `frame,level`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{frame},{level}\n" for frame, level in enumerate(levels, first)))
    return path


def write_table(path: Path, header: Sequence[int] | None, rows: Iterable[Sequence[int]]) -> Path:
    """A CSV file of whole numbers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [*([header] if header is not None else []), *rows]
    path.write_text("".join(",".join(map(str, line)) + "\n" for line in lines))
    return path


@functools.cache
def face(person: int) -> np.ndarray:
    """RGB uint8 (192, 192, 3): someone the detector finds."""
    return draw_face(Identity.sample(0, person), size_px=192, framing=Framing())[0]


def numbers(reader: Reader, records: Iterable[Record]) -> list[int]:
    """What numbers the frames of records show."""
    return [number_of(reader.read(record)) for record in records]

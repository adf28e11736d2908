"""Videos, which OpenCV's ffmpeg decodes in this process."""

from __future__ import annotations

import itertools
import os
from functools import partial
from pathlib import Path

from fuzzing import Target
from recorded import numbered, write_video

from facecorpus.sources.archives import InputError, VideoContainer

_FRAMES = 6
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # read once, when the first video is written


def _write(name: str, code: str, folder: Path) -> Path:
    return write_video(folder / name, (numbered(n) for n in range(1, _FRAMES + 1)), code)


def _read(path: Path) -> int:
    """Read the first frames forwards, and two of them backwards; returns how many were read."""
    whole = 0
    with VideoContainer(str(path)) as container:
        try:
            members = list(itertools.islice(container.members(), _FRAMES + 3))
        except InputError as error:
            assert str(error)
            return 0
        for member in (*members, *members[-2:0:-2]):
            try:
                whole += container.read(member).startswith(b"P6 ")
            except InputError as error:
                assert str(error)
    return whole


TARGETS = tuple(
    Target(f"video-{name}", partial(_write, f"v.{ending}", code), _read)
    for name, ending, code in (
        ("mjpeg", "avi", "MJPG"),
        ("xvid", "avi", "XVID"),
        ("mp4", "mp4", "mp4v"),
        ("mkv", "mkv", "mp4v"),
        ("wmv", "wmv", "WMV2"),
    )
)

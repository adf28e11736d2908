"""Videos, frame by frame, decoded by the ffmpeg in OpenCV.

Frame N is the N-th that the file holds, in the order of showing, counting from 1: the numbering of the
published label files, and of the code that reads them. What counts is that a frame gets its own labels, so
what decoding gives is never merely counted: the packets are listed first, and a decoded frame is told by its
time. A frame that was dropped when it was recorded, or that gives no picture, is missing, and those behind it
keep their numbers; where a file is damaged, the frames from there on are missing.

Nothing is sought, because where a seek lands depends on the file's index; reading goes forwards, and
backwards only by starting again.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import IO, Any

import cv2

from facecorpus import storage
from facecorpus.reasons import CORRUPT
from facecorpus.sources.archives.container import MISSING_FRAME, Container, InputError, Member
from facecorpus.sources.archives.packets import Packets, list_packets

VIDEO = r"\.(?:avi|mp4|m4v|mov|mkv|webm|wmv|mpe?g)"
"""How the names of videos end, as a regular expression that ignores case."""
MAX_PIXELS = 80_000_000
"""Largest frame that is decoded, as for pictures."""


class VideoContainer(Container):
    """A video. Its members are called `FILE/NNNNN` and read as uncompressed pictures (binary PPM)."""

    streamed = True

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._capture: Any = None
        self._copy: IO[bytes] | None = None
        self._packets: Packets | None = None
        self._order: Sequence[int] | None = None
        """Number of each frame that decoding gives, where all of them had to be decoded to know it."""
        self._certain = True
        """Whether that reaches to the end."""
        self._decoded = 0
        self._at = 0
        """Number of the frame that was decoded last."""
        self._before = 0
        """Number of the one before it."""
        self._ended = False

    @property
    def packets(self) -> Packets:
        """What the file holds, decoded or not.

        Raises:
            InputError: it is no video, or contradicts itself.
        """
        if self._packets is None:
            capture = self._open(cv2.CAP_PROP_FORMAT, -1)
            try:
                self._packets = list_packets(self.url, capture)
            finally:
                capture.release()
        return self._packets

    def _list(self) -> Iterator[Member]:
        """As many frames as the file has; how large one is, is not known before it is decoded."""
        for number in range(1, self.packets.frames + 1):
            yield Member(frame_name(self.url, number), -1, 0)

    def _read(self, member: Member) -> bytes:
        """The frame as a PPM, 3 bytes a pixel.

        Raises:
            InputError: the video has no such frame, ends before it, or is damaged.
        """
        number = int(member.path.rpartition("/")[2])
        if number <= self._before or (self._ended and number <= self._at):
            self.close()
        while self._at < number and not self._ended:
            self._advance()
        pixels = self._retrieve() if self._at == number else None
        if pixels is None:
            raise InputError(MISSING_FRAME, f"there is no frame {number}: {self._why_not(number)}")
        height, width = pixels.shape[:2]
        return b"P6 %d %d 255\n" % (width, height) + cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB).tobytes()

    def _advance(self) -> None:
        """Decode one frame more and find out which it is; the end is where that is no longer known."""
        packets = self.packets
        if self._capture is None:
            self._capture = self._open()
        time = _next_time(self._capture)
        if self._order is None and time is not None and self._decoded < len(packets.numbers):
            times = packets.times
            if not times or time != times[self._decoded]:
                self._order, self._certain = packets.survey(self._all_times())
        order = packets.numbers if self._order is None else self._order
        if time is None or self._decoded >= len(order):
            self._ended = True
            return
        self._before, self._at = self._at, order[self._decoded]
        self._decoded += 1

    def _all_times(self) -> list[float]:
        capture = self._open()
        try:
            return list(iter(lambda: _next_time(capture), None))
        finally:
            capture.release()

    def _retrieve(self) -> Any:
        try:
            return self._capture.retrieve()[1]
        except cv2.error:
            return None

    def _why_not(self, number: int) -> str:
        packets = self.packets
        if number > packets.frames:
            return f"the video has {packets.frames} frames"
        if not packets.holds(number) and number <= max(packets.numbers[-1:], default=0):
            return "it was dropped when the video was recorded"
        if not self._ended:
            return "it cannot be decoded"
        if self._certain:
            return f"the video breaks off after frame {self._at} of {packets.frames}"
        return (
            f"the video has lost frames behind {self._at} and does not say which; copy it again, or see what "
            f"a new encoding keeps: ffmpeg -i {PurePosixPath(self.url).name} -c:v mjpeg -q:v 2 NEW.avi"
        )

    def _open(self, *settings: int) -> Any:
        """A capture at the start of the file."""
        # Before OpenCV opens its first video: ffmpeg's own words on damage, one for each block of pixels,
        # go to the terminal otherwise.
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
        if not storage.size(self.url):
            raise InputError(CORRUPT, "the video is an empty file; copy it again")
        words = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        # one thread: the processes are the parallelism
        options = [cv2.CAP_PROP_N_THREADS, 1, *settings]
        capture = cv2.VideoCapture(self._local_path(), cv2.CAP_FFMPEG, options)
        cv2.utils.logging.setLogLevel(words)
        if not capture.isOpened():
            self.close()
            raise InputError(CORRUPT, "the video cannot be opened: it is damaged; copy it again")
        width, height = (int(capture.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if width * height > MAX_PIXELS:
            capture.release()
            self.close()
            raise InputError(CORRUPT, f"the video says that its frames are {width} x {height}: damaged")
        return capture

    def close(self) -> None:
        """Let go of the decoder."""
        if self._capture is not None:
            self._capture.release()
        if self._copy is not None:
            self._copy.close()
        self._capture, self._copy, self._ended = None, None, False
        self._decoded = self._at = self._before = 0

    def _local_path(self) -> str:
        """A path for ffmpeg: the video's own, or where it is remote that of a copy, kept until `close`."""
        if storage.is_local(self.url):
            return str(storage.local_path(self.url))
        if self._copy is None:
            self._copy = tempfile.NamedTemporaryFile()  # noqa: SIM115 - closed by `close`
            with storage.open_read(self.url) as stream:
                shutil.copyfileobj(stream, self._copy)
            self._copy.flush()
        return self._copy.name


def _next_time(capture: Any) -> float | None:
    """Decode the next frame; when it is shown, in milliseconds, or None where there is none."""
    return float(capture.get(cv2.CAP_PROP_POS_MSEC)) if capture.grab() else None


def is_video_name(path: str) -> bool:
    """Whether a file is called like a video."""
    return re.search(f"{VIDEO}$", path, re.IGNORECASE) is not None


def frame_name(url: str, number: int) -> str:
    """Name of a frame as a member: the video's file name and five digits."""
    return f"{PurePosixPath(url).name}/{number:05d}"

"""Videos, frame by frame, decoded by the ffmpeg in OpenCV.

Frame N is the N-th that decoding gives, counting from 1: the numbering of the published label files, and of
the code that reads them. Nothing is sought, because where a seek lands depends on the file's index; reading
goes forwards, and backwards only by starting again. What counts is that a frame gets its own labels: where a
file is damaged, the frames from there on are missing rather than numbered anew.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO, Any

import cv2

from facecorpus import storage
from facecorpus.record import Reason
from facecorpus.sources.archives.container import Container, InputError, Member

VIDEO = r"\.(?:avi|mp4|m4v|mov|mkv|wmv|mpe?g)"
"""How the names of videos end, as a regular expression that ignores case."""
_AVI = re.compile(rb"RIFF.{4}AVI ", re.DOTALL)
_CHUNK = re.compile(rb"\d\d\w\w|ix\d\d|idx1|JUNK|LIST|RIFF")
_NO_LIMIT = 1 << 62
_NO_PICTURE = (b"wb", b"tx", b"pc")
"""Chunks of sound, subtitles and palettes."""


class VideoContainer(Container):
    """A video. Its members are called `FILE/NNNNN` and read as uncompressed pictures (binary PPM)."""

    streamed = True

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._capture: Any = None
        self._copy: IO[bytes] | None = None
        self._at = 0
        """Number of the frame that was decoded last."""
        self._whole = 0
        """Frames before the place where the file is damaged."""
        self._ended = False

    @property
    def frames(self) -> int:
        """Number of frames that the file says it has.

        Raises:
            InputError: it is no video.
        """
        return max(0, int(self._opened().get(cv2.CAP_PROP_FRAME_COUNT)))

    def members(self) -> Iterator[Member]:
        """As many frames as the file says it has; how large one is, is not known before it is decoded."""
        for number in range(1, self.frames + 1):
            yield Member(frame_name(self.url, number), -1, 0)

    def read(self, member: Member) -> bytes:
        """The frame as a PPM, 3 bytes a pixel.

        Raises:
            InputError: the video has no such frame, ends before it, or is damaged.
        """
        number = int(member.path.rpartition("/")[2])
        if number < self._at + self._ended:
            self.close()
        capture = self._opened()
        while self._at < number and not self._ended:
            self._ended = self._at >= self._whole or not capture.grab()
            self._at += not self._ended
        pixels = capture.retrieve()[1] if self._at == number else None
        if pixels is None:
            says = max(self.frames, self._at)
            has = f"has {says} frames" if says == self._at else f"breaks off after frame {self._at} of {says}"
            raise InputError(Reason.MISSING_FRAME, f"there is no frame {number}: the video {has}")
        height, width = pixels.shape[:2]
        return b"P6 %d %d 255\n" % (width, height) + cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB).tobytes()

    def _opened(self) -> Any:
        if self._capture is None:
            # Before OpenCV opens its first video: ffmpeg's own words on damage, one for each block of pixels,
            # go to the terminal otherwise.
            os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
            if not storage.size(self.url):
                raise InputError(Reason.CORRUPT, "the video is an empty file; copy it again")
            self._whole = whole_frames(self.url)
            words = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
            # one thread: the processes are the parallelism
            capture = cv2.VideoCapture(self._local_path(), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
            cv2.utils.logging.setLogLevel(words)
            if not capture.isOpened():
                self.close()
                raise InputError(Reason.CORRUPT, "the video cannot be opened: it is damaged; copy it again")
            self._capture = capture
        return self._capture

    def close(self) -> None:
        """Let go of the decoder."""
        if self._capture is not None:
            self._capture.release()
        if self._copy is not None:
            self._copy.close()
        self._capture, self._copy, self._at, self._ended = None, None, 0, False

    def _local_path(self) -> str:
        """A path for ffmpeg: the video's own, or where it is remote that of a copy, kept until `close`."""
        if storage.is_local(self.url):
            return str(storage.local_path(self.url))
        self._copy = tempfile.NamedTemporaryFile()  # noqa: SIM115 - closed by `close`
        with storage.open_read(self.url) as stream:
            shutil.copyfileobj(stream, self._copy)
        self._copy.flush()
        return self._copy.name


def is_video_name(path: str) -> bool:
    """Whether a file is called like a video."""
    return re.search(f"{VIDEO}$", path, re.IGNORECASE) is not None


def frame_name(url: str, number: int) -> str:
    """Name of a frame as a member: the video's file name and five digits."""
    return f"{PurePosixPath(url).name}/{number:05d}"


def whole_frames(url: str) -> int:
    """Frames of an AVI file before the place where it is damaged or cut short; no limit for other files.

    ffmpeg looks for the next frame behind damage to an AVI and goes on counting as though none were lost: all
    labels from there on would belong to other frames. (MP4 keeps a table of where each frame is.)
    """
    frames, position, padding, end = 0, 0, 0, storage.size(url)
    with storage.open_read(url) as stream:
        if not _AVI.match(stream.read(12)):
            return _NO_LIMIT
        while position + 8 <= end:
            stream.seek(position)
            head = stream.read(12)
            name, size = head[:4], int.from_bytes(head[4:8], "little")
            if not _CHUNK.fullmatch(name) and padding:  # some writers leave it out
                position, padding = position - 1, 0
                continue
            if name == b"RIFF" or (name == b"LIST" and head[8:] in (b"movi", b"rec ")):
                position, padding = position + 12, 0
                continue
            position += 8 + size
            if position > end or not _CHUNK.fullmatch(name):
                return frames
            frames += name[:2].isdigit() and name[2:] not in _NO_PICTURE
            padding = size % 2
            position += padding
    return _NO_LIMIT

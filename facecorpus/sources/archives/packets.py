"""What a video file holds, before anything is decoded: its packets, in the order in which they are shown.

Reading the packets alone takes about a fiftieth of the time of decoding them.
"""

from __future__ import annotations

import bisect
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2

from facecorpus import storage
from facecorpus.reasons import CORRUPT
from facecorpus.sources.archives.container import InputError

MAX_FRAMES = 10_000_000
"""More than that, no recording has: what says so is damaged."""
_AVI = re.compile(rb"RIFF.{4}AVI ", re.DOTALL)
_CHUNK = re.compile(rb"\d\d\w\w|ix\d\d|idx1|JUNK|LIST|RIFF")
_NO_PICTURE = (b"wb", b"tx", b"pc")
"""Chunks of sound, subtitles and palettes."""


@dataclass(frozen=True, slots=True)
class Packets:
    """The frames of a video file."""

    numbers: Sequence[int]
    """Number of the frame in each packet that is not empty, rising. A frame that was dropped when it was
    recorded is not among them."""
    times: Sequence[float]
    """When each of these is shown, in milliseconds as OpenCV tells it; empty where the file does not say."""
    frames: int
    """How many frames there are or, where the file breaks off, should be."""
    listed: int
    """Packets that are not empty, those behind damage included."""
    shown: bool
    """Whether `times` are truly those of showing (an AVI knows only the order of decoding)."""

    def holds(self, number: int) -> bool:
        """Whether there is a packet for a frame."""
        place = bisect.bisect_left(self.numbers, number)
        return place < len(self.numbers) and self.numbers[place] == number

    def survey(self, decoded: Sequence[float]) -> tuple[Sequence[int], bool]:
        """Number of each frame that decoding gives, from the times of all of them, as far as it is certain;
        and whether that is to the end.

        Where times tell the frames apart, they do; else decoding must give as many frames as there are.
        """
        known = dict(zip(self.times, self.numbers, strict=False))
        within = [time for time in decoded if self.times and time <= self.times[-1]]
        rising = all(one < two for one, two in itertools.pairwise(within))
        if within and rising and known.keys() >= set(within) and (self.shown or within[0] == self.times[0]):
            return [known[time] for time in within], True
        if len(decoded) == self.listed:
            return self.numbers, True
        agree = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(decoded, self.times, strict=False))
        return self.numbers[: sum(1 for _ in agree)], False


def list_packets(url: str, capture: Any) -> Packets:
    """The frames of a video.

    Args:
        url: the file.
        capture: OpenCV's, opened for its packets (`CAP_PROP_FORMAT` -1) and at the start of the file.

    Raises:
        InputError: an AVI's frames and its index contradict one another.
    """
    times: list[float] = []
    while len(times) < MAX_FRAMES and capture.grab():
        times.append(capture.get(cv2.CAP_PROP_POS_MSEC))
    says = min(max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT))), MAX_FRAMES)
    listed = len(times)
    chunks = avi_chunks(url)
    if chunks is None:
        numbers: Sequence[int] = range(1, listed + 1)
        frames = max(listed, says) if _states_its_count(url) else listed
    else:
        held, whole = chunks
        numbers = [number for number, size in enumerate(held, 1) if size]
        if whole and len(numbers) != listed:
            if len(numbers) != len(held):
                raise InputError(
                    CORRUPT,
                    f"the video's index tells of {listed} frames and {len(numbers)} lie in it, so that no "
                    "label can be given to a frame; copy it again",
                )
            numbers = range(1, listed + 1)
        numbers = numbers[:listed]
        times = times[: len(numbers)]
        frames = max(len(held), says)
    times.sort()
    apart = len(set(times)) == len(times)
    return Packets(numbers, times if apart else (), frames, listed, chunks is None)


def avi_chunks(url: str) -> tuple[list[int], bool] | None:
    """Sizes of the chunks of pictures in an AVI file, up to where it is damaged, and whether it is whole.

    None for other files. ffmpeg looks for the next frame behind damage to an AVI and goes on counting as
    though none were lost, and passes over the empty chunk that stands for a dropped frame: all labels from
    there on would belong to other frames. (MP4 keeps a table of where each frame is.)
    """
    sizes: list[int] = []
    stream_of_pictures = b""
    for chunk in _chunks(url):
        if chunk is None:
            return sizes, False
        name, size = chunk
        if not name:
            return None
        if name[:2].isdigit() and name[2:] not in _NO_PICTURE:
            stream_of_pictures = stream_of_pictures or name[:2]
            if name[:2] == stream_of_pictures:
                sizes.append(size)
    return sizes, True


def _chunks(url: str) -> Iterator[tuple[bytes, int] | None]:
    """(name, size) of each chunk of an AVI file, then None where it is damaged; (b"", 0) for another file."""
    position, padding, end = 0, 0, storage.size(url)
    with storage.open_read(url) as stream:
        if not _AVI.match(stream.read(12)):
            yield b"", 0
            return
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
                yield None
                return
            yield name, size
            padding = size % 2
            position += padding


def _states_its_count(url: str) -> bool:
    """Whether the file has a table of its frames; the count that OpenCV gives for others is an estimate."""
    with storage.open_read(url) as stream:
        return stream.read(12)[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")

"""What every layout of recordings is made of: a take, the files that its frames become, and their labels."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from facecorpus.synth.entry import put
from facecorpus.synth.filming import film
from facecorpus.synth.paint import Array
from facecorpus.synth.picture import encode
from facecorpus.synth.recordings import Recording, levels

Texts = Iterator[tuple[str, str | bytes]]
"""Path and content of files, relative to the data set's folder."""


@dataclass(frozen=True, slots=True)
class Take:
    """One recording as one camera sees it."""

    recording: Recording
    camera: str
    seed: int
    folder: Path
    """Of the data set."""

    def frames(self) -> Iterator[tuple[int, Array]]:
        """Position and picture of every recorded frame."""
        return film(self.recording, self.seed, self.camera)


def _every(recording: Recording) -> Collection[int]:
    return range(len(recording.au))


def not_recorded(recording: Recording) -> Collection[int]:
    """Positions of the annotated frames that were lost."""
    return range(len(recording.au) - recording.lost, len(recording.au))


@dataclass(frozen=True, slots=True)
class Layout:
    """How a data set lies on disk."""

    member: Callable[[Take, int], str]
    """What the id of the annotated frame at a position holds after the source's name."""
    write: Callable[[Take], None]
    """Writes a take's frames."""
    annotations: Callable[[Sequence[Recording]], Texts]
    """The files of labels of all recordings."""
    annotated: Callable[[Recording], Collection[int]] = _every
    """Positions of the frames that the labels tell of."""
    missing: Callable[[Recording], Collection[int]] = not_recorded
    """Positions of those that are not there."""
    cameras: Sequence[str] | None = None
    """The cameras, where they are not asked for."""


def each(texts: Callable[[Recording], Texts]) -> Callable[[Sequence[Recording]], Texts]:
    """Labels that are written for each recording by itself."""
    return lambda recordings: (file for recording in recordings for file in texts(recording))


def write_pictures(
    take: Take,
    path: Callable[[Recording, int], str],
    coding: tuple[str, int] = ("jpg", 95),
    *,
    annotated: bool = False,
) -> None:
    """A picture for each frame, or each that is annotated, by position."""
    for at, rgb in take.frames():
        if not annotated or 0 <= at < len(take.recording.au):
            put(take.folder / path(take.recording, at), encode(rgb, coding))


def write_video(take: Take, name: str, code: str, rate: float, backend: int = cv2.CAP_FFMPEG) -> None:
    """One video of all frames."""
    path, frames = take.folder / name, take.frames()
    path.parent.mkdir(parents=True, exist_ok=True)
    _, first = next(frames)
    height, width = first.shape[:2]
    writer = cv2.VideoWriter(str(path), backend, cv2.VideoWriter.fourcc(*code), rate, (width, height))
    if not writer.isOpened():
        raise RuntimeError(f"OpenCV cannot write {code} videos here: {path}")
    writer.write(np.ascontiguousarray(first[..., ::-1]))
    for _, rgb in frames:
        writer.write(np.ascontiguousarray(rgb[..., ::-1]))
    writer.release()


def lines(rows: Iterator[Sequence[object]] | Sequence[Sequence[object]], separator: str = ",") -> str:
    """Rows as text, each with a line's end."""
    return "".join(separator.join(map(str, row)) + "\n" for row in rows)


def occurs(recording: Recording, unit: int) -> list[int]:
    """Occurrence of an action unit in every annotated frame: from level A (1) on."""
    return [int(level >= 1) for level in levels(recording, unit)]

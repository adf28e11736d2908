"""The layouts of DISFA, BP4D and BP4D+ on disk: videos or image sequences, annotation files, and the truth.

Every writer is byte-deterministic: no times, no order that depends on who was ready first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from facecorpus.progress import Progress
from facecorpus.record import State
from facecorpus.synth.dynamics import UNITS
from facecorpus.synth.filming import film
from facecorpus.synth.paint import Array
from facecorpus.synth.picture import encode
from facecorpus.synth.pool import in_order
from facecorpus.synth.recordings import Recording, levels
from facecorpus.synth.truth import TruthRow

_DISFA_UNITS = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
_BP4D_CODED = (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 22, 23, 24, 27, 28)
"""Action units whose occurrence BP4D codes; all other columns hold 9."""
_BP4D_INTENSITY = (6, 10, 12, 14, 17)
_BP4D_PLUS_COLUMNS = (*_BP4D_CODED, 30, 32, 33, 34, 35, 36, 37, 38, 39)
"""Action units of BP4D+'s columns after the first; those from 30 on are not coded."""
_NOT_CODED = 9


@dataclass(frozen=True, slots=True)
class _Take:
    recording: Recording
    camera: str
    seed: int
    folder: Path


def write_recordings(
    root: Path, recordings: Sequence[Recording], seed: int, workers: int, cameras: Sequence[str]
) -> list[TruthRow]:
    """Draw the recordings into `root`/STUDY/..., and return what must become of every annotated frame.

    Args:
        root: an existing folder.
        recordings: of one or several data sets.
        seed: as for their plan.
        workers: processes that draw; the bytes do not depend on it.
        cameras: of DISFA: "right", "left" or both.
    """
    takes = [
        _Take(recording, camera, seed, root / recording.study)
        for recording in recordings
        for camera in (cameras if recording.study == "disfa" else cameras[:1])
    ]
    total = sum(len(take.recording.recorded) for take in takes)
    with Progress("recording", total, "frames") as progress:
        for number in in_order(_write, takes, workers):
            progress.update(number)
    for recording in recordings:
        for name, text in _ANNOTATIONS[recording.study](recording):
            _put(root / recording.study / name, text.encode())
    return [row for take in takes for row in _truth(take)]


def _write(take: _Take) -> int:
    """Write one take; returns its number of frames."""
    frames = film(take.recording, take.seed, take.camera)
    if take.recording.study == "bp4d":
        for at, rgb in frames:
            _put(take.folder / "Sequences" / _image(take.recording, at), encode(rgb, ("jpg", 95)))
    elif take.recording.study == "disfa":
        # OpenCV's own writer: its bytes depend on no other library
        _video(
            take.folder / _disfa_folder(take.camera) / _file(take), frames, "MJPG", 20.0, cv2.CAP_OPENCV_MJPEG
        )
    else:
        _video(take.folder / "Videos" / _file(take), frames, "mp4v", 25.0, cv2.CAP_FFMPEG)
    return len(take.recording.recorded)


def _disfa_folder(camera: str) -> str:
    return {"right": "Video_RightCamera", "left": "Videos_LeftCamera"}[camera]


def _file(take: _Take) -> str:
    """The video's file name."""
    recording = take.recording
    if recording.study == "disfa":
        return f"{take.camera.capitalize()}Video{recording.subject}_comp.avi"
    return f"{recording.subject}_{recording.task}.mp4"


def _image(recording: Recording, at: int) -> str:
    """Path of a frame of an image sequence: numbers are padded to the length of the last one."""
    digits = len(str(recording.first + recording.recorded.stop - 1))
    return f"{recording.subject}/{recording.task}/{recording.first + at:0{max(3, digits)}d}.jpg"


def _put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _video(path: Path, frames: Iterator[tuple[int, Array]], code: str, rate: float, backend: int) -> None:
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


def _disfa(recording: Recording) -> Iterator[tuple[str, str]]:
    for unit in _DISFA_UNITS:
        pairs = zip(recording.numbers, levels(recording, unit), strict=True)
        text = "".join(f"{number},{level}\n" for number, level in pairs)
        yield f"ActionUnit_Labels/{recording.subject}/{recording.subject}_au{unit}.txt", text


def _occurrence(recording: Recording, header: str, columns: Sequence[int]) -> tuple[str, str]:
    """AU_OCC: a row for each frame; 1 from level A (1) on, 0, or 9 where the unit is not coded."""
    blank = [0] * len(recording.au)
    coded = {
        unit: [int(level >= 1) for level in levels(recording, unit)] if unit in UNITS else blank
        for unit in _BP4D_CODED
    }
    rows = [header]
    for at, number in enumerate(recording.numbers):
        rows.append(
            ",".join(str(v) for v in (number, *(coded[u][at] if u in coded else _NOT_CODED for u in columns)))
        )
    return f"AUCoding/AU_OCC/{recording.subject}_{recording.task}.csv", "\n".join([*rows, ""])


def _bp4d(recording: Recording) -> Iterator[tuple[str, str]]:
    yield _occurrence(recording, ",".join(str(k) for k in range(100)), range(1, 100))
    name = f"{recording.subject}_{recording.task}"
    for unit in _BP4D_INTENSITY:
        rows = []
        for at, (number, level) in enumerate(zip(recording.numbers, levels(recording, unit), strict=True)):
            rows.append(f"{number},{_NOT_CODED if at in recording.unknown | recording.away else level}\n")
        yield f"AUCoding/AU_INT/AU{unit:02d}/{name}_AU{unit:02d}.csv", "".join(rows)


def _bp4d_plus(recording: Recording) -> Iterator[tuple[str, str]]:
    header = ",".join(str(k) for k in (0, *_BP4D_PLUS_COLUMNS))
    yield _occurrence(recording, header, _BP4D_PLUS_COLUMNS)


_ANNOTATIONS: dict[str, Callable[[Recording], Iterator[tuple[str, str]]]] = {
    "disfa": _disfa,
    "bp4d": _bp4d,
    "bp4d_plus": _bp4d_plus,
}


def _truth(take: _Take) -> Iterator[TruthRow]:
    recording = take.recording
    for at, number in enumerate(recording.numbers):
        member = _image(recording, at) if recording.study == "bp4d" else f"{_file(take)}/{number:05d}"
        state, reason = State.KEPT, None
        if at >= len(recording.au) - recording.lost:
            state, reason = State.FAILED, "missing_frame"
        elif at in recording.away:
            state, reason = State.REJECTED, "no_face"
        shown = recording.au[at] if state == State.KEPT else None
        yield TruthRow(
            id=f"{recording.study}/{member}",
            source=recording.study,
            outcome=str(state),
            reason=reason,
            duplicate_group=None,
            identity=recording.subject,
            au=None
            if shown is None
            else {str(unit): float(v) for unit, v in zip(UNITS, shown, strict=True) if v > 0},
        )

"""The layouts of DISFA, DISFA+, BP4D and BP4D+: videos or pictures, and files of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2

from facecorpus.synth.dynamics import UNITS
from facecorpus.synth.recordings import Recording, levels
from facecorpus.synth.takes import Layout, Take, Texts, each, lines, occurs, write_pictures, write_video

_DISFA_UNITS = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
_BP4D_CODED = (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 22, 23, 24, 27, 28)
"""Action units whose occurrence BP4D codes; all other columns hold 9."""
_BP4D_INTENSITY = (6, 10, 12, 14, 17)
_BP4D_PLUS_COLUMNS = (*_BP4D_CODED, 30, 32, 33, 34, 35, 36, 37, 38, 39)
"""Action units of BP4D+'s columns after the first; those from 30 on are not coded."""
_NOT_CODED = 9


def _disfa_video(take: Take) -> str:
    return f"{take.camera.capitalize()}Video{take.recording.subject}_comp.avi"


def _write_disfa(take: Take) -> None:
    folder = {"right": "Video_RightCamera", "left": "Videos_LeftCamera"}[take.camera]
    # OpenCV's own writer: its bytes depend on no other library
    write_video(take, f"{folder}/{_disfa_video(take)}", "MJPG", 20.0, cv2.CAP_OPENCV_MJPEG)


def _disfa(recording: Recording) -> Texts:
    for unit in _DISFA_UNITS:
        rows = zip(recording.numbers, levels(recording, unit), strict=True)
        yield f"ActionUnit_Labels/{recording.subject}/{recording.subject}_au{unit}.txt", lines(rows)


def _from_0(recording: Recording, at: int) -> str:
    """ME-GraphAU's name of a frame: the labels call the first one 1."""
    return f"img/{recording.subject}/{recording.first + at - 1}.png"


def _trial(recording: Recording, at: int) -> str:
    return f"Images/{recording.subject}/{recording.task}/{recording.first + at - 1:03d}.jpg"


def _disfa_plus(recording: Recording) -> Texts:
    for unit in _DISFA_UNITS:
        rows = [
            (f"{number - 1:03d}.jpg", level)
            for number, level in zip(recording.numbers, levels(recording, unit), strict=True)
        ]
        text = "Image     Intensity\n\n" + lines(rows, "     ")
        yield f"Labels/{recording.subject}/{recording.task}/AU{unit}.txt", text


def _image(recording: Recording, at: int) -> str:
    """Path of a frame of an image sequence: numbers are padded to the length of the last one."""
    digits = len(str(recording.first + recording.recorded.stop - 1))
    return f"{recording.subject}/{recording.task}/{recording.first + at:0{max(3, digits)}d}.jpg"


def _occurrence(recording: Recording, header: Sequence[int], columns: Sequence[int]) -> tuple[str, str]:
    """AU_OCC: a row for each frame; 1 from level A (1) on, 0, or 9 where the unit is not coded."""
    blank = [0] * len(recording.au)
    coded = {unit: occurs(recording, unit) if unit in UNITS else blank for unit in _BP4D_CODED}
    rows = [
        (number, *(coded[unit][at] if unit in coded else _NOT_CODED for unit in columns))
        for at, number in enumerate(recording.numbers)
    ]
    return f"AUCoding/AU_OCC/{recording.subject}_{recording.task}.csv", lines([header, *rows])


def _bp4d(recording: Recording) -> Texts:
    yield _occurrence(recording, range(100), range(1, 100))
    name = f"{recording.subject}_{recording.task}"
    unknown = recording.unknown | recording.away
    for unit in _BP4D_INTENSITY:
        rows = [
            (number, _NOT_CODED if at in unknown else level)
            for at, (number, level) in enumerate(zip(recording.numbers, levels(recording, unit), strict=True))
        ]
        yield f"AUCoding/AU_INT/AU{unit:02d}/{name}_AU{unit:02d}.csv", lines(rows)


def _bp4d_plus(recording: Recording) -> Texts:
    yield _occurrence(recording, (0, *_BP4D_PLUS_COLUMNS), _BP4D_PLUS_COLUMNS)


def _mp4(take: Take) -> str:
    return f"{take.recording.subject}_{take.recording.task}.mp4"


def _named(take: Take, name: str, at: int) -> str:
    """A frame of a video in ids."""
    return f"{name}/{take.recording.first + at:05d}"


LABORATORY: Mapping[str, Layout] = {
    "disfa": Layout(lambda take, at: _named(take, _disfa_video(take), at), _write_disfa, each(_disfa)),
    "disfa_frames": Layout(
        lambda take, at: f"{take.recording.subject}/left/{take.recording.first + at - 1}.png",
        lambda take: write_pictures(take, _from_0, ("png", 3), annotated=True),
        each(_disfa),
        cameras=("left",),
    ),
    "disfa_plus": Layout(
        lambda take, at: _trial(take.recording, at).removeprefix("Images/"),
        lambda take: write_pictures(take, _trial),
        each(_disfa_plus),
        cameras=("right",),
    ),
    "bp4d": Layout(
        lambda take, at: _image(take.recording, at),
        lambda take: write_pictures(take, lambda recording, at: f"Sequences/{_image(recording, at)}"),
        each(_bp4d),
        cameras=("right",),
    ),
    "bp4d_plus": Layout(
        lambda take, at: _named(take, _mp4(take), at),
        lambda take: write_video(take, f"Videos/{_mp4(take)}", "mp4v", 25.0),
        each(_bp4d_plus),
        cameras=("right",),
    ),
}

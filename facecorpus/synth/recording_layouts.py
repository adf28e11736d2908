"""Writes recordings in the layouts of their data sets, and the truth about them.

Every writer is byte-deterministic: no times, no order that depends on who was ready first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from facecorpus.progress import Progress
from facecorpus.record import State
from facecorpus.synth.dynamics import UNITS
from facecorpus.synth.entry import put
from facecorpus.synth.laboratory_layouts import LABORATORY
from facecorpus.synth.pool import in_order
from facecorpus.synth.recordings import Recording
from facecorpus.synth.takes import Layout, Take
from facecorpus.synth.truth import TruthRow
from facecorpus.synth.wild_layouts import WILD

_LAYOUTS: Mapping[str, Layout] = {**LABORATORY, **WILD}


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
        Take(recording, camera, seed, root / recording.study)
        for recording in recordings
        for camera in _LAYOUTS[recording.study].cameras or cameras
    ]
    total = sum(len(take.recording.recorded) for take in takes)
    with Progress("recording", total, "frames") as progress:
        for number in in_order(_write, takes, workers):
            progress.update(number)
    for study in dict.fromkeys(recording.study for recording in recordings):
        mine = [recording for recording in recordings if recording.study == study]
        for name, text in _LAYOUTS[study].annotations(mine):
            put(root / study / name, text.encode() if isinstance(text, str) else text)
    return [row for take in takes for row in _truth(take)]


def _write(take: Take) -> int:
    """Write one take; returns its number of frames."""
    _LAYOUTS[take.recording.study].write(take)
    return len(take.recording.recorded)


def _truth(take: Take) -> Iterator[TruthRow]:
    recording, layout = take.recording, _LAYOUTS[take.recording.study]
    missing = layout.missing(recording)
    for at in layout.annotated(recording):
        state, reason = _fate(recording, at, missing)
        shown = recording.au[at] if state == State.KEPT else None
        yield TruthRow(
            id=f"{recording.study}/{layout.member(take, at)}",
            source=recording.study,
            outcome=str(state),
            reason=reason,
            duplicate_group=None,
            identity=recording.subject,
            au=None
            if shown is None
            else {str(unit): float(v) for unit, v in zip(UNITS, shown, strict=True) if v > 0},
        )


def _fate(recording: Recording, at: int, missing: Collection[int]) -> tuple[State, str | None]:
    if at in missing:
        return State.FAILED, "missing_frame"
    return (State.REJECTED, "no_face") if at in recording.away else (State.KEPT, None)

"""The layouts of GFT, Aff-Wild2 and CASME II: people who talk, people in the wild, and micro-expressions."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from xml.sax.saxutils import escape

import cv2

from facecorpus.synth.entry import put
from facecorpus.synth.picture import encode
from facecorpus.synth.recordings import Recording, levels
from facecorpus.synth.takes import (
    Layout,
    Take,
    Texts,
    lines,
    not_recorded,
    occurs,
    write_pictures,
    write_video,
)

_GFT_UNITS = (1, 2, 4, 6, 10, 12, 14, 15, 23, 24)
_GFT_TRAIN = 26
"""Groups of three that train; the others test."""
_AFF_WILD2_UNITS = (1, 2, 4, 6, 7, 10, 12, 15, 23, 24, 25, 26)
_CASME2_UNITS = (1, 2, 4, 7, 12, 14, 15, 17)
_CROP_PX = 112
_CLASSES = ("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Other")
_SHOWN_BY = {4: 12, 6: 2, 1: 4, 5: 15}
"""Class of expression -> action unit by which it is told here, the first that is there."""


def _coded(recording: Recording) -> list[int]:
    return [at for at in range(len(recording.au)) if at not in recording.unknown]


def _gft(recordings: Sequence[Recording]) -> Texts:
    """Frames of which nothing is coded say -999 throughout; a single code is missing where somebody left."""
    parts: dict[str, list[str]] = {"train": [], "test": []}
    for recording in recordings:
        who = recording.subject
        parts["train" if int(who[:3]) <= _GFT_TRAIN else "test"].append(who)
        codes = [occurs(recording, unit) for unit in _GFT_UNITS]
        rows: list[Sequence[object]] = [["Frame", *(f"AU{unit}" for unit in _GFT_UNITS)]]
        for at, number in enumerate(recording.numbers):
            row = [-999 if at in recording.unknown else code[at] for code in codes]
            rows.append([number, *row[:-1], 9 if at in recording.away else row[-1]])
        yield f"AU_Coding/{who}.csv", lines(rows)
    for part, people in parts.items():
        yield f"{part}.txt", "".join(f"{who}\n" for who in people)


def _is_crops(recording: Recording) -> bool:
    """Whether Aff-Wild2 is drawn as crops: two people of one video cannot be had from it otherwise."""
    return not recording.subject.startswith("video")


def _shown_in(recording: Recording) -> str:
    return recording.subject.removesuffix("_left").removesuffix("_right")


def _without_face(recording: Recording) -> Collection[int]:
    """Crops are missing where no face was found."""
    return {*not_recorded(recording), *(recording.away if _is_crops(recording) else ())}


def _crop(recording: Recording, at: int) -> str:
    return f"{recording.first + at:05d}.jpg"


def _write_aff_wild2(take: Take) -> None:
    recording = take.recording
    if not _is_crops(recording):
        write_video(take, f"batch1/{recording.subject}.mp4", "mp4v", 30.0)
        return
    missing = _without_face(recording)
    for at, rgb in take.frames():
        if at not in missing:
            small = cv2.resize(rgb, (_CROP_PX, _CROP_PX), interpolation=cv2.INTER_AREA)
            path = take.folder / "cropped_aligned" / recording.subject / _crop(recording, at)
            put(path, encode(small, ("jpg", 95)))


def _expressions(recording: Recording) -> list[int]:
    """A class for each frame; -1 where none was annotated."""
    at_least = {name: [level >= 2 for level in levels(recording, unit)] for name, unit in _SHOWN_BY.items()}
    return [
        -1 if at in recording.unknown else next((name for name, shown in at_least.items() if shown[at]), 0)
        for at in range(len(recording.au))
    ]


def _aff_wild2(recordings: Sequence[Recording]) -> Texts:
    """Every fourth video validates; every second has expressions too, which another challenge splits."""
    for place, recording in enumerate(recordings):
        part = "Validation_Set" if place % 4 == 3 else "Train_Set"
        codes = [occurs(recording, unit) for unit in _AFF_WILD2_UNITS]
        rows: list[Sequence[object]] = [[f"AU{unit}" for unit in _AFF_WILD2_UNITS]]
        rows += [
            [-1 if at in recording.unknown else code[at] for code in codes] for at in range(len(recording.au))
        ]
        yield f"AU_Detection_Challenge/{part}/{recording.subject}.txt", lines(rows)
        if place % 2 == 0:
            part = "Validation_Set" if place % 4 == 2 else "Train_Set"
            text = lines([_CLASSES, *((name,) for name in _expressions(recording))])
            yield f"EXPR_Classification_Challenge/{part}/{recording.subject}.txt", text


def _apex(recording: Recording) -> int | None:
    """Position of the frame that shows most; none where it could not be told."""
    if recording.unknown:
        return None
    shown = [sum(at) for at in zip(*(levels(recording, unit) for unit in _CASME2_UNITS), strict=True)]
    return max(range(1, len(shown) - 1), key=shown.__getitem__)


def _phases(recording: Recording) -> Collection[int]:
    apex, last = _apex(recording), len(recording.au) - 1
    return [0, last] if apex is None else [0, apex, last]


def _row(recording: Recording) -> list[object]:
    apex = _apex(recording)
    at = len(recording.au) // 2 if apex is None else apex
    shown = {unit: levels(recording, unit)[at] for unit in _CASME2_UNITS}
    units = [unit for unit, level in shown.items() if level >= 1] or [max(shown, key=shown.__getitem__)]
    side = "L" if int(recording.subject[3:]) % 3 == 0 else ""
    named = "+".join(f"{side if unit in (12, 14) else ''}{unit}" for unit in units)
    first = recording.first
    return [
        recording.subject[3:],
        recording.task,
        "",
        first,
        "/" if apex is None else first + apex,
        first + len(recording.au) - 1,
        "",
        int(named) if named.isdecimal() else named,
        "others",
    ]


def _casme2(recordings: Sequence[Recording]) -> Texts:
    header = ("Subject", "Filename", "", "OnsetFrame", "ApexFrame", "OffsetFrame", "", "Action Units")
    yield "CASME2-coding-20190701.xlsx", _workbook([[*header, "Estimated Emotion"], *map(_row, recordings)])


def _workbook(rows: Sequence[Sequence[object]]) -> bytes:
    """The smallest Office Open XML workbook (ECMA-376) of one sheet: text in the cells, or whole numbers."""
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    files = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{kind}.sheet.main+xml"/>'
        f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{kind}.worksheet+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="rId1" '
        f'Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets>'
        '<sheet name="Sheet1" sheetId="1" r:id="rId1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships"><Relationship '
        f'Id="rId1" Type="{office}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{main}"><sheetData>'
        + "".join(f"<row>{''.join(_cells(row))}</row>" for row in rows)
        + "</sheetData></worksheet>",
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, text in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            packed.writestr(info, f'<?xml version="1.0" encoding="UTF-8"?>{text}')
    return out.getvalue()


def _cells(row: Sequence[object]) -> Iterator[str]:
    for value in row:
        if isinstance(value, int):
            yield f"<c><v>{value}</v></c>"
        else:
            yield f'<c t="inlineStr"><is><t>{escape(str(value))}</t></is></c>'


WILD: Mapping[str, Layout] = {
    "gft": Layout(
        lambda take, at: f"{take.recording.subject}.mp4/{take.recording.first + at:05d}",
        lambda take: write_video(take, f"videos/{take.recording.subject}.mp4", "mp4v", 30.0),
        _gft,
        _coded,
        cameras=("right",),
    ),
    "aff_wild2": Layout(
        lambda take, at: (
            f"{take.recording.subject}/{_shown_in(take.recording)}/{_crop(take.recording, at)}"
            if _is_crops(take.recording)
            else f"{take.recording.subject}.mp4/{take.recording.first + at:05d}"
        ),
        _write_aff_wild2,
        _aff_wild2,
        _coded,
        _without_face,
        ("right",),
    ),
    "casme2": Layout(
        lambda take, at: f"{take.recording.subject}/{take.recording.task}/img{take.recording.first + at}.jpg",
        lambda take: write_pictures(take, _raw),
        _casme2,
        _phases,
        cameras=("right",),
    ),
}


def _raw(recording: Recording, at: int) -> str:
    return f"CASME2_RAW_selected/{recording.subject}/{recording.task}/img{recording.first + at}.jpg"

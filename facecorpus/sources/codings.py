"""Codings of action units: the level of each label in each annotated frame, exactly as the files say."""

from __future__ import annotations

import itertools
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet

from facecorpus.errors import UserError
from facecorpus.sources.texts import read_text

Levels = Mapping[int, int]
"""Frame -> level, of one label; a frame that was not coded is not in it."""

INTENSITY = frozenset(range(6))
"""FACS intensities: 0 absent, 1 to 5 for A to E."""
OCCURRENCE = frozenset((0, 1))
UNKNOWN = 9
"""BP4D's code for what could not be coded, in occurrences and intensities."""
MISSING = frozenset((UNKNOWN, -1, -999))
"""Codes that mean "not coded", as one data set or another writes it."""

_SEPARATOR = re.compile(r"[,;\s]+")
_DIGITS = 9
"""Larger numbers no column of the corpus holds."""
_NUMBER = re.compile(rf"-?[0-9]{{1,{_DIGITS}}}")
"""Not `\\d`: digits of other scripts are damage."""
_AU_NAME = re.compile(r"[^0-9]*0*([0-9]{1,3})[^0-9]*")
_NAMED_PICTURE = re.compile(r"0*([0-9]{1,9})\.[a-z]{3,4}", re.IGNORECASE)


def read_levels(url: str, known: AbstractSet[int]) -> dict[int, int]:
    """A file of lines `frame,level` for one action unit.

    Args:
        url: the file; a first line of words is passed over.
        known: the levels there may be.

    Raises:
        UserError: a line is something else, or a frame has two.
    """
    levels: dict[int, int] = {}
    for number, fields in _lines(url):
        if number == 1 and fields[0].isalpha():
            continue
        values = _whole_numbers(url, number, fields)
        if len(values) != 2:
            raise _malformed(url, number, "is not 'frame,level'")
        _check(url, number, values[1:], known)
        _check_frame(url, number, values[0], levels)
        levels[values[0]] = values[1]
    return levels


def read_named_levels(url: str, known: AbstractSet[int]) -> dict[int, int]:
    """A file of lines `012.jpg level` for one action unit: the pictures' numbers, and their levels.

    Args:
        url: the file; what stands above the first such line is passed over.
        known: the levels there may be.

    Raises:
        UserError: a line behind the first is something else, or a picture has two.
    """
    levels: dict[int, int] = {}
    for number, fields in _lines(url):
        if (named := _NAMED_PICTURE.fullmatch(fields[0])) is None or len(fields) != 2:
            if levels:
                raise _malformed(url, number, "is not 'picture level'")
            continue
        (level,) = _whole_numbers(url, number, fields[1:])
        _check(url, number, [level], known)
        _check_frame(url, number, int(named[1]), levels)
        levels[int(named[1])] = level
    return levels


def read_classes(url: str, known: AbstractSet[int]) -> dict[int, int]:
    """A file of one class in a line, the first line behind that of the names being about frame 1.

    Args:
        url: the file.
        known: the classes there may be.

    Raises:
        UserError: a line is something else.
    """
    (table,) = read_table(url, {0: 0}, known, numbered=False).values() or [{}]
    return table


def read_table(
    url: str, columns: Mapping[int, int], known: AbstractSet[int], *, numbered: bool = True
) -> dict[int, dict[int, int]]:
    """A CSV file with a line for each frame: its number, then a level for each action unit.

    A first line that names the action units says which column is which. Where there is none, or it only
    counts the columns, `columns` says so. An action unit that is not coded (`MISSING`) in every frame is left
    out; where it is so in some frames only, that is kept.

    Args:
        url: the file.
        columns: column -> action unit; without any, the first line must name them.
        known: the levels there may be.
        numbered: whether the first column is the frame's number; else the first line behind the names is
            about frame 1, and a blank line is about a frame that was not coded.

    Returns:
        Action unit -> frame -> level.

    Raises:
        UserError: a line is something else, lacks columns, or a frame has two.
    """
    rows: dict[int, Sequence[int]] = {}
    above = 0
    for number, fields in _lines(url):
        if number == 1 and _is_header(fields, known, numbered):
            above, columns = 1, _named_columns(fields, numbered) or columns
            if len(set(columns.values())) < len(columns):
                raise _malformed(url, number, "names an action unit twice")
            continue
        values = _whole_numbers(url, number, fields)
        if not columns:
            raise _malformed(url, number, "comes before one that names the action units")
        if len(values) <= max(columns):
            raise _malformed(url, number, f"has {len(values)} columns, but {max(columns) + 1} are expected")
        _check(url, number, [values[column] for column in columns], known)
        frame = values[0] if numbered else number - above
        _check_frame(url, number, frame, rows)
        rows[frame] = values
    table = {au: {frame: row[column] for frame, row in rows.items()} for column, au in columns.items()}
    return {au: levels for au, levels in table.items() if set(levels.values()) - MISSING}


def where_coded(table: Mapping[int, Levels]) -> dict[int, Levels]:
    """A table without the frames in which no action unit at all is coded."""
    coded = {frame for levels in table.values() for frame, level in levels.items() if level not in MISSING}
    return {au: {f: level for f, level in levels.items() if f in coded} for au, levels in table.items()}


def is_blank(url: str) -> bool:
    """Whether a file has no line of labels, a first line that names columns set aside."""
    return all(number == 1 and _is_header(fields, INTENSITY | {UNKNOWN}) for number, fields in _lines(url))


def counted_from_one(coding: Mapping[str, Levels]) -> dict[str, Levels]:
    """The labels of one video with its frames counted from 1.

    A file that begins with frame 0 counts from 0; one that begins behind frame 1 does as the others do.
    """
    from_zero = any(0 in levels for levels in coding.values())
    return {
        label: {frame + 1: level for frame, level in levels.items()}
        if 0 in levels or (from_zero and 1 not in levels)
        else levels
        for label, levels in coding.items()
    }


def _lines(url: str) -> Iterator[tuple[int, list[str]]]:
    """(number, fields) of the lines that are not blank."""
    for number, line in enumerate(read_text(url).splitlines(), 1):
        if line := line.strip(" \t,;\0"):
            yield number, _SEPARATOR.split(line)


def _is_header(fields: Sequence[str], known: AbstractSet[int], numbered: bool = True) -> bool:
    """Whether a first line names columns: in words, or by rising numbers that are not all levels."""
    if not all(map(_NUMBER.fullmatch, fields)):
        return True
    numbers = [int(field) for field in fields[numbered:]]
    rising = all(one < two for one, two in itertools.pairwise(numbers))
    return rising and not set(numbers) <= known


def _named_columns(header: Sequence[str], numbered: bool) -> dict[int, int]:
    """Column -> action unit as a header names them; nothing where it only counts the columns."""
    names = [_AU_NAME.fullmatch(name) for name in header[numbered:]]
    units = [int(name[1]) for name in names if name is not None]
    if len(units) < len(names) or (numbered and units == list(range(1, len(names) + 1))):
        return {}
    return dict(enumerate(units, int(numbered)))


def _whole_numbers(url: str, number: int, fields: Sequence[str]) -> list[int]:
    if any(len(field) > _DIGITS for field in fields):
        raise _malformed(url, number, f"holds more than {_DIGITS} characters in place of a number")
    if not all(map(_NUMBER.fullmatch, fields)):
        raise _malformed(url, number, "holds something else than whole numbers")
    return [int(field) for field in fields]


def _check(url: str, number: int, levels: Sequence[int], known: AbstractSet[int]) -> None:
    strange = set(levels) - known
    if strange:
        listed = ", ".join(map(str, sorted(known)))
        raise _malformed(url, number, f"holds the level {min(strange)}, which is none of {listed}")


def _check_frame(url: str, number: int, frame: int, before: Container[int]) -> None:
    if frame < 0:
        raise _malformed(url, number, f"is about a frame {frame}")
    if frame in before:
        raise _malformed(url, number, f"is a second one about frame {frame}")


def _malformed(url: str, number: int, what: str) -> UserError:
    return UserError(f"{url}, line {number}, {what}; get the file again")

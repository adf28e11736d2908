"""Coding sheets: the first sheet of an Excel workbook (through openpyxl), or a CSV file, as rows of text."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from facecorpus.errors import UserError, in_a_line
from facecorpus.sources.texts import read_bytes, read_text

_LARGEST = 1 << 27
"""Unpacked size of a workbook beyond which it is no coding sheet."""
_MOST_ROWS, _MOST_COLUMNS = 100_000, 100
_LONGEST_CELL = 200
"""Letters of a cell that are kept."""


def read_sheet(url: str, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a sheet, a dictionary each: column -> what the cell holds, "" where nothing.

    Args:
        url: of an .xlsx or .csv file whose first row names the columns.
        columns: those to read; case, spaces and signs in names do not count ("Apex Frame" is "apexframe").

    Raises:
        UserError: openpyxl is not installed, it is no such file, or it lacks a column.
    """
    rows = _workbook(url) if url.lower().endswith(".xlsx") else _table(url)
    names = [_plain(name) for name in rows[0]] if rows else []
    if lacking := [name for name in columns if name not in names]:
        raise UserError(
            f"{url} has no column {', '.join(lacking)} in its first row; get the coding sheet as released"
        )
    places = {name: names.index(name) for name in columns}
    return [_row(row, places) for row in rows[1:] if any(row)]


def _row(row: Sequence[str], places: Mapping[str, int]) -> dict[str, str]:
    return {name: row[at].strip()[:_LONGEST_CELL] if at < len(row) else "" for name, at in places.items()}


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _table(url: str) -> list[list[str]]:
    try:
        return list(csv.reader(read_text(url).splitlines()))
    except csv.Error as error:
        raise UserError(f"{url} is no CSV file ({in_a_line(error)}); get it again") from error


def _workbook(url: str) -> list[list[str]]:
    try:
        from openpyxl import load_workbook  # pyright: ignore[reportMissingModuleSource, reportUnknownVariableType]
    except ImportError as error:
        raise UserError(f"{url} needs openpyxl to be read; run: pip install 'facecorpus[sources]'") from error
    data = read_bytes(url)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            if (size := sum(info.file_size for info in packed.infolist())) > _LARGEST:
                raise ValueError(f"it unpacks to {size:,} bytes")
        book: Any = load_workbook(io.BytesIO(data), read_only=True, data_only=True)
        rows: Iterable[Sequence[Any]] = book.worksheets[0].iter_rows(
            max_row=_MOST_ROWS, max_col=_MOST_COLUMNS, values_only=True
        )
        return [[_text(cell) for cell in row] for row in rows]
    except Exception as error:  # openpyxl raises whatever damaged bytes lead to
        raise UserError(f"{url} is no whole Excel workbook ({in_a_line(error)}); get it again") from error


def _text(cell: Any) -> str:
    """As Excel shows it: a number that is whole without a point."""
    if cell is None:
        return ""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)

"""What IMDB-WIKI's `imdb.mat` and `wiki.mat` tell of its pictures, as rows of numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from facecorpus.errors import UserError, in_a_line
from facecorpus.sources.annotations import Annotations
from facecorpus.sources.matfiles import load

_FIELDS = ("face_score", "second_face_score", "gender", "photo_taken")
NOT_SAID = -1e9
NO_FACE = -9e8
"""Stand for NaN and -inf among the rows."""


def read_mat(url: str, name: str, data: bytes) -> Annotations:
    """Rows by path without its extension: box (4), `_FIELDS`, and the year of birth.

    Raises:
        UserError: SciPy is not installed, or it is no such file.
    """
    found = load(url, name, data)
    try:
        found = found[0, 0]
        paths = [str(np.ravel(path)[0]).rpartition(".")[0].encode() for path in np.ravel(found["full_path"])]
        boxes = np.array([np.ravel(box) for box in np.ravel(found["face_location"])], dtype=np.float64)
        fields = [np.ravel(found[field]).astype(np.float64) for field in _FIELDS]
        years = _years(np.ravel(found["dob"]).astype(np.float64))
        rows = np.column_stack([boxes.reshape(len(paths), 4), *fields, years])
    except (LookupError, ValueError, TypeError) as error:
        raise UserError(
            f"{url} is not the {name}.mat of IMDB-WIKI ({in_a_line(error)}); get it again"
        ) from error
    rows[np.isneginf(rows)] = NO_FACE
    rows[~np.isfinite(rows) | (np.abs(rows) > -NOT_SAID)] = NOT_SAID
    return Annotations(url, paths, rows, several=True)


def _years(serials: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
    """Years of MATLAB's serial dates (days, of which 719,529 is 1970-01-01); NaN beyond people's lives."""
    known = (serials > 657_438) & (serials < 767_011)  # 1800 to 2100
    days = np.where(known, serials - 719_529, 0).astype("datetime64[D]")
    return np.where(known, days.astype("datetime64[Y]").astype(np.int64) + 1970, np.nan)

"""Labels of GFT, Aff-Wild2, CASME II, DISFA+ and DISFA's pictures."""

from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import Path

from fuzz_annotations import read
from fuzzing import Target
from laid_out import put
from test_sources_aff_wild2 import OFF, ON, write_aus, write_crops, write_expressions
from test_sources_casme2 import RAW, ROWS, sheet, table, write_frames
from test_sources_disfa_pictures import write_pictures, write_trial
from test_sources_gft import CODED, write_person


def _pictures(folder: Path) -> Path:
    write_pictures(folder, "img/{}", range(1, 9), 0)
    return folder / "ActionUnit_Labels/SN001/SN001_au1.txt"


def _trial(folder: Path) -> Path:
    write_trial(folder, "A1_AU1_TrailNo_1", [0, 3, 5])
    return folder / "Labels/SN001/A1_AU1_TrailNo_1/AU1.txt"


def _gft(folder: Path) -> Path:
    write_person(folder, "001A", CODED, video=False)
    return folder / "AU/001A.csv"


def _parts(folder: Path) -> Path:
    _gft(folder)
    (folder / "train.txt").write_text("001A\n002B\n")
    return folder / "train.txt"


def _aff_wild2(which: str, folder: Path) -> Path:
    path = write_aus(folder, "v", [ON, OFF, ON])
    write_expressions(folder, "v", [4, -1, 6])
    write_crops(folder, "v", [1, 2, 3])
    return path if which == "AU" else path.parents[2] / "EXPR_Classification_Challenge/Train_Set/v.txt"


def _casme2(ending: str, folder: Path) -> Path:
    write_frames(folder, RAW, "sub01/EP02_01f", 46, 48)
    path = folder / f"CASME2-coding.{ending}"
    put(path, sheet(ROWS) if ending == "xlsx" else table(ROWS))
    return path


TARGETS = (
    Target("disfa-pictures", _pictures, partial(read, "disfa", 2)),
    Target("disfa-plus", _trial, partial(read, "disfa_plus", 3)),
    Target("gft", _gft, partial(read, "gft", 1)),
    Target("gft-parts", _parts, partial(read, "gft", 0)),
    *(
        Target(f"aff-wild2-{w}", partial(_aff_wild2, w), partial(read, "aff_wild2", 3))
        for w in ("AU", "EXPR")
    ),
    Target("casme2-csv", partial(_casme2, "csv"), partial(read, "casme2", 0)),
    *(
        [Target("casme2-xlsx", partial(_casme2, "xlsx"), partial(read, "casme2", 0))]
        if importlib.util.find_spec("openpyxl")
        else []
    ),
)

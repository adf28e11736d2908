"""One look for every figure, and the same bytes for the same picture.

Drawn by Agg into memory; the reader's own matplotlib settings and backend play no part.
"""

from __future__ import annotations

import io
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import matplotlib.style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from fautrain.files import publish

DPI: Final = 160

COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Okabe and Ito's colours, which colour-blind readers tell apart, without the yellow: it is lost on white."""
INK: Final = "#222222"
MUTED: Final = "#6E6E6E"

_STYLE: Final[dict[str, Any]] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": "#999999",
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#E3E3E3",
    "figure.titlesize": 12,
    "figure.titleweight": "bold",
    "legend.frameon": False,
    "text.parse_math": False,  # a run may be called a$b
}


@contextmanager
def canvas(path: Path, width_px: int, height_px: int) -> Generator[Figure]:
    """A figure to draw on, written to `path` as a PNG of exactly width_px x height_px when the block ends."""
    with matplotlib.style.context(["default", _STYLE]):
        figure = Figure(
            figsize=(width_px / DPI, height_px / DPI),
            dpi=DPI,
            layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1),
        )
        yield figure
        memory = io.BytesIO()
        # No name and version of the library inside.
        FigureCanvasAgg(figure).print_png(memory, metadata={"Software": None})
    publish(path, memory.getvalue())

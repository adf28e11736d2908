"""How much of a subject's identity a feature matrix gives away (FMAE-IAT, section 5.1, Figures 3 to 5).

Takes plain arrays: whoever has features, from whatever model, may ask.
"""

from __future__ import annotations

from fautrain.probe.curves import (
    PROBE_BP4D,
    RunCurve,
    accuracy_series,
    draw_f1_curves,
    draw_probe_curves,
)
from fautrain.probe.linear import probe
from fautrain.probe.report import markdown, markdown_by_epoch
from fautrain.probe.result import ProbeResult
from fautrain.probe.tsne import Embedding, draw_tsne, draw_tsne_aus, draw_tsne_runs, embed

__all__ = [
    "PROBE_BP4D",
    "Embedding",
    "ProbeResult",
    "RunCurve",
    "accuracy_series",
    "draw_f1_curves",
    "draw_probe_curves",
    "draw_tsne",
    "draw_tsne_aus",
    "draw_tsne_runs",
    "embed",
    "markdown",
    "markdown_by_epoch",
    "probe",
]

"""How much of a subject's identity a feature matrix gives away (FMAE-IAT, section 5.1, Figures 3 to 5).

Takes plain arrays: whoever has features, from whatever model, may ask.
"""

from __future__ import annotations

from fautrain.probe.curves import Series, accuracy_series, draw_f1_curves, draw_probe_curves
from fautrain.probe.embedding import Embedding, embed
from fautrain.probe.protocol import probe
from fautrain.probe.published import F1_BP4D_PLUS, PROBE_BP4D
from fautrain.probe.report import markdown, markdown_by_epoch
from fautrain.probe.result import ProbeResult
from fautrain.probe.scatter import draw_tsne, draw_tsne_aus, draw_tsne_runs

__all__ = [
    "F1_BP4D_PLUS",
    "PROBE_BP4D",
    "Embedding",
    "ProbeResult",
    "Series",
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

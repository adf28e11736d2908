"""The paper's curves, to lay beneath one's own. Read from its Figures 3 and 5; epochs 1, 3, ..., 19."""

from __future__ import annotations

from typing import Final

from fautrain.probe.curves import Series

_EPOCHS: Final = tuple(float(epoch) for epoch in range(1, 20, 2))


def _series(run: str, percent: str, panel: str = "") -> Series:
    return Series(run, _EPOCHS, tuple(float(value) / 100 for value in percent.split()), panel=panel)


PROBE_BP4D: Final = (
    _series("FMAE (paper)", "54.14 66.91 74.14 77.64 79.75 81.13 82.27 82.76 82.92 83.08", "by frames"),
    _series("FMAE-IAT (paper)", "4.63 14.55 17.07 19.35 23.25 23.17 25.44 25.77 27.48 27.88", "by frames"),
)
"""Figure 3: identity accuracy on BP4D's 41 subjects by the published protocol, divided by frames."""

F1_BP4D_PLUS: Final = (
    _series("FMAE (paper)", "61.74 65.33 64.08 64.27 63.01 63.20 63.25 63.10 63.00 63.02"),
    _series("FMAE-IAT (paper)", "50.20 51.58 59.59 62.67 63.67 65.04 65.58 66.66 66.06 66.26"),
)
"""Figure 5: mean F1 on BP4D+, fold 2 the test."""
